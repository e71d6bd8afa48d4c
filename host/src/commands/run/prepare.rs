//! What `weir run` does before its loop, or instead of it.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use tracing::{debug, info, warn};
use weir_core::diff::Change;
use weir_core::kernel::Kernel;
use weir_core::net::Family;
use weir_core::plan::{Totals, plan_node};
use weir_k8s::config::Configuration;
use weir_kernel::capabilities::{self, Probe};
use weir_kernel::{Linux, conntrack, oom, sysctl};

use crate::cli::{Output, RunArguments, version};
use crate::commands::cleanup;
use crate::inputs::{self, Settings};
use crate::logging;
use crate::output::say;
use crate::source::Source;

/// What the loop starts from.
pub(super) struct Prepared {
    pub(super) settings: Settings,
    pub(super) source: Source,
    pub(super) probe: Probe,
}

/// Everything before the loop, in kube-proxy's order; or the exit status if there is no loop.
pub(super) fn prepare(arguments: &RunArguments) -> anyhow::Result<ControlFlow<ExitCode, Prepared>> {
    let done = Ok(ControlFlow::Break(ExitCode::SUCCESS));
    let special = &arguments.special;
    if special.version() {
        say!("weir {}", version());
        return done;
    }
    let (settings, remarks) = inputs::read_settings(&arguments.input.node)?;
    let configuration = &settings.configuration;
    let said = configuration.logging();
    logging::start(arguments.input.node.logging.level(said), said.format)?;
    for remark in remarks {
        warn!("{remark}");
    }
    if let Some(file) = &special.write_config_to {
        write(configuration, file)?;
        return done;
    }
    if special.cleanup() {
        return cleanup::clean(&settings.proxy.exclude_cidrs, false, Output::Text).map(ControlFlow::Break);
    }
    let source = Source::of(arguments, &settings);
    // Initialisation needs no objects. Checked before anything is changed, because most mistakes are made here.
    if !special.init_only() {
        source.check()?;
    }
    // Before connection tracking, which this loads.
    capabilities::load_ipvs();
    use_scheduler(&settings.proxy.scheduler)?;
    track_connections(configuration)?;
    let mut probe = capabilities::probe();
    judge(configuration, &probe)?;
    if special.init_only() {
        initialise(&settings, &probe)?;
        return done;
    }
    if let Err(error) = oom::set_score_adjustment(configuration.oom_score_adj()) {
        debug!("oomScoreAdj: {:#}", anyhow!(error));
    }
    capabilities::try_extensions(&mut probe);
    Ok(ControlFlow::Continue(Prepared { settings, source, probe }))
}

fn write(configuration: &Configuration, file: &Path) -> anyhow::Result<()> {
    let text = configuration.to_yaml().context("cannot write the configuration as YAML")?;
    std::fs::write(file, text).with_context(|| format!("--write-config-to {}", file.display()))?;
    info!(file = %file.display(), "wrote configuration");
    Ok(())
}

fn track_connections(configuration: &Configuration) -> anyhow::Result<()> {
    let wanted = configuration.conntrack();
    let limits = conntrack::Limits {
        max_per_core: wanted.max_per_core,
        min: wanted.min,
        tcp_established_timeout: wanted.tcp_established_timeout,
        tcp_close_wait_timeout: wanted.tcp_close_wait_timeout,
        tcp_be_liberal: wanted.tcp_be_liberal,
        udp_timeout: wanted.udp_timeout,
        udp_stream_timeout: wanted.udp_stream_timeout,
    };
    let changed = conntrack::set(&limits).context(
        "cannot set the limits and timeouts of connection tracking (run `weir run --init-only` once with \
         all privileges; or, to keep the kernel's values, set `conntrack.maxPerCore` to 0 and the timeouts \
         in `conntrack` to 0s)",
    )?;
    for (file, value) in changed {
        info!(file = %file.display(), value, "changed a limit or timeout of connection tracking");
    }
    Ok(())
}

/// Checks that depend on the families that this node serves.
fn judge(configuration: &Configuration, probe: &Probe) -> anyhow::Result<()> {
    let families = &probe.capabilities.families;
    for problem in configuration.warnings_for(families) {
        warn!("{problem}");
    }
    let errors: Vec<String> =
        configuration.errors_for(families).iter().map(|problem| problem.to_string()).collect();
    if !errors.is_empty() {
        bail!("{}", errors.join("; "));
    }
    Ok(())
}

/// Fails, before anything is changed, if no virtual server could be created. A scheduler already in use is not tried.
fn use_scheduler(scheduler: &str) -> anyhow::Result<()> {
    let mut kernel = Linux::new(&Family::BOTH);
    let servers = match kernel.virtual_servers() {
        Ok(Some(servers)) => servers,
        Ok(None) => {
            bail!(
                "can't use the IPVS proxier: this kernel has no IPVS (run `modprobe ip_vs`; `weir doctor` shows more)"
            )
        }
        Err(error) => {
            // The loop retries reading them.
            warn!("{error}; weir did not check whether the kernel has the scheduler {scheduler}");
            return Ok(());
        }
    };
    capabilities::try_scheduler(&mut kernel, scheduler, &servers)
        .map_err(|failure| anyhow!(failure.message))
        .with_context(|| format!("can't use the IPVS proxier with the scheduler {scheduler}"))
}

/// Everything that needs more privileges than the daemon itself; afterwards none of it has to be written again.
fn initialise(settings: &Settings, probe: &Probe) -> anyhow::Result<()> {
    let mut kernel = Linux::new(&probe.capabilities.families);
    let view = settings.node_view(None, Vec::new(), probe.capabilities.clone());
    let planned = plan_node(&view, &Totals::default());
    for (key, value) in &planned.sysctls {
        if sysctl::read(key)? != Some(*value) {
            sysctl::write(key, *value)?;
            info!(sysctl = key.0, value, "changed a sysctl");
        }
    }
    if !planned.timeouts.is_empty() {
        let outcomes = kernel.execute(&[Change::SetTimeouts(planned.timeouts)]);
        for failure in outcomes.into_iter().filter_map(Result::err) {
            warn!("{failure}");
        }
    }
    info!("initialised; from now on CAP_NET_ADMIN and CAP_NET_RAW are sufficient");
    Ok(())
}
