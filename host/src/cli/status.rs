//! Arguments of the commands that show the state of a running node.

use std::path::PathBuf;

use clap::Args;

use super::{NodeArguments, Output};

/// `weir status`
#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Also write an HTML page to this file; the daemon serves the same page at /status, on the port of /metrics.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// `text` or `json`; times in JSON are seconds since 1970.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}
