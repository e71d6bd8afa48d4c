//! The status of a node: the one value that `weir status` prints, the daemon serves, and the page shows.
//!
//! The daemon fills in [`Status::daemon`]; without one, a command fills in [`Status::kernel`]. Times are seconds
//! since 1970. The status contains no secrets: only names, versions, digests, counts, and error messages.

use serde::{Deserialize, Serialize};
use weir_core::kernel::{FailureKind, with_change};
use weir_core::net::Family;
use weir_core::text::counted;
use weir_kernel::iptables::{self, Variant};

use crate::inputs::Settings;

pub(crate) mod advice;
pub(crate) mod page;
pub(crate) mod text;
pub(crate) mod way;

pub(crate) use advice::Advice;

/// Where the daemon serves it as JSON and as a page, next to `/metrics`.
pub(crate) const JSON_PATH: &str = "/status.json";
pub(crate) const PAGE_PATH: &str = "/status";

/// The status of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// The version of weir that made it.
    pub(crate) version: String,
    /// The node's name.
    pub(crate) node: String,
    /// When it was made.
    pub(crate) now: u64,
    /// How services are implemented.
    pub(crate) backend: Backend,
    /// The state of the running daemon.
    pub(crate) daemon: Option<Running>,
    /// The contents of the kernel, if no daemon answers.
    pub(crate) kernel: Option<Held>,
    /// The path of one packet through the node.
    pub(crate) journey: Option<way::Journey>,
    /// Recommended actions, the most urgent first.
    pub(crate) todo: Vec<Advice>,
}

/// How services are implemented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Backend {
    /// `ipvs`.
    pub(crate) mode: String,
    /// The scheduler of services for which no policy chooses one.
    pub(crate) scheduler: String,
    /// The address families that the node serves.
    pub(crate) families: Vec<String>,
    /// The variant of iptables: `nf_tables` or `legacy`.
    pub(crate) rules: Option<String>,
}

/// The state of a running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Running {
    /// When it started.
    pub(crate) started: u64,
    /// When its main loop last ran: at most a minute ago, unless it hangs.
    pub(crate) turned: u64,
    /// Where objects come from, and how current they are.
    pub(crate) objects: Objects,
    /// What must arrive before anything is written.
    pub(crate) awaits: Option<String>,
    /// Since when every round has made all its changes.
    pub(crate) in_step_since: Option<u64>,
    /// Since when a change has been waiting to reach the kernel.
    pub(crate) late_since: Option<u64>,
    /// How long a change may wait, in seconds.
    pub(crate) late_after: u64,
    /// The last round that changed something.
    pub(crate) last_change: Option<LastChange>,
    /// Failing changes that are being retried, by cause.
    pub(crate) pending: Vec<Pending>,
    /// How many changes fail.
    pub(crate) failing: usize,
    /// How many changes wait for the failing changes.
    pub(crate) held: usize,
    /// Why the kernel cannot be read.
    pub(crate) unread: Option<Unread>,
    /// Services by state.
    pub(crate) services: Services,
    /// Endpoints by state.
    pub(crate) endpoints: Endpoints,
    /// Real servers being drained; the first 500.
    pub(crate) leaving: Vec<Leaving>,
    /// Conditions under which this node may differ from what the cluster asks for.
    pub(crate) warnings: Vec<Advice>,
    /// Reports about services, by reason.
    pub(crate) reports: Vec<Reported>,
    /// The plugins in use, including those in shadow mode, in order.
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
    /// How current the API server's data is, by resource: `incomplete`, `current` or `stale`.
    pub(crate) resources: Vec<Resource>,
    /// When the API server was last heard from; `None` without one.
    pub(crate) heard: Option<u64>,
}

/// One resource of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    /// Its name.
    pub(crate) name: String,
    /// How far its data can be relied on.
    pub(crate) standing: Standing,
}

/// How far data from the API server can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Standing {
    /// Not yet listed completely.
    Incomplete,
    /// Listed and watched.
    Current,
    /// Listed, but not heard from since.
    Stale,
}

/// A round that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastChange {
    /// When it finished.
    pub(crate) at: u64,
    /// How long it took, in microseconds.
    pub(crate) took_micros: u64,
    /// How many changes it made.
    pub(crate) made: usize,
}

/// Changes that fail for the same cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pending {
    /// The first of these changes.
    pub(crate) change: String,
    /// Why, and how to fix it.
    pub(crate) why: String,
    /// What a retry needs to succeed.
    pub(crate) needs: Needs,
    /// When it first failed.
    pub(crate) since: u64,
    /// How many other changes share the cause.
    pub(crate) others: usize,
}

/// What a failed change needs before a retry can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Needs {
    /// The xtables lock, which another program holds.
    Lock,
    /// Only time.
    Time,
    /// A fix by the operator.
    Fix,
}

