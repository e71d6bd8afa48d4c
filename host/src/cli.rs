//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use weir_core::net::Protocol;

mod daemon;
mod flags;
mod invocation;
mod lab;
mod status;
mod version;

pub(crate) use daemon::{LoggingFlags, RunArguments, SpecialRuns};
pub(crate) use flags::{ConfigurationFlags, for_field};
pub(crate) use invocation::Invocation;
pub(crate) use lab::{LabArguments, LabOutput};
pub(crate) use status::{StatusArguments, TopArguments};
pub(crate) use version::version;

/// A kube-proxy for IPVS nodes: programs IPVS, ipset and iptables for the Services of a cluster.
#[derive(Parser, Debug)]
#[command(
    name = "weir",
    version = version::version(),
    max_term_width = 100,
    arg_required_else_help = true,
    args_override_self = true
)]
pub(crate) struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Keep this node's kernel in sync with the cluster, like kube-proxy. Accepts kube-proxy's flags. `weir` with flags
    /// but without a subcommand runs this command.
    Run(Box<RunArguments>),
    /// Print the kernel state that a node should have. Needs neither privileges nor IPVS on this machine. Exits with
    /// status 1 if a plugin was refused or failed.
    Plan(PlanArguments),
    /// Compare this node's kernel with the plan. Changes nothing. Exits with status 1 if they differ, or if a plugin
    /// was refused or failed.
    Diff(DiffArguments),
    /// Show where a packet would go, according to a plan or to this machine's kernel. Exits with status 1 if a plugin
    /// was refused or failed.
    Trace(TraceArguments),
    /// Show this node's status on one screen. The status comes from the running daemon or, without one, from the
    /// kernel. Exits with status 0 if nothing needs attention, 1 if something does (no daemon answers, a change fails,
    /// a configured plugin is not in use, the API server is unreachable, …), and 2 if neither the daemon nor the kernel
    /// can be read.
    Status(StatusArguments),
    /// Show live traffic on this node: for each service, its new connections per second, active connections and bytes;
    /// for each of its endpoints, its weight, share and connection time. Needs root.
    Top(TopArguments),
    /// Check everything that IPVS mode depends on, and suggest a fix for each problem. Exits with status 1 if there is
    /// a problem.
    Doctor(DoctorArguments),
    /// Explain how weir plans a service: what each plugin sees and answers, and what weir applies. Exits with status 1
    /// if a plugin was refused or failed.
    Explain(ExplainArguments),
    /// Simulate one or more policies under the load described in a traffic file, and compare the latencies and each
    /// endpoint's share of the connections. Runs in virtual time, without a kernel. Exits with status 1 if a plugin was
    /// refused or failed.
    Lab(LabArguments),
    /// Call the plugins of a policy file for every service in a folder of manifests. Prints one record per line:
    /// a question that weir asked a plugin, and the plugin's answer. Exits with status 1 if a plugin was refused or
    /// failed.
    Record(RecordArguments),
    /// Replay recorded questions and report answers that changed. Exits with status 1 if any answer changed.
    Replay(ReplayArguments),
    /// Inspect, test and create plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Compile a component from standard input to standard output, for a running weir.
    #[command(hide = true)]
    CompilePlugin,
    /// Remove everything that weir, or kube-proxy in any of its modes, left on this node.
    Cleanup(CleanupArguments),
}

/// The command line; the help of `run` lists all of kube-proxy's flags.
pub(crate) fn command() -> clap::Command {
    let command = flags::listed(Cli::command())
        .mut_subcommand("run", |run| {
            let shown = flags::of_the_daemon().chain(daemon::OF_LOGGING);
            shown.fold(run, |run, name| run.mut_arg(name, |flag| flag.hide(false)))
        })
        // Without plugins, there is nothing to record.
        .mut_subcommand("record", |record| record.mut_arg("policy", |policy| policy.required(true)));
    let of_the_daemon: Vec<Arg> = command
        .find_subcommand("run")
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .map(|argument| argument.clone().hide(true))
        .collect();
    command.mut_subcommands(|subcommand| taking(subcommand, &of_the_daemon))
}

/// A command with a configuration accepts all arguments of the daemon, so that a DaemonSet's arguments can be tried
/// with it.
fn taking(command: clap::Command, of_the_daemon: &[Arg]) -> clap::Command {
    let command = command.mut_subcommands(|inner| taking(inner, of_the_daemon));
    let known: Vec<clap::Id> = command.get_arguments().map(|argument| argument.get_id().clone()).collect();
    if !known.iter().any(|id| id == "config") {
        return command;
    }
    let missing = of_the_daemon.iter().filter(|argument| !known.contains(argument.get_id()));
    command.args(missing)
}

