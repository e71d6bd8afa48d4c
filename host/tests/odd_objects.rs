//! Objects that the API server or a folder accepts, but that do not mean what their author thinks: what is still
//! planned, and what is reported.

use std::fs;
use std::process::{Command, Output};

const NODES: &str = r#"
{apiVersion: v1, kind: Node, metadata: {name: node1}, status: {addresses: [
  {type: InternalIP, address: 192.0.2.10}, {type: InternalIP, address: "2001:db8::10"}, {type: Hostname, address: node1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: node2}, status: {addresses: [
  {type: InternalIP, address: 192.0.2.11}, {type: InternalIP, address: "2001:db8::11"},
  {type: ExternalIP, address: 203.0.113.11}, {type: Hostname, address: 192.0.2.111}]}}
---
"#;

const INTERFACES: &str = r#"[
 {"name": "lo", "addresses": ["127.0.0.1/8", "::1/128"]},
 {"name": "eth0", "addresses": ["192.0.2.10/24", "2001:db8::10/64", "fe80::10/64"]}
]"#;

const SLICE: &str = r#"
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{name: http, port: 8080}],
 metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}},
 endpoints: [{addresses: [10.244.1.5], nodeName: node2}]}
"#;

struct Objects(tempfile::TempDir);

impl Objects {
    fn new(text: &str) -> Objects {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("objects")).unwrap();
        fs::write(folder.path().join("objects/all.yaml"), format!("{NODES}{text}")).unwrap();
        fs::write(folder.path().join("interfaces.json"), INTERFACES).unwrap();
        Objects(folder)
    }

    fn weir(&self, arguments: &[&str]) -> (String, String) {
        let input = ["--manifests", "objects", "--node", "node1", "--interfaces", "interfaces.json"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.current_dir(self.0.path()).env("NO_COLOR", "1").args(arguments).args(input);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert!(status.success(), "{arguments:?}: {stderr}");
        (stdout, stderr)
    }

    fn plan(&self) -> (String, String) {
        self.weir(&["plan"])
    }
}

/// A Service `shop/web` with all kinds of VIPs, and its slice.
fn web(spec: &str, status: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: shop}}, spec: {{type: LoadBalancer, \
         clusterIPs: [10.96.0.10, 'fd00:96::a'], clusterIP: 10.96.0.10, \
         ports: [{{name: http, port: 10249, nodePort: 30810}}], {spec}}}, \
         status: {{loadBalancer: {{ingress: [{status}]}}}}}}{SLICE}"
    )
}

#[track_caller]
fn said_once(text: &str, reason: &str) {
    assert_eq!(text.matches(reason).count(), 1, "{reason}: {text}");
}

#[test]
fn a_load_balancer_at_localhost_catches_no_port_of_the_node() {
    let bad = [
        "127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.9",
        "255.255.255.255",
        "192.0.2.255",
        "::1",
        "::",
        "fe80::9",
        "ff02::9",
        "::ffff:127.0.0.1",
        "::ffff:169.254.0.1",
    ];
    for ip in bad {
        for (field, spec, status) in [
            ("status", String::new(), format!("{{ip: '{ip}'}}")),
            ("spec", format!("externalIPs: ['{ip}', 198.51.100.7]"), String::new()),
        ] {
            let (planned, said) = Objects::new(&web(&spec, &status)).plan();
            // As written in states: IPv4-mapped addresses are IPv4.
            let (ip, text) = (ip.trim_start_matches("::ffff:"), format!("{field} {ip}:\n{planned}{said}"));
            for line in [format!(" {ip} "), format!(" {ip}:"), format!(" [{ip}]:"), format!(" {ip},")] {
                assert!(!format!("{planned}\n").replace('\n', " \n").contains(&line), "{line:?}: {text}");
            }
            for vip in ["10.96.0.10:10249", "[fd00:96::a]:10249", "192.0.2.10:30810"] {
                assert!(planned.contains(&format!("virtual tcp {vip} rr")), "{vip}: {text}");
            }
            assert_eq!(planned.contains("address 198.51.100.7"), field == "spec", "{text}");
            said_once(&said, "shop/web: AddressUnusable: ");
            assert!(said.contains(ip), "{text}");
        }
    }
}

#[test]
fn a_cluster_ip_that_none_may_be_leaves_the_node_port() {
    let text = web("", "{ip: 198.51.100.7}").replace("10.96.0.10", "127.0.0.10");
    let (planned, said) = Objects::new(&text).plan();
    assert!(!planned.contains("127.0.0.10"), "{planned}");
    assert!(planned.contains("virtual tcp 192.0.2.10:30810 rr"), "{planned}");
    assert!(planned.contains("address 198.51.100.7") && planned.contains("address fd00:96::a"), "{planned}");
    said_once(&said, "cluster IP 127.0.0.10 (loopback)");
}

#[test]
fn a_load_balancer_that_publishes_all_nodes_leaves_the_others_reachable() {
    let all = ["192.0.2.10", "192.0.2.11", "203.0.113.11", "192.0.2.111", "2001:db8::10", "2001:db8::11"];
    let status: Vec<String> = all.iter().map(|ip| format!("{{ip: '{ip}', ipMode: VIP}}")).collect();
    let external = format!("externalIPs: {all:?}");
    for (spec, status) in [("", status.join(", ")), (external.as_str(), "{ip: 198.51.100.7}".to_owned())] {
        let (planned, said) = Objects::new(&web(spec, &status)).plan();
        for ip in all {
            assert!(!planned.contains(&format!("address {ip}\n")), "{ip}: {planned}");
            assert!(!planned.contains(&format!("entry KUBE-IPVS-IPS {ip}\n")), "{ip}: {planned}");
        }
        assert!(planned.contains("virtual tcp 192.0.2.10:10249 rr"), "{planned}");
        assert!(planned.contains("virtual tcp [2001:db8::10]:10249 rr"), "{planned}");
        said_once(&said, "shop/web: NodeAddress: ");
        assert!(said.contains("192.0.2.11 (node node2)"), "{said}");
        assert_eq!(planned.contains("address 198.51.100.7"), !spec.is_empty(), "{planned}");
    }
}

