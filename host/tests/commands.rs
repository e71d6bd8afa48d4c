//! The plugin commands, run as a user would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use weir_harness::components::component;

const ANNOTATIONS: &str = "weir-plugin-annotations";

/// A Service that requests `wlc` with persistence, and one that requests nothing.
const MANIFESTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, annotations: {policy.weir/scheduler: wlc}}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop}
spec: {clusterIP: 10.96.0.11, clusterIPs: [10.96.0.11], ports: [{port: 80}]}
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("objects.yaml", MANIFESTS);
        folder.write("interfaces.json", r#"[{"name": "eth0", "addresses": ["10.0.2.15/24"]}]"#);
        folder.policy(&component(ANNOTATIONS), "null");
        folder
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn policy(&self, component: &Path, configuration: &str) -> PathBuf {
        let source = component.display();
        self.write(
            "policy.yaml",
            &format!(
                "apiVersion: policy.weir/v1alpha1\nkind: PolicyConfiguration\nplugins:\n- name: wishes\n  \
                 source: {source}\n  configuration: {configuration}\n  \
                 limits: {{callTimeout: 5s, syncBudget: 10s}}\n"
            ),
        )
    }

    fn weir(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.current_dir(self.0.path()).args(arguments).output().unwrap()
    }

    /// Runs a command on the objects of the folder.
    fn about(&self, arguments: &[&str]) -> Output {
        let input = ["--manifests", "objects.yaml", "--node", "node1", "--interfaces", "interfaces.json"];
        self.weir(&[arguments, &input].concat())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The error output of a command with this exit status.
#[track_caller]
fn bad(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    text(&output.stderr) + &text(&output.stdout)
}

#[test]
fn what_was_recorded_is_answered_the_same_again_and_otherwise_by_another_plugin() {
    let folder = Folder::new();
    let records = good(&folder.about(&["record", "--policy", "policy.yaml"]));
    let parsed: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let services: Vec<_> = parsed.iter().map(|record| record["service"]["name"].as_str().unwrap()).collect();
    assert!(services.contains(&"web") && services.contains(&"plain"), "{services:?}");
    folder.write("records", &records);
    let again = folder.weir(&["replay", "records", "--policy", "policy.yaml"]);
    assert_eq!(good(&again), "");
    assert!(text(&again.stderr).starts_with(&format!("{} answers are the same, 0", parsed.len())));
    let identity = component("weir-guest-identity");
    let said = bad(&folder.weir(&["replay", "records", "--component", identity.to_str().unwrap()]), 1);
    assert!(said.contains("differs shop/web wishes scheduler") && said.contains("\"wlc\""), "{said}");
    assert!(!said.contains("shop/plain wishes scheduler"), "{said}");
    assert_eq!(
        said.matches("records of plugin wishes were made with component sha256:").count(),
        1,
        "{said}"
    );
    let all = ["replay", "records", "--component", identity.to_str().unwrap(), "--output", "json"];
    let said = folder.weir(&all);
    assert_eq!(said.status.code(), Some(1));
    let lines: Vec<serde_json::Value> =
        text(&said.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let same = |wanted: bool| lines.iter().filter(|line| line["same"] == wanted).count();
    assert!(same(true) > 0 && same(false) > 0, "{lines:?}");
    assert!(lines.iter().any(|line| line["service"] == "shop/web" && line["before"] != line["answer"]));
    let run = ["plugin", "run", identity.to_str().unwrap(), "--records", "records"];
    let said = good(&folder.weir(&run));
    assert!(said.contains("shop/web scheduler: {"), "{said}");
    let said = good(&folder.weir(&[&run[..], &["--output", "json"]].concat()));
    assert!(said.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{said}");
    let said = bad(&folder.weir(&["replay", "records"]), 2);
    assert!(said.contains("--component") && said.contains("--policy"), "{said}");
}

#[test]
fn explain_reports_the_way_from_the_question_to_the_kernel() {
    let folder = Folder::new();
    let told = good(&folder.about(&["explain", "shop/web", "--policy", "policy.yaml"]));
    assert!(told.contains("wishes scheduler"), "{told}");
    assert!(told.contains("virtual tcp 10.96.0.10:80 wlc"), "{told}");
    let json = good(&folder.about(&["explain", "shop/web", "--policy", "policy.yaml", "-o", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["asked"][0]["service"]["name"], "web", "{json}");
    let said = bad(&folder.about(&["explain", "shop/wep", "--policy", "policy.yaml"]), 2);
    assert!(said.contains("service shop/wep not found"), "{said}");
}

#[test]
fn shadow_changes_nothing_and_says_what_it_would() {
    let folder = Folder::new();
    let without = folder.about(&["plan"]);
    let shadow = folder.about(&["plan", "--policy", "policy.yaml", "--shadow", "wishes"]);
    assert_eq!(good(&shadow), good(&without));
    assert!(
        text(&shadow.stderr).contains("plugin wishes (shadow mode, not applied), scheduler"),
        "{}",
        text(&shadow.stderr)
    );
    assert_ne!(good(&folder.about(&["plan", "--policy", "policy.yaml"])), good(&without));
}

#[test]
fn a_plugin_that_is_to_be_watched_and_is_not_in_the_file_is_an_error() {
    let folder = Folder::new();
    for command in [&["plan"][..], &["record"], &["explain", "shop/web"]] {
        let said =
            bad(&folder.about(&[command, &["--policy", "policy.yaml", "--shadow", "zzz"]].concat()), 2);
        assert!(said.contains("--shadow zzz") && said.contains("its plugins: wishes"), "{said}");
    }
}

#[test]
fn what_someone_typed_reaches_no_terminal_raw() {
    let folder = Folder::new();
    let said = bad(&folder.about(&["plan", "--policy", "gone\u{1b}[31m\n.yaml"]), 2);
    assert!(said.contains(r"gone\u{1b}[31m") && !said.contains('\u{1b}'), "{said:?}");
    folder.write(
        "policy.yaml",
        "apiVersion: policy.weir/v1alpha1\nkind: PolicyConfiguration\nplugins:\n\
         - {name: \"a\\e[31m\", source: x, failurePolicy: \"\\e\"}\n",
    );
    let said = bad(&folder.about(&["plan", "--policy", "policy.yaml"]), 1);
    assert!(said.contains(r"`a\u{1b}[31m`") && !said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn what_a_plugin_writes_before_it_gives_up_is_shown() {
    let folder = Folder::new();
    folder.policy(&component("weir-guest-hostile"), "panic");
    let said = bad(&folder.about(&["explain", "shop/web", "--policy", "policy.yaml"]), 1);
    assert!(said.contains("plugin wishes: warn: on purpose"), "{said}");
    assert_eq!(said.matches("on purpose").count(), 1, "{said}");
    assert!(said.contains("PolicyFailed"), "{said}");
}

#[test]
fn there_is_nothing_to_record_without_plugins() {
    let folder = Folder::new();
    let said = bad(&folder.about(&["record"]), 2);
    assert!(said.contains("--policy <FILE>"), "{said}");
}

#[test]
fn a_plugin_can_be_checked_looked_at_asked_and_measured() {
    let folder = Folder::new();
    let file = component(ANNOTATIONS);
    let file = file.to_str().unwrap();
    assert!(
        good(&folder.weir(&["plugin", "check", file]))
            .contains("accepted, for filter, scheduler, masquerade")
    );
    let facts = good(&folder.weir(&["plugin", "inspect", file, "-o", "json"]));
    let facts: Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(facts["name"], "annotations");
    assert!(facts["digest"].as_str().unwrap().starts_with("sha256:"));
    let asked = good(&folder.about(&["plugin", "run", file]));
    assert!(asked.contains("shop/web\n  scheduler: port 80/tcp: scheduler wlc"), "{asked}");
    assert!(asked.contains("shop/plain\n  no change\n"), "{asked}");
    // A plugin that needs the time, and one that does not.
    for package in ["weir-plugin-slow-start", ANNOTATIONS] {
        let file = component(package);
        let measured = good(&folder.weir(&["plugin", "bench", file.to_str().unwrap(), "-o", "json"]));
        let measured: Value = serde_json::from_str(&measured).unwrap();
        let rows = measured["times"].as_array().unwrap();
        assert!(
            rows.iter().any(|row| row["what"] == "scheduler: 256 services of 10 endpoints"),
            "{measured}"
        );
        assert!(
            rows.iter().any(|row| row["what"] == "records of 256 services of 100 endpoints"),
            "{measured}"
        );
        assert!(measured["memory"].as_u64().unwrap() >= 65536);
    }
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() {
    let folder = Folder::new();
    let text = folder.write("text.wasm", "hello");
    let said = bad(&folder.weir(&["plugin", "check", text.to_str().unwrap()]), 1);
    assert!(said.contains("text.wasm is not a component: it is a text"), "{said}");
    let file = component(ANNOTATIONS);
    let file = file.to_str().unwrap();
    let said = bad(&folder.weir(&["plugin", "check", file, "--configuration", "{odd: 1}"]), 1);
    assert!(said.contains("rejects its configuration") && said.contains("odd"), "{said}");
    let said = bad(&folder.weir(&["plugin", "check", "missing.wasm"]), 1);
    assert!(said.contains("cannot read") && said.contains("missing.wasm"), "{said}");
    let said = bad(&folder.weir(&["plugin", "check", file, "--memory", "9Gi"]), 2);
    assert!(said.contains("--memory: `9Gi`: must be"), "{said}");
    let said = bad(&folder.about(&["plan", "--policy", file]), 2);
    assert!(said.contains("is a WebAssembly file"), "{said}");
    let given = folder.write("given.yaml", "{a: [");
    let given = format!("@{}", given.display());
    let said = bad(&folder.weir(&["plugin", "check", file, "--configuration", &given]), 2);
    assert!(said.contains(&format!("--configuration {given}: ")), "{said}");
}

#[test]
fn a_file_may_be_called_anything_and_a_pipe_is_not_waited_for() {
    use std::os::unix::ffi::OsStringExt;
    let folder = Folder::new();
    let odd = folder.0.path().join(std::ffi::OsString::from_vec(b"x\xff.wasm".to_vec()));
    fs::copy(component(ANNOTATIONS), &odd).unwrap();
    let check = |path: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["plugin", "check"]).arg(path).output().unwrap()
    };
    assert!(good(&check(&odd)).contains("accepted"));
    fs::write(&odd, "text").unwrap();
    assert!(bad(&check(&odd), 1).contains("is not a component"));
    let pipe = folder.0.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(bad(&check(&pipe), 1).contains("not a regular file"));
    let given = format!("@{}", pipe.display());
    let file = component(ANNOTATIONS);
    let arguments = ["plugin", "check", file.to_str().unwrap(), "--configuration", &given];
    assert!(bad(&folder.weir(&arguments), 2).contains("not a regular file"));
    folder.policy(&pipe, "null");
    assert!(bad(&folder.about(&["plan", "--policy", "policy.yaml"]), 1).contains("not a regular file"));
}

#[test]
fn a_folder_without_services_is_reported() {
    let folder = Folder::new();
    fs::create_dir(folder.0.path().join("empty")).unwrap();
    let file = component(ANNOTATIONS);
    let input = ["--manifests", "empty", "--node", "node1", "--interfaces", "interfaces.json"];
    let run = [&["plugin", "run", file.to_str().unwrap()][..], &input].concat();
    assert!(bad(&folder.weir(&run), 1).contains("contains no service that this node handles"));
}

#[test]
fn records_are_reported_by_line_and_column_and_an_empty_file_is_none() {
    let folder = Folder::new();
    let replay = |text: &str| {
        folder.write("records", text);
        folder.weir(&["replay", "records", "--policy", "policy.yaml"])
    };
    assert!(bad(&replay("\n \n"), 2).contains("contains no records"));
    let said = bad(&replay("\n{}\n"), 2);
    assert!(
        said.contains("records, line 2: column 2: ") && said.contains("this line is not a record"),
        "{said}"
    );
}

#[test]
fn a_new_plugin_has_a_good_name_and_takes_no_ones_place() {
    let folder = Folder::new();
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-sdk");
    let new = |name: &str| folder.weir(&["plugin", "new", name, "--sdk", sdk]);
    let next = good(&new("mine"));
    assert!(next.contains("weir plugin check") && next.contains("--configuration '{annotation"), "{next}");
    let manifests = folder.0.path().join("mine/manifests");
    let planned = folder.weir(&["plan", "--manifests", manifests.to_str().unwrap(), "--node", "node1"]);
    assert!(good(&planned).contains("10.96.0.10:80"));
    assert!(folder.0.path().join("mine/src/lib.rs").exists());
    assert!(bad(&new("mine"), 2).contains("already exists"));
    for name in ["Mine", "../mine", "1st", "", "serde", "mine-"] {
        assert!(bad(&new(name), 2).contains("not a valid plugin name"), "{name}");
    }
    assert!(bad(&folder.weir(&["plugin", "new", "other", "--sdk", "."]), 2).contains("no Cargo.toml"));
    let host = env!("CARGO_MANIFEST_DIR");
    assert!(bad(&folder.weir(&["plugin", "new", "other", "--sdk", host]), 2).contains("weir-plugin-sdk"));
}

#[test]
fn one_bad_plugin_is_named_and_the_plan_is_made_without_it() {
    let folder = Folder::new();
    folder.policy(Path::new("gone.wasm"), "null");
    let plan = folder.about(&["plan", "--policy", "policy.yaml"]);
    assert_eq!(plan.status.code(), Some(1));
    assert_eq!(text(&plan.stdout), good(&folder.about(&["plan"])));
    let said = text(&plan.stderr);
    assert!(said.contains("plugin wishes is not used: cannot read") && said.contains("gone.wasm"), "{said}");
    let said = bad(&folder.about(&["explain", "shop/web", "--policy", "policy.yaml"]), 1);
    assert!(
        said.contains("  wishes is not used: ") && said.contains("no other plugin decided anything"),
        "{said}"
    );
    bad(&folder.about(&["record", "--policy", "policy.yaml"]), 1);
    let trace = ["trace", "--policy", "policy.yaml", "--from", "host", "--to", "10.96.0.10:80"];
    bad(&folder.about(&trace), 1);
    folder.write("policy.yaml", "kind: Deployment\n");
    let said = bad(&folder.about(&["plan", "--policy", "policy.yaml"]), 2);
    assert!(said.contains("--policy policy.yaml") && said.contains("PolicyConfiguration"), "{said}");
}
