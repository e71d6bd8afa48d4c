//! The dummy device, its addresses, and the addresses of all other interfaces.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use weir_core::diff::Change;
use weir_core::kernel::{FailureKind, Outcome};
use weir_core::net::{Family, is_loopback_or_link_local};
use weir_core::node::HostAddress;
use weir_core::state::{DUMMY_DEVICE, Device, Sysctl};
use weir_netlink::route::{self, Address, Client, LinkIndex};
use weir_netlink::{Counters, Errno, NetlinkError};

use super::session::Session;
use crate::refusals::failure;
use crate::sysctl;

type Devices = BTreeMap<Device, ()>;
type Addresses = BTreeMap<IpAddr, ()>;

/// The dummy device.
#[derive(Default)]
pub(super) struct DummyDevice {
    session: Session<Client>,
    /// Its index, looked up again when an operation reports it gone.
    index: Option<LinkIndex>,
}

impl DummyDevice {
    pub(super) fn counters(&self) -> Counters {
        self.session.counters()
    }

    /// The device with its VIPs. An address that the kernel added by itself (IPv6 link-local, with its prefix) is
    /// not ours; a link-local address without a prefix was bound by a proxy for a Service that names it.
    pub(super) fn read(&mut self) -> Result<(Devices, Addresses), NetlinkError> {
        self.index = self.session.call(|client| client.link(DUMMY_DEVICE))?.map(|link| link.index);
        let Some(index) = self.index else { return Ok((Devices::new(), Addresses::new())) };
        let addresses = self.session.call(|client| client.addresses(Some(index)))?;
        let ours = addresses.into_iter().filter(is_vip).map(|address| (address.address, ()));
        Ok((Devices::from([(Device::KubeIpvs0, ())]), ours.collect()))
    }

    pub(super) fn host_addresses(&mut self) -> Result<Vec<HostAddress>, NetlinkError> {
        let links = self.session.call(Client::links)?;
        let names: BTreeMap<LinkIndex, String> =
            links.into_iter().map(|link| (link.index, link.name)).collect();
        let addresses = self.session.call(|client| client.addresses(None))?;
        Ok(addresses
            .into_iter()
            .filter_map(|address| {
                let interface = names.get(&address.link)?.clone();
                let Address { address, prefix, .. } = address;
                (interface != DUMMY_DEVICE).then_some(HostAddress { interface, address, prefix })
            })
            .collect())
    }

    pub(super) fn create(&mut self) -> Outcome {
        let what = format!("create device {DUMMY_DEVICE}");
        match self.session.call(|client| client.create_dummy(DUMMY_DEVICE)) {
            Ok(()) => Ok(()),
            Err(error) => Err(failure(&error, &what)),
        }
    }

    pub(super) fn delete(&mut self) -> Outcome {
        let what = format!("delete device {DUMMY_DEVICE}");
        let index = self.find().map_err(|error| failure(&error, &what))?;
        self.index = None;
        self.session.call(|client| client.delete_link(index)).map_err(|error| failure(&error, &what))
    }

