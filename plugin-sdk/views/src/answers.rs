//! The answers of a plugin.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::VipKind;

/// The restrictions for one service. The default restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Verdict {
    /// Leave the whole service alone, for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore: Option<String>,
    /// Serve only these kinds of VIPs; absent = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<BTreeSet<VipKind>>,
    /// Do not serve these VIPs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// Serve node ports only on addresses of the node inside these networks; absent = as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port_networks: Option<Vec<IpNet>>,
    /// Endpoints to leave out, as (index of the port, index of the endpoint).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped_endpoints: Vec<(u32, u32)>,
    /// Limits on sources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceFilter>,
    /// The reason in one sentence; empty = none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Seconds after which to call again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub re_evaluate_after: Option<u32>,
    /// One value per declared metric, in order; empty = 0 for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<u64>,
}

impl Verdict {
    /// Leaves out nothing.
    pub fn keep() -> Verdict {
        Verdict::default()
    }

    /// Leaves the whole service alone.
    pub fn ignore(reason: impl Into<String>) -> Verdict {
        Verdict { ignore: Some(reason.into()), ..Verdict::default() }
    }

    /// Serves only these kinds of VIPs.
    #[must_use]
    pub fn only(mut self, kinds: impl IntoIterator<Item = VipKind>) -> Verdict {
        self.kinds = Some(kinds.into_iter().collect());
        self
    }

    /// Does not serve a VIP.
    #[must_use]
    pub fn refuse(mut self, kind: VipKind, address: IpAddr, reason: impl Into<String>) -> Verdict {
        self.refusals.push(Refusal { kind, address, reason: reason.into() });
        self
    }

    /// Limits the sources that may connect.
    #[must_use]
    pub fn sources(
        mut self,
        kinds: impl IntoIterator<Item = VipKind>,
        action: SourceAction,
        ranges: Vec<IpNet>,
    ) -> Verdict {
        self.sources.push(SourceFilter { kinds: kinds.into_iter().collect(), action, ranges });
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Verdict {
        self.reason = reason.into();
        self
    }

    /// Sets a value for each declared metric, in order.
    #[must_use]
    pub fn with_metrics(mut self, numbers: impl Into<Vec<u64>>) -> Verdict {
        self.metrics = told(numbers.into());
        self
    }
}

/// Values that are all 0 are left out.
fn told(mut numbers: Vec<u64>) -> Vec<u64> {
    if numbers.iter().all(|number| *number == 0) {
        numbers.clear();
    }
    numbers
}

/// A VIP that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Refusal {
    /// Its kind.
    pub kind: VipKind,
    /// Its address.
    pub address: IpAddr,
    /// Why.
    pub reason: String,
}

/// A limit on sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SourceFilter {
    /// The kinds of VIPs that it applies to.
    pub kinds: BTreeSet<VipKind>,
    /// What the ranges mean.
    pub action: SourceAction,
    /// Networks.
    pub ranges: Vec<IpNet>,
}

/// What the ranges of a [`SourceFilter`] mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceAction {
    /// Only these may connect.
    Allow,
    /// These may not connect.
    Deny,
}

/// How one service is scheduled. The default keeps the answer of earlier plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Schedule {
    /// One per port of the service; empty = the answer of earlier plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Scheduling>,
    /// How TCP connections end when their endpoint is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The reason in one sentence; empty = none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Seconds after which to call again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub re_evaluate_after: Option<u32>,
    /// One value per declared metric, in order; empty = 0 for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<u64>,
}

impl Schedule {
    /// Keeps the answer of earlier plugins.
    pub fn keep() -> Schedule {
        Schedule::default()
    }

    /// Calls `port` with the index of each port, and returns the results as the ports of an answer.
    pub fn each(ports: usize, port: impl FnMut(usize) -> Scheduling) -> Schedule {
        Schedule { ports: (0..ports).map(port).collect(), ..Schedule::default() }
    }

    /// Sets the reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Schedule {
        self.reason = reason.into();
        self
    }

    /// Sets a value for each declared metric, in order.
    #[must_use]
    pub fn with_metrics(mut self, numbers: impl Into<Vec<u64>>) -> Schedule {
        self.metrics = told(numbers.into());
        self
    }

    /// Requests another call after this time.
    #[must_use]
    pub fn again_after(mut self, seconds: u32) -> Schedule {
        self.re_evaluate_after = Some(seconds);
        self
    }
}

/// How one port is scheduled. The default keeps the answer of earlier plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Scheduling {
    /// A scheduler of the kernel, or `default` for the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// Any of `fallback`, `port`, `one-packet`. If no plugin sets them, `mh` chosen by a plugin has `fallback`
    /// and `port`, and `sh` has `fallback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_flags: Option<Vec<String>>,
    /// Whether a client keeps its endpoint.
    #[serde(skip_serializing_if = "Persistence::is_keep")]
    pub persistence: Persistence,
    /// Each endpoint's share of the traffic.
    #[serde(skip_serializing_if = "Weights::is_keep")]
    pub weights: Weights,
}

