//! A real API server: what it sends, what it refuses, and what it does when it returns.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::{Client, Cluster, NODE_PROXIER, programs_or_skip};
use weir_core::cluster::Event;
use weir_k8s::objects::{self, Decoded};
use weir_watch::{
    Access, Backoff, Handle, Message, Note, Recorder, Regarding, Resource, Settings, Severity, Standing,
    Standings, spawn,
};

const PATIENCE: Duration = Duration::from_secs(90);

const NODE: &str = "node1";

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {tier: gold}}
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
    sessionAffinity: ClientIP
    externalIPs: [192.0.2.7]
    loadBalancerSourceRanges: [198.51.100.0/24]
    ports: [{name: http, port: 80, appProtocol: http}, {name: dns, port: 53, protocol: UDP}]
  status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
- apiVersion: v1
  kind: Service
  metadata: {name: headless, namespace: shop}
  spec: {clusterIP: None, ports: [{port: 80}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{name: http, port: 8080}]
  endpoints: [{addresses: [10.244.1.50], nodeName: node2, conditions: {ready: true}}]
- apiVersion: v1
  kind: Node
  metadata: {name: node1, labels: {topology.kubernetes.io/zone: a}}
  spec: {podCIDRs: [10.244.0.0/24], podCIDR: 10.244.0.0/24}
  status: {addresses: [{type: InternalIP, address: 10.0.2.15}]}
- apiVersion: v1
  kind: Node
  metadata: {name: node2}
";

fn settings(kubeconfig: PathBuf) -> Settings {
    Settings::new(Access { kubeconfig: Some(kubeconfig), master: None }, NODE)
}

/// Follows a cluster.
struct Follower {
    handle: Handle,
    recorder: Recorder,
    receiver: Receiver<Message>,
    known: weir_core::cluster::Cluster,
    standings: Standings,
    /// The objects reported as gone.
    gone: Vec<String>,
}

impl Follower {
    fn of(kubeconfig: PathBuf) -> Follower {
        Follower::with(settings(kubeconfig))
    }

    fn with(settings: Settings) -> Follower {
        let (sender, receiver) = sync_channel(1024);
        let (handle, recorder) = spawn(settings, sender, || {}).unwrap();
        let (known, standings) = Default::default();
        Follower { handle, recorder, receiver, known, standings, gone: Vec::new() }
    }

    /// Records messages until the condition holds.
    #[track_caller]
    fn until(&mut self, what: &str, done: impl Fn(&Follower) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(message) = self.receiver.recv_timeout(left) else {
                panic!("not within {PATIENCE:?}: {what}\nit knows: {:#?}", self.known)
            };
            self.standings.note(&message);
            assert!(message.problems.is_empty(), "{:?}", message.problems);
            for event in message.events {
                if let Event::ServiceGone(name) | Event::SliceGone(name) = &event {
                    self.gone.push(name.to_string());
                }
                self.known.apply(event);
            }
        }
    }

    #[track_caller]
    fn until_complete(&mut self) {
        let wanted = [Resource::OwnNode, Resource::Services, Resource::EndpointSlices];
        self.until("Services, EndpointSlices and this Node are listed", |follower| {
            wanted.iter().all(|resource| follower.standings.of(*resource) == Standing::Current)
        });
    }

    /// Waits until it knows exactly the API server's objects.
    #[track_caller]
    fn until_equal(&mut self, client: &Client) {
        let mut expected = weir_core::cluster::Cluster::default();
        for object in client.list("Service").unwrap() {
            // The API server already leaves out headless ones.
            if let (Decoded::Here(service), _) = objects::service(&object)
                && object["spec"]["clusterIP"] != "None"
            {
                expected.apply(Event::Service(Box::new(service)));
            }
        }
        for object in client.list("EndpointSlice").unwrap() {
            if let (Decoded::Here(slice), _) = objects::endpoint_slice(&object) {
                expected.apply(Event::Slice(Box::new(slice)));
            }
        }
        let own = client.list("Node").unwrap().into_iter().find(|node| node["metadata"]["name"] == NODE);
        if let Some((Decoded::Here(node), _)) = own.as_ref().map(objects::node) {
            expected.apply(Event::Node(Box::new(node)));
        }
        let what = format!("it knows what the API server has:\n{expected:#?}");
        self.until(&what, |follower| follower.known == expected);
    }
}