#[test]
fn the_page_about_migrating_names_what_is_said() {
    let page = include_str!("../install/MIGRATE.md");
    let (_, said) = Objects::new(&web("", "{ip: 192.0.2.11}")).plan();
    let reason = said.split(": ").nth(2).unwrap();
    assert_eq!(reason, "NodeAddress");
    assert!(page.contains(&format!("`{reason}`")), "{said}");
}

#[test]
fn a_node_port_that_is_another_services_port_hides_no_pod() {
    let other = "\n---\n{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {type: NodePort, \
                 clusterIP: 10.96.0.20, ports: [{port: 80, nodePort: 10249}]}}\n";
    let objects = Objects::new(&(web("", "{ip: 198.51.100.7}") + other));
    let pods = ["--cluster-cidr", "10.244.0.0/16"];
    let (_, said) = objects.weir(&[&["plan"], &pods[..]].concat());
    said_once(&said, "shop/web: NodePortIsPort: its ports are also node ports: 10249/tcp (of default/other)");
    let trace = |from: &str| {
        let packet = ["trace", "--from", from, "--interface", "cni0", "--to", "10.96.0.10:10249"];
        objects.weir(&[&packet, &pods[..]].concat()).0
    };
    assert!(trace("10.244.0.9").contains("10.244.1.5:8080 (weight 1), source kept"));
    assert!(trace("192.0.2.77").contains("masqueraded by"));
    let (_, said) = objects.weir(&["plan", "--masquerade-all"]);
    assert!(!said.contains("NodePortIsPort"), "all are masqueraded in any case: {said}");
}

#[test]
fn a_service_network_among_the_pods_is_named_once() {
    let objects = Objects::new(&web("", ""));
    let (_, said) = objects.weir(&["plan", "--cluster-cidr", "10.0.0.0/8"]);
    said_once(
        &said,
        "shop/web: ServiceNetworkInPodNetwork: its cluster IP 10.96.0.10 is inside the network 10.0.0.0/8",
    );
    let (_, said) = objects.weir(&["plan", "--cluster-cidr", "10.244.0.0/16"]);
    assert!(!said.contains("ServiceNetwork"), "{said}");
}

/// Each mistake in a Service that would otherwise fail silently.
#[test]
fn silence_has_a_cause_and_it_is_reported() {
    let web = web("", "");
    assert_eq!(Objects::new(&web).plan().1, "", "no reports about a correct one");
    let endpoints = |labels: &str| {
        let service = web.split("\n---").next().unwrap();
        format!(
            "{service}\n---\n{{apiVersion: v1, kind: Endpoints, metadata: {{name: web, namespace: shop{labels}}}, \
             subsets: [{{addresses: [{{ip: 203.0.113.131}}], ports: [{{name: http, port: 8080}}]}}]}}\n"
        )
    };
    let local =
        |field: &str| web.replace("type: LoadBalancer,", &format!("type: LoadBalancer, {field}: Local,"));
    let nowhere = |text: String| text.replace(", nodeName: node2", "");
    let only_v6 = web
        .replace("clusterIPs: [10.96.0.10, 'fd00:96::a'], clusterIP: 10.96.0.10", "clusterIP: 'fd00:96::a'");
    for (text, reason, words) in [
        (
            web.replace("[{name: http, port: 8080}]", "[{name: web, port: 8080}]"),
            "EndpointsUnmatched",
            "`web` (TCP)",
        ),
        (
            web.replace("[{name: http, port: 8080}]", "[{port: 8080}]"),
            "EndpointsUnmatched",
            "without a name (TCP)",
        ),
        (web.replace("port: 8080}", "port: 8080, protocol: UDP}"), "EndpointsUnmatched", "`http` (UDP)"),
        (web.replace("[{name: http, port: 8080}]", "[]"), "EndpointsUnmatched", "EndpointSlices have none"),
        (only_v6, "EndpointsUnmatched", "its endpoints have IPv4 addresses but its cluster IP is IPv6"),
        (web.replace("[10.244.1.5]", "[10.244.1.5, 10.244.1.6]"), "FurtherAddresses", "10.244.1.5"),
        (endpoints(""), "EndpointsNotRead", "EndpointSlice"),
        (
            endpoints(", labels: {endpointslice.kubernetes.io/skip-mirror: 'true'}"),
            "EndpointsNotRead",
            "Endpoints",
        ),
        (
            nowhere(local("internalTrafficPolicy")),
            "EndpointsWithoutNode",
            "internalTrafficPolicy Local: 10.244.1.5",
        ),
        (
            nowhere(local("externalTrafficPolicy")),
            "EndpointsWithoutNode",
            "externalTrafficPolicy Local: 10.244.1.5",
        ),
    ] {
        let objects = Objects::new(&text);
        let (planned, said) = objects.plan();
        said_once(&said, &format!("shop/web: {reason}: "));
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(words), "{words}: {said}");
        assert!(planned.contains("virtual tcp [fd00:96::a]:10249 rr"), "{planned}");
        let (told, _) = objects.weir(&["explain", "shop/web"]);
        said_once(&told, &format!("{reason}: "));
    }
    for good in [local("externalTrafficPolicy"), endpoints("") + SLICE, nowhere(web.clone())] {
        assert_eq!(Objects::new(&good).plan().1, "", "{good}");
    }
}
