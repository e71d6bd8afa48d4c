//! The services, VIPs, endpoints and sources that filters leave out. No filter adds any back.

use ipnet::IpNet;
use weir_core::decision::{Decision, Handling, RefusedVip, SourceAction, SourceFilter, VipKinds};
use weir_core::net::overlap;
use weir_core::text::counted;
use weir_core::view::ServiceView;

use super::{Answer, Opinion, Patch, metrics, names, networks, no_extra, reason, shown, value};
use crate::bindings::filter;
use crate::lower::{ip, kind, kinds};

/// The restrictions of one plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FilterPatch {
    /// Why the service is ignored.
    pub(super) ignore: Option<String>,
    /// The only kinds of VIPs that are served.
    pub(super) kinds: Option<VipKinds>,
    pub(super) refused: Vec<RefusedVip>,
    pub(super) node_port_networks: Option<Vec<IpNet>>,
    /// Indexes of a port and of one of its endpoints.
    pub(super) dropped: Vec<(usize, usize)>,
    pub(super) sources: Vec<SourceFilter>,
}

pub(super) const ACTIONS: &[(&str, SourceAction)] =
    &[("allow", SourceAction::Allow), ("deny", SourceAction::Deny)];

impl FilterPatch {
    pub(super) fn ignores(&self) -> bool {
        self.ignore.is_some()
    }
}

impl Patch for FilterPatch {
    type Wire = filter::Verdict;

    fn parse(wire: &filter::Verdict, view: &ServiceView) -> Result<Answer<FilterPatch>, String> {
        no_extra(&wire.extra)?;
        let refused = |refusal: &filter::Refusal| RefusedVip {
            kind: kind(refusal.vip.kind),
            address: ip(refusal.vip.address),
            reason: shown(&refusal.reason),
        };
        let dropped = |(port, endpoint): &(u32, u32)| {
            let (port, endpoint) = (*port as usize, *endpoint as usize);
            let count = view.ports.get(port).map_or(0, |port| port.endpoints.len());
            if endpoint < count {
                Ok((port, endpoint))
            } else {
                let has = match view.ports.get(port) {
                    Some(_) => format!("this port has {}", counted(count, "endpoint")),
                    None => format!("the service has {}", counted(view.ports.len(), "port")),
                };
                Err(format!(
                    "it drops the endpoint with index {endpoint} of the port with index {port}, but {has}"
                ))
            }
        };
        let patch = FilterPatch {
            ignore: wire.ignore.as_deref().map(shown),
            kinds: wire.kinds.map(kinds),
            refused: wire.refusals.iter().flatten().map(refused).collect(),
            node_port_networks: wire.node_port_networks.as_deref().map(networks).transpose()?,
            dropped: wire.dropped_endpoints.iter().flatten().map(dropped).collect::<Result<_, _>>()?,
            sources: wire.sources.iter().flatten().map(source).collect::<Result<_, _>>()?,
        };
        let said = wire.reason.as_ref().filter(|said| !said.is_empty()).or(wire.ignore.as_ref());
        Ok(Answer {
            patch,
            reason: reason(&said.cloned()),
            lifetime: wire.re_evaluate_after,
            metrics: metrics(&wire.metrics),
        })
    }

    fn summary(&self, _: &ServiceView) -> String {
        let mut parts = Vec::new();
        if self.ignores() {
            parts.push("ignore the service".to_owned());
        }
        if let Some(only) = &self.kinds {
            let names: Vec<String> = only.iter().map(|kind| kind.to_string()).collect();
            parts.push(if names.is_empty() {
                "no VIPs".to_owned()
            } else {
                format!("only {} VIPs", names.join(", "))
            });
        }
        parts.extend(self.refused.iter().map(|vip| format!("refuse {} {}", vip.kind, vip.address)));
        parts.extend(self.node_port_networks.iter().map(|nets| match nets.is_empty() {
            true => "no node ports".to_owned(),
            false => format!("node ports in {}", names(nets)),
        }));
        if !self.dropped.is_empty() {
            parts.push(format!("drop {}", counted(self.dropped.len(), "endpoint")));
        }
        for source in &self.sources {
            let action = match source.action {
                SourceAction::Allow => "allow",
                SourceAction::Deny => "deny",
            };
            let ranges =
                if source.ranges.is_empty() { "no source".to_owned() } else { names(&source.ranges) };
            parts.push(format!("{action} {ranges}"));
        }
        parts.join("; ")
    }

    fn fitted(mut self, _: &ServiceView) -> Option<FilterPatch> {
        // The indexes may now refer to other endpoints.
        self.dropped.clear();
        Some(self)
    }

    fn add(&self, opinion: &mut Opinion) {
        if *self != FilterPatch::default() {
            opinion.filters.push(self.clone());
        }
    }

    fn apply(&self, decision: &mut Decision) {
        if let (Some(reason), Handling::Handle) = (&self.ignore, &decision.handling) {
            decision.handling = Handling::Ignore(reason.clone());
        }
        let vips = &mut decision.vips;
        if let Some(only) = &self.kinds {
            vips.kinds = vips.kinds.common(*only);
        }
        vips.refused.extend_from_slice(&self.refused);
        if let Some(only) = &self.node_port_networks {
            vips.node_port_networks = Some(match &vips.node_port_networks {
                None => only.clone(),
                Some(earlier) => overlap(earlier, only),
            });
        }
        for (port, endpoint) in &self.dropped {
            if let Some(port) = decision.ports.get_mut(*port) {
                port.dropped.insert(*endpoint);
            }
        }
        decision.sources.extend_from_slice(&self.sources);
    }
}

fn source(wire: &filter::SourceFilter) -> Result<SourceFilter, String> {
    no_extra(&wire.extra)?;
    Ok(SourceFilter {
        kinds: kinds(wire.kinds),
        action: value(ACTIONS, &wire.action, "actions")?,
        ranges: networks(&wire.ranges)?,
    })
}
