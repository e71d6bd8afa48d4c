//! From arguments to a planner that has seen the objects.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use weir_core::cluster::Event;
use weir_core::node::{Capabilities, HostAddress, InternalLocal, NodeView, ProxyConfig};
use weir_core::planner::Planner;
use weir_k8s::config::{self, Configuration};
use weir_k8s::{Problem, interfaces, manifests, policy_config};
use weir_kernel::Linux;
use weir_policy::{Compiler, Loader, Refused, Runtime, SharedChain};

use crate::cli::{ConfigurationFlags, InterfaceArguments, NodeArguments, PolicyArguments};
use crate::output::complain;
use crate::style;

/// What the node is to do, and which one it is.
pub(crate) struct Settings {
    /// The node's name.
    pub(crate) node_name: String,
    /// The configuration file, or what the flags say in its words.
    pub(crate) configuration: Configuration,
    /// The part of it that shapes plans.
    pub(crate) proxy: ProxyConfig,
}

/// Reads the configuration, or makes one of the flags, and prints what is odd about it.
pub(crate) fn settings(arguments: &NodeArguments) -> anyhow::Result<Settings> {
    let flags = flag_values(&arguments.flags)?;
    let (configuration, problems) = match &arguments.config {
        Some(file) => {
            if !flags.is_empty() {
                let names = flags.keys().cloned().collect::<Vec<_>>().join(", ");
                warn(&format!("with --config the flags for {names} are ignored, as kube-proxy does"));
            }
            config::load(file, Map::new()).with_context(|| format!("--config {}", file.display()))?
        }
        None => config::from_flags(flags).context("configuration flags")?,
    };
    print_problems(&problems);
    let mut proxy = configuration.proxy_config();
    if arguments.flags.enforce_internal_traffic_policy {
        proxy.internal_local = InternalLocal::Enforced;
    }
    let node_name = node_name(arguments, &configuration)?;
    Ok(Settings { node_name, configuration, proxy })
}

/// The configuration fields that flags were given for.
fn flag_values(flags: &ConfigurationFlags) -> anyhow::Result<Map<String, Value>> {
    let mut document = Map::new();
    let mut set = |path: &str, value: Value| match path.split_once('.') {
        None => {
            document.insert(path.to_owned(), value);
        }
        Some((section, field)) => {
            let section = document.entry(section).or_insert_with(|| json!({}));
            if let Value::Object(section) = section {
                section.insert(field.to_owned(), value);
            }
        }
    };
    let texts = [
        ("ipvs.scheduler", &flags.ipvs_scheduler),
        ("ipvs.tcpTimeout", &flags.ipvs_tcp_timeout),
        ("ipvs.tcpFinTimeout", &flags.ipvs_tcpfin_timeout),
        ("ipvs.udpTimeout", &flags.ipvs_udp_timeout),
        ("ipvs.syncPeriod", &flags.ipvs_sync_period),
        ("ipvs.minSyncPeriod", &flags.ipvs_min_sync_period),
        ("clusterCIDR", &flags.cluster_cidr),
        ("detectLocalMode", &flags.detect_local_mode),
        ("detectLocal.bridgeInterface", &flags.pod_bridge_interface),
        ("detectLocal.interfaceNamePrefix", &flags.pod_interface_name_prefix),
        ("bindAddress", &flags.bind_address),
    ];
    for (path, text) in texts {
        if let Some(text) = text {
            set(path, json!(text));
        }
    }
    for (path, list) in
        [("ipvs.excludeCIDRs", &flags.ipvs_exclude_cidrs), ("nodePortAddresses", &flags.nodeport_addresses)]
    {
        if !list.is_empty() {
            set(path, json!(list));
        }
    }
    for (path, on) in
        [("ipvs.strictARP", flags.ipvs_strict_arp), ("iptables.masqueradeAll", flags.masquerade_all)]
    {
        if on {
            set(path, json!(true));
        }
    }
    if let Some(bit) = flags.iptables_masquerade_bit {
        set("iptables.masqueradeBit", json!(bit));
    }
    if !flags.feature_gates.is_empty() {
        set("featureGates", feature_gates(&flags.feature_gates)?);
    }
    Ok(document)
}

fn feature_gates(list: &[String]) -> anyhow::Result<Value> {
    let mut gates = Map::new();
    for pair in list {
        let Some((gate, value)) = pair.split_once('=') else {
            bail!("--feature-gates `{pair}`: write it as Gate=true or Gate=false");
        };
        let on: bool = value
            .parse()
            .with_context(|| format!("--feature-gates `{pair}`: the value must be true or false"))?;
        gates.insert(gate.to_owned(), json!(on));
    }
    Ok(Value::Object(gates))
}

/// The name is trimmed and in lower case, as the kubelet registers it.
fn node_name(arguments: &NodeArguments, configuration: &Configuration) -> anyhow::Result<String> {
    let given = arguments.node.as_deref().or(configuration.hostname_override());
    let name = match given {
        Some(name) => name.to_owned(),
        None => {
            std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host's name")?
        }
    };
    let name = name.trim().to_lowercase();
    if name.is_empty() {
        bail!("the node's name is blank: give --node NAME, or hostnameOverride in the configuration");
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
        None => Linux::new(&[]).host_addresses().context("this machine's addresses"),
    }
}

/// The plugins of the file, compiled in this process. What is wrong with single ones is printed.
pub(crate) fn policy(arguments: &PolicyArguments, node: &str) -> anyhow::Result<SharedChain> {
    let Some(file) = &arguments.policy else { return Ok(SharedChain::default()) };
    let configuration = policy_config::load(file).with_context(|| format!("--policy {}", file.display()))?;
    let mut loader = Loader::new(Runtime::new()?, Compiler::InProcess, node);
    loader.shadow.clone_from(&arguments.shadow);
    let loaded = loader.load(&configuration);
    for Refused { name, why } in &loaded.refused {
        warn(&format!("plugin {name} is not used: {why}"));
    }
    Ok(SharedChain::new(loaded.chain))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs())
}

/// A planner that has seen all objects below the path.
pub(crate) fn planner(
    manifests: &Path,
    settings: &Settings,
    policy: SharedChain,
    addresses: Vec<HostAddress>,
    capabilities: Capabilities,
) -> anyhow::Result<Planner> {
    let events = read_manifests(manifests, &settings.node_name)?;
    let node = events.iter().find_map(|event| match event {
        Event::Node(node) => Some((**node).clone()),
        _ => None,
    });
    if node.is_none() {
        warn(&format!(
            "no Node object `{}` among the manifests: its addresses, zone and pod networks are unknown \
             (another name? give --node)",
            settings.node_name
        ));
    }
    let view = settings.node_view(node.as_ref(), addresses, capabilities);
    let mut planner = Planner::new(view, Box::new(policy));
    for event in events {
        planner.apply(event);
    }
    Ok(planner)
}

fn read_manifests(path: &Path, node_name: &str) -> anyhow::Result<Vec<Event>> {
    path.metadata().with_context(|| format!("--manifests {}", path.display()))?;
    let (events, problems) = manifests::read(path, node_name);
    print_problems(&problems);
    // A folder may be empty, but a plan for nothing must not pass for the plan of what could not be read.
    if events.is_empty() && !problems.is_empty() {
        bail!("--manifests {}: nothing in it could be used", path.display());
    }
    Ok(events)
}

/// Tells a person about something odd.
pub(crate) fn warn(message: &str) {
    complain!("{} {message}", style::warning("warning:"));
}

fn print_problems(problems: &[Problem]) {
    for problem in problems {
        warn(&problem.to_string());
    }
}
