//! Nodes in maintenance.

use weir_plugin_sdk::Node;
use weir_plugin_sdk::configuration::Fields;

/// The signs of maintenance; any of them is enough.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    cordoned: Cordoned,
    taints: Vec<String>,
    annotations: Vec<String>,
}

/// Whether `spec.unschedulable` is a sign of maintenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cordoned {
    Counts,
    #[default]
    Ignored,
}

impl Maintenance {
    pub(crate) fn take(fields: &mut Fields) -> Maintenance {
        let cordoned = fields.text("unschedulable").unwrap_or(false);
        Maintenance {
            cordoned: if cordoned { Cordoned::Counts } else { Cordoned::Ignored },
            taints: fields.texts("taints").unwrap_or_default(),
            annotations: fields.texts("annotations").unwrap_or_default(),
        }
    }

    pub(crate) fn needs(&self) -> Vec<String> {
        let mut needs: Vec<String> =
            self.annotations.iter().map(|key| format!("node-annotation:{key}")).collect();
        if self.cordoned == Cordoned::Counts || !self.taints.is_empty() {
            needs.push("nodes".to_owned());
        }
        needs
    }

    /// Whether a node is in maintenance. An annotation counts with any value except `false`.
    pub(crate) fn has(&self, node: &Node) -> bool {
        let tainted = |taint: &String| {
            let key = taint.split(['=', ':']).next().unwrap_or_default();
            self.taints.iter().any(|wanted| wanted == key)
        };
        let annotated = |key: &String| node.annotations.get(key).is_some_and(|value| value != "false");
        (self.cordoned == Cordoned::Counts && node.unschedulable)
            || node.taints.iter().any(tainted)
            || self.annotations.iter().any(annotated)
    }
}
