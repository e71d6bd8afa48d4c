//! Samples the kernel's counters of real servers for policies that request them.
//!
//! ```text
//! policy ─wishes─▶ Sampler ─due─▶ (caller reads the kernel) ─readings─▶ Sampler ─counts─▶ policy
//! ```
//!
//! The sampler keeps what pure policies cannot: the previous counters, and decaying sums. A policy sees the same
//! statistics until the next reading, so asking twice gives the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::deadlines::Deadlines;
use crate::objects::ObjectName;
use crate::state::VirtualServer;

/// Readings are due at multiples of this duration, so that services share the fixed work of a reading.
const SLOT: Duration = Duration::from_millis(125);

/// What a policy wants sampled for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// Seconds between readings, 1 to 60.
    pub period: u32,
    /// The age in seconds at which an event counts 1/e in decaying sums; at least 1.
    pub memory: u32,
}

/// A port of a service: its number. The family is that of its endpoints' addresses.
pub type Port = u16;

/// The kernel's counters of one real server of one virtual server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Connections between their first SYN and their first FIN.
    pub active: u32,
    /// The real server's other connections.
    pub inactive: u32,
    /// The weight.
    pub weight: u32,
    /// Total connections, and bytes from and to clients, since a moment known only to the kernel.
    pub totals: Totals,
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Total connections.
    pub connections: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

impl Totals {
    /// What was added since an earlier reading. A counter that is smaller than before restarted at 0.
    pub fn since(self, earlier: Totals) -> Totals {
        let grown = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Totals {
            connections: grown(self.connections, earlier.connections),
            bytes_in: grown(self.bytes_in, earlier.bytes_in),
            bytes_out: grown(self.bytes_out, earlier.bytes_out),
        }
    }

    fn add(&mut self, more: Totals) {
        self.connections = self.connections.saturating_add(more.connections);
        self.bytes_in = self.bytes_in.saturating_add(more.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(more.bytes_out);
    }
}

/// The statistics of an endpoint of a port, summed over the port's virtual servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Active connections at the last reading.
    pub active: u32,
    /// Inactive connections at the last reading.
    pub inactive: u32,
    /// The largest weight on any virtual server.
    pub weight: u32,
    /// Seconds since 1970 at which counting started.
    pub since: u64,
    /// The totals since then.
    pub totals: Totals,
    /// The decaying sums.
    pub recent: Recent,
}

/// Decaying sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// New connections, in thousandths.
    pub connections: u64,
    /// Active connections × milliseconds.
    pub active_time: u64,
}

impl Recent {
    /// The mean duration of a connection in milliseconds, by Little's law; `None` without connections.
    pub fn mean_time(self) -> Option<f64> {
        (self.connections > 0).then(|| self.active_time as f64 * 1000.0 / self.connections as f64)
    }
}

/// The readings of a virtual server, by endpoint; `None` if it could not be read.
pub type Readings = Option<BTreeMap<SocketAddr, Reading>>;

/// Schedules readings and accumulates their results.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    services: BTreeMap<ObjectName, Sampled>,
    /// When each service is read next, as time since 1970.
    due: Deadlines<Duration>,
}

/// One service.
#[derive(Clone, Debug, Default)]
struct Sampled {
    wishes: BTreeSet<Wish>,
    /// When it was last read, as time since 1970.
    last: Option<Duration>,
    /// The counters at the last reading.
    seen: BTreeMap<(VirtualServer, SocketAddr), Totals>,
    counts: BTreeMap<(Port, SocketAddr), Counted>,
}

/// The accumulated values of an endpoint of a port.
#[derive(Clone, Debug)]
struct Counted {
    count: Count,
    /// By memory: connections, and connections × milliseconds.
    recent: BTreeMap<u32, (f64, f64)>,
}

impl Sampler {
    /// Sets what policies want sampled for a service; an empty set stops sampling. `now` is the time since 1970.
    pub fn want(&mut self, service: &ObjectName, wishes: BTreeSet<Wish>, now: Duration) {
        let Some(period) = period(&wishes) else {
            self.forget(service);
            return;
        };
        let known = self.services.entry(service.clone()).or_default();
        if known.wishes != wishes {
            known.wishes = wishes;
            // Spread over the period by name, so that services that are added together are not always read
            // together.
            self.due.set(service, Some(slot(now + period.mul_f64(fraction(service)))));
        }
    }

    /// Forgets a service.
    pub fn forget(&mut self, service: &ObjectName) {
        self.services.remove(service);
        self.due.set(service, None);
    }

