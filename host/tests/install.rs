//! The manifests in `install`: everything they refer to exists, and weir accepts what they contain.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn install() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("install")
}

fn weir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

/// The documents of a file.
fn documents(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(install().join(path)).unwrap();
    let parse = |part: &str| serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.split("\n---\n").map(parse).collect()
}

fn document(path: &str) -> Value {
    let mut all = documents(path);
    assert_eq!(all.len(), 1, "{path}");
    all.remove(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn texts<'a>(values: &'a Value, field: &str) -> BTreeSet<&'a str> {
    list(values).iter().map(|value| value[field].as_str().unwrap()).collect()
}

/// kubeadm's own manifest (`cmd/kubeadm/app/phases/addons/proxy/manifests.go` of 1.37), as far as it is patched.
fn kubeadms() -> Value {
    json!({
        "containers": [{
            "name": "kube-proxy",
            "image": "registry.k8s.io/kube-proxy:v1.37.2",
            "command": [
                "/usr/local/bin/kube-proxy",
                "--config=/var/lib/kube-proxy/config.conf",
                "--hostname-override=$(NODE_NAME)",
            ],
            "securityContext": {"privileged": true},
            "volumeMounts": [
                {"mountPath": "/var/lib/kube-proxy", "name": "kube-proxy"},
                {"mountPath": "/run/xtables.lock", "name": "xtables-lock", "readOnly": false},
                {"mountPath": "/lib/modules", "name": "lib-modules", "readOnly": true},
            ],
            "env": [{"name": "NODE_NAME"}],
        }],
        "volumes": [{"name": "kube-proxy"}, {"name": "xtables-lock"}, {"name": "lib-modules"}],
    })
}

/// A strategic merge, limited to what is used here: maps by key, null removes, lists of named items by name.
fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(base), Value::Array(patch)) if patch.iter().all(|item| item["name"].is_string()) => {
            for item in patch {
                match base.iter_mut().find(|old| old["name"] == item["name"]) {
                    Some(old) => merge(old, item),
                    None => base.push(item.clone()),
                }
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}

fn patched(mut pod: Value, patches: &[&str]) -> Value {
    for patch in patches {
        merge(&mut pod, &document(patch)["spec"]["template"]["spec"]);
    }
    pod
}

fn base() -> Value {
    document("base/daemonset.yaml")["spec"]["template"]["spec"].clone()
}

/// Every pod that the manifests can create.
fn pods() -> Vec<Value> {
    const IMAGE: &str = "kubeadm/kubeproxydaemonset+strategic.yaml";
    vec![
        base(),
        patched(base(), &["policy/daemonset.yaml"]),
        patched(kubeadms(), &[IMAGE]),
        patched(kubeadms(), &[IMAGE, "kubeadm/least-privilege.yaml"]),
    ]
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["initContainers"]).iter().chain(list(&pod["containers"]))
}

/// With `--version` at the end, a command line is parsed but not executed.
#[test]
fn every_command_line_is_one_of_weirs() {
    for container in pods().iter().flat_map(containers) {
        let words: Vec<&str> =
            list(&container["command"]).iter().map(|word| word.as_str().unwrap()).collect();
        let name = words[0].strip_prefix("/usr/local/bin/").unwrap();
        assert!(["weir", "kube-proxy"].contains(&name), "{name} is not in the image");
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg0(name)
            .args(&words[1..])
            .arg("--version")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        assert!(output.stdout.starts_with(b"weir "), "{output:?}");
    }
    assert!(!weir(&["run", "--no-such-flag", "--version"]).status.success());
}

#[test]
fn mounts_have_volumes_and_files_have_mounts() {
    for pod in pods() {
        let volumes = texts(&pod["volumes"], "name");
        for container in containers(&pod) {
            let mounts = &container["volumeMounts"];
            assert!(texts(mounts, "name").is_subset(&volumes), "{mounts}");
            let places = texts(mounts, "mountPath");
            assert!(places.contains("/run/xtables.lock") && places.contains("/lib/modules"), "{places:?}");
            let paths =
                list(&container["command"])[1..].iter().filter_map(|word| word.as_str()?.split_once("=/"));
            for (flag, path) in paths {
                let path = format!("/{path}");
                assert!(
                    places.iter().any(|place| path.starts_with(place)),
                    "{flag}: nothing mounted at {path}"
                );
            }
            assert!(texts(&container["env"], "name").contains("NODE_NAME"));
        }
    }
}

#[test]
fn only_init_containers_have_privileges() {
    let pods = [base(), pods().pop().unwrap()];
    for pod in &pods {
        for container in list(&pod["initContainers"]) {
            assert_eq!(container["securityContext"]["privileged"], true);
            let command = list(&container["command"]);
            assert_eq!(command.last().unwrap(), "--init-only");
        }
        for container in list(&pod["containers"]) {
            let context = &container["securityContext"];
            assert_eq!(context["privileged"], Value::Null);
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}));
            assert_eq!(
                (&context["readOnlyRootFilesystem"], &context["runAsUser"]),
                (&json!(true), &json!(0))
            );
        }
    }
}

