//! `weir doctor`: the checks that an operator would do by hand to debug IPVS mode, each with a verdict and a fix.

use std::process::ExitCode;

use serde_json::{Value, json};
use weir_core::kernel::whole;
use weir_core::net::Family;
use weir_core::state::KernelState;
use weir_core::text::counted;
use weir_kernel::capabilities::{self, Finding, Verdict};
use weir_kernel::{Linux, iptables, nftables};

use crate::cli::{DoctorArguments, Output};
use crate::output::say;
use crate::{inputs, style};

mod node;
mod numbers;
mod state;

/// Checks everything and changes nothing.
pub(crate) fn run(arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    let settings = inputs::settings(&arguments.node)?;
    let mut probe = capabilities::probe();
    capabilities::try_extensions(&mut probe);
    let families = probe.capabilities.families.clone();
    let mut findings = probe.findings;
    findings.extend(capabilities::missing_scheduler(&settings.proxy.scheduler));
    let mut kernel = Linux::new(&families);
    findings.extend(node::sysctls(&settings.proxy, &probe.capabilities));
    findings.extend(node::conntrack());
    findings.extend(node::other_proxies());
    findings.push(nftables_mode());
    for family in &families {
        findings.extend(rules(*family));
        findings.extend(other_variant(*family));
    }
    match whole(&mut kernel) {
        Ok(actual) => {
            findings.extend(look_at(&mut kernel, &actual, &families));
            findings.extend(numbers::findings(&settings.proxy, &actual));
        }
        Err(error) => findings.push(Finding::bad(
            "kernel state",
            error.to_string(),
            "run as root, and fix the problems above",
        )),
    }
    match arguments.output {
        Output::Text => print_text(&findings),
        Output::Json => print_json(&findings),
    }
    let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn look_at(kernel: &mut Linux, actual: &KernelState, families: &[Family]) -> Vec<Finding> {
    let mut findings = state::device(actual);
    findings.extend(networks(kernel));
    findings.extend(state::sets(actual, families));
    findings.extend(state::chains(actual, families));
    findings.extend(state::servers(actual));
    match kernel.host_addresses() {
        Ok(addresses) => findings.extend(state::addresses(actual, &addresses)),
        Err(error) => findings.push(Finding::warning("addresses", error.to_string(), "try again")),
    }
    findings
}

/// Networks that other programs put on the dummy device.
fn networks(kernel: &mut Linux) -> Option<Finding> {
    let networks = kernel.networks().ok().filter(|networks| !networks.is_empty())?;
    let names: Vec<String> = networks.iter().map(|net| net.to_string()).collect();
    let text = format!(
        "another program added {} to this device, which now attracts traffic to these networks",
        names.join(" ")
    );
    let fix = "keep other network daemons off the device; `weir run` removes the networks";
    Some(Finding::warning("kube-ipvs0", text, fix))
}

/// Leftovers of other proxy modes in iptables.
fn rules(family: Family) -> Vec<Finding> {
    let topic = format!("{family} leftovers");
    let saved = iptables::save(family);
    let count = iptables::leftovers::find(&saved.text).iptables_mode_chains();
    let mut findings: Vec<Finding> = saved
        .unread
        .into_iter()
        .map(|(table, why)| {
            Finding::bad(
                &format!("{family} {table}"),
                why.message,
                "fix this problem; weir then writes the table automatically",
            )
        })
        .collect();
    if count > 0 {
        findings.push(Finding::warning(
            &topic,
            match count {
                1 => "1 chain of kube-proxy's iptables mode, which still handles traffic".to_owned(),
                _ => format!("{count} chains of kube-proxy's iptables mode, which still handle traffic"),
            },
            "stop the other proxy, then run `weir cleanup` and restart weir",
        ));
    } else if findings.is_empty() {
        findings.push(Finding::good(&topic, "no chains of kube-proxy's iptables mode"));
    }
    findings
}

/// Leftovers of nftables mode, in both families.
fn nftables_mode() -> Finding {
    let topic = "nftables leftovers";
    match nftables::leftovers() {
        Ok(found) if found.is_empty() => Finding::good(topic, "no table of kube-proxy's nftables mode"),
        Ok(found) => {
            let names: Vec<String> = found.iter().map(|table| table.to_string()).collect();
            let text =
                format!("{} of kube-proxy's nftables mode, which still handles traffic", names.join(", "));
            Finding::warning(
                topic,
                text,
                "stop the other proxy, then restart weir; at start, weir deletes these tables",
            )
        }
        Err(failure) => Finding::bad(topic, failure.message, "run as root"),
    }
}

/// Rules of the other variant also apply, but the installed programs do not show them.
fn other_variant(family: Family) -> Option<Finding> {
    let (program, text) = iptables::other_variant(family)?;
    let rules = text.lines().filter(|line| line.starts_with("-A ")).count();
    let topic = format!("{family} {}", program.trim_end_matches("-save"));
    if !iptables::leftovers::find(&text).is_empty() {
        return Some(Finding::warning(
            &topic,
            "has chains of a service proxy, which still handle traffic",
            "stop the other proxy, then run `weir cleanup` and restart weir",
        ));
    }
    (rules > 0).then(|| {
        let rules = counted(rules, "rule");
        let text = format!(
            "has {rules}, which the kernel applies in addition to the rules of the installed variant"
        );
        Finding::warning(&topic, text, format!("use only one variant; `{program}` shows these rules"))
    })
}

fn print_text(findings: &[Finding]) {
    let width = findings.iter().map(|finding| finding.topic.len()).max().unwrap_or(0);
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Good => style::good("ok     "),
            Verdict::Warning => style::doubtful("warning"),
            Verdict::Bad => style::bad("BAD    "),
        };
        say!("{mark}  {:width$}  {}", finding.topic, finding.text);
        if let Some(fix) = &finding.fix {
            say!("         {:width$}  {} {fix}", "", style::faint("→"));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let warnings = counted(count(Verdict::Warning), "warning");
    say!("{} ok, {warnings}, {} bad", count(Verdict::Good), count(Verdict::Bad));
}

fn print_json(findings: &[Finding]) {
    let list: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "topic": finding.topic,
                "verdict": finding.verdict.to_string(),
                "text": finding.text,
                "fix": finding.fix,
            })
        })
        .collect();
    say!("{:#}", json!({"findings": list}));
}
