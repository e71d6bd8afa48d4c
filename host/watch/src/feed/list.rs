//! Lists in pages.

use std::time::Instant;

use crate::connection::{RequestError, Turn};
use crate::wire::{Page, Tracked};

use super::{Feed, Stop, request};

impl Feed {
    /// Lists everything; known objects stay until the last page has arrived.
    pub(super) async fn list(&mut self) -> Result<(), Stop> {
        let began = Instant::now();
        self.tracker.begin_list();
        let (mut next, mut turn) = (None, Turn::Waits);
        loop {
            let request = request::page(self.resource, &self.node, next.as_deref());
            let text = self.connection.fetch(request, turn).await?;
            self.heard().await?;
            let page: Page<'_> = serde_json::from_slice(&text).map_err(RequestError::Unreadable)?;
            for object in page.items.unwrap_or_default() {
                let tracked = Tracked::read(object).map_err(RequestError::Unreadable)?;
                self.note(object, &tracked)?;
            }
            next = page.metadata.next.filter(|next| !next.is_empty());
            turn = Turn::GoesOn;
            if next.is_none() {
                return Ok(self.complete_list(page.metadata.resource_version, began).await?);
            }
        }
    }
}
