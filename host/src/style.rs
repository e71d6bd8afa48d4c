//! Colours, on a terminal.

use std::io::IsTerminal;

fn paint(code: &str, text: &str, terminal: bool) -> String {
    let wanted = terminal && std::env::var_os("NO_COLOR").is_none();
    if wanted { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn out(code: &str, text: &str) -> String {
    paint(code, text, std::io::stdout().is_terminal())
}

/// On standard error: something failed.
pub(crate) fn error(text: &str) -> String {
    paint("1;31", text, std::io::stderr().is_terminal())
}

/// On standard error: something deserves attention.
pub(crate) fn warning(text: &str) -> String {
    paint("1;33", text, std::io::stderr().is_terminal())
}

/// Something good, new or wanted.
pub(crate) fn good(text: &str) -> String {
    out("32", text)
}

/// Something bad or removed.
pub(crate) fn bad(text: &str) -> String {
    out("31", text)
}

/// Something changed or doubtful.
pub(crate) fn doubtful(text: &str) -> String {
    out("33", text)
}

/// A heading.
pub(crate) fn heading(text: &str) -> String {
    out("1", text)
}

/// Something of less importance.
pub(crate) fn faint(text: &str) -> String {
    out("2", text)
}
