//! ipsets and their entries.

use weir_core::diff::Change;
use weir_core::kernel::{Fact, Failure, FailureKind, Outcome};
use weir_core::net::{Family, Protocol};
use weir_core::set::{SetEntry, SetKind, SetName, SetType};
use weir_netlink::ipset::{
    Action, Client, CreateFlags, Definition, Element, ElementChange, Existing, Set, SetError, Size,
};
use weir_netlink::{Counters, TransportProtocol};

use super::netlink_family;
use super::session::Session;
use crate::refusals::set_failure as failure;

/// Buckets of a new hash set, the same as kube-proxy's.
const HASH_BUCKETS: u32 = 1024;

/// The set that is filled and then swapped in; it exists only during a replacement.
const SCRATCH: &str = "KUBE-WEIR-SCRATCH";

/// The kernel's ipsets.
#[derive(Default)]
pub(super) struct Sets {
    session: Session<Client>,
}

impl Sets {
    pub(super) fn counters(&self) -> Counters {
        self.session.counters()
    }

    /// Whether the kernel has ipset. Without the module, the first message is refused as unknown.
    pub(super) fn is_there(&mut self) -> bool {
        match self.session.call(|client| Ok(client.protocol())) {
            Err(SetError::Netlink(error)) => error.refused_with() != Some(weir_netlink::Errno::EINVAL),
            Ok(_) | Err(_) => true,
        }
    }

    /// The names of our existing sets. Other programs' sets are not read: they may be large.
    pub(super) fn names(&mut self, families: &[Family]) -> Result<Vec<SetName>, SetError> {
        let present = self.session.call(Client::headers)?;
        let ours = present.into_iter().filter_map(|header| header.name.parse::<SetName>().ok());
        Ok(ours.filter(|name| families.contains(&name.family)).collect())
    }

