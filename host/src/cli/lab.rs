//! Arguments of `weir lab`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::NodeArguments;

/// `weir lab`
#[derive(Args, Debug)]
pub(crate) struct LabArguments {
    /// Folder of manifests (YAML or JSON, including Lists), or a single manifest file, with the Services, their
    /// endpoints and the Nodes.
    #[arg(long, value_name = "PATH")]
    pub(crate) manifests: PathBuf,
    /// Traffic file (YAML) that describes the load, the speed of each endpoint, and the client nodes. See
    /// host/lab/examples.
    #[arg(long, value_name = "FILE")]
    pub(crate) traffic: PathBuf,
    /// The policy to simulate. `builtin` decides as kube-proxy does; a scheduler name, such as `lc`, means `builtin`
    /// with that scheduler as the default; `known` uses wrr with weights proportional to the speeds in the traffic
    /// file. With a PolicyConfiguration file, weir calls the file's plugins on each client node, as `weir run` does.
    /// See host/lab/examples/policy.yaml.
    #[arg(long, value_name = "NAME|FILE", default_value = "builtin")]
    pub(crate) policy: String,
    /// Further policies to compare with the one in --policy, in the same syntax.
    #[arg(long, value_name = "NAME|FILE,…", value_delimiter = ',')]
    pub(crate) against: Vec<String>,
    /// Seeds to use instead of those in the traffic file. The same seed gives the same output.
    #[arg(long, value_name = "NUMBER,…", value_delimiter = ',')]
    pub(crate) seeds: Vec<u64>,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Output format: `text` prints tables; `json` prints an object for each policy, load and seed, one per line; `svg`
    /// draws plots.
    #[arg(long, short, value_enum, default_value_t = LabOutput::Text)]
    pub(crate) output: LabOutput,
}

/// Output formats of a comparison of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabOutput {
    /// Tables.
    Text,
    /// JSON lines.
    Json,
    /// Plots.
    Svg,
}
