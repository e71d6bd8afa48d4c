//! The configurations of both programs.

use proptest::option;
use proptest::sample::select;
use serde_json::{Value, json};
use weir_world::Seed;

/// How many seeds share a configuration: both programs are restarted for a new one, which takes time.
const SHARED_BY: u64 = 5;

/// The KubeProxyConfiguration for a seed. The first seeds use that of the recorded scenarios, except for the time
/// between two synchronisations: the result is the same, only sooner.
pub fn config(seed: u64) -> Value {
    let mut config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "ipvs",
        "hostnameOverride": crate::world::NODE,
        "ipvs": { "syncPeriod": "30s", "minSyncPeriod": "0s" },
        "conntrack": { "maxPerCore": 0 },
    });
    let group = seed / SHARED_BY;
    if group > 0 {
        vary(&mut config, &mut Seed::new(group));
    }
    config
}

fn vary(config: &mut Value, seed: &mut Seed) {
    let mut sometimes = |chance: f64, pointer: &str, values: &[Value]| {
        if let Some(value) = seed.take(option::weighted(chance, select(values.to_vec()))) {
            let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
            let object = if parent.is_empty() { &mut *config } else { &mut config[parent] };
            object[name] = value;
        }
    };
    sometimes(0.7, "ipvs/scheduler", &["rr", "wrr", "lc", "wlc", "sh", "sed", "nq", "mh"].map(Value::from));
    sometimes(0.4, "ipvs/strictARP", &[true.into()]);
    sometimes(0.4, "ipvs/tcpTimeout", &["15m0s".into(), "1000s".into()]);
    sometimes(0.3, "ipvs/udpTimeout", &["10s".into()]);
    sometimes(0.3, "iptables/masqueradeAll", &[true.into()]);
    sometimes(0.4, "iptables/masqueradeBit", &[0.into(), 20.into(), 31.into()]);
    let cidrs = ["10.244.0.0/16", "10.244.0.0/16,fd00:10:244::/48", "fd00:10:244::/48,10.244.0.0/16"];
    sometimes(0.5, "/clusterCIDR", &cidrs.map(Value::from));
    sometimes(0.2, "/detectLocalMode", &["NodeCIDR".into()]);
    let addresses = [
        json!(["primary"]),
        json!(["10.0.2.0/24"]),
        json!(["127.0.0.0/8", "10.0.2.0/24"]),
        json!(["fec0::/64", "10.0.2.15/32"]),
    ];
    sometimes(0.4, "/nodePortAddresses", &addresses);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn some_seeds_share_a_configuration_and_most_do_not() {
        let all: BTreeSet<String> = (0..100).map(|seed| config(seed).to_string()).collect();
        assert!((15..=20).contains(&all.len()), "{}", all.len());
        assert_eq!(config(0), config(SHARED_BY - 1));
        assert!(config(0)["iptables"].is_null() && config(0)["clusterCIDR"].is_null());
    }
}
