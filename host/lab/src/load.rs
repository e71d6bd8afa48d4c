//! A load ready for simulation: the traffic of one service, with the endpoints of the plans.

use std::net::SocketAddr;
use std::time::Duration;

use crate::traffic::{Group, Rate, ServiceTraffic, Traffic};

/// The load on one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// The Service, as `namespace/name`.
    pub service: String,
    /// The load as written in the file, for reports.
    pub rate: Rate,
    /// Connections per second, over all client nodes.
    pub per_second: f64,
    /// The number of client nodes.
    pub nodes: usize,
    /// Source addresses per node.
    pub clients_per_node: u32,
    /// The time before measuring starts.
    pub warm_up: Duration,
    /// The measured time after that.
    pub duration: Duration,
    /// The addresses of the endpoints.
    pub addresses: Vec<SocketAddr>,
    /// The behaviour of each endpoint.
    pub behaviours: Vec<Group>,
}

/// The most connections of one load: more would need too much memory for a laptop.
const MOST_CONNECTIONS: f64 = 20e6;

/// A service whose traffic does not fit its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The traffic names an address that is not an endpoint.
    #[error("{service}: address {address} is not an endpoint; the endpoints are {endpoints}")]
    UnknownAddress {
        /// The Service.
        service: String,
        /// The address.
        address: std::net::IpAddr,
        /// The existing endpoints.
        endpoints: String,
    },
    /// Two groups name the same address.
    #[error("{service}: address {address} is in two groups of endpoints; keep the address in only one group")]
    Twice {
        /// The Service.
        service: String,
        /// The address.
        address: std::net::IpAddr,
    },
    /// An endpoint is in no group.
    #[error(
        "{service}: the speed of endpoint {address} is not given; name the endpoint in `addresses` of a group, or add \
         a group without `addresses` for all other endpoints"
    )]
    Undescribed {
        /// The Service.
        service: String,
        /// The endpoint.
        address: SocketAddr,
    },
    /// The load needs more than 20 million connections.
    #[error(
        "{service}: a load of {rate} needs {connections} connections, more than 20 million; shorten `duration`"
    )]
    TooMany {
        /// The Service.
        service: String,
        /// The load.
        rate: String,
        /// The number of connections.
        connections: u64,
    },
}

/// The loads of one service, in the order of the file.
///
/// # Errors
/// If the traffic does not fit the endpoints.
pub fn loads(
    traffic: &Traffic,
    service: &ServiceTraffic,
    addresses: &[SocketAddr],
) -> Result<Vec<Load>, LoadError> {
    let behaviours = behaviours(service, addresses)?;
    let capacity: f64 =
        behaviours.iter().map(|group| f64::from(group.workers) / group.time.as_secs_f64()).sum();
    let load = |rate: &Rate| {
        let per_second = match rate {
            Rate::Percent(percent) => capacity * percent / 100.0,
            Rate::PerSecond(rate) => *rate,
        };
        let connections = per_second * (traffic.warm_up + traffic.duration).as_secs_f64();
        if connections > MOST_CONNECTIONS {
            let (service, rate) = (service.service.clone(), rate.to_string());
            return Err(LoadError::TooMany { service, rate, connections: connections as u64 });
        }
        Ok(Load {
            service: service.service.clone(),
            rate: *rate,
            per_second,
            nodes: traffic.client_nodes.count(),
            clients_per_node: traffic.clients_per_node,
            warm_up: traffic.warm_up,
            duration: traffic.duration,
            addresses: addresses.to_vec(),
            behaviours: behaviours.clone(),
        })
    };
    service.loads.iter().map(load).collect()
}

/// The group of each endpoint.
fn behaviours(service: &ServiceTraffic, addresses: &[SocketAddr]) -> Result<Vec<Group>, LoadError> {
    let name = || service.service.clone();
    let mut of: Vec<Option<&Group>> = vec![None; addresses.len()];
    for group in &service.endpoints {
        for address in group.addresses.iter().flatten() {
            let mut found = false;
            for (slot, _) in of.iter_mut().zip(addresses).filter(|(_, other)| other.ip() == *address) {
                found = true;
                if slot.replace(group).is_some() {
                    return Err(LoadError::Twice { service: name(), address: *address });
                }
            }
            if !found {
                let endpoints: Vec<String> = addresses.iter().map(|other| other.ip().to_string()).collect();
                let endpoints = endpoints.join(", ");
                return Err(LoadError::UnknownAddress { service: name(), address: *address, endpoints });
            }
        }
    }
    let others = service.endpoints.iter().find(|group| group.addresses.is_none());
    let filled = of.into_iter().zip(addresses).map(|(group, address)| {
        let group = group.or(others);
        group.cloned().ok_or_else(|| LoadError::Undescribed { service: name(), address: *address })
    });
    filled.collect()
}

impl Load {
    /// The capacity of each endpoint at the start, in connections per second.
    pub fn capacities(&self) -> Vec<f64> {
        let capacity = |group: &Group| f64::from(group.workers) / group.time.as_secs_f64();
        self.behaviours.iter().map(capacity).collect()
    }

    /// The length of a slice of the timeline: a sixtieth of the whole, at least a second.
    pub fn slice_length(&self) -> Duration {
        ((self.warm_up + self.duration) / 60).max(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(endpoints: &str) -> Result<Vec<Load>, LoadError> {
        let text = format!("services: [{{service: a/b, loads: [50%, 7/s], endpoints: [{endpoints}]}}]");
        let traffic = Traffic::parse(&text).unwrap();
        let addresses: Vec<SocketAddr> = (1..=3).map(|i| SocketAddr::from(([10, 0, 0, i], 80))).collect();
        loads(&traffic, &traffic.services[0], &addresses)
    }

    #[test]
    fn a_load_is_a_part_of_the_capacity_or_a_rate() {
        let loads = with("{addresses: [10.0.0.2], time: 200ms, workers: 2}, {time: 100ms}").unwrap();
        assert_eq!(loads[0].capacities(), [10.0, 10.0, 10.0]);
        assert_eq!((loads[0].per_second, loads[1].per_second), (15.0, 7.0));
    }

    #[test]
    fn endpoints_that_do_not_fit_are_named() {
        let said = |endpoints: &str| with(endpoints).unwrap_err().to_string();
        assert!(
            said("{addresses: [10.0.0.9], time: 1s}")
                .contains("10.0.0.9 is not an endpoint; the endpoints are 10")
        );
        assert!(said("{addresses: [10.0.0.1, 10.0.0.1], time: 1s}").contains("10.0.0.1 is in two groups"));
        assert!(said("{addresses: [10.0.0.1], time: 1s}").contains("the speed of endpoint 10.0.0.2:80"));
        assert!(said("{time: 1us}").contains("more than 20 million"));
    }
}
