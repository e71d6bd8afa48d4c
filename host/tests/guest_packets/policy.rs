//! Traffic policies: which endpoints answer, and what happens if there are none.

use anyhow::{Result, ensure};
use serde_json::json;
use weir_harness::cluster::Failure;

use weir_harness::lab::{Lab, Test, Vip, paths};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("policy::external_local_uses_local_endpoints_only", external_local_uses_local_endpoints_only),
    ("policy::external_local_without_local_endpoint", external_local_without_local_endpoint),
    ("policy::internal_local_uses_local_endpoints_only", internal_local_uses_local_endpoints_only),
    ("policy::internal_local_without_local_endpoint_refuses", internal_local_without_local_endpoint),
];

fn external_local_uses_local_endpoints_only(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(40, &["web-1", "far-1"]).with("externalTrafficPolicy", json!("Local"));
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        for vip in Vip::PUBLIC {
            let tally = lab.ask_often("outside", protocol, lab.target(&service, vip, family), 6)?;
            ensure!(tally.answers.keys().eq(["web-1"]), "{vip:?} {protocol} {family}: {tally:?}");
        }
        let tally = lab.ask_often("app", protocol, lab.target(&service, Vip::Cluster, family), 6)?;
        ensure!(tally.answers.len() == 2, "cluster IP, {protocol} {family}: {tally:?}");
    }
    Ok(())
}

/// As in kube-proxy: packets go to other nodes' endpoints with the client's address, so the answers miss the client
/// unless it is behind this node.
fn external_local_without_local_endpoint(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(41, &["far-1"]).with("externalTrafficPolicy", json!("Local"));
    lab.serve(&[&service])?;
    let mut silent = Vec::new();
    for (family, protocol) in paths() {
        for vip in Vip::PUBLIC {
            let target = lab.target(&service, vip, family);
            lab.expect_kept("app", protocol, target)?;
            silent.push(("outside", protocol, target));
        }
    }
    lab.expect_silence(&silent)
}

fn internal_local_uses_local_endpoints_only(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(42, &["web-2", "far-1"]).with("internalTrafficPolicy", json!("Local"));
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        let tally = lab.ask_often("app", protocol, lab.target(&service, Vip::Cluster, family), 6)?;
        ensure!(tally.answers.keys().eq(["web-2"]), "{protocol} {family}: {tally:?}");
    }
    Ok(())
}

fn internal_local_without_local_endpoint(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(43, &["far-1"]).with("internalTrafficPolicy", json!("Local"));
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        let result = lab.host("app").request(protocol, lab.target(&service, Vip::Cluster, family));
        ensure!(result == Err(Failure::Refused), "{protocol} {family}: {result:?}");
    }
    Ok(())
}
