//! Manifests that become invalid, change or disappear while weir runs.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_harness::patience;
use weir_harness::witness::{self, Dump};

use crate::stage::Stage;

/// A service with a cluster IP whose rules already exist if another such service does.
pub(crate) const WEB: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.50.1
  clusterIPs: [10.96.50.1]
  ipFamilies: [IPv4]
  ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.50], nodeName: node2}]
";

/// Far less than the 30 s until the next audit, and enough for an emulated CPU.
pub(crate) const SOON: Duration = Duration::from_secs(15);

pub(crate) fn broken_file_keeps_its_services() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    let mut running = stage.start()?;
    let without = stage.recorded()?;
    let soon = |expected: &Dump| {
        patience::until(SOON, || Dump::of(&stage.netns)?.expect(expected)).map_err(|e| running.blame(&e))
    };

    stage.manifests.put("web.yaml", WEB)?;
    let with = without.clone().with(&stage.planned()?);
    ensure!(with.section("ipvs").iter().any(|line| line.contains("10.96.50.1:80")), "the plan has it");
    soon(&with)?;

    stage.manifests.put("web.yaml", WEB.replace("spec:", "spec: ]"))?;
    let warned = running.await_line("about the broken file", |line| {
        line.level() == "WARN" && line.field("message").contains("web.yaml")
    })?;
    let message = warned.field("message");
    ensure!(message.contains("line 4") && message.contains("last good version"), "{message}");
    witness::hold(&stage.netns, &with)?;

    stage.manifests.put("web.yaml", WEB.replace("10.244.1.50", "10.244.1.51"))?;
    soon(&without.clone().with(&stage.planned()?))?;

    stage.manifests.remove("web.yaml")?;
    soon(&without)?;
    running.expect_health()
}

pub(crate) fn folder_that_goes_away_and_returns_loses_nothing() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    let mut running = stage.start()?;
    let expected = stage.recorded()?;
    let folder = stage.manifests.path();
    let aside = stage.scratch().join("aside");

    fs::rename(folder, &aside)?;
    running.await_line("about the missing folder", |line| {
        line.level() == "WARN" && line.field("message").contains("cannot be read")
    })?;
    witness::hold(&stage.netns, &expected)?;
    fs::rename(&aside, folder)?;
    witness::hold(&stage.netns, &expected)?;

    // Changes in the folder are noticed again immediately, not only by the next audit.
    stage.manifests.put("web.yaml", WEB)?;
    let with = expected.with(&stage.planned()?);
    patience::until(SOON, || Dump::of(&stage.netns)?.expect(&with)).map_err(|e| running.blame(&e))?;
    running.expect_health()
}
