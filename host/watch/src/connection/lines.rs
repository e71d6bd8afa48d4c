//! Reads a body line by line, as many lines at once as have arrived.

use std::time::Duration;

use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::time::timeout;

use super::{Cause, RequestError};

/// No object in etcd is longer, even with JSON's overhead.
const LONGEST_LINE: usize = 32 << 20;
/// A block is passed on at this size, even if more has arrived.
const BLOCK: usize = 1 << 20;

/// A body that consists of lines.
pub(crate) struct Lines {
    body: Body,
    /// Bytes that have arrived and were not passed on.
    held: Vec<u8>,
    /// How many of them are complete lines.
    whole: usize,
    /// How the body ended, returned once everything was passed on.
    end: Option<Result<(), RequestError>>,
}

impl Lines {
    /// The lines of a body.
    pub(crate) fn of(body: Body) -> Lines {
        Lines { body, held: Vec::new(), whole: 0, end: None }
    }

    /// Waits for a line, and returns it with all others that have arrived. `None` is the end; an incomplete last line
    /// is dropped.
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, RequestError> {
        while self.whole == 0 {
            match self.end.take() {
                Some(Ok(())) => return Ok(None),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            let piece = timeout(patience, self.body.frame()).await;
            self.hold(piece.map_err(|_| RequestError::Silent(patience))?)?;
            while self.end.is_none() && self.whole < BLOCK {
                let Some(piece) = self.body.frame().now_or_never() else { break };
                self.hold(piece)?;
            }
        }
        let rest = self.held.split_off(self.whole);
        self.whole = 0;
        Ok(Some(std::mem::replace(&mut self.held, rest)))
    }

    fn hold(
        &mut self,
        piece: Option<Result<http_body::Frame<bytes::Bytes>, kube::Error>>,
    ) -> Result<(), RequestError> {
        let data = match piece {
            None => {
                self.end = Some(Ok(()));
                return Ok(());
            }
            Some(Err(error)) => {
                self.end = Some(Err(RequestError::Transport(Cause(Box::new(error)))));
                return Ok(());
            }
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if let Some(end) = data.iter().rposition(|byte| *byte == b'\n') {
            self.whole = self.held.len() + end + 1;
        }
        self.held.extend_from_slice(&data);
        if self.held.len() - self.whole > LONGEST_LINE {
            return Err(RequestError::TooLong(LONGEST_LINE));
        }
        Ok(())
    }
}
