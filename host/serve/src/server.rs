//! The HTTP thread, and the sockets on which it listens from the start.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::connections::{Connections, Limits};
use crate::health::Health;
use crate::http::{Handler, Page};
use crate::listen::{BindError, Reach, bind};
use crate::metrics::Metrics;
use crate::ports::HealthCheckPorts;

mod pages;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The addresses for `/healthz` and `/livez` (`healthzBindAddress`); not served if empty.
    pub health: Vec<SocketAddr>,
    /// The addresses for `/metrics` and the other pages (`metricsBindAddress`); not served if empty.
    pub metrics: Vec<SocketAddr>,
    /// What to do if one of these addresses cannot be bound.
    pub bind_failure: BindFailure,
    /// The body of `/proxyMode`: `ipvs`.
    pub proxy_mode: String,
    /// The effective KubeProxyConfiguration, in v1alpha1, for `/configz`.
    pub configuration: Value,
    /// Additional pages on the addresses of `/metrics`.
    pub pages: Vec<Page>,
    /// Limits on clients.
    pub limits: Limits,
}

/// What to do if an address cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindFailure {
    /// Log the failure and retry after this time. kube-proxy uses [`BindFailure::RETRY`].
    Retry(Duration),
    /// Fail to start (`bindAddressHardFail`).
    Fail,
}

impl BindFailure {
    /// Retry every 5 s.
    pub const RETRY: BindFailure = BindFailure::Retry(Duration::from_secs(5));
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The thread or its runtime could not be created.
    #[error("cannot start the HTTP thread")]
    Thread(#[source] io::Error),
    /// An address for health answers could not be bound; the Event's reason is `FailedToStartProxierHealthcheck`.
    #[error("cannot serve /healthz")]
    Health(#[source] BindError),
    /// An address for metrics could not be bound; the Event's reason is `FailedToStartMetricServer`.
    #[error("cannot serve /metrics")]
    Metrics(#[source] BindError),
}

/// The running server. Dropping it stops it and closes all its sockets.
pub struct Server {
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
    bound: Arc<Bound>,
    /// The connections of all health check ports.
    connections: Connections,
    health: Health,
}

/// The bound addresses.
#[derive(Default)]
struct Bound {
    health: Mutex<Vec<SocketAddr>>,
    metrics: Mutex<Vec<SocketAddr>>,
}

/// One of the two sets of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    Health,
    Metrics,
}

impl Bound {
    fn of(&self, pages: Pages) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        let list = match pages {
            Pages::Health => &self.health,
            Pages::Metrics => &self.metrics,
        };
        list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Starts the thread and listens. Addresses that cannot be bound are an error only if [`Options::bind_failure`]
    /// says so.
    pub fn start(options: Options, health: Health, metrics: Metrics) -> Result<Server, StartError> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let mut server = Server {
            runtime: runtime.handle().clone(),
            thread: None,
            stop: Some(stop),
            bound: Arc::default(),
            connections: Connections::new(options.limits),
            health: health.clone(),
        };
        let health_pages = pages::health(health, metrics.clone());
        let metrics_pages = pages::metrics(metrics, &options);
        server.open(Pages::Health, &options.health, &options, health_pages).map_err(StartError::Health)?;
        server
            .open(Pages::Metrics, &options.metrics, &options, metrics_pages)
            .map_err(StartError::Metrics)?;
        // Nothing is served before this: until here, the runtime has tasks but no thread.
        let answer = move || {
            let _ = runtime.block_on(stopped);
        };
        let thread =
            thread::Builder::new().name("weir-http".to_owned()).spawn(answer).map_err(StartError::Thread)?;
        server.thread = Some(thread);
        Ok(server)
    }

    /// The addresses of `/healthz` at present, with the ports that the kernel chose.
    pub fn health_addresses(&self) -> Vec<SocketAddr> {
        self.bound.of(Pages::Health).clone()
    }

    /// The addresses of `/metrics` at present, with the ports that the kernel chose.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.bound.of(Pages::Metrics).clone()
    }

    /// The health check ports of services, all closed. They end with the server; call this only once.
    pub fn health_check_ports(&self) -> HealthCheckPorts {
        HealthCheckPorts::new(self.runtime.clone(), self.connections.clone(), self.health.clone())
    }

    fn open(
        &self,
        pages: Pages,
        addresses: &[SocketAddr],
        options: &Options,
        handler: Handler,
    ) -> Result<(), BindError> {
        let connections = Connections::new(options.limits);
        for address in addresses {
            let place = Place {
                pages,
                address: *address,
                bound: Arc::clone(&self.bound),
                connections: connections.clone(),
                handler: Arc::clone(&handler),
            };
            match (place.listen(&self.runtime), options.bind_failure) {
                (Ok(()), _) => {}
                (Err(error), BindFailure::Fail) => return Err(error),
                (Err(error), BindFailure::Retry(pause)) => {
                    place.complain(&error, pause);
                    self.runtime.spawn(place.keep_trying(pause));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // There is no receiver if the thread was never started.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic has already been printed.
            let _ = thread.join();
        }
    }
}

/// An address and what is served there.
struct Place {
    pages: Pages,
    address: SocketAddr,
    bound: Arc<Bound>,
    connections: Connections,
    handler: Handler,
}

impl Place {
    fn listen(&self, runtime: &Handle) -> Result<(), BindError> {
        let socket = bind(self.address, Reach::BothIfUnspecified)?;
        let start = || -> io::Result<()> {
            let _inside = runtime.enter();
            let bound = socket.local_addr()?;
            let socket = tokio::net::TcpListener::from_std(socket)?;
            runtime.spawn(self.connections.clone().serve(socket, Arc::clone(&self.handler)));
            self.bound.of(self.pages).push(bound);
            Ok(())
        };
        start().map_err(|source| BindError { address: self.address, source })
    }

    async fn keep_trying(self, pause: Duration) {
        loop {
            sleep(pause).await;
            match self.listen(&Handle::current()) {
                Ok(()) => return,
                Err(error) => self.complain(&error, pause),
            }
        }
    }

    fn complain(&self, error: &BindError, pause: Duration) {
        let what = match self.pages {
            Pages::Health => "/healthz",
            Pages::Metrics => "/metrics",
        };
        tracing::warn!("{what} is not served: {error}: {}; retrying in {pause:?}", error.source);
    }
}
