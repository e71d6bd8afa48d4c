//! How a node is doing: the one value that `weir status` prints, the daemon serves, and the page shows.
//!
//! The daemon fills in [`Status::daemon`]; without one, a command fills in [`Status::kernel`]. Times are seconds since 1970.
//! Nothing secret is in it: names, versions, digests, counts, and the texts of errors.

use serde::{Deserialize, Serialize};
use weir_core::net::Family;
use weir_kernel::iptables::{self, Variant};

use crate::inputs::Settings;

pub(crate) mod advice;
pub(crate) mod page;
pub(crate) mod text;
pub(crate) mod way;

pub(crate) use advice::Advice;

/// Where the daemon serves it as JSON and as a page, beside `/metrics`.
pub(crate) const JSON_PATH: &str = "/status.json";
pub(crate) const PAGE_PATH: &str = "/status";

/// How a node is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// The version of weir that tells it.
    pub(crate) version: String,
    /// The node's name.
    pub(crate) node: String,
    /// When it was told.
    pub(crate) now: u64,
    /// What carries the services.
    pub(crate) backend: Backend,
    /// What the running daemon says.
    pub(crate) daemon: Option<Running>,
    /// What the kernel holds, where no daemon answers.
    pub(crate) kernel: Option<Held>,
    /// How one packet went through the node.
    pub(crate) journey: Option<way::Journey>,
    /// What is worth doing, the most urgent first.
    pub(crate) todo: Vec<Advice>,
}

/// What carries the services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Backend {
    /// `ipvs`.
    pub(crate) mode: String,
    /// The scheduler of services for which no policy chooses another one.
    pub(crate) scheduler: String,
    /// The families that the node serves.
    pub(crate) families: Vec<String>,
    /// The variant of iptables: `nf_tables` or `legacy`.
    pub(crate) rules: Option<String>,
}

/// What a running daemon says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Running {
    /// When it started.
    pub(crate) started: u64,
    /// Where objects come from, and how current they are.
    pub(crate) objects: Objects,
    /// What is missing before anything is written.
    pub(crate) awaits: Option<String>,
    /// Since when each round made all its changes.
    pub(crate) in_step_since: Option<u64>,
    /// Since when something that changed is not in the kernel.
    pub(crate) late_since: Option<u64>,
    /// The last round that changed something.
    pub(crate) last_change: Option<LastChange>,
    /// What fails and is tried again, by cause.
    pub(crate) pending: Vec<Pending>,
    /// How many changes fail.
    pub(crate) failing: usize,
    /// How many changes wait for those.
    pub(crate) held: usize,
    /// Why the kernel cannot be read.
    pub(crate) unread: Option<Unread>,
    /// Services by state.
    pub(crate) services: Services,
    /// Endpoints by state.
    pub(crate) endpoints: Endpoints,
    /// Real servers that keep connections and are to go; the first of them.
    pub(crate) leaving: Vec<Leaving>,
    /// What is reported of services, by reason.
    pub(crate) reports: Vec<Reported>,
    /// The plugins that decide or are watched, in order.
    pub(crate) plugins: Vec<Plugin>,
    /// Plugins and policy files that are not used.
    pub(crate) refused: Vec<String>,
}

/// Where objects come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Objects {
    /// The API server or a folder.
    pub(crate) source: String,
    /// What the API server was last heard to say, by resource: `listed`, `current` or `stale`.
    pub(crate) resources: Vec<Resource>,
    /// When the API server was heard last; `None` without one.
    pub(crate) heard: Option<u64>,
}

/// One resource of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    /// Its name.
    pub(crate) name: String,
    /// How far it can be relied on.
    pub(crate) standing: Standing,
}

/// How far what the API server said can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Standing {
    /// It was never listed as a whole.
    Incomplete,
    /// It was listed and is watched.
    Current,
    /// The API server has not been heard since.
    Stale,
}

/// A round that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastChange {
    /// When it ended.
    pub(crate) at: u64,
    /// How long it took, in microseconds.
    pub(crate) took_micros: u64,
    /// How many changes it made.
    pub(crate) made: usize,
}

/// Changes that fail for one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pending {
    /// The first of them.
    pub(crate) change: String,
    /// Why, and how to mend it.
    pub(crate) why: String,
    /// Whether another program holds a lock.
    pub(crate) busy: bool,
    /// When it failed first.
    pub(crate) since: u64,
    /// How many others share the cause.
    pub(crate) others: usize,
}

/// A kernel that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unread {
    /// Why.
    pub(crate) why: String,
    /// Since when.
    pub(crate) since: u64,
}

