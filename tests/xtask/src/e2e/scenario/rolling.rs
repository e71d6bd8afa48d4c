//! Updates a Deployment many times and counts failed requests.

use std::fs;

use anyhow::{Context, Result};

use super::Stage;
use crate::e2e::Proxy;

const REPLICAS: u32 = 6;

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    let proxy = stage.options.proxy();
    let mut table =
        "| Proxy | preStop | updates | new connections | failed | requests on kept connections | failed |\n\
        |---|---|---|---|---|---|---|\n"
            .to_owned();
    for pre_stop in [Some(stage.options.pre_stop), None] {
        stage.deploy_web(REPLICAS, pre_stop)?;
        let mut traffic = stage.start_traffic()?;
        for update in 1..=stage.options.updates {
            stage.nodes.check()?;
            stage.kubectl(&format!("set env deployment/web UPDATE={update}"))?;
            stage.kubectl("rollout status deployment/web --timeout=900s")?;
            eprintln!("update {update} of {}", stage.options.updates);
        }
        let look = traffic.look()?;
        traffic.stop()?;
        for complaint in look.new.complaints.iter().chain(&look.streams.complaints) {
            println!("{complaint}");
        }
        let name = pre_stop.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s"));
        let row = format!(
            "| {proxy} | {name} | {} | {} | {} | {} | {} |\n",
            stage.options.updates,
            look.new.answers + look.new.failures,
            look.new.failures,
            look.streams.answers + look.streams.failures,
            look.streams.failures
        );
        print!("{row}");
        table.push_str(&row);
        if proxy == Proxy::Weir && pre_stop.is_some() {
            stage.claim("rolling_updates_refuse_no_connection", look.new.expect_nothing_lost());
        }
    }
    fs::write(stage.report.join("rolling-updates.md"), table).context("cannot write rolling-updates.md")
}
