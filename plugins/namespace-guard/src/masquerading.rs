//! Limits on masquerading.

use std::collections::BTreeSet;

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::{IpNet, Service, Treatment, Treatments, VipKind};

use crate::reason;

/// Allowed treatments; `None` = all.
#[derive(Debug, Default)]
pub(crate) struct MasqueradeLimits {
    modes: Option<Vec<String>>,
    /// Networks whose sources may be excepted.
    exceptions: Option<Vec<IpNet>>,
}

const MODES: [&str; 6] = ["default", "never", "always", "off-cluster", "remote-endpoints", "address"];

impl MasqueradeLimits {
    pub(crate) fn take(fields: &mut Fields) -> MasqueradeLimits {
        let modes: Option<Vec<String>> = fields.texts("masquerade");
        for mode in modes.iter().flatten().filter(|mode| !MODES.contains(&mode.as_str())) {
            fields.problem("masquerade", format!("names `{mode}`: write any of {}", MODES.join(", ")));
        }
        MasqueradeLimits { modes, exceptions: fields.texts("except-sources") }
    }

    /// Takes back what exceeds the limits.
    pub(crate) fn guard(&self, service: &Service, prior: &Treatments) -> Treatments {
        let mut taken = BTreeSet::new();
        let mut answer = Treatments::keep();
        for kind in VipKind::ALL {
            let Some(mode) = prior.of(kind).map(mode) else { continue };
            // The default is always allowed, because everything else falls back to it.
            let allows = |modes: &Vec<String>| mode == "default" || modes.iter().any(|known| known == mode);
            if !self.modes.as_ref().is_none_or(allows) {
                taken.insert(format!("masquerade {mode}"));
                answer = answer.treat(kind, Treatment::Default);
            }
        }
        if let (Some(allowed), Some(said)) = (&self.exceptions, &prior.except_sources) {
            let inside = |network: &&IpNet| allowed.iter().any(|allowed| allowed.contains(*network));
            let (kept, more): (Vec<&IpNet>, Vec<&IpNet>) = said.iter().partition(inside);
            if !more.is_empty() {
                taken.extend(more.iter().map(|network| format!("exception {network}")));
                answer.except_sources = Some(kept.into_iter().copied().collect());
            }
        }
        answer.because(reason(service, taken))
    }
}

fn mode(treatment: &Treatment) -> &str {
    match treatment {
        Treatment::Default => "default",
        Treatment::Never => "never",
        Treatment::Always => "always",
        Treatment::OffCluster => "off-cluster",
        Treatment::RemoteEndpoints => "remote-endpoints",
        Treatment::Address(_) => "address",
        Treatment::Other(mode) => mode,
    }
}
