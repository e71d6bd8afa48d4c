//! The cluster behaves as the tests expect.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_cluster::{Client, Cluster, NODE_PROXIER, programs_or_skip};

const WEB: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec:
    type: LoadBalancer
    ipFamilyPolicy: RequireDualStack
    ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
  status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{name: http, port: 8080}]
  endpoints: [{addresses: [10.244.1.50], nodeName: node2}]
- apiVersion: v1
  kind: Node
  metadata: {name: node1, labels: {topology.kubernetes.io/zone: a}}
  spec: {podCIDRs: [10.244.0.0/24], podCIDR: 10.244.0.0/24}
  status: {addresses: [{type: InternalIP, address: 10.0.2.15}]}
";

fn names(objects: &[Value]) -> BTreeSet<&str> {
    objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect()
}

fn web(client: &Client) -> Result<Value> {
    client.get("/api/v1/namespaces/shop/services/web")
}

#[test]
fn objects_are_kept_as_applied() {
    if programs_or_skip().is_none() {
        return;
    }
    let started = Instant::now();
    let cluster = Cluster::start().unwrap();
    println!("ready after {:?}", started.elapsed());
    cluster.apply(WEB).unwrap();
    cluster.apply(WEB).unwrap();

    let service = web(cluster.client()).unwrap();
    assert_eq!(service["spec"]["clusterIPs"].as_array().unwrap().len(), 2, "dual stack: {service}");
    assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
    assert_eq!(service["spec"]["ports"][0]["protocol"], "TCP", "defaults are filled in");
    let services = cluster.client().list("Service").unwrap();
    assert_eq!(names(&services), BTreeSet::from(["kubernetes", "web"]));
    assert!(services.iter().all(|service| service["kind"] == "Service" && service["apiVersion"] == "v1"));
    assert_eq!(names(&cluster.client().list("EndpointSlice").unwrap()), BTreeSet::from(["web-1"]));
    let node = &cluster.client().list("Node").unwrap()[0];
    assert_eq!(node["status"]["addresses"][0]["address"], "10.0.2.15");

    cluster.apply(&WEB.replace(", {name: dns, port: 53, protocol: UDP}", "")).unwrap();
    assert_eq!(web(cluster.client()).unwrap()["spec"]["ports"].as_array().unwrap().len(), 1);
    let refused =
        cluster.apply(&WEB.replace("port: 80,", "port: 80000,").replace("port: 80}", "port: 80000}"));
    assert!(format!("{:#}", refused.unwrap_err()).contains("must be between 1 and 65535"));

    let output = cluster.kubectl().args(["get", "service", "--namespace=shop", "--output=name"]).output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "service/web\n");

    cluster.delete("Service", "shop", "web").unwrap();
    assert!(cluster.delete("Service", "shop", "web").is_err());
    assert_eq!(names(&cluster.client().list("Service").unwrap()), BTreeSet::from(["kubernetes"]));

    let port = cluster.port();
    drop(cluster);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "no process stays behind");
}

/// The objects reported by a watch of Services, until this one is deleted or the watch ends.
fn until_deleted(client: &Client, since: &str, name: &str) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    for event in client.watch("Service", since)? {
        let event = event?;
        let (kind, object) = (&event["type"], &event["object"]);
        ensure!(kind != "ERROR", "{}", object["code"]);
        seen.push(
            format!("{} {}", kind.as_str().context("no type")?, object["metadata"]["name"]).replace('"', ""),
        );
        if kind == "DELETED" && object["metadata"]["name"] == name {
            break;
        }
    }
    Ok(seen)
}

#[test]
fn restarts_keep_objects_and_compaction_ends_old_watches() {
    if programs_or_skip().is_none() {
        return;
    }
    let mut cluster = Cluster::start().unwrap();
    cluster.apply(WEB).unwrap();
    let list = cluster.client().get("/api/v1/services").unwrap();
    let since = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    cluster.apply(&WEB.replace("port: 80}", "port: 81}")).unwrap();
    cluster.delete("Service", "shop", "web").unwrap();
    let expected = ["MODIFIED web", "DELETED web"];
    assert_eq!(until_deleted(cluster.client(), &since, "web").unwrap(), expected);

    cluster.apply(WEB).unwrap();
    cluster.stop();
    assert!(cluster.client().get("/api/v1/services").is_err());
    let started = Instant::now();
    cluster.start_again().unwrap();
    println!("ready again after {:?}", started.elapsed());
    web(cluster.client()).unwrap();

    cluster.compact().unwrap();
    cluster.start_again().unwrap();
    web(cluster.client()).unwrap();
    let gone = until_deleted(cluster.client(), &since, "web").unwrap_err();
    assert!(format!("{gone:#}").contains("410"), "{gone:#}");
}

#[test]
fn permissions_are_those_of_a_service_proxy_and_tokens_end() {
    if programs_or_skip().is_none() {
        return;
    }
    let cluster = Cluster::start().unwrap();
    let status = |client: &Client, method: &str, path: &str| {
        client.request(method, path, "application/json", "{}").unwrap().status
    };
    let slices = "/apis/discovery.k8s.io/v1/endpointslices";
    let proxy = Client::from_kubeconfig(&cluster.proxy_kubeconfig()).unwrap();
    let account = cluster.service_account("kube-system", "weir", NODE_PROXIER).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    let first = cluster.token(&account, Duration::from_secs(3600)).unwrap();
    fs::write(&token_file, &first).unwrap();
    let kubeconfig = cluster.kubeconfig_with_token_file("weir", &token_file).unwrap();
    let weir = Client::from_kubeconfig(&kubeconfig).unwrap();
    for client in [&proxy, &weir] {
        for path in ["/api/v1/services", "/api/v1/nodes", slices] {
            assert_eq!(status(client, "GET", path), 200, "{path}");
        }
        assert_eq!(status(client, "GET", "/api/v1/secrets"), 403);
        assert_eq!(status(client, "POST", "/api/v1/namespaces/default/services"), 403);
    }
    assert_eq!(status(&weir.with_token("made-up"), "GET", "/api/v1/services"), 401);

    let short = cluster.token(&account, Duration::from_secs(2)).unwrap();
    let short = weir.with_token(&short);
    assert_eq!(status(&short, "GET", "/api/v1/services"), 200);
    short.await_refusal().unwrap();
    fs::write(&token_file, cluster.token(&account, Duration::from_secs(60)).unwrap()).unwrap();
    let rotated = Client::from_kubeconfig(&kubeconfig).unwrap();
    assert_eq!(status(&rotated, "GET", "/api/v1/services"), 200);
    assert_eq!(status(&weir, "GET", "/api/v1/services"), 200, "the first token is valid for an hour");

    cluster.delete("ServiceAccount", "kube-system", "weir").unwrap();
    weir.await_refusal().unwrap();
}
