//! Annotations that count, and complaints about those that do not.

use weir_plugin_sdk::value::{FromText, Malformed};
use weir_plugin_sdk::{Attributes, glob};

/// Whose annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// weir's own.
    Weir,
    /// kube-router's.
    KubeRouter,
    /// Cilium's.
    Cilium,
}

impl Dialect {
    pub(crate) fn from_name(name: &str) -> Option<Dialect> {
        match name {
            "weir" => Some(Dialect::Weir),
            "kube-router" => Some(Dialect::KubeRouter),
            "cilium" => Some(Dialect::Cilium),
            _ => None,
        }
    }
}

/// Every annotation of Services that is looked at, and whose it is.
pub(crate) const SERVICE_KEYS: [(Dialect, &str); 23] = [
    (Dialect::Weir, "policy.weir/scheduler"),
    (Dialect::Weir, "policy.weir/scheduler-flags"),
    (Dialect::Weir, "policy.weir/weights"),
    (Dialect::Weir, "policy.weir/persistence"),
    (Dialect::Weir, "policy.weir/drain"),
    (Dialect::Weir, "policy.weir/masquerade"),
    (Dialect::Weir, "policy.weir/masquerade-except"),
    (Dialect::Weir, "policy.weir/vip-kinds"),
    (Dialect::Weir, "policy.weir/allow-sources"),
    (Dialect::Weir, "policy.weir/deny-sources"),
    (Dialect::KubeRouter, "kube-router.io/service.scheduler"),
    (Dialect::KubeRouter, "kube-router.io/service.schedflags"),
    (Dialect::KubeRouter, "kube-router.io/service.skiplbips"),
    (Dialect::KubeRouter, "kube-router.io/service.local"),
    (Dialect::KubeRouter, "kube-router.io/service.dsr"),
    (Dialect::Cilium, "service.cilium.io/lb-algorithm"),
    (Dialect::Cilium, "service.cilium.io/type"),
    (Dialect::Cilium, "service.cilium.io/src-ranges-policy"),
    (Dialect::Cilium, "service.cilium.io/forwarding-mode"),
    (Dialect::Cilium, "service.cilium.io/node"),
    (Dialect::Cilium, "service.cilium.io/node-selector"),
    (Dialect::Cilium, "service.cilium.io/proxy-delegation"),
    (Dialect::Cilium, "service.cilium.io/affinity"),
];

/// Those that have no counterpart, and what to do instead.
const WITHOUT_EFFECT: [(Dialect, &str, &str); 7] = [
    (
        Dialect::KubeRouter,
        "kube-router.io/service.local",
        "set internalTrafficPolicy and externalTrafficPolicy to Local",
    ),
    (Dialect::KubeRouter, "kube-router.io/service.dsr", "endpoints are reached by masquerading only"),
    (Dialect::Cilium, "service.cilium.io/forwarding-mode", "endpoints are reached by masquerading only"),
    (Dialect::Cilium, "service.cilium.io/proxy-delegation", "endpoints are reached by masquerading only"),
    (Dialect::Cilium, "service.cilium.io/node", "every node serves the service"),
    (Dialect::Cilium, "service.cilium.io/node-selector", "every node serves the service"),
    (Dialect::Cilium, "service.cilium.io/affinity", "there are only endpoints of this cluster"),
];

/// Which keys may be used.
#[derive(Debug)]
pub(crate) struct Keys(Option<Vec<String>>);

impl Keys {
    /// Patterns with `*`; `None` = all keys.
    pub(crate) fn new(patterns: Option<Vec<String>>) -> Keys {
        Keys(patterns)
    }

    pub(crate) fn allow(&self, key: &str) -> bool {
        self.0.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| glob::matches(pattern, key)))
    }

    /// A pattern that fits nothing, most likely misspelt.
    pub(crate) fn useless(&self, dialects: &[Dialect]) -> Option<&String> {
        let keys = || SERVICE_KEYS.iter().chain(&crate::weights::SLICE_KEYS);
        let fits = |pattern: &String| {
            keys().any(|(dialect, key)| dialects.contains(dialect) && glob::matches(pattern, key))
        };
        self.0.iter().flatten().find(|pattern| !fits(pattern))
    }
}

/// Reads the annotations of one object.
pub(crate) struct Reader<'a> {
    attributes: &'a Attributes,
    dialects: &'a [Dialect],
    keys: &'a Keys,
    complaints: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(attributes: &'a Attributes, dialects: &'a [Dialect], keys: &'a Keys) -> Reader<'a> {
        Reader { attributes, dialects, keys, complaints: Vec::new() }
    }

    /// The value of a key, if it is there and counts.
    pub(crate) fn get(&self, dialect: Dialect, key: &str) -> Option<&'a str> {
        if !self.counts(dialect, key) {
            return None;
        }
        self.attributes.get(key).map(String::as_str)
    }

    /// Whether a key would count if it were there.
    pub(crate) fn counts(&self, dialect: Dialect, key: &str) -> bool {
        self.dialects.contains(&dialect) && self.keys.allow(key)
    }

    /// The value of a key of weir's own, if it can be read.
    pub(crate) fn parsed<T: FromText>(&mut self, key: &str) -> Option<T> {
        self.read(Dialect::Weir, key, |text| T::from_text(text))
    }

    /// The value of a key as `read` reads it; what it should be, if it cannot be read, becomes a complaint.
    pub(crate) fn read<T>(
        &mut self,
        dialect: Dialect,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(dialect, key)?;
        match read(value) {
            Ok(read) => Some(read),
            Err(expected) => {
                let malformed = Malformed { place: key.to_owned(), value: value.to_owned(), expected };
                self.complaints.push(malformed.to_string());
                None
            }
        }
    }

    /// Complains.
    pub(crate) fn complain(&mut self, complaint: impl Into<String>) {
        self.complaints.push(complaint.into());
    }

    /// Complains about keys that say something which IPVS cannot do, rather than to let them look as if they worked.
    pub(crate) fn name_what_has_no_effect(&mut self) {
        for (dialect, key, instead) in WITHOUT_EFFECT {
            if self.get(dialect, key).is_some() {
                self.complaints.push(format!("{key} has no effect here: {instead}"));
            }
        }
    }

    /// Everything that was wrong, as a reason; empty if nothing was.
    pub(crate) fn reason(&mut self) -> String {
        std::mem::take(&mut self.complaints).join("; ")
    }
}

/// `a, b and c`, for sentences.
pub(crate) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
