//! Turns the command line as typed into one with a subcommand, because kube-proxy has no subcommands.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// A command line with a subcommand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invocation(pub(crate) Vec<OsString>);

impl Invocation {
    /// Called as `kube-proxy`, or with flags only, weir runs as the daemon. `_` in a flag name is read as `-`.
    pub(crate) fn of(typed: impl IntoIterator<Item = OsString>) -> Invocation {
        let mut typed = typed.into_iter();
        let program = typed.next().unwrap_or_else(|| "weir".into());
        let mut rest: Vec<OsString> = typed.collect();
        let called = Path::new(&program).file_name().and_then(OsStr::to_str);
        let first = rest.first().and_then(|first| first.to_str()).unwrap_or_default();
        let only_flags = first.starts_with('-') && !matches!(first, "-h" | "--help" | "-V" | "--version");
        if called == Some("kube-proxy") || only_flags {
            rest.insert(0, "run".into());
        }
        let mut flags = true;
        let rest = rest.into_iter().map(|argument| {
            flags &= argument != "--";
            if flags { with_dashes(argument) } else { argument }
        });
        Invocation(std::iter::once(program).chain(rest).collect())
    }

    /// Whether it runs the daemon.
    pub(crate) fn is_daemon(&self) -> bool {
        self.0.get(1).is_some_and(|first| first == "run")
    }
}

fn with_dashes(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.starts_with("--") => {
            let end = text.find('=').unwrap_or(text.len());
            format!("{}{}", text[..end].replace('_', "-"), &text[end..]).into()
        }
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> String {
        let parts = Invocation::of(line.split(' ').map(OsString::from)).0;
        parts.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn kube_proxy_and_flags_alone_are_the_daemon() {
        assert_eq!(of("/usr/local/bin/kube-proxy"), "/usr/local/bin/kube-proxy run");
        assert_eq!(of("kube-proxy --version"), "kube-proxy run --version");
        assert_eq!(of("weir --config=x --v=2"), "weir run --config=x --v=2");
        assert_eq!(of("weir -v 2"), "weir run -v 2");
        for line in ["weir", "weir --help", "weir -V", "weir plan -o json", "weir run --once"] {
            assert_eq!(of(line), line);
        }
    }

    #[test]
    fn names_of_flags_may_have_underscores() {
        assert_eq!(of("weir run --cluster_cidr a_b --x_y=a_b"), "weir run --cluster-cidr a_b --x-y=a_b");
        assert_eq!(of("weir run -- --a_b"), "weir run -- --a_b");
    }
}
