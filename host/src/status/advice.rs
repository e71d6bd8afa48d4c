//! Recommended actions for a status, the most urgent first.

use serde::{Deserialize, Serialize};
use weir_core::text::counted;

use super::text::age;
use super::{Needs, Plugin, Running, Standing, Status};

/// The most actions listed. More would not be read, and most causes have several symptoms.
const MOST: usize = 3;

/// A recommended action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Advice {
    /// Whether services are affected, or will be.
    pub(crate) urgent: bool,
    /// What is wrong.
    pub(crate) what: String,
    /// What to do.
    pub(crate) fix: String,
}

pub(crate) fn urgent(what: impl Into<String>, fix: impl Into<String>) -> Advice {
    Advice { urgent: true, what: what.into(), fix: fix.into() }
}

fn advisable(what: impl Into<String>, fix: impl Into<String>) -> Advice {
    Advice { urgent: false, ..urgent(what, fix) }
}

/// At most three actions; causes come before their consequences.
pub(super) fn of(status: &Status) -> Vec<Advice> {
    let mut all = Vec::new();
    if let Some(held) = &status.kernel {
        all.extend(held.obstacles.iter().cloned());
        all.push(urgent(
            format!("no daemon answers: {}", held.no_daemon),
            "start weir; if it is running, give `weir status` the daemon's --config or --metrics-bind-address",
        ));
    }
    if let Some(daemon) = &status.daemon {
        all.extend(kernel(daemon, status.now));
        all.extend(objects(daemon, status.now));
        all.extend(daemon.warnings.iter().cloned());
        all.extend(policy(daemon));
        all.extend(services(daemon));
    }
    all.sort_by_key(|advice| !advice.urgent);
    all.truncate(MOST);
    all
}

/// The greatest age of the main loop's last turn, in seconds: it turns at least once a minute, and a turn may be long.
const HANGS: u64 = 300;

fn kernel(daemon: &Running, now: u64) -> Vec<Advice> {
    let mut all = Vec::new();
    if now.saturating_sub(daemon.turned) >= HANGS {
        all.push(urgent(
            format!("weir's main loop has not run for {}", age(now, daemon.turned)),
            "look for hung tasks in the node's kernel log (`dmesg`), then restart weir's pod",
        ));
    }
    if let Some(unread) = &daemon.unread {
        all.push(urgent(unread.line(now), "run `weir doctor` on this node"));
    }
    for pending in &daemon.pending {
        all.push(urgent(
            format!("failing for {}", pending.line(now)),
            match pending.needs {
                Needs::Lock => "wait, or find the program that holds the lock: `fuser -v /run/xtables.lock`",
                Needs::Time => {
                    "wait; weir retries automatically. If this does not end, `weir doctor` checks the node"
                }
                Needs::Fix => "fix the cause; weir retries automatically. `weir doctor` checks the node",
            },
        ));
    }
    if let Some(since) = daemon.late_since.filter(|since| now.saturating_sub(*since) >= daemon.late_after)
        && all.is_empty()
        && daemon.awaits.is_none()
    {
        let what = format!("a change has been waiting for {} to reach the kernel", age(now, since));
        all.push(urgent(what, "see the end of weir's log for the cause"));
    }
    all
}

fn objects(daemon: &Running, now: u64) -> Option<Advice> {
    if let Some(stale) = daemon.objects.names(Standing::Stale) {
        let heard = daemon.objects.heard.map(|heard| format!(" for {}", age(now, heard)));
        let what = format!(
            "{} has not answered{}, so {stale} may be out of date; weir keeps the last known state in use",
            daemon.objects.source,
            heard.unwrap_or_default()
        );
        return Some(urgent(
            what,
            "check the API server and the network path to it; see the log for the error",
        ));
    }
    let awaited = daemon.awaits.as_ref()?;
    let incomplete = daemon.objects.names(Standing::Incomplete);
    let of = incomplete.map(|names| format!("; not listed yet: {names}")).unwrap_or_default();
    let fix = match of.is_empty() {
        true => "see the log for the cause; `weir doctor` checks the node",
        false => {
            "check that the API server answers and that weir's account may list and watch these resources; see the log \
             for the error"
        }
    };
    let what =
        format!("nothing has been written to the kernel yet, because weir is waiting for {awaited}{of}");
    Some(urgent(what, fix))
}

fn policy(daemon: &Running) -> Vec<Advice> {
    let refused = daemon.refused.iter().map(|why| {
        let fix = "correct the policy file or the plugin; `weir plugin check FILE` checks a plugin";
        urgent(format!("plugin or policy file not used: {why}"), fix)
    });
    let broken = |plugin: &Plugin| {
        let why = plugin.suspended.as_ref()?;
        let state = match why.as_str() {
            Plugin::GIVEN_UP => "is not called until the plugin or its configuration changes",
            _ => "is suspended for a while because it kept failing",
        };
        let failures = counted(plugin.failures, "failed call");
        let what = format!("plugin {} {state} ({failures} since it was loaded)", plugin.name);
        Some(urgent(what, "see the log for the plugin's errors; `weir plugin run` calls the plugin by hand"))
    };
    refused.chain(daemon.plugins.iter().filter_map(broken)).collect()
}

fn services(daemon: &Running) -> Vec<Advice> {
    let report = |reported: &super::Reported| {
        let what = reported.line();
        let failed = reported.reason == weir_core::report::Reason::PolicyFailed.as_str();
        let fix = "`weir explain NAMESPACE/NAME --manifests DIR` shows how the service is planned";
        if failed { urgent(what, fix) } else { advisable(what, fix) }
    };
    daemon.reports.iter().map(report).collect()
}
