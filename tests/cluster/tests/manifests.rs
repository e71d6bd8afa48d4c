//! `host/install` on a real API server: the chart and the Kustomize bases produce the same objects, and helm installs,
//! upgrades and removes them. The dashboard matches Grafana's schema, and Prometheus Operator defines every field of the
//! chart's extras for monitoring.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Deserializer, Value, json};
use tempfile::TempDir;
use weir_cluster::{Cluster, Programs, programs_or_skip};

const SERVER: &str = "apiServer=https://control-plane.example:6443";
/// As in `base/config.conf`.
const PODS: &str = "config.clusterCIDR=10.244.0.0/16";
const SYSTEM: &str = "/api/v1/namespaces/kube-system";

fn install() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/install").canonicalize().unwrap()
}

/// Helm, without this machine's configuration.
struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    fn new(programs: &Programs) -> Helm {
        Helm { program: programs.helm.clone(), home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut helm = Command::new(&self.program);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.home.path());
        }
        helm.arg("--namespace=kube-system").args(arguments);
        helm
    }

    /// Renders the chart as YAML, with these values.
    fn template(&self, chart: &Path, values: &[&str]) -> Result<String> {
        let mut helm = self.command(&["template", "weir"]);
        output(helm.arg(chart).args(values.iter().flat_map(|value| ["--set", value])))
    }

    /// Runs a command of helm that writes to the cluster.
    fn write(&self, cluster: &Cluster, arguments: &[&str], values: &[&str]) -> Result<String> {
        let mut helm = self.command(arguments);
        helm.arg("--kubeconfig").arg(cluster.kubeconfig());
        output(helm.args(values.iter().flat_map(|value| ["--set", value])))
    }
}

fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    ensure!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?)
}

/// Waits until `kubectl auth can-i` says yes: the API server's authorizer learns of a new role after a moment.
fn await_yes(can_i: &mut Command) {
    let start = Instant::now();
    while output(can_i).is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "{can_i:?} says no");
        sleep(Duration::from_millis(100));
    }
}

fn chart() -> PathBuf {
    install().join("helm")
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The documents of a template's output.
fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is).unwrap_or_else(|| panic!("no {kind} {name}: {objects:?}"))
}

/// Sends manifests to the API server, with strict validation, and returns the objects with its defaults.
fn create(cluster: &Cluster, manifests: &str, options: &[&str]) -> Result<Vec<Value>> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), manifests)?;
    let mut kubectl = cluster.kubectl();
    kubectl.args(["create", "--validate=strict", "--output=json"]).args(options);
    let text = output(kubectl.arg("--filename").arg(file.path()))?;
    Deserializer::from_str(&text).into_iter().map(|object| object.context(text.clone())).collect()
}

/// Removes what may differ: labels and annotations of the objects, fields set by the API server, and the checksum (Helm)
/// or hashed name (Kustomize) that starts a rollout.
fn comparable(objects: Vec<Value>) -> Vec<Value> {
    let mut text = Value::from(objects).to_string();
    let start = "\"name\":\"weir-";
    let hashed = text.match_indices(start).map(|(at, _)| &text[at + start.len()..][..11]).find(|rest| {
        rest.ends_with('"') && rest[..10].bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    });
    if let Some(hash) = hashed.map(|rest| format!("{start}{rest}")) {
        text = text.replace(&hash, "\"name\":\"weir\"");
    }
    let mut objects: Vec<Value> = serde_json::from_str(&text).unwrap();
    for object in &mut objects {
        let metadata = &object["metadata"];
        object["metadata"] = json!({"name": metadata["name"], "namespace": metadata["namespace"]});
        for (name, value) in object["data"].as_object_mut().into_iter().flatten() {
            assert!(name.ends_with(".conf") || name.ends_with(".yaml"), "{name}");
            *value = yaml(value.as_str().unwrap());
        }
        let Some(template) = object.pointer_mut("/spec/template") else { continue };
        if let Some(mut annotations) = template["metadata"].as_object_mut().unwrap().remove("annotations") {
            annotations.as_object_mut().unwrap().remove("checksum/config").unwrap();
            assert_eq!(annotations, json!({}));
        }
        // Lists with unique names, in which order has no meaning.
        for list in
            ["/spec/volumes", "/spec/containers/0/volumeMounts", "/spec/initContainers/0/volumeMounts"]
        {
            let list = template.pointer_mut(list).unwrap().as_array_mut().unwrap();
            list.sort_by_key(|item| item["name"].to_string());
        }
    }
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

/// The overlay from the README, with these components. Kustomize accepts relative paths only.
fn overlay(components: &[&Path]) -> TempDir {
    let overlay = tempfile::tempdir().unwrap();
    let up = "../".repeat(overlay.path().canonicalize().unwrap().components().count() - 1);
    let place = |path: &Path| format!("{up}{}", path.strip_prefix("/").unwrap().display());
    let text = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [place(&install().join("base"))], "components": components.iter().map(|path| place(path)).collect::<Vec<_>>(),
    });
    fs::write(overlay.path().join("kustomization.yaml"), text.to_string()).unwrap();
    overlay
}

