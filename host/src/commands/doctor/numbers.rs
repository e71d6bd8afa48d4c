//! Numbers and networks that collide: configurations that work, but not as intended.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weir_core::net::{Family, Protocol};
use weir_core::node::{DetectLocal, ProxyConfig};
use weir_core::set::{Set, SetEntry, SetName};
use weir_core::state::KernelState;
use weir_kernel::capabilities::Finding;

use super::state::some_of;

/// Checks the sets of both families.
pub(super) fn findings(config: &ProxyConfig, actual: &KernelState) -> Vec<Finding> {
    if config.masquerade_all {
        return Vec::new();
    }
    node_ports(actual).into_iter().chain(service_network(config, actual)).collect()
}

/// Cluster IPs whose port is also a node port, in a kernel that no proxy has prepared for that.
fn node_ports(actual: &KernelState) -> Option<Finding> {
    let has = |family, set, entry| actual.entries.contains_key(&(SetName::new(family, set), entry));
    let mut met = BTreeSet::new();
    for (family, ip, protocol, port) in cluster_ips(actual) {
        let (all, local) = match protocol {
            Protocol::Tcp => (Set::NodePortTcp, Set::NodePortLocalTcp),
            Protocol::Udp => (Set::NodePortUdp, Set::NodePortLocalUdp),
            // Node port sets of SCTP contain addresses.
            Protocol::Sctp => continue,
        };
        let number = SetEntry::Port(port);
        let masqueraded = has(family, all, number) && !has(family, local, number);
        if masqueraded && !has(family, Set::Masquerade, SetEntry::IpPort(ip, protocol, port)) {
            met.insert(format!("{ip} {port}/{protocol}"));
        }
    }
    (!met.is_empty()).then(|| {
        Finding::warning(
            "node ports",
            format!(
                "these ports of cluster IPs are also node ports, so their endpoints see the node's address instead of \
                 the client's: {}",
                some_of(met.into_iter().collect())
            ),
            "change the port of one of the two Services (`kubectl get services -A` shows both); `weir run` keeps the \
             clients' addresses if `clusterCIDR` is set to the pod networks",
        )
    })
}

/// Cluster IPs inside the pod networks.
fn service_network(config: &ProxyConfig, actual: &KernelState) -> Option<Finding> {
    let DetectLocal::ClusterCidr(nets) = &config.detect_local else { return None };
    let inside = |ip: IpAddr| nets.iter().find(|net| net.contains(&ip)).map(|net| (ip, net));
    let (ip, net) = cluster_ips(actual).find_map(|(_, ip, ..)| inside(ip))?;
    Some(Finding::warning(
        "clusterCIDR",
        format!("{net} contains the cluster IP {ip}, so this node's own packets to cluster IPs time out"),
        "set clusterCIDR to the pod networks, without the service network",
    ))
}

fn cluster_ips(actual: &KernelState) -> impl Iterator<Item = (Family, IpAddr, Protocol, u16)> {
    actual.entries.keys().filter_map(|(name, entry)| match *entry {
        SetEntry::IpPort(ip, protocol, port) if name.set == Set::ClusterIp => {
            Some((name.family, ip, protocol, port))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: &str = "10.96.5.10";

    fn actual(entries: &[(Set, SetEntry)]) -> KernelState {
        let entries = entries.iter().map(|(set, entry)| ((SetName::new(Family::V4, *set), *entry), ()));
        KernelState { entries: entries.collect(), ..KernelState::default() }
    }

    fn topics(config: &ProxyConfig, entries: &[(Set, SetEntry)]) -> Vec<String> {
        findings(config, &actual(entries)).into_iter().map(|f| format!("{}: {}", f.topic, f.text)).collect()
    }

    #[test]
    fn a_node_port_that_is_a_port_of_a_cluster_ip_is_named_unless_weir_sees_to_it() {
        let vip = SetEntry::IpPort(VIP.parse().unwrap(), Protocol::Tcp, 31_000);
        let (cluster, number) = ((Set::ClusterIp, vip), SetEntry::Port(31_000));
        let config = ProxyConfig::default();
        let said = topics(&config, &[cluster, (Set::NodePortTcp, number)]);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("node ports: ") && said[0].ends_with("10.96.5.10 31000/tcp"), "{said:?}");
        for other in [
            vec![],
            vec![(Set::NodePortUdp, number)],
            vec![(Set::NodePortTcp, SetEntry::Port(31_001))],
            vec![(Set::NodePortTcp, number), (Set::NodePortLocalTcp, number)],
            vec![(Set::NodePortTcp, number), (Set::Masquerade, vip)],
        ] {
            assert_eq!(topics(&config, &[&[cluster], &other[..]].concat()), [""; 0], "{other:?}");
        }
        let all = ProxyConfig { masquerade_all: true, ..config };
        assert_eq!(topics(&all, &[cluster, (Set::NodePortTcp, number)]), [""; 0]);
    }

    #[test]
    fn a_service_network_among_pods_is_named() {
        let vip = SetEntry::IpPort(VIP.parse().unwrap(), Protocol::Tcp, 80);
        let config = |net: &str| ProxyConfig {
            detect_local: DetectLocal::ClusterCidr(vec![net.parse().unwrap()]),
            ..ProxyConfig::default()
        };
        let said = topics(&config("10.0.0.0/8"), &[(Set::ClusterIp, vip)]);
        assert_eq!(
            said,
            [
                "clusterCIDR: 10.0.0.0/8 contains the cluster IP 10.96.5.10, so this node's own packets to cluster IPs time out"
            ]
        );
        assert_eq!(topics(&config("10.244.0.0/16"), &[(Set::ClusterIp, vip)]), [""; 0]);
    }
}
