//! The daemon with an API server: recorded objects, an API server that fails, and what the daemon reports.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_api_server::{ApiServer, Collection, Fault, Kind, WatchEnd};
use weir_harness::components::component;
use weir_harness::http::{self, Page};
use weir_harness::patience::{self, GENEROUS};
use weir_harness::policy;
use weir_harness::scenario;
use weir_harness::weir::{Running, run_confined};
use weir_harness::witness::{self, Dump};

use crate::stage::Stage;

/// A node whose objects come from an API server on its loopback.
pub(crate) struct Cluster {
    pub(crate) stage: Stage,
    pub(crate) server: ApiServer,
}

impl Cluster {
    /// The node of a recording, and a server that has only the Node object.
    pub(crate) fn named(scenario: &str) -> Result<Cluster> {
        let stage = Stage::named(scenario)?;
        let server = stage.netns.inside(ApiServer::start)?;
        server.put(serde_json::from_str(&scenario::named(scenario)?.node()?)?);
        Ok(Cluster { stage, server })
    }

    /// Sets the Services and EndpointSlices of the cluster.
    pub(crate) fn become_of(&self, objects: &str) -> Result<()> {
        let list: Value = serde_json::from_str(objects)?;
        let name = |object: &Value| {
            let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
            (field("namespace"), field("name"))
        };
        let items = list["items"].as_array().context("a List")?;
        let wanted: BTreeSet<_> =
            items.iter().map(|item| (item["kind"].as_str().unwrap_or_default(), name(item))).collect();
        for (collection, kind) in
            [(Collection::Services, "Service"), (Collection::EndpointSlices, "EndpointSlice")]
        {
            for object in self.server.objects(collection) {
                if !wanted.contains(&(kind, name(&object))) {
                    let (namespace, name) = name(&object);
                    self.server.delete(collection, &namespace, &name);
                }
            }
        }
        items.iter().for_each(|item| {
            self.server.put(item.clone());
        });
        Ok(())
    }

    pub(crate) fn run(&self) -> Result<Running> {
        self.run_with(&[])
    }

    pub(crate) fn run_with(&self, arguments: &[&str]) -> Result<Running> {
        let weir = self.stage.weir();
        let mut all =
            vec!["--config".into(), weir.config.into(), "--master".into(), self.server.url().into()];
        all.extend(arguments.iter().map(Into::into));
        run_confined(|program| self.stage.netns.command(program), &weir.program, &all)
    }

    fn initialise(&self) -> Result<()> {
        let answer = self.stage.weir().ask("run", &["--init-only"])?;
        ensure!(answer.status == Some(0), "weir run --init-only: {answer:?}");
        Ok(())
    }

    /// Fetches a page from this node.
    fn get(&self, port: u16, path: &str) -> Result<Page> {
        self.stage.netns.inside(|| http::get(("127.0.0.1", port), path))?
    }

    fn await_page(&self, port: u16, path: &str, wanted: impl Fn(u16, &str) -> bool) -> Result<String> {
        patience::until(GENEROUS, || {
            let Page { status, body, .. } = self.get(port, path)?;
            ensure!(wanted(status, &body), "{path}: {status} {body}");
            Ok(body)
        })
    }
}

/// Step by step, the objects from the API server lead to kube-proxy's result.
pub(crate) fn what_it_reports_is_programmed() -> Result<()> {
    for name in ["dual-stack", "lb-source-ranges", "mutate-service-type", "topology-hints"] {
        let cluster = Cluster::named(name)?;
        let mut running = cluster.run()?;
        for step in scenario::named(name)?.steps() {
            cluster.become_of(&step.objects()?)?;
            cluster.stage.settle(&running, &step.recorded()?).with_context(|| name.to_owned())?;
        }
        running.expect_health()?;
    }
    Ok(())
}