#[test]
fn the_chart_and_the_kustomize_bases_make_the_same_objects() {
    let Some(programs) = programs_or_skip() else { return };
    let (cluster, helm) = (Cluster::start().unwrap(), Helm::new(&programs));
    let [base, policy, namespaces] = ["base", "policy", "namespaces"].map(|name| install().join(name));
    let (with_policy, reads_namespaces) = (overlay(&[&policy]), overlay(&[&policy, &namespaces]));
    let more = &[SERVER, PODS, "policy.enabled=true", "policy.readNamespaces=true"];
    let cases: [(&Path, &[&str], usize); 3] =
        [(&base, &more[..2], 4), (with_policy.path(), &more[..3], 5), (reads_namespaces.path(), more, 7)];
    for (kustomization, values, count) in cases {
        let of_kustomize = output(cluster.kubectl().arg("kustomize").arg(kustomization)).unwrap();
        let of_helm = helm.template(&chart(), values).unwrap();
        let [of_kustomize, of_helm] = [of_kustomize, of_helm]
            .map(|text| comparable(create(&cluster, &text, &["--dry-run=server"]).unwrap()));
        assert_eq!(of_kustomize.len(), count, "{of_kustomize:?}");
        for (kustomize, helm) in of_kustomize.iter().zip(&of_helm) {
            assert_eq!(helm, kustomize, "{helm:#}\n{kustomize:#}");
        }
        assert_eq!(of_helm.len(), count, "{of_helm:?}");
    }
}

/// Without `--server-side`, kubectl copies each object into an annotation, which Kubernetes limits to 256 KiB.
#[test]
fn a_plugin_is_applied_on_the_server_because_it_is_too_large_for_an_annotation() {
    let Some(_) = programs_or_skip() else { return };
    let cluster = Cluster::start().unwrap();
    let policy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(install().join("policy")).unwrap() {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).unwrap().replace("# - weir_plugin", "- weir_plugin");
        fs::write(policy.path().join(file.file_name()), text).unwrap();
    }
    // No text, so that Kustomize encodes it as it does components.
    let plugin = policy.path().join("weir_plugin_annotations.wasm");
    fs::write(&plugin, vec![0xff; 340_000]).unwrap();
    let (base, overlay) = (install().join("base"), overlay(&[policy.path()]));
    let apply = |options: &[&str], folder: &Path| {
        output(cluster.kubectl().arg("apply").args(options).arg("--kustomize").arg(folder))
    };

    apply(&["--server-side"], &base).unwrap();
    let error = apply(&["--dry-run=server"], overlay.path()).unwrap_err().to_string();
    assert!(error.contains("metadata.annotations: Too long"), "{error}");
    apply(&["--server-side"], overlay.path()).unwrap();
    fs::write(&plugin, vec![0xfe; 340_000]).unwrap();
    apply(&["--server-side"], overlay.path()).unwrap();
    let map = cluster.client().get(&format!("{SYSTEM}/configmaps/weir-policy")).unwrap();
    assert!(map["binaryData"]["weir_plugin_annotations.wasm"].as_str().unwrap().starts_with("/v7+"), "{map}");
}

