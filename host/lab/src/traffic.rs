//! The traffic file: what to simulate.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use weir_k8s::config::parse_duration;
use weir_k8s::{FileError, read_regular};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// A described load.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Traffic {
    /// The seeds. Each load is run once with each seed.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// The time before measuring starts.
    #[serde(default = "a_minute", deserialize_with = "duration")]
    pub warm_up: Duration,
    /// The measured time after the warm-up.
    #[serde(default = "a_minute", deserialize_with = "duration")]
    pub duration: Duration,
    /// The nodes that connections come from, each with its own IPVS.
    #[serde(default)]
    pub client_nodes: ClientNodes,
    /// Source addresses per node, 1 to 65,534; `sh` and `mh` hash them.
    #[serde(default = "one_client")]
    pub clients_per_node: u32,
    /// The services. Each is simulated alone, as if it had its pods to itself.
    pub services: Vec<ServiceTraffic>,
}

/// The nodes that connections come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "must be a number of nodes, or a list of names of Node objects")]
pub enum ClientNodes {
    /// This many nodes, all planned as the node given by `--node`.
    Count(u32),
    /// Node objects by name, each planned separately.
    Named(Vec<String>),
}

impl Default for ClientNodes {
    fn default() -> ClientNodes {
        ClientNodes::Count(1)
    }
}

impl ClientNodes {
    /// The number of nodes.
    pub fn count(&self) -> usize {
        match self {
            ClientNodes::Count(count) => *count as usize,
            ClientNodes::Named(names) => names.len(),
        }
    }
}

/// The connections to one port of one Service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServiceTraffic {
    /// The Service, as `namespace/name`.
    pub service: String,
    /// The port's number; optional if the Service has a single TCP port.
    #[serde(default)]
    pub port: Option<u16>,
    /// How many connections arrive, over all client nodes; each load is run.
    pub loads: Vec<Rate>,
    /// The endpoints. Each must be in one group.
    pub endpoints: Vec<Group>,
}

/// How many connections arrive, at independent times (Poisson).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// This percentage of what all endpoints, including refusing endpoints, can process at the start.
    Percent(f64),
    /// This many per second.
    PerSecond(f64),
}

/// Endpoints with the same behaviour.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// Their addresses; if absent, all endpoints that no other group names.
    #[serde(default)]
    pub addresses: Option<Vec<IpAddr>>,
    /// The mean time to process one connection, without waiting.
    #[serde(deserialize_with = "duration")]
    pub time: Duration,
    /// How the time varies.
    #[serde(default)]
    pub distribution: Distribution,
    /// How many connections one endpoint processes at the same time.
    #[serde(default = "one_worker")]
    pub workers: u32,
    /// How many more connections may wait for one endpoint, first come, first served; if absent, any number. Further
    /// connections are refused.
    #[serde(default)]
    pub queue: Option<u32>,
    /// Whether an endpoint refuses every connection at once.
    #[serde(default)]
    pub refuses: bool,
    /// Changes over time.
    #[serde(default)]
    pub changes: Vec<Change>,
}

impl Group {
    /// How long a connection takes at a speed, in nanoseconds. `work` is exponential around 1.
    pub fn time_of(&self, work: f64, speed: f64) -> u64 {
        let work = match self.distribution {
            Distribution::Exponential => work,
            Distribution::Constant => 1.0,
        };
        (work * self.time.as_secs_f64() / speed * 1e9) as u64
    }
}

/// How the processing time varies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Exponentially around its mean.
    #[default]
    Exponential,
    /// Not at all.
    Constant,
}

/// A change of endpoints at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Change {
    /// When, since the start of the warm-up.
    #[serde(deserialize_with = "duration")]
    pub at: Duration,
    /// The speed from then on; 1 = as described, 0.5 = each connection takes twice as long. Connections in progress
    /// are not affected.
    #[serde(default)]
    pub speed: Option<f64>,
    /// Whether the endpoints refuse connections from then on.
    #[serde(default)]
    pub refuses: Option<bool>,
}

