//! More for endpoints on larger nodes: a scheduler and weights for it.

use weir_plugin_sdk::{Context, Endpoint, Port, Scheduling, Weights, weights};

pub(crate) fn by_processors(port: &Port, context: &Context) -> Scheduling {
    // Takes the needs `endpoints` and `nodes`.
    let processors = |endpoint: &Endpoint| context.node_of(endpoint).map_or(1000, |node| node.cpu_millis);
    let shares: Vec<u64> = port.endpoints.iter().map(processors).collect();
    Scheduling {
        scheduler: Some("wrr".to_owned()),
        weights: Weights::Each(weights::proportional(&shares)),
        ..Scheduling::default()
    }
}
