//! The dummy device, its addresses, and the addresses of all other interfaces.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_core::diff::Change;
use weir_core::kernel::{Failure, FailureKind, Outcome};
use weir_core::net::{Family, is_loopback_or_link_local};
use weir_core::node::HostAddress;
use weir_core::state::{DUMMY_DEVICE, Device};
use weir_netlink::route::{self, Address, Client, LinkIndex};
use weir_netlink::{Counters, Errno, NetlinkError};

use super::chain;
use super::session::Session;

type Devices = BTreeMap<Device, ()>;
type Addresses = BTreeMap<IpAddr, ()>;

/// The dummy device.
#[derive(Default)]
pub(super) struct DummyDevice {
    session: Session<Client>,
    /// Its number; looked up again when an operation says it is gone.
    index: Option<LinkIndex>,
}

impl DummyDevice {
    pub(super) fn counters(&self) -> Counters {
        self.session.counters()
    }

    /// The device with the VIPs on it. An address that the kernel put there by itself (IPv6 link-local, with its network)
    /// is not ours; a single one is what a proxy made of a Service that names it.
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
            Err(error) => {
                let (kind, hint) = match error.refused_with() {
                    Some(Errno::EEXIST) => (FailureKind::Stale, ""),
                    Some(Errno::EOPNOTSUPP) => (FailureKind::Refused, ": load the driver: `modprobe dummy`"),
                    Some(Errno::EPERM) => (FailureKind::Refused, ": the capability CAP_NET_ADMIN is needed"),
                    _ => (FailureKind::Refused, ""),
                };
                Err(Failure { kind, message: format!("{what}: {}{hint}", chain(&error)) })
            }
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
            .filter_map(|change| match change {
                Change::AddAddress(ip) => Some(route::Change::Add(index, *ip)),
                Change::DeleteAddress(ip) => Some(route::Change::Delete(index, *ip)),
                _ => None,
            })
            .collect();
        let results = match self.session.batch(|client| client.apply(&messages)) {
            Ok(results) => results,
            Err(error) => return all_failed(&error),
        };
        let outcomes: Vec<Outcome> =
            changes.iter().zip(results).map(|(change, result)| outcome(change, result)).collect();
        // The device may have been made anew, with another number.
        if outcomes.iter().any(|o| o.as_ref().is_err_and(|f| f.kind == FailureKind::Stale)) {
            self.index = None;
        }
        outcomes
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

fn outcome(change: &Change, result: Result<(), NetlinkError>) -> Outcome {
    match (change, result) {
        (_, Ok(())) => Ok(()),
        // The address is as wanted already.
        (Change::AddAddress(_), Err(error)) if error.refused_with() == Some(Errno::EEXIST) => Ok(()),
        (Change::DeleteAddress(_), Err(error)) if error.refused_with() == Some(Errno::EADDRNOTAVAIL) => {
            Ok(())
        }
        (change, Err(error)) => Err(failure(&error, &change.to_string())),
    }
}

fn failure(error: &NetlinkError, what: &str) -> Failure {
    let kind = match error.refused_with() {
        Some(Errno::ENODEV | Errno::EEXIST | Errno::EADDRNOTAVAIL) | None => FailureKind::Stale,
        Some(_) => FailureKind::Refused,
    };
    Failure { kind, message: format!("{what}: {}", chain(error)) }
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
        assert!(!found("fe80::5054:ff:fe12:3456/64"), "the kernel's own");
    }
}
