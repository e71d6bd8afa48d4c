//! Traffic through a node in numbers: the model behind `weir top`. It has no clock, terminal or kernel.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use weir_core::net::Protocol;
use weir_core::sampling::{Reading, Readings, Totals};
use weir_core::state::VirtualServer;
use weir_kernel::linux::{AllTraffic, Traffic};

pub(crate) mod app;
pub(crate) mod view;

/// Rates are averages over this time, or over the time between two readings if that is longer. IPVS updates its
/// counters only every two seconds (`estimation_timer` in `net/netfilter/ipvs/ip_vs_est.c`), so a short time would
/// contain one update too many or too few.
const WINDOW: Duration = Duration::from_secs(8);

/// Reading takes at most one part in this many of the time: 2 % of a CPU. Drawing is cheap, because only visible rows
/// are drawn.
const SHARE: u32 = 50;

/// A reading that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// A time since an arbitrary moment.
    ended: Duration,
    took: Duration,
    /// Why it failed.
    error: Option<String>,
}

impl Attempt {
    /// The pause until the next reading, at least `interval`.
    fn pause(&self, interval: Duration) -> Duration {
        interval.max(self.took * SHARE)
    }
}

/// Traffic through a virtual server or to one of its real servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flow {
    pub(crate) connections_per_second: f64,
    /// Connections between their first SYN and their first FIN.
    pub(crate) active: u64,
    /// Other connections that IPVS still tracks.
    pub(crate) inactive: u64,
    /// From clients.
    pub(crate) bytes_in_per_second: f64,
    /// To clients.
    pub(crate) bytes_out_per_second: f64,
}

/// Traffic through one virtual server.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Service {
    #[serde(serialize_with = "as_text")]
    pub(crate) virtual_server: VirtualServer,
    pub(crate) scheduler: String,
    #[serde(flatten)]
    pub(crate) flow: Flow,
    /// The number of real servers that accept new connections.
    pub(crate) real_servers: u32,
    /// The number of real servers with weight 0.
    pub(crate) quiesced: u32,
}

/// Traffic to one real server of a virtual server. `share_had` and `mean_time_ms` are measured since watching began.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    pub(crate) real_server: SocketAddr,
    pub(crate) weight: u32,
    /// Its fraction of the sum of weights, from 0 to 1; `None` if that sum is 0.
    pub(crate) share_wanted: Option<f64>,
    /// Its fraction of new connections, from 0 to 1; `None` before the first one.
    pub(crate) share_had: Option<f64>,
    #[serde(flatten)]
    pub(crate) flow: Flow,
    /// The mean duration of a connection by Little's law, W = L/λ: mean active connections divided by new connections
    /// per second. `None` before the first one, and for UDP, whose connections IPVS never counts as active.
    pub(crate) mean_time_ms: Option<f64>,
    /// Whether the daemon removes it as soon as its connections end.
    pub(crate) draining: bool,
    /// Seconds until it is removed even if it still has connections; `None` without a deadline.
    pub(crate) deadline_in_seconds: Option<u64>,
}

/// The real servers that the daemon wants to remove, with the seconds until their deadlines.
pub(crate) type Leaving = BTreeMap<SocketAddr, Option<u64>>;

fn as_text<S: Serializer>(server: &VirtualServer, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(server)
}

/// The order of rows: the largest first, then by address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// New connections per second.
    #[default]
    Rate,
    /// Active connections.
    Active,
    /// Bytes per second, the sum of both directions.
    Bytes,
    /// Protocol, address and port.
    Address,
}

impl Sort {
    /// The next order.
    pub(crate) fn next(self) -> Sort {
        match self {
            Sort::Rate => Sort::Active,
            Sort::Active => Sort::Bytes,
            Sort::Bytes => Sort::Address,
            Sort::Address => Sort::Rate,
        }
    }

    /// Its name on the screen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Sort::Rate => "connections per second",
            Sort::Active => "active connections",
            Sort::Bytes => "bytes per second",
            Sort::Address => "address",
        }
    }

    fn compare(self, a: &Flow, b: &Flow) -> Ordering {
        let bytes = |of: &Flow| of.bytes_in_per_second + of.bytes_out_per_second;
        match self {
            Sort::Rate => b.connections_per_second.total_cmp(&a.connections_per_second),
            Sort::Active => b.active.cmp(&a.active),
            Sort::Bytes => bytes(b).total_cmp(&bytes(a)),
            Sort::Address => Ordering::Equal,
        }
    }
}

/// The counters of the last readings, by address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window<K>(VecDeque<(Duration, BTreeMap<K, Totals>)>);

impl<K> Default for Window<K> {
    fn default() -> Window<K> {
        Window(VecDeque::new())
    }
}

