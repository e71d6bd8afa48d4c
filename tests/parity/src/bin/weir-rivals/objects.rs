//! The objects that all proxies see, and their changes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_cluster::Client;
use weir_core::objects::Endpoint;
use weir_world::{api, build};

/// The node that all proxies run on.
pub(crate) const NODE: &str = "node1";

/// Its address.
pub(crate) const NODE_ADDRESS: &str = "10.0.2.15";

/// Endpoints of each service.
pub(crate) const ENDPOINTS: u32 = 10;

/// Additional services with one endpoint each, whose changes are measured.
pub(crate) const PROBES: u32 = 64;

/// The port of services.
const PORT: u16 = 80;

/// The port of all endpoints.
pub(crate) const TARGET_PORT: u16 = 8080;

const NAMESPACE: &str = "bench";

/// Connections to the API server while objects are written.
const WRITERS: u32 = 8;

/// How late a background change may be before the rate counts as missed.
const LATE: Duration = Duration::from_secs(5);

/// A service: one of many with ten endpoints, or a probe with a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Plain(u32),
    Probe(u32),
}

impl Service {
    fn name(self) -> String {
        match self {
            Service::Plain(n) => format!("service-{n:05}"),
            Service::Probe(n) => format!("probe-{n:02}"),
        }
    }

    /// The address of its cluster IP.
    pub(crate) fn address(self) -> SocketAddrV4 {
        // The first network contains the API server's own service, the last one the probes.
        let number = match self {
            Service::Plain(n) => n + 256,
            Service::Probe(n) => 255 * 256 + n,
        };
        let [_, _, high, low] = number.to_be_bytes();
        SocketAddrV4::new(Ipv4Addr::new(10, 96, high, low), PORT)
    }

    fn full_name(self) -> String {
        format!("{NAMESPACE}/{}", self.name())
    }

    fn service(self) -> Value {
        let service = build::service(&self.full_name()).cluster_ip(self.address().ip());
        api::service(&service.named_port("http", PORT).build())
    }

    /// The endpoints in a generation: each generation differs from the one before in a single endpoint.
    fn endpoints(self, generation: u32) -> Vec<Endpoint> {
        match self {
            Service::Plain(n) => {
                let [_, _, high, low] = n.to_be_bytes();
                let network = |i| if i == 0 && generation % 2 == 1 { ENDPOINTS } else { i };
                (0..ENDPOINTS)
                    .map(|i| endpoint(Ipv4Addr::new(10, 128 + network(i) as u8, high, low)))
                    .collect()
            }
            Service::Probe(n) => vec![endpoint(probe_endpoint(n, generation))],
        }
    }

    fn slice(self) -> Value {
        let endpoints = self.endpoints(0);
        let slice = build::slice(&self.full_name()).named(&self.name()).named_port("http", TARGET_PORT);
        api::slice(&slice.endpoints(endpoints).build())
    }
}

fn endpoint(address: Ipv4Addr) -> Endpoint {
    Endpoint { node: Some("elsewhere".into()), ..build::endpoint(address) }
}

/// The only endpoint of a probe in a generation: each change gives it an address it never had before.
pub(crate) fn probe_endpoint(probe: u32, generation: u32) -> Ipv4Addr {
    let [_, _, high, low] = generation.to_be_bytes();
    Ipv4Addr::new(10, 192 + (high & 31), low, u8::try_from(probe + 1).unwrap_or(u8::MAX))
}

/// Replaces an endpoint of a service: the only one of a probe.
pub(crate) fn change(client: &Client, service: Service, generation: u32) -> Result<()> {
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/{}", service.name());
    let slice = build::slice(NAMESPACE).endpoints(service.endpoints(generation));
    let body = json!({ "endpoints": api::slice(&slice.build())["endpoints"] });
    let answer = client.request("PATCH", &path, "application/merge-patch+json", &body.to_string())?;
    answer.expect("changing an endpoint").map(drop)
}

/// Changes the services one after the other, over and over, this many each second.
///
/// # Errors
/// When a change fails, or the API server is too slow for the rate.
pub(crate) fn write(client: &Client, services: u32, rate: u32) -> Result<()> {
    let interval = Duration::from_secs(1).checked_div(rate).context("--background must be at least 1")?;
    let start = Instant::now();
    in_parallel(|number| {
        let due = start + interval * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        ensure!(due.elapsed() < LATE, "the API server cannot make {rate} changes per second");
        change(client, Service::Plain(number % services), 1 + number / services)?;
        Ok(true)
    })
}

/// Calls `step` with 0, 1, 2 ... from several threads, until it returns false or fails.
fn in_parallel(step: impl Fn(u32) -> Result<bool> + Sync) -> Result<()> {
    let (next, failed) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let run = || {
            while !failed.load(Ordering::Relaxed) {
                let goes_on = step(next.fetch_add(1, Ordering::Relaxed));
                failed.fetch_or(goes_on.is_err(), Ordering::Relaxed);
                if !goes_on? {
                    break;
                }
            }
            Ok(())
        };
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(run)).collect();
        writers.into_iter().try_for_each(|writer| writer.join().ok().context("a writer panicked")?)
    })
}

/// Writes everything to an empty API server.
pub(crate) fn fill(client: &Client, services: u32) -> Result<()> {
    client.apply_value(
        &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }),
    )?;
    client.apply_value(&json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": NODE, "labels": { "kubernetes.io/hostname": NODE } },
        "spec": { "podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"] },
        "status": { "addresses": [{ "type": "InternalIP", "address": NODE_ADDRESS }] },
    }))?;
    let all: Vec<Service> =
        (0..services).map(Service::Plain).chain((0..PROBES).map(Service::Probe)).collect();
    in_parallel(|number| {
        let Some(service) = all.get(number as usize) else { return Ok(false) };
        create(client, "/api/v1", "services", &service.service())?;
        create(client, "/apis/discovery.k8s.io/v1", "endpointslices", &service.slice())?;
        Ok(true)
    })
}

fn create(client: &Client, api: &str, plural: &str, object: &Value) -> Result<()> {
    let path = format!("{api}/namespaces/{NAMESPACE}/{plural}");
    let answer = client.request("POST", &path, "application/json", &object.to_string())?;
    answer.expect("creating an object").map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_services_share_an_address() {
        let services = (0..30_000).map(Service::Plain).chain((0..PROBES).map(Service::Probe));
        let addresses: BTreeSet<SocketAddrV4> = services.map(Service::address).collect();
        assert_eq!(addresses.len(), 30_000 + PROBES as usize);
    }

    #[test]
    fn a_background_change_replaces_one_endpoint() {
        let addresses =
            |generation| Service::Plain(5).endpoints(generation).into_iter().map(|e| e.address).collect();
        let generations: Vec<BTreeSet<_>> = (0..4).map(addresses).collect();
        for pair in generations.windows(2) {
            assert_eq!(pair[0].difference(&pair[1]).count(), 1);
            assert_eq!(pair[1].len(), ENDPOINTS as usize);
        }
    }

    #[test]
    fn a_change_is_to_an_endpoint_that_was_never_there() {
        let all: BTreeSet<Ipv4Addr> =
            (0..PROBES).flat_map(|n| (0..1000).map(move |g| probe_endpoint(n, g))).collect();
        assert_eq!(all.len(), PROBES as usize * 1000);
    }
}
