//! The file that tells a client where the API server is, whom to trust and who it is.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// How a client says who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credentials<'a> {
    Token(&'a str),
    /// A token that is read again while the client runs.
    TokenFile(&'a Path),
}

/// The file's text. JSON is YAML too.
pub(crate) fn text(server: &str, authority: &str, credentials: Credentials<'_>) -> String {
    let user: Value = match credentials {
        Credentials::Token(token) => json!({ "token": token }),
        Credentials::TokenFile(path) => json!({ "tokenFile": path }),
    };
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "weir", "cluster": {
            "server": server,
            "certificate-authority-data": BASE64_STANDARD.encode(authority),
        } }],
        "users": [{ "name": "weir", "user": user }],
        "contexts": [{ "name": "weir", "context": { "cluster": "weir", "user": "weir" } }],
        "current-context": "weir",
    });
    format!("{file:#}\n")
}
