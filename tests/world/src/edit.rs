//! Small edits of existing objects, as made by users and controllers.

use std::net::IpAddr;

use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use weir_core::cluster::Event;
use weir_core::net::{Family, PerFamily};
use weir_core::objects::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, Hints, ObjectName, PROXY_NAME_LABEL, Service,
    ServicePort, ServiceType, TrafficPolicy, ZONE_LABEL,
};

use super::service::{affinity, external_ips, load_balancer_ips, policy, port, ports, ranges, service_type};
use super::slice::{conditions, endpoint, hints};
use super::{Pool, ZONES, weighted_option};

/// An edit of some object.
#[derive(Clone, Debug)]
pub struct Edit {
    object: Index,
    deed: Deed,
}

#[derive(Clone, Debug)]
enum Deed {
    Service(OnService),
    ServiceGone {
        slices_too: bool,
    },
    Slice(OnSlice),
    SliceRenamed(u8),
    SliceGone,
    /// For all endpoints of a Service, because hints only count if all endpoints have them.
    Hints(Vec<Option<Arc<Hints>>>),
    Zone(Option<&'static str>),
}

#[derive(Clone, Debug)]
enum OnService {
    Type(ServiceType),
    InternalPolicy(TrafficPolicy),
    ExternalPolicy(TrafficPolicy),
    Affinity(Option<u32>),
    ExternalIps(Vec<IpAddr>),
    LoadBalancerIps(Vec<IpAddr>),
    SourceRanges(Vec<IpNet>),
    Ports(Vec<ServicePort>),
    PortAdded(ServicePort),
    PortRenamed(Index),
    PortGone(Index),
    OtherProxy,
}

#[derive(Clone, Debug)]
enum OnSlice {
    Conditions(Index, Conditions),
    EndpointAdded(PerFamily<Endpoint>),
    EndpointMoves(Index, PerFamily<Endpoint>),
    EndpointGone(Index),
    /// An endpoint is also in another slice, as it is while controllers move it there.
    EndpointShared(Index, Index),
    /// The ports of the Service, with target ports higher by this number.
    Follows(u16),
}

/// Generates an edit.
pub fn edit(pool: &'static Pool) -> impl Strategy<Value = Edit> {
    let one = any::<Index>;
    let service = prop_oneof![
        4 => ranges(pool).prop_map(OnService::SourceRanges),
        1 => policy().prop_map(OnService::ExternalPolicy),
        1 => policy().prop_map(OnService::InternalPolicy),
        2 => load_balancer_ips(pool).prop_map(OnService::LoadBalancerIps),
        1 => external_ips(pool).prop_map(OnService::ExternalIps),
        1 => affinity(pool).prop_map(OnService::Affinity),
        2 => service_type().prop_map(OnService::Type),
        1 => ports(pool).prop_map(OnService::Ports),
        1 => port(pool).prop_map(OnService::PortAdded),
        1 => one().prop_map(OnService::PortRenamed),
        1 => one().prop_map(OnService::PortGone),
        1 => Just(OnService::OtherProxy),
    ];
    let any_family = move || {
        (endpoint(pool, Family::V4), endpoint(pool, Family::V6)).prop_map(|(v4, v6)| PerFamily { v4, v6 })
    };
    let slice = prop_oneof![
        2 => (one(), conditions()).prop_map(|(which, to)| OnSlice::Conditions(which, to)),
        2 => any_family().prop_map(OnSlice::EndpointAdded),
        1 => (one(), any_family()).prop_map(|(which, to)| OnSlice::EndpointMoves(which, to)),
        2 => one().prop_map(OnSlice::EndpointGone),
        1 => (one(), one()).prop_map(|(which, to)| OnSlice::EndpointShared(which, to)),
        1 => select(&[0, 0, 100][..]).prop_map(OnSlice::Follows),
    ];
    let deed = prop_oneof![
        16 => service.prop_map(Deed::Service),
        1 => any::<bool>().prop_map(|slices_too| Deed::ServiceGone { slices_too }),
        9 => slice.prop_map(Deed::Slice),
        1 => (0..9u8).prop_map(Deed::SliceRenamed),
        1 => Just(Deed::SliceGone),
        1 => prop::collection::vec(hints(pool), 1..4).prop_map(Deed::Hints),
        1 => weighted_option(0.7, select(ZONES)).prop_map(Deed::Zone),
    ];
    (one(), deed).prop_map(|(object, deed)| Edit { object, deed })
}

impl Edit {
    /// The events caused by editing one of these objects; none if the edit fits none of them.
    pub fn of(&self, pool: &Pool, objects: &[Event]) -> Vec<Event> {
        self.events(pool, objects).unwrap_or_default()
    }

    /// What the edit does, in one word.
    pub fn name(&self) -> String {
        let text = match &self.deed {
            Deed::Service(deed) => format!("{deed:?}"),
            Deed::Slice(deed) => format!("{deed:?}"),
            other => format!("{other:?}"),
        };
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }

