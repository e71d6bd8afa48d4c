//! Requests and answers, as far as this crate has any use for HTTP.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, StatusCode};

/// An answer, whole.
pub(crate) type Response = hyper::Response<Full<Bytes>>;

/// Answers requests, without waiting for anything.
pub(crate) type Handler = Arc<dyn Fn(&Request<'_>) -> Response + Send + Sync>;

/// What an answer may depend on. Headers and bodies are not looked at.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    /// What follows the question mark, still encoded; empty if nothing does.
    pub(crate) query: &'a str,
}

impl Request<'_> {
    /// The values of a parameter, decoded.
    pub(crate) fn parameters(&self, name: &str) -> impl Iterator<Item = String> {
        form_urlencoded::parse(self.query.as_bytes())
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// The types of what is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    Json,
    Text,
    /// The exposition format of Prometheus, version 0.0.4.
    Metrics,
}

impl ContentType {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            ContentType::Json => "application/json",
            ContentType::Text => "text/plain; charset=utf-8",
            ContentType::Metrics => "text/plain; version=0.0.4; charset=utf-8",
        })
    }
}

/// An answer.
pub(crate) fn answer(status: StatusCode, content: ContentType, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content.value());
    response
}

/// An answer that browsers take for what it says it is.
pub(crate) fn plain_answer(status: StatusCode, content: ContentType, body: impl Into<Bytes>) -> Response {
    with(answer(status, content, body), X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

/// An answer with one more header.
pub(crate) fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

/// What Go's `http.NotFound` answers.
pub(crate) fn not_found() -> Response {
    plain_answer(StatusCode::NOT_FOUND, ContentType::Text, "404 page not found\n")
}

/// 200 for a success, else 503.
pub(crate) fn available(success: bool) -> StatusCode {
    if success { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
