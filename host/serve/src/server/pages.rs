//! The pages by path.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::health::{Answer, Health};
use crate::http::{
    ContentType, Handler, Request, Response, answer, available, made, not_found, plain_answer,
};
use crate::metrics::Metrics;

use super::Options;

/// The only check of the metrics server's `/healthz`: that it answers.
const CHECK: &str = "ping";

/// `/healthz` and `/livez`, whatever the method.
pub(super) fn health(health: Health, metrics: Metrics) -> Handler {
    let write = |given: Answer, count: &dyn Fn(StatusCode)| {
        let status = available(given.is_success());
        count(status);
        plain_answer(status, ContentType::Json, given.body())
    };
    Arc::new(move |request| match request.path {
        "/healthz" => write(health.healthz(), &|code| metrics.proxy.healthz(code)),
        "/livez" => write(health.livez(), &|code| metrics.proxy.livez(code)),
        _ => not_found(),
    })
}

/// The pages of the metrics server, whatever the method.
pub(super) fn metrics(metrics: Metrics, options: &Options) -> Handler {
    let proxy_mode = Bytes::copy_from_slice(options.proxy_mode.as_bytes());
    let configuration = Bytes::from(json!({ "kubeproxy.config.k8s.io": options.configuration }).to_string());
    let pages = options.pages.clone();
    let ok = StatusCode::OK;
    Arc::new(move |request| match request.path {
        "/metrics" => answer(ok, ContentType::Metrics, metrics.text()),
        "/metrics/slis" if request.method == Method::DELETE => {
            metrics.slis.reset();
            answer(ok, ContentType::Text, "metrics reset\n")
        }
        "/metrics/slis" => answer(ok, ContentType::Metrics, metrics.slis.text()),
        "/healthz" => healthz(request, &metrics),
        "/healthz/ping" => answer(ok, ContentType::Text, "ok"),
        "/proxyMode" => plain_answer(ok, ContentType::Text, proxy_mode.clone()),
        "/configz" => plain_answer(ok, ContentType::Json, configuration.clone()),
        path => pages.iter().find(|page| page.path == path).map_or_else(not_found, made),
    })
}

/// As Kubernetes' generic `/healthz` with the check `ping` alone (`staging/src/k8s.io/apiserver/pkg/server/healthz`).
fn healthz(request: &Request<'_>, metrics: &Metrics) -> Response {
    let mut excluded: BTreeSet<String> = request.parameters("exclude").collect();
    let mut text = if excluded.remove(CHECK) {
        format!("[+]{CHECK} excluded: ok\n")
    } else {
        metrics.slis.ping();
        format!("[+]{CHECK} ok\n")
    };
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        text += "warn: some health checks cannot be excluded: no matches for ";
        text += &names.join(",");
        text += "\n";
    }
    text += "healthz check passed\n";
    let verbose = request.parameters("verbose").next().is_some();
    plain_answer(StatusCode::OK, ContentType::Text, if verbose { text } else { "ok".to_owned() })
}
