//! Reports about a plan: what was refused, clamped or overruled and why, in words for Events and terminals.

use std::fmt;

use crate::objects::ObjectName;

/// A notice for people about one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// The service.
    pub service: ObjectName,
    /// What happened.
    pub reason: Reason,
    /// A sentence with the values concerned and what to do.
    pub message: String,
}

/// The kind of a report; the reason of a Kubernetes Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The guard changed a policy's decision.
    DecisionClamped,
    /// A policy decided that this node ignores the service.
    ServiceIgnored,
    /// A policy decided that this node does not serve a VIP.
    VipRefused,
    /// A plugin failed; the last good decision or the built-in one is used instead.
    PolicyFailed,
    /// Replies keep the endpoint's address because a policy requested one-packet scheduling.
    OnePacket,
    /// A plugin gave two different answers to the same question.
    PolicyImpure,
    /// A plugin that runs in shadow mode would decide differently.
    ShadowDifference,
    /// A policy's source filters let no source connect.
    ClosedToAll,
    /// An older service has the same virtual server.
    VirtualServerConflict,
    /// A rule was left out because the kernel cannot run it.
    RuleLeftOut,
    /// Source ranges name only one family, so the other family's VIPs are open.
    SourceRangesOneFamily,
    /// The object has an address that no Service may have.
    AddressUnusable,
    /// A load-balancer or external IP is the address of another node.
    NodeAddress,
    /// A node port has the same number as a cluster IP's port.
    NodePortIsPort,
    /// Cluster IPs are inside the network by which pods are recognized.
    ServiceNetworkInPodNetwork,
    /// EndpointSlices have endpoints, but none for a port or family of the Service.
    EndpointsUnmatched,
    /// An Endpoints object exists, but no EndpointSlice.
    EndpointsNotRead,
    /// Endpoints do not say which node they run on, and a traffic policy is Local.
    EndpointsWithoutNode,
    /// Endpoints have more than one address, and only the first one is used.
    FurtherAddresses,
}

impl Reason {
    /// The first in order.
    pub const FIRST: Reason = Reason::DecisionClamped;
    /// The last in order.
    pub const LAST: Reason = Reason::FurtherAddresses;

    /// Whether a report is about the content of the objects, and so remains valid until they change.
    pub fn is_hint(self) -> bool {
        let about_service = matches!(
            self,
            Reason::AddressUnusable
                | Reason::NodeAddress
                | Reason::NodePortIsPort
                | Reason::ServiceNetworkInPodNetwork
        );
        about_service || self.is_about_endpoints()
    }

    /// Whether a report is about a Service whose endpoints do not match it, as may briefly happen.
    pub fn is_about_endpoints(self) -> bool {
        matches!(
            self,
            Reason::EndpointsUnmatched
                | Reason::EndpointsNotRead
                | Reason::EndpointsWithoutNode
                | Reason::FurtherAddresses
        )
    }

    /// The reason as one word, for Events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::DecisionClamped => "DecisionClamped",
            Reason::ServiceIgnored => "ServiceIgnored",
            Reason::VipRefused => "VipRefused",
            Reason::PolicyFailed => "PolicyFailed",
            Reason::OnePacket => "OnePacket",
            Reason::PolicyImpure => "PolicyImpure",
            Reason::ShadowDifference => "ShadowDifference",
            Reason::ClosedToAll => "ClosedToAll",
            Reason::VirtualServerConflict => "VirtualServerConflict",
            Reason::RuleLeftOut => "RuleLeftOut",
            Reason::SourceRangesOneFamily => "SourceRangesOneFamily",
            Reason::AddressUnusable => "AddressUnusable",
            Reason::NodeAddress => "NodeAddress",
            Reason::NodePortIsPort => "NodePortIsPort",
            Reason::ServiceNetworkInPodNetwork => "ServiceNetworkInPodNetwork",
            Reason::EndpointsUnmatched => "EndpointsUnmatched",
            Reason::EndpointsNotRead => "EndpointsNotRead",
            Reason::EndpointsWithoutNode => "EndpointsWithoutNode",
            Reason::FurtherAddresses => "FurtherAddresses",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.service, self.reason, self.message)
    }
}