/// The objects, the configuration and the node.
#[derive(Args, Debug)]
pub(crate) struct InputArguments {
    /// Folder of manifests (YAML or JSON, including Lists), or a single manifest file.
    #[arg(long, value_name = "PATH")]
    pub(crate) manifests: PathBuf,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    #[command(flatten)]
    pub(crate) policy: PolicyArguments,
}

/// The policy.
#[derive(Args, Debug, Default)]
pub(crate) struct PolicyArguments {
    /// PolicyConfiguration file, which lists the plugins in the order in which weir calls them. Without this file, weir
    /// decides as kube-proxy does.
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub(crate) policy: Option<PathBuf>,
    /// Run these plugins of the policy file in shadow mode: weir reports their changes, but does not apply them. A name
    /// that the policy file does not contain is an error.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "policy", help_heading = "Policy")]
    pub(crate) shadow: Vec<String>,
}

/// `weir explain`
#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// The service to explain, as NAMESPACE/NAME.
    #[arg(value_name = "NAMESPACE/NAME")]
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) input: InputArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
    /// For plugins that need traffic counters: first watch the service's counters in this machine's kernel for this
    /// duration, for example 30s. Needs root; changes nothing. Plugins see only the counts of this period. In a running
    /// weir, they see a longer history.
    #[arg(long, value_name = "DURATION", value_parser = daemon::parse_time)]
    pub(crate) sample: Option<Duration>,
    /// Output format. Only `json` includes everything that plugins saw.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `weir record`
#[derive(Args, Debug)]
pub(crate) struct RecordArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
}

/// `weir replay`
#[derive(Args, Debug)]
pub(crate) struct ReplayArguments {
    /// File of records, written by `weir record` or `weir run --record`.
    #[arg(value_name = "RECORDS")]
    pub(crate) records: PathBuf,
    #[command(flatten)]
    pub(crate) asked: AskedArguments,
    /// Memory that an instance of the component may use, for example 32Mi.
    #[arg(long, value_name = "QUANTITY", requires = "component")]
    pub(crate) memory: Option<String>,
    /// Output format: `text` prints the differences; `json` prints every answer, one object per line.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// The plugins to replay against.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct AskedArguments {
    /// Component (.wasm file) to call for every record, with the configuration that the record contains.
    #[arg(long, value_name = "FILE")]
    pub(crate) component: Option<PathBuf>,
    /// PolicyConfiguration file. weir replays the records of a plugin with the plugin of the same name in this file,
    /// and with its configuration in this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

/// `weir plugin`
#[derive(Subcommand, Debug)]
pub(crate) enum PluginCommand {
    /// Check whether weir accepts a plugin: its world, version, imports, limits and configuration. Exits with status 1
    /// if weir refuses the plugin.
    Check(PluginFileArguments),
    /// Print a plugin's digest, size, interfaces, needs, metrics, exports and imports.
    Inspect(PluginFileArguments),
    /// Call a plugin for every service in a folder of manifests, or with recorded questions, and print its answers.
    /// Exits with status 1 if this node handles none of the services, if no record fits the plugin, or if the plugin
    /// failed for a service.
    Run(Box<PluginRunArguments>),
    /// Measure the cost of a plugin: the time to compile, instantiate and call it, and its memory.
    Bench(PluginFileArguments),
    /// Create a Rust plugin in a new folder.
    New(PluginNewArguments),
}

/// A plugin and its configuration.
#[derive(Args, Debug)]
pub(crate) struct PluginFileArguments {
    /// The plugin's component (.wasm file).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The plugin's configuration as YAML or JSON; @FILE reads it from a file.
    #[arg(long, value_name = "TEXT|@FILE")]
    pub(crate) configuration: Option<String>,
    /// Memory that an instance of the plugin may use, for example 32Mi.
    #[arg(long, value_name = "QUANTITY")]
    pub(crate) memory: Option<String>,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `weir plugin run`
#[derive(Args, Debug)]
pub(crate) struct PluginRunArguments {
    #[command(flatten)]
    pub(crate) plugin: PluginFileArguments,
    /// Folder of manifests (YAML or JSON, including Lists), or a single manifest file.
    #[arg(long, value_name = "PATH", required_unless_present = "records")]
    pub(crate) manifests: Option<PathBuf>,
    /// File of records, written by `weir record` or `weir run --record`. The plugin is asked the recorded questions
    /// instead of questions about manifests.
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub(crate) records: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
}

/// `weir plugin new`
#[derive(Args, Debug)]
pub(crate) struct PluginNewArguments {
    /// Name of the plugin: lowercase letters, digits and dashes. Its folder gets the same name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The folder `plugin-sdk` of weir's source tree.
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: PathBuf,
}

/// The configuration and the node's name.
#[derive(Args, Debug)]
pub(crate) struct NodeArguments {
    /// KubeProxyConfiguration file (v1alpha1, YAML or JSON). With this file, weir ignores all flags under the headings
    /// "(kube-proxy's flags)", as kube-proxy does.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name of the Node to plan for. Default: `hostnameOverride` in the configuration or, if that is not set, this
    /// machine's name.
    #[arg(long, visible_alias = "hostname-override", value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Apply internalTrafficPolicy Local as the API defines it, even where kube-proxy does not. If this node has no
    /// endpoint of a service, weir leaves the service's cluster IP without endpoints. Can be combined with --config.
    #[arg(long)]
    pub(crate) enforce_internal_traffic_policy: bool,
    #[command(flatten)]
    pub(crate) flags: ConfigurationFlags,
    #[command(flatten)]
    pub(crate) logging: LoggingFlags,
}

/// Where the node's addresses come from.
#[derive(Args, Debug)]
pub(crate) struct InterfaceArguments {
    /// File with the node's interfaces and their addresses as JSON: [{"name": "eth0", "addresses": ["10.0.2.15/24"]},
    /// …]. Default: the interfaces of this machine.
    #[arg(long, value_name = "FILE")]
    pub(crate) interfaces: Option<PathBuf>,
}

/// `weir plan`
#[derive(Args, Debug)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
    /// Output format: `text` prints one line per item; `json` prints the same items as JSON; `kernel` prints the items
    /// as ipvsadm, ipset, iptables-save and ip would print them, for a line-by-line comparison.
    #[arg(long, short, value_enum, default_value_t = PlanOutput::Text)]
    pub(crate) output: PlanOutput,
}

/// Output formats of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanOutput {
    /// One line per item.
    Text,
    /// JSON.
    Json,
    /// The formats of ipvsadm, ipset, iptables-save and ip.
    Kernel,
}

