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
    /// Also write the status as an HTML page to this file. With `-`, print only the page. The daemon serves the same
    /// page at /status on the metrics port.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Output format. Times in JSON are seconds since 1970.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `weir top`
#[derive(Args, Debug)]
pub(crate) struct TopArguments {
    /// Show the endpoints of this virtual server, such as `10.96.0.10:80` or `[fd00::10]:80`. Without an address, show
    /// all services.
    #[arg(value_name = "IP:PORT", value_parser = super::parse_destination)]
    server: Option<SocketAddr>,
    /// Protocol of the virtual server: tcp, udp or sctp.
    #[arg(long, default_value = "tcp", requires = "server")]
    protocol: Protocol,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Time between two readings, at least 100ms. If reading would take more than 2 % of a CPU, weir waits longer, and the
    /// screen shows the actual interval.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    /// Order of services and endpoints. On the screen, the key `s` changes the order.
    #[arg(long, value_enum, default_value_t = Sort::Rate)]
    pub(crate) sort: Sort,
    /// Show only services whose address, port, protocol or scheduler contains this text. On the screen, the key `/`
    /// changes this filter.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) filter: String,
    /// Read the counters twice, --interval apart, then print the result and exit. Needs no terminal.
    #[arg(long)]
    pub(crate) once: bool,
    /// Output format. `json` needs --once.
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
    if interval < Duration::from_millis(100) {
        Err("must be at least 100ms".to_owned())
    } else {
        Ok(interval)
    }
}
