//! One resource: listed, watched, and listed again when that is the only way to know what was missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::time::sleep;
use tracing::{debug, info, warn};
use weir_core::causes::with_causes;
use weir_core::cluster::Event;
use weir_k8s::Problem;

use crate::account::{Account, Count};
use crate::backoff::{Backoff, random_fraction};
use crate::connection::{Connection, RequestError};
use crate::message::{Message, Standing};
use crate::outlet::{Outlet, ReceiverGone};
use crate::resource::Resource;
use crate::tracker::Tracker;
use crate::wire::Tracked;

mod list;
mod request;
mod watch;

/// After this many failures in a row a watch is not tried from the same version any more: the version may be what is
/// wrong, as after the cluster's store was restored from a backup.
const FAILURES_OF_A_VERSION: u32 = 5;

/// How long things may take. The default is what is meant for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between attempts that fail.
    pub backoff: Backoff,
    /// Until an answer begins, and until each further piece of a list: a bit more than the 60 s after which the API
    /// server gives up itself (`--request-timeout`), so that its reason is heard.
    pub answer: Duration,
    /// How long a watch is asked for; each is asked for up to a tenth longer, so that they do not end all at once.
    pub watch: Duration,
    /// How long a watch may be silent. The API server sends a bookmark about once a minute, so that more silence means
    /// that the connection may be gone without a word; the watch is then opened again where it was.
    pub silence: Duration,
    /// A watch that ends sooner, without a word, is a failure.
    pub brief: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            backoff: Backoff::default(),
            answer: Duration::from_secs(70),
            watch: Duration::from_secs(290),
            silence: Duration::from_secs(90),
            brief: Duration::from_secs(1),
        }
    }
}

/// How a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    /// As the beginning of a watch: one object at a time, which costs the least memory on both sides.
    Streamed,
    /// In pages, where the server does not do the other.
    Paged,
}

/// The resources that are to be followed, as they are now.
pub(crate) type Wanted = tokio::sync::watch::Receiver<std::collections::BTreeSet<Resource>>;

/// Why a list or watch is over before its time.
enum Stop {
    /// Nobody listens any more.
    Unheard,
    /// It failed.
    Failed(RequestError),
}

impl From<ReceiverGone> for Stop {
    fn from(ReceiverGone: ReceiverGone) -> Stop {
        Stop::Unheard
    }
}

impl From<RequestError> for Stop {
    fn from(error: RequestError) -> Stop {
        Stop::Failed(error)
    }
}

/// A resource that is kept up to date.
pub(crate) struct Feed {
    resource: Resource,
    /// The name of this node.
    node: String,
    connection: Connection,
    outlet: Outlet,
    account: Arc<Account>,
    timing: Timing,
    tracker: Tracker,
    lists: Lists,
    /// From where to watch; `None` when a list is needed.
    version: Option<String>,
    standing: Standing,
    /// What is to be told with the next message: a list's news are kept until it is complete, over attempts that fail.
    events: Vec<Event>,
    problems: Vec<Problem>,
    /// In a row, without anything heard in between.
    failures: u32,
    /// Lists that were of no use in a row: their version was too old before a watch from it had said anything.
    useless_lists: u32,
}

impl Feed {
    /// One that has not begun.
    pub(crate) fn new(
        resource: Resource,
        node: &str,
        connection: Connection,
        outlet: Outlet,
        account: Arc<Account>,
        timing: Timing,
    ) -> Feed {
        Feed {
            resource,
            node: node.to_owned(),
            connection,
            outlet,
            account,
            timing,
            tracker: Tracker::default(),
            lists: Lists::Streamed,
            version: None,
            standing: Standing::Incomplete,
            events: Vec::new(),
            problems: Vec::new(),
            failures: 0,
            useless_lists: 0,
        }
    }

    /// Keeps the resource up to date for as long as somebody listens and wants it.
    pub(crate) async fn run(mut self, mut wanted: Wanted) -> Result<(), ReceiverGone> {
        let resource = self.resource;
        tokio::select! {
            gone = self.follow() => return gone,
            _ = wanted.wait_for(|wanted| !wanted.contains(&resource)) => {}
        }
        self.say_farewell().await
    }

    async fn follow(&mut self) -> Result<(), ReceiverGone> {
        loop {
            let ended = match (&self.version, self.lists) {
                (None, Lists::Paged) => self.list().await,
                _ => self.watch().await,
            };
            match ended {
                Ok(()) => {}
                Err(Stop::Unheard) => return Err(ReceiverGone),
                Err(Stop::Failed(error)) => self.recover(error).await?,
            }
        }
    }