impl From<FailureKind> for Needs {
    fn from(kind: FailureKind) -> Needs {
        match kind {
            FailureKind::Locked => Needs::Lock,
            FailureKind::Stale | FailureKind::Prerequisite | FailureKind::Postponed | FailureKind::Busy => {
                Needs::Time
            }
            FailureKind::Refused => Needs::Fix,
        }
    }
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
    /// All services.
    pub(crate) total: u32,
    /// Services that this node ignores because of a plugin.
    pub(crate) ignored: u32,
    /// Services that are not ignored and have no ready or serving endpoint.
    pub(crate) without_endpoints: u32,
}

/// Endpoints by state, counted once per port and family of their service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoints {
    /// Ready.
    pub(crate) ready: u32,
    /// Terminating but still serving.
    pub(crate) terminating: u32,
    /// All other endpoints.
    pub(crate) unready: u32,
    /// Real servers, not counted above, that are kept in the kernel for their connections until they can be removed.
    pub(crate) draining: usize,
}

/// A real server that is kept for its connections until it can be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Leaving {
    /// Its virtual server, such as `tcp 10.96.0.10:80`.
    pub(crate) virtual_server: String,
    /// The real server, such as `10.244.0.1:8080`.
    pub(crate) real_server: String,
    /// Since when it has been draining.
    pub(crate) since: u64,
    /// When it is removed even if it has connections.
    pub(crate) deadline: Option<u64>,
}

/// Reports with the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reported {
    /// The reason in Kubernetes Events.
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
    /// The name and version that it reports.
    pub(crate) component: String,
    pub(crate) version: String,
    /// The digest of its file.
    pub(crate) digest: String,
    /// Whether it runs in shadow mode.
    pub(crate) shadow: bool,
    /// Why it is currently not called.
    pub(crate) suspended: Option<String>,
    /// Calls, services passed in them, and answers from the cache.
    pub(crate) calls: u64,
    pub(crate) asked: u64,
    pub(crate) remembered: u64,
    /// Calls that failed.
    pub(crate) failures: u64,
    /// Answers that were replaced by a fallback.
    pub(crate) fallbacks: u64,
    /// Time spent in calls, in microseconds.
    pub(crate) micros: u64,
}

impl Plugin {
    /// Why it is not called: it failed too often, and weir tries it again later.
    pub(crate) const SUSPENDED: &str = "suspended";
    /// Why it is not called: it kept failing, and weir waits for another version or configuration.
    pub(crate) const GIVEN_UP: &str = "given up";
}

/// The contents of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Held {
    /// Why the daemon's state is missing.
    pub(crate) no_daemon: String,
    /// What prevents a daemon from working on this node.
    pub(crate) obstacles: Vec<Advice>,
    /// Whether the kernel has IPVS.
    pub(crate) has_ipvs: bool,
    /// Virtual servers, and virtual servers without a real server that accepts connections.
    pub(crate) virtual_servers: usize,
    pub(crate) without_real_servers: usize,
    /// Real servers that accept connections, and real servers with weight 0.
    pub(crate) real_servers: usize,
    pub(crate) quiesced: usize,
}

impl Objects {
    /// The names of the resources in this state; `None` if there are none.
    fn names(&self, standing: Standing) -> Option<String> {
        let of = self.resources.iter().filter(|resource| resource.standing == standing);
        let names: Vec<&str> = of.map(|resource| resource.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

impl Reported {
    /// The reason, and one of the services with its report, in one line.
    fn line(&self) -> String {
        let services = match self.services {
            1 => String::new(),
            number => format!("{number} services, for example "),
        };
        format!("{}: {services}{}: {}", self.reason, self.service, self.message)
    }
}

impl Pending {
    /// The duration, the change and the cause, in one line.
    fn line(&self, now: u64) -> String {
        let Pending { change, why, since, others, .. } = self;
        let more = match others {
            0 => String::new(),
            others => format!(" (and {})", counted(*others, "other change")),
        };
        format!("{}: {}{more}", text::age(now, *since), with_change(change, why))
    }
}

impl Unread {
    /// The duration and the cause, in one line.
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

/// A status as served.
pub(crate) fn to_json(status: &Status) -> String {
    // This cannot fail: there are no maps with keys other than strings.
    serde_json::to_string_pretty(status).unwrap_or_default() + "\n"
}

impl Status {
    /// Whether something needs attention; decides the exit status.
    pub(crate) fn needs_attention(&self) -> bool {
        self.todo.iter().any(|advice| advice.urgent)
    }

    /// Adds the recommended actions.
    pub(crate) fn with_advice(mut self) -> Status {
        self.todo = advice::of(&self);
        self
    }
}

#[cfg(test)]
mod tests;
