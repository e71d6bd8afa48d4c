//! Every flag of kube-proxy 1.37.2 that its `--help` lists (parity list §9.1): accepted, and with which effect.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use What::{Field, Special, WithoutEffect};

/// The effect of a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// It sets a field to this value, as written by `--write-config-to`.
    Field(&'static str, &'static str),
    /// The same, with one line saying that the field has no effect.
    WithoutEffect(&'static str, &'static str),
    /// It sets no field; the test for it is named.
    Special(&'static str),
}

/// Each flag with a value other than its default; no value for booleans given without one.
#[rustfmt::skip]
const FLAGS: &[(&str, &str, What)] = &[
    ("--config", "FILE", Special("a_file_beats_flags_but_for_some")),
    ("--write-config-to", "FILE", Special("a_file_beats_flags_but_for_some")),
    ("--cleanup", "", Special("guest_recordings: run_cleanup_is_cleanup")),
    ("--init-only", "", Special("guest_recordings: initialised_once_two_capabilities_are_enough")),
    ("--version", "", Special("the_version_is_printed_under_both_names")),
    ("--master", "https://192.0.2.1:6443", Special("without_manifests_the_api_server_is_named")),
    ("--proxy-mode", "ipvs", Field("mode", "ipvs")),
    ("--kubeconfig", "/etc/k", Field("clientConnection.kubeconfig", "/etc/k")),
    ("--kube-api-content-type", "application/json", Field("clientConnection.contentType", "application/json")),
    ("--kube-api-qps", "2.5", Field("clientConnection.qps", "2.5")),
    ("--kube-api-burst", "7", Field("clientConnection.burst", "7")),
    ("--hostname-override", " Node-7 ", Field("hostnameOverride", "node-7")),
    ("--bind-address", "10.0.0.7", Field("bindAddress", "10.0.0.7")),
    ("--healthz-bind-address", "127.0.0.1", Field("healthzBindAddress", "127.0.0.1:10256")),
    ("--metrics-bind-address", "[::]:9", Field("metricsBindAddress", "[::]:9")),
    ("--healthz-port", "0", Field("healthzBindAddress", "")),
    ("--metrics-port", "0", Field("metricsBindAddress", "")),
    ("--bind-address-hard-fail", "", Field("bindAddressHardFail", "true")),
    ("--profiling", "", Field("enableProfiling", "true")),
    ("--show-hidden-metrics-for-version", "1.36", Field("showHiddenMetricsForVersion", "1.36")),
    ("--feature-gates", "WatchListClient=false", Field("featureGates.WatchListClient", "false")),
    ("--iptables-masquerade-bit", "20", Field("iptables.masqueradeBit", "20")),
    ("--masquerade-all", "", Field("iptables.masqueradeAll", "true")),
    ("--iptables-localhost-nodeports", "=false", WithoutEffect("iptables.localhostNodePorts", "false")),
    ("--iptables-sync-period", "7s", WithoutEffect("iptables.syncPeriod", "0s")),
    ("--iptables-min-sync-period", "7s", WithoutEffect("iptables.minSyncPeriod", "0s")),
    ("--ipvs-sync-period", "7s", Field("ipvs.syncPeriod", "7s")),
    ("--ipvs-min-sync-period", "7s", Field("ipvs.minSyncPeriod", "7s")),
    ("--ipvs-scheduler", "wlc", Field("ipvs.scheduler", "wlc")),
    ("--ipvs-exclude-cidrs", "10.0.0.0/8,fd00::/8", Field("ipvs.excludeCIDRs", "[10.0.0.0/8,fd00::/8]")),
    ("--ipvs-strict-arp", "", Field("ipvs.strictARP", "true")),
    ("--ipvs-tcp-timeout", "900s", Field("ipvs.tcpTimeout", "15m0s")),
    ("--ipvs-tcpfin-timeout", "1m30s", Field("ipvs.tcpFinTimeout", "1m30s")),
    ("--ipvs-udp-timeout", "7s", Field("ipvs.udpTimeout", "7s")),
    ("--detect-local-mode", "NodeCIDR", Field("detectLocalMode", "NodeCIDR")),
    ("--cluster-cidr", "10.0.0.0/8,fd00::/8", Field("clusterCIDR", "10.0.0.0/8,fd00::/8")),
    ("--pod-bridge-interface", "cni0", Field("detectLocal.bridgeInterface", "cni0")),
    ("--pod-interface-name-prefix", "veth", Field("detectLocal.interfaceNamePrefix", "veth")),
    ("--nodeport-addresses", "primary", Field("nodePortAddresses", "[primary]")),
    ("--oom-score-adj", "-7", Field("oomScoreAdj", "-7")),
    ("--conntrack-max-per-core", "0", Field("conntrack.maxPerCore", "0")),
    ("--conntrack-min", "7", Field("conntrack.min", "7")),
    ("--conntrack-tcp-timeout-established", "0", Field("conntrack.tcpEstablishedTimeout", "0s")),
    ("--conntrack-tcp-timeout-close-wait", "7s", Field("conntrack.tcpCloseWaitTimeout", "7s")),
    ("--conntrack-tcp-be-liberal", "", Field("conntrack.tcpBeLiberal", "true")),
    ("--conntrack-udp-timeout", "7s", Field("conntrack.udpTimeout", "7s")),
    ("--conntrack-udp-timeout-stream", "7s", Field("conntrack.udpStreamTimeout", "7s")),
    ("--config-sync-period", "7m", Field("configSyncPeriod", "7m0s")),
    ("--logging-format", "json", Field("logging.format", "json")),
    ("--v", "2", Field("logging.verbosity", "2")),
    ("-v", "2", Field("logging.verbosity", "2")),
    ("--vmodule", "proxier=4", WithoutEffect("logging.vmodule", "[{\"filePattern\":\"proxier\",\"verbosity\":4}]")),
    ("--log-flush-frequency", "7s", WithoutEffect("logging.flushFrequency", "7s")),
    ("--log-text-split-stream", "", WithoutEffect("logging.options.text.splitStream", "true")),
    ("--log-text-info-buffer-size", "512Ki", WithoutEffect("logging.options.text.infoBufferSize", "512Ki")),
    ("--log-json-split-stream", "", WithoutEffect("logging.options.json.splitStream", "true")),
    ("--log-json-info-buffer-size", "512Ki", WithoutEffect("logging.options.json.infoBufferSize", "512Ki")),
];

