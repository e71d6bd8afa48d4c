//! Arguments of the commands that show the state of a running node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use weir_core::net::Protocol;
use weir_core::state::VirtualServer;

use super::{NodeArguments, Output};
use crate::top::Sort;

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

/// `weir top`
#[derive(Args, Debug)]
pub(crate) struct TopArguments {
    /// Show the endpoints of this virtual server, such as 10.96.0.10:80 or [fd00::10]:80. Without it, all services.
    #[arg(value_name = "IP:PORT")]
    server: Option<SocketAddr>,
    /// The protocol of IP:PORT: tcp, udp or sctp.
    #[arg(long, default_value = "tcp", requires = "server")]
    protocol: Protocol,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Time between two readings, at least 100ms. It grows if reading would take more than 2 % of a CPU.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    /// The order of services and endpoints; `s` changes it on the screen.
    #[arg(long, value_enum, default_value_t = Sort::Rate)]
    pub(crate) sort: Sort,
    /// Show only services whose address, port, protocol or scheduler contains this; `/` changes it on the screen.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) filter: String,
    /// Read twice, an interval apart, print, and exit. Needs no terminal.
    #[arg(long)]
    pub(crate) once: bool,
    /// `text`, or `json`, which needs --once.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

impl TopArguments {
    /// The virtual server whose endpoints are wanted.
    pub(crate) fn server(&self) -> Option<VirtualServer> {
        Some(VirtualServer { protocol: self.protocol, address: self.server? })
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = super::daemon::parse_time(text)?;
    if interval < Duration::from_millis(100) { Err("at least 100ms".to_owned()) } else { Ok(interval) }
}
