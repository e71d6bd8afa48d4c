//! The kernel state equals kube-proxy's, and after `--init-only` two capabilities are sufficient for it.

use anyhow::{Context, Result, ensure};
use weir_harness::scenario::{self, Scenario, Step};
use weir_harness::weir::Running;

use crate::stage::Stage;

/// One process goes through all steps. In the end its own reader must see no difference either.
pub(crate) fn equals(scenario: &Scenario) -> Result<()> {
    let stage = Stage::of(scenario)?;
    let mut running = stage.run()?;
    for step in scenario.steps() {
        follow(&stage, &running, &step)?;
    }
    running.expect_health()?;
    let answer = stage.weir().ask("diff", &[])?;
    ensure!(answer.status == Some(0), "weir diff:\n{}{}", answer.stdout, answer.stderr);
    Ok(())
}

/// One start with all capabilities does what `--init-only` would have done.
pub(crate) fn one_start_is_enough() -> Result<()> {
    let stage = Stage::named("strict-arp-timeouts")?;
    let mut running = stage.weir().run_privileged()?;
    stage.settle(&running, &stage.recorded()?)?;
    running.expect_health()
}

/// All scenarios of the usual node, one after the other in one process: earlier ones leave no trace.
pub(crate) fn one_process_goes_from_each_to_the_next() -> Result<()> {
    let usual = scenario::named("clusterip-tcp")?;
    let stage = Stage::of(&usual)?;
    let mut running = stage.run()?;
    let mut count = 0;
    for scenario in scenario::all()? {
        if scenario.shares_node_with(&usual)? {
            for step in scenario.steps() {
                follow(&stage, &running, &step)?;
                count += 1;
            }
        }
    }
    ensure!(count > 20, "only {count} steps have the usual node");
    running.expect_health()
}

fn follow(stage: &Stage, running: &Running, step: &Step) -> Result<()> {
    stage.manifests.put("objects.json", &step.objects()?)?;
    stage.settle(running, &step.recorded()?).with_context(|| format!("step {}", step.name))
}
