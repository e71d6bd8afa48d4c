//! What may be meant by a key that is not known.

use super::{defaults, schema};
use crate::problem::nearest;

/// Fields that kube-proxy once had, with what became of them.
const GONE: [(&str, &str); 3] = [
    ("conntrack.max", "kube-proxy has `conntrack.maxPerCore` and `conntrack.min` instead"),
    ("resourceContainer", "kube-proxy no longer has it"),
    ("udpIdleTimeout", "it belonged to the userspace mode, which kube-proxy no longer has"),
];

/// The end of a sentence about an unknown key; empty if nothing is similar.
pub(super) fn hint(path: &str) -> String {
    if let Some((_, what)) = GONE.iter().find(|(gone, _)| plain(gone) == plain(path)) {
        return format!("; {what}");
    }
    let same = alike(path);
    let meant = if same.is_empty() { similar(path).into_iter().collect() } else { same };
    let meant: Vec<String> = meant.iter().map(|field| format!("`{field}`")).collect();
    if meant.is_empty() { String::new() } else { format!("; is {} meant?", meant.join(" or ")) }
}

/// Fields of this name, at another place or in another spelling. Those that IPVS mode does not read only count if there
/// is no other.
fn alike(path: &str) -> Vec<&'static str> {
    let is_same = |field: &&str| plain(field) == plain(path) || plain(name(field)) == plain(name(path));
    let same: Vec<&str> = schema::paths().filter(is_same).collect();
    let read: Vec<&str> = same.iter().copied().filter(|field| !defaults::is_without_effect(field)).collect();
    if read.is_empty() { same } else { read }
}

/// The field whose name is most similar: in the same section, else anywhere.
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

/// A name without what its spellings differ by: case, dashes, underscores, dots.
fn plain(path: &str) -> String {
    path.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_at_a_wrong_place_is_shown_the_right_one() {
        for (path, expected) in [
            ("ipvs.masqueradeAll", "; is `iptables.masqueradeAll` meant?"),
            ("masqueradeBit", "; is `iptables.masqueradeBit` meant?"),
            ("syncPeriod", "; is `ipvs.syncPeriod` meant?"),
            ("scheduler", "; is `ipvs.scheduler` meant?"),
            ("ipvs-scheduler", "; is `ipvs.scheduler` meant?"),
            ("ipvs.strictArp", "; is `ipvs.strictARP` meant?"),
            ("conntrack.clusterCIDR", "; is `clusterCIDR` meant?"),
            ("ipvs.conntrack", "; is `conntrack` meant?"),
            ("kubeconfig", "; is `clientConnection.kubeconfig` meant?"),
            ("udpTimeout", "; is `ipvs.udpTimeout` or `conntrack.udpTimeout` meant?"),
            ("iptables.enableDSR", "; is `winkernel.enableDSR` meant?"),
            ("ipvs.sheduler", "; is `ipvs.scheduler` meant?"),
            ("sheduler", "; is `ipvs.scheduler` meant?"),
            ("udpIdleTimeout", "; it belonged to the userspace mode, which kube-proxy no longer has"),
            ("conntrack.max", "; kube-proxy has `conntrack.maxPerCore` and `conntrack.min` instead"),
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
                let named = hint.split(' ').any(|word| word.starts_with('`') && word.ends_with(&end));
                assert!(named, "{path}:{hint}");
            }
        }
    }
}