    /// What policies want sampled for a service.
    pub fn wishes(&self, service: &ObjectName) -> impl Iterator<Item = Wish> + '_ {
        self.services.get(service).into_iter().flat_map(|sampled| sampled.wishes.iter().copied())
    }

    /// The number of sampled services.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// When the next reading is due.
    pub fn next(&self) -> Option<Duration> {
        self.due.next()
    }

    /// The services that are due to be read now, the longest overdue first, at most `most`.
    pub fn due(&self, now: Duration, most: usize) -> Vec<ObjectName> {
        self.due.due(now).take(most).cloned().collect()
    }

    /// Records a reading of a service: the readings of each of its virtual servers, with the port it belongs to.
    /// Returns whether policies may now see different statistics.
    pub fn take(
        &mut self,
        service: &ObjectName,
        servers: &[(Port, VirtualServer, Readings)],
        now: Duration,
    ) -> bool {
        let Some(sampled) = self.services.get_mut(service) else { return false };
        let period = period(&sampled.wishes).unwrap_or(SLOT);
        let mut due = self.due.get(service).unwrap_or(now);
        while due <= now {
            // Missed readings are not made up for.
            due = slot(due + period).max(slot(now.saturating_sub(period)));
        }
        self.due.set(service, Some(due));
        if servers.iter().any(|(_, _, readings)| readings.is_none()) {
            return false;
        }
        let before = std::mem::take(&mut sampled.counts);
        let seen = std::mem::take(&mut sampled.seen);
        let passed = sampled.last.replace(now).map(|last| now.saturating_sub(last));
        for (port, server, readings) in servers {
            for (endpoint, reading) in readings.iter().flatten() {
                sampled.seen.insert((*server, *endpoint), reading.totals);
                let counted = sampled.counts.entry((*port, *endpoint)).or_insert_with(|| {
                    Counted::go_on(before.get(&(*port, *endpoint)), &sampled.wishes, passed, now)
                });
                // The first reading of a real server only sets the baseline of its counters.
                let more = seen.get(&(*server, *endpoint)).map(|earlier| reading.totals.since(*earlier));
                counted.add(reading, more.zip(passed));
            }
        }
        sampled.counts.values_mut().for_each(Counted::round);
        !(sampled.counts.len() == before.len()
            && sampled
                .counts
                .iter()
                .all(|(key, now)| before.get(key).is_some_and(|old| old.count == now.count)))
    }

    /// The statistics of an endpoint, with the sums for a memory in seconds; `None` before its first reading.
    pub fn count(
        &self,
        service: &ObjectName,
        port: Port,
        endpoint: SocketAddr,
        memory: u32,
    ) -> Option<Count> {
        let counted = self.services.get(service)?.counts.get(&(port, endpoint))?;
        let (connections, active_time) = counted.recent.get(&memory).copied().unwrap_or_default();
        let recent = Recent { connections: whole(connections * 1000.0), active_time: whole(active_time) };
        Some(Count { recent, ..counted.count })
    }
}

impl Counted {
    /// Continues an earlier count: its sums decay by the elapsed time.
    fn go_on(
        before: Option<&Counted>,
        wishes: &BTreeSet<Wish>,
        passed: Option<Duration>,
        now: Duration,
    ) -> Counted {
        let kept = |memory: u32| match (before, passed) {
            (Some(before), Some(passed)) => {
                let left = (-passed.as_secs_f64() / f64::from(memory.max(1))).exp();
                let (connections, time) = before.recent.get(&memory).copied().unwrap_or_default();
                (connections * left, time * left)
            }
            _ => (0.0, 0.0),
        };
        let (since, totals) =
            before.map_or((now.as_secs(), Totals::default()), |old| (old.count.since, old.count.totals));
        Counted {
            count: Count { since, totals, ..Count::default() },
            recent: wishes.iter().map(|wish| (wish.memory, kept(wish.memory))).collect(),
        }
    }

    /// Adds a reading of one virtual server; `more` is what was added since the previous one, and the time in
    /// between.
    fn add(&mut self, reading: &Reading, more: Option<(Totals, Duration)>) {
        self.count.active = self.count.active.saturating_add(reading.active);
        self.count.inactive = self.count.inactive.saturating_add(reading.inactive);
        self.count.weight = self.count.weight.max(reading.weight);
        let Some((more, passed)) = more else { return };
        self.count.totals.add(more);
        for (connections, time) in self.recent.values_mut() {
            *connections += more.connections as f64;
            *time += f64::from(reading.active) * passed.as_secs_f64() * 1000.0;
        }
    }

    /// Drops sums that have almost decayed, so that an idle endpoint stops changing.
    fn round(&mut self) {
        for (connections, time) in self.recent.values_mut() {
            if *connections < 0.001 && *time < 1.0 {
                (*connections, *time) = (0.0, 0.0);
            }
        }
        // To detect changes it is enough to compare one sum of each kind.
        let sums = self.recent.values().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        self.count.recent = Recent { connections: whole(sums.0 * 1000.0), active_time: whole(sums.1) };
    }
}

fn whole(number: f64) -> u64 {
    // Saturates, like all casts from floating-point numbers.
    number.round() as u64
}

/// The shortest wanted period.
fn period(wishes: &BTreeSet<Wish>) -> Option<Duration> {
    wishes.iter().map(|wish| Duration::from_secs(u64::from(wish.period.max(1)))).min()
}

/// Rounds up to a multiple of [`SLOT`].
fn slot(at: Duration) -> Duration {
    let slots = at.as_millis().div_ceil(SLOT.as_millis());
    Duration::from_millis(u64::try_from(slots * SLOT.as_millis()).unwrap_or(u64::MAX))
}

/// A number from 0 to 1 that depends only on a name.
fn fraction(service: &ObjectName) -> f64 {
    let bytes = service.namespace.bytes().chain([b'/']).chain(service.name.bytes());
    // FNV-1a, with a step that spreads the last letters to the upper half.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
