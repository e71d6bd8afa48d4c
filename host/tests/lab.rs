//! `weir lab`, run as a user would: with the examples and with invalid input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use weir_harness::components::component;

/// A Service with two ports, one without endpoints, one over UDP, and one that requests a scheduler.
const OTHERS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: two, namespace: shop}
spec: {clusterIP: 10.96.0.11, clusterIPs: [10.96.0.11], ports: [{name: a, port: 80}, {name: b, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {clusterIP: 10.96.0.12, clusterIPs: [10.96.0.12], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: shop}
spec: {clusterIP: 10.96.0.13, clusterIPs: [10.96.0.13], ports: [{port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: wish, namespace: shop, annotations: {policy.weir/scheduler: SCHEDULER}}
spec: {clusterIP: 10.96.0.14, clusterIPs: [10.96.0.14], ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky, namespace: shop}
spec: {clusterIP: 10.96.0.15, clusterIPs: [10.96.0.15], ports: [{name: http, port: 80}], sessionAffinity: ClientIP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sticky-1, namespace: shop, labels: {kubernetes.io/service-name: sticky}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.2.1]}, {addresses: [10.244.2.2]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: wish-1, namespace: shop, labels: {kubernetes.io/service-name: wish}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.1]}, {addresses: [10.244.1.2]}]
"#;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/examples")
}

