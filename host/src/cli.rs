//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weir_core::net::Protocol;

/// A kube-proxy for IPVS nodes: programs IPVS, ipset and iptables for the Services of a cluster.
#[derive(Parser, Debug)]
#[command(name = "weir", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Keep this node's kernel in step with a folder of manifests.
    Run(RunArguments),
    /// Print what the kernel of a node should hold. Needs no kernel and no privileges.
    Plan(PlanArguments),
    /// Compare this node's kernel with the plan, and change nothing. Exit status 1 if they differ.
    Diff(DiffArguments),
    /// Tell where a packet would go.
    Trace(TraceArguments),
    /// Check everything that IPVS mode depends on, with a fix for what is wrong. Exit status 1 if something is.
    Doctor(DoctorArguments),
    /// Tell how a service came to its part of the plan: what each plugin saw and answered, and what became of it.
    Explain(ExplainArguments),
    /// Print what the plugins of a policy file are asked about a folder and what they answer, one record a line.
    Record(RecordArguments),
    /// Ask again what was recorded, and say which answers are others. Exit status 1 if any is.
    Replay(ReplayArguments),
    /// Look at plugins, try them, and start new ones.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Compile a component from standard input to standard output, for a running weir.
    #[command(hide = true)]
    CompilePlugin,
    /// Remove everything that weir, or kube-proxy in IPVS or iptables mode, left on this node.
    Cleanup(CleanupArguments),
}

/// Which objects, which configuration, which node.
#[derive(Args, Debug)]
pub(crate) struct InputArguments {
    /// Folder with manifests (YAML or JSON, Lists included), or one file.
    #[arg(long, value_name = "PATH")]
    pub(crate) manifests: PathBuf,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    #[command(flatten)]
    pub(crate) policy: PolicyArguments,
}

/// Who decides.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyArguments {
    /// PolicyConfiguration file: the plugins, in order. Without it weir decides as kube-proxy does.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Plugins of the file that are only asked beside the others: what they would change is reported.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "policy")]
    pub(crate) shadow: Vec<String>,
}

/// `weir explain`
#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// The service, as NAMESPACE/NAME.
    #[arg(value_name = "NAMESPACE/NAME")]
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) input: InputArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
    /// `text` or `json`; only the second tells all that plugins saw.
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
    /// Records, from `weir record` or `weir run --record`.
    #[arg(value_name = "RECORDS")]
    pub(crate) records: PathBuf,
    #[command(flatten)]
    pub(crate) asked: AskedArguments,
    /// Memory of an instance of the component, for instance 32Mi.
    #[arg(long, value_name = "QUANTITY", requires = "component")]
    pub(crate) memory: Option<String>,
}

/// Who is asked again.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct AskedArguments {
    /// The component to ask, with the configurations that were recorded.
    #[arg(long, value_name = "FILE")]
    pub(crate) component: Option<PathBuf>,
    /// PolicyConfiguration file: its plugins are asked by their names, with what it configures now.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

/// `weir plugin`
#[derive(Subcommand, Debug)]
pub(crate) enum PluginCommand {
    /// Say whether weir takes a plugin: world, version, imports, limits, configuration. Exit status 1 if not.
    Check(PluginFileArguments),
    /// Tell what is in a plugin.
    Inspect(PluginFileArguments),
    /// Ask a plugin about all services of a folder.
    Run(Box<PluginRunArguments>),
    /// Measure what a plugin costs: instantiation, calls, memory.
    Bench(PluginFileArguments),
    /// Start a new plugin in Rust in a folder of its own.
    New(PluginNewArguments),
}

