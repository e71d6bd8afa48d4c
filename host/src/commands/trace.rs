//! `weir trace`: where would this packet go.

use std::process::ExitCode;

use crate::cli::TraceArguments;

/// Tells where a packet would go.
pub(crate) fn run(_arguments: &TraceArguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("interim")
}
