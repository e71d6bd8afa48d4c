//! The configuration file while the daemon runs.

use std::time::Duration;

use tracing::{debug, error};
use weir_core::causes::with_causes;
use weir_k8s::config::Configuration;

use super::wake::{Wake, Waker};
use crate::inputs::ConfigurationFile;

/// How often the file is read. That is cheap and, unlike a watch, follows the links through which Kubernetes volumes
/// replace their files.
const POLL: Duration = Duration::from_secs(1);

/// Wakes the loop when the file differs in meaning from the configuration in use. A file that cannot be used is
/// ignored: the daemon would exit only to fail at its next start. `tell` is called with the reason, or with `None`
/// for a file that can be used.
pub(super) fn watch(
    file: ConfigurationFile,
    running: Configuration,
    waker: Waker,
    tell: impl Fn(Option<String>) + Send + 'static,
) {
    std::thread::spawn(move || {
        let read = || std::fs::read(&file.path).ok();
        let mut last = read();
        // It may have changed since it was loaded.
        let mut judged = None;
        loop {
            let text = read();
            // A half-written file does not count, nor does a missing file in the moment between two versions.
            if text == last && judged.as_ref() != Some(&text) {
                let loaded = file.load();
                tell(loaded.as_ref().err().map(|error| with_causes(error)));
                match loaded {
                    Ok((configuration, _)) if configuration == running => {
                        debug!(file = %file.path.display(), "the configuration file has no effective changes");
                    }
                    Ok(_) => {
                        waker.wake(Wake::Configuration);
                        return;
                    }
                    Err(error) => error!(
                        file = %file.path.display(),
                        "the previous configuration stays in use, because the changed configuration file cannot be \
                         used: {}",
                        with_causes(&error)
                    ),
                }
                judged = Some(text.clone());
            }
            last = text;
            std::thread::sleep(POLL);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::sync::mpsc::{self, Receiver};

    use serde_json::Map;

    use crate::commands::run::wake::{Wakes, channel};

    const HANGS: Duration = Duration::from_secs(60);
    const TEXT: &str =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n";

    fn watching(path: &Path) -> (Wakes, Receiver<bool>) {
        let file = ConfigurationFile { path: path.to_owned(), over: Map::new() };
        let (running, _) = file.load().unwrap();
        let (waker, wakes) = channel();
        let (sender, ignored) = mpsc::channel();
        let tell = move |why: Option<String>| sender.send(why.is_some()).unwrap_or_default();
        watch(file, running, waker, tell);
        (wakes, ignored)
    }

    #[test]
    fn a_volume_that_exchanges_its_files_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("one", TEXT.to_owned()), ("two", format!("{TEXT}oomScoreAdj: 1\n"))] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("config.conf"), text).unwrap();
        }
        std::os::unix::fs::symlink("one", at("data")).unwrap();
        std::os::unix::fs::symlink("data/config.conf", at("config.conf")).unwrap();
        let (wakes, _) = watching(&at("config.conf"));
        std::os::unix::fs::symlink("two", at("next")).unwrap();
        fs::rename(at("next"), at("data")).unwrap();
        assert_eq!(wakes.wait(HANGS).unwrap().unwrap().reasons, [Wake::Configuration]);
    }

    #[test]
    fn what_means_the_same_or_cannot_be_used_is_no_reason_to_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), TEXT).unwrap();
        let (wakes, ignored) = watching(file.path());
        assert_eq!(ignored.recv_timeout(HANGS), Ok(false));
        fs::write(file.path(), format!("{TEXT}# only a remark\noomScoreAdj: -999\n")).unwrap();
        assert_eq!(wakes.wait(3 * POLL), Ok(None));
        assert_eq!(ignored.recv_timeout(HANGS), Ok(false));
        fs::write(file.path(), format!("{TEXT}oomScoreAdj: none\n")).unwrap();
        assert_eq!(wakes.wait(3 * POLL), Ok(None));
        assert_eq!(ignored.recv_timeout(HANGS), Ok(true));
        fs::remove_file(file.path()).unwrap();
        assert_eq!(ignored.recv_timeout(HANGS), Ok(true), "a missing file cannot be used either");
        fs::write(file.path(), format!("{TEXT}oomScoreAdj: 1\n")).unwrap();
        assert_eq!(wakes.wait(HANGS).unwrap().unwrap().reasons, [Wake::Configuration]);
    }
}
