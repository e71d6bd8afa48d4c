//! Faults of the server.

use serde_json::{Value, json};

/// What happens to a request instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An answer with this status.
    Status {
        /// The HTTP status.
        code: u16,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// An answer that is not JSON, as from a proxy in between.
    Nonsense,
    /// No answer, and the connection stays open.
    Silence,
    /// No answer, and the connection is closed.
    HangUp,
    /// The right answer, once the test releases it.
    Held,
    /// The first half of the right answer, then the connection is closed. For a watch: after this many lines.
    Cut {
        /// Number of lines the watch sends.
        after_lines: usize,
    },
}

/// How an open watch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// Normally, as after its timeout.
    Clean,
    /// With an incomplete line, and a closed connection.
    MidLine,
    /// With the line for an expired version.
    Expired,
    /// With the line for an internal server error.
    Failed,
}

/// A `Status`, as written by the API server.
pub(crate) fn status(code: u16) -> Value {
    let (reason, message) = match code {
        400 => ("BadRequest", "the request is invalid"),
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "access is forbidden"),
        404 => ("NotFound", "the object was not found"),
        409 => ("AlreadyExists", "the object already exists"),
        410 => ("Expired", "too old resource version"),
        422 => (
            "Invalid",
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        ),
        429 => ("TooManyRequests", "the server has received too many requests"),
        _ => ("InternalError", "an error on the server"),
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}
