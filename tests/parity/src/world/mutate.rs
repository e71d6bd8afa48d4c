//! Mutations of clusters.

use super::slice::{self, Slice};
use super::{PLACES, World, ZONES};
use crate::Random;

/// The number of kinds of mutations.
#[cfg(test)]
pub(super) const DEEDS: usize = 22;

impl World {
    /// Makes a change, and returns its description.
    pub fn mutate(&mut self, random: &mut Random) -> String {
        loop {
            let before = (self.zone, self.services.clone(), self.slices.clone(), self.endpoints.clone());
            let deed = self.try_something(random);
            let changed =
                before != (self.zone, self.services.clone(), self.slices.clone(), self.endpoints.clone());
            if let Some(deed) = deed.filter(|_| changed && self.shows(&before)) {
                return deed;
            }
            (self.zone, self.services, self.slices, self.endpoints) = before;
        }
    }

    /// Whether objects differ: a Service keeps some settings internally while its type does not allow them.
    fn shows(&self, before: &Before) -> bool {
        let mut old = self.clone();
        (old.zone, old.services, old.slices, old.endpoints) = before.clone();
        old.objects() != self.objects()
    }

    fn try_something(&mut self, random: &mut Random) -> Option<String> {
        match random.below(31) {
            0 | 1 => self.add_some_service(random),
            2 => self.remove_service(random, true),
            3 => self.remove_service(random, false),
            4 | 5 => self.with_service(random, "type", |service, random| service.change_shape(random)),
            6 | 7 => self.with_service(random, "policy", |service, random| service.change_policy(random)),
            8 => self.with_service(random, "affinity", |service, random| service.change_affinity(random)),
            9 => self.with_service(random, "external IPs", |service, random| service.change_external(random)),
            10 | 11 => {
                self.with_service(random, "load balancer", |service, random| service.change_balancers(random))
            }
            12 | 13 => {
                self.with_service(random, "source ranges", |service, random| service.change_ranges(random))
            }
            14 | 15 => self.with_service(random, "ports", |service, random| service.change_ports(random)),
            16 => self.with_service(random, "other proxy", |service, _| service.change_proxy()),
            17 => self.with_service(random, "node ports", |service, _| service.change_node_ports()),
            18 | 19 => self.change_conditions(random),
            20 | 21 => self.add_endpoint(random),
            22 | 23 => self.remove_endpoint(random),
            24 => self.move_slice(random),
            25 => self.remove_slice(random),
            26 => self.add_some_slice(random),
            27 => self.follow_ports(random),
            28 => self.share_endpoint(random),
            29 => self.change_hints(random),
            _ => Some(self.change_zone(random)),
        }
    }

    fn add_some_service(&mut self, random: &mut Random) -> Option<String> {
        let free: Vec<u8> = (0..PLACES).filter(|number| !self.services.contains_key(number)).collect();
        if free.is_empty() {
            return None;
        }
        let number = *random.one(&free);
        // Leftover slices belong to the previous service of this name.
        let left: Vec<u32> = self.slices_of(number);
        self.add_service(number, random);
        Some(format!("new service: s{number}, with {} existing slices", left.len()))
    }

    fn some_service(&self, random: &mut Random) -> Option<u8> {
        let all: Vec<u8> = self.services.keys().copied().collect();
        (!all.is_empty()).then(|| *random.one(&all))
    }

    fn some_slice(&self, random: &mut Random) -> Option<u32> {
        let all: Vec<u32> = self.slices.keys().copied().collect();
        (!all.is_empty()).then(|| *random.one(&all))
    }

    fn slices_of(&self, service: u8) -> Vec<u32> {
        self.slices.iter().filter(|(_, slice)| slice.service == service).map(|(number, _)| *number).collect()
    }

    fn remove_service(&mut self, random: &mut Random, with_slices: bool) -> Option<String> {
        let number = self.some_service(random)?;
        self.services.remove(&number);
        if with_slices {
            self.slices.retain(|_, slice| slice.service != number);
            return Some(format!("service and slices removed: s{number}"));
        }
        Some(format!("service removed: s{number}, its slices stay"))
    }

    fn with_service(
        &mut self,
        random: &mut Random,
        what: &str,
        change: impl FnOnce(&mut super::Service, &mut Random),
    ) -> Option<String> {
        let number = self.some_service(random)?;
        change(self.services.get_mut(&number)?, random);
        Some(format!("{what}: s{number}"))
    }

