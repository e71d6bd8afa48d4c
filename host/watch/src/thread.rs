//! The thread that runs everything, and how it is stopped.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::access::{Access, AccessError};
use crate::account::Account;
use crate::connection::{Connection, Pace};
use crate::feed::{Feed, Wanted};
use crate::message::Message;
use crate::outlet::{Outlet, ReceiverGone};
use crate::recorder::{self, Note, Recorder};
use crate::resource::Resource;
use crate::settings::Settings;

/// Why the thread was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A file, the URL or the credentials for the API server cannot be used. Whether the server answers is not checked.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The system refused a thread or a resource it needs.
    #[error("cannot start the thread that follows the API server")]
    Thread(#[source] io::Error),
}

/// The running thread. Dropping it stops the thread and waits for its end.
#[derive(Debug)]
pub struct Handle {
    account: Arc<Account>,
    wanted: watch::Sender<BTreeSet<Resource>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// The counts so far.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Follows these resources from now on. Resources that are no longer followed become incomplete, and their objects
    /// are withdrawn.
    pub fn follow(&self, resources: BTreeSet<Resource>) {
        self.wanted.send_if_modified(|wanted| {
            let others = *wanted != resources;
            *wanted = resources;
            others
        });
    }

    /// Whether the thread still runs. It ends by itself only if the receiver is gone, or because of a bug.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Both fail only if the thread has already ended.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Checks whether the API server can be contacted at all: files, URLs and credentials. Opens no connection.
///
/// # Errors
/// What is wrong.
pub fn check(access: &Access) -> Result<(), SpawnError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(SpawnError::Thread)?;
    let _inside = runtime.enter();
    access.client()?;
    Ok(())
}

/// Starts following the API server. Messages go into `sender`, and `ring` is called after each; while the channel is
/// full, nothing more is read.
///
/// # Errors
/// If a file, the URL or the credentials cannot be used, or if the system refuses the thread.
pub fn spawn(
    settings: Settings,
    sender: SyncSender<Message>,
    ring: impl Fn() + Send + Sync + 'static,
) -> Result<(Handle, Recorder), SpawnError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(SpawnError::Thread)?;
    {
        let _inside = runtime.enter();
        settings.access.client()?;
    }
    let account = Arc::new(Account::new());
    let (wanted, wanted_receiver) = watch::channel(settings.resources.clone());
    let (stop, stopped) = oneshot::channel();
    let (recorder, notes) = Recorder::new(Arc::clone(&account));
    let work = Work { settings, account: Arc::clone(&account), wanted: wanted_receiver, notes };
    let thread = std::thread::Builder::new().name("api".to_owned());
    let thread = thread
        .spawn(move || work.run(runtime, Outlet::to(sender, ring), stopped))
        .map_err(SpawnError::Thread)?;
    Ok((Handle { account, wanted, stop: Some(stop), thread: Some(thread) }, recorder))
}

/// The thread's work.
struct Work {
    settings: Settings,
    account: Arc<Account>,
    wanted: Wanted,
    notes: mpsc::Receiver<Note>,
}

impl Work {
    fn run(self, runtime: Runtime, outlet: Outlet, stopped: oneshot::Receiver<()>) {
        let all = async {
            tokio::select! {
                _ = stopped => {}
                () = self.follow(outlet) => {}
            }
        };
        LocalSet::new().block_on(&runtime, all);
        // Do not wait for a name that is being resolved.
        runtime.shutdown_background();
    }

    /// Runs a feed for each wanted resource until the receiver is gone.
    async fn follow(self, outlet: Outlet) {
        let Work { settings, account, mut wanted, notes } = self;
        let pace = Pace::new(settings.requests);
        let connection = || {
            Connection::new(
                settings.access.clone(),
                pace.clone(),
                settings.timing.answer,
                Arc::clone(&account),
            )
        };
        let mut tasks = JoinSet::new();
        let poster = recorder::post(notes, connection(), Arc::clone(&account), &settings);
        tasks.spawn_local(async move {
            poster.await;
            Ok(None)
        });
        let mut running = BTreeSet::new();
        loop {
            let missing: Vec<Resource> = wanted.borrow_and_update().difference(&running).copied().collect();
            for resource in missing {
                let account = Arc::clone(&account);
                let feed = Feed::new(
                    resource,
                    &settings.node,
                    connection(),
                    outlet.clone(),
                    account,
                    settings.timing,
                );
                let wanted = wanted.clone();
                tasks.spawn_local(async move { feed.run(wanted).await.map(|()| Some(resource)) });
                running.insert(resource);
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                ended = tasks.join_next() => match ended {
                    Some(Ok(Ok(resource))) => { resource.inspect(|resource| { running.remove(resource); }); }
                    Some(Ok(Err(ReceiverGone))) | None => return,
                    Some(Err(defect)) => {
                        if let Ok(panic) = defect.try_into_panic() { std::panic::resume_unwind(panic) }
                    }
                },
            }
        }
    }
}
