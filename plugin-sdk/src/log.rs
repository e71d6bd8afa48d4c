//! Lines for weir's log. In native tests they go to standard error.

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is wrong.
    Error,
    /// Something may be wrong.
    Warn,
    /// Something a person may want to know.
    Info,
    /// For who looks for a mistake.
    Debug,
    /// Everything.
    Trace,
}

/// Whether anybody reads lines of this level: ask before composing one.
pub fn enabled(level: Level) -> bool {
    imported::enabled(level)
}

/// Writes a line with some keys and values, if anybody reads it.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    if enabled(level) {
        imported::write(level, message, fields);
    }
}

#[cfg(target_family = "wasm")]
mod imported {
    use super::Level;
    use crate::bindings::weir::policy::log;

    fn level(level: Level) -> log::Level {
        match level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
            Level::Trace => log::Level::Trace,
        }
    }

    pub(super) fn enabled(of: Level) -> bool {
        log::enabled(level(of))
    }

    pub(super) fn write(of: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        log::write(level(of), message, &fields);
    }
}

#[cfg(not(target_family = "wasm"))]
mod imported {
    use super::Level;

    pub(super) fn enabled(_: Level) -> bool {
        true
    }

    pub(super) fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
        eprintln!("{level:?}: {message} {fields:?}");
    }
}