/// A policy file with a plugin that reads namespace labels, and these namespaces.
pub(crate) fn guard(stage: &Stage, others: &[Value]) -> Result<String> {
    let file = stage.scratch().join("policy.yaml");
    let mut plugins = vec![json!({
        "name": "guard",
        "source": component("weir-plugin-namespace-guard"),
        "configuration": {"rules": [{"namespace-labels": {"tier": "gold"}, "schedulers": []}]},
        "limits": policy::limits(),
    })];
    plugins.extend_from_slice(others);
    let text = json!({
        "apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": plugins,
    });
    fs::write(&file, text.to_string())?;
    file.into_os_string().into_string().ok().context("paths are UTF-8")
}

/// A plugin reads namespaces, but the ClusterRole of service proxies does not let weir list them.
pub(crate) fn what_plugins_may_not_read_holds_up_nothing() -> Result<()> {
    let cluster = Cluster::named("clusterip-tcp")?;
    cluster.become_of(&scenario::named("clusterip-tcp")?.steps().remove(0).objects()?)?;
    for kind in [Kind::StreamedList, Kind::List] {
        // More than it will ask for.
        for _ in 0..500 {
            let refusal = Fault::Status { code: 403, retry_after: None };
            cluster.server.script(kind, Collection::Namespaces, refusal);
        }
    }
    let policy = guard(&cluster.stage, &[])?;
    let mut running = cluster.run_with(&["--policy", &policy])?;
    running.await_line("that the plugin is used", |line| line.field("plugin") == "guard")?;
    running.await_line("about what is not listed", |line| {
        line.text().contains("plugins decide without this data")
    })?;
    cluster.stage.settle(&running, &cluster.stage.recorded()?)?;
    let warns = |status: &Value| !status["daemon"]["warnings"][0].is_null();
    let status =
        cluster.stage.await_status(1, |status| status["daemon"]["inStepSince"].is_u64() && warns(status))?;
    let of = |resource: &Value| resource["name"] == "namespaces" && resource["standing"] == "incomplete";
    let resources = status["daemon"]["objects"]["resources"].as_array().context("resources")?;
    ensure!(resources.iter().any(of), "{status:#}");
    let first = status["todo"][0]["what"].as_str().unwrap_or_default();
    ensure!(first.starts_with("plugins read namespaces, but the API server did not list them"), "{status:#}");
    let plugin = &status["daemon"]["plugins"][0];
    ensure!(plugin["name"] == "guard" && plugin["calls"].as_u64() > Some(0), "{status:#}");
    let digest = plugin["digest"].as_str().unwrap_or_default();
    // On a shared, emulated CPU, calls may time out.
    let (calls, failures) = (plugin["calls"].as_u64(), plugin["failures"].as_u64());
    ensure!(digest.starts_with("sha256:") && failures.is_some() && failures <= calls, "{status:#}");
    ensure!(plugin["micros"].as_u64() > Some(0), "{status:#}");
    guard(&cluster.stage, &[json!({"name": "broken", "source": "policy.yaml"})])?;
    let refused = |status: &Value| status["daemon"]["refused"][0].as_str().map(str::to_owned);
    let status = cluster.stage.await_status(1, |status| refused(status).is_some())?;
    ensure!(refused(&status).is_some_and(|why| why.starts_with("broken: ")), "{status:#}");
    running.expect_health()
}

/// While one list is missing, the objects of the other look as if they had no endpoints.
pub(crate) fn nothing_is_written_before_both_lists_are_complete() -> Result<()> {
    let cluster = Cluster::named("clusterip-tcp")?;
    cluster.initialise()?;
    let empty = Dump::of(&cluster.stage.netns)?;
    let step = scenario::named("clusterip-tcp")?.steps().remove(0);
    cluster.become_of(&step.objects()?)?;
    for kind in [Kind::StreamedList, Kind::List] {
        cluster.server.script(kind, Collection::EndpointSlices, Fault::Held);
    }
    let running = cluster.run()?;
    running.await_line("that services are listed", |line| {
        line.field("resource") == "services" && line.text().contains("listed")
    })?;
    cluster.server.wait_for_held();
    // A round is attempted in the meantime, and must end without a message.
    std::thread::sleep(Duration::from_secs(3));
    witness::hold(&cluster.stage.netns, &empty)?;
    cluster.server.release();
    cluster.stage.settle(&running, &step.recorded()?)
}

