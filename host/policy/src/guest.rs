//! The host's state for one running instance: its limits, its deadline, and its output.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, trace, warn};
use wasmtime::{ResourceLimiter, Result, bail};
use weir_core::text::abridged;

use crate::LOG_TARGET;
use crate::bindings::{log, types};

/// Table elements of all tables combined. Python, the largest guest measured, has 7,688.
const TABLE_ELEMENTS: usize = 20_000;
/// Instances of core modules in one component.
const INSTANCES: usize = 100;
/// Memories, and tables, in one component; Python has 11 and 12.
const MEMORIES: usize = 16;
const TABLES: usize = 32;

/// Limits per call: log lines, their total bytes, and the bytes of one line.
const LOG_LINES: u32 = 100;
const LOG_BYTES: usize = 8 << 10;
const LOG_LINE_BYTES: usize = 1 << 10;

/// The host's state of an instance.
pub(crate) struct Guest {
    /// The plugin's name, for its log lines.
    plugin: String,
    deadline: Instant,
    overdue: bool,
    memory: Memory,
    random: u64,
    lines: Lines,
}

/// The size of all linear memories of an instance combined.
struct Memory {
    used: usize,
    peak: usize,
    limit: usize,
    refused: bool,
    elements: usize,
}

/// What is left of the plugin's log limits in this call.
struct Lines {
    left: u32,
    bytes: usize,
    dropped: u64,
    /// An incomplete line, and the stream it was written to.
    partial: String,
    stream: Stream,
}

/// Where a guest writes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Output,
    /// Standard error, where language runtimes report why they abort.
    Error,
}

impl Guest {
    pub(crate) fn new(plugin: &str, memory: u64, seed: u64) -> Guest {
        let limit = usize::try_from(memory).unwrap_or(usize::MAX);
        Guest {
            plugin: plugin.to_owned(),
            deadline: Instant::now(),
            overdue: false,
            memory: Memory { used: 0, peak: 0, limit, refused: false, elements: 0 },
            random: seed,
            lines: Lines {
                left: LOG_LINES,
                bytes: LOG_BYTES,
                dropped: 0,
                partial: String::new(),
                stream: Stream::Output,
            },
        }
    }

    /// Lets the guest run for this long, starting now.
    pub(crate) fn allow(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// Called every few milliseconds while the guest runs.
    pub(crate) fn check_deadline(&mut self) -> Result<()> {
        if Instant::now() >= self.deadline {
            self.overdue = true;
            bail!("deadline");
        }
        Ok(())
    }

    /// Whether the guest was stopped because it ran out of time.
    pub(crate) fn overdue(&self) -> bool {
        self.overdue
    }

    /// Whether the guest requested more memory than allowed.
    pub(crate) fn refused_memory(&self) -> bool {
        self.memory.refused
    }

    /// The guest's peak memory, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory.peak as u64
    }

    /// How many log lines were dropped.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.lines.dropped
    }

    /// The next number of a sequence that is the same for every instance of a plugin (SplitMix64).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Logs what the guest wrote to standard output or standard error, line by line.
    pub(crate) fn print(&mut self, stream: Stream, bytes: &[u8]) {
        if stream != self.lines.stream {
            self.finish_printing();
            self.lines.stream = stream;
        }
        for c in String::from_utf8_lossy(bytes).chars() {
            if c == '\n' {
                self.end_line();
            } else if self.lines.partial.len() < LOG_LINE_BYTES {
                self.lines.partial.push(c);
            }
        }
    }

    /// Logs text without a final newline, such as the last words before a trap.
    pub(crate) fn finish_printing(&mut self) {
        if !self.lines.partial.is_empty() {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.lines.partial);
        let level = match self.lines.stream {
            Stream::Output => log::Level::Info,
            Stream::Error => log::Level::Warn,
        };
        // Rust's panic message starts with an empty line.
        if !line.is_empty() {
            self.emit(level, &line, &[]);
        }
    }

    fn emit(&mut self, level: log::Level, message: &str, fields: &[(String, String)]) {
        let mut text = message.to_owned();
        fields.iter().for_each(|(key, value)| text.push_str(&format!(" {key}={value:?}")));
        let text = abridged(&text, LOG_LINE_BYTES);
        if self.lines.left == 0 || self.lines.bytes < text.len() {
            self.lines.dropped += 1;
            return;
        }
        self.lines.left -= 1;
        self.lines.bytes -= text.len();
        let plugin = &self.plugin;
        match level {
            log::Level::Error => error!(target: LOG_TARGET, plugin, "{text}"),
            log::Level::Warn => warn!(target: LOG_TARGET, plugin, "{text}"),
            log::Level::Info => info!(target: LOG_TARGET, plugin, "{text}"),
            log::Level::Debug => debug!(target: LOG_TARGET, plugin, "{text}"),
            log::Level::Trace => trace!(target: LOG_TARGET, plugin, "{text}"),
        }
    }
}