    fn events(&self, pool: &Pool, objects: &[Event]) -> Option<Vec<Event>> {
        let services = objects.iter().filter_map(|event| match event {
            Event::Service(service) => Some(&**service),
            _ => None,
        });
        let slices = objects.iter().filter_map(|event| match event {
            Event::Slice(slice) => Some(&**slice),
            _ => None,
        });
        let service = choose(self.object, services.clone());
        let slice = choose(self.object, slices.clone());
        Some(match &self.deed {
            Deed::Service(deed) => {
                let mut service = service?.clone();
                deed.edit(&mut service);
                pool.settle_service(&mut service);
                vec![Event::Service(Box::new(service))]
            }
            Deed::ServiceGone { slices_too } => {
                let name = &service?.name;
                let slices = slices.filter(|slice| *slices_too && is_of(slice, name));
                let slices = slices.map(|slice| Event::SliceGone(slice.name.clone()));
                [Event::ServiceGone(name.clone())].into_iter().chain(slices).collect()
            }
            Deed::Slice(OnSlice::EndpointShared(which, to)) => {
                let from = slice?;
                let fits = |to: &&EndpointSlice| {
                    to.name != from.name && to.service == from.service && to.family == from.family
                };
                let mut to = choose(*to, slices.filter(fits))?.clone();
                to.endpoints.push(choose(*which, from.endpoints.iter())?.clone());
                changed(pool, to)
            }
            Deed::Slice(OnSlice::Follows(shift)) => {
                let mut slice = slice?.clone();
                let service = services.clone().find(|service| is_of(&slice, &service.name))?;
                follow(&mut slice, service, *shift);
                changed(pool, slice)
            }
            Deed::Slice(deed) => {
                let mut slice = slice?.clone();
                deed.edit(&mut slice);
                changed(pool, slice)
            }
            Deed::SliceRenamed(number) => {
                let mut slice = slice?.clone();
                let gone = Event::SliceGone(slice.name.clone());
                slice.name.name =
                    slice.name.name.trim_end_matches(char::is_numeric).to_owned() + &number.to_string();
                [gone].into_iter().chain(changed(pool, slice)).collect()
            }
            Deed::SliceGone => vec![Event::SliceGone(slice?.name.clone())],
            Deed::Hints(hints) => {
                let (name, mut hints) = (&service?.name, hints.iter().cycle());
                let slices = slices.filter(|slice| is_of(slice, name)).cloned();
                let hinted = slices.flat_map(|mut slice| {
                    let endpoints = slice.endpoints.iter_mut().zip(&mut hints);
                    endpoints.for_each(|(endpoint, hints)| endpoint.hints.clone_from(hints));
                    changed(pool, slice)
                });
                hinted.collect()
            }
            Deed::Zone(zone) => {
                let mut node = objects.iter().find_map(|event| match event {
                    Event::Node(node) => Some(node.clone()),
                    _ => None,
                })?;
                node.labels.remove(ZONE_LABEL);
                node.labels.extend(zone.map(|zone| (ZONE_LABEL.to_owned(), zone.to_owned())));
                vec![Event::Node(node)]
            }
        })
    }
}

impl OnService {
    fn edit(&self, service: &mut Service) {
        let ports = &mut service.ports;
        match self {
            OnService::Type(to) => service.service_type = *to,
            OnService::InternalPolicy(policy) => service.internal_policy = *policy,
            OnService::ExternalPolicy(policy) => service.external_policy = *policy,
            OnService::Affinity(to) => service.client_ip_affinity = *to,
            OnService::ExternalIps(ips) => service.external_ips.clone_from(ips),
            OnService::LoadBalancerIps(ips) => service.load_balancer_ips.clone_from(ips),
            OnService::SourceRanges(ranges) => service.source_ranges.clone_from(ranges),
            OnService::Ports(to) => ports.clone_from(to),
            OnService::PortAdded(port) => ports.push(port.clone()),
            OnService::PortRenamed(which) if !ports.is_empty() => {
                let name = &mut which.get_mut(ports).name;
                match name.strip_suffix('x') {
                    Some(earlier) => *name = earlier.to_owned(),
                    None => name.push('x'),
                }
            }
            OnService::PortGone(which) if ports.len() > 1 => drop(ports.remove(which.index(ports.len()))),
            OnService::PortRenamed(_) | OnService::PortGone(_) => {}
            OnService::OtherProxy => {
                if service.labels.remove(PROXY_NAME_LABEL).is_none() {
                    service.labels.insert(PROXY_NAME_LABEL.to_owned(), "other".to_owned());
                }
            }
        }
    }
}

impl OnSlice {
    fn edit(&self, slice: &mut EndpointSlice) {
        let (endpoints, family) = (&mut slice.endpoints, slice.family);
        match self {
            OnSlice::EndpointAdded(endpoint) => endpoints.push(endpoint.get(family).clone()),
            _ if endpoints.is_empty() => {}
            OnSlice::Conditions(which, to) => which.get_mut(endpoints).conditions = *to,
            OnSlice::EndpointMoves(which, to) => which.get_mut(endpoints).address = to.get(family).address,
            OnSlice::EndpointGone(which) => drop(endpoints.remove(which.index(endpoints.len()))),
            OnSlice::EndpointShared(..) | OnSlice::Follows(_) => {}
        }
    }
}

/// Gives a slice the ports of its Service, as controllers do; target ports are higher by this number.
pub fn follow(slice: &mut EndpointSlice, service: &Service, shift: u16) {
    let ports = service.ports.iter().map(|port| EndpointPort {
        name: port.name.clone(),
        protocol: port.protocol,
        port: 8000 + port.name.bytes().map(u16::from).sum::<u16>() % 8 + shift,
    });
    slice.ports = ports.collect();
}

fn is_of(slice: &EndpointSlice, service: &ObjectName) -> bool {
    slice.service == service.name && slice.name.namespace == service.namespace
}

fn changed(pool: &Pool, mut slice: EndpointSlice) -> Vec<Event> {
    pool.settle_slice(&mut slice);
    vec![Event::Slice(Box::new(slice))]
}

fn choose<'a, T>(index: Index, all: impl Iterator<Item = &'a T> + Clone) -> Option<&'a T> {
    let count = all.clone().count();
    (count > 0).then(|| index.index(count)).and_then(|at| all.clone().nth(at))
}
