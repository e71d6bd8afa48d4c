//! The data that a plugin requests. A plugin gets only this data, and only a change of this data causes a new
//! question.

use weir_core::objects::Attributes;
use weir_core::policy::Reads;
use weir_core::sampling::Wish;

/// The needs of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Labels of services.
    pub(crate) labels: Keys,
    /// Annotations of services.
    pub(crate) annotations: Keys,
    /// Labels of their namespaces.
    pub(crate) namespace_labels: Keys,
    /// Annotations of their namespaces.
    pub(crate) namespace_annotations: Keys,
    /// Labels of their EndpointSlices.
    pub(crate) slice_labels: Keys,
    /// Annotations of their EndpointSlices.
    pub(crate) slice_annotations: Keys,
    /// Labels of nodes.
    pub(crate) node_labels: Keys,
    /// Annotations of nodes.
    pub(crate) node_annotations: Keys,
    /// The list of endpoints.
    pub(crate) endpoints: bool,
    /// The EndpointSlice that an endpoint comes from.
    pub(crate) slices: bool,
    /// All nodes of the cluster.
    pub(crate) nodes: bool,
    /// The addresses of this node's interfaces.
    pub(crate) host_addresses: bool,
    /// The time.
    pub(crate) time: bool,
    /// Since when endpoints have been ready.
    pub(crate) ready_since: bool,
    /// The counters of real servers.
    pub(crate) statistics: Option<Wish>,
    /// The needs as the plugin wrote them.
    words: Vec<String>,
}

/// Selects keys of an object's labels or annotations: exact keys and prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    exact: Vec<String>,
    prefixes: Vec<String>,
}

