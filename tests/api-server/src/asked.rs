//! What was asked.

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
    /// A list that is streamed, and becomes a watch.
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
    /// The collection; `None` if it is not known.
    pub collection: Option<Collection>,
    /// Its path, without the query.
    pub path: String,
    /// The parameters of its query, decoded.
    pub query: BTreeMap<String, String>,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
    /// When it had arrived.
    pub at: Instant,
}

impl Asked {
    /// Whether it is of this kind, and for this collection.
    pub fn is(&self, kind: Kind, collection: Collection) -> bool {
        self.kind == kind && self.collection == Some(collection)
    }

    /// A parameter of its query; empty if it has none of this name.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}