impl Scheduling {
    /// With this scheduler.
    pub fn scheduler(name: impl Into<String>) -> Scheduling {
        Scheduling { scheduler: Some(name.into()), ..Scheduling::default() }
    }

    /// With these weights.
    pub fn weights(weights: Vec<u16>) -> Scheduling {
        Scheduling { weights: Weights::Each(weights), ..Scheduling::default() }
    }
}

/// Whether a client keeps its endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// The answer of earlier plugins, else the service's session affinity.
    #[default]
    Keep,
    /// The service's session affinity.
    SessionAffinity,
    /// Never.
    Off,
    /// For this many seconds, by this many leading bits of the address.
    On(u32, u8),
}

impl Persistence {
    /// Whether it keeps the answer of earlier plugins.
    pub fn is_keep(&self) -> bool {
        *self == Persistence::Keep
    }
}

/// Each endpoint's share of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// The answer of earlier plugins, else the same for all.
    #[default]
    Keep,
    /// The same for all.
    Equal,
    /// One per endpoint; 0 = no new connections.
    Each(Vec<u16>),
}

impl Weights {
    /// Whether it keeps the answer of earlier plugins.
    pub fn is_keep(&self) -> bool {
        *self == Weights::Keep
    }
}

/// How TCP connections end when their endpoint is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drain {
    /// The endpoint is removed when it has no connections left.
    UntilIdle,
    /// The same, but after this many seconds at the latest.
    UntilDeadline(u32),
    /// It is removed at once.
    AtOnce,
    /// A mode of a later version.
    Other(String),
}

/// How one service is masqueraded. The default keeps the answer of earlier plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Treatments {
    /// For connections to the cluster IP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Treatment>,
    /// For connections to external IPs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<Treatment>,
    /// For connections to load-balancer VIPs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<Treatment>,
    /// For connections to node ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<Treatment>,
    /// Sources that are never masqueraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except_sources: Option<Vec<IpNet>>,
    /// The reason in one sentence; empty = none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Seconds after which to call again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub re_evaluate_after: Option<u32>,
    /// One value per declared metric, in order; empty = 0 for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<u64>,
}

impl Treatments {
    /// Keeps the answer of earlier plugins.
    pub fn keep() -> Treatments {
        Treatments::default()
    }

    /// Returns the treatment of one kind of VIP.
    pub fn of(&self, kind: VipKind) -> Option<&Treatment> {
        match kind {
            VipKind::Cluster => self.cluster.as_ref(),
            VipKind::External => self.external.as_ref(),
            VipKind::LoadBalancer => self.load_balancer.as_ref(),
            VipKind::NodePort => self.node_port.as_ref(),
        }
    }

    /// Sets the treatment of one kind of VIP.
    #[must_use]
    pub fn treat(mut self, kind: VipKind, treatment: Treatment) -> Treatments {
        let place = match kind {
            VipKind::Cluster => &mut self.cluster,
            VipKind::External => &mut self.external,
            VipKind::LoadBalancer => &mut self.load_balancer,
            VipKind::NodePort => &mut self.node_port,
        };
        *place = Some(treatment);
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Treatments {
        self.reason = reason.into();
        self
    }

    /// Sets a value for each declared metric, in order.
    #[must_use]
    pub fn with_metrics(mut self, numbers: impl Into<Vec<u64>>) -> Treatments {
        self.metrics = told(numbers.into());
        self
    }
}

/// The treatment of source addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// The same as kube-proxy.
    Default,
    /// The source address stays.
    Never,
    /// It becomes the node's address.
    Always,
    /// It becomes the node's address if it is outside the cluster.
    OffCluster,
    /// It becomes the node's address if the endpoint is on another node.
    RemoteEndpoints,
    /// It becomes this address of the node.
    Address(IpAddr),
    /// A mode of a later version.
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_a_short_json_form() {
        let answer = Schedule::each(1, |_| Scheduling {
            persistence: Persistence::On(60, 24),
            ..Scheduling::weights(vec![1, 2])
        });
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"ports":[{"persistence":{"on":[60,24]},"weights":{"each":[1,2]}}]}"#);
        assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), answer);
        assert_eq!(serde_json::to_string(&Verdict::keep()).unwrap(), "{}");
        let treated =
            Treatments::keep().treat(VipKind::LoadBalancer, Treatment::Address("192.0.2.1".parse().unwrap()));
        assert_eq!(serde_json::to_string(&treated).unwrap(), r#"{"load-balancer":{"address":"192.0.2.1"}}"#);
        assert!(serde_json::from_str::<Verdict>(r#"{"ignored":"x"}"#).is_err());
    }
}
