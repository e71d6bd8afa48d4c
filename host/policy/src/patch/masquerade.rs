//! Which source addresses are replaced.

use ipnet::IpNet;
use weir_core::decision::{Decision, PerVipKind, Treatment, VipKind};
use weir_core::view::ServiceView;

use super::{
    Answer, Opinion, Patch, metrics, names, networks, no_extra, print_networks, reason, supersede, value,
};
use crate::bindings::masquerade;
use crate::lower::{address, ip};

/// The answer of one plugin, or of all called so far, about masquerading; `None` = no answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MasqueradePatch {
    pub(super) treatments: PerVipKind<Option<Treatment>>,
    pub(super) except: Option<Vec<IpNet>>,
}

/// The modes; `None` = the mode that requires an address.
const MODES: &[(&str, Option<Treatment>)] = &[
    ("default", Some(Treatment::Default)),
    ("never", Some(Treatment::Never)),
    ("always", Some(Treatment::Always)),
    ("off-cluster", Some(Treatment::OffCluster)),
    ("remote-endpoints", Some(Treatment::RemoteEndpoints)),
    ("hairpin", Some(Treatment::Never)),
    ("address", None),
];

impl Patch for MasqueradePatch {
    type Wire = masquerade::Treatments;

    fn parse(wire: &masquerade::Treatments, _: &ServiceView) -> Result<Answer<MasqueradePatch>, String> {
        no_extra(&wire.extra)?;
        let parse = |asked: &Option<masquerade::Treatment>| asked.as_ref().map(treatment).transpose();
        let patch = MasqueradePatch {
            treatments: PerVipKind {
                cluster: parse(&wire.cluster)?,
                external: parse(&wire.external)?,
                load_balancer: parse(&wire.load_balancer)?,
                node_port: parse(&wire.node_port)?,
            },
            except: wire.except_sources.as_deref().map(networks).transpose()?,
        };
        Ok(Answer {
            patch,
            reason: reason(&wire.reason),
            lifetime: wire.re_evaluate_after,
            metrics: metrics(&wire.metrics),
        })
    }

    fn summary(&self, _: &ServiceView) -> String {
        let mut parts = Vec::new();
        for kind in VipKind::ALL {
            if let Some(treatment) = self.treatments.get(kind) {
                let printed = print_treatment(*treatment);
                let source = printed.source.map(|source| format!(" {}", ip(source))).unwrap_or_default();
                parts.push(format!("{kind} {}{source}", printed.mode));
            }
        }
        parts.extend(self.except.iter().map(|except| match except.is_empty() {
            true => "no exceptions".to_owned(),
            false => format!("except {}", names(except)),
        }));
        parts.join("; ")
    }

    fn add(&self, opinion: &mut Opinion) {
        let prior = &mut opinion.masquerade;
        for kind in VipKind::ALL {
            supersede(prior.treatments.get_mut(kind), self.treatments.get(kind));
        }
        supersede(&mut prior.except, &self.except);
    }

    fn apply(&self, decision: &mut Decision) {
        for kind in VipKind::ALL {
            if let Some(treatment) = self.treatments.get(kind) {
                *decision.masquerade.treatments.get_mut(kind) = *treatment;
            }
        }
        if let Some(except) = &self.except {
            decision.masquerade.except.clone_from(except);
        }
    }
}

impl MasqueradePatch {
    /// The patch as the contract's types.
    pub(crate) fn print(&self) -> masquerade::Treatments {
        let PerVipKind { cluster, external, load_balancer, node_port } = self.treatments;
        masquerade::Treatments {
            cluster: cluster.map(print_treatment),
            external: external.map(print_treatment),
            load_balancer: load_balancer.map(print_treatment),
            node_port: node_port.map(print_treatment),
            except_sources: self.except.as_deref().map(print_networks),
            reason: None,
            re_evaluate_after: None,
            metrics: None,
            extra: None,
        }
    }
}

fn treatment(wire: &masquerade::Treatment) -> Result<Treatment, String> {
    match (value(MODES, &wire.mode, "masquerade modes")?, wire.source) {
        (Some(plain), None) => Ok(plain),
        (None, Some(source)) => Ok(Treatment::Address(ip(source))),
        (None, None) => Err(format!("the masquerade mode {} requires a source", wire.mode)),
        (Some(_), Some(_)) => Err(format!("the masquerade mode {} does not accept a source", wire.mode)),
    }
}

fn print_treatment(treatment: Treatment) -> masquerade::Treatment {
    let (mode, source) = match treatment {
        Treatment::Default => ("default", None),
        Treatment::Never => ("never", None),
        Treatment::Always => ("always", None),
        Treatment::OffCluster => ("off-cluster", None),
        Treatment::RemoteEndpoints => ("remote-endpoints", None),
        Treatment::Address(source) => ("address", Some(address(source))),
    };
    masquerade::Treatment { mode: mode.to_owned(), source }
}
