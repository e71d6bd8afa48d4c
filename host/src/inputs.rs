//! Turns arguments into a planner that knows all objects.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use tracing_subscriber::filter::LevelFilter;
use weir_core::cluster::Event;
use weir_core::node::{Capabilities, HostAddress, InternalLocal, NodeView, ProxyConfig};
use weir_core::planner::Planner;
use weir_core::report::{Reason, Report};
use weir_k8s::config::{self, ConfigError, Configuration};
use weir_k8s::{Problem, interfaces, manifests};
use weir_kernel::Linux;
use weir_policy::configuration::PolicyConfiguration;
use weir_policy::{Chain, Compiler, Loader, Refused, Runtime, configuration};

use crate::cli::{self, ConfigurationFlags, InterfaceArguments, NodeArguments, PolicyArguments};
use crate::output::complain;
use crate::{logging, style};

/// The configuration and the name of the node.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The node's name.
    pub(crate) node_name: String,
    /// The effective configuration, from the file or from flags.
    pub(crate) configuration: Configuration,
    /// The file, if there is one.
    pub(crate) file: Option<ConfigurationFile>,
    /// The part of the configuration that affects plans.
    pub(crate) proxy: ProxyConfig,
}

/// A configuration file, and the flags that override it.
#[derive(Clone, Debug)]
pub(crate) struct ConfigurationFile {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Fields that override the file.
    pub(crate) over: Map<String, Value>,
}

impl ConfigurationFile {
    /// Reads it.
    pub(crate) fn load(&self) -> Result<config::Read, ConfigError> {
        config::load(&self.path, self.over.clone())
    }
}

/// Reads the configuration from the file, or from flags, and prints warnings about it.
pub(crate) fn settings(arguments: &NodeArguments) -> anyhow::Result<Settings> {
    let (settings, remarks) = read_settings(arguments)?;
    remarks.iter().for_each(|remark| warn(remark));
    Ok(settings)
}

/// The configuration of the node `node1` with these flags.
#[cfg(test)]
pub(crate) fn example(flags: &[&str]) -> Settings {
    use clap::Parser;
    let line = ["weir", "top", "--node", "node1"].into_iter().chain(flags.iter().copied());
    let cli::Command::Top(arguments) = cli::Cli::parse_from(line).command else { panic!("another command") };
    settings(&arguments.node).expect("the flags are valid")
}

/// Reads the configuration from the file, or from flags. Also returns warnings about it.
pub(crate) fn read_settings(arguments: &NodeArguments) -> anyhow::Result<(Settings, Vec<String>)> {
    let mut remarks = Vec::new();
    let mut over = arguments.logging.fields();
    if let Some(name) = arguments.node.as_deref().filter(|name| !name.is_empty()) {
        // The kubelet registers the name in this form.
        let name = name.trim().to_lowercase();
        if name.is_empty() {
            bail!(
                "--node or --hostname-override: the name is blank; give the name of this node's Node object"
            );
        }
        over.insert("hostnameOverride".to_owned(), json!(name));
    }
    for (old, new) in [("healthz-port", "healthz-bind-address"), ("metrics-port", "metrics-bind-address")] {
        if arguments.flags.names().any(|name| name == old) {
            remarks.push(format!("--{old} is deprecated; use --{new}"));
        }
    }
    let file = arguments.config.clone().map(|path| ConfigurationFile { path, over: over.clone() });
    let (configuration, problems) = match &file {
        Some(file) => {
            let names: Vec<String> = arguments.flags.names().map(|name| format!("--{name}")).collect();
            if !names.is_empty() {
                let names = names.join(", ");
                remarks.push(format!("with --config these flags are ignored, as in kube-proxy: {names}"));
            }
            file.load().with_context(|| format!("--config {}", file.path.display()))?
        }
        None => from_flags(&arguments.flags, over).context("invalid configuration flags")?,
    };
    remarks.extend(problems.iter().map(|problem| problem.to_string()));
    let mut proxy = configuration.proxy_config();
    if arguments.enforce_internal_traffic_policy {
        proxy.internal_local = InternalLocal::Enforced;
    }
    let node_name = node_name(&configuration)?;
    Ok((Settings { node_name, configuration, file, proxy }, remarks))
}

/// Errors name the flag, not the field that it sets.
fn from_flags(flags: &ConfigurationFlags, over: Map<String, Value>) -> Result<config::Read, ConfigError> {
    let mut fields = flags.fields();
    fields.extend(over);
    config::from_flags(fields).map_err(|error| match error {
        ConfigError::Invalid(mut problems) => {
            for problem in &mut problems {
                let field = problem.field.split('[').next().unwrap_or_default();
                if let Some(flag) = cli::for_field(field) {
                    problem.field = format!("--{flag}");
                }
            }
            ConfigError::Invalid(problems)
        }
        other => other,
    })
}