#[test]
fn helm_installs_upgrades_and_removes_weir() {
    let Some(programs) = programs_or_skip() else { return };
    let (cluster, helm) = (Cluster::start().unwrap(), Helm::new(&programs));
    let client = cluster.client();
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let daemon_set =
        || client.get("/apis/apps/v1/namespaces/kube-system/daemonsets/weir").map(|set| set["spec"].clone());
    let checksum = |spec: &Value| spec["template"]["metadata"]["annotations"]["checksum/config"].clone();
    let command = |spec: &Value| spec["template"]["spec"]["containers"][0]["command"].to_string();

    let notes = helm.write(&cluster, &["install", "weir", chart], &[SERVER, PODS]).unwrap();
    assert!(notes.contains("starting on all nodes") && notes.contains("weir status"), "{notes}");
    assert!(!notes.contains("rollout") && !notes.contains("WARNING"), "{notes}");
    let first = daemon_set().unwrap();
    assert!(!command(&first).contains("--policy"), "{first}");

    // A plugin does not change the configuration, only the pods' command.
    let plugin = ["policy.enabled=true", "policy.files.a\\.wasm=AGFzbQ=="];
    let source = ["policy.configuration.plugins[0].name=a", "policy.configuration.plugins[0].source=a.wasm"];
    let values = [&[SERVER, PODS, "policy.readNamespaces=true"][..], &plugin, &source].concat();
    let notes = helm.write(&cluster, &["upgrade", "weir", chart], &values).unwrap();
    assert!(notes.contains("rollout status") && !notes.contains("starting on all"), "{notes}");
    let may_list = "auth can-i list namespaces --as=system:serviceaccount:kube-system:weir";
    await_yes(cluster.kubectl().args(may_list.split(' ')));
    let second = daemon_set().unwrap();
    assert!(command(&second).contains("--policy=/etc/weir/policy.yaml"), "{second}");
    assert_eq!(checksum(&second), checksum(&first));
    let policy = client.get(&format!("{SYSTEM}/configmaps/weir-policy")).unwrap();
    assert_eq!(policy["binaryData"], json!({"a.wasm": "AGFzbQ=="}));
    assert_eq!(
        yaml(policy["data"]["policy.yaml"].as_str().unwrap()),
        json!({
            "apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration",
            "plugins": [{"name": "a", "source": "a.wasm"}],
        })
    );

    // A changed configuration starts a rollout. If kube-proxy runs too, helm warns.
    create(&cluster, KUBE_PROXY, &[]).unwrap();
    let policy = ["policy.enabled=true", "policy.existingConfigMap=mine"];
    let values = [&[SERVER, PODS, "config.ipvs.scheduler=lc"][..], &policy].concat();
    let notes = helm.write(&cluster, &["upgrade", "weir", chart], &values).unwrap();
    assert!(notes.contains("WARNING: there is a DaemonSet kube-system/kube-proxy"), "{notes}");
    let third = daemon_set().unwrap();
    assert_ne!(checksum(&third), checksum(&first));
    assert_eq!(third["template"]["spec"]["volumes"][3]["configMap"]["name"], "mine");
    assert!(client.get(&format!("{SYSTEM}/configmaps/weir-policy")).is_err());

    helm.write(&cluster, &["uninstall", "weir"], &[]).unwrap();
    assert!(daemon_set().is_err());
    assert!(client.get(&format!("{SYSTEM}/serviceaccounts/weir")).is_err());
}

const KUBE_PROXY: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-proxy, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-proxy}}
  template:
    metadata: {labels: {k8s-app: kube-proxy}}
    spec: {containers: [{name: kube-proxy, image: kube-proxy}]}
";

/// All extras for monitoring.
const EXTRAS: &[&str] = &[
    SERVER,
    PODS,
    "monitoring.podMonitor.enabled=true",
    "monitoring.rules.enabled=true",
    "monitoring.rules.labels.release=prometheus",
    "monitoring.dashboard.enabled=true",
];

