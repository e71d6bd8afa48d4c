//! Each file `NAME.json` in `tests` is a status, and `NAME.txt` is the screen made from it. With `WEIR_BLESS=1` they
//! are written instead of compared.

use std::fs;
use std::path::Path;

use super::text::{Tone, age, screen, time};
use super::*;

const NAMES: [&str; 4] = ["well", "faults", "start", "kernel"];

fn plain(_: Tone, text: &str) -> String {
    text.to_owned()
}

fn path(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/status/tests").join(file)
}

fn status(name: &str) -> Status {
    serde_json::from_str(&fs::read_to_string(path(&format!("{name}.json"))).unwrap()).unwrap()
}

#[track_caller]
fn expect(file: &str, text: &str) {
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(path(file), text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(path(file)).unwrap(), "{file}");
}

#[test]
fn screens_and_json_are_as_recorded() {
    for name in NAMES {
        let status = Status { todo: Vec::new(), ..status(name) }.with_advice();
        expect(&format!("{name}.json"), &to_json(&status));
        expect(&format!("{name}.txt"), &screen(&status, plain));
        assert_eq!(status.needs_attention(), name != "well", "{name}");
    }
}

#[test]
fn what_others_named_moves_no_cursor_and_forges_no_line() {
    let mut status = status("faults");
    let daemon = status.daemon.as_mut().unwrap();
    daemon.refused = vec!["p: \u{1b}[2Jbad\nnode  all is well".to_owned()];
    let screen = screen(&status.with_advice(), plain);
    assert!(screen.contains(r"p: \u{1b}[2Jbad\nnode  all is well"), "{screen}");
    assert!(!screen.contains('\u{1b}') && !screen.contains("\nnode  all"), "{screen}");
}

#[test]
fn a_loop_that_hangs_is_reported_although_it_says_nothing() {
    let mut status = status("well");
    let daemon = status.daemon.as_mut().unwrap();
    daemon.late_since = Some(status.now - 2);
    assert!(!status.clone().with_advice().needs_attention(), "a change may wait for its round");
    status.daemon.as_mut().unwrap().late_since = Some(status.now - 40);
    let status = status.with_advice();
    assert!(status.needs_attention());
    assert!(screen(&status, plain).contains("a change has been waiting for 40 s"));
    let mut hanging = status.clone();
    hanging.daemon.as_mut().unwrap().turned = status.now - 310;
    let first = hanging.with_advice().todo.remove(0).what;
    assert_eq!(first, "weir's main loop has not run for 5 min 10 s");
    let mut patient = status;
    patient.daemon.as_mut().unwrap().late_after = 60;
    assert!(!patient.with_advice().needs_attention(), "minSyncPeriod is long");
}

#[test]
fn a_node_without_needed_data_is_not_well_although_the_kernel_is_in_sync() {
    let with = |urgent| {
        let mut status = status("well");
        let (what, fix) = ("there is no Node object `node1`".to_owned(), "set the name".to_owned());
        status.daemon.as_mut().unwrap().warnings = vec![Advice { urgent, what, fix }];
        status.with_advice()
    };
    let status = with(true);
    assert!(status.needs_attention());
    assert!(screen(&status, plain).contains("\nwarnings   there is no Node object `node1`\n"));
    assert!(!with(false).needs_attention(), "an operator cannot end a limit of weir");
}

#[test]
fn plugins_that_are_not_called_need_attention() {
    let advice = |why: &str| {
        let mut status = status("well");
        let plugin = status.daemon.as_mut().unwrap().plugins.first_mut().unwrap();
        (plugin.suspended, plugin.failures) = (Some(why.to_owned()), 7);
        status.with_advice().todo.remove(0).what
    };
    let said = advice(Plugin::SUSPENDED);
    assert!(
        said.ends_with(
            "is suspended for a while because it kept failing (7 failed calls since it was loaded)"
        ),
        "{said}"
    );
    let said = advice(Plugin::GIVEN_UP);
    assert!(
        said.contains("is not called until the plugin or its configuration changes (7 failed calls"),
        "{said}"
    );
}

#[test]
fn ages_and_times_have_a_unit_that_fits() {
    let ages = [0, 59, 60, 3_599, 3_600, 90_000].map(|seconds| age(seconds, 0));
    assert_eq!(ages, ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "1 d 1 h"]);
    assert_eq!(age(5, 9), "0 s", "the clock was set back");
    let times = [7, 1_500, 34_000, 1_250_000].map(time);
    assert_eq!(times, ["7 µs", "1.5 ms", "34 ms", "1.2 s"]);
}
