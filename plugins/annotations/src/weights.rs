//! Weights of endpoints: shares of groups, or a weight per EndpointSlice.

use weir_plugin_sdk::value::FromText;
use weir_plugin_sdk::weights::{Failsafe, Member, shared, spare};
use weir_plugin_sdk::{Endpoint, Port, Service};

use crate::reader::{Dialect, Keys, Reader};

/// The annotation of Services with the shares of groups.
const SHARES: &str = "policy.weir/weights";
/// The label of EndpointSlices that names their group.
const GROUP: &str = "policy.weir/group";
/// Stands for endpoints in no other group.
const REST: &str = "*";

/// The annotations that are read from EndpointSlices, with their dialects.
pub(crate) const SLICE_KEYS: [(Dialect, &str); 2] =
    [(Dialect::Weir, "policy.weir/weight"), (Dialect::Cilium, "service.cilium.io/weight")];

/// Returns the needs for weights.
pub(crate) fn needs(dialects: &[Dialect], keys: &Keys) -> Vec<String> {
    let mut needs = Vec::new();
    if dialects.contains(&Dialect::Weir) && keys.allow(SHARES) {
        needs.push(format!("slice-label:{GROUP}"));
    }
    for (dialect, key) in SLICE_KEYS {
        if dialects.contains(&dialect) && keys.allow(key) {
            needs.push(format!("slice-annotation:{key}"));
        }
    }
    if !needs.is_empty() {
        needs.push("endpoints".to_owned());
    }
    needs
}

/// `stable=90, canary=10`
#[derive(Debug, PartialEq, Eq)]
struct Shares(Vec<(String, u32)>);

impl FromText for Shares {
    fn from_text(text: &str) -> Result<Shares, String> {
        let share = |item: &str| {
            let (group, share) = item.split_once('=')?;
            let group = group.trim();
            Some((group.to_owned(), u32::from(u16::from_text(share).ok()?))).filter(|_| !group.is_empty())
        };
        let shares: Option<Vec<(String, u32)>> = text.split(',').map(share).collect();
        let is_one = |shares: &Vec<(String, u32)>| {
            let twice = |i: usize| shares[..i].iter().any(|(group, _)| *group == shares[i].0);
            shares.iter().any(|(_, share)| *share > 0) && !(0..shares.len()).any(twice)
        };
        shares.filter(is_one).map(Shares).ok_or_else(|| {
            "shares of groups, each once and not all 0, like `stable=90, canary=10`, with `*` for the rest"
                .to_owned()
        })
    }
}

/// The weights from the annotations of a service and its slices.
pub(crate) enum Weighing {
    /// No weights are set.
    None,
    /// Shares of groups.
    Shares(Vec<(String, u32)>),
    /// Weights of slices, by name; all other slices have 1.
    Slices(Vec<(String, u16)>),
}

impl Weighing {
    pub(crate) fn read(reader: &mut Reader<'_>, service: &Service) -> Weighing {
        if let Some(Shares(shares)) = reader.parsed(SHARES) {
            return Weighing::Shares(shares);
        }
        let mut weights = Vec::new();
        for slice in &service.slices {
            for (dialect, key) in SLICE_KEYS {
                let Some(text) = slice.annotations.get(key).filter(|_| reader.counts(dialect, key)) else {
                    continue;
                };
                match u16::from_text(text) {
                    Ok(weight) => weights.push((slice.name.clone(), weight)),
                    Err(expected) => reader.complain(format!(
                        "{key} of EndpointSlice {} is `{}`: write {expected}",
                        slice.name,
                        text.chars().take(20).collect::<String>()
                    )),
                }
                break;
            }
        }
        if weights.is_empty() { Weighing::None } else { Weighing::Slices(weights) }
    }

    /// Returns the weights of a port's endpoints; `None` if no weights are set.
    pub(crate) fn of(&self, reader: &mut Reader<'_>, service: &Service, port: &Port) -> Option<Vec<u16>> {
        let mut weights = match self {
            Weighing::None => return None,
            Weighing::Shares(shares) => of_groups(shares, service, port),
            Weighing::Slices(slices) => port.endpoints.iter().map(|e| of_slice(slices, e)).collect(),
        };
        if spare(&mut weights, &port.endpoints) == Failsafe::Held {
            reader.complain(format!(
                "weights of 0 leave no endpoint for port {}, so some of these weights are ignored",
                port.port
            ));
        }
        Some(weights)
    }
}

fn of_groups(shares: &[(String, u32)], service: &Service, port: &Port) -> Vec<u16> {
    let place = |group: &str| shares.iter().position(|(known, _)| known == group);
    let rest = place(REST).unwrap_or(shares.len());
    let group = |endpoint: &Endpoint| {
        let slice = endpoint.slice.as_deref().and_then(|name| service.slice_named(name));
        slice.and_then(|slice| slice.labels.get(GROUP)).and_then(|group| place(group)).unwrap_or(rest)
    };
    // Only used endpoints share: if all endpoints of a group are terminating, the other groups get its share.
    let counts = |endpoint: &Endpoint| endpoint.is_used() || !port.endpoints.iter().any(Endpoint::is_used);
    let member = |endpoint: &Endpoint| Member { group: group(endpoint), counts: counts(endpoint).into() };
    let members: Vec<Member> = port.endpoints.iter().map(member).collect();
    let shares: Vec<u32> = shares.iter().map(|(_, share)| *share).collect();
    let mut weights = shared(&members, &shares);
    // Unused endpoints get a weight that others have too: a distinct one would require another scheduler.
    let common = weights.iter().copied().max().unwrap_or(1);
    for (weight, member) in weights.iter_mut().zip(&members).filter(|(_, member)| member.counts == 0) {
        *weight = if shares.get(member.group).is_some_and(|share| *share > 0) { common } else { 0 };
    }
    weights
}

fn of_slice(slices: &[(String, u16)], endpoint: &Endpoint) -> u16 {
    let named = slices.iter().find(|(name, _)| endpoint.slice.as_deref() == Some(name));
    named.map_or(1, |(_, weight)| *weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        let shares = |text| Shares::from_text(text).map(|Shares(shares)| shares);
        assert_eq!(shares("stable=90, canary=10"), Ok(vec![("stable".into(), 90), ("canary".into(), 10)]));
        assert_eq!(shares("*=1"), Ok(vec![("*".into(), 1)]));
        for text in ["", "stable", "=1", "a=0", "a=0,b=0", "a=1,a=2", "a=-1", "a=1,", "a=65536", "a=1 b=2"] {
            assert!(shares(text).is_err(), "{text}");
        }
    }
}
