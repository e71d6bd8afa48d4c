//! Runs Kubernetes' e2e.test: its arguments, its output and its report.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use weir_cluster::{Cluster, Programs};

use super::Options;
use super::bring_up::RunningNodes;
use crate::process;
use crate::tally::Counts;

/// Prints the names of the tests that the options choose.
pub(super) fn list(options: &Options) -> Result<()> {
    let report = tempfile::tempdir().context("cannot create a directory")?;
    let mut command = program();
    command.args(selection(options)).args(["--ginkgo.dry-run", "--kubeconfig=/dev/null"]);
    command.arg(report_directory(report.path())).arg(COMPLETE);
    // It prints a mark for each test that is not chosen.
    process::run(command.stdout(Stdio::null()))?;
    for result in read_results(report.path())? {
        println!("{}", result.name);
    }
    Ok(())
}

/// Runs the tests that the options choose.
pub(super) fn test(
    options: &Options,
    cluster: &Cluster,
    nodes: &RunningNodes,
    report: &Path,
) -> Result<ExitCode> {
    let mut command = program();
    command.args(selection(options));
    command.arg(format!("--kubeconfig={}", cluster.kubeconfig().display()));
    command.arg(format!("--kubectl-path={}", Programs::find()?.kubectl.display()));
    command.arg(format!("--num-nodes={}", options.nodes));
    command.arg(report_directory(report)).arg(COMPLETE);
    command.args(["--provider=skeleton", "--prepull-images=false"]);
    command.args(["--ginkgo.v", "--ginkgo.no-color"]).arg(format!("--ginkgo.timeout={}m", options.timeout));
    let log = report.join("e2e.log");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(File::create(report.join("e2e.errors.log")).context("cannot write a log")?);
    let mut child = process::Killed::start(&mut command)?;
    let output = child.stdout.take().context("e2e.test has no output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    let mut file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let (mut failed, mut name) = (false, String::new());
    loop {
        nodes.check()?;
        let line = match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        writeln!(file, "{line}").context("cannot write the tests' log")?;
        if line.contains("[FAILED]") && !failed {
            failed = true;
            nodes.write_states("first-failure");
        }
        // e2e.test prints a test's name at its start and the outcome at its end.
        if line.starts_with("• ") || line.starts_with("S [SKIPPED]") {
            eprintln!("{line} {name}");
        } else if line.starts_with("[sig-") {
            name = line;
        }
    }
    let status = child.wait().context("cannot wait for e2e.test")?;
    let results = read_results(report)?;
    let text: String = results.iter().map(|result| format!("{result}\n")).collect();
    fs::write(report.join("results.txt"), &text).context("cannot write results.txt")?;
    print!("{text}");
    println!("{}", count(&results));
    ensure!(!results.is_empty(), "no test matches --focus and --skip");
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Saves the logs of servers and system pods.
pub(super) fn write_logs(cluster: &Cluster, report: &Path) {
    for log in cluster.logs() {
        if let Err(error) = fs::copy(&log, report.join(log.file_name().unwrap_or_default())) {
            eprintln!("cannot keep {}: {error}", log.display());
        }
    }
    let of_weir = ["--namespace=kube-system", "logs", "--selector=app.kubernetes.io/name=weir", "--tail=-1"];
    let wanted = [
        ("weir.log", &[&of_weir[..], &["--all-containers", "--prefix"]].concat()),
        ("objects.txt", &vec!["get", "--all-namespaces", "--output=wide", "nodes,pods,services,events"]),
    ];
    for (name, arguments) in wanted {
        // If the command fails, the file contains its error message.
        let Ok(file) = File::create(report.join(name)) else { continue };
        let Ok(errors) = file.try_clone() else { continue };
        let _ = cluster.kubectl().args(arguments).stdout(file).stderr(errors).status();
    }
}

/// The flag for Ginkgo's own report, which is more complete than JUnit's.
const COMPLETE: &str = "--report-complete-ginkgo";

fn report_directory(report: &Path) -> String {
    format!("--report-dir={}", report.display())
}

fn program() -> Command {
    Command::new(weir_cluster::folder().join("e2e.test"))
}

fn selection(options: &Options) -> [String; 2] {
    [format!("--ginkgo.focus={}", options.focus()), format!("--ginkgo.skip={}", options.skip)]
}

/// A suite in Ginkgo's report; only the fields in use.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SuiteReport {
    spec_reports: Option<Vec<SpecReport>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SpecReport {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    /// In nanoseconds.
    run_time: u64,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

/// How a test ended.
#[derive(Debug, PartialEq, Eq)]
struct TestResult {
    name: String,
    state: String,
    seconds: u64,
    /// Why it failed or was skipped.
    reason: Option<String>,
}

impl std::fmt::Display for TestResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<8} {:>4} s  {}", self.state, self.seconds, self.name)?;
        self.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
    }
}

/// Counts the tests in the report of a run.
pub(super) fn counts(report: &Path) -> Result<Counts> {
    Ok(count(&read_results(report)?))
}

fn count(results: &[TestResult]) -> Counts {
    let of = |state: &str| results.iter().filter(|result| result.state == state).count();
    let (passed, skipped) = (of("passed"), of("skipped"));
    Counts { passed, failed: results.len() - passed - skipped, skipped }
}

fn read_results(report: &Path) -> Result<Vec<TestResult>> {
    let path = report.join("ginkgo/report.json");
    let reading = || format!("cannot read {}", path.display());
    parse_results(&fs::read_to_string(&path).with_context(reading)?).with_context(reading)
}

/// The selected tests. A test that was skipped while running has a run time; one without a run time was not selected.
fn parse_results(text: &str) -> Result<Vec<TestResult>> {
    let suites: Vec<SuiteReport> = serde_json::from_str(text)?;
    let specs = suites.into_iter().filter_map(|suite| suite.spec_reports).flatten();
    let is_chosen = |spec: &SpecReport| spec.state != "skipped" || spec.run_time > 0;
    Ok(specs
        .filter(|spec| spec.leaf_node_type == "It" && is_chosen(spec))
        .map(|spec| {
            let mut words = spec.container_hierarchy_texts.unwrap_or_default();
            words.push(spec.leaf_node_text);
            TestResult {
                name: words.join(" "),
                state: spec.state,
                seconds: spec.run_time.div_ceil(1_000_000_000),
                reason: spec.failure.and_then(|failure| failure.message.lines().next().map(str::to_owned)),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ginkgo_reports() {
        let text = r#"[{"SuiteDescription": "Kubernetes e2e suite", "SpecReports": [
            {"ContainerHierarchyTexts": null, "LeafNodeType": "BeforeSuite", "LeafNodeText": "", "State": "passed",
             "RunTime": 5},
            {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It",
             "LeafNodeText": "should serve", "State": "passed", "RunTime": 1500000000},
            {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It",
             "LeafNodeText": "should balance", "State": "skipped", "RunTime": 90000000,
             "Failure": {"Message": "needs 2 nodes\nand more"}},
            {"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeType": "It", "LeafNodeText": "should run",
             "State": "skipped", "RunTime": 0}]}]"#;
        let results = parse_results(text).unwrap();
        let lines: Vec<String> = results.iter().map(TestResult::to_string).collect();
        let expected = [
            "passed      2 s  [sig-network] Services should serve",
            "skipped     1 s  [sig-network] Services should balance: needs 2 nodes",
        ];
        assert_eq!(lines, expected);
        assert_eq!(count(&results), Counts { passed: 1, failed: 0, skipped: 1 });
        assert!(parse_results("{}").is_err());
    }
}
