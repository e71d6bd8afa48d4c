//! Oddities of a golden file that may be mistakes.

use std::collections::BTreeSet;

use weir_plugin_views::{Attributes, Context, Port, Service};

use super::Golden;

impl Golden {
    /// Returns the oddities of the file for a plugin with these needs: data that weir would not send, and
    /// contradictions.
    pub fn remarks(&self, needs: &[String]) -> Vec<String> {
        let mut remarks: Vec<String> =
            self.services.iter().flat_map(|service| self.oddities(service)).collect();
        let lacking = self.lacking(needs);
        if !lacking.is_empty() {
            let words: Vec<String> = lacking.iter().map(|word| format!("`{word}`")).collect();
            remarks.push(format!(
                "the plugin does not see all data in the file, because it does not declare these needs: {}",
                words.join(", ")
            ));
        }
        remarks
    }

    fn oddities(&self, service: &Service) -> Vec<String> {
        let mut remarks = Vec::new();
        let known: BTreeSet<&str> = self.context.nodes.iter().map(|node| node.name.as_str()).collect();
        for port in service.ports.iter().filter(|port| !port.endpoints.is_empty()) {
            let place = format!("{}/{}, port {}", service.namespace, service.name, port.port);
            for (what, said, counted) in counts(port) {
                if said as usize != counted {
                    remarks.push(format!(
                        "{place}: `{what}` is {said}, but the file has {counted} such endpoints"
                    ));
                }
            }
            for endpoint in &port.endpoints {
                let Some(node) = endpoint.node.as_deref() else { continue };
                if !known.contains(node) {
                    remarks.push(format!(
                        "{place}: endpoint {} is on the node `{node}`, which is not in `context.nodes`, so the plugin \
                         sees no node for this endpoint",
                        endpoint.address
                    ));
                }
                let local = node == self.context.node;
                if local != endpoint.local {
                    remarks.push(format!(
                        "{place}: endpoint {} is on the node `{node}` and `context.node` is `{}`, so `local` must be \
                         {local}, not {}",
                        endpoint.address, self.context.node, endpoint.local
                    ));
                }
            }
        }
        remarks
    }

    /// Returns the needs that the file has data for and the plugin does not declare.
    fn lacking(&self, needs: &[String]) -> BTreeSet<String> {
        let seen = self.reduced(needs);
        let mut words = BTreeSet::new();
        of_context(&self.context, &seen.context, &mut words);
        for (given, seen) in self.services.iter().zip(&seen.services) {
            keys("label", &given.labels, &seen.labels, &mut words);
            keys("annotation", &given.annotations, &seen.annotations, &mut words);
            keys("namespace-label", &given.namespace_labels, &seen.namespace_labels, &mut words);
            keys(
                "namespace-annotation",
                &given.namespace_annotations,
                &seen.namespace_annotations,
                &mut words,
            );
            for slice in &given.slices {
                let Some(seen) = seen.slice_named(&slice.name) else {
                    words.insert("slices".to_owned());
                    continue;
                };
                keys("slice-label", &slice.labels, &seen.labels, &mut words);
                keys("slice-annotation", &slice.annotations, &seen.annotations, &mut words);
            }
            for (given, seen) in given.ports.iter().zip(&seen.ports) {
                of_port(given, seen, &mut words);
            }
        }
        words
    }
}

fn counts(port: &Port) -> [(&'static str, u32, usize); 2] {
    let local = port.endpoints.iter().filter(|endpoint| endpoint.local).count();
    [
        ("endpoints-total", port.endpoints_total, port.endpoints.len()),
        ("endpoints-local", port.endpoints_local, local),
    ]
}

fn of_context(given: &Context, seen: &Context, words: &mut BTreeSet<String>) {
    let mut lacks = |word: &str, lacks: bool| {
        if lacks {
            words.insert(word.to_owned());
        }
    };
    lacks("time", given.now != seen.now);
    lacks("host-addresses", given.host_addresses != seen.host_addresses);
    lacks("nodes", given.nodes.len() != seen.nodes.len());
    for node in &given.nodes {
        let Some(seen) = seen.nodes.iter().find(|seen| seen.name == node.name) else { continue };
        keys("node-label", &node.labels, &seen.labels, words);
        keys("node-annotation", &node.annotations, &seen.annotations, words);
    }
}

fn of_port(given: &Port, seen: &Port, words: &mut BTreeSet<String>) {
    if given.endpoints.len() != seen.endpoints.len() {
        words.insert("endpoints".to_owned());
        return;
    }
    if given.statistics.len() != seen.statistics.len() {
        words.insert("statistics:PERIOD/MEMORY".to_owned());
    }
    for (given, seen) in given.endpoints.iter().zip(&seen.endpoints) {
        let parts = [
            ("nodes", given.node != seen.node),
            ("slices", given.slice != seen.slice),
            ("ready-since", given.ready_since != seen.ready_since),
        ];
        words.extend(parts.into_iter().filter(|(_, lacks)| *lacks).map(|(word, _)| word.to_owned()));
    }
}

fn keys(what: &str, given: &Attributes, seen: &Attributes, words: &mut BTreeSet<String>) {
    words.extend(given.keys().filter(|key| !seen.contains_key(*key)).map(|key| format!("{what}:{key}")));
}
