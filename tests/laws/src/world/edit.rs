//! Small edits of existing objects, as made by users and controllers.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::Index;
use weir_core::cluster::Event;
use weir_core::objects::{Conditions, EndpointSlice, Service, ServicePort, TrafficPolicy};

use super::service::{load_balancer_ips, policy, port, ranges};
use super::slice::conditions;

/// An edit of some Service or EndpointSlice.
#[derive(Clone, Debug)]
pub struct Edit {
    object: Index,
    deed: Deed,
}

#[derive(Clone, Debug)]
enum Deed {
    SourceRanges(Vec<IpNet>),
    ExternalPolicy(TrafficPolicy),
    InternalPolicy(TrafficPolicy),
    LoadBalancerIps(Vec<IpAddr>),
    Ports(Vec<ServicePort>),
    Conditions(Index, Conditions),
    EndpointGone(Index),
    EndpointMoves(Index, IpAddr),
}

/// Generates an edit.
pub fn edit() -> impl Strategy<Value = Edit> {
    let deed = prop_oneof![
        4 => ranges().prop_map(Deed::SourceRanges),
        1 => policy().prop_map(Deed::ExternalPolicy),
        1 => policy().prop_map(Deed::InternalPolicy),
        1 => load_balancer_ips().prop_map(Deed::LoadBalancerIps),
        1 => prop::collection::vec(port(), 0..4).prop_map(Deed::Ports),
        2 => (any::<Index>(), conditions()).prop_map(|(which, to)| Deed::Conditions(which, to)),
        1 => any::<Index>().prop_map(Deed::EndpointGone),
        1 => (any::<Index>(), 9..12u8)
            .prop_map(|(which, host)| Deed::EndpointMoves(which, IpAddr::from([10, 244, 1, host]))),
    ];
    (any::<Index>(), deed).prop_map(|(object, deed)| Edit { object, deed })
}

impl Edit {
    /// Returns the event caused by editing one of these objects; `None` if the edit fits none of them.
    pub fn of(&self, objects: &[Event]) -> Option<Event> {
        let services = objects.iter().filter_map(|event| match event {
            Event::Service(service) => Some((**service).clone()),
            _ => None,
        });
        let slices = objects.iter().filter_map(|event| match event {
            Event::Slice(slice) if !slice.endpoints.is_empty() => Some((**slice).clone()),
            _ => None,
        });
        match &self.deed {
            Deed::Conditions(..) | Deed::EndpointGone(_) | Deed::EndpointMoves(..) => {
                let mut slice = choose(self.object, slices.collect())?;
                self.edit_slice(&mut slice);
                Some(Event::Slice(Box::new(slice)))
            }
            _ => {
                let mut service = choose(self.object, services.collect())?;
                self.edit_service(&mut service);
                Some(Event::Service(Box::new(service)))
            }
        }
    }

    fn edit_service(&self, service: &mut Service) {
        match &self.deed {
            Deed::SourceRanges(ranges) => service.source_ranges = ranges.clone(),
            Deed::ExternalPolicy(policy) => service.external_policy = *policy,
            Deed::InternalPolicy(policy) => service.internal_policy = *policy,
            Deed::LoadBalancerIps(ips) => service.load_balancer_ips = ips.clone(),
            Deed::Ports(ports) => service.ports = ports.clone(),
            Deed::Conditions(..) | Deed::EndpointGone(_) | Deed::EndpointMoves(..) => {}
        }
    }

    fn edit_slice(&self, slice: &mut EndpointSlice) {
        let endpoints = &mut slice.endpoints;
        match &self.deed {
            Deed::Conditions(which, to) => which.get_mut(endpoints).conditions = *to,
            Deed::EndpointMoves(which, to) => which.get_mut(endpoints).address = *to,
            Deed::EndpointGone(which) => {
                endpoints.remove(which.index(endpoints.len()));
            }
            _ => {}
        }
    }
}

fn choose<T>(index: Index, mut all: Vec<T>) -> Option<T> {
    if all.is_empty() { None } else { Some(all.swap_remove(index.index(all.len()))) }
}
