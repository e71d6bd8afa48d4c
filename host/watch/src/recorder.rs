//! weir's notes as Kubernetes Events, posted without ever delaying its main work.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};
use weir_core::causes::with_causes;

use crate::account::{Account, Count};
use crate::connection::{Connection, Turn};
use crate::rate::Rate;
use crate::settings::Settings;

mod ledger;

use ledger::{Ledger, Post, Write};

/// The most notes waiting to be posted; further ones are dropped.
const QUEUE: usize = 256;

/// The object that a Kubernetes Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Regarding {
    /// Such as `v1` or `discovery.k8s.io/v1`.
    pub api_version: String,
    /// Such as `Service` or `Node`.
    pub kind: String,
    /// Its namespace; empty for cluster-scoped objects, whose Events are in `default`.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `type` of a Kubernetes Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Information.
    Normal,
    /// Needs attention.
    Warning,
}

/// A note about an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The reporting controller: notes that kube-proxy also emits use kube-proxy's name, so that users find them.
    pub controller: &'static str,
    /// The object.
    pub regarding: Regarding,
    /// Its severity.
    pub severity: Severity,
    /// The reason in one word, such as `FailedToStartServiceHealthcheck`.
    pub reason: String,
    /// What was done or tried, in one word, such as `Listen`.
    pub action: String,
    /// A sentence, truncated to the API's limit of 1024 bytes.
    pub text: String,
}

/// Limits for Kubernetes Events. Repeated notes are counted in one Event instead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// For all objects together.
    pub overall: Rate,
    /// For one object.
    pub per_object: Rate,
    /// How often the count of a repeated Event is written, after the first time.
    pub refresh: Duration,
    /// After this long without a repetition, the next one is a new Event.
    pub window: Duration,
}

impl Default for Limits {
    /// client-go has bursts of 25 and then one per 300 s for each object, and a window of 6 min; it has no overall
    /// limit.
    fn default() -> Limits {
        Limits {
            overall: Rate { per_second: 1.0, burst: 25 },
            per_object: Rate { per_second: 1.0 / 60.0, burst: 10 },
            refresh: Duration::from_secs(60),
            window: Duration::from_secs(360),
        }
    }
}

/// Accepts notes from any thread without blocking.
#[derive(Clone, Debug)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
    account: Arc<Account>,
}

impl Recorder {
    pub(crate) fn new(account: Arc<Account>) -> (Recorder, mpsc::Receiver<Note>) {
        let (notes, receiver) = mpsc::channel(QUEUE);
        (Recorder { notes, account }, receiver)
    }

    /// Queues a note. It is dropped if too many are waiting, or if the API server refuses it.
    pub fn record(&self, note: Note) {
        if let Err(mpsc::error::TrySendError::Full(note)) = self.notes.try_send(note) {
            self.account.count(Count::EventDropped);
            debug!(
                reason = note.reason,
                object = note.regarding.name,
                "Kubernetes Event dropped: too many are waiting"
            );
        }
    }
}

/// Posts notes until the recorder is gone.
pub(crate) fn post(
    notes: mpsc::Receiver<Note>,
    connection: Connection,
    account: Arc<Account>,
    settings: &Settings,
) -> impl Future<Output = ()> + use<> {
    let ledger = Ledger::new(settings.events, &settings.node, Instant::now());
    let refresh = settings.events.refresh.max(Duration::from_millis(1));
    let poster = Poster { connection, account, ledger, failures: 0 };
    poster.run(notes, refresh)
}

struct Poster {
    connection: Connection,
    account: Arc<Account>,
    ledger: Ledger,
    failures: u32,
}

impl Poster {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>, refresh: Duration) {
        let mut ticks = interval(refresh);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                note = notes.recv() => {
                    let Some(note) = note else { return };
                    match self.ledger.note(note, Instant::now(), SystemTime::now()) {
                        Write::Now(post) => self.send(*post).await,
                        Write::Later => {}
                        Write::Never => self.account.count(Count::EventDropped),
                    }
                }
                _ = ticks.tick() => {
                    for post in self.ledger.due(Instant::now()) {
                        self.send(post).await;
                    }
                }
            }
        }
    }

    async fn send(&mut self, post: Post) {
        match self.connection.fetch(request(&post), Turn::GoesOn).await {
            Ok(_) => {
                self.account.count(Count::EventPosted);
                self.failures = 0;
            }
            Err(error) => {
                self.account.count(Count::EventDropped);
                // It is unknown whether the Event exists: the next such note creates a new one.
                self.ledger.forget(&post);
                self.failures = self.failures.saturating_add(1);
                let failures = self.failures;
                if failures.is_power_of_two() {
                    warn!(error = with_causes(&error), failures, "cannot post a Kubernetes Event");
                }
            }
        }
    }
}

fn request(post: &Post) -> Request<Vec<u8>> {
    let collection = format!("/apis/events.k8s.io/v1/namespaces/{}/events", post.namespace);
    let (method, path, content_type) = if post.repeats {
        (Method::PATCH, format!("{collection}/{}", post.name), "application/merge-patch+json")
    } else {
        (Method::POST, collection, "application/json")
    };
    let mut request = Request::new(post.body.to_string().into_bytes());
    *request.method_mut() = method;
    // Object names need no escaping; an invalid one is refused by the API.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    request
}
