//! When the kernel refuses a change other than of rules.

use super::Simulated;
use crate::diff::Change;
use crate::kernel::FailureKind::{self, Refused, Stale};
use crate::net::Family;
use crate::set::{SetEntry, SetKind, SetName, SetType};
use crate::state::{Device, KernelState, RealServer, Scheduling, VirtualServer};

type Check = Result<(), (FailureKind, &'static str)>;

/// Whether the kernel would make the change.
pub(super) fn check(kernel: &Simulated, change: &Change) -> Check {
    let state = &kernel.state;
    match change {
        Change::SetSysctl(..) | Change::SetTimeouts(_) | Change::ForgetFlows(..) => Ok(()),
        Change::CreateDevice(device) => absent(state.devices.contains_key(device)),
        Change::DeleteDevice(device) => present(state.devices.contains_key(device)),
        Change::CreateSet(name, kind) => {
            absent(state.sets.contains_key(name) || kernel.foreign.sets.contains(&name.to_string()))?;
            not_foreign(kind)
        }
        Change::ReplaceSet(name, kind, entries) => replace_set(state, *name, kind, entries),
        Change::DestroySet(name) => destroy_set(kernel, *name),
        Change::AddEntry(name, entry) => add_entry(state, *name, *entry),
        Change::DeleteEntry(name, entry) => present(state.entries.contains_key(&(*name, *entry))),
        Change::WriteRules(_) => Ok(()),
        Change::AddAddress(ip) => {
            require(state.devices.contains_key(&Device::KubeIpvs0), Stale, "no such device (ENODEV)")?;
            absent(state.addresses.contains_key(ip))
        }
        Change::DeleteAddress(ip) => present(state.addresses.contains_key(ip)),
        Change::CreateVirtualServer(server, scheduling) => {
            let known = state.virtual_servers.contains_key(server);
            absent(known || kernel.foreign.virtual_servers.contains(server))?;
            schedule(kernel, *server, scheduling)
        }
        Change::UpdateVirtualServer(server, scheduling) => {
            present(state.virtual_servers.contains_key(server))?;
            schedule(kernel, *server, scheduling)
        }
        Change::DeleteVirtualServer(server) => present(state.virtual_servers.contains_key(server)),
        Change::AddRealServer(server, real, _) => add_real_server(state, *server, *real),
        Change::SetWeight(server, real, _) | Change::DeleteRealServer(server, real) => {
            present(state.weight(*server, *real).is_some())
        }
    }
}

fn require(holds: bool, kind: FailureKind, why: &'static str) -> Check {
    if holds { Ok(()) } else { Err((kind, why)) }
}

fn absent(there: bool) -> Check {
    require(!there, Stale, "it exists already (EEXIST)")
}

fn present(there: bool) -> Check {
    require(there, Stale, "it does not exist (ENOENT)")
}

/// Sets of kinds that weir only reads are never created.
fn not_foreign(kind: &SetKind) -> Check {
    require(!matches!(kind, SetKind::Foreign(_)), Refused, "sets of this kind are never made")
}

fn replace_set(state: &KernelState, name: SetName, kind: &SetKind, entries: &[SetEntry]) -> Check {
    let old = state.sets.get(&name).ok_or((Stale, "it does not exist (ENOENT)"))?;
    not_foreign(kind)?;
    require(old.swaps_with(kind), Refused, "the sets are of different types (IPSET_ERR_TYPE_MISMATCH)")?;
    let room = capacity(kind);
    require(entries.len() as u64 <= room, Refused, "set is full (IPSET_ERR_HASH_FULL)")?;
    entries.iter().try_for_each(|entry| fits(*entry, kind))
}

fn destroy_set(kernel: &Simulated, name: SetName) -> Check {
    present(kernel.state.sets.contains_key(&name))?;
    let text = name.to_string();
    let own = kernel.state.rules.values().flatten();
    let foreign = kernel.foreign.rules.iter().map(|(.., rule)| rule);
    let named = own.chain(foreign).any(|rule| rule.sets().any(|set| set == text));
    require(!named, Refused, "rules name it (IPSET_ERR_BUSY)")
}

fn add_entry(state: &KernelState, name: SetName, entry: SetEntry) -> Check {
    let kind = state.sets.get(&name).ok_or((Stale, "no such set (ENOENT)"))?;
    absent(state.entries.contains_key(&(name, entry)))?;
    fits(entry, kind)?;
    // Counting is slow, and all sets together rarely have as many entries as one set may have.
    let room = capacity(kind);
    let fits = (state.entries.len() as u64) < room || (state.entries_of(name).count() as u64) < room;
    require(fits, Refused, "set is full (IPSET_ERR_HASH_FULL)")
}

fn capacity(kind: &SetKind) -> u64 {
    match kind {
        SetKind::Hash { max_elements, .. } => u64::from(*max_elements),
        SetKind::Bitmap => 1 << 16,
        SetKind::Foreign(_) => u64::MAX,
    }
}

fn fits(entry: SetEntry, kind: &SetKind) -> Check {
    let fits = match kind {
        SetKind::Hash { set_type, family, .. } => {
            entry.set_type() == *set_type && entry.families().all(|of| of == *family)
        }
        SetKind::Bitmap => entry.set_type() == SetType::BitmapPort,
        SetKind::Foreign(text) => text.split(' ').next() == Some(entry.set_type().name()),
    };
    require(fits, Refused, "the entry is not of the set's type or family")?;
    // `hash_ipportnet4_uadt` in `net/netfilter/ipset/ip_set_hash_ipportnet.c`.
    let whole_family = matches!(entry, SetEntry::IpPortNet(.., net) if net.prefix_len() == 0);
    require(!whole_family, Refused, "a network must have a prefix (IPSET_ERR_INVALID_CIDR)")
}

fn schedule(kernel: &Simulated, server: VirtualServer, scheduling: &Scheduling) -> Check {
    let name = &scheduling.scheduler;
    let known = kernel.schedulers.as_ref().is_none_or(|names| names.contains(name));
    require(known && (1..=15).contains(&name.len()), Refused, "no such scheduler (ENOENT)")?;
    let prefix = scheduling.persistence.map(|persistence| persistence.prefix);
    let full = server.family().full_prefix();
    require(prefix.is_none_or(|bits| (1..=full).contains(&bits)), Refused, "bad netmask (EINVAL)")
}

fn add_real_server(state: &KernelState, server: VirtualServer, real: RealServer) -> Check {
    require(state.virtual_servers.contains_key(&server), Stale, "no such virtual server (ESRCH)")?;
    absent(state.weight(server, real).is_some())?;
    // Only tunnels may cross families (`ip_vs_add_dest`).
    require(
        Family::of(real.0.ip()) == server.family(),
        Refused,
        "its family differs from the virtual server's (EINVAL)",
    )
}
