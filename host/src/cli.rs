//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use weir_core::net::Protocol;

mod daemon;
mod flags;
mod invocation;
mod lab;
mod status;

pub(crate) use daemon::{LoggingFlags, RunArguments, SpecialRuns};
pub(crate) use flags::{ConfigurationFlags, for_field};
pub(crate) use invocation::Invocation;
pub(crate) use lab::{LabArguments, LabOutput};
pub(crate) use status::{StatusArguments, TopArguments};

/// Printed by `--version`, also when called as kube-proxy.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (kube-proxy v1.37.2 compatible)");

/// A kube-proxy for IPVS nodes: programs IPVS, ipset and iptables for the Services of a cluster.
#[derive(Parser, Debug)]
#[command(
    name = "weir",
    version = VERSION,
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
    /// Keep this node's kernel in sync with the cluster, like kube-proxy and with its flags. This is the default if
    /// flags but no subcommand are given.
    Run(Box<RunArguments>),
    /// Print what the kernel of a node should contain. Needs neither a kernel nor privileges. Exit status 1 if a
    /// plugin was refused or failed.
    Plan(PlanArguments),
    /// Compare this node's kernel with the plan without changing anything. Exit status 1 if they differ, or if a
    /// plugin was refused or failed.
    Diff(DiffArguments),
    /// Show where a packet would go. Exit status 1 if a plugin was refused or failed.
    Trace(TraceArguments),
    /// Show this node's status on one screen: from the running daemon or, without one, from the kernel. Exit status 0
    /// if nothing needs attention, 1 if something does (no daemon answers, a change fails, a plugin is not used, the
    /// API server is unreachable, …), 2 if neither the daemon nor the kernel can be read.
    Status(StatusArguments),
    /// Show live traffic on this node: services by new connections per second, active connections and bytes, and the
    /// endpoints of each with weight, share and connection time. Needs root.
    Top(TopArguments),
    /// Check everything IPVS mode depends on, and suggest a fix for each problem. Exit status 1 if there is a problem.
    Doctor(DoctorArguments),
    /// Explain how a service was planned: what each plugin saw and answered, and what was applied. Exit status 1 if a
    /// plugin was refused or failed.
    Explain(ExplainArguments),
    /// Simulate a described load against policies, without a kernel and in virtual time, and compare latencies and
    /// shares. Exit status 1 if a plugin was refused or failed.
    Lab(LabArguments),
    /// Call the plugins of a policy file for every service in a folder, and print each question and its answer, one
    /// record per line. Exit status 1 if a plugin was refused or failed.
    Record(RecordArguments),
    /// Replay recorded questions and report answers that changed. Exit status 1 if any did.
    Replay(ReplayArguments),
    /// Inspect, test and create plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Compile a component from standard input to standard output, for a running weir.
    #[command(hide = true)]
    CompilePlugin,
    /// Remove everything that weir, or kube-proxy in IPVS or iptables mode, left on this node.
    Cleanup(CleanupArguments),
}

/// The command line; the help of `run` lists all of kube-proxy's flags.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command()
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
    /// Folder of manifests (YAML or JSON, including Lists), or one file.
    #[arg(long, value_name = "PATH")]
    pub(crate) manifests: PathBuf,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    #[command(flatten)]
    pub(crate) policy: PolicyArguments,
}

/// The policy.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyArguments {
    /// PolicyConfiguration file: the plugins, in order. Without it, weir decides as kube-proxy does.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Plugins in the file to run in shadow mode: what they would change is reported but not applied. A name that is
    /// not in the file is an error.
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
    /// First read this machine's kernel counters for the service during this time, such as 30s, for plugins that need
    /// them. Needs root; changes nothing. Plugins see only the counts of that time; in a running weir they have a
    /// longer history.
    #[arg(long, value_name = "DURATION", value_parser = daemon::parse_time)]
    pub(crate) sample: Option<Duration>,
    /// `text` or `json`; only `json` includes everything that plugins saw.
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
    /// Memory limit of an instance of the component, for example 32Mi.
    #[arg(long, value_name = "QUANTITY", requires = "component")]
    pub(crate) memory: Option<String>,
    /// `text` prints the differences, `json` every answer, one object per line.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// The plugins to replay against.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct AskedArguments {
    /// Component to call, with the recorded configurations.
    #[arg(long, value_name = "FILE")]
    pub(crate) component: Option<PathBuf>,
    /// PolicyConfiguration file: its plugins are matched to the records by name and use the file's configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

/// `weir plugin`
#[derive(Subcommand, Debug)]
pub(crate) enum PluginCommand {
    /// Check whether weir accepts a plugin: world, version, imports, limits, configuration. Exit status 1 if not.
    Check(PluginFileArguments),
    /// Print a plugin's digest, size, interfaces, needs, metrics, exports and imports.
    Inspect(PluginFileArguments),
    /// Call a plugin for every service in a folder. Exit status 1 if there are no services, or if the plugin failed for
    /// one.
    Run(Box<PluginRunArguments>),
    /// Measure the cost of a plugin: instantiation, calls, memory.
    Bench(PluginFileArguments),
    /// Create a Rust plugin in a new folder.
    New(PluginNewArguments),
}

