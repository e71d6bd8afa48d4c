//! Connections within limits: number, duration, bytes read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::http::{Handler, Request};

/// How long a connection at its limit may still take to finish an answer.
const GRACE: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted, usually because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits on clients. A request with more than hyper's limit of 100 headers is also refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most connections at once, for each of: health answers, metrics, and all health check ports together. A
    /// further connection closes the oldest one, so a client that holds all connections cannot keep probes out.
    pub connections: usize,
    /// The most bytes of a request before its body; at least 8192, hyper's minimum.
    pub head_bytes: usize,
    /// The longest time until a request's head has arrived, including idle time before it.
    pub head_time: Duration,
    /// The longest life of a connection. After that, an answer in progress may take another 5 s, or another `lifetime`
    /// if that is less.
    pub lifetime: Duration,
}

impl Default for Limits {
    /// 128 connections, 16 KiB, 10 s, 60 s: a few megabytes at most, and enough for a scrape over a slow network.
    fn default() -> Limits {
        Limits {
            connections: 128,
            head_bytes: 16 * 1024,
            head_time: Duration::from_secs(10),
            lifetime: Duration::from_secs(60),
        }
    }
}

/// Connections that share a limit. Clones share their state.
#[derive(Clone)]
pub(crate) struct Connections {
    limits: Limits,
    /// Oldest first.
    open: Arc<Mutex<VecDeque<AbortHandle>>>,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Connections {
        Connections { limits, open: Arc::default() }
    }

    /// Accepts and serves forever; dropping this closes its connections.
    pub(crate) async fn serve(self, listener: TcpListener, handler: Handler) {
        let mut conversations = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    while conversations.try_join_next().is_some() {}
                    let conversation = converse(stream, Arc::clone(&handler), self.limits);
                    self.make_room();
                    self.open().push_back(conversations.spawn(conversation));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn make_room(&self) {
        let mut open = self.open();
        open.retain(|conversation| !conversation.is_finished());
        while open.len() >= self.limits.connections {
            let Some(oldest) = open.pop_front() else { break };
            oldest.abort();
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, VecDeque<AbortHandle>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, from its first byte to its last. Errors are the client's concern.
async fn converse(stream: TcpStream, handler: Handler, limits: Limits) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let response = handler(&Request { method: request.method(), path, query });
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    if timeout(limits.lifetime, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE.min(limits.lifetime), connection).await;
    }
}
