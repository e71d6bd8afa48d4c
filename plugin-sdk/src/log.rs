//! Lines for weir's log: text, and keys with values.
//!
//! ```
//! use weir_plugin_sdk::log;
//!
//! log::debug!("{} endpoints in this zone", 3; service = "shop/web", zone = "a");
//! ```
//!
//! Text and values are composed only if the host has the level enabled. The host limits output to 100 lines and 8 KiB
//! per call and 1 KiB per line; it cuts long lines and drops excess ones. In a native build lines go to standard error,
//! or to a test that [captures](crate::testing::logged) them.

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A failure.
    Error,
    /// A condition that needs attention.
    Warn,
    /// An event.
    Info,
    /// Details for troubleshooting.
    Debug,
    /// Details for the plugin's author.
    Trace,
}

/// Whether this level is enabled.
pub fn enabled(level: Level) -> bool {
    imp::enabled(level)
}

/// Writes a line without checking the level. The macros check it first.
pub fn write(level: Level, message: &str, fields: &[(&str, String)]) {
    imp::write(level, message, fields);
}

#[cfg(target_family = "wasm")]
mod imp {
    use super::Level;
    use crate::bindings::lifecycle::weir::policy::log;

    fn lower(level: Level) -> log::Level {
        match level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
            Level::Trace => log::Level::Trace,
        }
    }

    pub(super) fn enabled(level: Level) -> bool {
        log::enabled(lower(level))
    }

    pub(super) fn write(level: Level, message: &str, fields: &[(&str, String)]) {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        log::write(lower(level), message, &fields);
    }
}

#[cfg(not(target_family = "wasm"))]
mod imp {
    use std::cell::RefCell;

    use super::Level;

    thread_local! {
        /// The lines of a test that captures them.
        static CAPTURED: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
    }

    pub(super) fn enabled(_: Level) -> bool {
        true
    }

    pub(super) fn write(level: Level, message: &str, fields: &[(&str, String)]) {
        let fields: String = fields.iter().map(|(key, value)| format!(" {key}={value:?}")).collect();
        let line = format!("{message}{fields}");
        CAPTURED.with_borrow_mut(|captured| match captured {
            Some(lines) => lines.push((level, line)),
            None => eprintln!("{}: {line}", word(level)),
        });
    }

    fn word(level: Level) -> &'static str {
        match level {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    pub(crate) fn capture<T>(run: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
        let before = CAPTURED.replace(Some(Vec::new()));
        let result = run();
        (result, CAPTURED.replace(before).unwrap_or_default())
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) use imp::capture;

/// Writes a line if its level is enabled: `log!(Level::Info, "text {}", x; key = value)`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:expr, $format:literal $(, $argument:expr)* $(,)? $(; $($key:ident = $value:expr),+ $(,)?)?) => {
        if $crate::log::enabled($level) {
            $crate::log::write(
                $level,
                &::std::format!($format $(, $argument)*),
                &[$($((::std::stringify!($key), ::std::string::ToString::to_string(&$value))),+)?],
            );
        }
    };
}

/// Writes an error.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($line:tt)+) => { $crate::__log!($crate::log::Level::Error, $($line)+) };
}

/// Writes a warning.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($line:tt)+) => { $crate::__log!($crate::log::Level::Warn, $($line)+) };
}

/// Writes an event.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($line:tt)+) => { $crate::__log!($crate::log::Level::Info, $($line)+) };
}

/// Writes details for troubleshooting.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($line:tt)+) => { $crate::__log!($crate::log::Level::Debug, $($line)+) };
}

/// Writes details for the plugin's author.
#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($line:tt)+) => { $crate::__log!($crate::log::Level::Trace, $($line)+) };
}

#[doc(inline)]
pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};
