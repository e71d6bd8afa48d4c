//! What the services of a namespace may use.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_core::net::Protocol;
use weir_harness::cluster::{Place, Service};
use weir_harness::lab::{Lab, Test, Vip, paths};
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("namespace_guard::a_vip_that_is_not_allowed_is_unreachable_and_the_others_are", only_allowed_vips),
    ("namespace_guard::what_users_ask_for_and_may_not_have_stays_as_it_was", wishes_are_limited),
];

/// Load-balancer VIPs in one network and no external IPs; and only plain schedulers, whatever annotations say.
fn serve(lab: &mut Lab) -> Result<Service> {
    let service = lab.exposed(50, &["web-1", "web-2"]).with_annotation("policy.weir/scheduler", "sh");
    let guard = json!({"rules": [{
        "namespaces": ["*"],
        "schedulers": ["rr", "lc"],
        "external-ips": [],
        "load-balancer-ips": ["198.51.100.0/24", "2001:db8:51::/64"],
    }]});
    let plugins = [
        Plugin::new("annotations", "weir-plugin-annotations", Value::Null),
        Plugin::new("namespace-guard", "weir-plugin-namespace-guard", guard),
    ];
    lab.serve_by(&plugins, &[lab.node(Place::Local)], &[&service])?;
    Ok(service)
}

fn only_allowed_vips(lab: &mut Lab) -> Result<()> {
    let service = serve(lab)?;
    for (family, protocol) in paths() {
        for client in ["app", "outside"] {
            for vip in [Vip::Cluster, Vip::LoadBalancer, Vip::NodePort] {
                lab.ask(client, protocol, lab.target(&service, vip, family))?;
            }
            lab.expect_unreachable(client, protocol, lab.target(&service, Vip::External, family))?;
        }
        let refused = lab.target(&service, Vip::External, family);
        let virtual_server = lab.daemon()?.real_servers(Protocol::Tcp, refused);
        ensure!(virtual_server.is_err(), "{refused} exists with {virtual_server:?}");
    }
    Ok(())
}

/// Without the guard, all of one client's connections would go to one server.
fn wishes_are_limited(lab: &mut Lab) -> Result<()> {
    let service = serve(lab)?;
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::Cluster, family);
        lab.expect_spread("app", protocol, target, &[("web-1", 4), ("web-2", 4)])?;
    }
    Ok(())
}
