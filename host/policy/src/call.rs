//! One instance of a plugin: created, configured, called, and discarded.
//!
//! An instance lives for one call. If it could remember anything, its answers would depend on earlier questions;
//! and after a trap nothing in it can be trusted.

use std::fmt;
use std::time::Duration;

use wasmtime::component::Instance as Component;
use wasmtime::{Store, Trap, UpdateDeadline};
use weir_core::text::{abridged, counted};

use crate::artifact::Linked;
use crate::bindings::{lifecycle, types};
use crate::engine::Ticking;
use crate::guest::Guest;
use crate::hook::Hook;

/// The maximum output of a guest in one call, in bytes: its answers and its log lines.
const ANSWER_BYTES: usize = 2 << 20;

/// Time limit for each of instantiation, configuration and description, separate from calls: Python starts slowly.
const START_TIME: Duration = Duration::from_secs(5);

/// The maximum length of a failure text, in bytes.
const SAID: usize = 256;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// It took too long.
    Deadline,
    /// It was not ready in time.
    Start,
    /// It requested more memory or table elements than allowed, and then aborted.
    Memory,
    /// It trapped, with the runtime's message.
    Trap(String),
    /// Its answer is malformed.
    Answer(String),
    /// It reports a problem with the service it was called for.
    InvalidInput(String),
    /// It reports that asking again may help.
    Transient(String),
    /// It reports that asking again will not help.
    Permanent(String),
}

impl CallFailure {
    /// The failure as one word, for counting.
    pub fn word(&self) -> &'static str {
        match self {
            CallFailure::Deadline | CallFailure::Start => "deadline",
            CallFailure::Memory => "memory",
            CallFailure::Trap(_) => "trap",
            CallFailure::Answer(_) => "answer",
            CallFailure::InvalidInput(_) => "invalid-input",
            CallFailure::Transient(_) => "transient",
            CallFailure::Permanent(_) => "permanent",
        }
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallFailure::Deadline => f.write_str("it did not answer in time (`limits.callTimeout`)"),
            CallFailure::Start => write!(
                f,
                "it was not ready in time: instantiation, configuration and description may take {} s each",
                START_TIME.as_secs()
            ),
            CallFailure::Memory => f.write_str("it needs more memory than `limits.memory` allows"),
            CallFailure::Trap(why) => write!(f, "it trapped: {why}"),
            CallFailure::Answer(why) => write!(f, "its answer is malformed: {why}"),
            CallFailure::InvalidInput(why) => write!(f, "it cannot decide about the service: {why}"),
            CallFailure::Transient(why) => write!(f, "it cannot decide at the moment: {why}"),
            CallFailure::Permanent(why) => write!(f, "it cannot decide at all: {why}"),
        }
    }
}

/// The result of a call.
pub(crate) type Called<T> = Result<T, CallFailure>;

/// A fresh instance.
pub(crate) struct Instance<'a> {
    linked: &'a Linked,
    store: Store<Guest>,
    component: Component,
    _ticking: Ticking<'a>,
}

impl<'a> Instance<'a> {
    /// Creates an instance that is not configured yet.
    pub(crate) fn start(linked: &'a Linked) -> Called<Instance<'a>> {
        let limits = &linked.configuration.limits;
        let digest = linked.digest.0;
        let seed = digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let guest = Guest::new(&linked.configuration.name, limits.memory_bytes, seed);
        let mut store = Store::new(linked.runtime.engine(), guest);
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(ANSWER_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().check_deadline()?;
            Ok(UpdateDeadline::Continue(1))
        });
        let ticking = linked.runtime.ticking();
        store.data_mut().allow(START_TIME);
        match linked.pre.instantiate(&mut store) {
            Ok(component) => Ok(Instance { linked, store, component, _ticking: ticking }),
            Err(error) => Err(starting(failure(&mut store, &error))),
        }
    }

    /// Creates an instance and passes the configuration, which the plugin accepted at load.
    pub(crate) fn ready(linked: &'a Linked) -> Called<Instance<'a>> {
        let mut instance = Instance::start(linked)?;
        instance.configure()?.map_err(|refusals| {
            let why =
                format!("it rejects the configuration that it accepted before: {}", refusals.join("; "));
            CallFailure::Permanent(abridged(&why, SAID))
        })?;
        Ok(instance)
    }

    /// Passes the configuration.
    pub(crate) fn configure(&mut self) -> Called<Result<(), Vec<String>>> {
        self.store.data_mut().allow(START_TIME);
        let linked = self.linked;
        self.call(|store, component| {
            linked.lifecycle.load(&mut *store, component)?.call_configure(store, &linked.settings)
        })
        .map_err(starting)
    }

    /// Asks the plugin to describe itself.
    pub(crate) fn describe(&mut self) -> Called<lifecycle::Description> {
        self.store.data_mut().allow(START_TIME);
        let linked = self.linked;
        self.call(|store, component| linked.lifecycle.load(&mut *store, component)?.call_describe(store))
            .map_err(starting)
    }

    /// Checks that each interface in use has the contract's functions.
    pub(crate) fn check_interfaces(&mut self) -> wasmtime::Result<()> {
        self.linked.exports.check(&mut self.store, &self.component)
    }

    /// The peak memory of the instance, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.store.data().peak_memory()
    }

    /// How many of its log lines were dropped.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.store.data().dropped_lines()
    }

    /// Asks through an interface.
    pub(crate) fn ask<H: Hook>(
        &mut self,
        context: &types::Context,
        requests: &[H::Request],
        time: Duration,
    ) -> Called<Vec<H::Wire>> {
        let exports = &self.linked.exports;
        self.store.data_mut().allow(time);
        let answer = self.call(|store, component| H::call(exports, store, component, context, requests))?;
        answers(answer, requests.len())
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Store<Guest>, &Component) -> wasmtime::Result<T>,
    ) -> Called<T> {
        // A call may return between two deadline checks; its late answer still counts.
        call(&mut self.store, &self.component).map_err(|error| failure(&mut self.store, &error))
    }
}

/// A failure before the first question, to which no configured limit applies.
fn starting(failure: CallFailure) -> CallFailure {
    if failure == CallFailure::Deadline { CallFailure::Start } else { failure }
}

fn answers<T>(answer: Result<Vec<T>, types::Error>, wanted: usize) -> Called<Vec<T>> {
    let said = |text: String| abridged(&text, SAID);
    match answer {
        Ok(answers) if answers.len() == wanted => Ok(answers),
        Ok(answers) => Err(CallFailure::Answer(format!(
            "{} for {}",
            counted(answers.len(), "answer"),
            counted(wanted, "service")
        ))),
        Err(types::Error::InvalidInput(why)) => Err(CallFailure::InvalidInput(said(why))),
        Err(types::Error::Transient(why)) => Err(CallFailure::Transient(said(why))),
        Err(types::Error::Permanent(why)) => Err(CallFailure::Permanent(said(why))),
    }
}

/// Why a call failed, the most informative cause first.
fn failure(store: &mut Store<Guest>, error: &wasmtime::Error) -> CallFailure {
    let guest = store.data_mut();
    guest.finish_printing();
    if guest.overdue() {
        return CallFailure::Deadline;
    }
    if guest.refused_memory() {
        return CallFailure::Memory;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => {
            CallFailure::Trap("a panic or `unreachable` (see its log lines)".to_owned())
        }
        Some(trap) => CallFailure::Trap(trap.to_string()),
        None => CallFailure::Trap(abridged(&error.root_cause().to_string(), SAID)),
    }
}
