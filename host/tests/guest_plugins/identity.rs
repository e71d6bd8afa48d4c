//! A plugin that changes nothing.

use anyhow::Result;
use serde_json::Value;
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::Place;
use weir_harness::lab::{Lab, Test, Vip};
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] =
    &[("identity::keeps_the_kernel_and_the_packets_as_they_are_without", keeps_everything)];

fn keeps_everything(lab: &mut Lab) -> Result<()> {
    let plugin = Plugin::new("identity", "weir-guest-identity", Value::Null);
    let service = lab.exposed(10, &["web-1", "web-2", "far-1"]);
    lab.serve_by(&[plugin], &[lab.node(Place::Local)], &[&service])?;
    lab.daemon()?.expect_plan_without_policy()?;
    for family in Family::BOTH {
        for vip in Vip::ALL {
            let target = lab.target(&service, vip, family);
            lab.expect_spread("app", Protocol::Tcp, target, &[("web-1", 2), ("web-2", 2), ("far-1", 2)])?;
        }
        lab.expect_kept("app", Protocol::Tcp, lab.target(&service, Vip::Cluster, family))?;
        lab.expect_masqueraded("outside", Protocol::Tcp, lab.target(&service, Vip::LoadBalancer, family))?;
    }
    Ok(())
}
