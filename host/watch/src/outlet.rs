//! The bounded channel to the receiver, which blocks neither side's thread.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use tokio::time::sleep;

use crate::message::Message;

/// How often a full channel is tried again. The receiver's thread is blocking and cannot wake this one; while it is
/// busy, nothing is read from the API server either, so that the wait is all there is to do.
const RETRY: Duration = Duration::from_millis(10);

/// There is nobody left to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceiverGone;

/// Where messages go.
pub(crate) struct Outlet<T>(SyncSender<T>);

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Outlet<T> {
        Outlet(self.0.clone())
    }
}

impl<T: From<Message>> Outlet<T> {
    /// The sending end of a channel.
    pub(crate) fn to(sender: SyncSender<T>) -> Outlet<T> {
        Outlet(sender)
    }

    /// Sends a message, as soon as there is room for it.
    pub(crate) async fn deliver(&self, message: Message) -> Result<(), ReceiverGone> {
        let mut parcel = T::from(message);
        loop {
            match self.0.try_send(parcel) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(ReceiverGone),
                Err(TrySendError::Full(back)) => parcel = back,
            }
            sleep(RETRY).await;
        }
    }
}