fn weir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The effective configuration by field path, and the messages.
fn effective(arguments: &[&str]) -> (BTreeMap<String, String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.yaml");
    let mut all = arguments.to_vec();
    all.extend(["--write-config-to", file.to_str().unwrap()]);
    let output = weir(&all);
    assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
    let value = weir_k8s::parse_value(&fs::read_to_string(file).unwrap()).unwrap();
    let mut fields = BTreeMap::new();
    flatten("", &value, &mut fields);
    (fields, errors(&output))
}

fn flatten(path: &str, value: &serde_json::Value, fields: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(inner) => {
            for (key, value) in inner {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, fields);
            }
        }
        serde_json::Value::String(text) => drop(fields.insert(path.to_owned(), text.clone())),
        serde_json::Value::Array(list) if list.iter().all(serde_json::Value::is_string) => {
            let texts: Vec<&str> = list.iter().filter_map(serde_json::Value::as_str).collect();
            fields.insert(path.to_owned(), format!("[{}]", texts.join(",")));
        }
        other => drop(fields.insert(path.to_owned(), other.to_string())),
    }
}

/// A flag and its value as typed.
fn typed(flag: &str, value: &str, apart: bool) -> Vec<String> {
    match value.strip_prefix('=').unwrap_or(value) {
        "" => vec![flag.to_owned()],
        value if apart && !flag.is_empty() && !flag.contains("nodeports") => {
            vec![flag.to_owned(), value.to_owned()]
        }
        value => vec![format!("{flag}={value}")],
    }
}

#[test]
fn every_flag_is_taken_in_every_spelling_and_sets_its_field() {
    let (defaults, said) = effective(&[]);
    assert_eq!(
        said.lines().count(),
        1,
        "without flags, the only message is that the file was written: {said}"
    );
    for (flag, value, what) in FLAGS {
        let (field, expected) = match what {
            Field(field, expected) | WithoutEffect(field, expected) => (*field, *expected),
            Special(_) => continue,
        };
        let with_underscores = flag.replacen("--", "\0", 1).replace('-', "_").replacen('\0', "--", 1);
        let name = if *flag == "-v" { "-v" } else { with_underscores.as_str() };
        let mut told = String::new();
        for line in [typed(flag, value, false), typed(flag, value, true), typed(name, value, false)] {
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            let (fields, said) = effective(&line);
            assert_eq!(fields.get(field).map(String::as_str), Some(expected), "{line:?}");
            let others = fields.iter().filter(|(path, value)| defaults.get(*path) != Some(value));
            let others: Vec<_> = others.filter(|(path, _)| *path != field).collect();
            assert!(others.is_empty(), "{line:?} also changes {others:?}");
            told = said;
        }
        let without = told.matches("without effect").count();
        assert_eq!(without, usize::from(matches!(what, WithoutEffect(..))), "{flag}: {told}");
    }
}

