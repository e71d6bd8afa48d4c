//! `weir cleanup`: removes what a service proxy left behind, and verifies it.

use std::process::ExitCode;

use anyhow::Context;
use ipnet::IpNet;
use serde_json::{Value, json};
use weir_core::diff::{Changes, diff};
use weir_core::kernel::apply;
use weir_core::net::Family;
use weir_core::state::KernelState;
use weir_core::text::counted;
use weir_kernel::iptables::{self, leftovers};
use weir_kernel::nftables::{self, Table};
use weir_kernel::{Linux, capabilities};

use crate::cli::{CleanupArguments, Output};
use crate::output::say;
use crate::{inputs, style};

/// Leftovers of weir and of kube-proxy's IPVS, iptables and nftables modes, in both families.
struct Remains {
    rules: Vec<RuleRemains>,
    /// Why some rules could not be read.
    unread: Vec<String>,
    /// The rest of IPVS mode, excluding rules.
    changes: Changes,
    /// Tables of nftables mode.
    tables: Vec<Table>,
}

impl Remains {
    /// Whether it is certain that nothing is left.
    fn is_nothing(&self) -> bool {
        self.lines().is_empty() && self.unread.is_empty()
    }

    /// In order of removal.
    fn lines(&self) -> Vec<String> {
        let rules = self.rules.iter().map(describe);
        let changes = self.changes.0.iter().map(|change| change.to_string());
        rules.chain(changes).chain(self.tables.iter().map(describe_table)).collect()
    }
}

/// Leftovers in the rules of one family and variant.
struct RuleRemains {
    family: Family,
    /// The program that removes them.
    restore: String,
    found: leftovers::Leftovers,
}

/// Removes everything, or prints what it would remove.
pub(crate) fn run(arguments: &CleanupArguments) -> anyhow::Result<ExitCode> {
    let settings = inputs::settings(&arguments.node)?;
    clean(&settings.proxy.exclude_cidrs, arguments.dry_run, arguments.output)
}

/// Keeps virtual servers in the excluded networks.
pub(super) fn clean(excluded: &[IpNet], dry_run: bool, output: Output) -> anyhow::Result<ExitCode> {
    let families = capabilities::families_with_rules();
    // A family can still have sets after its rules have become unreachable.
    let mut kernel = Linux::new(&Family::BOTH);
    let remains = find(&mut kernel, &families, excluded)?;
    if dry_run {
        print_remains(&remains, output);
        return Ok(if remains.unread.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let done = remove(&mut kernel, &remains);
    let left = find(&mut kernel, &families, excluded)?;
    print_outcome(&done, &left, output);
    Ok(if left.is_nothing() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn find(kernel: &mut Linux, families: &[Family], excluded: &[IpNet]) -> anyhow::Result<Remains> {
    let mut actual = kernel
        .read_removable()
        .context("cannot look for leftovers on this node (run `weir doctor` for details)")?;
    actual.rules.clear();
    actual.forget_excluded(excluded, &KernelState::default());
    let (mut rules, mut unread) = (Vec::new(), Vec::new());
    for family in families {
        // The rest is removed all the same.
        let saved = iptables::save(*family);
        unread.extend(
            saved
                .unread
                .iter()
                .map(|(table, why)| format!("cannot read {family} rules of table {table}: {why}")),
        );
        let installed = (iptables::program(*family, "restore"), saved.text);
        // A node whose variant changed may have rules in both.
        let other = iptables::other_variant(*family);
        let other = other.map(|(save, text)| (save.replace("-save", "-restore"), text));
        for (restore, text) in std::iter::once(installed).chain(other) {
            let found = leftovers::find(&text);
            if !found.is_empty() {
                rules.push(RuleRemains { family: *family, restore, found });
            }
        }
    }
    let tables = nftables::leftovers().context("cannot check for tables of kube-proxy's nftables mode")?;
    Ok(Remains { rules, unread, changes: diff(&KernelState::default(), &actual), tables })
}

/// Each step with its error, if any.
type Done = Vec<(String, Result<(), String>)>;

/// Rules go first: a set cannot be deleted while a rule refers to it.
fn remove(kernel: &mut Linux, remains: &Remains) -> Done {
    let mut done = Done::new();
    for rules in &remains.rules {
        let result = iptables::restore_with(&rules.restore, &rules.found.restore_input());
        done.push((describe(rules), result.map_err(|failure| failure.message)));
    }
    if let Err(failure) = kernel.remove_scratch() {
        done.push(("remove weir's temporary set".to_owned(), Err(failure.message)));
    }
    let outcomes = apply(kernel, &remains.changes, &KernelState::default());
    for (change, outcome) in remains.changes.0.iter().zip(outcomes) {
        let step = change.to_string();
        // Most failures start with their change, for the log.
        let why = |message: String| message.strip_prefix(&format!("{step}: ")).unwrap_or(&message).to_owned();
        let result = outcome.map_err(|failure| why(failure.message));
        done.push((step, result));
    }
    for table in &remains.tables {
        let result = table.delete().map_err(|failure| format!("{failure} (try `{}`)", table.command()));
        done.push((describe_table(table), result));
    }
    done
}

fn describe_table(table: &Table) -> String {
    format!("delete {table} (nftables mode)")
}

fn describe(rules: &RuleRemains) -> String {
    let RuleRemains { family, restore, found } = rules;
    let chains: usize = found.tables.iter().map(|table| table.chains.len()).sum();
    let jumps: usize = found.tables.iter().map(|table| table.jumps.len()).sum();
    let iptables_mode = found.iptables_mode_chains();
    let chains = counted(chains, &format!("{family} chain"));
    let jumps = counted(jumps, "jump");
    format!("remove {chains} ({iptables_mode} of iptables mode) and {jumps} to them with {restore}")
}

fn print_remains(remains: &Remains, output: Output) {
    let lines = remains.lines();
    match output {
        Output::Json => say!("{:#}", json!({"wouldRemove": lines, "unknown": remains.unread})),
        Output::Text if remains.is_nothing() => say!("nothing to remove"),
        Output::Text => {
            lines.iter().for_each(|line| say!("would {line}"));
            remains.unread.iter().for_each(|why| say!("{why}"));
        }
    }
}

fn print_outcome(done: &Done, left: &Remains, output: Output) {
    let clean = left.is_nothing();
    match output {
        Output::Json => {
            let steps: Vec<Value> = done
                .iter()
                .map(|(step, result)| json!({"step": step, "error": result.as_ref().err()}))
                .collect();
            say!("{:#}", json!({"steps": steps, "unknown": left.unread, "clean": clean}));
        }
        Output::Text => {
            for (step, result) in done {
                match result {
                    Ok(()) => say!("{} {step}", style::good("✓")),
                    Err(error) => say!("{} {step}: {error}", style::bad("✗")),
                }
            }
            if clean {
                say!("{}", style::good("nothing is left of any service proxy"));
            } else {
                say!("{}", style::bad("still to do:"));
                left.lines().iter().for_each(|line| say!("  {line}"));
                left.unread.iter().for_each(|why| say!("  {why}"));
            }
        }
    }
}
