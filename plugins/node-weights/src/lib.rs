//! Weights by node capacity and zone, without nodes in maintenance.
//!
//! ```text
//! weights of earlier plugins × node capacity, shared between this zone and the others, without nodes in maintenance
//! ```
//!
//! The plugin never leaves a VIP without an endpoint: if all endpoints are on nodes in maintenance, they stay in use.

use std::collections::BTreeSet;

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::weights::{Failsafe, Member, heeding, quiesce, said, scheduling, shared, spare};
use weir_plugin_sdk::{
    Context, Endpoint, Error, Node, Plugin, Port, Schedule, Scheduler, Scheduling, Service, export,
};

mod capacity;
mod maintenance;
mod zone;

use capacity::Capacity;
use maintenance::Maintenance;
use zone::{Place, ZoneFirst};

/// The plugin.
#[derive(Debug)]
pub struct NodeWeights {
    capacity: Capacity,
    zone: Option<ZoneFirst>,
    maintenance: Maintenance,
}

impl Plugin for NodeWeights {
    const NAME: &'static str = "node-weights";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn configure(configuration: &str) -> Result<NodeWeights, Vec<String>> {
        Fields::read(configuration, |fields| NodeWeights {
            capacity: Capacity::take(fields),
            zone: fields.object("zone", ZoneFirst::take),
            maintenance: fields.object("maintenance", Maintenance::take).unwrap_or_default(),
        })
    }

    fn needs(&self) -> Vec<String> {
        let mut needs = vec!["endpoints".to_owned()];
        needs.extend(self.capacity.needs());
        needs.extend(self.maintenance.needs());
        needs
    }
}

fn node<'a>(context: &'a Context, endpoint: &Endpoint) -> Option<&'a Node> {
    context.node_named(endpoint.node.as_deref()?)
}

impl NodeWeights {
    fn port(
        &self,
        port: &Port,
        prior: Option<&Scheduling>,
        context: &Context,
        reasons: &mut BTreeSet<String>,
    ) -> Scheduling {
        let before = said(prior, &port.endpoints);
        let out: Vec<bool> = port.endpoints.iter().map(|endpoint| self.is_out(context, endpoint)).collect();
        let mut left = before.clone();
        let failsafe = quiesce(&mut left, &port.endpoints, |index, _| out[index]);
        let place = self.zone.as_ref().and_then(|zone| zone.place(port, &left, context));
        let mut weights = self.shared(port, &left, place.as_ref(), context);
        // The zone may keep everything although a kind of VIP has no endpoint in it.
        spare(&mut weights, &port.endpoints);
        if weights == before {
            let scheduler = if self.is_idle() { None } else { heeding(prior, context) };
            return Scheduling { scheduler, ..Scheduling::default() };
        }
        reasons.extend(place.map(|place| place.reason()));
        if out.iter().zip(&left).any(|(out, weight)| *out && *weight == 0) {
            reasons.insert("nodes in maintenance get no new connections".to_owned());
        }
        if failsafe == Failsafe::Held {
            reasons.insert(format!(
                "nodes in maintenance stay in use, because port {} has no other endpoints",
                port.port
            ));
        }
        scheduling(prior, context, weights)
    }

    /// Whether nothing is configured, so that the plugin never sets a weight.
    fn is_idle(&self) -> bool {
        self.zone.is_none() && self.capacity.needs().is_empty() && self.maintenance.needs().is_empty()
    }

    fn is_out(&self, context: &Context, endpoint: &Endpoint) -> bool {
        node(context, endpoint).is_some_and(|node| self.maintenance.has(node))
    }

    /// `left` × capacity, shared between the zones.
    fn shared(&self, port: &Port, left: &[u16], place: Option<&Place<'_>>, context: &Context) -> Vec<u16> {
        let capacities = self.capacity.of(&port.endpoints, context);
        let member = |((endpoint, weight), capacity): ((&Endpoint, &u16), u64)| Member {
            group: place.map_or(0, |place| place.group(endpoint)),
            // Endpoints that no VIP uses must not get a share.
            counts: if endpoint.is_used() { u64::from(*weight) * capacity } else { 0 },
        };
        let members: Vec<Member> = port.endpoints.iter().zip(left).zip(capacities).map(member).collect();
        let mut weights = shared(&members, &place.map_or(vec![1], Place::shares));
        // A distinct weight for unused endpoints would require another scheduler.
        let common = weights.iter().copied().max().unwrap_or(0).max(1);
        for ((weight, endpoint), left) in weights.iter_mut().zip(&port.endpoints).zip(left) {
            if !endpoint.is_used() {
                *weight = if *left == 0 { 0 } else { common };
            }
        }
        weights
    }
}

impl Scheduler for NodeWeights {
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error> {
        let mut reasons = BTreeSet::new();
        let mut schedule = Schedule::each(service.ports.len(), |index| {
            self.port(&service.ports[index], prior.ports.get(index), context, &mut reasons)
        });
        if schedule.ports.iter().all(|port| *port == Scheduling::default()) {
            schedule.ports.clear();
        }
        Ok(schedule.because(reasons.into_iter().collect::<Vec<String>>().join("; ")))
    }
}

export!(NodeWeights: scheduler);

#[cfg(test)]
mod tests;
