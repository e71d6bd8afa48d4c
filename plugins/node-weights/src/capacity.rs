//! The capacity of nodes.

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::{Context, Endpoint, Node};

use crate::node;

/// The measure of a node: a label, else its size.
#[derive(Debug, Default)]
pub(crate) struct Capacity {
    label: Option<String>,
    size: Option<Size>,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Cpu,
    Memory,
}

impl Capacity {
    pub(crate) fn take(fields: &mut Fields) -> Capacity {
        let size = match fields.text::<String>("capacity").as_deref() {
            None => None,
            Some("cpu") => Some(Size::Cpu),
            Some("memory") => Some(Size::Memory),
            Some(other) => {
                fields.problem("capacity", format!("is `{other}`: write cpu or memory"));
                None
            }
        };
        Capacity { label: fields.text("weight-label"), size }
    }

    pub(crate) fn needs(&self) -> Vec<String> {
        let label = self.label.iter().map(|label| format!("node-label:{label}"));
        label.chain(self.size.map(|_| "nodes".to_owned())).collect()
    }

    /// Returns each endpoint's capacity. An endpoint whose node has no value gets the average of the others: neither a
    /// missing label nor a node that has not been seen yet should take its traffic away.
    pub(crate) fn of(&self, endpoints: &[Endpoint], context: &Context) -> Vec<u64> {
        let known: Vec<Option<u64>> =
            endpoints.iter().map(|endpoint| self.of_node(node(context, endpoint)?)).collect();
        let count = u64::try_from(known.iter().flatten().count()).unwrap_or(u64::MAX);
        let average = known.iter().flatten().sum::<u64>().checked_div(count).unwrap_or(1).max(1);
        known.into_iter().map(|capacity| capacity.unwrap_or(average)).collect()
    }

    /// Treats an unreadable label and a size of 0 as missing.
    fn of_node(&self, node: &Node) -> Option<u64> {
        let label = self.label.as_ref().and_then(|label| node.labels.get(label));
        if let Some(weight) = label.and_then(|text| text.parse::<u16>().ok()) {
            return Some(weight.into());
        }
        let size = match self.size? {
            Size::Cpu => node.cpu_millis,
            // In MiB, so that sums over thousands of nodes cannot overflow.
            Size::Memory => node.memory_bytes >> 20,
        };
        Some(size).filter(|size| *size > 0)
    }
}
