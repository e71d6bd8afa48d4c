//! Stands in for a cloud's controller: gives each Service of type LoadBalancer an address, which the host routes to the
//! first node.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_cluster::Client;

/// Addresses reserved for documentation, so nothing else uses them.
pub(super) const NETWORK: &str = "203.0.113.0/24";
const PREFIX: &str = "203.0.113.";

const PAUSE: Duration = Duration::from_secs(1);

/// The annotation that sets a Service's ipMode: `VIP`, the default, or `Proxy`.
pub(super) const MODE: &str = "e2e.weir.example/ip-mode";

/// Serves until the run ends.
pub(super) fn start(client: Client) {
    thread::spawn(move || {
        let mut last = String::new();
        loop {
            if let Err(error) = client.list("Service").and_then(|services| serve(&client, &services)) {
                // A single failure may be the end of the run.
                let text = format!("{error:#}");
                if text == last {
                    eprintln!("load-balancer controller: {text}");
                }
                last = text;
            }
            thread::sleep(PAUSE);
        }
    });
}

fn serve(client: &Client, services: &[Value]) -> Result<()> {
    for (path, status) in changes(services)? {
        let body = json!({ "status": { "loadBalancer": status } }).to_string();
        let answer = client.request("PATCH", &path, "application/merge-patch+json", &body)?;
        // A Service may be gone by now.
        if answer.status != 404 {
            answer.expect(&path)?;
        }
    }
    Ok(())
}

/// The paths of Services whose status must change, with the new status.
fn changes(services: &[Value]) -> Result<Vec<(String, Value)>> {
    let address =
        |service: &Value| service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned);
    let mut used: BTreeSet<String> = services.iter().filter_map(address).collect();
    let mut changes = Vec::new();
    for service in services {
        let is_wanted = service["spec"]["type"] == "LoadBalancer"
            && service["spec"]["loadBalancerClass"].is_null()
            && service["metadata"]["deletionTimestamp"].is_null();
        let status = match (is_wanted, address(service)) {
            (true, None) => {
                let all = (1..255).map(|number| format!("{PREFIX}{number}"));
                let free = all.into_iter().find(|address| !used.contains(address));
                let free = free.context("no free load-balancer address: all 254 are in use")?;
                used.insert(free.clone());
                let mode = service["metadata"]["annotations"][MODE].as_str().unwrap_or("VIP");
                json!({ "ingress": [{ "ip": free, "ipMode": mode }] })
            }
            (false, Some(_)) => json!({ "ingress": null }),
            _ => continue,
        };
        let text = |key: &str| {
            service["metadata"][key].as_str().with_context(|| format!("a Service has no metadata.{key}"))
        };
        let (namespace, name) = (text("namespace")?, text("name")?);
        changes.push((format!("/api/v1/namespaces/{namespace}/services/{name}/status"), status));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, kind: &str, address: Option<&str>) -> Value {
        let ingress: Vec<Value> = address.iter().map(|address| json!({ "ip": address })).collect();
        json!({
            "metadata": { "namespace": "shop", "name": name },
            "spec": { "type": kind },
            "status": { "loadBalancer": { "ingress": ingress } },
        })
    }

    #[test]
    fn gives_free_addresses_and_takes_them_back() {
        let mut proxied = service("c", "LoadBalancer", None);
        proxied["metadata"]["annotations"] = json!({ MODE: "Proxy" });
        let services = [
            service("a", "LoadBalancer", Some("203.0.113.1")),
            service("b", "LoadBalancer", None),
            proxied,
            service("d", "ClusterIP", Some("203.0.113.7")),
            service("e", "ClusterIP", None),
        ];
        let path = |name: &str| format!("/api/v1/namespaces/shop/services/{name}/status");
        let expected = vec![
            (path("b"), json!({ "ingress": [{ "ip": "203.0.113.2", "ipMode": "VIP" }] })),
            (path("c"), json!({ "ingress": [{ "ip": "203.0.113.3", "ipMode": "Proxy" }] })),
            (path("d"), json!({ "ingress": null })),
        ];
        assert_eq!(changes(&services).unwrap(), expected);
    }

    #[test]
    fn leaves_other_controllers_services_and_those_that_go_alone() {
        let mut of_other = service("a", "LoadBalancer", None);
        of_other["spec"]["loadBalancerClass"] = json!("example/other");
        let mut going = service("b", "LoadBalancer", None);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(changes(&[of_other, going]).unwrap(), Vec::new());
    }
}
