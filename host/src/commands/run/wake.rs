//! What wakes the loop: files, addresses, signals.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::Context;
use notify::{RecursiveMode, Watcher};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::warn;
use weir_core::causes::with_causes;
use weir_kernel::events::{self, Watching};
use weir_watch::Message;

/// Why the loop wakes.
///
/// Each source has its own bit: a repeated wake-up is handled once, and messages of the API server never wait behind
/// other sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Wake {
    /// Something in the folder may have changed.
    Manifests = 1,
    /// Addresses of the node may have changed.
    Addresses = 2,
    /// The policy file or a plugin changed.
    Policy = 4,
    /// The configuration file has changed in meaning.
    Configuration = 8,
    /// A signal requests a stop.
    Stop = 16,
}

impl Wake {
    const ALL: [Wake; 5] = [Wake::Manifests, Wake::Addresses, Wake::Policy, Wake::Configuration, Wake::Stop];
}

/// How many API server messages may wait. While this many wait, no more are read.
const CAPACITY: usize = 64;

/// How often the folder is checked if it cannot be watched or was replaced as a whole.
const POLL: Duration = Duration::from_millis(500);

/// How long to wait before watching addresses again.
const RETRY: Duration = Duration::from_secs(1);

/// Wakes the loop.
#[derive(Clone)]
pub(super) struct Waker {
    said: Arc<AtomicU8>,
    bell: SyncSender<()>,
    messages: SyncSender<Message>,
}

impl Waker {
    /// Wakes the loop for this reason. Returns whether the loop still runs.
    pub(super) fn wake(&self, why: Wake) -> bool {
        self.said.fetch_or(why as u8, Ordering::AcqRel);
        self.ring()
    }

    /// A pending wake-up is enough for all reasons.
    fn ring(&self) -> bool {
        !matches!(self.bell.try_send(()), Err(TrySendError::Disconnected(())))
    }

    /// Where the API server's thread puts messages, and what it calls after each.
    pub(super) fn messages(&self) -> (SyncSender<Message>, impl Fn() + Send + Sync + 'static + use<>) {
        let waker = self.clone();
        (self.messages.clone(), move || {
            waker.ring();
        })
    }
}

/// The loop's end of the wake-ups.
pub(super) struct Wakes {
    said: Arc<AtomicU8>,
    bell: Receiver<()>,
    messages: Receiver<Message>,
}

/// What the loop was woken for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Each reason once.
    pub(super) reasons: Vec<Wake>,
    /// The API server's messages, in order.
    pub(super) messages: Vec<Message>,
}

impl Wakes {
    /// Waits until something wakes the loop; returns `None` after `pause`.
    pub(super) fn wait(&self, pause: Duration) -> Result<Option<News>, RecvTimeoutError> {
        match self.bell.recv_timeout(pause) {
            Ok(()) => Ok(Some(self.take())),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        }
    }

    fn take(&self) -> News {
        let said = self.said.swap(0, Ordering::AcqRel);
        let reasons = Wake::ALL.into_iter().filter(|why| said & *why as u8 != 0).collect();
        News { reasons, messages: self.messages.try_iter().collect() }
    }
}

/// Both ends.
pub(super) fn channel() -> (Waker, Wakes) {
    let (bell, rung) = sync_channel(1);
    let (sender, messages) = sync_channel(CAPACITY);
    let said = Arc::new(AtomicU8::new(0));
    let waker = Waker { said: said.clone(), bell, messages: sender };
    (waker, Wakes { said, bell: rung, messages })
}

/// Starts the permanent sources; others can use the waker.
pub(super) fn start() -> anyhow::Result<(Waker, Wakes)> {
    let (waker, wakes) = channel();
    watch_signals(waker.clone())?;
    watch_addresses(waker.clone());
    Ok((waker, wakes))
}

fn watch_signals(waker: Waker) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if !waker.wake(Wake::Stop) {
                return;
            }
        }
    });
    Ok(())
}

fn watch_addresses(waker: Waker) {
    std::thread::spawn(move || {
        loop {
            let changed = || if waker.wake(Wake::Addresses) { Watching::GoOn } else { Watching::Stop };
            match events::watch_addresses(changed) {
                Ok(()) => return,
                Err(error) => warn!(
                    "cannot watch this node's addresses for changes: {}; weir will retry in {} s",
                    with_causes(&error),
                    RETRY.as_secs()
                ),
            }
            std::thread::sleep(RETRY);
            // Changes in the meantime were missed.
            waker.wake(Wake::Addresses);
        }
    });
}

/// Watches the folder and its parent, because it may be replaced as a whole. While it cannot be watched, it is
/// polled.
pub(super) fn watch_manifests(path: &Path, waker: Waker) {
    let path = path.to_owned();
    std::thread::spawn(move || {
        loop {
            let (changed, changes) = std::sync::mpsc::channel();
            let watching = notify::recommended_watcher(move |event| {
                // Fails only if this thread has moved on to another watcher.
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
                if changed && !waker.wake(Wake::Manifests) {
                    return;
                }
                if identity(&path) != inode {
                    break;
                }
            }
            if !waker.wake(Wake::Manifests) {
                return;
            }
            std::thread::sleep(POLL);
        }
    });
}

/// The folder or file that the path leads to now.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use weir_watch::{Resource, Standing};

    use super::*;

    const HANGS: Duration = Duration::from_secs(60);

    fn message() -> Message {
        let (events, problems) = Default::default();
        Message { resource: Resource::Services, events, problems, standing: Standing::Current }
    }

    #[test]
    fn what_is_said_often_is_heard_once_and_the_api_server_does_not_wait_behind_it() {
        let (waker, wakes) = channel();
        for _ in 0..5_000 {
            assert!(waker.wake(Wake::Addresses));
        }
        let (messages, ring) = waker.messages();
        messages.try_send(message()).unwrap();
        ring();
        waker.wake(Wake::Policy);
        let news = wakes.wait(HANGS).unwrap().unwrap();
        assert_eq!(news.reasons, [Wake::Addresses, Wake::Policy]);
        assert_eq!(news.messages, [message()]);
        assert_eq!(wakes.wait(Duration::from_millis(10)), Ok(None), "once");
    }

    #[test]
    fn sources_learn_that_the_loop_has_ended() {
        let (waker, wakes) = channel();
        drop(wakes);
        assert!(!waker.wake(Wake::Manifests));
    }
}
