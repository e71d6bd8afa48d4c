//! The generated cluster: that of the laws, with objects that keep apart.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use weir_core::cluster::Event;
use weir_core::objects::{Conditions, EndpointSlice, ObjectName};
use weir_world::build::{endpoint, service, slice};
use weir_world::{APART, Edit, Seed, api, edit, event_of, follow, node, subject};

pub use weir_world::NODE;

/// How many events make the initial cluster.
const EVENTS: usize = 40;

/// Kind, namespace and name.
pub type Key = (&'static str, String, String);

/// A cluster that can change.
#[derive(Clone, Debug)]
pub struct World {
    objects: BTreeMap<(u8, Option<ObjectName>), Event>,
    /// By Service.
    extras: BTreeMap<ObjectName, Extras>,
    step: u16,
}

/// The fields of a Service that weir does not keep, because they mean nothing to it.
#[derive(Clone, Debug)]
struct Extras {
    v6_first: bool,
    prefer_close: bool,
    /// Whether a load balancer needs no node ports.
    no_node_ports: bool,
    /// The modes of load balancers' addresses.
    modes: Vec<Option<&'static str>>,
}

#[derive(Clone, Debug)]
enum Change {
    Event(Event, Extras),
    Edit(Edit),
    Extras(Index, Extras),
}

fn extras() -> impl Strategy<Value = Extras> {
    let modes = prop::collection::vec(select(&[None, Some("VIP"), Some("Proxy")][..]), 3);
    (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.15), modes).prop_map(
        |(v6_first, prefer_close, no_node_ports, modes)| Extras {
            v6_first,
            prefer_close,
            no_node_ports,
            modes,
        },
    )
}

fn news() -> impl Strategy<Value = Change> {
    (event_of(&APART), extras()).prop_map(|(event, extras)| Change::Event(event, extras))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => news(),
        24 => edit(&APART).prop_map(Change::Edit),
        3 => (any::<Index>(), extras()).prop_map(|(which, extras)| Change::Extras(which, extras)),
    ]
}

impl World {
    /// Creates the initial cluster of a seed.
    pub fn random(seed: &mut Seed) -> World {
        let mut world = World::empty(0);
        world.apply(Event::Node(Box::new(seed.take(node(&APART)))));
        let mut news = seed.take(prop::collection::vec(news(), EVENTS));
        // Slices adopt the ports of Services that exist.
        news.sort_by_key(|news| !matches!(news, Change::Event(Event::Service(_), _)));
        news.into_iter().for_each(|news| drop(world.make(news)));
        world
    }

    /// A cluster that only contains what `World::mark` needs, with its own step.
    pub fn empty(step: u16) -> World {
        let mut world = World { objects: BTreeMap::new(), extras: BTreeMap::new(), step };
        world.apply(Event::Node(Box::new(Seed::new(0).take(node(&APART)))));
        world
    }

    /// Numbers the state, to distinguish it from all others.
    pub fn set_step(&mut self, step: u16) {
        self.step = step;
    }

    /// Makes a change that shows in some object, and returns its description.
    pub fn mutate(&mut self, seed: &mut Seed) -> String {
        let before = (self.clone(), self.objects());
        loop {
            let deed = self.make(seed.take(change()));
            if self.objects() != before.1 {
                return deed;
            }
            // A Service keeps settings that its type does not allow.
            self.clone_from(&before.0);
        }
    }

    fn make(&mut self, change: Change) -> String {
        let (deed, events) = match change {
            Change::Event(mut event, extras) => {
                if let Event::Slice(slice) = &mut event {
                    self.reconcile(slice);
                }
                if let Event::Service(service) = &event {
                    self.extras.insert(service.name.clone(), extras);
                }
                ("news".to_owned(), vec![event])
            }
            Change::Edit(edit) => {
                let objects: Vec<Event> = self.objects.values().cloned().collect();
                (edit.name(), edit.of(&APART, &objects))
            }
            Change::Extras(which, extras) => {
                let at = which.index(self.extras.len().max(1));
                let Some((name, old)) = self.extras.iter_mut().nth(at) else { return String::new() };
                *old = extras;
                return format!("extras: {name}");
            }
        };
        let about: Vec<String> =
            events.iter().filter_map(|event| Some(subject(event).1?.to_string())).collect();
        events.into_iter().for_each(|event| self.apply(event));
        format!("{deed}: {}", about.join(", "))
    }

    /// Gives a new slice the ports of its Service, as controllers do.
    fn reconcile(&self, slice: &mut EndpointSlice) {
        let of = ObjectName::new(slice.name.namespace.as_str(), slice.service.as_str());
        if let Some(Event::Service(service)) = self.objects.get(&(0, Some(of))) {
            follow(slice, service, 0);
        }
    }

    fn apply(&mut self, event: Event) {
        match &event {
            Event::ServiceGone(_) | Event::SliceGone(_) => drop(self.objects.remove(&subject(&event))),
            Event::Service(_) | Event::Node(_) => drop(self.objects.insert(subject(&event), event)),
            Event::Slice(slice) => {
                self.agree(slice);
                self.objects.insert(subject(&event), event);
            }
            // kube-proxy ends without its Node; the others concern neither program.
            Event::NodeGone
            | Event::Endpoints(_)
            | Event::EndpointsGone(_)
            | Event::AnyNode(_)
            | Event::AnyNodeGone(_)
            | Event::Namespace(_)
            | Event::NamespaceGone(_) => {}
        }
    }

