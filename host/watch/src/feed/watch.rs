//! A watch, which may start with a list.

use std::time::Instant;

use http::StatusCode;
use serde_json::value::RawValue;
use tracing::warn;

use crate::account::Count;
use crate::connection::{Lines, RequestError, Turn};
use crate::wire::{Line, LineType, Status, Tracked};

use super::{Feed, Lists, Stop, request};

impl Feed {
    /// Watches from the known version, or lists first if no version is known, until the server ends the watch.
    pub(super) async fn watch(&mut self) -> Result<(), Stop> {
        let began = Instant::now();
        let seconds = self.watch_seconds();
        let request = match &self.version {
            Some(version) => request::watch(self.resource, &self.node, version, seconds),
            None => {
                self.tracker.begin_list();
                request::streamed_list(self.resource, &self.node, seconds)
            }
        };
        let mut lines = Lines::of(self.connection.open(request, Turn::Waits).await?);
        self.account.count(Count::Watch);
        self.heard().await?;
        let mut said_something = false;
        loop {
            let block = match lines.next(self.timing.silence).await {
                Ok(Some(block)) => block,
                Ok(None) => break,
                // A long silence is not a failure: the next watch resumes on a new connection.
                Err(RequestError::Silent(_)) if self.version.is_some() => {
                    self.connection.renew();
                    break;
                }
                Err(error) => {
                    self.connection.renew();
                    if self.version.is_none() && matches!(error, RequestError::Silent(_)) {
                        // A server without streamed lists starts one as a watch and never ends the list.
                        self.lists = Lists::Paged;
                    }
                    return Err(error.into());
                }
            };
            said_something = true;
            self.heard().await?;
            let taken = self.take_block(&block, began).await;
            if self.version.is_some() {
                self.tell_news().await?;
            }
            taken?;
        }
        if self.version.is_none() {
            return Err(RequestError::Unfinished.into());
        }
        if !said_something && began.elapsed() < self.timing.brief {
            return Err(RequestError::Brief.into());
        }
        self.failures = 0;
        Ok(())
    }

    async fn take_block(&mut self, block: &[u8], began: Instant) -> Result<(), Stop> {
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.take_line(line, began).await?;
        }
        Ok(())
    }

    async fn take_line(&mut self, line: &[u8], began: Instant) -> Result<(), Stop> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(RequestError::Unreadable)?;
        if line.change == LineType::Error {
            let status: Status = serde_json::from_str(line.object.get()).unwrap_or_default();
            return Err(RequestError::refused(StatusCode::INTERNAL_SERVER_ERROR, status, None).into());
        }
        let tracked = Tracked::read(line.object).map_err(RequestError::Unreadable)?;
        if self.is_late(&tracked) {
            return Ok(());
        }
        self.take_change(line.change, line.object, &tracked)?;
        if self.version.is_none() {
            if line.change == LineType::Bookmark && tracked.ends_list() {
                self.complete_list(tracked.version().to_owned(), began).await?;
            }
            return Ok(());
        }
        (self.failures, self.useless_lists) = (0, 0);
        if !tracked.version().is_empty() {
            self.version = Some(tracked.version().to_owned());
        }
        Ok(())
    }

    fn take_change(
        &mut self,
        change: LineType,
        object: &RawValue,
        tracked: &Tracked,
    ) -> Result<(), RequestError> {
        match change {
            LineType::Added | LineType::Modified => self.note(object, tracked)?,
            LineType::Deleted => {
                let Some(name) = tracked.name() else { return Ok(()) };
                self.events.extend(self.tracker.remove(name, |name| self.resource.gone(name)));
            }
            LineType::Unknown => {
                warn!(resource = %self.resource, "ignoring a watch event of unknown type");
            }
            LineType::Bookmark | LineType::Error => {}
        }
        Ok(())
    }

    /// Whether a line is about an older state than the watch has reached: repeated, or out of order. Versions of one
    /// resource can be compared as numbers (KEP-5504); if they are not numbers, the line is used.
    fn is_late(&self, tracked: &Tracked) -> bool {
        let number = |version: &str| version.parse::<u64>().ok();
        let reached = self.version.as_deref().and_then(number);
        reached.zip(number(tracked.version())).is_some_and(|(reached, line)| line < reached)
    }
}
