//! Objects, configuration files and command lines as rendered by charts, shown in tutorials and printed by clusters.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

const INTERFACES: &str = r#"[
    {"name": "lo", "addresses": ["127.0.0.1/8", "::1/128"]},
    {"name": "eth0", "addresses": ["192.0.2.10/24", "2001:db8::10/64"]}
]"#;

const NODE: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDR: 10.244.0.0/24, podCIDRs: [10.244.0.0/24, "2001:db8:244::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.10}, {type: InternalIP, address: "2001:db8::10"}]}
"#;

/// A user's files, run through `weir plan`.
struct Desk(tempfile::TempDir);

impl Desk {
    fn with(objects: &str) -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        desk.put("interfaces.json", INTERFACES);
        desk.put("objects.yaml", &format!("{NODE}---\n{objects}"));
        desk
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn weir(&self, command: &str, arguments: &str) -> Output {
        let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
        weir.current_dir(self.0.path()).arg(command);
        weir.args(["--manifests", "objects.yaml", "--interfaces", "interfaces.json"]);
        weir.args(arguments.split_whitespace()).output().unwrap()
    }

    /// The plan and the messages.
    fn plan(&self, arguments: &str) -> (String, String) {
        let output = self.weir("plan", arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        (text(&output.stdout), said)
    }

    fn refusal(&self, arguments: &str) -> String {
        let output = self.weir("plan", arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A Service with a node port and one slice with these labels, in flow style.
fn service(name: &str, number: u8, service_labels: &str, slice_labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {{app: {name}, {service_labels}}}}}\n\
         spec: {{type: NodePort, clusterIP: 10.96.0.{number}, clusterIPs: [10.96.0.{number}, \"2001:db8:96::{number}\"], \
         ports: [{{port: 80, nodePort: 300{number}}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: {name}-4, labels: {{kubernetes.io/service-name: {name}, {slice_labels}}}}}\n\
         ports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.244.0.{number}]}}]\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv6\n\
         metadata: {{name: {name}-6, labels: {{kubernetes.io/service-name: {name}, {slice_labels}}}}}\n\
         ports: [{{port: 8080}}]\nendpoints: [{{addresses: [\"2001:db8:244::{number}\"]}}]\n---\n"
    )
}

#[test]
fn a_label_without_a_value_marks_its_object() {
    let marked = service("other", 11, "service.kubernetes.io/service-proxy-name: ", "x: ");
    let ours = service("ours", 12, "x: null", "x: ~");
    let headless = ours
        .replace("-4, ", "-5, ")
        .replace("-6, ", "-7, ")
        .replace("x: ~", "service.kubernetes.io/headless: ");
    let headless: String = headless.replace("10.244.0.12", "10.244.0.13").replace("244::12", "244::13");
    let slices = headless.split_once("---\n").unwrap().1;
    let (plan, said) = Desk::with(&(marked + &ours + slices)).plan("--node node1");
    for absent in ["10.96.0.11", "96::11", ":30011", "10.244.0.13", "244::13"] {
        assert!(!plan.contains(absent), "{absent}: {plan}");
    }
    for line in [
        "real tcp 10.96.0.12:80 -> 10.244.0.12:8080 weight 1",
        "real tcp [2001:db8:96::12]:80 -> [2001:db8:244::12]:8080 weight 1",
        "real tcp 192.0.2.10:30012 -> 10.244.0.12:8080 weight 1",
    ] {
        assert!(plan.lines().any(|planned| planned == line), "{line}: {plan}");
    }
    assert!(!said.contains("labels"), "{said}");
}

#[test]
fn a_chart_that_renders_labels_twice_costs_warnings_only() {
    let twice = service("ui", 11, "app: ui-static", "y: \"1\", y: \"1\"");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: api\n  labels:\n    app: api\n    app: api\n---\n";
    let spec = "apiVersion: v1\nkind: Service\nmetadata: {name: last}\n\
                spec: {clusterIP: 10.96.0.13, ports: [{port: 80, port: 81}], clusterIP: 10.96.0.14}\n---\n";
    let (plan, said) =
        Desk::with(&(twice + map + spec + &service("healthy", 12, "a: b", "a: b"))).plan("--node node1");
    for line in [
        "virtual tcp 10.96.0.11:80 rr",
        "virtual tcp 10.96.0.14:81 rr",
        "real tcp 10.96.0.12:80 -> 10.244.0.12:8080 weight 1",
    ] {
        assert!(plan.lines().any(|planned| planned == line), "{line}: {plan}");
    }
    assert!(!plan.contains("10.96.0.13"), "{plan}");
    for place in [
        "Service default/ui: metadata.labels.app",
        "EndpointSlice default/ui-4: metadata.labels.y",
        "EndpointSlice default/ui-6: metadata.labels.y",
        "ConfigMap default/api: metadata.labels.app",
        "Service default/last: spec.clusterIP",
        "Service default/last: spec.ports[0].port",
    ] {
        let warning = format!("{place}: occurs more than once; the last one is used");
        assert!(said.contains(&warning), "{warning}: {said}");
    }
}

#[test]
fn a_broken_document_is_named_by_its_line_and_the_others_are_planned() {
    let broken = "kind: Service\nmetadata: {name: [web}\n---\n";
    let (plan, said) =
        Desk::with(&(broken.to_owned() + &service("web", 12, "a: b", "a: b"))).plan("--node node1");
    assert!(plan.contains("virtual tcp 10.96.0.12:80 rr"), "{plan}");
    assert!(said.contains("objects.yaml: not readable: ") && said.contains("line 9"), "{said}");
    assert!(said.contains("the other documents of the file are used"), "{said}");
}

#[test]
fn a_template_that_is_not_filled_in_costs_its_key_only() {
    let template = "apiVersion: v1\nkind: Service\nmetadata: {{ include \"labels\" . }}\n---\n";
    let (plan, said) =
        Desk::with(&(template.to_owned() + &service("web", 12, "a: b", "a: b"))).plan("--node node1");
    assert!(plan.contains("virtual tcp 10.96.0.12:80 rr"), "{plan}");
    assert!(
        said.contains("metadata: a key must be text") && said.contains("an unrendered template"),
        "{said}"
    );
}

const CONFIG: &str =
    "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n";

#[test]
fn a_file_from_study_notes_works_and_its_mistakes_lead_to_the_right_fields() {
    let desk = Desk::with(&service("web", 12, "a: b", "a: b"));
    desk.put(
        "config.yaml",
        &format!(
            "{CONFIG}hostnameOverride: node1\nclusterCIDR: 10.244.0.0/16\nudpIdleTimeout: 250ms\nscheduler: lc\n\
             conntrack: {{max: null}}\niptables: {{strictARP: true}}\nipvs: {{scheduler: rr, masqueradeAll: true}}\n"
        ),
    );
    let (plan, said) = desk.plan("--config config.yaml");
    assert!(plan.contains("virtual tcp 192.0.2.10:30012 rr"), "{plan}");
    for warning in [
        "ipvs.masqueradeAll: unknown key, ignored; did you mean `iptables.masqueradeAll`?",
        "iptables.strictARP: unknown key, ignored; did you mean `ipvs.strictARP`?",
        "scheduler: unknown key, ignored; did you mean `ipvs.scheduler`?",
        "udpIdleTimeout: unknown key, ignored; this field belonged to the userspace mode",
        "conntrack.max: unknown key, ignored; kube-proxy replaced this field with `conntrack.maxPerCore`",
    ] {
        assert!(said.contains(warning), "{warning}: {said}");
    }
}

#[test]
fn a_config_map_as_the_cluster_prints_it_is_a_configuration() {
    let desk = Desk::with(&service("web", 12, "a: b", "a: b"));
    let indented = |more: &str| format!("{CONFIG}{more}").replace('\n', "\n    ");
    let map = |name: &str, key: &str, text: &str| {
        format!(
            "apiVersion: v1\ndata:\n  {key}: |-\n    {text}\n  kubeconfig.conf: |-\n    kind: Config\n\
             kind: ConfigMap\nmetadata: {{name: {name}, namespace: kube-system}}\n"
        )
    };
    desk.put("kubeadm.yaml", &map("kube-proxy", "config.conf", &indented("ipvs: {scheduler: lc}")));
    desk.put("eks.yaml", &map("kube-proxy-config", "config", &indented("ipvs: {scheduler: lc}")));
    for (file, key) in
        [("kubeadm.yaml", "kube-proxy, key config.conf"), ("eks.yaml", "kube-proxy-config, key config")]
    {
        let (plan, said) = desk.plan(&format!("--node node1 --config {file}"));
        assert!(plan.contains("virtual tcp 10.96.0.12:80 lc"), "{plan}");
        assert!(
            said.contains(&format!("ConfigMap kube-system/{key}: is used as the configuration; ")),
            "{said}"
        );
    }
    let iptables = indented("").replace("mode: ipvs", "mode: iptables");
    desk.put("eks.yaml", &map("kube-proxy-config", "config", &iptables));
    let said = desk.refusal("--node node1 --config eks.yaml");
    assert!(
        said.contains("key config: mode: `iptables`: weir supports only IPVS: set `mode: ipvs`"),
        "{said}"
    );
    desk.put("values.json", r#"{"ipvs": {"scheduler": "lc"}, "mode": "ipvs"}"#);
    let said = desk.refusal("--node node1 --config values.json");
    assert!(said.contains("add `apiVersion: kubeproxy.config.k8s.io/v1alpha1`"), "{said}");
    assert!(said.contains("add `kind: KubeProxyConfiguration`"), "{said}");
}

#[test]
fn command_lines_of_distributions_and_scripts_can_be_tried() {
    let desk = Desk::with(&service("web", 12, "a: b", "a: b"));
    let distribution = "--cluster-cidr=10.42.0.0/16,2001:db8:42::/56 --conntrack-max-per-core=0 \
                        --conntrack-tcp-timeout-established=0s --healthz-bind-address=127.0.0.1 \
                        --hostname-override=node1 --ipvs-strict-arp=true --kubeconfig=/x --proxy-mode=ipvs \
                        --ipvs-scheduler=lc";
    let (plan, _) = desk.plan(distribution);
    assert!(plan.contains("virtual tcp 10.96.0.12:80 lc"), "{plan}");
    let script = "--cluster-cidr 10.42.0.0/16 --hostname-override node1 --proxy-mode=ipvs --ipvs-scheduler=nq \
                  --kubeconfig ./x --ipvs-exclude-cidrs=192.0.2.200/32 --ipvs-exclude-cidrs 198.51.100.0/29 --v=2";
    let (plan, _) = desk.plan(script);
    assert!(plan.contains("virtual tcp 10.96.0.12:80 nq"), "{plan}");
    let trace = desk.weir("trace", &format!("{script} --from 192.0.2.50 --to 192.0.2.10:30012 -v 4"));
    assert!(text(&trace.stdout).contains("10.244.0.12"), "{}", text(&trace.stderr));
    let explain = desk.weir("explain", &format!("default/web {script} --logging-format json"));
    assert!(explain.status.success(), "{}", text(&explain.stderr));
    let old = "--proxy-mode=ipvs --logtostderr=true --log-dir=/var/log --hostname-override=node1";
    assert!(desk.refusal(old).contains("unexpected argument '--logtostderr'"));
}