/// A plugin and its configuration.
#[derive(Args, Debug)]
pub(crate) struct PluginFileArguments {
    /// The component.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Its configuration as YAML or JSON, or @FILE.
    #[arg(long, value_name = "TEXT|@FILE")]
    pub(crate) configuration: Option<String>,
    /// Memory of an instance, for instance 32Mi.
    #[arg(long, value_name = "QUANTITY")]
    pub(crate) memory: Option<String>,
    /// `text` or `json`.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `weir plugin run`
#[derive(Args, Debug)]
pub(crate) struct PluginRunArguments {
    #[command(flatten)]
    pub(crate) plugin: PluginFileArguments,
    /// Folder with manifests, or one file.
    #[arg(long, value_name = "PATH")]
    pub(crate) manifests: PathBuf,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
}

/// `weir plugin new`
#[derive(Args, Debug)]
pub(crate) struct PluginNewArguments {
    /// Its name: small letters, digits and dashes. The folder is called the same.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The folder of weir's plugin-sdk.
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: PathBuf,
}

/// The configuration and the node's name.
#[derive(Args, Debug)]
pub(crate) struct NodeArguments {
    /// KubeProxyConfiguration file (v1alpha1, YAML or JSON). With it, all flags below but --node are ignored, as
    /// kube-proxy does.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name of the Node to plan for; default: the configuration's hostnameOverride, else this machine's name.
    #[arg(long, alias = "hostname-override", value_name = "NAME")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) flags: ConfigurationFlags,
}

/// kube-proxy's flags that shape plans; each stands for the configuration field of the same meaning.
#[derive(Args, Debug)]
#[command(next_help_heading = "Configuration, as kube-proxy's flags")]
pub(crate) struct ConfigurationFlags {
    /// ipvs.scheduler: rr, wrr, lc, wlc, sh, dh, sed, nq, mh, …
    #[arg(long, value_name = "NAME")]
    pub(crate) ipvs_scheduler: Option<String>,
    /// ipvs.excludeCIDRs: virtual servers at these addresses are left alone.
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub(crate) ipvs_exclude_cidrs: Vec<String>,
    /// ipvs.strictARP: answer ARP only for addresses of the interface that was asked.
    #[arg(long)]
    pub(crate) ipvs_strict_arp: bool,
    /// ipvs.tcpTimeout, for instance 900s.
    #[arg(long, value_name = "DURATION")]
    pub(crate) ipvs_tcp_timeout: Option<String>,
    /// ipvs.tcpFinTimeout
    #[arg(long, value_name = "DURATION")]
    pub(crate) ipvs_tcpfin_timeout: Option<String>,
    /// ipvs.udpTimeout
    #[arg(long, value_name = "DURATION")]
    pub(crate) ipvs_udp_timeout: Option<String>,
    /// ipvs.syncPeriod: how often the whole kernel state is checked.
    #[arg(long, value_name = "DURATION")]
    pub(crate) ipvs_sync_period: Option<String>,
    /// ipvs.minSyncPeriod: how long to wait between two changes.
    #[arg(long, value_name = "DURATION")]
    pub(crate) ipvs_min_sync_period: Option<String>,
    /// iptables.masqueradeAll: masquerade all traffic to cluster IPs.
    #[arg(long)]
    pub(crate) masquerade_all: bool,
    /// iptables.masqueradeBit: which bit of the packet mark says "masquerade", 0 to 31.
    #[arg(long, value_name = "BIT")]
    pub(crate) iptables_masquerade_bit: Option<i64>,
    /// clusterCIDR: the networks of pods, at most one per family.
    #[arg(long, value_name = "CIDR,…")]
    pub(crate) cluster_cidr: Option<String>,
    /// detectLocalMode: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix.
    #[arg(long, value_name = "MODE")]
    pub(crate) detect_local_mode: Option<String>,
    /// detectLocal.bridgeInterface
    #[arg(long, value_name = "NAME")]
    pub(crate) pod_bridge_interface: Option<String>,
    /// detectLocal.interfaceNamePrefix
    #[arg(long, value_name = "PREFIX")]
    pub(crate) pod_interface_name_prefix: Option<String>,
    /// nodePortAddresses: networks, or primary, localhost, all.
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub(crate) nodeport_addresses: Vec<String>,
    /// bindAddress: the node's address, if it is not the Node object's.
    #[arg(long, value_name = "IP")]
    pub(crate) bind_address: Option<String>,
    /// featureGates, for instance AllowServiceExternalIPs=false.
    #[arg(long, value_name = "GATE=BOOL,…", value_delimiter = ',')]
    pub(crate) feature_gates: Vec<String>,
    /// Give internalTrafficPolicy Local the API's meaning also where kube-proxy does not: with no endpoint on
    /// this node a cluster IP then answers nobody. Works beside --config.
    #[arg(long)]
    pub(crate) enforce_internal_traffic_policy: bool,
}

/// Where the node's addresses come from.
#[derive(Args, Debug)]
pub(crate) struct InterfaceArguments {
    /// Interfaces and addresses of the node, as JSON: [{"name": "eth0", "addresses": ["10.0.2.15/24"]}, …];
    /// default: this machine's.
    #[arg(long, value_name = "FILE")]
    pub(crate) interfaces: Option<PathBuf>,
}

/// `weir run`
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    /// Directory that outlives the process (mode 700): compiled plugins, and since when endpoints are ready.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Append what plugins are asked and answer to this file, for `weir replay`.
    #[arg(long, value_name = "FILE", requires = "policy", help_heading = "Policy")]
    pub(crate) record: Option<PathBuf>,
    /// Stop after the first complete round; exit status 1 if anything failed.
    #[arg(long)]
    pub(crate) once: bool,
    /// How much to log: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: String,
    /// Log lines as text or as JSON.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// `weir plan`
#[derive(Args, Debug)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
    /// `text`: one line per thing; `json`: the same, structured; `kernel`: as ipvsadm, ipset, iptables-save and ip
    /// would print it, in a form that can be compared line by line.
    #[arg(long, short, value_enum, default_value_t = PlanOutput::Text)]
    pub(crate) output: PlanOutput,
}

