//! Counts for metrics and logs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counters that any thread may read. Each is accurate, but together they are not a consistent snapshot.
#[derive(Debug)]
pub struct Account {
    start: Instant,
    /// Milliseconds from `start`, plus one; 0 for never.
    contact: AtomicU64,
    lists: AtomicU64,
    watches: AtomicU64,
    failures: AtomicU64,
    expirations: AtomicU64,
    events_posted: AtomicU64,
    events_dropped: AtomicU64,
    requests: Mutex<BTreeMap<Request, u64>>,
}

/// The kind of a request and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// The API server, with its port.
    pub host: String,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Time since the API server was last heard from; `None` if never.
    pub since_contact: Option<Duration>,
    /// Lists that were completed.
    pub lists: u64,
    /// Watches that were opened.
    pub watches: u64,
    /// Lists and watches that failed. A watch that ends in time did not fail.
    pub failures: u64,
    /// Lists and watches that could not continue because their version was too old.
    pub expirations: u64,
    /// Kubernetes Events that were created, or whose series was updated.
    pub events_posted: u64,
    /// Kubernetes Events that were dropped: too many, or refused.
    pub events_dropped: u64,
}

/// The kinds of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    List,
    Watch,
    Failure,
    Expiration,
    EventPosted,
    EventDropped,
}

impl Account {
    /// An account without counts.
    pub(crate) fn new() -> Account {
        let zero = || AtomicU64::new(0);
        Account {
            start: Instant::now(),
            contact: zero(),
            lists: zero(),
            watches: zero(),
            failures: zero(),
            expirations: zero(),
            events_posted: zero(),
            events_dropped: zero(),
            requests: Mutex::default(),
        }
    }

    /// Counts a request that ended, or whose answer started.
    pub(crate) fn requested(&self, request: Request) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(request).or_default() += 1;
    }

    /// The requests so far.
    pub fn requests(&self) -> BTreeMap<Request, u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts one more.
    pub(crate) fn count(&self, count: Count) {
        let counter = match count {
            Count::List => &self.lists,
            Count::Watch => &self.watches,
            Count::Failure => &self.failures,
            Count::Expiration => &self.expirations,
            Count::EventPosted => &self.events_posted,
            Count::EventDropped => &self.events_dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the API server was heard from.
    pub(crate) fn heard(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.contact.store(elapsed + 1, Ordering::Relaxed);
    }

    /// The current counters.
    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let contact = read(&self.contact).checked_sub(1).map(Duration::from_millis);
        Figures {
            since_contact: contact.map(|contact| self.start.elapsed().saturating_sub(contact)),
            lists: read(&self.lists),
            watches: read(&self.watches),
            failures: read(&self.failures),
            expirations: read(&self.expirations),
            events_posted: read(&self.events_posted),
            events_dropped: read(&self.events_dropped),
        }
    }
}