/// While the API server is away, rules stay and changes by other programs are repaired; afterwards one list delivers
/// everything that was missed, although the server has no history of that time.
pub(crate) fn a_server_that_goes_away_takes_nothing_with_it() -> Result<()> {
    let cluster = Cluster::named("mutate-endpoints")?;
    let steps = scenario::named("mutate-endpoints")?.steps();
    let (first, last) = (&steps[0], &steps[steps.len() - 1]);
    cluster.become_of(&first.objects()?)?;
    let mut running = cluster.run()?;
    cluster.stage.settle(&running, &first.recorded()?)?;
    cluster.server.stop();
    running.await_line("that contact is lost", |line| {
        line.text().contains("lost contact with the API server")
    })?;
    let of = |status: &Value, standing: &str| {
        let resources = status["daemon"]["objects"]["resources"].as_array().cloned().unwrap_or_default();
        resources.iter().filter(|resource| resource["standing"] == standing).count()
    };
    let status = cluster.stage.await_status(1, |status| of(status, "stale") == 3)?;
    ensure!(
        status["daemon"]["inStepSince"].is_u64(),
        "the kernel is in sync with the last known state: {status:#}"
    );
    let what = status["todo"][0]["what"].as_str().unwrap_or_default();
    ensure!(what.contains("the API server") && what.contains("has not answered for"), "{status:#}");
    cluster.become_of(&last.objects()?)?;
    cluster.server.compact();
    cluster.stage.netns.script("ipvsadm -C; ipset flush KUBE-CLUSTER-IP")?;
    cluster.stage.settle(&running, &first.recorded()?).context("without the API server")?;
    let asked = cluster.server.asked().len();
    cluster.server.resume();
    cluster.stage.settle(&running, &last.recorded()?).context("after it came back")?;
    let lists: Vec<_> = cluster.server.asked().split_off(asked);
    let lists = lists.iter().filter(|asked| {
        asked.is(Kind::List, Collection::EndpointSlices)
            || asked.is(Kind::StreamedList, Collection::EndpointSlices)
    });
    ensure!(lists.count() == 1, "one list should do: {:?}", cluster.server.asked());
    cluster.stage.await_status(0, |status| of(status, "current") == 3)?;
    ensure!(running.await_end(Duration::from_millis(1)).is_err(), "it has exited");
    Ok(())
}

/// Without its Node object, a node would have no addresses, and node ports would be open everywhere.
pub(crate) fn node_that_is_deleted_stays_as_it_was() -> Result<()> {
    let cluster = Cluster::named("nodeport-addresses-primary")?;
    let step = scenario::named("nodeport-addresses-primary")?.steps().remove(0);
    cluster.become_of(&step.objects()?)?;
    let mut running = cluster.run()?;
    cluster.stage.settle(&running, &step.recorded()?)?;
    let node = cluster.server.objects(Collection::Nodes).remove(0);
    let name = node["metadata"]["name"].as_str().context("a name")?;
    cluster.server.delete(Collection::Nodes, "", name);
    running.await_line("about the node", |line| line.text().contains("Node object is gone"))?;
    let first = |status: &Value| status["todo"][0]["what"].as_str().unwrap_or_default().to_owned();
    cluster.stage.await_status(1, |status| first(status).contains("Node object is gone"))?;
    cluster.await_page(10256, "/healthz", |status, _| status == 503)?;
    witness::hold(&cluster.stage.netns, &step.recorded()?)?;
    // It is created again.
    cluster.server.put(node);
    cluster.await_page(10256, "/healthz", |status, _| status == 200)?;
    cluster.stage.await_status(0, |status| first(status).is_empty())?;
    witness::hold(&cluster.stage.netns, &step.recorded()?)?;
    running.expect_health()
}

