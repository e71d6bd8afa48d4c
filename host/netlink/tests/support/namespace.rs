//! Runs tests in their own network namespace, so that they neither read nor change anything on this machine.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const INSIDE: &str = "WEIR_TEST_NAMESPACE";

/// Runs `test` in a fresh network namespace: the test binary restarts itself, for this one test, under `unshare`.
pub(crate) fn isolated(test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let thread = std::thread::current();
    let name = thread.name().expect("the test harness names its threads");
    // With one test thread the harness may run tests on its main thread, whose name says nothing.
    assert_ne!(name, "main", "run these tests with --test-threads of at least 2, or by their names");
    let output = Command::new("unshare")
        .args(if is_root() { &["-n"][..] } else { &["-n", "-r"][..] })
        .arg(std::env::current_exe().expect("the test binary has a path"))
        .args(["--exact", name, "--nocapture", "--test-threads=2"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "failed in its namespace: {text}");
    assert!(text.contains("1 passed"), "did not run in its namespace: {text}");
    for line in text.lines() {
        if line.starts_with("recorded") {
            println!("{line}");
        }
        // The harness hides the output of a passing test, but a skip must be visible.
        if line.starts_with("SKIPPED") {
            writeln!(std::io::stdout(), "{line}").expect("stdout is open");
        }
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The output of a program, which must succeed.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("programs print UTF-8")
}