#[test]
fn defaults_are_those_of_kube_proxy() {
    let (defaults, _) = effective(&[]);
    for (field, value) in [
        ("mode", "ipvs"),
        ("ipvs.syncPeriod", "30s"),
        ("ipvs.minSyncPeriod", "1s"),
        ("healthzBindAddress", "0.0.0.0:10256"),
        ("metricsBindAddress", "127.0.0.1:10249"),
        ("conntrack.maxPerCore", "32768"),
        ("conntrack.min", "131072"),
        ("conntrack.tcpEstablishedTimeout", "24h0m0s"),
        ("conntrack.tcpCloseWaitTimeout", "1h0m0s"),
        ("oomScoreAdj", "-999"),
        ("configSyncPeriod", "15m0s"),
        ("clientConnection.qps", "5"),
        ("detectLocalMode", "ClusterCIDR"),
    ] {
        assert_eq!(defaults.get(field).map(String::as_str), Some(value), "{field}");
    }
}

const FILE: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n";

fn in_file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.conf");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

#[test]
fn a_file_beats_flags_but_for_some() {
    let (_folder, file) = in_file(&format!(
        "{FILE}hostnameOverride: a\nlogging: {{verbosity: 1}}\nipvs: {{scheduler: lc}}\nconntrack: {{min: 5}}\n"
    ));
    let config = format!("--config={file}");
    let (fields, said) = effective(&[
        &config,
        "--ipvs-scheduler=wrr",
        "--conntrack-min=6",
        "--hostname-override=B",
        "-v=3",
        "--logging-format=json",
    ]);
    let get = |field: &str| fields[field].as_str();
    assert_eq!((get("ipvs.scheduler"), get("conntrack.min"), get("ipvs.minSyncPeriod")), ("lc", "5", "0s"));
    assert_eq!(
        (get("hostnameOverride"), get("logging.verbosity"), get("logging.format")),
        ("b", "3", "json")
    );
    assert!(
        said.contains("these flags are ignored, as in kube-proxy: --conntrack-min, --ipvs-scheduler"),
        "{said}"
    );
    assert!(said.lines().all(|line| line.starts_with('{')), "one JSON object per line: {said}");
}

#[test]
fn lists_grow_and_single_values_are_replaced_when_a_flag_is_repeated() {
    let (fields, _) = effective(&[
        "--ipvs-exclude-cidrs=10.0.0.0/8",
        "--ipvs-exclude-cidrs=192.0.2.0/24",
        "--feature-gates=WatchListClient=false",
        "--feature-gates=NativeHistograms=false",
        "--ipvs-scheduler=lc",
        "--ipvs-scheduler=sh",
        "--masquerade-all",
        "--masquerade-all=F",
    ]);
    let get = |field: &str| fields[field].as_str();
    assert_eq!(get("ipvs.excludeCIDRs"), "[10.0.0.0/8,192.0.2.0/24]");
    assert_eq!(
        (get("featureGates.WatchListClient"), get("featureGates.NativeHistograms")),
        ("false", "false")
    );
    assert_eq!((get("ipvs.scheduler"), get("iptables.masqueradeAll")), ("sh", "false"));
}

#[test]
fn what_cannot_be_is_refused_with_the_flag_and_status_1() {
    for (arguments, expected) in [
        (vec!["--proxy-mode=iptables"], "--proxy-mode: `iptables`: weir supports only IPVS"),
        (vec!["--proxy-mode", "nftables"], "keep running kube-proxy on this node"),
        (vec!["--feature-gates=KubeProxyIPVS=false"], "forbids IPVS mode"),
        (vec!["--feature-gates=NFTablesProxyMode=false"], "is locked to true"),
        (vec!["--feature-gates=X"], "expected GATE=true or GATE=false"),
        (vec!["--ipvs-sync-period=0"], "--ipvs-sync-period: `0s`: must be greater than 0"),
        (vec!["--ipvs-sync-period=5"], "a duration such as 30s"),
        (vec!["--conntrack-min=-1"], "--conntrack-min: `-1`: must be a whole number from 0"),
        (vec!["--conntrack-min=1.5"], "expected a whole number"),
        (vec!["--ipvs-exclude-cidrs=10.0.0.0"], "--ipvs-exclude-cidrs: `10.0.0.0`: must be a network"),
        (vec!["--hostname-override= "], "the name is blank"),
        (vec!["--masquerade-all", "true"], "unexpected argument 'true'"),
        (vec!["--masquerade-all=yes"], "expected true or false"),
        (vec!["-proxy-mode=ipvs"], "unexpected argument"),
        (vec!["--no-such-flag"], "unexpected argument"),
        (vec!["run", "positional"], "unexpected argument 'positional'"),
        (vec!["--config=/nonexistent"], "--config /nonexistent: cannot be read: No such file"),
    ] {
        let output = weir(&arguments);
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn the_version_is_printed_under_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let kube_proxy = folder.path().join("kube-proxy");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weir"), &kube_proxy).unwrap();
    // Releases are built with the commit.
    let commit = option_env!("WEIR_COMMIT").map(|commit| format!("+{}", &commit[..12])).unwrap_or_default();
    let expected = format!("weir {}{commit} (kube-proxy v1.37.2 compatible)\n", env!("CARGO_PKG_VERSION"));
    for (program, arguments) in [
        (kube_proxy.as_path(), vec!["--version"]),
        (Path::new(env!("CARGO_BIN_EXE_weir")), vec!["--version"]),
        (Path::new(env!("CARGO_BIN_EXE_weir")), vec!["run", "--version=raw"]),
        (kube_proxy.as_path(), vec!["--config=/nonexistent", "--version=true"]),
    ] {
        let output = Command::new(program).args(&arguments).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{arguments:?}");
    }
    let refused = Command::new(&kube_proxy).arg("plan").output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "kube-proxy has no subcommands");
}

