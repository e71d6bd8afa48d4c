//! The file that tells a client the API server's address, which certificates to trust, and its credentials.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// A client's credentials.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credentials<'a> {
    Token(&'a str),
    /// A token file that is read again while the client runs.
    TokenFile(&'a Path),
}

/// Returns the file's content. JSON is YAML too.
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
