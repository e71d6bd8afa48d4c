//! Packets through a running weir: real servers, real clients, both families.
//!
//! One cluster of network namespaces serves all tests, which take turns. Each puts its own services in place of its
//! predecessor's; weir is restarted only for other flags. See `weir_harness::cluster` for the network.

mod affinity;
mod change;
mod lab;
mod network;
mod policy;
mod ranges;
mod reach;
mod refusal;
mod source;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use lab::Lab;

type Test = fn(&mut Lab) -> Result<()>;

fn main() -> ExitCode {
    // Made by the first test that runs, so that `--list` needs neither rights nor time.
    let lab: Arc<Mutex<Option<Lab>>> = Arc::default();
    let tests = [
        network::TESTS,
        reach::TESTS,
        source::TESTS,
        affinity::TESTS,
        policy::TESTS,
        ranges::TESTS,
        refusal::TESTS,
        change::TESTS,
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| trial(name, test, &lab)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, test: Test, lab: &Arc<Mutex<Option<Lab>>>) -> Trial {
    let lab = Arc::clone(lab);
    Trial::test(name, move || {
        // A test that failed leaves a cluster that the next one can use.
        let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
        run(&mut lab, test).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn run(lab: &mut Option<Lab>, test: Test) -> Result<()> {
    let lab = match lab {
        Some(lab) => lab,
        None => lab.insert(Lab::new()?),
    };
    test(lab)?;
    lab.expect_health()
}