/// Why a traffic file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not YAML in UTF-8.
    #[error("not readable as YAML: {0}")]
    Syntax(String),
    /// A field is missing, unknown, or of the wrong type.
    #[error("{place}{message}", place = place(.path))]
    Field {
        /// Its path.
        path: String,
        /// What is wrong.
        message: String,
    },
}

fn place(path: &str) -> String {
    if path.is_empty() || path == "." { String::new() } else { format!("{path}: ") }
}

impl Traffic {
    /// Reads a traffic file.
    ///
    /// # Errors
    /// See [`TrafficError`].
    pub fn load(path: &Path) -> Result<Traffic, TrafficError> {
        let bytes = read_regular(path, LARGEST)?;
        Traffic::parse(&String::from_utf8(bytes).map_err(|error| TrafficError::Syntax(error.to_string()))?)
    }

    /// Reads the text of a traffic file.
    ///
    /// # Errors
    /// See [`TrafficError`].
    pub fn parse(text: &str) -> Result<Traffic, TrafficError> {
        let value = weir_k8s::parse_value(text).map_err(TrafficError::Syntax)?;
        if !value.is_object() {
            let message = "a traffic file must be a mapping with at least `services`".to_owned();
            return Err(TrafficError::Field { path: String::new(), message });
        }
        let traffic: Traffic = serde_path_to_error::deserialize(value).map_err(|error| {
            TrafficError::Field { path: error.path().to_string(), message: error.into_inner().to_string() }
        })?;
        match traffic.first_mistake() {
            Some((path, message)) => Err(TrafficError::Field { path, message }),
            None => Ok(traffic),
        }
    }

    /// The first value outside its range, with its path.
    fn first_mistake(&self) -> Option<(String, String)> {
        let at = |path: &str, range: &str| Some((path.to_owned(), format!("must be {range}")));
        let not = |path: &str, range: &str, value: usize| at(path, &format!("{range}, not {value}"));
        if self.seeds.is_empty() {
            return at("seeds", "a list of at least one whole number");
        }
        if !(1..=10_000).contains(&self.client_nodes.count()) {
            return not("client-nodes", "1 to 10,000", self.client_nodes.count());
        }
        if !(1..=65_534).contains(&self.clients_per_node) {
            return not("clients-per-node", "1 to 65,534", self.clients_per_node as usize);
        }
        if self.duration.is_zero() || self.warm_up + self.duration > Duration::from_secs(24 * 3600) {
            return at("duration", "more than 0s, and with the warm-up at most 24h");
        }
        if self.services.is_empty() {
            return at("services", "a list of at least one service");
        }
        self.services.iter().enumerate().find_map(|(i, service)| {
            let (path, range) = service.first_mistake()?;
            at(&format!("services[{i}].{path}"), &range)
        })
    }
}

impl ServiceTraffic {
    fn first_mistake(&self) -> Option<(String, String)> {
        if self.loads.is_empty() {
            return Some((
                "loads".to_owned(),
                "a list of at least one load such as `75%` or `40/s`".to_owned(),
            ));
        }
        if self.endpoints.iter().filter(|group| group.addresses.is_none()).count() > 1 {
            let range = "a list of groups; at most one group may lack `addresses`";
            return Some(("endpoints".to_owned(), range.to_owned()));
        }
        self.endpoints.iter().enumerate().find_map(|(i, group)| {
            let (field, range) = group.first_mistake()?;
            Some((format!("endpoints[{i}].{field}"), range))
        })
    }
}

