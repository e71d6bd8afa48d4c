//! What the kernel counts for a service, as plugins see it.

use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use weir_core::net::Family;
use weir_core::objects::ObjectName;
use weir_core::planner::{Explanation, Planner};
use weir_core::sampling::{Count, Readings};
use weir_core::state::VirtualServer;

/// How often to check whether a reading is due; readings are due at multiples of an eighth of a second.
const LOOK: Duration = Duration::from_millis(100);

/// An endpoint of a port, and its counts.
pub(super) struct Sampled {
    family: Family,
    port: u16,
    endpoint: SocketAddr,
    count: Count,
    /// The mean duration of a connection in milliseconds, by memory in seconds.
    times: Vec<(u32, Option<f64>)>,
    /// The wanted weight.
    wanted: u16,
}

/// Reads the counters of a service for this long, as often as its plugins ask for.
pub(super) fn sample(
    planner: &mut Planner,
    name: &ObjectName,
    time: Duration,
    mut read: impl FnMut(VirtualServer) -> Readings,
) -> anyhow::Result<()> {
    let begin = UNIX_EPOCH.elapsed().context("cannot read the clock")?;
    planner.update(begin.as_secs());
    if planner.sampler().wishes(name).next().is_none() {
        bail!(
            "no plugin that selects {name} declares the need `statistics`, so weir reads no counters for this service; \
             omit --sample, or check the plugin's `select`"
        );
    }
    let started = Instant::now();
    loop {
        let now = begin + started.elapsed();
        let due = planner.due_samples(now, usize::MAX).into_iter().find(|(service, _)| service == name);
        if let Some(due) = due {
            if let Some(server) = planner.sample(due, now, &mut read).unread {
                bail!("cannot read the counters of {server}; run this as root on a node that serves {name}");
            }
            planner.update(now.as_secs());
        }
        if started.elapsed() >= time {
            return Ok(());
        }
        std::thread::sleep(LOOK.min(time));
    }
}

/// The counts for the endpoints of a service; empty before the first reading.
pub(super) fn counted(planner: &Planner, explanation: &Explanation) -> Vec<Sampled> {
    let (sampler, name) = (planner.sampler(), &explanation.view.service.name);
    let mut all = Vec::new();
    for (port, decided) in explanation.view.ports.iter().zip(&explanation.clamped.ports) {
        for (endpoint, wanted) in port.endpoints.iter().zip(&decided.weights) {
            let counts = sampler.wishes(name).filter_map(|wish| {
                let count = sampler.count(name, port.port.port, endpoint.address, wish.memory)?;
                Some((wish.memory, count))
            });
            let counts: Vec<(u32, Count)> = counts.collect();
            let Some((_, count)) = counts.first().copied() else { continue };
            all.push(Sampled {
                family: port.family,
                port: port.port.port,
                endpoint: endpoint.address,
                count,
                times: counts.iter().map(|(memory, count)| (*memory, count.recent.mean_time())).collect(),
                wanted: wanted.0,
            });
        }
    }
    all
}

impl Sampled {
    pub(super) fn line(&self) -> String {
        let Sampled { family, port, endpoint, count, times, wanted } = self;
        let times = times.iter().map(|(memory, time)| match time {
            Some(time) => format!("a connection takes {time:.1} ms (memory of {memory} s)"),
            None => "no recent connections".to_owned(),
        });
        let times: Vec<String> = times.collect();
        let (active, inactive, begun) = (count.active, count.inactive, count.totals.connections);
        format!(
            "{family} TCP {port}: {endpoint} has {active} active and {inactive} inactive connections, {begun} started; {}; \
             weight {} in the kernel, {wanted} wanted",
            times.join(", "),
            count.weight,
        )
    }

