//! The stack below kube's client, built here because kube's logs every failure as a program error, retries by itself,
//! and does not notice when the other side has disappeared.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _, RustlsTlsError};
use kube::config::Config;
use tower::{BoxError, ServiceBuilder};

mod pinned;

pub(crate) use pinned::is_of_an_authority;

/// As in client-go's dialer (`client-go/transport/cache.go`).
const CONNECT: Duration = Duration::from_secs(30);
/// Idle time before the kernel probes the other side, the interval between probes, and their number.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// A client for the server of a configuration, inside a tokio runtime.
pub(super) fn client(config: &Config) -> Result<kube::Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    let (idle, interval, retries) = KEEP_ALIVE;
    tcp.set_keepalive(Some(idle));
    tcp.set_keepalive_interval(Some(interval));
    tcp.set_keepalive_retries(Some(retries));
    let mut connector = HttpsConnectorBuilder::new().with_tls_config(pinned::tls(config)?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name
            .clone()
            .try_into()
            .map_err(RustlsTlsError::InvalidServerName)
            .map_err(kube::Error::RustlsTls)?;
        connector = connector.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = connector.enable_http1().wrap_connector(tcp);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}
