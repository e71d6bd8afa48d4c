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
}

impl Reason {
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