    fn some_endpoint(&self, random: &mut Random) -> Option<(u8, String)> {
        let slice = &self.slices[&self.some_slice(random)?];
        (!slice.addresses.is_empty()).then(|| (slice.service, random.one(&slice.addresses).clone()))
    }

    fn change_conditions(&mut self, random: &mut Random) -> Option<String> {
        let key = self.some_endpoint(random)?;
        self.endpoints.get_mut(&key)?.change_conditions(random);
        Some(format!("conditions: {} of s{}", key.1, key.0))
    }

    fn add_endpoint(&mut self, random: &mut Random) -> Option<String> {
        let number = self.some_slice(random)?;
        let slice = self.slices.get_mut(&number)?;
        let address = slice::address(slice.family, random);
        slice.add(address.clone());
        let key = (slice.service, address.clone());
        let endpoint = super::Endpoint::random(&address, random);
        self.endpoints.entry(key).or_insert(endpoint);
        Some(format!("endpoint added: {address} in slice {number}"))
    }

    fn remove_endpoint(&mut self, random: &mut Random) -> Option<String> {
        let number = self.some_slice(random)?;
        let addresses = &mut self.slices.get_mut(&number)?.addresses;
        if addresses.is_empty() {
            return None;
        }
        let address = addresses.remove(random.below(addresses.len()));
        Some(format!("endpoint removed: {address} from slice {number}"))
    }

    /// The same slice under another name, as when controllers consolidate slices.
    fn move_slice(&mut self, random: &mut Random) -> Option<String> {
        let number = self.some_slice(random)?;
        let slice = self.slices.remove(&number)?;
        self.slices.insert(self.next_slice, slice);
        self.next_slice += 1;
        Some(format!("slice renamed: {number} to {}", self.next_slice - 1))
    }

    fn remove_slice(&mut self, random: &mut Random) -> Option<String> {
        let number = self.some_slice(random)?;
        self.slices.remove(&number);
        Some(format!("slice removed: {number}"))
    }

    fn add_some_slice(&mut self, random: &mut Random) -> Option<String> {
        let service = self.some_service(random)?;
        let families = self.services[&service].families.all();
        let family = *random.one(&families);
        self.add_slice(service, family, random);
        Some(format!("slice added: to s{service}"))
    }

    fn follow_ports(&mut self, random: &mut Random) -> Option<String> {
        let number = self.some_slice(random)?;
        let slice = self.slices.get_mut(&number)?;
        let service = self.services.get(&slice.service)?;
        slice.follow(service, *random.one(&[0, 0, 100]));
        Some(format!("slice ports: {number}"))
    }

    /// An endpoint in two slices, as while one is being moved.
    fn share_endpoint(&mut self, random: &mut Random) -> Option<String> {
        let number = self.some_slice(random)?;
        let from: Slice = self.slices[&number].clone();
        let others = self.slices_of(from.service).into_iter();
        let others: Vec<u32> =
            others.filter(|other| *other != number && self.slices[other].family == from.family).collect();
        if others.is_empty() || from.addresses.is_empty() {
            return None;
        }
        let (to, address) = (*random.one(&others), random.one(&from.addresses).clone());
        self.slices.get_mut(&to)?.add(address.clone());
        Some(format!("endpoint shared: {address} in slices {number} and {to}"))
    }

    fn change_hints(&mut self, random: &mut Random) -> Option<String> {
        let service = self.some_service(random)?;
        // Hints only count if all endpoints have them.
        let all = random.percent(70);
        for (key, endpoint) in &mut self.endpoints {
            if key.0 == service && (all || random.percent(50)) {
                endpoint.change_hints(random);
            }
        }
        Some(format!("hints: s{service}"))
    }

    fn change_zone(&mut self, random: &mut Random) -> String {
        self.zone = *random.one(&[None, Some(ZONES[0]), Some(ZONES[1])]);
        format!("zone: {:?}", self.zone)
    }
}

type Before = (
    Option<&'static str>,
    std::collections::BTreeMap<u8, super::Service>,
    std::collections::BTreeMap<u32, Slice>,
    std::collections::BTreeMap<(u8, String), super::Endpoint>,
);