    /// Makes the endpoints in the Service's other slices equal: with two conditions for one endpoint, kube-proxy's
    /// choice would be random.
    fn agree(&mut self, with: &EndpointSlice) {
        let others = self.objects.values_mut().filter_map(|event| match event {
            Event::Slice(slice) if slice.service == with.service => Some(slice),
            _ => None,
        });
        for endpoint in others.flat_map(|slice| &mut slice.endpoints) {
            if let Some(same) = with.endpoints.iter().find(|other| other.address == endpoint.address) {
                endpoint.clone_from(same);
            }
        }
    }

    /// All objects. The Node comes first, and the mark last.
    pub fn objects(&self) -> Vec<(Key, Value)> {
        let is_node = |event: &&Event| matches!(event, Event::Node(_));
        let (node, others): (Vec<&Event>, Vec<&Event>) = self.objects.values().partition(is_node);
        let objects = node.into_iter().chain(others).filter_map(|event| self.written(event));
        let marks = self.mark().into_iter().filter_map(|event| api::object(&event));
        objects
            .chain(marks)
            .filter_map(|object| {
                let kind = ["Node", "Service", "EndpointSlice"].into_iter().find(|k| object["kind"] == *k)?;
                let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
                Some(((kind, text("namespace"), text("name")), object))
            })
            .collect()
    }

    /// The object as a user or controller may write it.
    fn written(&self, event: &Event) -> Option<Value> {
        let mut object = api::object(event)?;
        if let Event::Service(service) = event
            && let Some(extras) = self.extras.get(&service.name)
        {
            extras.write(&mut object);
        }
        if let Event::Slice(slice) = event {
            // Some controllers do not write what is the default.
            for (i, endpoint) in slice.endpoints.iter().enumerate().skip(1).step_by(2) {
                let written = object["endpoints"][i]["conditions"].as_object_mut()?;
                let Conditions { ready, serving, terminating } = endpoint.conditions;
                let is_default = [("ready", ready), ("serving", serving), ("terminating", !terminating)];
                is_default.iter().filter(|(_, is)| *is).for_each(|(name, _)| drop(written.remove(*name)));
            }
        }
        Some(object)
    }

    /// A Service whose port is derived from the step, and slices of both families with the same port: a proxy that
    /// has programmed them, and no older ones, has seen everything sent before.
    fn mark(&self) -> [Event; 3] {
        let port = self.mark_port();
        let slice = |name: &str, address: &str| {
            slice("mark").named(name).named_port("mark", port).endpoints([endpoint(address)]).event()
        };
        let service = service("mark").cluster_ip("10.96.255.1").cluster_ip("fd00:96::ff01");
        // The Service comes last: the virtual server of the old port is removed after everything else.
        [
            slice("mark-ipv4", "10.244.99.1"),
            slice("mark-ipv6", "fd00:10:244:99::1"),
            service.named_port("mark", port).event(),
        ]
    }

    fn mark_port(&self) -> u16 {
        20_000 + self.step
    }

    /// Whether the lines of `ipvsadm -Sn` show that this state, and no older one, has arrived.
    pub fn is_marked(&self, ipvs: &[String]) -> bool {
        let port = self.mark_port();
        let wanted = [
            format!("-A -t 10.96.255.1:{port} "),
            format!("-A -t [fd00:96::ff01]:{port} "),
            format!("-a -t 10.96.255.1:{port} -r 10.244.99.1:{port} "),
            format!("-a -t [fd00:96::ff01]:{port} -r [fd00:10:244:99::1]:{port} "),
        ];
        let marks = ["-t 10.96.255.1:", "-t [fd00:96::ff01]:"];
        let of_mark = ipvs.iter().filter(|line| marks.iter().any(|mark| line.contains(mark))).count();
        of_mark == wanted.len() && wanted.iter().all(|start| ipvs.iter().any(|line| line.starts_with(start)))
    }
}

impl Extras {
    fn write(&self, object: &mut Value) {
        let is_balanced = object["spec"]["type"] == "LoadBalancer";
        let spec = &mut object["spec"];
        if self.v6_first {
            for name in ["clusterIPs", "ipFamilies"] {
                spec.get_mut(name).and_then(Value::as_array_mut).into_iter().for_each(|all| all.reverse());
            }
            if let Some(first) = spec["clusterIPs"].get(0).cloned() {
                spec["clusterIP"] = first;
            }
        }
        if self.prefer_close {
            spec["trafficDistribution"] = "PreferClose".into();
        }
        if is_balanced && self.no_node_ports {
            spec["allocateLoadBalancerNodePorts"] = false.into();
            let ports = spec["ports"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut);
            ports.for_each(|port| drop(port.remove("nodePort")));
        }
        let ingress = object.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
        for (address, mode) in ingress.into_iter().flatten().zip(&self.modes) {
            if let Some(mode) = mode {
                address["ipMode"] = (*mode).into();
            }
        }
    }
}

#[cfg(test)]
mod tests;