fn weir(folder: &Path, arguments: &[&str]) -> Output {
    let common = ["lab", "--node", "client", "--manifests"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(folder).args(common).args(arguments).output().unwrap()
}

/// The JSON lines of an example.
#[track_caller]
fn example(name: &str, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["manifests.yaml", "--traffic", name, "-o", "json"], arguments].concat();
    let output = weir(&examples(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// p99 of a policy at a load.
#[track_caller]
fn p99(lines: &[Value], policy: &str, load: &str) -> f64 {
    let line = lines.iter().find(|line| line["policy"] == policy && line["load"] == load);
    line.and_then(|line| line["p99_ms"].as_f64()).unwrap_or_else(|| panic!("{policy} {load}: {lines:?}"))
}

/// A separate folder for invalid input.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        let shared = fs::read_to_string(examples().join("manifests.yaml")).unwrap();
        folder.write("objects.yaml", &format!("{shared}---{}", OTHERS.replace("SCHEDULER", "lc")));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Writes the example's policy file, with the component where tests build it. Returns its path.
    fn load_aware(&self) -> String {
        let text = fs::read_to_string(examples().join("policy.yaml")).unwrap();
        let (before, source) = text.rsplit_once("source: ").unwrap();
        assert!(source.ends_with("/weir_plugin_load_aware.wasm\n"), "{source}");
        let component = component("weir-plugin-load-aware");
        self.write("load-aware.yaml", &format!("{before}source: {}\n", component.display()));
        self.0.path().join("load-aware.yaml").to_str().unwrap().to_owned()
    }

    /// Simulates one service with a single group of endpoints.
    fn play(&self, service: &str, arguments: &[&str]) -> Output {
        let endpoints = "loads: [50%], endpoints: [{time: 10ms}]";
        self.write("traffic.yaml", &format!("services: [{{service: {service}, {endpoints}}}]"));
        weir(self.0.path(), &[&["objects.yaml", "--traffic", "traffic.yaml"], arguments].concat())
    }

    #[track_caller]
    fn complaint(&self, service: &str, arguments: &[&str], expected: &str) {
        let output = self.play(service, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn half_old_is_what_its_page_says() {
    let folder = Folder::new();
    let load_aware = folder.load_aware();
    let against = ["--seeds", "1", "--policy", &load_aware, "--against", "rr,lc,known"];
    let lines = example("half-old.yaml", &against);
    assert_eq!(lines.len(), 16);
    let of = |policy, load| p99(&lines, policy, load);
    assert!(of("rr", "75%") > 30_000.0);
    assert!(of("lc", "75%") < of("rr", "75%") / 10.0);
    assert!(of(&load_aware, "75%") < of("rr", "75%") / 10.0);
    assert!(of(&load_aware, "75%") < 1.6 * of("known", "75%"));
    let known = lines.iter().find(|line| line["policy"] == "known").unwrap();
    assert!((known["share"]["10.244.0.1:8080"].as_f64().unwrap() - 8.33).abs() < 0.1, "{known}");
    // Even a node with a twentieth of the traffic has enough data.
    let many = fs::read_to_string(examples().join("half-old.yaml")).unwrap();
    let many = many.replace("client-nodes: 5", "client-nodes: 20").replace("[50%, 65%, 75%, 85%]", "[75%]");
    folder.write("many.yaml", &many);
    let many = example(folder.0.path().join("many.yaml").to_str().unwrap(), &against);
    assert!(p99(&many, &load_aware, "75%") < 1.6 * p99(&many, "known", "75%"), "{many:?}");
}

#[test]
fn weights_cost_nothing_where_all_pods_are_equal() {
    let load_aware = Folder::new();
    let load_aware = load_aware.load_aware();
    let lines =
        example("equal.yaml", &["--seeds", "1,2,3", "--policy", &load_aware, "--against", "rr,builtin,wrr"]);
    for load in ["50%", "65%", "75%", "85%"] {
        let times = |policy: &str| {
            let of = |line: &&Value| line["policy"] == policy && line["load"] == load;
            lines.iter().filter(of).map(|line| line["p99_ms"].as_f64().unwrap()).collect::<Vec<_>>()
        };
        let mean = |policy| times(policy).iter().sum::<f64>() / 3.0;
        assert!(mean(&load_aware) < 1.05 * mean("rr"), "{load}: {:?} {:?}", times(&load_aware), times("rr"));
        assert_eq!(times("builtin"), times("wrr"), "equal weights are rr");
    }
}

#[test]
fn a_slowed_pod_loses_traffic_and_gets_it_back_and_a_refusing_one_draws_little() {
    let folder = Folder::new();
    let load_aware = folder.load_aware();
    let lines = example("slowed.yaml", &["--seeds", "1", "--policy", &load_aware, "--against", "rr"]);
    assert!(p99(&lines, &load_aware, "60%") < p99(&lines, "rr", "60%") / 5.0);
    // Its share relative to a fair one, in a range of seconds. It is slow from 120 to 180.
    let share = |from: f64, to: f64| {
        let points = lines[0]["timeline"].as_array().unwrap().iter();
        let within = points.filter(|point| point["until_s"].as_f64().is_some_and(|at| at > from && at <= to));
        let shares: Vec<f64> =
            within.map(|point| point["share"]["10.244.0.1:8080"].as_f64().unwrap() / 12.5).collect();
        shares.iter().sum::<f64>() / shares.len() as f64
    };
    assert!(share(60.0, 120.0) > 0.9, "before: {}", share(60.0, 120.0));
    assert!(share(135.0, 180.0) < 0.5, "after fifteen seconds: {}", share(135.0, 180.0));
    assert!(share(240.0, 300.0) > 0.8, "a minute later: {}", share(240.0, 300.0));
    let lines = example("refusing.yaml", &["--seeds", "1", "--policy", &load_aware, "--against", "lc"]);
    let share = |line: &Value| line["share"]["10.244.0.1:8080"].as_f64().unwrap();
    assert!(share(&lines[0]) < 1.6 * 12.5, "{}", lines[0]);
    assert!(share(&lines[1]) > 40.0, "lc sends most to the endpoint that refuses: {}", lines[1]);
}

#[test]
fn the_same_seed_prints_the_same_in_every_form() {
    let folder = Folder::new();
    let policy = folder.load_aware();
    for form in ["text", "json", "svg"] {
        let arguments =
            ["manifests.yaml", "--traffic", "slowed.yaml", "--policy", &policy, "--seeds", "7", "-o", form];
        let (one, two) = (weir(&examples(), &arguments), weir(&examples(), &arguments));
        assert!(one.status.success() && !one.stdout.is_empty());
        assert_eq!(one.stdout, two.stdout, "{form}");
    }
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let folder = Folder::new();
    folder.complaint(
        "shop/web, prot: 80",
        &[],
        "services[0].prot: unknown field `prot`, expected one of `service`, `port`",
    );
    folder.complaint(
        "shop/wep",
        &[],
        "service shop/wep not found in the manifests, or not handled by this node; available services: shop/dns, ",
    );
    folder.complaint("web", &[], "service `web`: must be written as NAMESPACE/NAME");
    folder.complaint("shop/two", &[], "service shop/two has several TCP ports; set `port` to one of 80, 81");
    folder.complaint("'shop/web', port: 81", &[], "service shop/web has no TCP port 81 on a cluster IP");
    folder.complaint("shop/dns", &[], "service shop/dns has no TCP port on a cluster IP");
    folder.complaint("shop/empty", &[], "service shop/empty has no endpoints that accept connections");
    folder.complaint(
        "shop/web",
        &["--policy", "gone.yaml"],
        "--policy gone.yaml: no such file, and not one of builtin, known, rr",
    );
    folder.complaint("shop/web", &["--against", "rr,dh"], "--against dh: no such file");
    let named = ["--against", "rr,load-aware"];
    folder.complaint("shop/web", &named, "to use plugins, name them in a PolicyConfiguration file");
    folder.complaint("shop/web", &["--policy", "objects.yaml"], "policy objects.yaml: ");
    folder.complaint(
        "shop/web",
        &["--ipvs-scheduler", "dh"],
        "scheduler `dh` cannot be simulated; weir lab supports rr, wrr",
    );
    let output = weir(folder.0.path(), &["objects.yaml", "--traffic", "gone.yaml"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--traffic gone.yaml"));
}

#[test]
fn session_affinity_is_said_not_to_be_played() {
    let folder = Folder::new();
    let output = folder.play("shop/sticky", &["--against", &format!("lc,{}", folder.load_aware())]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(
        said,
        "warning: tcp 10.96.0.15:80: session affinity is not simulated; each connection is scheduled anew\n"
    );
}

#[test]
fn plugins_of_a_policy_file_take_part() {
    let folder = Folder::new();
    let plugin = |name: &str| {
        let source = component(&format!("weir-plugin-{name}"));
        format!("- name: {name}\n  source: {}\n", source.display())
    };
    let file = |plugins: &str| {
        format!("apiVersion: policy.weir/v1alpha1\nkind: PolicyConfiguration\nplugins:\n{plugins}")
    };
    folder.write("annotations.yaml", &file(&plugin("annotations")));
    folder.write("both.yaml", &file(&(plugin("annotations") + &plugin("load-aware"))));
    let figures = |output: &Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().map(|line| line["p99_ms"].clone()).collect::<Vec<_>>()
    };
    // The plugin changes it to lc; the second plugin after it to wrr.
    let against = format!("lc,builtin,both.yaml,{}", folder.load_aware());
    let arguments = ["--policy", "annotations.yaml", "--against", &against, "-o", "json"];
    let [plugin, lc, builtin, both, load_aware] =
        figures(&folder.play("shop/wish", &arguments)).try_into().unwrap();
    assert_eq!((&plugin, &both), (&lc, &load_aware));
    assert_ne!(plugin, builtin);
    assert_ne!(plugin, both);
    // A refused plugin is reported and gives exit status 1.
    folder.write("none.yaml", &file("- {name: a, source: none.wasm}\n"));
    let output = folder.play("shop/wish", &["--policy", "none.yaml", "--against", "lc,builtin"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches("plugin a is not used").count(), 1);
}
