//! The daemon's plugins: loaded in a separate thread, reloaded when a file changes, and handed over between rounds.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::Context;
use weir_policy::{Cache, Compiler, Loaded, Loader, Runtime, configuration};

use super::wake::{Wake, Waker};
use crate::cli::PolicyArguments;

/// How often the files are checked. A `stat` of a few files costs almost nothing and, unlike a watch, follows the
/// links through which Kubernetes volumes replace all their files at once.
const POLL: Duration = Duration::from_secs(1);

/// The result of loading a changed file: plugins, or why the whole file cannot be used.
pub(super) type Update = anyhow::Result<Loaded>;

/// The policy file and the plugins that it names.
pub(super) struct Plugins {
    file: PathBuf,
    loader: Loader,
    /// The files as they were when last read.
    seen: Vec<Stamp>,
}

/// Properties of a file that change with its content. `None` = the file cannot be accessed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    file: Option<(u64, u64, u64, i64, i64)>,
}

impl Stamp {
    fn of(path: &Path) -> Stamp {
        let file = path
            .metadata()
            .ok()
            .map(|file| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        Stamp { path: path.to_owned(), file }
    }

    fn again(&self) -> Stamp {
        Stamp::of(&self.path)
    }
}

impl Plugins {
    /// The plugins of the policy file; `None` if no file was given.
    pub(super) fn new(
        arguments: &PolicyArguments,
        node: &str,
        cache: Option<Cache>,
    ) -> anyhow::Result<Option<Plugins>> {
        let Some(file) = &arguments.policy else { return Ok(None) };
        // This program, even if a newer one has replaced it on disk.
        let program = PathBuf::from("/proc/self/exe");
        let compiler = Compiler::Child { program, arguments: vec!["compile-plugin".to_owned()], cache };
        let mut loader = Loader::new(Runtime::new()?, compiler, node);
        loader.shadow.clone_from(&arguments.shadow);
        Ok(Some(Plugins { file: file.clone(), loader, seen: Vec::new() }))
    }

    /// Reads the file and loads its plugins.
    pub(super) fn load(&mut self) -> Update {
        // Stamped before reading, so that a change in the meantime is not missed.
        self.seen = vec![Stamp::of(&self.file)];
        let configuration =
            configuration::load(&self.file).with_context(|| format!("--policy {}", self.file.display()))?;
        let plugins = configuration.plugins.iter().filter_map(|entry| entry.plugin.as_ref().ok());
        self.seen.extend(plugins.map(|plugin| Stamp::of(&plugin.source)));
        // If a plugin named in --shadow is missing, the whole file is refused, so that no plugin decides
        // unintentionally.
        self.loader.load(&configuration).with_context(|| format!("--policy {}", self.file.display()))
    }

    /// Loads again whenever a file has changed and then stayed unchanged for a moment.
    pub(super) fn watch(mut self, waker: Waker) -> Receiver<Update> {
        let (sender, updates) = channel();
        std::thread::spawn(move || {
            let mut last = self.seen.clone();
            loop {
                std::thread::sleep(POLL);
                let now: Vec<Stamp> = self.seen.iter().map(Stamp::again).collect();
                let (settled, changed) = (now == last, now != self.seen);
                last = now;
                if settled && changed {
                    let update = self.load();
                    last.clone_from(&self.seen);
                    if sender.send(update).is_err() || !waker.wake(Wake::Policy) {
                        return;
                    }
                }
            }
        });
        updates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::wake::{Wakes, channel};
    use std::fs;

    const HANGS: Duration = Duration::from_secs(60);

    struct Kept {
        folder: tempfile::TempDir,
        updates: Receiver<Update>,
        _wakes: Wakes,
    }

    const NONE: &str = "apiVersion: policy.weir/v1alpha1\nkind: PolicyConfiguration\nplugins: []\n";

    /// Watches a folder with `policy.yaml`, which links to a file in a linked folder, as in a volume.
    fn watching(text: &str) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("one")).unwrap();
        fs::write(at("one/policy.yaml"), text).unwrap();
        std::os::unix::fs::symlink("one", at("data")).unwrap();
        std::os::unix::fs::symlink("data/policy.yaml", at("policy.yaml")).unwrap();
        let arguments = PolicyArguments { policy: Some(at("policy.yaml")), shadow: Vec::new() };
        let mut plugins = Plugins::new(&arguments, "node1", None).unwrap().unwrap();
        let _ = plugins.load();
        let (waker, wakes) = channel();
        Kept { folder, updates: plugins.watch(waker), _wakes: wakes }
    }

    fn plugin(source: &str) -> String {
        NONE.replace("[]", &format!("[{{name: p, source: {source}}}]"))
    }

    #[test]
    fn a_volume_that_exchanges_its_files_is_noticed_and_so_is_a_plugin_that_appears() {
        let kept = watching(NONE);
        let at = |name: &str| kept.folder.path().join(name);
        fs::create_dir(at("two")).unwrap();
        fs::write(at("two/policy.yaml"), plugin("p.wasm")).unwrap();
        std::os::unix::fs::symlink("two", at("next")).unwrap();
        fs::rename(at("next"), at("data")).unwrap();
        let refused = kept.updates.recv_timeout(HANGS).unwrap().unwrap().refused;
        assert!(refused[0].why.contains("cannot read"), "{}", refused[0].why);
        fs::write(at("p.wasm"), "not a component").unwrap();
        let refused = kept.updates.recv_timeout(HANGS).unwrap().unwrap().refused;
        assert!(!refused[0].why.contains("cannot read"), "{}", refused[0].why);
    }

    #[test]
    fn a_plugin_that_is_to_be_watched_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        fs::write(&file, plugin("p.wasm")).unwrap();
        let arguments = PolicyArguments { policy: Some(file), shadow: vec!["q".to_owned()] };
        let mut plugins = Plugins::new(&arguments, "node1", None).unwrap().unwrap();
        let error = format!("{:#}", plugins.load().err().unwrap());
        assert!(error.contains("policy.yaml: --shadow q") && error.ends_with("its plugins: p"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_reported_and_tried_again_when_it_changes() {
        let kept = watching(NONE);
        let file = kept.folder.path().join("one/policy.yaml");
        fs::write(&file, "plugins: {").unwrap();
        let error = kept.updates.recv_timeout(HANGS).unwrap().err().unwrap();
        assert!(format!("{error:#}").contains("policy.yaml"), "{error:#}");
        fs::write(&file, NONE).unwrap();
        assert!(kept.updates.recv_timeout(HANGS).unwrap().is_ok());
    }
}
