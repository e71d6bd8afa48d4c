//! Defaults, and what `--write-config-to` writes.

use super::*;
use serde_json::json;
use weir_core::net::Family;

/// What kube-proxy 1.37 writes for an empty file with `mode: ipvs`, according to its types, defaults and conversions;
/// it quotes less.
const WRITTEN: &str = "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: \"0.0.0.0\"
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 10
  contentType: application/vnd.kubernetes.protobuf
  kubeconfig: \"\"
  qps: 5
clusterCIDR: \"\"
configSyncPeriod: 15m0s
conntrack:
  maxPerCore: 32768
  min: 131072
  tcpBeLiberal: false
  tcpCloseWaitTimeout: 1h0m0s
  tcpEstablishedTimeout: 24h0m0s
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: \"\"
  interfaceNamePrefix: \"\"
detectLocalMode: ClusterCIDR
enableProfiling: false
healthzBindAddress: 0.0.0.0:10256
hostnameOverride: \"\"
iptables:
  localhostNodePorts: true
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: \"\"
  strictARP: false
  syncPeriod: 30s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 5s
  format: text
  options:
    json:
      infoBufferSize: \"0\"
    text:
      infoBufferSize: \"0\"
  verbosity: 0
metricsBindAddress: 127.0.0.1:10249
mode: ipvs
nftables:
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: -999
portRange: \"\"
showHiddenMetricsForVersion: \"\"
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: \"\"
  rootHnsEndpointName: \"\"
  sourceVip: \"\"
";

fn file(body: &str) -> Read {
    let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmode: ipvs\n{body}");
    parse(&text, Map::new()).unwrap()
}

fn flags(fields: Value) -> Result<Read, String> {
    let Value::Object(fields) = fields else { panic!("no fields") };
    from_flags(fields).map_err(|error| error.to_string())
}

#[test]
fn what_is_written_has_every_default() {
    assert_eq!(file("").0.to_yaml().unwrap(), WRITTEN);
}

#[test]
fn what_is_written_means_the_same_when_it_is_read() {
    let (configuration, _) = file(
        "ipvs: {scheduler: wlc, excludeCIDRs: [192.0.2.0/24], tcpTimeout: 1.5s, minSyncPeriod: 2s}\n\
         bindAddress: 'fd00::1'\nhostnameOverride: 'yes'\nfeatureGates: {WatchListClient: false}\n\
         conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s}\nnodePortAddresses: [primary]\n\
         logging: {vmodule: [{filePattern: proxier, verbosity: 4}], flushFrequency: 1000000000, verbosity: 2}\n\
         clientConnection: {qps: 2.5}\noomScoreAdj: 0\n",
    );
    let written = configuration.to_yaml().unwrap();
    let (again, problems) = parse(&written, Map::new()).unwrap();
    assert_eq!(problems.len(), 1, "log modules have no effect: {problems:?}");
    assert_eq!(again, configuration, "{written}");
    assert_eq!(again.effective()["conntrack"]["maxPerCore"], json!(0), "an explicit zero is not a default");
    assert_eq!(again.effective()["logging"]["flushFrequency"], json!("1s"));
}

#[test]
fn servers_listen_in_the_family_of_the_bind_address() {
    let addresses = |body: &str| {
        let configuration = file(body).0;
        (configuration.healthz_bind_address(), configuration.metrics_bind_address())
    };
    let pair = |a: &str, b: &str| (a.parse().ok(), b.parse().ok());
    assert_eq!(addresses("bindAddress: '::'"), pair("[::]:10256", "[::1]:10249"));
    assert_eq!(
        addresses("healthzBindAddress: '::1'\nmetricsBindAddress: 10.0.0.1"),
        pair("[::1]:10256", "10.0.0.1:10249")
    );
    assert_eq!(
        addresses("healthzBindAddress: ''\nmetricsBindAddress: 0.0.0.0:9"),
        pair("0.0.0.0:10256", "0.0.0.0:9")
    );
    let by_flag = flags(json!({"bindAddress": "::"})).unwrap().0;
    assert_eq!(
        by_flag.healthz_bind_address(),
        "0.0.0.0:10256".parse().ok(),
        "a flag does not change the others"
    );
}

