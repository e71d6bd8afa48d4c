//! Migrates from kube-proxy, as installed by kubeadm, to weir and back, with the commands from the pages.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::page::{self, Step};
use super::{PATIENCE, Stage, until};
use crate::{process, workspace};

const FOLDER: &str = "host/install";

/// The node that is migrated first.
const NODE: u8 = 1;

/// The manual step in MIGRATE.md before `weir diff`.
const COPY: &str = "copy objects and config.conf to /tmp/weir on the node";

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    stage.deploy_web(4, None)?;
    let mut traffic = stage.start_traffic()?;
    stage.claim_nothing_lost(&mut traffic, "kube_proxy_alone")?;
    let reader = Reader::new(stage)?;
    reader.follow(stage, "MIGRATE.md", "Before")?;
    stage.claim_nothing_lost(&mut traffic, "preparation")?;
    reader.follow(stage, "MIGRATE.md", "kubeadm")?;
    stage.claim("all_pods_run_weir", all_in_sync(stage));
    stage.claim_nothing_lost(&mut traffic, "migration")?;
    reader.follow(stage, "ROLLBACK.md", "kubeadm")?;
    let image = || -> Result<()> {
        let images = stage.kubectl(IMAGES)?;
        let all = images.split_whitespace().all(|image| image.starts_with("registry.k8s.io/kube-proxy:"));
        ensure!(all, "unexpected images after the rollback: {images}");
        Ok(())
    };
    let result = until(PATIENCE, image);
    stage.claim("all_pods_run_kube_proxy_again", result);
    stage.claim_nothing_lost(&mut traffic, "rollback")?;
    traffic.stop()
}

const IMAGES: &str = "--namespace=kube-system get pods --selector=k8s-app=kube-proxy \
    --output=jsonpath={.items[*].status.containerStatuses[*].image}";

fn all_in_sync(stage: &Stage<'_>) -> Result<()> {
    let images = stage.kubectl(IMAGES)?;
    let all = images.split_whitespace().all(|image| image.starts_with("localhost/weir:"));
    ensure!(all, "some pods do not run weir; images: {images}");
    let pods =
        stage.kubectl("--namespace=kube-system get pods --selector=k8s-app=kube-proxy --output=name")?;
    for pod in pods.lines() {
        let text =
            until(PATIENCE, || stage.kubectl(&format!("--namespace=kube-system exec {pod} -- weir status")))?;
        println!("{pod}: {}", text.lines().next().unwrap_or_default());
    }
    Ok(())
}

/// Runs the commands of a page, with a checkout and kubectl.
struct Reader {
    /// The working directory of the commands.
    folder: TempDir,
}

impl Reader {
    fn new(stage: &Stage<'_>) -> Result<Reader> {
        let folder = tempfile::tempdir().context("cannot create a directory")?;
        symlink(workspace::root().join("host"), folder.path().join("host")).context("cannot link host")?;
        let kubectl = stage.cluster.kubectl();
        let words = std::iter::once(kubectl.get_program()).chain(kubectl.get_args());
        let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).context("cannot create a directory")?;
        let script = bin.join("kubectl");
        fs::write(&script, format!("#!/bin/sh\nexec {} \"$@\"\n", line.join(" ")))
            .and_then(|()| fs::set_permissions(&script, Permissions::from_mode(0o755)))
            .context("cannot write a kubectl")?;
        Ok(Reader { folder })
    }

    /// Runs all commands of a section, and fails with the first one that fails.
    fn follow(&self, stage: &mut Stage<'_>, name: &str, heading: &str) -> Result<()> {
        let path = workspace::root().join(FOLDER).join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for step in page::steps(&text, heading)? {
            stage.nodes.check()?;
            let result = match &step {
                Step::Command(command) => self.run(stage, command),
                Step::Note(note) if note == COPY => self.copy_to_node(stage),
                Step::Note(note) => bail!("{name}: this test cannot do the manual step {note:?}"),
            };
            result.with_context(|| format!("{name}, {heading}: {step}"))?;
        }
        stage.claim(&format!("commands_of_{name}_{heading}_work"), Ok(()));
        Ok(())
    }

    fn run(&self, stage: &Stage<'_>, command: &str) -> Result<()> {
        let command = command.replace("NODE", &stage.nodes.node(NODE)?.name());
        println!("$ {command}");
        let log = open_log(&stage.report.join("commands.log"), &command)?;
        let path = std::env::var("PATH").unwrap_or_default();
        // `kubectl debug -it` expects a terminal.
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env("SHELL", "/bin/bash");
        script.env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()));
        script.current_dir(self.folder.path()).stdin(Stdio::null());
        let errors = log.try_clone().context("cannot write commands.log")?;
        process::run(script.stdout(log).stderr(errors))
    }

    fn copy_to_node(&self, stage: &Stage<'_>) -> Result<()> {
        let mut tar = Command::new("bash");
        tar.args(["-c", "tar -cz objects config.conf | base64"]).current_dir(self.folder.path());
        let archive = process::output(&mut tar)?;
        let script = format!(
            "mkdir -p /tmp/weir && base64 -d <<END | tar -xz -C /tmp/weir && echo copied\n{archive}END\n"
        );
        let answer = stage.nodes.node(NODE)?.shell(&script)?;
        ensure!(answer.trim() == "copied", "cannot copy files to the node: {answer}");
        Ok(())
    }
}

fn open_log(path: &Path, command: &str) -> Result<File> {
    use std::io::Write as _;
    let writing = || format!("cannot write {}", path.display());
    let mut log = OpenOptions::new().create(true).append(true).open(path).with_context(writing)?;
    writeln!(log, "$ {command}").with_context(writing)?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_the_pages_can_be_done() {
        let sections =
            [("MIGRATE.md", "Before", 6), ("MIGRATE.md", "kubeadm", 6), ("ROLLBACK.md", "kubeadm", 3)];
        for (name, heading, at_least) in sections {
            let text = fs::read_to_string(workspace::root().join(FOLDER).join(name)).unwrap();
            let steps = page::steps(&text, heading).unwrap();
            assert!(steps.len() >= at_least, "{name}, {heading}: {steps:?}");
            for step in steps {
                assert!(matches!(&step, Step::Command(_)) || step == Step::Note(COPY.into()), "{step:?}");
            }
        }
    }
}
