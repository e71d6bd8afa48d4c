//! Lines on standard output and standard error. The reader may close early (`| head -1`), and a disk may be full;
//! neither is a reason to panic.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};

/// The status that a shell reports for a program killed by SIGPIPE. Rust's start-up code ignores that signal.
const NOBODY_READS: i32 = 141;

/// The status of every error that is not an answer.
const FAILED: i32 = 2;

/// A line on standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::out(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line on standard error.
macro_rules! complain {
    ($($text:tt)*) => { $crate::output::err(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {complain, say};

/// Writes to standard output. Exits if that fails: commands print when their work is done.
pub(crate) fn out(text: Arguments<'_>) {
    if let Err(error) = stdout().lock().write_fmt(text) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(NOBODY_READS);
        }
        complain!("error: cannot write to standard output: {error}");
        std::process::exit(FAILED);
    }
}

/// Writes to standard error, if it can be written.
pub(crate) fn err(text: Arguments<'_>) {
    // There is nowhere else to report it.
    let _ = stderr().lock().write_fmt(text);
}