    /// Takes everything back that was told, so that the receiver does not rely on what nobody follows any more.
    async fn say_farewell(&mut self) -> Result<(), ReceiverGone> {
        info!(resource = %self.resource, "not followed any more");
        self.tracker.begin_list();
        let events = self.tracker.sweep(|name| self.resource.gone(name));
        let (problems, standing) = (Vec::new(), Standing::Incomplete);
        self.outlet.deliver(Message { resource: self.resource, events, problems, standing }).await
    }

    /// Does what a failure asks for, and waits as long as is due.
    async fn recover(&mut self, error: RequestError) -> Result<(), ReceiverGone> {
        if self.version.is_none() && self.lists == Lists::Streamed && error.is_invalid() {
            debug!(resource = %self.resource, %error, "lists are not streamed here; asking for pages");
            self.lists = Lists::Paged;
            return Ok(());
        }
        if error.is_expired() {
            return self.recover_from_expiry(&error).await;
        }
        self.account.count(Count::Failure);
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_multiple_of(FAILURES_OF_A_VERSION) {
            self.version = None;
        }
        self.tell_failure(&error);
        if self.standing == Standing::Current {
            self.standing = Standing::Stale;
            self.tell_standing().await?;
        }
        self.wait(self.failures, &error).await;
        Ok(())
    }

    /// A list follows, at once: the server was heard, and failures before that are no reason to wait. Only when lists do
    /// not help, one after the other, they come ever later.
    async fn recover_from_expiry(&mut self, error: &RequestError) -> Result<(), ReceiverGone> {
        info!(resource = %self.resource, "the version that was reached is too old; listing again");
        self.account.count(Count::Expiration);
        self.version = None;
        if self.useless_lists > 0 {
            self.wait(self.useless_lists, error).await;
        }
        self.useless_lists = self.useless_lists.saturating_add(1);
        Ok(())
    }

    async fn wait(&self, failures: u32, error: &RequestError) {
        let wait = self.timing.backoff.jittered(failures);
        sleep(wait.max(error.retry_after().unwrap_or_default())).await;
    }

    /// The first failure is worth a line, and of more of them ever fewer.
    fn tell_failure(&self, error: &RequestError) {
        let (resource, failures) = (self.resource, self.failures);
        let error = with_causes(error);
        if failures.is_power_of_two() {
            warn!(%resource, failures, error, "the API server cannot be followed; what is known stays in force");
        } else {
            debug!(%resource, failures, error, "the API server cannot be followed");
        }
    }

    /// Takes note of an object that is there.
    fn note(&mut self, object: &RawValue, tracked: &Tracked) -> Result<(), RequestError> {
        let Some(name) = tracked.name() else { return Ok(()) };
        let value = serde_json::from_str(object.get()).map_err(RequestError::Unreadable)?;
        let (decoded, problems) = self.resource.decode(&value);
        let news = self.tracker.note(name, decoded, problems, |name| self.resource.gone(name));
        self.events.extend(news.event);
        self.problems.extend(news.problems);
        Ok(())
    }

    /// The list that was begun is complete as of this version: what was not in it is gone.
    async fn complete_list(&mut self, version: String, began: Instant) -> Result<(), ReceiverGone> {
        self.events.extend(self.tracker.sweep(|name| self.resource.gone(name)));
        let (objects, changed) = (self.tracker.len(), self.events.len());
        let millis = began.elapsed().as_millis();
        info!(resource = %self.resource, objects, changed, millis, "listed");
        self.account.count(Count::List);
        self.version = Some(version);
        self.standing = Standing::Current;
        self.tell_standing().await
    }

    /// The server has been heard: if it was lost, it is back.
    async fn heard(&mut self) -> Result<(), ReceiverGone> {
        self.account.heard();
        if self.standing == Standing::Stale && self.version.is_some() {
            info!(resource = %self.resource, "the API server is followed again");
            self.standing = Standing::Current;
            self.tell_standing().await?;
        }
        Ok(())
    }

    /// Tells what is new, if anything is.
    async fn tell_news(&mut self) -> Result<(), ReceiverGone> {
        if self.events.is_empty() && self.problems.is_empty() { Ok(()) } else { self.tell_standing().await }
    }

    /// Tells how things stand, with what is new. While a list is incomplete, its news wait for it.
    async fn tell_standing(&mut self) -> Result<(), ReceiverGone> {
        let is_whole = self.version.is_some();
        let message = Message {
            resource: self.resource,
            events: if is_whole { std::mem::take(&mut self.events) } else { Vec::new() },
            problems: if is_whole { std::mem::take(&mut self.problems) } else { Vec::new() },
            standing: self.standing,
        };
        self.outlet.deliver(message).await
    }

    /// How long the next watch is asked for, in seconds.
    fn watch_seconds(&self) -> u64 {
        let longer = self.timing.watch.mul_f64(1.0 + random_fraction() / 10.0);
        longer.as_secs().max(1)
    }
}
