//! One resource: listed, watched, and listed again when missed changes cannot be recovered otherwise.

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

/// After this many failures in a row, a watch does not resume from the same version: the version may be the cause,
/// for example after the cluster's store was restored from a backup.
const FAILURES_OF_A_VERSION: u32 = 5;

/// Time limits. The default suits a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Waits between failed attempts.
    pub backoff: Backoff,
    /// Until an answer starts, and for each further piece of a list: slightly more than the 60 s after which the API
    /// server itself gives up (`--request-timeout`), so that its reason arrives.
    pub answer: Duration,
    /// The requested duration of a watch; each gets up to a tenth more, so that they do not end all at once.
    pub watch: Duration,
    /// How long a watch may be silent. The API server sends a bookmark about once a minute, so a longer silence may
    /// mean that the connection was lost without notice; the watch is then resumed.
    pub silence: Duration,
    /// A watch that ends sooner than this, without any event, is a failure.
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

/// How a list is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    /// At the start of a watch, one object at a time, which needs the least memory on both sides.
    Streamed,
    /// In pages, if the server does not support streaming.
    Paged,
}

/// The resources to follow.
pub(crate) type Wanted = tokio::sync::watch::Receiver<std::collections::BTreeSet<Resource>>;

/// Why a list or watch stopped early.
enum Stop {
    /// The receiver is gone.
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

/// Keeps a resource up to date.
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
    /// The version to watch from; `None` if a list is needed.
    version: Option<String>,
    standing: Standing,
    /// Events for the next message: those of a list are kept until it is complete, across failed attempts.
    events: Vec<Event>,
    problems: Vec<Problem>,
    /// Failures in a row, without any contact in between.
    failures: u32,
    /// Useless lists in a row: each list's version expired before a watch from that version delivered anything.
    useless_lists: u32,
}

impl Feed {
    /// A feed that has not started.
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

    /// Keeps the resource up to date while there is a receiver and the resource is wanted.
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

    /// Withdraws all objects, so that the receiver does not rely on objects that are no longer followed.
    async fn say_farewell(&mut self) -> Result<(), ReceiverGone> {
        info!(resource = %self.resource, "no longer watching this resource, because nothing needs it");
        self.tracker.begin_list();
        let events = self.tracker.sweep(|name| self.resource.gone(name));
        let (problems, standing) = (Vec::new(), Standing::Incomplete);
        self.outlet.deliver(Message { resource: self.resource, events, problems, standing }).await
    }

    /// Reacts to a failure, and waits as long as necessary.
    async fn recover(&mut self, error: RequestError) -> Result<(), ReceiverGone> {
        if self.version.is_none() && self.lists == Lists::Streamed && error.is_invalid() {
            debug!(
                resource = %self.resource,
                %error,
                "the API server does not support streamed lists; requesting pages"
            );
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

    /// Lists again at once: the server was in contact, so earlier failures are no reason to wait. Only if several
    /// lists in a row do not help are they delayed more and more.
    async fn recover_from_expiry(&mut self, error: &RequestError) -> Result<(), ReceiverGone> {
        info!(resource = %self.resource, "the last known resource version is too old; listing the resource again");
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

    /// The first failure is logged as a warning, later ones less and less often.
    fn tell_failure(&self, error: &RequestError) {
        let (resource, failures) = (self.resource, self.failures);
        let error = with_causes(error);
        if failures.is_power_of_two() && self.standing == Standing::Incomplete {
            warn!(%resource, failures, error, "cannot list or watch this resource; weir will retry");
        } else if failures.is_power_of_two() {
            warn!(
                %resource,
                failures,
                error,
                "cannot list or watch this resource; the last known state stays in use"
            );
        } else {
            debug!(%resource, failures, error, "cannot list or watch this resource");
        }
    }

    /// Records an object that exists.
    fn note(&mut self, object: &RawValue, tracked: &Tracked) -> Result<(), RequestError> {
        let Some(name) = tracked.name() else { return Ok(()) };
        let value = serde_json::from_str(object.get()).map_err(RequestError::Unreadable)?;
        let (decoded, problems) = self.resource.decode(&value);
        let news = self.tracker.note(name, decoded, problems, |name| self.resource.gone(name));
        self.events.extend(news.event);
        self.problems.extend(news.problems);
        Ok(())
    }

    /// The current list is complete as of this version: objects not in it are gone.
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

    /// The server was heard from; if contact was lost, it is restored.
    async fn heard(&mut self) -> Result<(), ReceiverGone> {
        self.account.heard();
        if self.standing == Standing::Stale && self.version.is_some() {
            info!(resource = %self.resource, "watching this resource again");
            self.standing = Standing::Current;
            self.tell_standing().await?;
        }
        Ok(())
    }

    /// Sends what is new, if anything.
    async fn tell_news(&mut self) -> Result<(), ReceiverGone> {
        if self.events.is_empty() && self.problems.is_empty() { Ok(()) } else { self.tell_standing().await }
    }

    /// Sends the standing and what is new. While a list is incomplete, its events are held back.
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

    /// The requested duration of the next watch, in seconds.
    fn watch_seconds(&self) -> u64 {
        let longer = self.timing.watch.mul_f64(1.0 + random_fraction() / 10.0);
        longer.as_secs().max(1)
    }
}