#[test]
fn kubeadms_patch_changes_the_image_and_nothing_else() {
    let mut pod = patched(kubeadms(), &["kubeadm/kubeproxydaemonset+strategic.yaml"]);
    pod["containers"][0]["image"] = kubeadms()["containers"][0]["image"].clone();
    assert_eq!(pod, kubeadms());
}

/// The default name that `cargo xtask image` uses.
#[test]
fn all_manifests_use_the_image_of_this_version() {
    let name = "localhost/weir";
    let kustomization = document("base/kustomization.yaml");
    let tag = env!("CARGO_PKG_VERSION");
    assert_eq!(kustomization["images"], json!([{"name": "weir", "newName": name, "newTag": tag}]));
    for pod in pods() {
        for container in containers(&pod) {
            let image = container["image"].as_str().unwrap();
            assert!(image == "weir" || image == format!("{name}:{tag}"), "{image}");
        }
    }
}

#[test]
fn kustomizations_name_all_files_beside_them() {
    for folder in ["base", "policy", "namespaces"] {
        let kustomization = document(&format!("{folder}/kustomization.yaml"));
        let resources = list(&kustomization["resources"]).iter();
        let patches = list(&kustomization["patches"]).iter().map(|patch| &patch["path"]);
        let files = list(&kustomization["configMapGenerator"]).iter().flat_map(|map| list(&map["files"]));
        let mut named: BTreeSet<String> =
            resources.chain(patches).chain(files).map(|file| file.as_str().unwrap().to_owned()).collect();
        named.insert("kustomization.yaml".to_owned());
        let there: BTreeSet<String> = fs::read_dir(install().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(named, there, "{folder}");
    }
}

#[test]
fn service_accounts_and_selectors_fit() {
    let daemon_set = document("base/daemonset.yaml");
    let labels = &daemon_set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&daemon_set["spec"]["selector"]["matchLabels"], labels);
    let rbac = documents("base/rbac.yaml");
    assert_eq!(rbac[0]["metadata"]["name"], base()["serviceAccountName"]);
    assert_eq!(rbac[1]["subjects"][0]["name"], base()["serviceAccountName"]);
    assert_eq!(rbac[1]["roleRef"]["name"], "system:node-proxier");
    let namespaces = documents("namespaces/rbac.yaml");
    assert_eq!(namespaces[1]["roleRef"]["name"], namespaces[0]["metadata"]["name"]);
    assert_eq!(namespaces[1]["subjects"], rbac[1]["subjects"]);
}

/// A misspelt key would be a warning, and a wrong value an error.
#[test]
fn weir_takes_configuration_and_policy_without_a_remark() {
    let place = |path: &str| install().join(path).to_str().unwrap().to_owned();
    let (config, policy) = (place("base/config.conf"), place("policy/policy.yaml"));
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/demo/manifests");
    let manifests = manifests.to_str().unwrap();
    let common = ["plan", "--manifests", manifests, "--node", "node1", "--config", &config];
    let bare = weir(&common);
    let with_policy = weir(&[&common[..], &["--policy", &policy]].concat());
    for output in [&bare, &with_policy] {
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    assert_eq!(bare.stdout, with_policy.stdout);
}

/// Each alert names its section of the runbook, and each section belongs to an alert.
#[test]
fn each_alert_has_its_section_in_the_runbook() {
    let rules = document("monitoring/rules.yaml");
    let rules = list(&rules["groups"]).iter().flat_map(|group| list(&group["rules"]));
    let mut alerts = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let section = format!("section {name} of host/install/monitoring/RUNBOOK.md in weir's repository");
        assert_eq!(rule["annotations"]["runbook"], section.as_str(), "{name}");
        assert!(rule["labels"]["severity"].is_string(), "{name}");
        assert!(alerts.insert(name.to_owned()), "{name} occurs twice");
    }
    let page = fs::read_to_string(install().join("monitoring/RUNBOOK.md")).unwrap();
    let mut sections = BTreeSet::new();
    for part in page.split("\n## ").skip(1) {
        let name = part.lines().next().unwrap();
        sections.insert(name.to_owned());
        for said in ["**Meaning.**", "**Check.**", "**Fix.**"] {
            assert!(part.contains(said), "{name}: {said}");
        }
    }
    assert_eq!(alerts, sections);
}

/// The dashboard counts the nodes, not their address families, for which the alert holds. promtool tests the alert.
#[test]
fn the_dashboard_counts_the_nodes_that_the_alert_means() {
    let rules = document("monitoring/rules.yaml");
    let rules = list(&rules["groups"]).iter().flat_map(|group| list(&group["rules"]));
    let alert = rules.into_iter().find(|rule| rule["alert"] == "WeirOutOfStep").unwrap();
    let words: Vec<&str> = alert["expr"].as_str().unwrap().split_whitespace().collect();
    let chosen = r#"{job=~"$job",instance=~"$instance"}"#;
    let alert = words.join(" ").replace(r#"{job=~"weir|kube-proxy"}"#, chosen);

    let board = document("monitoring/dashboard.json");
    let panel = list(&board["panels"]).iter().find(|panel| panel["title"] == "Nodes out of step").unwrap();
    let expected = format!("count(group by (instance) ({alert})) or vector(0)");
    assert_eq!(panel["targets"][0]["expr"], expected.as_str());
}
