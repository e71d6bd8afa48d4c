//! `cargo xtask test`: runs all checks and tests and prints one line of counts.

use std::env;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Error, Result, bail};
use clap::Args;

use crate::guest_tests::{Run, Selection};
use crate::job::Hardware;
use crate::tally::{Counts, SKIPPED, Tally};
use crate::tools::NotInstalled;
use crate::{cluster, deny, e2e, experiment, image, monitoring, parity, setup, space, takeover, workspace};

/// Test targets that run in the guest, all in one boot: package and target.
const GUEST_TESTS: &[(&str, &str)] = &[
    ("weir-guest-init", "guest"),
    ("weir-netlink", "guest_ipvs"),
    ("weir-netlink", "netns"),
    ("weir-kernel", "guest_counts"),
    ("weir", "guest_recordings"),
    ("weir", "guest_packets"),
    ("weir", "guest_plugins"),
];

/// Test targets that need a real API server, of any package.
const CLUSTER_TESTS: &[&str] = &["api_server", "manifests", "accepted", "real"];

/// Seconds for all guest tests together; a hanging test must not block continuous integration forever.
const GUEST_TIMEOUT: u64 = 3600;

/// Options of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Skip the tests that need a guest, a cluster or cargo-deny
    #[arg(long)]
    quick: bool,
    /// Run only the tests whose names contain this text, and skip all other checks
    filter: Option<String>,
}

/// Runs all tiers; a failed tier does not stop the others.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let mut report = Report::default();
    let everything = options.filter.is_none();
    if everything && !options.quick {
        space::check()?;
    }
    if everything {
        report.check("format", workspace::cargo().args(["fmt", "--all", "--check"]));
        // `--all-targets` skips targets with `test = false` and makes cargo ignore `--test`, so this takes two
        // runs.
        let common = ["clippy", "--quiet", "--workspace"];
        let mut clippy = |targets: &[&str]| {
            let mut command = workspace::cargo();
            report.check("clippy", command.args(common).args(targets).args(["--", "--deny", "warnings"]));
        };
        clippy(&["--all-targets"]);
        clippy(&["--test", "*"]);
        // Finds broken links in doc comments.
        let mut documentation = workspace::cargo();
        documentation.env("RUSTDOCFLAGS", "--deny warnings");
        report.check("documentation", documentation.args(["doc", "--quiet", "--workspace", "--no-deps"]));
    }
    // Later tiers need programs that take minutes to build; earlier ones often wait for time to pass.
    let no_nodes = e2e::missing();
    let nodes = (everything && !options.quick && no_nodes.is_none()).then(|| {
        thread::spawn(|| {
            // Its tier tries again and reports the error.
            let _ = deny::DENY.find();
            cluster::build()?;
            cluster::build_for_nodes()
        })
    });
    report.title("host tests");
    report.add("host tests", host_tests(options.filter.as_deref()));
    if !options.quick {
        report.title("cluster tests");
        match cluster::missing() {
            None => report.add("cluster tests", cluster_tests(options.filter.as_deref())),
            Some(reason) => report.skip("cluster tests", &reason),
        }
        report.title("guest tests");
        match setup::reason() {
            None => report.add("guest tests", guest_tests(options.filter.clone())),
            Some(reason) => report.skip("guest tests", &reason),
        }
        if everything {
            report.title("take-over");
            match setup::reason().or_else(cluster::missing) {
                None => report.add("take-over", takeover::tier()),
                Some(reason) => report.skip("take-over", &reason),
            }
        }
        if everything {
            report.title("experiment");
            match setup::reason() {
                None => report.add("experiment", experiment::tier()),
                Some(reason) => report.skip("experiment", &reason),
            }
        }
        if everything {
            report.title("parity");
            match setup::reason().or_else(cluster::missing) {
                None => report.add("parity", parity::tier()),
                Some(reason) => report.skip("parity", &reason),
            }
        }
        if everything {
            report.title("monitoring");
            match setup::reason() {
                None => report.add("monitoring", monitoring::tier()),
                Some(reason) => report.skip("monitoring", &reason),
            }
        }
        if everything {
            report.title("cluster with kubelets");
            match nodes {
                Some(building) => {
                    let built = building.join().unwrap_or_else(|_| bail!("the build panicked"));
                    report.add("cluster with kubelets", built.and_then(|()| e2e::tier()));
                }
                None => report.skip("cluster with kubelets", &no_nodes.unwrap_or_default()),
            }
        }
        report.title("image");
        match setup::reason() {
            None => report.add("image", image::tier(options.filter.as_deref())),
            Some(reason) => report.skip("image", &reason),
        }
    }
    if everything && !options.quick {
        report.title("cargo deny");
        match deny::check() {
            Err(error) if error.is::<NotInstalled>() => report.skip("cargo deny", &format!("{error:#}")),
            result => report.add("cargo deny", result.map(|()| Counts { passed: 1, ..Counts::default() })),
        }
    }
    Ok(report.finish())
}

