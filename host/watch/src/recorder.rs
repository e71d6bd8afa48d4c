//! What weir has to say to people, as Kubernetes Events: never at the cost of what it is there for.

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

/// Notes that wait to be posted; more are left out.
const QUEUE: usize = 256;

/// The object that a Kubernetes Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Regarding {
    /// `v1`, `discovery.k8s.io/v1`.
    pub api_version: String,
    /// `Service`, `Node`.
    pub kind: String,
    /// Its namespace; empty for objects that have none, whose Events are in `default`.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `type` of a Kubernetes Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something to know.
    Normal,
    /// Something to look at.
    Warning,
}

/// Something to say about an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// In whose name it is: what kube-proxy says too is found where its Events are looked for.
    pub controller: &'static str,
    /// The object.
    pub regarding: Regarding,
    /// How important it is.
    pub severity: Severity,
    /// Why, in one word: `FailedToStartServiceHealthcheck`.
    pub reason: String,
    /// What was done or tried, in one word: `Listen`.
    pub action: String,
    /// A sentence; what is longer than the API's 1024 bytes is cut.
    pub text: String,
}

/// How many Kubernetes Events there may be. What repeats is counted in one Event instead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// For all objects together.
    pub overall: Rate,
    /// For one object.
    pub per_object: Rate,
    /// How often the count of an Event that repeats is written, after the first time.
    pub refresh: Duration,
    /// After so long without a repetition, the next one is a new Event.
    pub window: Duration,
}

impl Default for Limits {
    /// client-go has bursts of 25 and one each 300 s for an object, and a window of 6 min; it knows no limit for all.
    fn default() -> Limits {
        Limits {
            overall: Rate { per_second: 1.0, burst: 25 },
            per_object: Rate { per_second: 1.0 / 60.0, burst: 10 },
            refresh: Duration::from_secs(60),
            window: Duration::from_secs(360),
        }
    }
}

/// Takes notes from any thread, at once.
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

    /// Posts a note when its turn comes. It is left out when too many wait, and when the API server does not take it.
    pub fn record(&self, note: Note) {
        if let Err(mpsc::error::TrySendError::Full(note)) = self.notes.try_send(note) {
            self.account.count(Count::EventDropped);
            debug!(reason = note.reason, object = note.regarding.name, "too many Kubernetes Events wait");
        }
    }
}

/// Posts notes for as long as there may be more.
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
                // Whether it exists is not known: the next note of it makes a new one.
                self.ledger.forget(&post);
                self.failures = self.failures.saturating_add(1);
                let failures = self.failures;
                if failures.is_power_of_two() {
                    warn!(error = with_causes(&error), failures, "a Kubernetes Event could not be posted");
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
    // Names of objects need no escaping; one that does is none of the API's, and is refused there.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    request
}
