//! Limits on VIPs.

use std::collections::BTreeSet;

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::{Context, IpNet, Service, Vip, VipKind};

/// Networks for VIPs; `None` = any. Cluster IPs and node ports are assigned by the cluster, and not checked.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    external: Option<Vec<IpNet>>,
    load_balancer: Option<Vec<IpNet>>,
}

/// Whether a VIP may be the address of a node. Binding such an address cuts that node off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeAddresses {
    Refuse,
    Allow,
}

/// Returns the VIPs that users choose, without duplicates.
pub(crate) fn vips(service: &Service) -> BTreeSet<Vip> {
    let chosen = |vip: &&Vip| matches!(vip.kind, VipKind::External | VipKind::LoadBalancer);
    service.ports.iter().flat_map(|port| &port.vips).filter(chosen).copied().collect()
}

impl Addresses {
    pub(crate) fn take(fields: &mut Fields) -> Addresses {
        Addresses { external: fields.texts("external-ips"), load_balancer: fields.texts("load-balancer-ips") }
    }

    pub(crate) fn refusal(&self, vip: Vip, namespace: &str) -> Option<String> {
        let allowed = match vip.kind {
            VipKind::External => self.external.as_ref(),
            VipKind::LoadBalancer => self.load_balancer.as_ref(),
            VipKind::Cluster | VipKind::NodePort => None,
        }?;
        let inside = allowed.iter().any(|network| network.contains(&vip.address));
        (!inside).then(|| match allowed.as_slice() {
            [] => format!("VIPs of this kind are not allowed in namespace {namespace}"),
            _ => format!("it is outside the networks allowed in namespace {namespace}"),
        })
    }
}

impl NodeAddresses {
    pub(crate) fn take(fields: &mut Fields) -> NodeAddresses {
        match fields.text::<String>("node-addresses").as_deref() {
            None | Some("refuse") => NodeAddresses::Refuse,
            Some("allow") => NodeAddresses::Allow,
            Some(other) => {
                fields.problem("node-addresses", format!("is `{other}`: write refuse or allow"));
                NodeAddresses::Refuse
            }
        }
    }

    pub(crate) fn needs(self) -> Vec<String> {
        match self {
            NodeAddresses::Refuse => vec!["nodes".to_owned()],
            NodeAddresses::Allow => Vec::new(),
        }
    }

    pub(crate) fn refusal(self, vip: Vip, context: &Context) -> Option<String> {
        if self == NodeAddresses::Allow {
            return None;
        }
        // This node's interfaces are not checked: a load balancer that announces a VIP from a node may bind it there.
        let node = context.nodes.iter().find(|node| node.addresses.contains(&vip.address))?;
        Some(format!("it is the address of node {}", node.name))
    }
}