#[test]
fn without_manifests_the_api_server_is_named() {
    let (_folder, file) = in_file(FILE);
    for (arguments, expected) in [
        (vec!["--config", &file], "the API server of the pod's cluster"),
        (vec!["--kubeconfig=/etc/k"], "the API server named in /etc/k"),
        (vec!["--config", &file, "--master=ftp://192.0.2.1"], "the API server at ftp://192.0.2.1"),
    ] {
        let output = weir(&arguments);
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected) && said.contains("give --manifests"), "{said}");
    }
    let said = errors(&weir(&["--logging-format=json"]));
    assert!(
        said.lines().all(|line| line.starts_with('{')),
        "one JSON object per line, including the last one: {said}"
    );
}

#[test]
fn a_command_line_of_kube_proxy_can_be_tried_on_a_plan() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().to_str().unwrap();
    let mut all = vec!["plan".to_owned(), "--manifests".to_owned(), manifests.to_owned()];
    all.push("--master=https://192.0.2.1:6443".to_owned());
    let fields = FLAGS.iter().filter(|(_, _, what)| !matches!(what, Special(_)));
    all.extend(fields.flat_map(|(flag, value, _)| typed(flag, value, false)));
    // `--vmodule` is only valid with this format.
    all.push("--logging-format=text".to_owned());
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(&all).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
}

#[test]
fn a_plan_reports_the_mistakes_of_the_daemon_and_passes_over_its_special_runs() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |more: &[&str]| {
        let mut all = vec!["plan", "--manifests", folder.path().to_str().unwrap(), "--node=n"];
        all.extend(more);
        weir(&all)
    };
    for (wrong, expected) in [
        ("--logging-format=xml", "logging.format: `xml`"),
        ("--ipvs-sync-period=0", "--ipvs-sync-period: `0s`: must be greater than 0"),
        ("--logtostderr=true", "unexpected argument '--logtostderr'"),
    ] {
        let output = plan(&[wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(errors(&output).contains(expected), "{wrong}: {}", errors(&output));
    }
    let written = folder.path().join("written");
    let written_to = format!("--write-config-to={}", written.display());
    let output = plan(&["--init-only", "--cleanup=false", &written_to]);
    assert!(output.status.success(), "{}", errors(&output));
    for flag in ["--init-only", "--write-config-to"] {
        assert!(errors(&output).contains(&format!("{flag} only affects the daemon and is ignored here")));
    }
    assert!(!errors(&output).contains("--cleanup") && !written.exists(), "{}", errors(&output));
    let version = plan(&["--version"]);
    assert!(String::from_utf8_lossy(&version.stdout).contains("kube-proxy v1.37.2 compatible"));
}

/// The user documentation has a row for each flag and each field.
#[test]
fn the_page_names_every_flag_and_field() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/FLAGS.md")).unwrap();
    for (flag, ..) in FLAGS {
        assert!(page.contains(&format!("`{flag}`")), "FLAGS.md has no {flag}");
    }
    let (fields, _) = effective(&[]);
    let rest =
        ["featureGates", "clientConnection.acceptContentTypes", "logging.vmodule", "windowsRunAsService"];
    for field in fields.keys().map(String::as_str).chain(rest) {
        let section = field.rfind('.').map_or("", |end| &field[..end]);
        let sections = ["winkernel", "nftables", "logging.options.text", "logging.options.json"];
        let star = format!("`{}.*`", section.trim_end_matches(".text").trim_end_matches(".json"));
        let named =
            page.contains(&format!("`{field}`")) || (sections.contains(&section) && page.contains(&star));
        assert!(named, "FLAGS.md has no {field}");
    }
}