    /// Adds and deletes addresses.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Vec<Outcome> {
        let all_failed = |error: &NetlinkError| -> Vec<Outcome> {
            changes.iter().map(|change| Err(failure(error, &change.to_string()))).collect()
        };
        let index = match self.find() {
            Ok(index) => index,
            Err(error) => return all_failed(&error),
        };
        let messages: Vec<route::Change> = changes
            .iter()
            .filter_map(|change| {
                if let Change::AddAddress(ip) = change {
                    return Some(route::Change::Add(index, *ip));
                }
                if let Change::DeleteAddress(ip) = change {
                    return Some(route::Change::Delete(index, *ip));
                }
                None
            })
            .collect();
        let mut results = match self.session.batch(|client| client.apply(&messages)) {
            Ok(results) => results,
            Err(error) => return all_failed(&error),
        };
        if results.iter().any(is_forbidden) && switch_ipv6_on() {
            let again: Vec<route::Change> =
                messages.iter().zip(&results).filter(|(_, r)| is_forbidden(r)).map(|(m, _)| *m).collect();
            let Ok(mut second) = self.session.batch(|client| client.apply(&again)).map(Vec::into_iter) else {
                return all_failed(&NetlinkError::Interrupted { operation: "add address" });
            };
            for result in results.iter_mut().filter(|result| is_forbidden(result)) {
                *result = second.next().unwrap_or(Ok(()));
            }
        }
        let outcomes: Vec<Outcome> =
            changes.iter().zip(results).map(|(change, result)| outcome(change, result)).collect();
        // The device may have been recreated with another index.
        if outcomes.iter().any(|o| o.as_ref().is_err_and(|f| f.kind == FailureKind::Stale)) {
            self.index = None;
        }
        outcomes
    }

    pub(super) fn is_there(&mut self) -> Result<bool, NetlinkError> {
        self.index = self.session.call(|client| client.link(DUMMY_DEVICE))?.map(|link| link.index);
        Ok(self.index.is_some())
    }

    /// Addresses that other programs put on the device with a prefix, which attracts all packets for that network.
    pub(super) fn networks(&mut self) -> Result<Vec<IpNet>, NetlinkError> {
        self.index = self.session.call(|client| client.link(DUMMY_DEVICE))?.map(|link| link.index);
        let Some(index) = self.index else { return Ok(Vec::new()) };
        let addresses = self.session.call(|client| client.addresses(Some(index)))?.into_iter();
        Ok(addresses
            .filter(|found| !is_loopback_or_link_local(found.address))
            .filter_map(|found| IpNet::new(found.address, found.prefix).ok())
            .filter(|net| net.prefix_len() < net.max_prefix_len())
            .collect())
    }

    /// Removes these networks. Their addresses stay; the caller decides whether they are wanted.
    pub(super) fn remove_networks(&mut self, networks: &[IpNet]) -> Result<(), NetlinkError> {
        let index = self.find()?;
        let changes: Vec<route::Change> = networks
            .iter()
            .flat_map(|net| {
                let add = route::Change::Add(index, net.addr());
                let delete = route::Change::DeleteNetwork(index, net.addr(), net.prefix_len());
                // IPv4 allows an address with and without a prefix at once, so it never disappears; IPv6 does not.
                match net {
                    IpNet::V4(_) => [add, delete],
                    IpNet::V6(_) => [delete, add],
                }
            })
            .collect();
        let as_wanted =
            |error: &NetlinkError| matches!(error.refused_with(), Some(Errno::EEXIST | Errno::EADDRNOTAVAIL));
        let results = self.session.batch(|client| client.apply(&changes))?;
        results.into_iter().filter(|r| !r.as_ref().is_err_and(as_wanted)).collect()
    }

    fn find(&mut self) -> Result<LinkIndex, NetlinkError> {
        if let Some(index) = self.index {
            return Ok(index);
        }
        let found = self.session.call(|client| client.link(DUMMY_DEVICE))?.map(|link| link.index);
        self.index = found;
        found.ok_or(NetlinkError::Refused { operation: "find device", text: None, source: Errno::ENODEV })
    }
}

fn is_vip(address: &Address) -> bool {
    let whole = address.prefix == Family::of(address.address).full_prefix();
    whole || !is_loopback_or_link_local(address.address)
}

/// Whether the kernel refused an address because IPv6 is disabled for the device.
fn is_forbidden(result: &Result<(), NetlinkError>) -> bool {
    result.as_ref().is_err_and(|error| error.refused_with() == Some(Errno::EACCES))
}

/// Enables IPv6 on the dummy device and returns whether that succeeded. Hardening guides disable IPv6 for devices that
/// are created later, which need not apply to the dummy device, because it carries no packets. IPv6 that is disabled
/// for all devices stays disabled here, too.
fn switch_ipv6_on() -> bool {
    let on = |device: &str| Sysctl::new(&format!("net/ipv6/conf/{device}/disable_ipv6"));
    let off_for_all = sysctl::read(&on("all")).is_ok_and(|value| value == Some(1));
    !off_for_all && sysctl::write(&on(DUMMY_DEVICE), 0).is_ok()
}

fn outcome(change: &Change, result: Result<(), NetlinkError>) -> Outcome {
    match (change, result) {
        (_, Ok(())) => Ok(()),
        // The address is already as wanted.
        (Change::AddAddress(_), Err(error)) if error.refused_with() == Some(Errno::EEXIST) => Ok(()),
        (Change::DeleteAddress(_), Err(error)) if error.refused_with() == Some(Errno::EADDRNOTAVAIL) => {
            Ok(())
        }
        (change, Err(error)) => Err(failure(&error, &change.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use weir_netlink::route::Scope;

    use super::*;

    #[test]
    fn what_a_proxy_bound_is_found_whatever_the_address() {
        let found = |text: &str| {
            let (ip, prefix) = text.split_once('/').unwrap();
            let (address, prefix) = (ip.parse().unwrap(), prefix.parse().unwrap());
            is_vip(&Address { link: LinkIndex(1), address, prefix, scope: Scope::GLOBAL, flags: 0 })
        };
        for bound in ["10.96.0.1/32", "127.0.0.5/32", "fd00::1/128", "fe80::5/128", "10.96.31.1/24"] {
            assert!(found(bound), "{bound}");
        }
        assert!(!found("fe80::5054:ff:fe12:3456/64"), "added by the kernel");
    }
}
