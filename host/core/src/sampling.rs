//! What the kernel counts for real servers, sampled for the policies that ask for it.
//!
//! ```text
//! policy ─wishes─▶ Sampler ─due─▶ (caller reads the kernel) ─readings─▶ Sampler ─counts─▶ policy
//! ```
//!
//! The sampler keeps what pure policies cannot: what the counters were when they were last read, and sums that forget. A
//! policy sees the same counts until the next reading, so that asking twice gives the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::deadlines::Deadlines;
use crate::objects::ObjectName;
use crate::state::VirtualServer;

/// Readings are due at multiples of this, so that services share the work around a reading.
const SLOT: Duration = Duration::from_millis(125);

/// What a policy wants sampled of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// Seconds between two readings, 1 to 60.
    pub period: u32,
    /// The age in seconds at which something counts 1/e in the sums that forget; at least 1.
    pub memory: u32,
}

/// A port of a service: its number, and the family by the addresses of its endpoints.
pub type Port = u16;

/// What the kernel says of one real server of one virtual server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Connections between their first SYN and their first FIN.
    pub active: u32,
    /// Other connections that it knows.
    pub inactive: u32,
    /// The weight.
    pub weight: u32,
    /// Connections begun, and bytes from and to clients, since a moment that only the kernel knows.
    pub totals: Totals,
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections begun.
    pub connections: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

impl Totals {
    /// What was added since an earlier reading. A counter that is smaller than before began again at 0.
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

/// What was counted for an endpoint of a port, summed over the port's virtual servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Active connections at the last reading.
    pub active: u32,
    /// Inactive ones.
    pub inactive: u32,
    /// The largest weight on any virtual server.
    pub weight: u32,
    /// Seconds since 1970 at which counting began.
    pub since: u64,
    /// What was counted since then.
    pub totals: Totals,
    /// What counts less the older it is.
    pub recent: Recent,
}

/// Sums that forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Connections begun, in thousandths.
    pub connections: u64,
    /// Active connections × milliseconds.
    pub active_time: u64,
}

impl Recent {
    /// The mean time that a connection takes, in milliseconds, by Little's law; `None` without connections.
    pub fn mean_time(self) -> Option<f64> {
        (self.connections > 0).then(|| self.active_time as f64 * 1000.0 / self.connections as f64)
    }
}

/// The readings of a virtual server, by endpoint; `None` if it could not be read.
pub type Readings = Option<BTreeMap<SocketAddr, Reading>>;

/// Knows what is to be read when, and what the readings add up to.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    services: BTreeMap<ObjectName, Sampled>,
    /// When each is read next, as time since 1970.
    due: Deadlines<Duration>,
}

/// One service.
#[derive(Clone, Debug, Default)]
struct Sampled {
    wishes: BTreeSet<Wish>,
    /// When it was read last, as time since 1970.
    last: Option<Duration>,
    /// The counters at the last reading.
    seen: BTreeMap<(VirtualServer, SocketAddr), Totals>,
    counts: BTreeMap<(Port, SocketAddr), Counted>,
}

/// What adds up for an endpoint of a port.
#[derive(Clone, Debug)]
struct Counted {
    count: Count,
    /// By memory: connections, and connections × milliseconds.
    recent: BTreeMap<u32, (f64, f64)>,
}

impl Sampler {
    /// Takes note of what policies want sampled of a service; an empty set ends it. `now` is the time since 1970.
    pub fn want(&mut self, service: &ObjectName, wishes: BTreeSet<Wish>, now: Duration) {
        let Some(period) = period(&wishes) else {
            self.forget(service);
            return;
        };
        let known = self.services.entry(service.clone()).or_default();
        if known.wishes != wishes {
            known.wishes = wishes;
            // Spread over the period by name, so that services that come together are not read together for ever.
            self.due.set(service, Some(slot(now + period.mul_f64(fraction(service)))));
            // Sums of memories that were not wanted before begin now.
            known.counts.clear();
        }
    }

    /// Forgets a service.
    pub fn forget(&mut self, service: &ObjectName) {
        self.services.remove(service);
        self.due.set(service, None);
    }

    /// What policies want sampled of a service.
    pub fn wishes(&self, service: &ObjectName) -> impl Iterator<Item = Wish> + '_ {
        self.services.get(service).into_iter().flat_map(|sampled| sampled.wishes.iter().copied())
    }

    /// How many services are sampled.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// When the next reading is due.
    pub fn next(&self) -> Option<Duration> {
        self.due.next()
    }

    /// The services that are to be read now, the longest overdue first, at most so many.
    pub fn due(&self, now: Duration, most: usize) -> Vec<ObjectName> {
        self.due.due(now).take(most).cloned().collect()
    }

    /// Takes in what was read of a service: the readings of each of its virtual servers, with the port it belongs to.
    /// Returns whether a policy may see something else now.
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
            // What was missed is not made up for.
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
                // The first reading of a real server tells where its counters stand.
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

    /// What was counted for an endpoint, with the sums of a memory in seconds; `None` before its first reading.
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
    /// Continues an earlier count: its decaying sums shrink by the time that passed.
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

    /// Adds a reading of one virtual server; `more` is what happened since the one before, and how long that took.
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

    /// Ends what has nearly been forgotten, so that an idle endpoint becomes one about which nothing changes.
    fn round(&mut self) {
        for (connections, time) in self.recent.values_mut() {
            if *connections < 0.001 && *time < 1.0 {
                (*connections, *time) = (0.0, 0.0);
            }
        }
        // To tell whether anything changed it is enough to compare one sum of each kind.
        let sums = self.recent.values().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        self.count.recent = Recent { connections: whole(sums.0 * 1000.0), active_time: whole(sums.1) };
    }
}

fn whole(number: f64) -> u64 {
    // Saturates, as casts of floating-point numbers do.
    number.round() as u64
}

/// The shortest period that is wanted.
fn period(wishes: &BTreeSet<Wish>) -> Option<Duration> {
    wishes.iter().map(|wish| Duration::from_secs(u64::from(wish.period.max(1)))).min()
}

/// The next multiple of a slot.
fn slot(at: Duration) -> Duration {
    let slots = at.as_millis().div_ceil(SLOT.as_millis());
    Duration::from_millis(u64::try_from(slots * SLOT.as_millis()).unwrap_or(u64::MAX))
}

/// A number from 0 to 1 that depends on a name alone.
fn fraction(service: &ObjectName) -> f64 {
    let bytes = service.namespace.bytes().chain([b'/']).chain(service.name.bytes());
    // FNV-1a, and a step that lets the last letters reach the upper half.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
