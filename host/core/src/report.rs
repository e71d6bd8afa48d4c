//! Why the plan is as it is: what was refused, clamped or overruled, in words for Events and terminals.

use std::fmt;

use crate::objects::ObjectName;

/// Something a person should know about one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// The service.
    pub service: ObjectName,
    /// What happened.
    pub reason: Reason,
    /// The sentence that tells it, with the values concerned and what to do.
    pub message: String,
}

/// The kind of a report; the reason of a Kubernetes Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A policy's decision was changed by the guard.
    DecisionClamped,
    /// A policy said that this node does not handle the service.
    ServiceIgnored,
    /// A policy said that this node does not serve a VIP.
    VipRefused,
    /// A plugin failed; the last good decision or the built-in one stands in.
    PolicyFailed,
    /// Answers keep the endpoint's address because a policy asked for one-packet scheduling.
    OnePacket,
    /// A plugin answered the same question in two ways.
    PolicyImpure,
    /// A plugin that only runs in shadow would decide otherwise.
    ShadowDifference,
    /// A policy's source filters let nobody connect.
    ClosedToAll,
    /// An older service has the same virtual server.
    VirtualServerConflict,
    /// A rule was left out because the kernel cannot run it.
    RuleLeftOut,
    /// Source ranges name one family only, so the other family's VIPs are open.
    SourceRangesOneFamily,
    /// The object names an address that no Service may have.
    AddressUnusable,
    /// A load-balancer or external IP is the address of another node.
    NodeAddress,
    /// A node port is the number of a cluster IP's port too.
    NodePortIsPort,
    /// Cluster IPs are inside the network by which pods are told from others.
    ServiceNetworkInPodNetwork,
    /// EndpointSlices have endpoints, but none for a port or family of the Service.
    EndpointsUnmatched,
    /// There is an Endpoints object and no EndpointSlice.
    EndpointsNotRead,
    /// Endpoints do not say on which node they run, and a traffic policy is Local.
    EndpointsWithoutNode,
    /// Endpoints have more than one address, and only the first is used.
    FurtherAddresses,
}

impl Reason {
    /// The first in their order.
    pub const FIRST: Reason = Reason::DecisionClamped;
    /// The last in their order.
    pub const LAST: Reason = Reason::FurtherAddresses;

    /// Whether it is about what the objects say, and stands for as long as they say it.
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

    /// Whether a Service and its endpoints do not agree, as they may for a moment.
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