#[test]
fn the_extras_for_monitoring_are_the_files_of_this_folder() {
    let Some(programs) = programs_or_skip() else { return };
    let helm = Helm::new(&programs);
    let text = helm.template(&chart(), EXTRAS).unwrap();
    // The package that users install contains files where the folder has links to the alerts and the dashboard.
    let folder = tempfile::tempdir().unwrap();
    output(helm.command(&["package", "--destination"]).arg(folder.path()).arg(chart())).unwrap();
    let package = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(helm.template(&package, EXTRAS).unwrap(), text);

    let objects = documents(&text);
    let read = |path: &str| fs::read_to_string(install().join("monitoring").join(path)).unwrap();
    let rules = find(&objects, "PrometheusRule", "weir");
    assert_eq!(rules["spec"], yaml(&read("rules.yaml")));
    assert_eq!(rules["metadata"]["labels"]["release"], "prometheus");
    let board = find(&objects, "ConfigMap", "weir-dashboard");
    let of_board: Value = serde_json::from_str(board["data"]["weir.json"].as_str().unwrap()).unwrap();
    assert_eq!(of_board, serde_json::from_str::<Value>(&read("dashboard.json")).unwrap());
    assert_eq!(board["metadata"]["labels"]["grafana_dashboard"], "1");

    // A PodMonitor takes its job from this label of the pod, and the alerts select by job.
    let monitor = &find(&objects, "PodMonitor", "weir")["spec"];
    let template = &find(&objects, "DaemonSet", "weir")["spec"]["template"];
    assert_eq!(monitor["selector"]["matchLabels"], template["metadata"]["labels"]);
    assert_eq!(template["metadata"]["labels"][monitor["jobLabel"].as_str().unwrap()], "weir");
    assert_eq!(
        template["spec"]["containers"][0]["ports"][0]["name"],
        monitor["podMetricsEndpoints"][0]["port"]
    );
    let config = yaml(find(&objects, "ConfigMap", "weir")["data"]["config.conf"].as_str().unwrap());
    assert_eq!(config["metricsBindAddress"], "0.0.0.0:10249");
}

/// The Go module with the CRDs of Prometheus Operator, and the hash of its content.
const OPERATOR: [&str; 2] = [
    "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
];

/// The folder of these CRDs, or prints that the test is skipped: Go may have to download the module.
fn operator_crds_or_skip() -> Option<PathBuf> {
    let mut go = Command::new("go");
    go.env("GOTOOLCHAIN", "local").env("GOFLAGS", "").env("GOWORK", "off");
    let answer = output(go.args(["mod", "download", "-json", OPERATOR[0]]));
    let answer = answer.inspect_err(|error| println!("SKIPPED: {error:#}")).ok()?;
    let module: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(module["Sum"], OPERATOR[1]);
    Some(Path::new(module["Dir"].as_str().unwrap()).join("example/prometheus-operator-crd"))
}

#[test]
fn prometheus_operator_defines_every_field_of_the_extras() {
    let Some(programs) = programs_or_skip() else { return };
    let Some(crds) = operator_crds_or_skip() else { return };
    let (cluster, helm) = (Cluster::start().unwrap(), Helm::new(&programs));
    for resource in ["podmonitors", "prometheusrules"] {
        let crd = fs::read_to_string(crds.join(format!("monitoring.coreos.com_{resource}.yaml"))).unwrap();
        create(&cluster, &crd, &[]).unwrap();
        let mut wait = cluster.kubectl();
        wait.args(["wait", "--for=condition=Established", "--timeout=60s"]);
        output(wait.arg(format!("crd/{resource}.monitoring.coreos.com"))).unwrap();
    }
    let text = helm.template(&chart(), EXTRAS).unwrap();
    let objects = create(&cluster, &text, &["--dry-run=server"]).unwrap();
    find(&objects, "PodMonitor", "weir");
    find(&objects, "PrometheusRule", "weir");
    for (field, misspelt) in [("jobLabel:", "jobLabell"), ("expr:", "exprr")] {
        let text = text.replace(field, &format!("{misspelt}:"));
        let error = create(&cluster, &text, &["--dry-run=server"]).unwrap_err().to_string();
        assert!(error.contains(misspelt), "{error}");
    }
}

#[test]
fn the_dashboard_matches_grafanas_schema() {
    let Some(programs) = programs_or_skip() else { return };
    let board = install().join("monitoring/dashboard.json");
    output(Command::new(&programs.board).arg(&board)).unwrap();

    let text = fs::read_to_string(&board).unwrap();
    let wrong = tempfile::NamedTempFile::new().unwrap();
    for (field, misspelt) in [("legendFormat", "legendFormt"), ("unit", "unitt")] {
        let text = text.replace(&format!("\"{field}\""), &format!("\"{misspelt}\""));
        fs::write(wrong.path(), text).unwrap();
        let error = output(Command::new(&programs.board).arg(wrong.path())).unwrap_err().to_string();
        assert!(error.contains(misspelt), "{error}");
    }
}