    pub(super) fn json(&self) -> Value {
        let Sampled { family, port, endpoint, count, times, wanted } = self;
        let recent = times.iter().map(|(memory, time)| json!({"memory": memory, "mean-time-ms": time}));
        json!({
            "family": family.to_string(),
            "port": port,
            "endpoint": endpoint,
            "active": count.active,
            "inactive": count.inactive,
            "since": count.since,
            "connections": count.totals.connections,
            "recent": recent.collect::<Vec<_>>(),
            "weight": count.weight,
            "weight-wanted": wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use weir_core::decision::Decision;
    use weir_core::node::{Capabilities, NodeView, ProxyConfig};
    use weir_core::objects::Service;
    use weir_core::policy::{Decided, Policy, Surroundings};
    use weir_core::sampling::{Reading, Totals, Wish};
    use weir_core::state::Weight;
    use weir_core::view::ServiceView;
    use weir_world::build;

    use super::*;

    /// Gives the second endpoint a weight equal to its count.
    #[derive(Clone)]
    struct Counting;

    impl Policy for Counting {
        fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
            let decide = |view: &ServiceView| {
                let mut decision = Decision::upstream(view, around.node);
                let endpoint = view.ports[0].endpoints[1].address;
                let count = around.counts.count(&view.service.name, 80, endpoint, 20).unwrap_or_default();
                decision.ports[0].weights[1] = Weight(1 + count.active as u16);
                decision.into()
            };
            views.iter().map(decide).collect()
        }

        fn wishes(&self, service: &Service) -> BTreeSet<Wish> {
            let wish = Wish { period: 1, memory: 20 };
            (service.name.name == "web").then_some(wish).into_iter().collect()
        }
    }

    fn planner() -> Planner {
        let node =
            NodeView::new("node1", None, None, Vec::new(), ProxyConfig::default(), Capabilities::assumed());
        let mut planner = Planner::new(node, Box::new(Counting));
        for (name, ip) in [("shop/web", "10.96.0.1"), ("shop/api", "10.96.0.2")] {
            planner.apply(build::service(name).cluster_ip(ip).port(80).event());
            let endpoints = ["10.0.0.1", "10.0.0.2"].map(build::endpoint);
            planner.apply(build::slice(name).port(8080).endpoints(endpoints).event());
        }
        planner
    }

    #[test]
    fn what_was_read_is_shown_with_the_weight_that_follows() {
        let (mut planner, mut begun) = (planner(), 0);
        let read = |_: VirtualServer| -> Readings {
            begun += 50;
            let totals = Totals { connections: begun, ..Totals::default() };
            let reading = Reading { active: 4, inactive: 2, weight: 1, totals };
            Some([("10.0.0.2:8080".parse().unwrap(), reading)].into())
        };
        let name = ObjectName::new("shop", "web");
        sample(&mut planner, &name, Duration::from_millis(2500), read).unwrap();
        let explanation = planner.explain(&name, 0).unwrap();
        let [sampled] = &counted(&planner, &explanation)[..] else { panic!("one endpoint was read") };
        let line = sampled.line();
        assert!(
            line.starts_with("IPv4 TCP 80: 10.0.0.2:8080 has 4 active and 2 inactive connections, "),
            "{line}"
        );
        assert!(line.ends_with("(memory of 20 s); weight 1 in the kernel, 5 wanted"), "{line}");
        // 4 active at 50 per second.
        let time = sampled.json()["recent"][0]["mean-time-ms"].as_f64().unwrap();
        assert!((60.0..200.0).contains(&time), "{time}");
    }

    #[test]
    fn what_cannot_be_read_or_is_not_asked_for_is_an_error() {
        let sample = |name, read: Readings| {
            let name = ObjectName::new("shop", name);
            sample(&mut planner(), &name, Duration::from_secs(2), |_| read.clone()).unwrap_err().to_string()
        };
        assert!(sample("web", None).contains("run this as root"));
        assert!(
            sample("api", Some(Default::default()))
                .contains("no plugin that selects shop/api declares the need `statistics`")
        );
    }
}