/// A plugin and its configuration.
#[derive(Args, Debug)]
pub(crate) struct PluginFileArguments {
    /// The component.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Plugin configuration as YAML or JSON, or @FILE.
    #[arg(long, value_name = "TEXT|@FILE")]
    pub(crate) configuration: Option<String>,
    /// Memory limit of an instance, for example 32Mi.
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
    /// Folder of manifests, or one file.
    #[arg(long, value_name = "PATH", required_unless_present = "records")]
    pub(crate) manifests: Option<PathBuf>,
    /// Recorded questions from `weir record` or `weir run --record`, to use instead of manifests.
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
    /// Folder that contains weir's plugin-sdk.
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: PathBuf,
}

/// The configuration and the node's name.
#[derive(Args, Debug)]
pub(crate) struct NodeArguments {
    /// KubeProxyConfiguration file (v1alpha1, YAML or JSON). As in kube-proxy, flags for its fields are then ignored.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name of the Node to plan for; default: the configuration's hostnameOverride, else this machine's name.
    #[arg(long, visible_alias = "hostname-override", value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Apply internalTrafficPolicy Local as the API defines it, also where kube-proxy does not: a cluster IP without
    /// an endpoint on this node then has no endpoints at all. Can be combined with --config.
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
    /// Interfaces and addresses of the node, as JSON: [{"name": "eth0", "addresses": ["10.0.2.15/24"]}, …]; default:
    /// this machine's.
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
    /// `text`: one line per item; `json`: the same, structured; `kernel`: as ipvsadm, ipset, iptables-save and ip
    /// would print it, for comparing line by line.
    #[arg(long, short, value_enum, default_value_t = PlanOutput::Text)]
    pub(crate) output: PlanOutput,
}

/// Output formats of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanOutput {
    /// One line per item.
    Text,
    /// Structured.
    Json,
    /// As the kernel's own tools would print it.
    Kernel,
}

/// Output formats of all other commands.
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
    /// Folder of manifests (YAML or JSON, including Lists), or one file: trace through the plan for them.
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
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) to: std::net::SocketAddr,
    /// tcp, udp or sctp.
    #[arg(long, default_value = "tcp")]
    pub(crate) protocol: Protocol,
    /// Interface on which the packet arrives.
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    pub(crate) interface: String,
    /// The interface is a bridge, and the packet comes from one of its ports.
    #[arg(long)]
    pub(crate) bridged: bool,
    /// `text` or `json`.
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
    /// Only print what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// `text` or `json`.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each command with a configuration, with the arguments it needs in addition to the daemon's.
    const COMMANDS: [&str; 12] = [
        "run",
        "plan --manifests a",
        "diff --manifests a",
        "trace --manifests a --from host --to 10.0.0.1:80",
        "explain a/b --manifests a",
        "lab --manifests a --traffic t",
        "record --manifests a --policy p",
        "status",
        "top",
        "doctor",
        "cleanup",
        "plugin run p.wasm --manifests a",
    ];

    fn matches(line: &str) -> Result<clap::ArgMatches, clap::Error> {
        command().try_get_matches_from(format!("weir {line}").split(' '))
    }

    #[test]
    fn arguments_of_a_daemon_set_are_taken_by_every_command_with_a_configuration() {
        command().debug_assert();
        let lines = [
            "--v=2",
            "-v 2",
            "-v2",
            "--logging-format=json --vmodule=proxier=4 --log-flush-frequency=5s --log-json-split-stream",
            "--config=/var/lib/kube-proxy/config.conf --hostname-override=n --state-dir=/var/lib/weir",
            "--master=https://192.0.2.1:6443 --kubeconfig ./k --once --log debug --log-format text",
            "--ipvs-exclude-cidrs=192.0.2.0/24 --ipvs-exclude-cidrs 198.51.100.0/24,203.0.113.0/24",
            "--init-only --cleanup=false --write-config-to=/x --enforce-internal-traffic-policy",
        ];
        for name in COMMANDS {
            for line in lines {
                let line = format!("{name} {line}");
                assert!(matches(&line).is_ok(), "{line}: {}", matches(&line).unwrap_err());
            }
            for wrong in ["--logtostderr=true", "--v=x", "--log-flush-frequency=x", "-v"] {
                assert!(matches(&format!("{name} {wrong}")).is_err(), "{name} {wrong}");
            }
        }
        for name in ["status", "top", "doctor", "cleanup"] {
            let line = format!("{name} --manifests=a --policy=p --shadow=s --record=r");
            assert!(matches(&line).is_ok(), "{line}: {}", matches(&line).unwrap_err());
        }
    }

    #[test]
    fn what_the_daemon_does_instead_of_running_is_known_of_other_commands() {
        let names = |line: &str| {
            SpecialRuns::of_another(&matches(line).unwrap())
                .map(|special| special.names().collect::<Vec<_>>())
        };
        let all = "--init-only --cleanup --write-config-to=x";
        for name in COMMANDS {
            let expected = (name != "run").then(|| vec!["write-config-to", "init-only", "cleanup"]);
            assert_eq!(names(&format!("{name} {all}")), expected, "{name}");
        }
        assert_eq!(names("plan --manifests a --cleanup=false -v 2"), Some(vec![]));
        assert_eq!(names("replay r --component c"), None);
    }

    #[test]
    fn help_names_what_a_command_uses() {
        let help = |name: &str| {
            let mut command = command();
            command.find_subcommand_mut(name).unwrap().render_long_help().to_string()
        };
        for flag in ["--v <", "--state-dir", "--kubeconfig", "--init-only", "--log "] {
            assert!(help("run").contains(flag), "run: {flag}");
            assert!(!help("plan").contains(flag), "plan: {flag}");
        }
        assert!(help("plan").contains("--ipvs-scheduler"));
    }
}
