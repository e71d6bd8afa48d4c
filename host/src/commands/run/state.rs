//! The state for a later daemon: compiled plugins, and since when endpoints have been ready.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{info, warn};
use weir_core::objects::ObjectName;
use weir_core::readiness::{EndpointKey, Readiness};
use weir_policy::Cache;

/// The minimum time between two writes while the daemon runs.
const PAUSE: Duration = Duration::from_secs(10);

/// The first line of a file that this version understands.
const HEAD: &str = "weir readiness 1";

/// A directory that outlives the daemon. It is optional: without one, a restart takes more time and loses this state.
pub(super) struct StateDirectory {
    path: PathBuf,
    written: Option<(Instant, String)>,
}

impl StateDirectory {
    pub(super) fn new(path: &Path) -> StateDirectory {
        StateDirectory { path: path.to_owned(), written: None }
    }

    /// Where compiled plugins are kept. An untrusted directory only disables the cache.
    pub(super) fn cache(&self) -> Option<Cache> {
        Cache::open(&self.path.join("plugins"))
            .map_err(|error| {
                let error = anyhow::Error::new(error);
                warn!("--state-dir: {error:#}; plugins will be compiled again at each start");
            })
            .ok()
    }

    fn file(&self) -> PathBuf {
        self.path.join("readiness")
    }

    /// The readiness known to an earlier daemon; empty if it cannot be read.
    pub(super) fn readiness(&self) -> Readiness {
        let file = self.file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Readiness::default(),
            Err(error) => {
                warn!(
                    file = %file.display(),
                    "cannot read the times at which endpoints became ready: {error}; no endpoint counts as new"
                );
                return Readiness::default();
            }
        };
        match parse(&text) {
            Some(known) => {
                info!(endpoints = known.len(), "restored endpoint readiness from an earlier process");
                Readiness::restored(known)
            }
            None => {
                warn!(
                    file = %file.display(),
                    "the file has an unknown format and is ignored, so no endpoint counts as new"
                );
                Readiness::default()
            }
        }
    }

    /// Saves the readiness if it changed and was not saved recently.
    pub(super) fn keep(&mut self, readiness: &Readiness, now: Instant, last: bool) {
        if !last && self.written.as_ref().is_some_and(|(at, _)| now < *at + PAUSE) {
            return;
        }
        let text = print(readiness);
        let same = self.written.as_ref().is_some_and(|(_, written)| *written == text);
        if !same && let Err(error) = write(&self.file(), &text) {
            warn!(
                file = %self.file().display(),
                "cannot save the times at which endpoints became ready: {error}; after a restart, no endpoint counts \
                 as new"
            );
        }
        self.written = Some((now, text));
    }
}

fn print(readiness: &Readiness) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{HEAD}\n");
    for (service, (protocol, address), since) in readiness.known() {
        let since = since.map_or("-".to_owned(), |since| since.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{service} {protocol} {address} {since}");
    }
    text.push_str("end\n");
    text
}

fn parse(text: &str) -> Option<Vec<(ObjectName, EndpointKey, Option<u64>)>> {
    let lines = text.strip_prefix(HEAD)?.strip_prefix('\n')?.strip_suffix("end\n")?;
    lines
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let (namespace, name) = words.next()?.split_once('/')?;
            let key = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let since = match words.next()? {
                "-" => None,
                since => Some(since.parse().ok()?),
            };
            words.next().is_none().then(|| (ObjectName::new(namespace, name), key, since))
        })
        .collect()
}

/// Replaces the file atomically.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut output = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    output.write_all(text.as_bytes())?;
    output.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::net::Protocol;

    fn known() -> Vec<(ObjectName, EndpointKey, Option<u64>)> {
        let key = |text: &str| (Protocol::Tcp, text.parse().unwrap());
        vec![
            (ObjectName::new("a", "web"), key("10.0.0.1:80"), Some(1_700_000_000)),
            (ObjectName::new("a", "web"), key("[fd00::1]:80"), None),
        ]
    }

    #[test]
    fn readiness_outlives_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let readiness = Readiness::restored(known());
        StateDirectory::new(folder.path()).keep(&readiness, Instant::now(), false);
        assert_eq!(StateDirectory::new(folder.path()).readiness(), readiness);
    }

    #[test]
    fn what_is_not_ours_or_cut_off_is_as_if_it_were_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(folder.path());
        assert_eq!(state.readiness(), Readiness::default());
        let whole = print(&Readiness::restored(known()));
        for text in [&whole[..whole.len() - 9], "", "something else", &whole.replace("tcp", "tcpp")] {
            fs::write(state.file(), text).unwrap();
            assert_eq!(state.readiness(), Readiness::default(), "{text}");
        }
    }

    #[test]
    fn it_is_written_when_it_changed_and_not_too_often() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = StateDirectory::new(folder.path());
        let now = Instant::now();
        state.keep(&Readiness::default(), now, false);
        let full = Readiness::restored(known());
        state.keep(&full, now + PAUSE / 2, false);
        assert_eq!(state.readiness(), Readiness::default());
        state.keep(&full, now + PAUSE, false);
        assert_eq!(state.readiness(), full);
        state.keep(&Readiness::default(), now + PAUSE, true);
        assert_eq!(state.readiness(), Readiness::default(), "the end of the daemon does not wait");
    }
}
