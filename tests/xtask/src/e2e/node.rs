//! A node: a guest whose only command is `tests/e2e/node.sh`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_guest_init::{Command, Status, Streams};

use super::network;
use crate::job::{Hardware, Job};
use crate::machine::{Disk, Listener};
use crate::overlay::Given;
use crate::workspace;

/// In seconds. Long, because a cluster started with `--keep` is for manual use.
const TIMEOUT: u64 = 24 * 3600;

/// In MiB.
const MEMORY: u64 = 2048;

/// Where the node listens for commands of the host.
pub(super) const SHELL_PORT: u16 = 7777;

/// The script that [`Node::state`] runs on the node.
const STATE: &str = "\
for command in 'ip address' 'ip route' 'ip rule' 'ipvsadm -Ln' 'ipvsadm -Lnc' 'ipset list' 'iptables-nft-save' \
'iptables-legacy-save' 'nft list ruleset' 'conntrack -L' 'ctr -n k8s.io containers list' 'dmesg' \
'tail -n 100 /var/log/containerd.log'; do
    echo \"== $command\"; $command 2>&1
done";

/// The task of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Imports the images on its disk and stops.
    Prepare,
    /// Prepares the node for the pod of kube-proxy or weir, and runs the kubelet until it is stopped.
    Serve { kube_proxy: bool },
}

/// One of several nodes.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From 1.
    pub(super) number: u8,
    pub(super) of: u8,
    /// The file for the output of its script and its kubelet.
    pub(super) log: PathBuf,
    /// Files to copy to its disk.
    pub(super) files: Vec<(PathBuf, &'static str)>,
    pub(super) task: Task,
}

impl Node {
    pub(super) fn name(&self) -> String {
        format!("node{}", self.number)
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        network::node(self.number)
    }

    /// Boots the guest and returns when it ends.
    pub(super) fn run(&self, disk: Disk) -> Result<()> {
        let (task, proxy) = match self.task {
            Task::Prepare => ("prepare", ""),
            Task::Serve { kube_proxy: true } => ("serve", "kube-proxy"),
            Task::Serve { kube_proxy: false } => ("serve", ""),
        };
        let (number, of) = (self.number.to_string(), self.of.to_string());
        let environment = [("NODE", number.as_str()), ("NODES", &of), ("PROXY", proxy), ("TASK", task)];
        let command = Command {
            streams: Streams::Port,
            directory: "/".to_owned(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            arguments: ["/bin/bash", "/lab/node/node.sh"].map(str::to_owned).into(),
        };
        let hardware = Hardware {
            memory: Some(MEMORY),
            // A single node gets two processors, the usual number; several nodes get one each.
            smp: if self.of == 1 { 2 } else { 1 },
            disk: Some(disk),
            tap: (self.task != Task::Prepare).then(|| network::tap(self.number)),
            ..Hardware::with_timeout(TIMEOUT)
        };
        let folder = workspace::root().join("tests/e2e");
        let common = [
            ("node.sh", "/node.sh"),
            ("containerd.toml", "/etc/containerd/config.toml"),
            ("kubelet.yaml", "/etc/kubernetes/kubelet.yaml"),
            ("pods.conflist", "/etc/cni/net.d/pods.conflist"),
        ];
        let common = common.map(|(name, place)| (folder.join(name), place));
        let files = common.iter().chain(&self.files);
        let files =
            files.map(|(host, place)| Given { host: host.clone(), guest: Some(format!("/lab/node{place}")) });
        let job = Job { hardware, commands: vec![command], files: files.collect() };
        let log = File::create(&self.log).with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut log = Log { file: log, status: None };
        job.run(&mut log)?;
        let ended = log.status.map_or_else(|| "without a status".to_owned(), |status| status.to_string());
        ensure!(log.status.is_some_and(Status::is_success), "{} ended: {ended}", self.name());
        Ok(())
    }

    /// Runs a script as root on the node and returns what it writes.
    pub(super) fn shell(&self, script: &str) -> Result<String> {
        let asking = || format!("cannot run a script on {}", self.name());
        let mut stream = TcpStream::connect((self.address(), SHELL_PORT)).with_context(asking)?;
        stream.set_read_timeout(Some(Duration::from_secs(120))).with_context(asking)?;
        stream.write_all(script.as_bytes()).with_context(asking)?;
        stream.shutdown(Shutdown::Write).with_context(asking)?;
        let mut output = Vec::new();
        stream.read_to_end(&mut output).with_context(asking)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// The state of its kernel and its container runtime.
    pub(super) fn state(&self) -> Result<String> {
        self.shell(STATE)
    }

    /// Stops its kubelet, which also stops the guest.
    pub(super) fn stop(&self) -> Result<()> {
        self.shell("touch /run/stop; kill $(cat /run/kubelet.pid)").map(drop)
    }
}

/// The log file of a guest's command.
struct Log {
    file: File,
    status: Option<Status>,
}

impl Listener for Log {
    fn begun(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).context("cannot write a node's log")
    }

    fn ended(&mut self, _: usize, status: Status) -> Result<()> {
        self.status = Some(status);
        Ok(())
    }
}