/// The node's name, trimmed and in lower case, as the kubelet registers it.
fn node_name(configuration: &Configuration) -> anyhow::Result<String> {
    let name = match configuration.hostname_override() {
        Some(name) => name.to_owned(),
        None => {
            let file = "/proc/sys/kernel/hostname";
            std::fs::read_to_string(file).with_context(|| {
                format!("cannot read this machine's name from {file} (or give --node NAME)")
            })?
        }
    };
    let name = name.trim().to_lowercase();
    if name.is_empty() {
        bail!("the node's name is blank: give --node NAME, or set hostnameOverride in the configuration");
    }
    Ok(name)
}

impl Settings {
    /// The view of the node.
    pub(crate) fn node_view(
        &self,
        node: Option<&weir_core::objects::Node>,
        addresses: Vec<HostAddress>,
        capabilities: Capabilities,
    ) -> NodeView {
        let bind_address = self.configuration.bind_address();
        NodeView::new(&self.node_name, node, bind_address, addresses, self.proxy.clone(), capabilities)
    }
}

/// The node's addresses: from the file, else this machine's.
pub(crate) fn host_addresses(arguments: &InterfaceArguments) -> anyhow::Result<Vec<HostAddress>> {
    match &arguments.interfaces {
        Some(file) => interfaces::load(file).with_context(|| format!("--interfaces {}", file.display())),
        None => Linux::new(&[]).host_addresses().context("cannot read this machine's addresses"),
    }
}

/// The plugins of a policy file: those in use, and the refused ones.
#[derive(Default)]
pub(crate) struct Plugins {
    /// The plugins in use.
    pub(crate) chain: Chain,
    /// The refused plugins, with the reasons.
    pub(crate) refused: Vec<Refused>,
}

/// Exit status 1 if a plugin was refused or failed to answer for a service.
pub(crate) fn policy_status(refused: &[Refused], reports: &[Report]) -> ExitCode {
    let failed = reports.iter().any(|report| report.reason == Reason::PolicyFailed);
    if failed || !refused.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Loads the plugins of the file, compiled in this process. Prints what is wrong with any of them, and their
/// warnings.
pub(crate) fn policy(arguments: &PolicyArguments, node: &str) -> anyhow::Result<Plugins> {
    let Some(file) = &arguments.policy else { return Ok(Plugins::default()) };
    let place = || format!("--policy {}", file.display());
    let configuration = configuration::load(file).with_context(place)?;
    plugins(&configuration, &arguments.shadow, node).with_context(place)
}

/// Loads the plugins of a policy file that has been read, as [`policy`] does.
pub(crate) fn plugins(
    configuration: &PolicyConfiguration,
    shadow: &[String],
    node: &str,
) -> anyhow::Result<Plugins> {
    logging::show_plugins(LevelFilter::WARN);
    let mut loader = Loader::new(Runtime::new()?, Compiler::InProcess, node);
    shadow.clone_into(&mut loader.shadow);
    let loaded = loader.load(configuration)?;
    for Refused { name, why } in &loaded.refused {
        warn(&format!("plugin {name} is not used: {why}"));
    }
    Ok(Plugins { chain: loaded.chain, refused: loaded.refused })
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs())
}

/// A planner that knows all objects below the path.
pub(crate) fn planner(
    manifests: &Path,
    settings: &Settings,
    chain: Chain,
    addresses: Vec<HostAddress>,
    capabilities: Capabilities,
) -> anyhow::Result<Planner> {
    Ok(planner_of(objects(manifests, settings)?, settings, chain, addresses, capabilities))
}

/// A planner that knows these objects.
pub(crate) fn planner_of(
    objects: Vec<Event>,
    settings: &Settings,
    chain: Chain,
    addresses: Vec<HostAddress>,
    capabilities: Capabilities,
) -> Planner {
    let node = objects.iter().find_map(|event| match event {
        Event::Node(node) => Some((**node).clone()),
        _ => None,
    });
    let view = settings.node_view(node.as_ref(), addresses, capabilities);
    let mut planner = Planner::new(view, Box::new(chain));
    for event in objects {
        planner.apply(event);
    }
    planner
}

/// Reads all objects below the path, as the node sees them.
pub(crate) fn objects(manifests: &Path, settings: &Settings) -> anyhow::Result<Vec<Event>> {
    let events = read_manifests(manifests, &settings.node_name)?;
    if !events.iter().any(|event| matches!(event, Event::Node(_))) {
        warn(&format!(
            "the manifests have no Node object `{}`, so the node's addresses, zone and pod networks are unknown (if \
             the Node has another name, give it with --node)",
            settings.node_name
        ));
    }
    Ok(events)
}

fn read_manifests(path: &Path, node_name: &str) -> anyhow::Result<Vec<Event>> {
    path.metadata().with_context(|| format!("--manifests {}", path.display()))?;
    let (events, problems) = manifests::read(path, node_name);
    print_problems(&problems);
    // A folder may be empty, but if nothing in it could be read, an empty plan would be misleading.
    if events.is_empty() && !problems.is_empty() {
        bail!("--manifests {}: contains no usable object; the warnings above say why", path.display());
    }
    Ok(events)
}

/// Prints a warning.
pub(crate) fn warn(message: &str) {
    complain!("{} {}", style::warning("warning:"), weir_core::text::printable(message));
}

fn print_problems(problems: &[Problem]) {
    for problem in problems {
        warn(&problem.to_string());
    }
}
