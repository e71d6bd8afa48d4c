//! The policy of the running daemon, and how it is replaced.

use std::sync::mpsc::{Receiver, channel};

use tracing::{error, info, warn};
use weir_core::planner::Planner;
use weir_core::policy::{Policy as _, Reads};
use weir_daemon::Successor;
use weir_policy::configuration::{MaxChange, Mode};
use weir_policy::{Cache, Chain, Loaded, Refused, Replacement, Status};

use super::plugins::{Plugins, Update};
use super::records::Records;
use super::wake::Waker;
use crate::cli::RunArguments;

/// The plugins to use, and the recorder of their answers.
pub(super) struct Policy {
    updates: Receiver<Update>,
    /// Whether the policy file could be used at the start.
    configured: bool,
    records: Option<Records>,
    /// The parts of the current policy file that are not used.
    refused: Vec<String>,
}

impl Policy {
    /// Loads the plugins and watches their files. If the policy file cannot be used, the built-in policy decides until
    /// it can, so that the node still has services; only with `--once` is this an error. Also returns the plugins.
    pub(super) fn start(
        arguments: &RunArguments,
        node: &str,
        cache: Option<Cache>,
        waker: Waker,
    ) -> anyhow::Result<(Policy, Chain)> {
        let mut chain = Chain::default();
        let mut policy = Policy {
            updates: channel().1,
            configured: false,
            records: arguments.record.as_deref().map(Records::new),
            refused: Vec::new(),
        };
        let Some(mut plugins) = Plugins::new(&arguments.input.policy, node, cache)? else {
            return Ok((policy, chain));
        };
        match plugins.load() {
            Ok(loaded) => {
                tell(&loaded.refused);
                policy.refused = loaded.refused.iter().map(refusal).collect();
                for Status { name, mode, facts, .. } in loaded.chain.status(0) {
                    let (component, version, digest) = (facts.name, facts.version, facts.digest);
                    let does =
                        if mode == Mode::Shadow { "plugin loaded in shadow mode" } else { "plugin loaded" };
                    info!(plugin = name, component, version, %digest, "{does}");
                }
                policy.configured = true;
                chain = loaded.chain;
                policy.record(&mut chain);
            }
            Err(error) if arguments.once => return Err(error),
            Err(error) => {
                error!("{error:#}; until this is fixed, weir decides as kube-proxy does");
                policy.refused = vec![format!("{error:#}")];
            }
        }
        policy.updates = plugins.watch(waker);
        Ok((policy, chain))
    }

    /// Whether a policy file could be used at the start.
    pub(super) fn is_configured(&self) -> bool {
        self.configured
    }

    /// Handles changed files. Returns the plugins to use next, and why others or the whole file are not used.
    pub(super) fn take_updates(&mut self) -> (Option<Box<dyn Successor>>, Vec<String>) {
        let (mut next, mut refusals) = (None, Vec::new());
        while let Ok(update) = self.updates.try_recv() {
            match update {
                Ok(loaded) => {
                    tell(&loaded.refused);
                    self.refused = loaded.refused.iter().map(refusal).collect();
                    refusals.extend(self.refused.iter().cloned());
                    next = Some(Box::new(Next { loaded, recorded: self.records.is_some() }) as _);
                }
                Err(error) => {
                    warn!("{error:#}; the current plugins stay in use");
                    self.refused = vec![format!("{error:#}")];
                    refusals.extend(self.refused.iter().cloned());
                }
            }
        }
        (next, refusals)
    }

    /// The parts of the current policy file that are not used, and why.
    pub(super) fn refused(&self) -> &[String] {
        &self.refused
    }

    /// Records the questions to plugins in this round, if requested.
    pub(super) fn keep_records(&mut self, planner: &mut Planner) {
        if let Some(records) = &mut self.records {
            records.append(&weir_policy::take_records(planner));
        }
    }

    fn record(&self, chain: &mut Chain) {
        if self.records.is_some() {
            chain.start_recording();
        }
    }
}

/// Loaded plugins that have not yet replaced the current ones.
struct Next {
    loaded: Loaded,
    recorded: bool,
}

impl Successor for Next {
    fn reads(&self) -> Reads {
        self.loaded.chain.reads()
    }

    fn replace(mut self: Box<Self>, planner: &mut Planner, now: u64, first: bool) -> Replacement {
        if first {
            // Without a policy before, the effects of these plugins are not a change, so the limit does not apply.
            self.loaded.max_change = MaxChange { percent: 100, services: u32::MAX };
        }
        let replacement = self.loaded.replace(planner, now);
        if self.recorded
            && matches!(replacement, Replacement::Taken { .. })
            && let Some(chain) = planner.policy_mut::<Chain>()
        {
            chain.start_recording();
        }
        replacement
    }
}

fn refusal(Refused { name, why }: &Refused) -> String {
    format!("{name}: {why}")
}

fn tell(refused: &[Refused]) {
    for Refused { name, why } in refused {
        warn!(plugin = name, "plugin not used: {why}");
    }
}