/// Services by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Services {
    /// All of them.
    pub(crate) total: u32,
    /// Those that a plugin tells this node to ignore.
    pub(crate) ignored: u32,
    /// Others without an endpoint that is ready or still serves.
    pub(crate) without_endpoints: u32,
}

/// Endpoints by state, once for each port and family of their service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoints {
    /// Ready.
    pub(crate) ready: u32,
    /// Terminating, and still serving.
    pub(crate) terminating: u32,
    /// All others.
    pub(crate) unready: u32,
    /// Real servers, not counted above, that keep connections in the kernel and are to go.
    pub(crate) draining: usize,
}

/// A real server that keeps connections and is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Leaving {
    /// Behind which virtual server, as `tcp 10.96.0.10:80`.
    pub(crate) virtual_server: String,
    /// The real server, as `10.244.0.1:8080`.
    pub(crate) real_server: String,
    /// Since when it is to go.
    pub(crate) since: u64,
    /// When it goes although it has connections.
    pub(crate) deadline: Option<u64>,
}

/// Reports of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reported {
    /// The reason of its Kubernetes Events.
    pub(crate) reason: String,
    /// How many services they are about.
    pub(crate) services: usize,
    /// One of the services, and its report.
    pub(crate) service: String,
    pub(crate) message: String,
}

/// A plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plugin {
    /// Its name in the policy file.
    pub(crate) name: String,
    /// The name and version it gives itself.
    pub(crate) component: String,
    pub(crate) version: String,
    /// The digest of its file.
    pub(crate) digest: String,
    /// Whether it is only watched.
    pub(crate) shadow: bool,
    /// Why it is not asked at present.
    pub(crate) suspended: Option<String>,
    /// Calls, services asked about in them, and answers from memory.
    pub(crate) calls: u64,
    pub(crate) asked: u64,
    pub(crate) remembered: u64,
    /// Calls that failed.
    pub(crate) failures: u64,
    /// Answers for which something else stood in.
    pub(crate) fallbacks: u64,
    /// Time in calls, in microseconds.
    pub(crate) micros: u64,
}

/// What a kernel holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Held {
    /// Why there is no more to say.
    pub(crate) no_daemon: String,
    /// Whether it has IPVS.
    pub(crate) has_ipvs: bool,
    /// Virtual servers, and those without a real server that takes connections.
    pub(crate) virtual_servers: usize,
    pub(crate) without_real_servers: usize,
    /// Real servers that take connections, and those that do not.
    pub(crate) real_servers: usize,
    pub(crate) quiesced: usize,
}

impl Objects {
    /// The names of the resources that stand so; `None` if there are none.
    fn names(&self, standing: Standing) -> Option<String> {
        let of = self.resources.iter().filter(|resource| resource.standing == standing);
        let names: Vec<&str> = of.map(|resource| resource.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

impl Pending {
    /// For how long, what, and why, in one line.
    fn line(&self, now: u64) -> String {
        let Pending { change, why, since, others, .. } = self;
        // The reason usually begins with the change.
        let colon = if why.starts_with(change.as_str()) { String::new() } else { format!("{change}: ") };
        let more = if *others > 0 { format!(" (and {others} more)") } else { String::new() };
        format!("{}: {colon}{why}{more}", text::age(now, *since))
    }
}

impl Unread {
    /// For how long and why, in one line.
    fn line(&self, now: u64) -> String {
        format!("the kernel could not be read for {}: {}", text::age(now, self.since), self.why)
    }
}

impl Backend {
    /// As configured, on this machine.
    pub(crate) fn of(settings: &Settings, families: &[Family]) -> Backend {
        let rules = families.first().and_then(|family| iptables::variant(*family));
        Backend {
            mode: "ipvs".to_owned(),
            scheduler: settings.proxy.scheduler.clone(),
            families: families.iter().map(ToString::to_string).collect(),
            rules: rules.map(|(_, variant)| match variant {
                Variant::Nft => "nf_tables".to_owned(),
                Variant::Legacy => "legacy".to_owned(),
            }),
        }
    }
}

/// A status as it is served.
pub(crate) fn to_json(status: &Status) -> String {
    // Nothing in it fails: there are no maps with keys that are not texts.
    serde_json::to_string_pretty(status).unwrap_or_default() + "\n"
}

impl Status {
    /// Whether something has to be done, so that scripts are told by the exit status.
    pub(crate) fn needs_attention(&self) -> bool {
        self.todo.iter().any(|advice| advice.urgent)
    }

    /// With what is worth doing about it.
    pub(crate) fn with_advice(mut self) -> Status {
        self.todo = advice::of(&self);
        self
    }
}

#[cfg(test)]
mod tests;