impl Keys {
    fn add(&mut self, pattern: &str) {
        match pattern.strip_suffix('*') {
            Some(prefix) => self.prefixes.push(prefix.to_owned()),
            None => self.exact.push(pattern.to_owned()),
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// The pairs with selected keys, sorted by key.
    pub(crate) fn of(&self, attributes: &Attributes) -> Vec<(String, String)> {
        if self.is_empty() {
            return Vec::new();
        }
        let wanted = |key: &String| {
            self.exact.contains(key) || self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
        };
        attributes.iter().filter(|(key, _)| wanted(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// A need that this version of weir does not know or does not grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeedError {
    /// An unknown word.
    #[error("it needs `{0}`, which this version of weir does not know; {hint}", hint = hint(.0))]
    Unknown(String),
    /// Not a valid period and memory.
    #[error(
        "it needs `{0}`, which is not a valid period and memory; write `statistics:PERIOD/MEMORY`, such as \
         `statistics:1s/20s`. The period is 1s to 60s. The memory is at least the period and at most 3600s"
    )]
    Statistics(String),
    /// A key is missing.
    #[error("it needs `{0}`, which lacks a key; write `{0}KEY` or `{0}PREFIX*`")]
    NoKey(String),
}

/// The complete words, and those that precede a key.
const WORDS: [&str; 6] = ["endpoints", "slices", "nodes", "host-addresses", "time", "ready-since"];
const KEYED: [&str; 8] = [
    "label",
    "annotation",
    "namespace-label",
    "namespace-annotation",
    "slice-label",
    "slice-annotation",
    "node-label",
    "node-annotation",
];

fn hint(word: &str) -> String {
    let (what, key) = word.split_once(':').unwrap_or((word, "KEY"));
    match weir_k8s::nearest(what, WORDS.into_iter().chain(KEYED)) {
        Some(near) if WORDS.contains(&near) => format!("did you mean `{near}`?"),
        Some(near) => format!("did you mean `{near}:{key}`?"),
        None => "use a newer weir or an older plugin".to_owned(),
    }
}

/// Parses a period and a memory, such as `1s/20s`.
fn wish(text: &str) -> Option<Wish> {
    let seconds = |text: &str| text.strip_suffix('s')?.parse::<u32>().ok();
    let (period, memory) = text.split_once('/')?;
    let (period, memory) = (seconds(period)?, seconds(memory)?);
    let sound = (1..=60).contains(&period) && (period..=3600).contains(&memory);
    sound.then_some(Wish { period, memory })
}

impl Needs {
    /// Parses a plugin's needs.
    pub(crate) fn parse(words: &[String]) -> Result<Needs, Vec<NeedError>> {
        let mut needs = Needs { words: words.to_vec(), ..Needs::default() };
        let errors: Vec<NeedError> = words.iter().filter_map(|word| needs.add(word).err()).collect();
        if errors.is_empty() { Ok(needs) } else { Err(errors) }
    }

    fn add(&mut self, word: &str) -> Result<(), NeedError> {
        match word {
            "endpoints" => self.endpoints = true,
            "slices" => self.slices = true,
            "nodes" => self.nodes = true,
            "host-addresses" => self.host_addresses = true,
            "time" => self.time = true,
            "ready-since" => self.ready_since = true,
            "statistics" => return Err(NeedError::Statistics(word.to_owned())),
            _ => return self.add_keys(word),
        }
        Ok(())
    }

    fn add_keys(&mut self, word: &str) -> Result<(), NeedError> {
        let Some((what, key)) = word.split_once(':') else { return Err(NeedError::Unknown(word.to_owned())) };
        if what == "statistics" {
            let wish = wish(key).ok_or_else(|| NeedError::Statistics(word.to_owned()))?;
            // If given twice, the last one counts, as in a configuration.
            self.statistics = Some(wish);
            return Ok(());
        }
        let keys = match what {
            "label" => &mut self.labels,
            "annotation" => &mut self.annotations,
            "namespace-label" => &mut self.namespace_labels,
            "namespace-annotation" => &mut self.namespace_annotations,
            "slice-label" => &mut self.slice_labels,
            "slice-annotation" => &mut self.slice_annotations,
            "node-label" => &mut self.node_labels,
            "node-annotation" => &mut self.node_annotations,
            _ => return Err(NeedError::Unknown(word.to_owned())),
        };
        if key.is_empty() {
            return Err(NeedError::NoKey(word.to_owned()));
        }
        keys.add(key);
        self.slices |= !self.slice_labels.is_empty() || !self.slice_annotations.is_empty();
        self.nodes |= !self.node_labels.is_empty() || !self.node_annotations.is_empty();
        Ok(())
    }

    /// What the source of objects must deliver.
    pub(crate) fn reads(&self) -> Reads {
        Reads {
            nodes: self.nodes,
            namespaces: !self.namespace_labels.is_empty() || !self.namespace_annotations.is_empty(),
            ready_since: self.ready_since,
        }
    }

    /// The needs as the plugin wrote them.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Needs, Vec<NeedError>> {
        Needs::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn keys_are_exact_or_beginnings() {
        let needs = parse(&["annotation:a", "annotation:b/*"]).unwrap();
        let all = ["a", "a/x", "b", "b/x", "b/y"].map(|key| (key.to_owned(), "v".to_owned()));
        let got: Vec<String> = needs.annotations.of(&all.into()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(got, ["a", "b/x", "b/y"]);
        assert!(needs.labels.of(&[("a".to_owned(), String::new())].into()).is_empty());
    }

    #[test]
    fn a_need_of_parts_is_a_need_of_the_whole() {
        let needs = parse(&["slice-annotation:w", "node-label:z"]).unwrap();
        assert!(needs.slices && needs.nodes && !needs.endpoints);
        assert_eq!(needs.reads(), Reads { nodes: true, namespaces: false, ready_since: false });
        assert!(parse(&["namespace-label:*"]).unwrap().reads().namespaces);
    }

    #[test]
    fn the_lists_of_words_are_those_that_are_known() {
        let keyed = KEYED.map(|word| format!("{word}:k"));
        assert!(parse(&WORDS).is_ok());
        assert!(Needs::parse(&keyed).is_ok());
    }

    #[test]
    fn statistics_have_a_period_and_a_memory() {
        let wish = |text: &str| parse(&[text]).ok().and_then(|needs| needs.statistics);
        assert_eq!(wish("statistics:1s/20s"), Some(Wish { period: 1, memory: 20 }));
        assert_eq!(wish("statistics:60s/3600s"), Some(Wish { period: 60, memory: 3600 }));
        for wrong in ["1s", "1/20", "61s/100s", "20s/10s", "1s/3601s", "1s/20s/3s", "-1s/2s"] {
            assert_eq!(wish(&format!("statistics:{wrong}")), None, "{wrong}");
        }
    }

    #[test]
    fn every_unknown_word_is_named() {
        let errors =
            parse(&["endpoints", "wallet", "pod-label:a", "label:", "statistics", "statistics:0s/20s"])
                .unwrap_err();
        assert_eq!(
            errors,
            [
                NeedError::Unknown("wallet".to_owned()),
                NeedError::Unknown("pod-label:a".to_owned()),
                NeedError::NoKey("label:".to_owned()),
                NeedError::Statistics("statistics".to_owned()),
                NeedError::Statistics("statistics:0s/20s".to_owned()),
            ]
        );
        let said = |word: &str| NeedError::Unknown(word.to_owned()).to_string();
        assert!(said("endpoint").ends_with("did you mean `endpoints`?"), "{}", said("endpoint"));
        assert!(said("annotations:a/b").ends_with("did you mean `annotation:a/b`?"));
        assert!(said("labels").ends_with("did you mean `label:KEY`?"));
        assert!(said("wallet").ends_with("older plugin"), "{}", said("wallet"));
    }
}
