//! Reads the annotations that apply, and complains about those that do not.

use weir_plugin_sdk::value::{FromText, Malformed};
use weir_plugin_sdk::{Attributes, glob};

/// The project that defines an annotation.
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

/// Every annotation that is read from Services, with its dialect.
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

/// Annotations without a counterpart, and what to use instead.
const WITHOUT_EFFECT: [(Dialect, &str, &str); 7] = [
    (
        Dialect::KubeRouter,
        "kube-router.io/service.local",
        "set internalTrafficPolicy and externalTrafficPolicy to Local",
    ),
    (Dialect::KubeRouter, "kube-router.io/service.dsr", "weir reaches endpoints only by masquerading"),
    (Dialect::Cilium, "service.cilium.io/forwarding-mode", "weir reaches endpoints only by masquerading"),
    (Dialect::Cilium, "service.cilium.io/proxy-delegation", "weir reaches endpoints only by masquerading"),
    (Dialect::Cilium, "service.cilium.io/node", "every node serves the service"),
    (Dialect::Cilium, "service.cilium.io/node-selector", "every node serves the service"),
    (Dialect::Cilium, "service.cilium.io/affinity", "all endpoints are in this cluster"),
];

/// The keys that may be used.
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

    /// Returns a pattern that matches nothing, most likely misspelt.
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

    /// Returns the value of a key if it is set and may be used.
    pub(crate) fn get(&self, dialect: Dialect, key: &str) -> Option<&'a str> {
        if !self.counts(dialect, key) {
            return None;
        }
        self.attributes.get(key).map(String::as_str)
    }

    /// Whether a key may be used.
    pub(crate) fn counts(&self, dialect: Dialect, key: &str) -> bool {
        self.dialects.contains(&dialect) && self.keys.allow(key)
    }

    /// Returns the value of one of weir's own keys, if it is readable.
    pub(crate) fn parsed<T: FromText>(&mut self, key: &str) -> Option<T> {
        self.read(Dialect::Weir, key, |text| T::from_text(text))
    }

    /// Returns the value of a key as parsed by `read`; an unreadable value becomes a complaint that says what is
    /// expected.
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

    /// Adds a complaint.
    pub(crate) fn complain(&mut self, complaint: impl Into<String>) {
        self.complaints.push(complaint.into());
    }

    /// Complains about keys that IPVS cannot support, so that they do not seem to work.
    pub(crate) fn name_what_has_no_effect(&mut self) {
        for (dialect, key, instead) in WITHOUT_EFFECT {
            if self.get(dialect, key).is_some() {
                self.complaints.push(format!("{key} has no effect here: {instead}"));
            }
        }
    }

    /// Returns all complaints as one reason; empty if there are none.
    pub(crate) fn reason(&mut self) -> String {
        std::mem::take(&mut self.complaints).join("; ")
    }
}

/// Quotes and joins words, for sentences.
pub(crate) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
