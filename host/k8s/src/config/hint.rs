//! Suggestions for unknown keys.

use super::{defaults, schema};
use crate::problem::nearest;

/// Fields that kube-proxy once had, and their replacements.
const GONE: [(&str, &str); 3] = [
    ("conntrack.max", "kube-proxy replaced this field with `conntrack.maxPerCore` and `conntrack.min`"),
    ("resourceContainer", "kube-proxy no longer has this field"),
    ("udpIdleTimeout", "this field belonged to the userspace mode, which kube-proxy no longer has"),
];

/// The end of a message about an unknown key; empty if nothing is similar.
pub(super) fn hint(path: &str) -> String {
    if let Some((_, what)) = GONE.iter().find(|(gone, _)| plain(gone) == plain(path)) {
        return format!("; {what}");
    }
    let same = alike(path);
    let meant = if same.is_empty() { similar(path).into_iter().collect() } else { same };
    let meant: Vec<String> = meant.iter().map(|field| format!("`{field}`")).collect();
    if meant.is_empty() { String::new() } else { format!("; did you mean {}?", meant.join(" or ")) }
}

/// Fields of this name at another place or in another spelling. Those without effect in IPVS mode only count if there
/// is no other.
fn alike(path: &str) -> Vec<&'static str> {
    let is_same = |field: &&str| plain(field) == plain(path) || plain(name(field)) == plain(name(path));
    let same: Vec<&str> = schema::paths().filter(is_same).collect();
    let read: Vec<&str> = same.iter().copied().filter(|field| !defaults::is_without_effect(field)).collect();
    if read.is_empty() { same } else { read }
}

/// The field with the most similar name: in the same section, otherwise anywhere.
fn similar(path: &str) -> Option<&'static str> {
    let section = |path: &str| path.len() - name(path).len();
    let is_sibling = |field: &&str| field[..section(field)] == path[..section(path)];
    let best = |fields: Vec<&'static str>| {
        let found = nearest(name(path), fields.iter().map(|field| name(field)))?;
        fields.iter().copied().find(|field| name(field) == found)
    };
    best(schema::paths().filter(is_sibling).collect())
        .or_else(|| best(schema::paths().filter(|field| !defaults::is_without_effect(field)).collect()))
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// A name without the differences between spellings: case, dashes, underscores, dots.
fn plain(path: &str) -> String {
    path.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_at_a_wrong_place_is_shown_the_right_one() {
        for (path, expected) in [
            ("ipvs.masqueradeAll", "; did you mean `iptables.masqueradeAll`?"),
            ("masqueradeBit", "; did you mean `iptables.masqueradeBit`?"),
            ("syncPeriod", "; did you mean `ipvs.syncPeriod`?"),
            ("scheduler", "; did you mean `ipvs.scheduler`?"),
            ("ipvs-scheduler", "; did you mean `ipvs.scheduler`?"),
            ("ipvs.strictArp", "; did you mean `ipvs.strictARP`?"),
            ("conntrack.clusterCIDR", "; did you mean `clusterCIDR`?"),
            ("ipvs.conntrack", "; did you mean `conntrack`?"),
            ("kubeconfig", "; did you mean `clientConnection.kubeconfig`?"),
            ("udpTimeout", "; did you mean `ipvs.udpTimeout` or `conntrack.udpTimeout`?"),
            ("iptables.enableDSR", "; did you mean `winkernel.enableDSR`?"),
            ("ipvs.sheduler", "; did you mean `ipvs.scheduler`?"),
            ("sheduler", "; did you mean `ipvs.scheduler`?"),
            ("udpIdleTimeout", "; this field belonged to the userspace mode, which kube-proxy no longer has"),
            (
                "conntrack.max",
                "; kube-proxy replaced this field with `conntrack.maxPerCore` and `conntrack.min`",
            ),
            ("zzz", ""),
        ] {
            assert_eq!(hint(path), expected, "{path}");
        }
    }

    #[test]
    fn every_field_is_found_from_every_section() {
        let sections = schema::paths().map(|path| path.strip_suffix(name(path)).unwrap());
        for section in std::collections::BTreeSet::from_iter(sections) {
            for field in schema::paths() {
                let path = format!("{section}{}", name(field));
                if schema::paths().any(|known| known == path) {
                    continue;
                }
                let hint = hint(&path);
                let end = format!("{}`", name(field));
                let named = hint.split([' ', '?']).any(|word| word.starts_with('`') && word.ends_with(&end));
                assert!(named, "{path}:{hint}");
            }
        }
    }
}
