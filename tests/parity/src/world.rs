//! The generated cluster.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Random;

mod mutate;
mod service;
mod slice;

use service::Service;
use slice::{Endpoint, Family, Slice};

/// The node on which both programs run.
pub const NODE: &str = "node1";

const ZONES: &[&str] = &["a", "b"];

/// The maximum number of Services.
const PLACES: u8 = 10;

/// Kind, namespace and name.
pub type Key = (&'static str, String, String);

/// A cluster that can change. The addresses and ports of Services are derived from their numbers, so no two share
/// a virtual server.
#[derive(Clone, Debug)]
pub struct World {
    zone: Option<&'static str>,
    services: BTreeMap<u8, Service>,
    slices: BTreeMap<u32, Slice>,
    /// By Service number and address. Slices only list addresses: with two conditions for one endpoint,
    /// kube-proxy's choice would be random.
    endpoints: BTreeMap<(u8, String), Endpoint>,
    next_slice: u32,
    step: u16,
}

impl World {
    /// Creates the initial cluster of a seed.
    pub fn random(random: &mut Random) -> World {
        let zone = if random.percent(70) { Some(*random.one(ZONES)) } else { None };
        let mut world = World {
            zone,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            next_slice: 0,
            step: 0,
        };
        for number in 0..random.between(4, 7) {
            world.add_service(u8::try_from(number).unwrap_or(0), random);
        }
        world
    }

    /// A cluster that only contains what [`World::mark`] needs, with its own step.
    pub fn empty(step: u16) -> World {
        let mut world = World::random(&mut Random::new(0));
        world.services.clear();
        world.slices.clear();
        world.endpoints.clear();
        world.step = step;
        world
    }

    /// Numbers the state, to distinguish it from all others.
    pub fn set_step(&mut self, step: u16) {
        self.step = step;
    }

    /// All objects. The Node comes first, and the mark last.
    pub fn objects(&self) -> Vec<(Key, Value)> {
        let mut objects = vec![self.node()];
        objects.extend(self.services.values().map(Service::object));
        objects.extend(self.slices.iter().map(|(number, slice)| slice.object(*number, &self.endpoints)));
        objects.extend(self.mark_objects());
        objects
            .into_iter()
            .filter_map(|object| {
                let kind = ["Node", "Service", "EndpointSlice"].into_iter().find(|k| object["kind"] == *k)?;
                let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
                Some(((kind, text("namespace"), text("name")), object))
            })
            .collect()
    }

    fn node(&self) -> Value {
        let mut labels = json!({ "kubernetes.io/hostname": NODE });
        if let Some(zone) = self.zone {
            labels["topology.kubernetes.io/zone"] = zone.into();
        }
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": NODE, "labels": labels },
            "spec": { "podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00:10:244::/64"] },
            "status": { "addresses": [
                { "type": "InternalIP", "address": "10.0.2.15" },
                { "type": "InternalIP", "address": "fec0::15" },
            ] },
        })
    }

    /// A Service whose port is derived from the step, and slices of both families with the same port: a proxy that
    /// has programmed them, and no older ones, has seen everything sent before.
    fn mark_objects(&self) -> Vec<Value> {
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "mark", "namespace": "default" },
            "spec": {
                "type": "ClusterIP",
                "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": ["IPv4", "IPv6"],
                "clusterIP": "10.96.255.1",
                "clusterIPs": ["10.96.255.1", "fd00:96::ff01"],
                "ports": [{ "name": "mark", "port": self.mark_port(), "protocol": "TCP" }],
            },
        });
        let slice = |family: &str, address: &str| {
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("mark-{}", family.to_lowercase()),
                    "namespace": "default",
                    "labels": { "kubernetes.io/service-name": "mark" },
                },
                "addressType": family,
                "ports": [{ "name": "mark", "port": self.mark_port(), "protocol": "TCP" }],
                "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
            })
        };
        // The Service comes last: the virtual server of the old port is removed after everything else.
        vec![slice("IPv4", "10.244.99.1"), slice("IPv6", "fd00:10:244:99::1"), service]
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

    fn add_service(&mut self, number: u8, random: &mut Random) {
        let service = Service::random(number, random);
        let families = service.families.all();
        self.services.insert(number, service);
        for family in families {
            for _ in 0..random.between(0, 2) {
                self.add_slice(number, family, random);
            }
        }
    }

    fn add_slice(&mut self, service: u8, family: Family, random: &mut Random) {
        let Some(of) = self.services.get(&service) else { return };
        let mut slice = Slice::new(of, family);
        for _ in 0..random.between(0, 4) {
            slice.add(slice::address(family, random));
        }
        for address in &slice.addresses {
            let key = (service, address.clone());
            self.endpoints.entry(key).or_insert_with(|| Endpoint::random(address, random));
        }
        self.slices.insert(self.next_slice, slice);
        self.next_slice += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(world: &World) -> String {
        world.objects().iter().map(|(_, object)| object.to_string()).collect()
    }

    #[test]
    fn a_seed_means_the_same_every_time() {
        let run = || {
            let mut random = Random::new(7);
            let mut world = World::random(&mut random);
            let deeds: Vec<String> = (0..50).map(|_| world.mutate(&mut random)).collect();
            (deeds, text(&world))
        };
        assert_eq!(run(), run());
        assert_ne!(text(&World::random(&mut Random::new(7))), text(&World::random(&mut Random::new(8))));
    }

    #[test]
    fn every_mutation_changes_some_object() {
        let mut deeds = BTreeSet::new();
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let mut world = World::random(&mut random);
            for _ in 0..20 {
                let before = text(&world);
                let deed = world.mutate(&mut random);
                assert_ne!(before, text(&world), "{deed}");
                deeds.insert(deed.split(':').next().unwrap_or_default().to_owned());
            }
        }
        assert_eq!(deeds.len(), mutate::DEEDS, "{deeds:?}");
    }

    #[test]
    fn only_one_state_is_marked_with_its_step() {
        let world = World::empty(3);
        let lines = |port: u16| {
            [
                format!("-A -t 10.96.255.1:{port} -s rr"),
                format!("-a -t 10.96.255.1:{port} -r 10.244.99.1:{port} -m -w 1"),
                format!("-A -t [fd00:96::ff01]:{port} -s rr"),
                format!("-a -t [fd00:96::ff01]:{port} -r [fd00:10:244:99::1]:{port} -m -w 1"),
            ]
        };
        assert!(world.is_marked(&lines(20_003)));
        assert!(!world.is_marked(&lines(20_004)));
        assert!(!world.is_marked(&lines(20_003)[..3]));
        assert!(!world.is_marked(&[lines(20_003), lines(20_002)].concat()), "an older one still exists");
    }
}
