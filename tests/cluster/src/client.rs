//! Requests to the API server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use ureq::http::{Method, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, BodyReader};

use crate::resource::{self, Resource};

/// The field manager.
const MANAGER: &str = "weir-tests";

/// Far longer than any request takes; a watch may be silent this long between two events.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a token may stay valid: the API server caches valid tokens for 10 s.
const REMEMBERED: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(200);

/// A client of the API server.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    server: String,
    token: String,
}

/// The API server's response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The object, the list, or the Status; a string if it is not JSON.
    pub body: Value,
}

impl Client {
    /// Creates a client with a token, for a server whose certificate is signed by the authority (PEM).
    ///
    /// # Errors
    /// When the authority's certificate is invalid.
    pub fn new(server: &str, authority: &str, token: &str) -> Result<Client> {
        let certificates: Vec<Certificate<'static>> = parse_pem(authority.as_bytes())
            .filter_map(|item| match item {
                Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        ensure!(!certificates.is_empty(), "the authority's certificate is missing");
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&certificates))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .build();
        Ok(Client { agent: config.into(), server: server.to_owned(), token: token.to_owned() })
    }

    /// Reads a kubeconfig written by this library.
    ///
    /// # Errors
    /// When the file has another form.
    pub fn from_kubeconfig(path: &Path) -> Result<Client> {
        let reading = || format!("cannot read {}", path.display());
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).with_context(reading)?)
            .with_context(reading)?;
        let cluster = &file["clusters"][0]["cluster"];
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(reading);
        let authority =
            BASE64_STANDARD.decode(text(&cluster["certificate-authority-data"])?).with_context(reading)?;
        let user = &file["users"][0]["user"];
        let token = match &user["tokenFile"] {
            Value::String(file) => std::fs::read_to_string(file).with_context(reading)?,
            _ => text(&user["token"])?,
        };
        Client::new(&text(&cluster["server"])?, &String::from_utf8(authority)?, token.trim())
    }

    /// A client for the same server with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Client {
        Client { token: token.to_owned(), ..self.clone() }
    }

    /// Sends one request; any status is a response, except that a 429 is retried for a minute.
    ///
    /// # Errors
    /// When there is no response.
    pub fn request(&self, method: &str, path: &str, content_type: &str, body: &str) -> Result<Answer> {
        let mut response = self.send(method, path, content_type, body)?;
        let status = response.status().as_u16();
        let text = response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_string()
            .with_context(|| format!("{method} {path}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }

    /// Repeats a request that the API server rejects with 429: just after its start, it does so with everything it
    /// answers from its cache.
    fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> Result<ureq::http::Response<Body>> {
        let start = Instant::now();
        loop {
            let response = self.send_once(method, path, content_type, body)?;
            if response.status() != 429 || start.elapsed() > PATIENCE {
                return Ok(response);
            }
            sleep(PAUSE);
        }
    }

    fn send_once(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> Result<ureq::http::Response<Body>> {
        let asking = || format!("{method} {path}");
        let method = Method::from_bytes(method.as_bytes()).with_context(asking)?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Accept", "application/json");
        if body.is_empty() {
            self.agent.run(request.body(()).with_context(asking)?).with_context(asking)
        } else {
            let request = request.header("Content-Type", content_type).body(body).with_context(asking)?;
            self.agent.run(request).with_context(asking)
        }
    }

    /// Waits until this client is refused as unauthenticated: the API server caches valid tokens for a while.
    ///
    /// # Errors
    /// When it is not refused in time, or there is no response.
    pub fn await_refusal(&self) -> Result<()> {
        let start = Instant::now();
        while self.request("GET", "/api/v1/services", "", "")?.status != 401 {
            ensure!(
                start.elapsed() < REMEMBERED,
                "the API server still accepts the token after {REMEMBERED:?}"
            );
            sleep(PAUSE);
        }
        Ok(())
    }

    /// Returns what is at a path.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, "", "")?.expect(&format!("GET {path}"))
    }

    /// Returns all objects of a kind, each with its kind, as in a manifest.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let resource = Resource::of_kind(kind)?;
        let mut list = self.get(&resource.all())?;
        let Value::Array(mut items) = list["items"].take() else { bail!("the list of {kind} has no items") };
        for item in &mut items {
            item["kind"] = kind.into();
            item["apiVersion"] = resource.api_version().into();
        }
        Ok(items)
    }

    /// Applies these objects, status included: YAML or JSON, any number of documents and lists. As with `kubectl
    /// apply`, fields that were applied before and are now missing are removed; in a status, lists are replaced as
    /// a whole, and missing fields stay.
    ///
    /// # Errors
    /// The first object that is refused.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(manifests).context("invalid manifests")?;
        documents.iter().try_for_each(|document| self.apply_value(document))
    }

    /// Like [`Client::apply`], for an object or a list.
    ///
    /// # Errors
    /// The first object that is refused.
    pub fn apply_value(&self, object: &Value) -> Result<()> {
        match &object["items"] {
            Value::Array(items) => items.iter().try_for_each(|item| self.apply_value(item)),
            _ => self.apply_one(object),
        }
    }

    fn apply_one(&self, object: &Value) -> Result<()> {
        let path = resource::path_of(object)?;
        let patch = |path: &str, content_type: &str, body: &Value| {
            let answer = self.request("PATCH", path, content_type, &body.to_string())?;
            answer.expect(&format!("applying {path}")).map(drop)
        };
        let mut without_status = object.clone();
        let status = without_status.as_object_mut().and_then(|fields| fields.remove("status"));
        let url = format!("{path}?fieldManager={MANAGER}&force=true");
        patch(&url, "application/apply-patch+yaml", &without_status)?;
        let Some(status) = status else { return Ok(()) };
        // Server-side apply takes two addresses of one type in a Node for the same address, twice.
        let body = json!({ "status": status });
        patch(&format!("{path}/status"), "application/merge-patch+json", &body)
    }

    /// Removes an object.
    ///
    /// # Errors
    /// When it does not exist, or must not be deleted.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let path = Resource::of_kind(kind)?.one(namespace, name);
        self.request("DELETE", &path, "", "")?.expect(&format!("DELETE {path}")).map(drop)
    }

    /// Watches objects of a kind from this resource version; the first item is an error if the server no longer
    /// remembers that version.
    ///
    /// # Errors
    /// When the API server refuses immediately.
    pub fn watch(&self, kind: &str, resource_version: &str) -> Result<Watch> {
        let path = Resource::of_kind(kind)?.all();
        let path = format!("{path}?watch=true&resourceVersion={resource_version}");
        let mut response = self.send("GET", &path, "", "")?;
        if response.status() != 200 {
            let text = response.body_mut().read_to_string().unwrap_or_default();
            bail!("cannot watch {kind}: {}: {text}", response.status());
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Watch { lines: BufReader::new(body) })
    }
}

impl Answer {
    /// Returns the body of a successful response.
    ///
    /// # Errors
    /// The message of any other response.
    pub fn expect(self, what: &str) -> Result<Value> {
        match self.status {
            200..=299 => Ok(self.body),
            status => {
                let message = self.body["message"].as_str().map(str::to_owned);
                Err(anyhow!("{what}: {status}: {}", message.unwrap_or_else(|| self.body.to_string())))
            }
        }
    }
}

/// Events as they arrive.
pub struct Watch {
    lines: BufReader<BodyReader<'static>>,
}

impl Iterator for Watch {
    /// `{"type": "ADDED", "object": …}`
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Result<Value>> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).context("invalid event")),
            Err(error) => Some(Err(error).context("the watch failed")),
        }
    }
}
