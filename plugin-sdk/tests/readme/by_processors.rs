//! Gives endpoints on larger nodes more traffic.

use weir_plugin_sdk::{Context, Endpoint, Port, Scheduling, Weights, weights};

pub(crate) fn by_processors(port: &Port, context: &Context) -> Scheduling {
    // Requires the needs `endpoints` and `nodes`.
    let processors = |endpoint: &Endpoint| context.node_of(endpoint).map_or(1000, |node| node.cpu_millis);
    let shares: Vec<u64> = port.endpoints.iter().map(processors).collect();
    Scheduling {
        scheduler: Some("wrr".to_owned()),
        weights: Weights::Each(weights::proportional(&shares)),
        ..Scheduling::default()
    }
}
