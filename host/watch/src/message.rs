//! What the receiver is told.

use std::collections::BTreeMap;

use weir_core::cluster::Event;
use weir_k8s::Problem;

use crate::resource::Resource;

/// News of one resource. Those of one resource come in order; a list comes as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The resource.
    pub resource: Resource,
    /// What changed; new and changed objects of a list come before those that are gone.
    pub events: Vec<Event>,
    /// What is wrong with objects, and was not said before.
    pub problems: Vec<Problem>,
    /// How far the receiver can rely on what it has, once it took note of this message.
    pub standing: Standing,
}

/// How far what was told of a resource is the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It was never listed: what is missing may exist.
    #[default]
    Incomplete,
    /// It was listed and is watched.
    Current,
    /// It was listed, and the API server has not been heard since: what was told stays true as far as is known.
    Stale,
}

/// The standing of every resource, kept by the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings(BTreeMap<Resource, Standing>);

impl Standings {
    /// Takes note of a message.
    pub fn note(&mut self, message: &Message) {
        self.0.insert(message.resource, message.standing);
    }

    /// How a resource stands.
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
