//! `weir top` shows the traffic counted by a real kernel, and draining endpoints.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_core::net::{Family, Protocol};
use weir_harness::lab::{Lab, Test, Vip};

pub(crate) const TESTS: &[(&str, Test)] =
    &[("top::shows_traffic_by_service_and_endpoint", shows_traffic_by_service_and_endpoint)];

/// Between two requests, so that most of the emulated CPU is available to others.
const PAUSE: Duration = Duration::from_millis(50);

fn shows_traffic_by_service_and_endpoint(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(90, &["web-1"]);
    lab.serve(&[&service])?;
    let target = lab.target(&service, Vip::Cluster, Family::V4);
    let mut stream = lab.host("app").converse(Protocol::Tcp, target)?;
    stream.ask()?;
    lab.put(&lab.with_pods(service, &["web-2", "far-1"]))?;
    lab.await_weights(target, &[("web-2", 1), ("far-1", 1)])?;

    let load = lab.host("app").load_with_pauses(PAUSE, Protocol::Tcp, target);
    let arguments = [&target.to_string(), "--once", "--interval", "8s", "--output", "json"];
    let told = lab.daemon()?.ask("top", &arguments);
    let tally = load.stop();
    ensure!(tally.failures.is_empty(), "{tally:?}");

    let top: Value = serde_json::from_str(&told?)?;
    let find = |list: &str, field: &str, name: String| {
        let found = top[list].as_array().into_iter().flatten().find(|of| of[field] == name);
        found.with_context(|| format!("{name} is not among the {list}: {top:#}"))
    };
    let service = find("services", "virtualServer", format!("tcp {target}"))?;
    for rate in ["connectionsPerSecond", "bytesInPerSecond", "bytesOutPerSecond"] {
        ensure!(service[rate].as_f64() > Some(0.5), "{rate}: {service:#}");
    }
    ensure!(service["realServers"] == 2 && service["quiesced"] == 1, "{service:#}");
    ensure!(service["active"].as_u64() >= Some(1) && service["scheduler"] == "rr", "{service:#}");
    for pod in ["web-2", "far-1"] {
        let endpoint = find("endpoints", "realServer", lab.endpoint(pod, Family::V4))?;
        ensure!(endpoint["weight"] == 1 && endpoint["shareWanted"] == 0.5, "{endpoint:#}");
        let had = endpoint["shareHad"].as_f64().unwrap_or_default();
        ensure!((had - 0.5).abs() < 0.1 && endpoint["meanTimeMs"].is_number(), "{endpoint:#}");
        ensure!(endpoint["draining"] == false, "{endpoint:#}");
    }
    let removed = find("endpoints", "realServer", lab.endpoint("web-1", Family::V4))?;
    ensure!(removed["weight"] == 0 && removed["active"] == 1, "{removed:#}");
    // IPVS adds up its counters every two seconds, so the first reading may be without the stream's connection.
    ensure!(removed["shareWanted"] == 0.0 && removed["shareHad"].as_f64() < Some(0.1), "{removed:#}");
    ensure!(removed["draining"] == true && removed["deadlineInSeconds"].is_null(), "{removed:#}");
    stream.ask()?;
    Ok(())
}
