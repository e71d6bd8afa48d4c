use super::*;

mod effective;

fn problems(body: &str) -> Vec<String> {
    let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmode: ipvs\n{body}");
    match parse(&text, Map::new()) {
        Ok((_, warnings)) => warnings.iter().map(|p| format!("warning: {p}")).collect(),
        Err(ConfigError::Invalid(errors)) => errors.iter().map(|p| p.to_string()).collect(),
        Err(other) => vec![other.to_string()],
    }
}

fn read(body: &str) -> Configuration {
    let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmode: ipvs\n{body}");
    parse(&text, Map::new()).unwrap().0
}

fn proxy(body: &str) -> ProxyConfig {
    read(body).proxy_config()
}

#[test]
fn an_empty_file_has_the_defaults() {
    assert_eq!(proxy(""), ProxyConfig::default());
    assert_eq!(proxy("ipvs: {syncPeriod: 0s, scheduler: ''}"), ProxyConfig::default());
}

#[test]
fn what_yaml_1_1_and_go_read_is_read() {
    let configuration =
        read("ipvs: {strictARP: yes}\niptables: {masqueradeAll: on, masqueradeBit: 5.0}\noomScoreAdj: 1e2");
    let proxy = configuration.proxy_config();
    assert!(proxy.strict_arp && proxy.masquerade_all);
    assert_eq!(proxy.masquerade_mark(), self::proxy("iptables: {masqueradeBit: 5}").masquerade_mark());
    assert_eq!(configuration.oom_score_adj(), 100);
    assert!(!self::proxy("ipvs: {strictARP: no}").strict_arp);
    assert_eq!(
        problems("---\nkind: KubeletConfiguration\n"),
        ["warning: only the first document of the file is read"]
    );
    assert_eq!(problems("oomScoreAdj: 5.5").len(), 1);
}

#[test]
fn what_kubeadm_writes_is_accepted() {
    let text = r#"
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
"#;
    assert_eq!(problems(text), [""; 0]);
    let config = proxy(text);
    assert_eq!(config.detect_local, DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().unwrap()]));
}

#[test]
fn every_field_that_shapes_plans_is_read() {
    let config = proxy(
        "ipvs: {scheduler: wlc, excludeCIDRs: [192.0.2.0/24], strictARP: true, tcpTimeout: 700s, \
         tcpFinTimeout: 1.5s, udpTimeout: 500ms, syncPeriod: 10s, minSyncPeriod: 2s}\n\
         iptables: {masqueradeAll: true, masqueradeBit: 31}\n\
         nodePortAddresses: [primary, 10.0.0.0/8]\n\
         detectLocalMode: InterfaceNamePrefix\n\
         detectLocal: {interfaceNamePrefix: veth}\n\
         featureGates: {AllowServiceExternalIPs: false}\n",
    );
    let expected = ProxyConfig {
        set_size: weir_core::set::MAX_ELEMENTS,
        scheduler: "wlc".to_owned(),
        exclude_cidrs: vec!["192.0.2.0/24".parse().unwrap()],
        strict_arp: true,
        tcp_timeout: Some(700),
        tcp_fin_timeout: Some(1),
        // Less than a second is rounded down to 0 seconds, which leaves the kernel's value.
        udp_timeout: None,
        masquerade_all: true,
        masquerade_bit: 31,
        detect_local: DetectLocal::InterfaceNamePrefix("veth".to_owned()),
        node_port_addresses: vec![
            NodePortAddress::Primary,
            NodePortAddress::Net("10.0.0.0/8".parse().unwrap()),
        ],
        external_ips: Switch::Off,
        internal_local: InternalLocal::AsUpstream,
        sync_period: Duration::from_secs(10),
        min_sync_period: Duration::from_secs(2),
    };
    assert_eq!(config, expected);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let told = problems(
        "ipvs: {syncPeriod: 5s, minSyncPeriod: 6s, excludeCIDRs: [10.0.0.0], tcpTimeout: -1s, strictARP: 1}\n\
         iptables: {masqueradeBit: 32}\n\
         clusterCIDR: 10.0.0.0/8,10.1.0.0/16\n\
         bindAddress: localhost\n\
         healthzBindAddress: 0.0.0.0:0\n\
         nodePortAddresses: [all, all, eth0]\n\
         oomScoreAdj: -1001\n",
    );
    let expected = [
        "ipvs.strictARP: `1`: expected true or false",
        "ipvs.tcpTimeout: `-1s`: must be greater than or equal to 0",
        "ipvs.minSyncPeriod: `6s`: must not be greater than ipvs.syncPeriod, which is 5s",
        "iptables.masqueradeBit: `32`: must be a whole number from 0 to 31",
        "oomScoreAdj: `-1001`: must be a whole number from -1000 to 1000",
        "bindAddress: `localhost`: must be an IP address such as 10.0.0.1 or fd00::1",
        "healthzBindAddress: `0.0.0.0:0`: must be IP:port, with a port from 1 to 65535",
        "ipvs.excludeCIDRs[0]: `10.0.0.0`: must be a network such as 10.0.0.0/8",
        "nodePortAddresses[1]: `all`: occurs more than once",
        "nodePortAddresses[2]: `eth0`: must be a network such as 10.0.0.0/8, or primary, localhost or all",
        "clusterCIDR: `10.0.0.0/8,10.1.0.0/16`: two networks must be of different families",
    ];
    assert_eq!(told, expected);
}