/// Output formats of all other commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Human-readable text.
    Text,
    /// JSON.
    Json,
}

/// `weir diff`
#[derive(Args, Debug)]
pub(crate) struct DiffArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    /// Output format: `text` prints one line per difference, with + (missing in the kernel), - (only in the kernel) or
    /// ~ (different); `json` prints the same lines as JSON.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `weir trace`
#[derive(Args, Debug)]
pub(crate) struct TraceArguments {
    /// Trace through the plan for the manifests (YAML or JSON, including Lists) in this folder or file.
    #[arg(long, value_name = "PATH", required_unless_present = "live", conflicts_with = "live")]
    pub(crate) manifests: Option<PathBuf>,
    /// Trace through this machine's kernel instead of a plan.
    #[arg(long, conflicts_with = "interfaces")]
    pub(crate) live: bool,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    #[command(flatten)]
    pub(crate) policy: PolicyArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
    /// Source of the packet: an address, or `host` for this node itself.
    #[arg(long, value_name = "IP|host", value_parser = parse_sender)]
    pub(crate) from: Sender,
    /// Destination: ADDRESS:PORT, with IPv6 addresses in brackets.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_destination)]
    pub(crate) to: SocketAddr,
    /// Protocol of the packet: tcp, udp or sctp.
    #[arg(long, default_value = "tcp")]
    pub(crate) protocol: Protocol,
    /// Interface on which the packet arrives.
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    pub(crate) interface: String,
    /// Trace the packet as if it arrived on a port of a bridge. --interface then names the bridge.
    #[arg(long)]
    pub(crate) bridged: bool,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// The sender of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The node itself.
    Host,
    /// Another pod or machine.
    Address(IpAddr),
}

fn parse_sender(text: &str) -> Result<Sender, String> {
    match text {
        "host" => Ok(Sender::Host),
        text => text.parse().map(Sender::Address).map_err(|_| "expected an IP address or `host`".to_owned()),
    }
}

/// Parses an address with a port. The error shows how to write an address that lacks the port.
fn parse_destination(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => format!("the port is missing: add it, for example {}", SocketAddr::new(ip, 80)),
        Err(_) => "expected an IP address with a port, for example 10.96.0.10:80 or [fd00::10]:80".to_owned(),
    })
}

/// `weir doctor`
#[derive(Args, Debug)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `weir cleanup`
#[derive(Args, Debug)]
pub(crate) struct CleanupArguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Print what would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[cfg(test)]
mod tests;
