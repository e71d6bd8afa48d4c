//! The rules for decisions that kube-proxy does not have: masquerading and sources by VIP. Each rule exists only
//! while a set has entries for it, and their number does not depend on the number of services.
//!
//! Masquerading is decided by the VIP, in KUBE-SERVICES, and done in KUBE-POSTROUTING, where packets no longer
//! show the VIP: the packet mark carries the decision from one to the other. kube-proxy's bit says that a packet is
//! masqueraded; two adjacent bits say how, if not as kube-proxy does it. See [`Chain::is_of_policy`] for the chains
//! and sets that weir's own chains may refer to.

use super::super::detector;
use super::{
    Chain, DST, DST_DST, Match, NodeView, Ports, SRC, Sense, Set, SetName, Table, Target, Writer, comment,
};

/// The bits of the packet mark used for masquerading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// kube-proxy's bit: masquerade the packet.
    pub(super) masquerade: u32,
    /// Our bits: how to masquerade. 1 = only on the way to another node, 2 and 3 = with the first or second chosen
    /// address.
    how: u32,
    shift: u32,
}

const REMOTE: u32 = 1;
const FIRST_SLOT: u32 = 2;

impl Marks {
    pub(super) fn of(node: &NodeView) -> Marks {
        let shift = node.config.treatment_shift();
        Marks { masquerade: node.config.masquerade_mark(), how: 3 << shift, shift }
    }

    fn both(self) -> u32 {
        self.masquerade | self.how
    }

    /// Matches packets to be masqueraded this way.
    fn are(self, how: u32) -> Match {
        Match::Mark(Sense::Is, self.value(how), self.how)
    }

    fn value(self, how: u32) -> u32 {
        how << self.shift
    }
}

/// The chain and the set of each chosen address, in the order of the addresses.
const SLOTS: [(Set, Chain); super::super::SNAT_SLOTS] =
    [(Set::Snat1, Chain::WeirSnat1), (Set::Snat2, Chain::WeirSnat2)];

impl Writer<'_> {
    /// At the top of KUBE-SERVICES: policies' decisions come before kube-proxy's general rules. Like kube-proxy's
    /// rules for VIPs they end with ACCEPT: a pod's port that is opened on the host (CNI plugin `portmap`) must
    /// not get packets meant for a VIP.
    pub(super) fn write_decided_vips(&mut self) {
        if self.has(Set::MasqueradeExcept) {
            let except = self.commented(Set::MasqueradeExcept, &[DST, DST, SRC]);
            self.nat(Chain::KubeServices, except, Target::Accept);
        }
        if self.has(Set::Masquerade) {
            let decided = self.commented(Set::Masquerade, DST_DST);
            self.nat(Chain::KubeServices, decided, Target::Goto(Chain::WeirMasquerade));
        }
    }

    /// In KUBE-POSTROUTING, before kube-proxy's handling of marked packets.
    pub(super) fn write_decided_connections(&mut self) {
        if self.has(Set::MasqueradeRemote) && self.has(Set::LoopBack) {
            // The set of endpoints on this node was made for hairpins, so its entries name the endpoint twice. The
            // set is kube-proxy's, so this rule is not in one of weir's own chains.
            let mut here = vec![comment("weir: the endpoint is on this node"), self.marks.are(REMOTE)];
            here.push(self.set(Set::LoopBack, &[DST, DST, DST]));
            self.nat(Chain::KubePostrouting, here, Target::SetMark(0, self.marks.both()));
        }
        if self.needs_postrouting() {
            let decided = [Match::Mark(Sense::Not, 0, self.marks.how)];
            self.nat(Chain::KubePostrouting, decided, Target::Jump(Chain::WeirPostrouting));
        }
    }

    fn needs_postrouting(&self) -> bool {
        self.has(Set::MasqueradeRemote) || SLOTS.iter().any(|(set, _)| self.has(*set))
    }

    /// Our own chains.
    pub(super) fn write_treatments(&mut self, node: &NodeView) {
        if self.has(Set::Masquerade) {
            self.write_marking(node);
        }
        if self.needs_postrouting() {
            self.write_postrouting();
        }
    }

    fn write_marking(&mut self, node: &NodeView) {
        const CHAIN: Chain = Chain::WeirMasquerade;
        let plain = Target::SetMark(self.marks.masquerade, self.marks.masquerade);
        self.out.push(((self.family, Table::Nat, CHAIN), Vec::new()));
        if self.has(Set::MasqueradeAlways) {
            let always = self.commented(Set::MasqueradeAlways, DST_DST);
            self.nat(CHAIN, always, plain);
        }
        if self.has(Set::MasqueradeOffCluster)
            && let Some(outside) = detector(node, self.family)
        {
            let mut matches = vec![outside];
            matches.extend(self.commented(Set::MasqueradeOffCluster, DST_DST));
            self.nat(CHAIN, matches, plain);
        }
        let slots = SLOTS.into_iter().zip(FIRST_SLOT..).map(|((set, _), how)| (set, how));
        for (set, how) in std::iter::once((Set::MasqueradeRemote, REMOTE)).chain(slots) {
            if self.has(set) {
                let marks = self.marks;
                let mark = Target::SetMark(marks.masquerade | marks.value(how), marks.both());
                let matches = self.commented(set, DST_DST);
                self.nat(CHAIN, matches, mark);
            }
        }
        self.nat(CHAIN, [], Target::Accept);
    }

    fn write_postrouting(&mut self) {
        const CHAIN: Chain = Chain::WeirPostrouting;
        let marks = self.marks;
        for (((set, chain), slot), address) in
            SLOTS.into_iter().zip(FIRST_SLOT..).zip(self.totals.snat.get(self.family).clone())
        {
            if self.has(set) {
                self.nat(CHAIN, [marks.are(slot)], Target::Jump(chain));
                // Cleared first, so that a packet that passes again is not treated twice.
                self.nat(chain, [], Target::SetMark(0, marks.both()));
                self.nat(chain, [], Target::Snat(address, Ports::Random));
            }
        }
        self.nat(CHAIN, [], Target::SetMark(0, marks.how));
    }

    /// In KUBE-PROXY-FIREWALL: which sources may connect.
    pub(super) fn write_sources(&mut self) {
        const CHAIN: Chain = Chain::KubeProxyFirewall;
        if self.has(Set::SourceDeny) {
            let denied = self.commented(Set::SourceDeny, &[DST, DST, SRC]);
            self.filter(CHAIN, denied, Target::Drop);
        }
        if self.has(Set::SourceLimited) {
            let mut strangers = self.commented(Set::SourceLimited, DST_DST);
            let admitted = SetName::new(self.family, Set::SourceAllow).to_string();
            strangers.push(Match::Set(Sense::Not, admitted, vec![DST, DST, SRC]));
            self.filter(CHAIN, strangers, Target::Drop);
        }
    }
}

#[cfg(test)]
mod tests;
