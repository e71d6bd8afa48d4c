//! `sh` and `mh`: hashing of the client's address.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::{Client, Scheduler, Server, common_divisor};

/// Flags of a virtual server that both schedulers use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// Look for another real server if the chosen one has weight 0; otherwise the connection fails.
    pub(super) fallback: bool,
    /// Include the client's port.
    pub(super) port: bool,
}

impl Flags {
    fn port_of(self, client: Client) -> u16 {
        if self.port { client.port } else { 0 }
    }
}

/// The four bytes of an IPv4 address, or the four words of an IPv6 address folded into one.
fn folded(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (0..4).fold(0, |fold, word| fold ^ (bits >> (32 * word)) as u32)
        }
    }
}

/// Returns the real server in the client's slot. With `fallback`, other slots are tried, in the order of the hash
/// with growing offsets.
fn look_up(
    servers: &[Server],
    table: &[usize],
    fallback: bool,
    slot: impl Fn(u32) -> usize,
) -> Option<usize> {
    let open = |slot: usize| table.get(slot).copied().filter(|index| servers[*index].weight > 0);
    let first = slot(0);
    if let Some(index) = open(first) {
        return Some(index);
    }
    let size = table.len();
    (0..size).filter(|_| fallback).find_map(|offset| open(slot(((first + offset) % size) as u32)))
}

/// The number of buckets of `sh`.
const BUCKETS: usize = 256;

/// `sh`: 256 buckets, filled by cycling through the list; a real server gets as many buckets in a row as its weight,
/// at least one.
///
/// Source: `net/netfilter/ipvs/ip_vs_sh.c`. If the weights add up to more than 256, the end of the list gets no
/// bucket and therefore no traffic. A real server of weight 0 keeps a bucket, and without `sh-fallback` its clients
/// fail.
#[derive(Debug)]
pub(super) struct Source {
    flags: Flags,
    buckets: Vec<usize>,
}

impl Source {
    pub(super) fn new(flags: Flags) -> Source {
        Source { flags, buckets: Vec::new() }
    }
}

/// Multiplies by the golden ratio and keeps the upper eight bits, like `hash_32` in `include/linux/hash.h`.
fn golden_hash(value: u32) -> u32 {
    value.wrapping_mul(0x61c8_8647) >> 24
}

impl Scheduler for Source {
    fn pick(&mut self, servers: &[Server], client: Client) -> Option<usize> {
        let key = folded(client.address).wrapping_add(self.flags.port_of(client).into());
        let slot = |offset: u32| (golden_hash(key).wrapping_add(offset)) as usize % BUCKETS;
        look_up(servers, &self.buckets, self.flags.fallback, slot)
    }

    fn changed(&mut self, servers: &[Server]) {
        let round = || (0..servers.len()).flat_map(|i| vec![i; servers[i].weight.max(1).into()]);
        self.buckets = std::iter::repeat_with(round).take(BUCKETS).flatten().take(BUCKETS).collect();
    }
}

/// The slots of `mh` with the kernel's default `CONFIG_IP_VS_MH_TAB_INDEX`: a prime near 4,096.
const SLOTS: usize = 4093;
/// The turns of a real server stay below two to this power.
const TURN_BITS: u32 = 6;
/// The keys of the two hashes: for clients and first slots, and for steps.
const KEYS: [u64; 2] = [2_654_435_761, 2_654_446_892];

/// `mh`: a table as in Maglev. The list's real servers choose free slots in turns, each along its own order of slots,
/// and as many per turn as its weight.
///
/// Source: `net/netfilter/ipvs/ip_vs_mh.c`. Weights are divided by their common divisor and shifted so that none has
/// more than six bits; a result of 0 counts as 1. The last weight other than 0 is used: a real server that accepts no
/// new connections keeps its slots, and without `mh-fallback` its clients fail.
#[derive(Debug)]
pub(super) struct Maglev {
    flags: Flags,
    slots: Vec<usize>,
}

impl Maglev {
    pub(super) fn new(flags: Flags) -> Maglev {
        Maglev { flags, slots: Vec::new() }
    }
}

fn keyed_hash(address: IpAddr, port: u16, offset: u32, key: u64) -> usize {
    let mut hasher = SipHasher13::new_with_keys(key, key);
    let value = offset.wrapping_add(port.into()).wrapping_add(folded(address));
    hasher.write(&value.to_le_bytes());
    hasher.finish() as u32 as usize
}

/// A real server's position in its preferred order of slots.
struct Walk {
    slot: usize,
    step: usize,
    turns: u16,
}

impl Walk {
    fn new(server: &Server, divisor: u16, shift: u32) -> Walk {
        let hash = |key| keyed_hash(server.address.ip(), server.address.port(), 0, key);
        let turns = (server.last_weight / divisor) >> shift;
        Walk {
            slot: hash(KEYS[0]) % SLOTS,
            step: hash(KEYS[1]) % (SLOTS - 1) + 1,
            turns: turns.max(server.last_weight.min(1)),
        }
    }
}

impl Scheduler for Maglev {
    fn pick(&mut self, servers: &[Server], client: Client) -> Option<usize> {
        let port = self.flags.port_of(client);
        let slot = |offset| keyed_hash(client.address, port, offset, KEYS[0]) % SLOTS;
        look_up(servers, &self.slots, self.flags.fallback, slot)
    }

    fn changed(&mut self, servers: &[Server]) {
        let weights = || servers.iter().map(|server| server.last_weight);
        let divisor = common_divisor(weights());
        self.slots.clear();
        if divisor == 0 {
            return;
        }
        let most = weights().max().unwrap_or(0) / divisor;
        let shift = (u16::BITS - most.leading_zeros()).saturating_sub(TURN_BITS);
        let mut walks: Vec<Walk> = servers.iter().map(|server| Walk::new(server, divisor, shift)).collect();
        let mut slots = vec![None; SLOTS];
        let mut free = SLOTS;
        for index in (0..servers.len()).cycle() {
            let walk = &mut walks[index];
            for _ in 0..walk.turns.min(free as u16) {
                while slots[walk.slot].is_some() {
                    walk.slot = (walk.slot + walk.step) % SLOTS;
                }
                slots[walk.slot] = Some(index);
                free -= 1;
            }
            if free == 0 {
                break;
            }
        }
        self.slots = slots.into_iter().flatten().collect();
    }
}
