//! The engine that all plugins share: which WebAssembly it takes, and the clock that stops long calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::{Config, Engine, Strategy};

/// The stack that a guest may use, in bytes. A thread that calls guests needs somewhat more than that.
const GUEST_STACK: usize = 512 << 10;

/// How far apart the moments are at which a running guest is looked at. A call is stopped at most this much, and the
/// time until the guest next reaches a loop or a call, after its deadline.
const TICK: Duration = Duration::from_millis(5);

/// An engine and its ticker.
#[derive(Clone)]
pub struct Runtime {
    engine: Engine,
    ticker: Arc<Ticker>,
}

impl Runtime {
    /// An engine for plugins.
    ///
    /// # Errors
    /// If this machine cannot run compiled guests at all.
    pub fn new() -> Result<Runtime, EngineError> {
        let engine = Engine::new(&config()).map_err(EngineError)?;
        let ticker = Arc::new(Ticker::start(engine.clone()));
        Ok(Runtime { engine, ticker })
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Keeps the ticker going until the guard is dropped.
    pub(crate) fn ticking(&self) -> Ticking<'_> {
        self.ticker.calls.fetch_add(1, Ordering::SeqCst);
        self.ticker.thread.thread().unpark();
        Ticking { ticker: &self.ticker }
    }
}

/// The engine cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start on this machine")]
pub struct EngineError(#[source] wasmtime::Error);

/// What the compiler and the daemon must agree on, to the letter: compiled code of another configuration is refused.
fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .wasm_component_model(true)
        // Only what the toolchains of plugins really emit. Everything here widens what a hostile component can reach.
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_reference_types(true)
        .wasm_extended_const(true)
        // A component may consist of several, as those of JavaScript do, and what wasmtime puts between them copies from
        // memory to memory. Without this it panics on such a component instead of refusing it.
        .wasm_multi_memory(true)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_simd(false)
        .wasm_relaxed_simd(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        // The same answer on every processor.
        .cranelift_nan_canonicalization(true)
        .concurrency_support(false)
        // A guest's stack frames would only be printed; names and offsets are not worth their memory.
        .native_unwind_info(false);
    config
}

/// Advances the engine's epoch while calls are under way, and sleeps otherwise: an idle node has no wake-ups of ours.
struct Ticker {
    calls: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Ticker {
    fn start(engine: Engine) -> Ticker {
        let (calls, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (calls_seen, stop_seen) = (calls.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stop_seen.load(Ordering::SeqCst) {
                if calls_seen.load(Ordering::SeqCst) == 0 {
                    thread::park();
                } else {
                    thread::sleep(TICK);
                    engine.increment_epoch();
                }
            }
        });
        Ticker { calls, stop, thread }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}

/// A call is under way.
pub(crate) struct Ticking<'a> {
    ticker: &'a Ticker,
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.ticker.calls.fetch_sub(1, Ordering::SeqCst);
    }
}
