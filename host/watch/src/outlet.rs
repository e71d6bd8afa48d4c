//! The bounded channel to the receiver, which blocks neither side's thread.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use tokio::time::sleep;

use crate::message::Message;

/// How often a full channel is retried. The receiver's thread is blocking and cannot wake this one; meanwhile nothing
/// is read from the API server, so there is nothing else to do.
const RETRY: Duration = Duration::from_millis(10);

/// The receiver is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceiverGone;

/// The destination of messages.
#[derive(Clone)]
pub(crate) struct Outlet {
    sender: SyncSender<Message>,
    /// Called after each message, because a receiver with several sources may wait elsewhere than on the channel.
    ring: Arc<dyn Fn() + Send + Sync>,
}

impl Outlet {
    /// The sending end of a channel, and what to call after each message.
    pub(crate) fn to(sender: SyncSender<Message>, ring: impl Fn() + Send + Sync + 'static) -> Outlet {
        Outlet { sender, ring: Arc::new(ring) }
    }

    /// Sends a message as soon as there is room for it.
    pub(crate) async fn deliver(&self, mut message: Message) -> Result<(), ReceiverGone> {
        loop {
            match self.sender.try_send(message) {
                Ok(()) => {
                    (self.ring)();
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(ReceiverGone),
                Err(TrySendError::Full(back)) => message = back,
            }
            sleep(RETRY).await;
        }
    }
}
