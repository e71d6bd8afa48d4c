//! Masquerading.

use weir_plugin_sdk::IpNet;
use weir_plugin_sdk::{Treatment, Treatments, VipKind};

use crate::reader::{Dialect, Reader, listed};
use crate::vips::{kind, names};

const MODES: [&str; 5] = ["default", "never", "always", "off-cluster", "remote-endpoints"];

pub(crate) fn treatments(reader: &mut Reader<'_>) -> Treatments {
    let wanted = reader.read(Dialect::Weir, "policy.weir/masquerade", wanted).unwrap_or_default();
    let mut treatments = wanted
        .into_iter()
        .fold(Treatments::keep(), |treatments, (kind, treatment)| treatments.treat(kind, treatment));
    treatments.except_sources = reader.parsed::<Vec<IpNet>>("policy.weir/masquerade-except");
    treatments.because(reader.reason())
}

/// A mode for every kind of VIP, or `KIND=MODE` pairs.
fn wanted(text: &str) -> Result<Vec<(VipKind, Treatment)>, String> {
    if let Some(treatment) = mode(text) {
        return Ok(VipKind::ALL.map(|kind| (kind, treatment.clone())).into());
    }
    let pair = |item: &str| {
        let (name, text) = item.split_once('=')?;
        Some((kind(name.trim())?, mode(text)?))
    };
    text.split(',').map(pair).collect::<Option<Vec<_>>>().ok_or_else(|| {
        format!(
            "one of {}, or kinds with modes like `load-balancer=never, node-port=always`, of the kinds {}",
            listed(&MODES),
            names()
        )
    })
}

fn mode(text: &str) -> Option<Treatment> {
    match text.trim() {
        "default" => Some(Treatment::Default),
        "never" => Some(Treatment::Never),
        "always" => Some(Treatment::Always),
        "off-cluster" => Some(Treatment::OffCluster),
        "remote-endpoints" => Some(Treatment::RemoteEndpoints),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_that_is_offered_is_understood() {
        for name in MODES {
            assert_eq!(wanted(name).map(|wanted| wanted.len()), Ok(4), "{name}");
        }
    }

    #[test]
    fn kinds_may_have_modes_of_their_own() {
        let both = vec![(VipKind::LoadBalancer, Treatment::Never), (VipKind::NodePort, Treatment::Always)];
        assert_eq!(wanted("load-balancer = never,node-port=always"), Ok(both));
        for text in ["", "sometimes", "cluster", "cluster=", "pod=never", "cluster=never,", "cluster=address"]
        {
            assert!(wanted(text).is_err(), "{text}");
        }
    }
}