#[test]
fn flags_mean_their_zeros() {
    let (configuration, problems) = flags(json!({})).unwrap();
    assert_eq!(problems, []);
    assert_eq!(configuration.proxy_config().min_sync_period, Duration::from_secs(1));
    let told = flags(json!({
        "ipvs": {"syncPeriod": "0s", "minSyncPeriod": "0s"}, "configSyncPeriod": "0s", "bindAddress": "",
        "showHiddenMetricsForVersion": "1.35", "logging": {"format": "xml", "flushFrequency": "0s"},
    }))
    .unwrap_err();
    for expected in [
        "ipvs.syncPeriod: `0s`: must be greater than 0",
        "configSyncPeriod: `0s`: must be greater than 0",
        "bindAddress: must be an IP address",
        "showHiddenMetricsForVersion: `1.35`: must be `1.36`",
        "logging.format: `xml`: must be text or json",
        "logging.flushFrequency: `0s`: must be greater than 0",
    ] {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
    let off = flags(json!({"healthzBindAddress": "", "metricsBindAddress": ""})).unwrap().0;
    assert_eq!((off.healthz_bind_address(), off.metrics_bind_address()), (None, None));
    assert!(flags(json!({"mode": "nftables"})).unwrap_err().contains("set `mode: ipvs`"));
}

#[test]
fn what_is_laid_over_a_file_holds_and_log_modules_are_joined() {
    let text = format!(
        "apiVersion: {API_VERSION}\nkind: {KIND}\nmode: ipvs\nhostnameOverride: a\n\
         logging: {{verbosity: 1, format: text, vmodule: [{{filePattern: x, verbosity: 1}}]}}\n"
    );
    let over = json!({
        "hostnameOverride": "b",
        "logging": {"verbosity": 5, "vmodule": [{"filePattern": "y", "verbosity": 2}]},
    });
    let Value::Object(over) = over else { unreachable!() };
    let (configuration, _) = parse(&text, over).unwrap();
    assert_eq!(configuration.hostname_override(), Some("b"));
    assert_eq!(configuration.logging(), Logging { format: LogFormat::Text, verbosity: 5 });
    let modules = &configuration.effective()["logging"]["vmodule"];
    assert_eq!(modules[0]["filePattern"], json!("y"));
    assert_eq!(modules[1]["filePattern"], json!("x"));
}

#[test]
fn fields_without_effect_are_named_once_unless_they_say_nothing() {
    let told = |body| file(body).1.iter().map(|problem| problem.to_string()).collect::<Vec<_>>();
    assert_eq!(
        told(
            "iptables: {localhostNodePorts: false, syncPeriod: 10s}\nnftables: {masqueradeAll: true}\n\
             portRange: 1-2\nwindowsRunAsService: true\nwinkernel: {networkName: n}\n"
        ),
        ["fields without effect in weir: iptables.localhostNodePorts (false), iptables.syncPeriod (10s), \
             nftables.masqueradeAll (true), winkernel.networkName (n), windowsRunAsService (true), portRange (1-2)"]
    );
    let defaults = "iptables: {localhostNodePorts: true, syncPeriod: 30s, minSyncPeriod: 1000ms}\n\
                    nftables: {masqueradeBit: 14, syncPeriod: 0s}\nportRange: ''\n";
    assert_eq!(told(defaults), [""; 0]);
}

#[test]
fn what_depends_on_the_families_of_the_node_is_reported() {
    let (configuration, _) = file(
        "clusterCIDR: fd00::/64\nmetricsBindAddress: '[::1]:1'\nhealthzBindAddress: '[::]:2'\n\
         ipvs: {excludeCIDRs: [fd00::/8, 10.0.0.0/8]}\n",
    );
    let told = |families: &[Family]| {
        let both = [configuration.warnings_for(families), configuration.errors_for(families)];
        both.map(|problems| problems.iter().map(|problem| problem.field.clone()).collect::<Vec<_>>())
    };
    assert_eq!(told(&Family::BOTH), [vec!["nodePortAddresses"], vec![]]);
    assert_eq!(
        told(&[Family::V4]),
        [vec!["nodePortAddresses", "metricsBindAddress", "ipvs.excludeCIDRs"], vec!["clusterCIDR"]]
    );
    assert_eq!(told(&[Family::V6]), [vec!["nodePortAddresses", "ipvs.excludeCIDRs"], vec![]]);
}

#[test]
fn what_the_daemon_needs_is_read() {
    let (configuration, _) = file(
        "conntrack: {maxPerCore: 1, min: 2, tcpEstablishedTimeout: 3s, tcpCloseWaitTimeout: 4s, tcpBeLiberal: true, \
         udpTimeout: 5s, udpStreamTimeout: 6s}\n\
         clientConnection: {kubeconfig: /k, acceptContentTypes: a, contentType: c, qps: 7.5, burst: 8}\n\
         logging: {format: json, verbosity: 9}\noomScoreAdj: -10\nbindAddressHardFail: true\nenableProfiling: true\n\
         showHiddenMetricsForVersion: '1.36'\nconfigSyncPeriod: 11m\nfeatureGates: {ComponentFlagz: false}\n",
    );
    let seconds = Duration::from_secs;
    let conntrack = Conntrack {
        max_per_core: 1,
        min: 2,
        tcp_established_timeout: seconds(3),
        tcp_close_wait_timeout: seconds(4),
        tcp_be_liberal: true,
        udp_timeout: seconds(5),
        udp_stream_timeout: seconds(6),
    };
    assert_eq!(configuration.conntrack(), conntrack);
    let client = ClientConnection {
        kubeconfig: "/k".to_owned(),
        accept_content_types: "a".to_owned(),
        content_type: "c".to_owned(),
        qps: 7.5,
        burst: 8,
    };
    assert_eq!(configuration.client_connection(), client);
    assert_eq!(configuration.logging(), Logging { format: LogFormat::Json, verbosity: 9 });
    assert_eq!(configuration.oom_score_adj(), -10);
    assert!(configuration.bind_address_hard_fail() && configuration.enable_profiling());
    assert!(configuration.show_hidden_metrics());
    assert_eq!(configuration.config_sync_period(), seconds(660));
    assert_eq!(configuration.get("featureGates").unwrap()["ComponentFlagz"], false);
}
