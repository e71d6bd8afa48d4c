//! Arguments of `weir lab`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::NodeArguments;

/// `weir lab`
#[derive(Args, Debug)]
pub(crate) struct LabArguments {
    /// Folder of manifests (YAML or JSON, including Lists), or one file: the Services, their endpoints, and Nodes.
    #[arg(long, value_name = "PATH")]
    pub(crate) manifests: PathBuf,
    /// Traffic file (YAML): the load, the speed of each endpoint, and the client nodes. See host/lab/examples.
    #[arg(long, value_name = "FILE")]
    pub(crate) traffic: PathBuf,
    /// `builtin`: as kube-proxy decides; a scheduler such as `lc`: the same with that scheduler; `known`: wrr with
    /// weights proportional to the described speeds; or a PolicyConfiguration file, whose plugins are called on
    /// each client node as in `weir run`. See host/lab/examples/policy.yaml.
    #[arg(long, value_name = "NAME|FILE", default_value = "builtin")]
    pub(crate) policy: String,
    /// Policies to compare with --policy, written in the same way.
    #[arg(long, value_name = "NAME|FILE,…", value_delimiter = ',')]
    pub(crate) against: Vec<String>,
    /// Seeds to use instead of those in the traffic file. The same seed gives the same output.
    #[arg(long, value_name = "NUMBER,…", value_delimiter = ',')]
    pub(crate) seeds: Vec<u64>,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// `text`: tables; `json`: one object per line for each policy, load and seed; `svg`: plots.
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
