//! What wakes the loop: files, addresses, signals.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;
use notify::{RecursiveMode, Watcher};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::warn;
use weir_kernel::events::{self, Watching};
use weir_watch::Message;

/// Why the loop wakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Something in the folder may have changed.
    Manifests,
    /// The API server tells something.
    Told(Message),
    /// Addresses of the node may have changed.
    Addresses,
    /// The policy file or a plugin changed.
    Policy,
    /// The configuration file says something else now.
    Configuration,
    /// A signal asks to stop.
    Stop,
}

impl From<Message> for Wake {
    fn from(message: Message) -> Wake {
        Wake::Told(message)
    }
}

/// Bounded: whoever has something to say waits while the loop is busy, and so does the API server behind it.
const CAPACITY: usize = 64;

/// How often the folder is looked at where it cannot be watched, or was replaced as a whole.
const POLL: Duration = Duration::from_millis(500);

/// Starts what always wakes the loop; whatever else should can use the sender.
pub(super) fn start() -> anyhow::Result<(SyncSender<Wake>, Receiver<Wake>)> {
    let (sender, receiver) = sync_channel(CAPACITY);
    watch_signals(sender.clone())?;
    watch_addresses(sender.clone());
    Ok((sender, receiver))
}

/// Wakes the loop, as soon as it has room, and says whether anybody listens.
pub(super) fn wake(sender: &SyncSender<Wake>, wake: Wake) -> bool {
    sender.send(wake).is_ok()
}

fn watch_signals(sender: SyncSender<Wake>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(Wake::Stop).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn watch_addresses(sender: SyncSender<Wake>) {
    std::thread::spawn(move || {
        loop {
            let changed = || if wake(&sender, Wake::Addresses) { Watching::GoOn } else { Watching::Stop };
            match events::watch_addresses(changed) {
                Ok(()) => return,
                Err(error) => warn!("cannot watch addresses, tried again soon: {error}"),
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    });
}

/// Watches the folder, and the folder it is in: it may be replaced as a whole. While it cannot be watched it is
/// looked at again and again.
pub(super) fn watch_manifests(path: &Path, sender: SyncSender<Wake>) {
    let path = path.to_owned();
    std::thread::spawn(move || {
        loop {
            let (changed, changes) = std::sync::mpsc::channel();
            let watching = notify::recommended_watcher(move |event| {
                // Fails only when this thread has gone on to another watcher.
                let _ = changed.send(event);
            })
            .and_then(|mut watcher| watcher.watch(&path, RecursiveMode::NonRecursive).map(|()| watcher));
            let inode = identity(&path);
            while let Ok(_watcher) = &watching {
                let changed = match changes.recv_timeout(POLL) {
                    Ok(Ok(event)) => !matches!(event.kind, notify::EventKind::Access(_)),
                    Ok(Err(_)) => break,
                    Err(_) => false,
                };
                if changed && !wake(&sender, Wake::Manifests) {
                    return;
                }
                if identity(&path) != inode {
                    break;
                }
            }
            if !wake(&sender, Wake::Manifests) {
                return;
            }
            std::thread::sleep(POLL);
        }
    });
}

/// Which folder or file the path leads to now.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}