impl Group {
    fn first_mistake(&self) -> Option<(&'static str, String)> {
        if self.time.is_zero() {
            return Some(("time", "more than 0s".to_owned()));
        }
        if !(1..=100_000).contains(&self.workers) {
            return Some(("workers", format!("1 to 100,000, not {}", self.workers)));
        }
        for change in &self.changes {
            if let Some(speed) = change.speed
                && !(0.000_1..=10_000.0).contains(&speed)
            {
                let range = "a list of changes with speeds from 0.0001 to 10000";
                return Some((
                    "changes",
                    format!("{range}, not {speed}; to stop an endpoint, use `refuses: true`"),
                ));
            }
            if change.speed.is_none() && change.refuses.is_none() {
                let range = "a list of changes that each have `speed`, `refuses`, or both";
                return Some(("changes", range.to_owned()));
            }
        }
        None
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Percent(percent) => write!(f, "{percent}%"),
            Rate::PerSecond(rate) => write!(f, "{rate}/s"),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = |text: &str| text.trim().parse().ok().filter(|n| (0.000_1..=1e6).contains(n));
        let percent = text.strip_suffix('%').and_then(number).map(Rate::Percent);
        percent.or_else(|| text.strip_suffix("/s").and_then(number).map(Rate::PerSecond)).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` must be a load such as `75%` or `40/s`, with a number from 0.0001 to 1000000"
            ))
        })
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        D::Error::custom(format!("`{text}` must be a duration such as `100ms`, `30s` or `2m`"))
    })
}

fn one_seed() -> Vec<u64> {
    vec![1]
}

fn a_minute() -> Duration {
    Duration::from_secs(60)
}

fn one_client() -> u32 {
    1
}

fn one_worker() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "services: [{service: a/b, loads: [75%], endpoints: [{time: 100ms}]}]";

    #[test]
    fn what_is_left_out_has_a_default() {
        let traffic = Traffic::parse(LEAST).unwrap();
        assert_eq!(
            (traffic.seeds, traffic.client_nodes, traffic.clients_per_node),
            (vec![1], ClientNodes::Count(1), 1)
        );
        let group = &traffic.services[0].endpoints[0];
        assert_eq!((group.workers, group.queue, group.distribution), (1, None, Distribution::Exponential));
        assert_eq!(traffic.services[0].loads, [Rate::Percent(75.0)]);
        let named = Traffic::parse(&format!("client-nodes: [n1, n2]\n{LEAST}")).unwrap();
        assert_eq!(named.client_nodes.count(), 2);
    }

    #[test]
    fn mistakes_name_the_field_and_what_is_allowed() {
        for (from, to, expected) in [
            (
                "time",
                "tiem",
                "services[0].endpoints[0].tiem: unknown field `tiem`, expected one of `addresses`, `time`",
            ),
            ("100ms", "100", "services[0].endpoints[0].time: "),
            ("100ms", "fast", "`fast` must be a duration such as `100ms`"),
            ("100ms", "0s", "services[0].endpoints[0].time: must be more than 0s"),
            ("[75%]", "[75]", "services[0].loads[0]: "),
            ("[75%]", "[fast]", "`fast` must be a load such as `75%` or `40/s`"),
            ("[75%]", "[]", "services[0].loads: must be a list of at least one load"),
            ("service: a/b, ", "", "missing field `service`"),
            ("100ms", "100ms, workers: 0", "services[0].endpoints[0].workers: must be 1 to 100,000, not 0"),
            ("100ms", "100ms, changes: [{at: 1s, speed: 0}]", "to stop an endpoint, use `refuses: true`"),
            ("100ms", "100ms, changes: [{at: 1s}]", "`speed`, `refuses`, or both"),
            (
                "100ms",
                "100ms, distribution: gauss",
                "unknown variant `gauss`, expected `exponential` or `constant`",
            ),
            ("services:", "client-nodes: many\nservices:", "must be a number of nodes, or a list of names"),
            ("services:", "client-nodes: 0\nservices:", "client-nodes: must be 1 to 10,000, not 0"),
            ("services:", "duration: 25h\nservices:", "duration: must be more than 0s"),
            ("services:", "seeds: []\nservices:", "seeds: must be a list of at least one whole number"),
            ("services:", "- a\nservices:", "not readable as YAML"),
            ("services:", "seeds: [1]\nseeds: [1]\nservices:", "seeds occurs more than once"),
            ("services:", "- services:", "must be a mapping with at least `services`"),
        ] {
            let error = Traffic::parse(&LEAST.replace(from, to)).expect_err(to).to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