/// The forms of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanOutput {
    /// One line per thing.
    Text,
    /// Structured.
    Json,
    /// As the kernel's own tools would print it.
    Kernel,
}

/// The forms of every other answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// Structured.
    Json,
}

/// `weir diff`
#[derive(Args, Debug)]
pub(crate) struct DiffArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,
    /// `text`: lines with + (missing), - (extra) and ~ (different); `json`: the same, structured.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `weir trace`
#[derive(Args, Debug)]
pub(crate) struct TraceArguments {
    /// Folder with manifests (YAML or JSON, Lists included), or one file: ask the plan for them.
    #[arg(long, value_name = "PATH", required_unless_present = "live", conflicts_with = "live")]
    pub(crate) manifests: Option<PathBuf>,
    /// Ask this machine's kernel instead of a plan.
    #[arg(long, conflicts_with = "interfaces")]
    pub(crate) live: bool,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    #[command(flatten)]
    pub(crate) policy: PolicyArguments,
    #[command(flatten)]
    pub(crate) interfaces: InterfaceArguments,
    /// Where the packet comes from: an address, or `host` for this node itself.
    #[arg(long, value_name = "IP|host", value_parser = parse_sender)]
    pub(crate) from: Sender,
    /// Where it is sent: ADDRESS:PORT, IPv6 addresses in brackets.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) to: std::net::SocketAddr,
    /// tcp, udp or sctp.
    #[arg(long, default_value = "tcp")]
    pub(crate) protocol: Protocol,
    /// The interface it arrives on.
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    pub(crate) interface: String,
    /// The interface is a bridge, and the packet comes from one of its ports.
    #[arg(long)]
    pub(crate) bridged: bool,
    /// `text` or `json`.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The node itself.
    Host,
    /// Somebody else.
    Address(IpAddr),
}

fn parse_sender(text: &str) -> Result<Sender, String> {
    match text {
        "host" => Ok(Sender::Host),
        text => text.parse().map(Sender::Address).map_err(|_| "neither an address nor `host`".to_owned()),
    }
}

/// `weir doctor`
#[derive(Args, Debug)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// `text` or `json`.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `weir cleanup`
#[derive(Args, Debug)]
pub(crate) struct CleanupArguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Only say what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// `text` or `json`.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}