#[test]
fn unknown_and_repeated_keys_do_no_harm_and_are_reported() {
    assert_eq!(
        problems("ipvs: {sheduler: lc}\nclusterCidr: 10.0.0.0/8\niptables: {}\niptables: {}\n"),
        [
            "warning: iptables: occurs more than once; the last one is used",
            "warning: clusterCidr: unknown key, ignored; did you mean `clusterCIDR`?",
            "warning: ipvs.sheduler: unknown key, ignored; did you mean `ipvs.scheduler`?",
        ]
    );
}

fn config_map(name: &str, data: &[(&str, &str)]) -> Value {
    let data: Map<String, Value> =
        data.iter().map(|(key, text)| ((*key).to_owned(), (*text).into())).collect();
    serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"}, "data": data,
    })
}

const OWN: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n\
                   ipvs: {scheduler: lc}\nsheduler: lc\n";

#[test]
fn a_config_map_is_read_by_the_key_that_holds_the_configuration() {
    let kubeadm = config_map("kube-proxy", &[("config.conf", OWN), ("kubeconfig.conf", "kind: Config\n")]);
    let eks = config_map("kube-proxy-config", &[("config", OWN)]);
    let list =
        serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [config_map("a", &[]), eks.clone()]});
    for (value, place) in [
        (&kubeadm, "ConfigMap kube-system/kube-proxy, key config.conf"),
        (&eks, "ConfigMap kube-system/kube-proxy-config, key config"),
        (&list, "ConfigMap kube-system/kube-proxy-config, key config"),
    ] {
        for text in [value.to_string(), serde_saphyr::to_string(value).unwrap()] {
            let (configuration, warnings) = parse(&text, Map::new()).unwrap();
            assert_eq!(configuration.proxy_config().scheduler, "lc");
            let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            let read =
                "is used as the configuration; kube-proxy itself accepts this text only as a separate file";
            let unknown = "sheduler: unknown key, ignored; did you mean `ipvs.scheduler`?";
            assert_eq!(warnings, [format!("{place}: {read}"), format!("{place}: {unknown}")]);
        }
    }
}

#[test]
fn a_key_that_a_config_map_repeats_is_reported() {
    let text = config_map("a", &[("b", OWN)]).to_string().replacen('{', "{\"kind\": \"ConfigMap\",", 1);
    let (_, warnings) = parse(&text, Map::new()).unwrap();
    let last = warnings.last().unwrap().to_string();
    assert_eq!(last, "kind: occurs more than once; the last one is used");
}

#[test]
fn the_document_that_is_a_configuration_is_read() {
    let (configuration, warnings) = parse(&format!("kind: Pod\n---\n{OWN}"), Map::new()).unwrap();
    assert_eq!(configuration.proxy_config().scheduler, "lc");
    let first = warnings[0].to_string();
    assert_eq!(
        first,
        "weir uses document 2, but kube-proxy would use document 1; \
         remove all documents except document 2"
    );
}

