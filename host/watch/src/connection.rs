//! Requests to the API server, with a client that is replaced whenever it may be the cause of a failure.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use tokio::time::{sleep, timeout};
use tracing::warn;
use weir_core::causes::with_causes;

use crate::access::{Access, AccessError};
use crate::account::{self, Account};
use crate::rate::{Bucket, Rate};
use crate::wire::Status;

mod cause;
mod lines;

pub(crate) use cause::Cause;

pub(crate) use lines::Lines;

/// A page of 500 objects of etcd's maximum size.
const LARGEST_ANSWER: usize = 768 << 20;
/// Tokens, certificates and kubeconfig files may change at any time; client-go checks a token file this often.
const CLIENT_AGE: Duration = Duration::from_secs(60);
/// The most bytes of a refusal's text that are read.
const LARGEST_REFUSAL: usize = 64 << 10;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// There is no client.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The request could not be sent, or its answer was cut off.
    #[error("the connection to the API server failed")]
    Transport(#[source] Cause),
    /// No answer arrived.
    #[error("the API server did not answer for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The server refused.
    #[error("the API server answered {code}: {message}{}", hint(*.code))]
    Refused {
        /// The HTTP status, also if it came in a watch.
        code: StatusCode,
        /// The server's message.
        message: String,
        /// How long the server wants the client to wait.
        retry_after: Option<Duration>,
    },
    /// The answer cannot be parsed.
    #[error("the API server's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// A watch ended too soon to be useful.
    #[error("the watch ended as soon as it had started")]
    Brief,
    /// A streamed list ended too soon.
    #[error("the list ended before it was complete")]
    Unfinished,
    /// A line of a watch is too long.
    #[error("a line of the watch is longer than {0} bytes")]
    TooLong(usize),
}

/// A fix, if one is known.
fn hint(code: StatusCode) -> &'static str {
    match code {
        StatusCode::UNAUTHORIZED => {
            "; check that the token or client certificate belongs to this cluster and has not expired"
        }
        StatusCode::FORBIDDEN => {
            "; give weir's account the ClusterRole `system:node-proxier`, which allows everything weir needs except \
             namespaces"
        }
        _ => "",
    }
}

impl RequestError {
    /// An error from a `Status`, which may also come in a watch.
    pub(crate) fn refused(code: StatusCode, status: Status, retry_after: Option<Duration>) -> RequestError {
        let told = StatusCode::from_u16(status.code).ok().filter(|told| told.as_u16() >= 400);
        let message = if status.message.is_empty() { status.reason } else { status.message };
        RequestError::Refused { code: told.unwrap_or(code), message, retry_after }
    }

    /// Whether a version or a `continue` token is too old.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, RequestError::Refused { code: StatusCode::GONE, .. })
    }

    /// Whether the server does not know or allow a parameter.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(
            self,
            RequestError::Refused { code: StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, .. }
        )
    }

    /// How long the server wants the client to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            RequestError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether other files or a new connection may change the answer.
    fn asks_for_new_client(&self) -> bool {
        match self {
            RequestError::Access(_) | RequestError::Transport(_) | RequestError::Silent(_) => true,
            RequestError::Refused { code, .. } => *code == StatusCode::UNAUTHORIZED,
            RequestError::Unreadable(_)
            | RequestError::Brief
            | RequestError::Unfinished
            | RequestError::TooLong(_) => false,
        }
    }
}

/// The request rate shared by the whole process.
#[derive(Clone)]
pub(crate) struct Pace(Rc<std::cell::RefCell<Bucket>>);

impl Pace {
    /// A rate that has not been used yet.
    pub(crate) fn new(rate: Rate) -> Pace {
        Pace(Rc::new(Bucket::full(rate, Instant::now()).into()))
    }

    /// Waits for its turn.
    async fn turn(&self) {
        loop {
            let taken = self.0.borrow_mut().take(Instant::now());
            match taken {
                Ok(()) => return,
                Err(missing) => sleep(missing).await,
            }
        }
    }
}

/// Whether a request counts towards the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Yes.
    Waits,
    /// No: it continues a request that did count, such as a list's second page.
    GoesOn,
}

/// A client, and how to replace it.
pub(crate) struct Connection {
    access: Access,
    client: Option<Known>,
    pace: Pace,
    patience: Duration,
    account: Arc<Account>,
}

/// A client in use.
#[derive(Clone)]
struct Known {
    client: kube::Client,
    /// The server's host and port.
    host: String,
    made: Instant,
}

