//! What can go wrong.

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
    /// An answer that is no JSON, as of a proxy in between.
    Nonsense,
    /// No answer, on an open connection.
    Silence,
    /// No answer, on a connection that is closed.
    HangUp,
    /// The right answer, when the test says so.
    Held,
    /// The right answer, without its second half, and the connection is closed. Of a watch: after so many lines.
    Cut {
        /// Lines of a watch that are sent.
        after_lines: usize,
    },
}

/// How an open watch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// As when its time is over.
    Clean,
    /// With the beginning of a line, and a connection that is closed.
    MidLine,
    /// With the line that says that its version is too old.
    Expired,
    /// With a line that says that something is wrong in the server.
    Failed,
}

/// A `Status`, as the API server writes one.
pub(crate) fn status(code: u16) -> Value {
    let (reason, message) = match code {
        400 => ("BadRequest", "the request is not understood"),
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "it is forbidden"),
        404 => ("NotFound", "it is not there"),
        409 => ("AlreadyExists", "it is there already"),
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