impl<K: Ord> Window<K> {
    /// Adds a reading made at `now`, a time since an arbitrary moment, and drops readings that are no longer needed.
    fn push(&mut self, now: Duration, counters: BTreeMap<K, Totals>) {
        while self.0.get(1).is_some_and(|(then, _)| now.saturating_sub(*then) >= WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back((now, counters));
    }

    /// The time between its first and its last reading.
    pub(crate) fn time(&self) -> Duration {
        self.since(0).0
    }

    /// The increase from the reading at `index` to the last one, and the time between them.
    fn since(&self, index: usize) -> (Duration, impl Fn(&K) -> Totals) {
        let (first, last) = (self.0.get(index), self.0.back());
        let time = first.zip(last).map(|((then, _), (now, _))| now.saturating_sub(*then));
        let of = |reading: Option<&(Duration, BTreeMap<K, Totals>)>, key: &K| {
            // Counters of new keys started at 0.
            reading.and_then(|(_, counters)| counters.get(key).copied()).unwrap_or_default()
        };
        (time.unwrap_or_default(), move |key: &K| of(last, key).since(of(first, key)))
    }

    /// The increase since the previous reading.
    fn since_last(&self) -> (Duration, impl Fn(&K) -> Totals) {
        self.since(self.0.len().saturating_sub(2))
    }
}

fn flow(added: Totals, time: Duration, active: u64, inactive: u64) -> Flow {
    let rate = |number: u64| if time.is_zero() { 0.0 } else { number as f64 / time.as_secs_f64() };
    Flow {
        connections_per_second: rate(added.connections),
        active,
        inactive,
        bytes_in_per_second: rate(added.bytes_in),
        bytes_out_per_second: rate(added.bytes_out),
    }
}

/// Adds a reading made at `now` to `window`, and returns the traffic through each virtual server.
fn services(window: &mut Window<VirtualServer>, now: Duration, traffic: AllTraffic) -> Vec<Service> {
    window.push(now, traffic.iter().map(|(server, traffic)| (*server, traffic.totals)).collect());
    let (time, added) = window.since(0);
    let service = |(server, traffic): (VirtualServer, Traffic)| Service {
        virtual_server: server,
        scheduler: traffic.scheduler,
        flow: flow(added(&server), time, traffic.active, traffic.inactive),
        real_servers: traffic.real_servers,
        quiesced: traffic.quiesced,
    };
    traffic.into_iter().map(service).collect()
}

/// A virtual server whose real servers are watched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Watched {
    pub(crate) server: VirtualServer,
    /// Whether the kernel had it at the last reading.
    pub(crate) exists: bool,
    last: Option<Attempt>,
    window: Window<SocketAddr>,
    /// Sums since watching began.
    sums: BTreeMap<SocketAddr, Sum>,
    /// Sorted by address after each reading.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Sums of one real server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    /// New connections.
    connections: u64,
    /// Active connections × seconds.
    busy: f64,
}

impl Watched {
    /// Starts without a reading.
    pub(crate) fn new(server: VirtualServer) -> Watched {
        let (window, sums) = (Window::default(), BTreeMap::new());
        Watched { server, exists: true, last: None, window, sums, endpoints: Vec::new() }
    }

    /// Adds a reading made at `now`, a time since an arbitrary moment; `None` if the kernel does not have the virtual
    /// server. The first reading only sets the baseline.
    pub(crate) fn take(&mut self, readings: Readings, now: Duration, leaving: &Leaving) {
        self.exists = readings.is_some();
        let readings = readings.unwrap_or_default();
        self.window.push(now, readings.iter().map(|(address, of)| (*address, of.totals)).collect());
        let (passed, added) = self.window.since_last();
        self.sums.retain(|address, _| readings.contains_key(address));
        for (address, reading) in &readings {
            let sum = self.sums.entry(*address).or_default();
            sum.connections += added(address).connections;
            sum.busy += f64::from(reading.active) * passed.as_secs_f64();
        }
        let (time, added) = self.window.since(0);
        let weights: u64 = readings.values().map(|reading| u64::from(reading.weight)).sum();
        let connections: u64 = self.sums.values().map(|sum| sum.connections).sum();
        let part = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        let has_active = self.server.protocol != Protocol::Udp;
        let endpoint = |(address, reading): (SocketAddr, Reading)| {
            let sum = self.sums.get(&address).copied().unwrap_or_default();
            let has_time = has_active && sum.connections > 0;
            Endpoint {
                real_server: address,
                weight: reading.weight,
                share_wanted: part(reading.weight.into(), weights),
                share_had: part(sum.connections, connections),
                flow: flow(added(&address), time, reading.active.into(), reading.inactive.into()),
                mean_time_ms: has_time.then(|| sum.busy * 1000.0 / sum.connections as f64),
                draining: leaving.contains_key(&address),
                deadline_in_seconds: leaving.get(&address).copied().flatten(),
            }
        };
        self.endpoints = readings.into_iter().map(endpoint).collect();
    }
}

#[cfg(test)]
mod tests;
