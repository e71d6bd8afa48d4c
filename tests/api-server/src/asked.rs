//! Requests received by the server.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::store::Collection;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first page of a list.
    List,
    /// A further page.
    Page,
    /// A list that is streamed, and then becomes a watch.
    StreamedList,
    /// A watch.
    Watch,
    /// A new object.
    Create,
    /// A change to an object.
    Patch,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its kind.
    pub kind: Kind,
    /// The collection; `None` if unknown.
    pub collection: Option<Collection>,
    /// Its path, without the query.
    pub path: String,
    /// The decoded parameters of its query.
    pub query: BTreeMap<String, String>,
    /// Its headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
    /// When it arrived.
    pub at: Instant,
}

impl Asked {
    /// Whether it has this kind and this collection.
    pub fn is(&self, kind: Kind, collection: Collection) -> bool {
        self.kind == kind && self.collection == Some(collection)
    }

    /// A parameter of its query; empty if missing.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}
