//! The engine shared by all plugins: the WebAssembly it accepts, and the clock that stops long calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::{Config, Engine, Strategy};

/// The stack size of a guest, in bytes. A thread that calls guests needs somewhat more than that.
const GUEST_STACK: usize = 512 << 10;

/// How often a running guest is checked. A call is stopped at most this long after its deadline, plus the time
/// until the guest next reaches a loop or a call.
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
    /// If this machine cannot run compiled guests.
    pub fn new() -> Result<Runtime, EngineError> {
        let engine = Engine::new(&config()).map_err(EngineError)?;
        let ticker = Arc::new(Ticker::start(engine.clone()));
        Ok(Runtime { engine, ticker })
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Keeps the ticker running until the guard is dropped.
    pub(crate) fn ticking(&self) -> Ticking<'_> {
        self.ticker.calls.fetch_add(1, Ordering::SeqCst);
        self.ticker.thread.thread().unpark();
        Ticking { ticker: &self.ticker }
    }
}

/// The engine cannot be created.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start on this machine")]
pub struct EngineError(#[source] wasmtime::Error);

/// The compiler and the daemon must use exactly the same configuration: code compiled with another one is refused.
fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .wasm_component_model(true)
        // Only what plugin toolchains really emit. Each further feature gives a hostile component more to attack.
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_reference_types(true)
        .wasm_extended_const(true)
        // A component may consist of several modules, as JavaScript's do, and wasmtime's adapters between them copy
        // from memory to memory. Without this setting, wasmtime panics on such a component instead of refusing it.
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
        // The same results on every processor.
        .cranelift_nan_canonicalization(true)
        .concurrency_support(false)
        // A guest's stack frames would only be printed; names and offsets are not worth their memory.
        .native_unwind_info(false);
    config
}

/// Advances the engine's epoch while calls are in progress, and sleeps otherwise, so an idle node has no wake-ups.
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

/// A call in progress.
pub(crate) struct Ticking<'a> {
    ticker: &'a Ticker,
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.ticker.calls.fetch_sub(1, Ordering::SeqCst);
    }
}