fn host_tests(filter: Option<&str>) -> Result<Counts> {
    cargo_test(&["--workspace"], filter)
}

fn cluster_tests(filter: Option<&str>) -> Result<Counts> {
    cluster::build()?;
    let mut selection = vec!["--workspace"];
    selection.extend(CLUSTER_TESTS.iter().flat_map(|target| ["--test", target]));
    cargo_test(&selection, filter)
}

fn cargo_test(selection: &[&str], filter: Option<&str>) -> Result<Counts> {
    let mut command = workspace::cargo();
    command.arg("test").args(selection).args(["--no-fail-fast", "--", "--show-output"]).args(filter);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut stream = child.stdout.take().context("cargo has no output")?;
    let mut tally = Tally::default();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).context("cannot read cargo's output")?;
        if count == 0 {
            break;
        }
        tally.push(&buffer[..count]);
        io::stdout().write_all(&buffer[..count]).context("cannot write the output")?;
    }
    let status = child.wait().context("cannot wait for cargo")?;
    Ok(tally.finish(status.success()))
}

fn guest_tests(filter: Option<String>) -> Result<Counts> {
    let select = |&(package, target): &(&str, &str)| Selection {
        package: package.to_owned(),
        target: Some(target.to_owned()),
    };
    let run = Run {
        hardware: Hardware::with_timeout(GUEST_TIMEOUT),
        selections: GUEST_TESTS.iter().map(select).collect(),
        profile: "dev".to_owned(),
        files: Vec::new(),
        environment: Vec::new(),
        arguments: filter.into_iter().collect(),
    };
    run.run()
}

/// The results of the tiers.
#[derive(Debug, Default)]
pub(crate) struct Report {
    counts: Counts,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn title(&self, name: &str) {
        eprintln!("== {name}");
    }

    /// Runs a command that passes or fails as a whole.
    fn check(&mut self, name: &str, command: &mut Command) {
        self.title(name);
        let result = crate::process::run(command);
        self.add(name, result.map(|()| Counts { passed: 1, ..Counts::default() }));
    }

    pub(crate) fn add(&mut self, name: &str, result: Result<Counts>) {
        let counts = result.unwrap_or_else(|error: Error| {
            eprintln!("{name}: {error:#}");
            Counts { failed: 1, ..Counts::default() }
        });
        if counts.failed > 0 {
            self.failures.push(format!("{name} ({})", counts.failed));
        }
        self.counts += counts;
    }

    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        println!("{SKIPPED} {name}: {reason}");
        self.counts.skipped += 1;
    }

    /// Prints the line of counts.
    pub(crate) fn finish(self) -> ExitCode {
        if !self.failures.is_empty() {
            eprintln!("failed: {}", self.failures.join(", "));
        }
        println!("{}", self.counts);
        let skips = if env::var("CI").is_ok_and(|value| value == "true") { Skips::Fail } else { Skips::Pass };
        if is_success(self.counts, skips) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Whether skipped tests fail the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skips {
    /// On a terminal, the developer reads the reason.
    Pass,
    /// In continuous integration, a skipped test would go unnoticed.
    Fail,
}

fn is_success(counts: Counts, skips: Skips) -> bool {
    counts.failed == 0 && (skips == Skips::Pass || counts.skipped == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_fails_only_where_no_one_reads_why() {
        let skipped = Counts { passed: 1, failed: 0, skipped: 1 };
        assert!(is_success(skipped, Skips::Pass));
        assert!(!is_success(skipped, Skips::Fail));
        assert!(!is_success(Counts { failed: 1, ..skipped }, Skips::Pass));
        assert!(is_success(Counts { skipped: 0, ..skipped }, Skips::Fail));
    }

    #[test]
    fn a_tier_that_cannot_run_is_one_failure() {
        let mut report = Report::default();
        report.add("first", Err(anyhow::anyhow!("no such thing")));
        report.add("second", Ok(Counts { passed: 2, ..Counts::default() }));
        assert_eq!(report.counts, Counts { passed: 2, failed: 1, skipped: 0 });
        assert_eq!(report.failures, ["first (1)"]);
    }
}