#[test]
fn what_is_wrong_in_a_config_map_is_reported_with_its_key() {
    let told = |value: Value| parse(&value.to_string(), Map::new()).unwrap_err().to_string();
    let place = "ConfigMap kube-system/kube-proxy-config, key config";
    let iptables = OWN.replace("mode: ipvs", "mode: iptables");
    assert_eq!(
        told(config_map("kube-proxy-config", &[("config", &iptables)])),
        format!(
            "{place}: mode: `iptables`: weir supports only IPVS: set `mode: ipvs`, or keep running kube-proxy on this node"
        )
    );
    let broken = OWN.to_owned() + "a: [";
    let broken = told(config_map("kube-proxy-config", &[("config", &broken)]));
    assert!(broken.starts_with(&format!("{place}: not readable as YAML: ")), "{broken}");
    assert_eq!(
        told(config_map("kube-proxy", &[("kubeconfig.conf", "kind: Config\n")])),
        "kind: `ConfigMap`: no key holds a KubeProxyConfiguration; pass a KubeProxyConfiguration file, or a ConfigMap with one"
    );
    let twice = told(config_map("a", &[("b", OWN), ("c", OWN)]));
    assert!(
        twice.ends_with(
            "save one of these texts as a file, and pass that file: ConfigMap kube-system/a, key b; ConfigMap kube-system/a, key c"
        ),
        "{twice}"
    );
}

#[test]
fn the_values_of_an_eks_add_on_lack_two_lines() {
    let values = serde_json::json!({"ipvs": {"scheduler": "lc"}, "mode": "ipvs"}).to_string();
    let missing = "2 mistakes:\n  \
                   apiVersion: is missing; add `apiVersion: kubeproxy.config.k8s.io/v1alpha1`\n  \
                   kind: is missing; add `kind: KubeProxyConfiguration`";
    assert_eq!(parse(&values, Map::new()).unwrap_err().to_string(), missing);
    let described = serde_json::json!({"addon": {"addonName": "kube-proxy", "configurationValues": values}});
    let told = parse(&described.to_string(), Map::new()).unwrap_err().to_string();
    assert_eq!(told.matches("addon.configurationValues: ").count(), 2, "{told}");
}

#[test]
fn a_gate_that_is_null_is_off() {
    let told = problems("featureGates: {KubeProxyIPVS: }\n");
    assert!(told.len() == 1 && told[0].contains("forbids IPVS mode"), "{told:?}");
}

#[test]
fn other_modes_are_refused_with_a_way_out() {
    let mode = |mode: &str| {
        let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmode: '{mode}'\n");
        parse(&text, Map::new()).map_err(|error| error.to_string())
    };
    assert!(mode("iptables").unwrap_err().contains("keep running kube-proxy"));
    assert!(mode("userspace").unwrap_err().contains("must be ipvs"));
    assert_eq!(mode("").unwrap().1.len(), 1, "a warning");
}

#[test]
fn wrong_files_are_refused() {
    let refused = |text: &str| parse(text, Map::new()).unwrap_err().to_string();
    assert!(refused("").starts_with("the file is empty"));
    assert!(refused("apiVersion: v1\nkind: Pod\nmode: ipvs").contains("expected `KubeProxyConfiguration`"));
    assert!(refused("[1]").contains("keys and values"));
    assert!(refused("{").starts_with("not readable"));
    let missing = load(Path::new("/nonexistent/x"), Map::new()).unwrap_err();
    assert_eq!(missing.to_string(), "cannot be read", "the caller names the file");
}

#[test]
fn detection_modes_need_their_argument() {
    for name in ["''", "a-name-of-16-chr", "a b", "'!'", "'a\"b'"] {
        let told = problems(&format!(
            "detectLocalMode: BridgeInterface\ndetectLocal: {{bridgeInterface: {name}}}\n"
        ));
        assert!(told.len() == 1 && told[0].contains("must have 1 to 15 characters"), "{name}: {told:?}");
    }
    assert_eq!(
        problems("detectLocalMode: Magic\n"),
        ["detectLocalMode: `Magic`: must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"]
    );
}

#[test]
fn one_family_of_node_port_addresses_is_a_warning() {
    assert_eq!(
        problems("nodePortAddresses: [10.0.0.0/8]\n"),
        [
            "warning: nodePortAddresses: has no IPv6 network, so node ports are served on all IPv6 addresses of the node"
        ]
    );
}