    /// Reports a set with its entries, once it was read completely.
    pub(super) fn read(&mut self, name: SetName, see: &mut dyn FnMut(Fact<'_>)) -> Result<(), SetError> {
        let text = name.to_string();
        let Some(listing) = self.session.call(|client| client.list_one(&text))? else { return Ok(()) };
        let mut foreign = false;
        for element in &listing.elements {
            match entry(element) {
                Some(entry) => see(Fact::Entry(name, entry)),
                None => foreign = true,
            }
        }
        let kind = if foreign { SetKind::Foreign(describe(&listing.set)) } else { kind(&listing.set) };
        see(Fact::Set(name, &kind));
        Ok(())
    }

    pub(super) fn create(&mut self, name: SetName, kind: &SetKind) -> Outcome {
        self.create_named(&name.to_string(), kind)
    }

    fn create_named(&mut self, name: &str, kind: &SetKind) -> Outcome {
        let definition = match kind {
            SetKind::Hash { set_type, family, max_elements } => Definition {
                name: name.to_owned(),
                set_type: netlink_type(*set_type),
                family: Some(netlink_family(*family)),
                size: Size::Hash { buckets: HASH_BUCKETS, elements: *max_elements },
            },
            SetKind::Bitmap => Definition {
                name: name.to_owned(),
                set_type: netlink_type(SetType::BitmapPort),
                family: None,
                size: Size::Ports { from: 0, to: u16::MAX },
            },
            SetKind::Foreign(text) => {
                let message = format!("create set {name}: weir cannot create a set of type `{text}`");
                return Err(Failure { kind: FailureKind::Refused, message });
            }
        };
        self.session
            .call(|client| client.create(&definition, Existing::Refuse))
            .map_err(|error| failure(&error, &format!("create set {name} {kind}")))
    }

    /// Fills a set next to the old one and swaps the two, so that rules see either one or the other.
    pub(super) fn replace(&mut self, name: SetName, kind: &SetKind, entries: &[SetEntry]) -> Outcome {
        let what = format!("replace set {name}");
        self.destroy_scratch()?;
        self.create_named(SCRATCH, kind)?;
        let done = self.fill_scratch(entries, &what).and_then(|()| {
            self.session
                .call(|client| client.swap(SCRATCH, &name.to_string()))
                .map_err(|e| failure(&e, &what))
        });
        let cleaned = self.session.call(|client| client.destroy(SCRATCH)).map_err(|e| failure(&e, &what));
        done.and(cleaned)
    }

    /// Destroys what a run killed during a replacement left behind.
    pub(super) fn destroy_scratch(&mut self) -> Outcome {
        match self.session.call(|client| client.destroy(SCRATCH)) {
            Err(error) if !error.is_absent() => Err(failure(&error, &format!("destroy set {SCRATCH}"))),
            _ => Ok(()),
        }
    }

    fn fill_scratch(&mut self, entries: &[SetEntry], what: &str) -> Outcome {
        let elements: Vec<Element> = entries.iter().map(element).collect();
        let changes: Vec<ElementChange<'_>> = elements
            .iter()
            .map(|element| ElementChange { set: SCRATCH, action: Action::Add, element })
            .collect();
        let results = self
            .session
            .batch(|client| client.apply(&changes, Existing::Accept))
            .map_err(|error| failure(&error, what))?;
        results.into_iter().find_map(Result::err).map_or(Ok(()), |error| Err(failure(&error, what)))
    }

    pub(super) fn destroy(&mut self, name: SetName) -> Outcome {
        let text = name.to_string();
        self.session
            .call(|client| client.destroy(&text))
            .map_err(|error| failure(&error, &format!("destroy set {name}")))
    }

    pub(super) fn apply_entries(&mut self, changes: &[Change]) -> Vec<Outcome> {
        let mut prepared: Vec<(String, Action, Element)> = Vec::with_capacity(changes.len());
        for change in changes {
            if let Change::AddEntry(name, entry) = change {
                prepared.push((name.to_string(), Action::Add, element(entry)));
            } else if let Change::DeleteEntry(name, entry) = change {
                prepared.push((name.to_string(), Action::Delete, element(entry)));
            }
        }
        let messages: Vec<ElementChange<'_>> = prepared
            .iter()
            .map(|(set, action, element)| ElementChange { set, action: *action, element })
            .collect();
        // Adding an existing entry and removing an absent one succeed: the set is as wanted.
        let results = match self.session.batch(|client| client.apply(&messages, Existing::Accept)) {
            Ok(results) => results,
            Err(error) => {
                return changes.iter().map(|change| Err(failure(&error, &change.to_string()))).collect();
            }
        };
        changes
            .iter()
            .zip(results)
            .map(|(change, result)| result.map_err(|error| failure(&error, &change.to_string())))
            .collect()
    }
}

fn netlink_type(set_type: SetType) -> weir_netlink::ipset::SetType {
    weir_netlink::ipset::SetType::of(set_type.name())
}

fn kind(set: &Set) -> SetKind {
    let plain = set.parameters.flags == CreateFlags::default()
        && set.parameters.timeout.is_none()
        && set.parameters.netmask.is_none();
    let set_type = SetType::ALL.into_iter().find(|t| t.name() == set.set_type.name());
    match (set_type, set.family, set.parameters.max_elements, set.parameters.ports) {
        (Some(SetType::BitmapPort), _, _, Some((0, u16::MAX))) if plain => SetKind::Bitmap,
        (Some(set_type), Some(family), Some(max_elements), None) if plain => {
            let family = match family {
                weir_netlink::Family::V4 => Family::V4,
                weir_netlink::Family::V6 => Family::V6,
            };
            SetKind::Hash { set_type, family, max_elements }
        }
        _ => SetKind::Foreign(describe(set)),
    }
}

/// Describes the set as ipset does, with type and family first.
fn describe(set: &Set) -> String {
    let mut words = vec![set.set_type.name().to_owned()];
    match set.family {
        Some(weir_netlink::Family::V4) => words.push("family inet".to_owned()),
        Some(weir_netlink::Family::V6) => words.push("family inet6".to_owned()),
        None => {}
    }
    let parameters = &set.parameters;
    words.extend(parameters.max_elements.map(|n| format!("maxelem {n}")));
    words.extend(parameters.ports.map(|(from, to)| format!("range {from}-{to}")));
    words.extend(parameters.netmask.map(|n| format!("netmask {n}")));
    words.extend(parameters.timeout.map(|n| format!("timeout {n}")));
    let flags = [
        (CreateFlags::COUNTERS, "counters"),
        (CreateFlags::COMMENT, "comment"),
        (CreateFlags::FORCE_ADD, "forceadd"),
        (CreateFlags::SKB_INFO, "skbinfo"),
    ];
    words.extend(
        flags.iter().filter(|(flag, _)| parameters.flags.contains(*flag)).map(|(_, n)| (*n).to_owned()),
    );
    words.join(" ")
}

fn element(entry: &SetEntry) -> Element {
    let transport = |protocol: Protocol| TransportProtocol(protocol.number());
    match *entry {
        SetEntry::Ip(address) => Element::Ip(address),
        SetEntry::IpPort(address, protocol, port) => {
            Element::IpPort { address, protocol: transport(protocol), port }
        }
        SetEntry::IpPortIp(address, protocol, port, second) => {
            Element::IpPortIp { address, protocol: transport(protocol), port, second }
        }
        SetEntry::IpPortNet(address, protocol, port, net) => Element::IpPortNet {
            address,
            protocol: transport(protocol),
            port,
            network: net.addr(),
            prefix: net.prefix_len(),
        },
        SetEntry::Port(port) => Element::Port(port),
    }
}

/// Returns `None` for elements that weir never creates.
fn entry(element: &Element) -> Option<SetEntry> {
    let known = |protocol: TransportProtocol| Protocol::from_number(protocol.0);
    Some(match *element {
        Element::Ip(address) => SetEntry::Ip(address),
        Element::IpPort { address, protocol, port } => SetEntry::IpPort(address, known(protocol)?, port),
        Element::IpPortIp { address, protocol, port, second } => {
            SetEntry::IpPortIp(address, known(protocol)?, port, second)
        }
        Element::IpPortNet { address, protocol, port, network, prefix } => {
            let net = ipnet::IpNet::new(network, prefix).ok()?;
            SetEntry::IpPortNet(address, known(protocol)?, port, net)
        }
        Element::Port(port) => SetEntry::Port(port),
        Element::Net { .. } | Element::Opaque(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_the_way_there_and_back() {
        for text in [
            "10.96.0.1",
            "fd00::1,sctp:99",
            "10.0.0.1,udp:53,10.0.0.1",
            "10.0.0.1,tcp:443,10.0.0.0/8",
            "30080",
        ] {
            let there: SetEntry = text.parse().unwrap();
            assert_eq!(entry(&element(&there)), Some(there));
        }
    }
}