impl types::Host for Guest {}

impl log::Host for Guest {
    fn enabled(&mut self, level: log::Level) -> bool {
        self.lines.left > 0
            && match level {
                log::Level::Error => tracing::enabled!(target: LOG_TARGET, tracing::Level::ERROR),
                log::Level::Warn => tracing::enabled!(target: LOG_TARGET, tracing::Level::WARN),
                log::Level::Info => tracing::enabled!(target: LOG_TARGET, tracing::Level::INFO),
                log::Level::Debug => tracing::enabled!(target: LOG_TARGET, tracing::Level::DEBUG),
                log::Level::Trace => tracing::enabled!(target: LOG_TARGET, tracing::Level::TRACE),
            }
    }

    fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        self.emit(level, &message, &fields);
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let memory = &mut self.memory;
        let used = memory.used.saturating_add(desired.saturating_sub(current));
        if used > memory.limit {
            memory.refused = true;
            return Ok(false);
        }
        memory.used = used;
        memory.peak = memory.peak.max(used);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let elements = self.memory.elements.saturating_add(desired.saturating_sub(current));
        if elements > TABLE_ELEMENTS {
            self.memory.refused = true;
            return Ok(false);
        }
        self.memory.elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Instance, Module, Store};

    use super::*;
    use crate::Runtime;

    /// `(module (table 30000 funcref))`
    const LARGE_TABLE: &[u8] = b"\0asm\x01\0\0\0\x04\x06\x01\x70\0\xb0\xea\x01";

    /// `(module (table 1 funcref) (func (export "g") (result i32) (table.grow (ref.null func) (i32.const 30000))))`
    const GROWING_TABLE: &[u8] =
        b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x04\x04\x01\x70\0\x01\
        \x07\x05\x01\x01g\0\0\x0a\x0d\x01\x0b\0\xd0\x70\x41\xb0\xea\x01\xfc\x0f\0\x0b";

    #[test]
    fn a_table_that_is_too_large_is_refused_at_the_start_and_later() {
        let runtime = Runtime::new().unwrap();
        let store = || {
            let mut store = Store::new(runtime.engine(), Guest::new("bomb", 1 << 20, 0));
            store.limiter(|guest| guest);
            store.set_epoch_deadline(1_000_000);
            store
        };
        let large = Module::new(runtime.engine(), LARGE_TABLE).unwrap();
        let mut limited = store();
        assert!(Instance::new(&mut limited, &large, &[]).is_err());
        assert!(limited.data().refused_memory());
        let growing = Module::new(runtime.engine(), GROWING_TABLE).unwrap();
        let mut limited = store();
        let instance = Instance::new(&mut limited, &growing, &[]).unwrap();
        let grow = instance.get_typed_func::<(), i32>(&mut limited, "g").unwrap();
        assert_eq!(grow.call(&mut limited, ()).unwrap(), -1, "as if memory were exhausted");
        assert!(limited.data().refused_memory());
    }
}