/// Broken watches of every kind lose nothing and bring nothing back.
pub(crate) fn watches_that_break_lose_nothing() -> Result<()> {
    let cluster = Cluster::named("clusterip-two-slices")?;
    let step = scenario::named("clusterip-two-slices")?.steps().remove(0);
    cluster.become_of(&step.objects()?)?;
    let running = cluster.run()?;
    cluster.stage.settle(&running, &step.recorded()?)?;
    for end in [WatchEnd::Clean, WatchEnd::MidLine, WatchEnd::Expired, WatchEnd::Failed] {
        for collection in [Collection::Services, Collection::EndpointSlices] {
            cluster.server.wait_for_open_watch(collection);
            cluster.server.end_watches(collection, end);
        }
        witness::hold(&cluster.stage.netns, &step.recorded()?).with_context(|| format!("{end:?}"))?;
    }
    for collection in [Collection::Services, Collection::EndpointSlices] {
        cluster.server.wait_for_open_watch(collection);
    }
    witness::hold(&cluster.stage.netns, &step.recorded()?)
}

/// Health, readiness of services for load balancers, metrics, and Kubernetes Events.
pub(crate) fn it_reports_how_it_is() -> Result<()> {
    let cluster = Cluster::named("lb-local-healthcheck")?;
    let step = scenario::named("lb-local-healthcheck")?.steps().remove(0);
    cluster.become_of(&step.objects()?)?;
    let running = cluster.run()?;
    cluster.stage.settle(&running, &step.recorded()?)?;
    let body = cluster.await_page(10256, "/healthz", |status, _| status == 200)?;
    let body: Value = serde_json::from_str(&body)?;
    ensure!(body["nodeEligible"] == true && body["healthy"] == true, "{body}");
    ensure!(body["status"]["IPv4"]["healthy"] == true, "{body}");

    let objects: Value = serde_json::from_str(&step.objects()?)?;
    let service = objects["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|object| object["spec"]["healthCheckNodePort"].is_u64())
        .context("the recording has a service with a health check port")?;
    let port = service["spec"]["healthCheckNodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.context("a port")?;
    let body = cluster.await_page(port, "/", |status, _| status == 200)?;
    ensure!(serde_json::from_str::<Value>(&body)?["localEndpoints"].as_u64() > Some(0), "{body}");
    for slice in cluster.server.objects(Collection::EndpointSlices) {
        let mut slice = slice;
        for endpoint in slice["endpoints"].as_array_mut().into_iter().flatten() {
            endpoint["conditions"] = json!({"ready": false, "serving": false, "terminating": false});
        }
        cluster.server.put(slice);
    }
    let body = cluster.await_page(port, "/", |status, _| status == 503)?;
    ensure!(serde_json::from_str::<Value>(&body)?["localEndpoints"] == 0, "{body}");

    for (path, wanted) in [
        ("/metrics", "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}"),
        ("/metrics", "weir_"),
        ("/metrics", "rest_client_requests_total{code=\"200\",host=\""),
        ("/proxyMode", "ipvs"),
        ("/configz", "\"kubeproxy.config.k8s.io\""),
        ("/healthz", "ok"),
    ] {
        cluster.await_page(10249, path, |status, body| status == 200 && body.contains(wanted))?;
    }

    let mut node = cluster.server.objects(Collection::Nodes).remove(0);
    node["spec"]["taints"] = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    cluster.server.put(node);
    cluster.await_page(10256, "/healthz", |status, _| status == 503)?;
    ensure!(cluster.get(10256, "/livez")?.status == 200, "a node that will be removed is alive");

    let posted = |wanted: &str| {
        let events = cluster.server.objects(Collection::Events);
        let found = events.iter().any(|event| {
            event["reason"] == wanted
                && event["reportingController"] == "kube-proxy"
                && event["regarding"]["kind"] == "Node"
        });
        ensure!(found, "no Event {wanted} among {events:?}");
        Ok(())
    };
    patience::until(GENEROUS, || posted("Starting"))
}