#[test]
fn lint_has_nothing_to_say_and_a_digest_pins_the_image() {
    let Some(programs) = programs_or_skip() else { return };
    let helm = Helm::new(&programs);
    output(helm.command(&["lint", "--strict", "--set", SERVER, "--set", PODS]).arg(chart())).unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    let pin = format!("image.digest={digest}");
    let text =
        helm.template(&chart(), &[SERVER, PODS, "image.repository=registry.example/weir", &pin]).unwrap();
    let image = format!("image: registry.example/weir@{digest}\n");
    assert_eq!(text.matches(&image).count(), 2, "{text}");
}

#[test]
fn wrong_values_are_refused_in_words_that_help() {
    let Some(programs) = programs_or_skip() else { return };
    let helm = Helm::new(&programs);
    let cases: [(&[&str], &str); 9] = [
        (&[PODS], "apiServer is not set. It is an address of the API server that works without a proxy"),
        (&["apiServer=https://kubernetes.default.svc:443", PODS], "is the cluster IP of `kubernetes`"),
        (&["apiServer=control-plane.example:6443"], "'/apiServer'"),
        (&[SERVER], "config.clusterCIDR is not set. Set it to the pod networks"),
        (&[SERVER, "config.detectLocalMode=ClusterCIDR"], "config.clusterCIDR is not set"),
        (&[SERVER, "imagee.tag=1"], "'imagee' not allowed"),
        (&[SERVER, "image.digest=0123"], "'/image/digest'"),
        (&[SERVER, "config.mode=iptables"], "'/config/mode': value must be 'ipvs'"),
        (&[SERVER, "policy.files.a\\.wasm=not base64!"], "'/policy/files/a.wasm'"),
    ];
    for (values, words) in cases {
        let error = helm.template(&chart(), values).unwrap_err().to_string();
        assert!(error.contains(words), "{values:?}: {error}");
    }
}

#[test]
fn the_pod_networks_may_be_left_out_if_pods_are_recognised_otherwise() {
    let Some(programs) = programs_or_skip() else { return };
    let helm = Helm::new(&programs);
    let config = |value: &str| {
        let text = helm.template(&chart(), &[SERVER, value]).unwrap();
        yaml(find(&documents(&text), "ConfigMap", "weir")["data"]["config.conf"].as_str().unwrap())
    };
    assert_eq!(config("config.detectLocalMode=NodeCIDR")["clusterCIDR"], Value::Null);
    // As in clusters whose kube-proxy has none.
    assert_eq!(config("config.clusterCIDR=")["clusterCIDR"], "");
}

#[test]
fn only_who_asks_for_it_may_read_namespaces() {
    let Some(programs) = programs_or_skip() else { return };
    let helm = Helm::new(&programs);
    let rules = |values: &[&str]| {
        let text = helm.template(&chart(), &[&[SERVER, PODS][..], values].concat()).unwrap();
        let roles = documents(&text).into_iter().filter(|object| object["kind"] == "ClusterRole");
        roles.map(|role| role["rules"].clone()).collect::<Vec<_>>()
    };
    let reads = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]}]);
    assert_eq!(rules(&["policy.enabled=true", "policy.readNamespaces=true"]), [reads]);
    assert_eq!(rules(&["policy.enabled=true"]), [] as [Value; 0]);
    assert_eq!(rules(&["policy.readNamespaces=true"]), [] as [Value; 0]);
}

/// Without a cluster, helm prints the notes of a first installation.
#[test]
fn notes_name_the_nodes_on_which_weir_starts() {
    let Some(programs) = programs_or_skip() else { return };
    let helm = Helm::new(&programs);
    let notes = |values: &[&str]| {
        let mut install = helm.command(&["install", "weir", "--dry-run=client"]);
        let values = [SERVER, PODS].iter().chain(values).flat_map(|value| ["--set", value]);
        let text = output(install.arg(chart()).args(values)).unwrap();
        text.split_once("NOTES:\n").unwrap().1.to_owned()
    };
    let everywhere = notes(&[]);
    assert!(everywhere.contains("starting on all nodes at the same time"), "{everywhere}");
    // With a new selector, weir would stop on the other nodes.
    assert!(everywhere.contains("One node first") && !everywhere.contains("helm upgrade"), "{everywhere}");
    assert_eq!(notes(&["nodeSelector=null"]), everywhere);
    let chosen = notes(&["nodeSelector.weir=enabled"]);
    assert!(chosen.contains("on all nodes with these labels:\n\n  weir=enabled\n"), "{chosen}");
    for notes in [everywhere, chosen] {
        assert!(notes.contains("exec POD -- weir status") && !notes.contains("rollout"), "{notes}");
    }
}
