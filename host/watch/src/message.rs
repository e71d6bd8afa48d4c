//! The messages to the receiver.

use std::collections::BTreeMap;

use weir_core::cluster::Event;
use weir_k8s::Problem;

use crate::resource::Resource;

/// News of one resource. Messages of a resource arrive in order; a list is one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The resource.
    pub resource: Resource,
    /// The changes; new and changed objects of a list come before deleted ones.
    pub events: Vec<Event>,
    /// Problems with objects that were not sent before.
    pub problems: Vec<Problem>,
    /// How far the receiver can rely on its data after this message.
    pub standing: Standing,
}

/// How far the data of a resource can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Never listed: objects may be missing.
    #[default]
    Incomplete,
    /// It was listed and is watched.
    Current,
    /// Listed, but the API server has not been heard from since: the data is the last known state.
    Stale,
}

/// The standing of every resource, kept by the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings(BTreeMap<Resource, Standing>);

impl Standings {
    /// Records a message.
    pub fn note(&mut self, message: &Message) {
        self.0.insert(message.resource, message.standing);
    }

    /// The standing of a resource.
    pub fn of(&self, resource: Resource) -> Standing {
        self.0.get(&resource).copied().unwrap_or_default()
    }

    /// Whether all of these have been listed, now or earlier.
    pub fn are_complete(&self, resources: &[Resource]) -> bool {
        resources.iter().all(|resource| self.of(*resource) != Standing::Incomplete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_complete_until_both_lists_are() {
        let mut standings = Standings::default();
        let told = |resource, standing| Message { resource, events: vec![], problems: vec![], standing };
        assert!(!standings.are_complete(&Resource::NEEDED));
        standings.note(&told(Resource::Services, Standing::Current));
        standings.note(&told(Resource::EndpointSlices, Standing::Incomplete));
        assert!(!standings.are_complete(&Resource::NEEDED));
        standings.note(&told(Resource::EndpointSlices, Standing::Current));
        assert!(standings.are_complete(&Resource::NEEDED));
        standings.note(&told(Resource::EndpointSlices, Standing::Stale));
        assert!(standings.are_complete(&Resource::NEEDED));
        assert_eq!(standings.of(Resource::EndpointSlices), Standing::Stale);
    }
}