impl Connection {
    /// A connection whose client is created for the first request. `patience` is how long an answer, and each further
    /// piece of it, may take.
    pub(crate) fn new(access: Access, pace: Pace, patience: Duration, account: Arc<Account>) -> Connection {
        Connection { access, client: None, pace, patience, account }
    }

    /// Drops the client: the next request creates a new one, with current files and new connections.
    pub(crate) fn renew(&mut self) {
        self.client = None;
    }

    /// Returns the body of a request's answer as soon as it starts.
    pub(crate) async fn open(&mut self, request: Request<Vec<u8>>, turn: Turn) -> Result<Body, RequestError> {
        if turn == Turn::Waits {
            self.pace.turn().await;
        }
        let result = self.send(request).await;
        if result.as_ref().is_err_and(RequestError::asks_for_new_client) {
            self.renew();
        }
        result
    }

    /// Returns the complete answer to a request.
    pub(crate) async fn fetch(
        &mut self,
        request: Request<Vec<u8>>,
        turn: Turn,
    ) -> Result<Vec<u8>, RequestError> {
        let body = self.open(request, turn).await?;
        let result = collect(body, LARGEST_ANSWER, self.patience).await;
        if result.is_err() {
            self.renew();
        }
        result
    }

    async fn send(&mut self, request: Request<Vec<u8>>) -> Result<Body, RequestError> {
        let Known { client, host, .. } = self.client()?;
        let method = request.method().to_string();
        let answer = timeout(self.patience, client.send(request.map(Body::from))).await;
        let status = answer.as_ref().ok().and_then(|answer| Some(answer.as_ref().ok()?.status().as_u16()));
        self.account.requested(account::Request { method, host, status });
        let answer = answer.map_err(|_| RequestError::Silent(self.patience))?;
        let answer = answer.map_err(|error| RequestError::Transport(Cause(error.into())))?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        Err(self.refusal(answer).await)
    }

    /// The client, with files that are at most a minute old. If a file cannot be read, a working client is kept.
    fn client(&mut self) -> Result<Known, AccessError> {
        let old = self.client.take_if(|known| known.made.elapsed() >= CLIENT_AGE);
        if let Some(known) = &self.client {
            return Ok(known.clone());
        }
        let made = Instant::now();
        let known = match (self.access.client(), old) {
            (Ok((client, host)), _) => Known { client, host, made },
            (Err(error), Some(old)) => {
                warn!(
                    error = with_causes(&error),
                    "cannot reload credentials; the previous credentials stay in use"
                );
                Known { made, ..old }
            }
            (Err(error), None) => return Err(error),
        };
        self.client = Some(known.clone());
        Ok(known)
    }

    async fn refusal(&self, answer: Response<Body>) -> RequestError {
        let code = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let body = collect(answer.into_body(), LARGEST_REFUSAL, self.patience).await.unwrap_or_default();
        let status = serde_json::from_slice(&body).unwrap_or_else(|_| Status {
            message: String::from_utf8_lossy(&body).trim().chars().take(200).collect(),
            ..Status::default()
        });
        RequestError::refused(code, status, retry_after)
    }
}

/// Reads a body to its end; each piece of it may take `patience`.
async fn collect(body: Body, most: usize, patience: Duration) -> Result<Vec<u8>, RequestError> {
    let mut body = Limited::new(body, most);
    let mut all = Vec::new();
    loop {
        let piece = timeout(patience, body.frame()).await.map_err(|_| RequestError::Silent(patience))?;
        let Some(piece) = piece else { return Ok(all) };
        if let Ok(data) = piece.map_err(|error| RequestError::Transport(Cause(error)))?.into_data() {
            all.extend_from_slice(&data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_helps() {
        let status = |message: &str| Status { message: message.to_owned(), ..Status::default() };
        let error = RequestError::refused(StatusCode::FORBIDDEN, status("services is forbidden"), None);
        assert_eq!(
            error.to_string(),
            "the API server answered 403 Forbidden: services is forbidden; give weir's account the ClusterRole \
             `system:node-proxier`, which allows everything weir needs except namespaces"
        );
        let code = |code| Status { code, reason: "Expired".to_owned(), ..Status::default() };
        assert!(RequestError::refused(StatusCode::OK, code(410), None).is_expired());
        assert!(!RequestError::refused(StatusCode::OK, code(0), None).is_expired());
    }
}
