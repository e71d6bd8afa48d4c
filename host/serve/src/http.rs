//! Requests and answers, limited to the parts of HTTP that this crate uses.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, StatusCode};

/// Browsers may only display the page, with its own styles.
const NOTHING_ELSE: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A page made anew for each request. Making it must not block.
#[derive(Clone)]
pub struct Page {
    /// Its path.
    pub path: &'static str,
    /// Its content type.
    pub content: ContentType,
    /// Makes it.
    pub make: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("path", &self.path)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

/// A complete answer.
pub(crate) type Response = hyper::Response<Full<Bytes>>;

/// Answers requests without blocking.
pub(crate) type Handler = Arc<dyn Fn(&Request<'_>) -> Response + Send + Sync>;

/// The parts of a request that an answer may depend on. Headers and bodies are ignored.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    /// The query string, still encoded; empty if the URL has no question mark.
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

/// The content types of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// A JSON document.
    Json,
    /// Plain text.
    Text,
    /// An HTML page that may load and run nothing.
    Html,
    /// The exposition format of Prometheus, version 0.0.4.
    Metrics,
}

impl ContentType {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            ContentType::Json => "application/json",
            ContentType::Text => "text/plain; charset=utf-8",
            ContentType::Html => "text/html; charset=utf-8",
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

/// An answer whose content type browsers do not guess.
pub(crate) fn plain_answer(status: StatusCode, content: ContentType, body: impl Into<Bytes>) -> Response {
    with(answer(status, content, body), X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

/// A page of the caller's, made now.
pub(crate) fn made(page: &Page) -> Response {
    let response = plain_answer(StatusCode::OK, page.content, (page.make)());
    match page.content {
        ContentType::Html => with(response, CONTENT_SECURITY_POLICY, HeaderValue::from_static(NOTHING_ELSE)),
        ContentType::Json | ContentType::Text | ContentType::Metrics => response,
    }
}

/// An answer with one more header.
pub(crate) fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

/// The answer of Go's `http.NotFound`.
pub(crate) fn not_found() -> Response {
    plain_answer(StatusCode::NOT_FOUND, ContentType::Text, "404 page not found\n")
}

/// 200 for a success, else 503.
pub(crate) fn available(success: bool) -> StatusCode {
    if success { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
