//! Reduces a recorded view to the plugin's declared needs, as weir would send it.

use weir_plugin_views::{Attributes, Context, Endpoint, Node, Port, Service, Slice};

/// The needs of a plugin, by the part before the key.
pub(super) struct Needs(Vec<(String, Option<String>)>);

/// Needs without a key, and the prefixes of needs with one, as listed in `wit/README.md`.
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

/// The need with a period and a memory instead of a key.
const STATISTICS: &str = "statistics";

impl Needs {
    /// Panics on a need that weir would refuse.
    pub(super) fn parse(words: &[String]) -> Needs {
        let parse = |word: &String| match word.split_once(':') {
            None if WORDS.contains(&word.as_str()) => (word.clone(), None),
            Some((what, key)) if (KEYED.contains(&what) || what == STATISTICS) && !key.is_empty() => {
                (what.to_owned(), Some(key.to_owned()))
            }
            _ => panic!(
                "the plugin declares the unknown need `{word}`: wit/README.md lists {}, {} and `statistics:PERIOD/MEMORY`",
                WORDS.join(", "),
                KEYED.map(|word| format!("{word}:KEY")).join(", ")
            ),
        };
        Needs(words.iter().map(parse).collect())
    }

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|(known, _)| known == word)
    }

    fn slices(&self) -> bool {
        self.has("slices") || self.has("slice-label") || self.has("slice-annotation")
    }

    fn nodes(&self) -> bool {
        self.has("nodes") || self.has("node-label") || self.has("node-annotation")
    }

    fn reduced(&self, what: &str, attributes: &Attributes) -> Attributes {
        let wanted = |key: &String| {
            self.0.iter().filter(|(known, _)| known == what).filter_map(|(_, pattern)| pattern.as_ref()).any(
                |pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => key.starts_with(prefix),
                    None => key == pattern,
                },
            )
        };
        attributes
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(super) fn reduced_context(&self, context: &Context) -> Context {
        let node = |node: &Node| Node {
            labels: self.reduced("node-label", &node.labels),
            annotations: self.reduced("node-annotation", &node.annotations),
            ..node.clone()
        };
        let mut nodes: Vec<Node> =
            if self.nodes() { context.nodes.iter().map(node).collect() } else { Vec::new() };
        // As weir sends them.
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Context {
            now: context.now.filter(|_| self.has("time")),
            host_addresses: if self.has("host-addresses") {
                context.host_addresses.clone()
            } else {
                Vec::new()
            },
            nodes,
            ..context.clone()
        }
    }

    pub(super) fn reduced_service(&self, service: &Service) -> Service {
        let slice = |slice: &Slice| Slice {
            labels: self.reduced("slice-label", &slice.labels),
            annotations: self.reduced("slice-annotation", &slice.annotations),
            ..slice.clone()
        };
        Service {
            labels: self.reduced("label", &service.labels),
            annotations: self.reduced("annotation", &service.annotations),
            namespace_labels: self.reduced("namespace-label", &service.namespace_labels),
            namespace_annotations: self.reduced("namespace-annotation", &service.namespace_annotations),
            slices: if self.slices() { service.slices.iter().map(slice).collect() } else { Vec::new() },
            ports: service.ports.iter().map(|port| self.reduced_port(port)).collect(),
            ..service.clone()
        }
    }

    fn reduced_port(&self, port: &Port) -> Port {
        let endpoint = |endpoint: &Endpoint| Endpoint {
            node: endpoint.node.clone().filter(|_| self.nodes()),
            slice: endpoint.slice.clone().filter(|_| self.slices()),
            ready_since: endpoint.ready_since.filter(|_| self.has("ready-since")),
            ..endpoint.clone()
        };
        let endpoints =
            if self.has("endpoints") { port.endpoints.iter().map(endpoint).collect() } else { Vec::new() };
        let statistics = if self.has(STATISTICS) { port.statistics.clone() } else { Vec::new() };
        Port { endpoints, statistics, ..port.clone() }
    }
}