fn note(text: &str) -> Note {
    Note {
        controller: "weir",
        regarding: Regarding {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        },
        severity: Severity::Warning,
        reason: "PolicyClamped".to_owned(),
        action: "Decide".to_owned(),
        text: text.to_owned(),
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_service_proxy_sees_what_there_is_and_its_events_are_taken() {
    if programs_or_skip().is_none() {
        return;
    }
    let cluster = Cluster::start().unwrap();
    let client = cluster.client();
    cluster.apply(SHOP).unwrap();
    let mut settings = settings(cluster.proxy_kubeconfig());
    settings.resources.insert(Resource::Namespaces);
    let mut follower = Follower::with(settings);
    follower.until_complete();
    follower.until_equal(client);
    assert_eq!(follower.standings.of(Resource::Namespaces), Standing::Incomplete, "no permission for that");

    cluster.apply(&SHOP.replace("10.244.1.50", "10.244.1.51").replace("port: 53", "port: 54")).unwrap();
    cluster.delete("Service", "shop", "headless").unwrap();
    follower.until_equal(client);
    let other =
        SHOP.replace("metadata: {name: web, namespace: shop}", "metadata: {name: other, namespace: shop}");
    cluster.apply(&other.replace("externalIPs: [192.0.2.7]", "externalIPs: []")).unwrap();
    cluster.delete("Service", "shop", "web").unwrap();
    cluster.delete("EndpointSlice", "shop", "web-1").unwrap();
    follower.until_equal(client);
    assert_eq!(
        follower.gone.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        ["shop/web", "shop/web-1"].into()
    );

    // As a user does who follows the hint in the log.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "see-namespaces"},
        "rules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "see-namespaces"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "see-namespaces"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"}],
    });
    client.apply_value(&role).unwrap();
    client.apply_value(&binding).unwrap();
    follower.until("namespaces are listed", |follower| {
        follower.standings.of(Resource::Namespaces) == Standing::Current
    });
    let refused = follower.handle.account().requests().keys().any(|request| request.status == Some(403));
    assert!(refused, "{:?}", follower.handle.account().requests());

    let events = || -> Vec<Value> {
        let events = client.list("Event").unwrap();
        events.into_iter().filter(|event| event["reportingController"] == "weir").collect()
    };
    (0..3).for_each(|_| follower.recorder.record(note("two weights were too large")));
    follower.recorder.record(note("the scheduler `nope` is not known"));
    eventually("there are two Events, and one was repeated", || {
        let events = events();
        events.len() == 2 && events.iter().any(|event| event["series"]["count"].as_u64() >= Some(2))
    });
    assert_eq!(events()[0]["regarding"]["name"], "web");
    assert_eq!(follower.handle.account().figures().events_dropped, 0);
}

#[test]
fn a_server_that_forgets_costs_one_list_and_no_object() {
    if programs_or_skip().is_none() {
        return;
    }
    let mut cluster = Cluster::start().unwrap();
    cluster.apply(SHOP).unwrap();
    let mut settings = settings(cluster.proxy_kubeconfig());
    // Rarely enough that a short absence does not make it give up its version.
    let pause = Duration::from_secs(10);
    settings.timing.backoff = Backoff { first: pause, most: pause };
    let mut follower = Follower::with(settings);
    follower.until_complete();
    follower.until_equal(cluster.client());
    let start = follower.handle.account().figures();

    // Other changes continue for a while: the followed version is older than everything the server will remember.
    for i in 0..5 {
        let config = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": format!("c{i}")},
        });
        cluster.client().apply_value(&config).unwrap();
    }
    cluster.compact().unwrap();
    cluster.start_again().unwrap();
    cluster.apply(&SHOP.replace("10.244.1.50", "10.244.1.52")).unwrap();
    follower.until_equal(cluster.client());
    follower.until_complete();
    assert_eq!(follower.gone, Vec::<String>::new(), "listing again removes nothing");
    let figures = || follower.handle.account().figures();
    eventually("each of the three was listed again", || figures().lists >= start.lists + 3);
    sleep(Duration::from_secs(3));
    let end = figures();
    let more = (end.lists - start.lists, end.expirations - start.expirations);
    assert_eq!(more, (3, 3), "one list per followed resource: {end:?}");
}

#[test]
fn a_server_that_is_away_for_long_costs_one_list_and_no_object() {
    if programs_or_skip().is_none() {
        return;
    }
    let mut cluster = Cluster::start().unwrap();
    cluster.apply(SHOP).unwrap();
    let mut follower = Follower::of(cluster.proxy_kubeconfig());
    follower.until_complete();
    let start = follower.handle.account().figures();
    cluster.stop();
    follower.until("it notices", |follower| follower.standings.of(Resource::Services) == Standing::Stale);
    // This takes minutes: attempts have reached their longest interval.
    sleep(Duration::from_secs(125));
    cluster.start_again().unwrap();
    cluster.apply(&SHOP.replace("10.244.1.50", "10.244.1.52")).unwrap();
    follower.until_equal(cluster.client());
    follower.until_complete();
    assert_eq!(follower.gone, Vec::<String>::new());
    let end = follower.handle.account().figures();
    assert!(end.lists - start.lists <= 3, "at most one per followed resource: {end:?}");
}

#[test]
fn a_token_that_ends_is_read_again() {
    if programs_or_skip().is_none() {
        return;
    }
    let mut cluster = Cluster::start().unwrap();
    cluster.apply(SHOP).unwrap();
    let account = cluster.service_account("kube-system", "weir", NODE_PROXIER).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    let short = cluster.token(&account, Duration::from_secs(5)).unwrap();
    fs::write(&token_file, &short).unwrap();
    let kubeconfig = cluster.kubeconfig_with_token_file("weir", &token_file).unwrap();
    let mut follower = Follower::of(kubeconfig);
    follower.until_complete();

    fs::write(&token_file, cluster.token(&account, Duration::from_secs(3600)).unwrap()).unwrap();
    cluster.client().with_token(&short).await_refusal().unwrap();
    // Open watches stay open, whatever happens to the token.
    cluster.start_again().unwrap();
    cluster.apply(&SHOP.replace("10.244.1.50", "10.244.1.53")).unwrap();
    follower.until_equal(cluster.client());
    follower.until_complete();
    assert_eq!(follower.gone, Vec::<String>::new());
}
