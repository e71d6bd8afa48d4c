//! Runs the image in the guest: its root as in a container (read-only, with the mounts of kubeadm's DaemonSet), on
//! a kernel with IPVS, checked with the guest's own iptables, ipset and ipvsadm.

use std::fs;
use std::io::{self, Write};
use std::process;

use anyhow::{Context, Result};
use tempfile::TempDir;
use weir_guest_init::{Command, Status, Streams};

use super::layout::Image;
use crate::job::{Hardware, Job};
use crate::machine::Listener;
use crate::overlay::Given;
use crate::process::run as run_process;
use crate::tally::Counts;
use crate::workspace;

/// Seconds for all checks.
const TIMEOUT: u64 = 600;

/// Paths in the guest: the image's root, the demo's objects, and the base's configuration.
const ROOT: &str = "/image";
const MANIFESTS: &str = "/manifests";
const CONFIG: &str = "/config/config.conf";

/// Prepended to each check.
const PREPARE: &str = r#"
root=/image
if ! grep -q " $root " /proc/mounts; then
    mkdir -p $root/var/lib/kube-proxy $root/manifests
    touch /run/xtables.lock $root/run/xtables.lock
    mount --bind $root $root
    mount -t proc proc $root/proc
    mount --bind /sys $root/sys
    mount --bind /dev $root/dev
    mount --bind /run/xtables.lock $root/run/xtables.lock
    mount --bind /usr/lib/modules $root/usr/lib/modules
    mount --bind /manifests $root/manifests
    mount --bind /config $root/var/lib/kube-proxy
    mount -o remount,bind,ro $root
fi
in_image() { chroot $root "$@"; }
weir() { in_image /usr/local/bin/weir "$@"; }
# As in kubeadm's DaemonSet.
kube_proxy="/usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/config.conf --hostname-override=node1"
once="--once --manifests /manifests"
run_once() { in_image $kube_proxy $once; }
# Runs as a container with `drop: [ALL]` and two capabilities (the third is for chroot); /proc/sys is read-only, too.
others=$(capsh --print | sed -n 's/^Bounding set =//p' | tr , '\n' |
    grep -v -x -e cap_net_admin -e cap_net_raw -e cap_sys_chroot | paste -sd,)
unprivileged() {
    mount --bind $root/proc/sys $root/proc/sys
    mount -o remount,bind,ro $root/proc/sys
    capsh --drop=$others -- -c "chroot $root $*"
    umount $root/proc/sys
}
# A function that fails inside `!` or `if` does not stop the script.
absent() { if "$@" > /dev/null; then echo "unexpected: $*"; exit 1; fi; }
# Searches for the first argument in the output of the command after it, without a pipe that closes early.
says() { local words=$1; shift; local text; text=$("$@" 2>&1) || true; case $text in *"$words"*) ;; *) echo "no '$words' in: $text"; exit 1;; esac; }
"#;

/// Name and bash script of each check; the exit status tells whether it passed. They run in this order, and each
/// leaves the kernel clean.
const CHECKS: &[(&str, &str)] = &[
    (
        "every_program_and_module_finds_its_libraries",
        r#"
        loader=$(cd $root && ls usr/lib*/ld-linux-*)
        cd $root
        for file in usr/local/bin/weir usr/bin/kmod usr/sbin/xtables-*-multi usr/lib/*/xtables/*.so; do
            says 'libc.so' in_image /$loader --list /$file
            case $(in_image /$loader --list /$file 2>&1) in *'not found'*) echo $file; exit 1;; esac
        done
        "#,
    ),
    (
        "there_is_no_shell_and_no_plain_iptables",
        r#"
        for name in bin/sh usr/bin/sh usr/bin/bash usr/sbin/iptables usr/sbin/iptables-restore; do
            absent test -e $root/$name
        done
        touch $root/x 2>/dev/null && exit 1
        test $(stat -c %u:%g $root/usr/local/bin/weir) = 0:0
        "#,
    ),
    (
        "both_names_tell_their_version",
        r#"
        test "$(weir --version)" = "$(in_image /usr/local/bin/kube-proxy --version)"
        says weir weir --version
        "#,
    ),
    ("a_plan_needs_nothing", "says 'real tcp' weir plan --manifests /manifests --node node1"),
    (
        "kmod_loads_ipvs_from_the_nodes_modules",
        r#"
        modprobe -r ip_vs || true
        in_image /usr/sbin/modprobe -a ip_vs
        test -e /proc/net/ip_vs
        "#,
    ),
    (
        "without_a_hint_rules_are_written_with_nf_tables",
        r#"
        run_once
        says '(nft)' weir doctor
        says 'KUBE-SERVICES' iptables-nft-save -t nat
        says 'KUBE-SERVICES' ip6tables-nft-save -t nat
        absent grep . /proc/net/ip_tables_names
        says 'rr' ipvsadm -Ln
        says '10.96.0.10,tcp:80' ipset list KUBE-CLUSTER-IP
        weir cleanup
        absent grep KUBE <(iptables-nft-save)
        "#,
    ),
    (
        "a_kubelet_with_nf_tables_is_followed",
        r#"
        iptables-nft -t mangle -N KUBE-IPTABLES-HINT
        says '(nft), same as the kubelet' weir doctor
        run_once
        says 'KUBE-SERVICES' iptables-nft-save -t nat
        absent grep . /proc/net/ip_tables_names
        weir cleanup
        iptables-nft -t mangle -X KUBE-IPTABLES-HINT
        "#,
    ),
    (
        "a_kubelet_with_legacy_tables_is_followed",
        r#"
        ip6tables-legacy -t mangle -N KUBE-KUBELET-CANARY
        says '(legacy), same as the kubelet' weir doctor
        run_once
        says 'KUBE-SERVICES' iptables-legacy-save -t nat
        says 'KUBE-SERVICES' ip6tables-legacy-save -t nat
        absent grep KUBE-SERVICES <(iptables-nft-save 2>/dev/null)
        weir cleanup
        absent grep KUBE-SERVICES <(iptables-legacy-save)
        ip6tables-legacy -t mangle -X KUBE-KUBELET-CANARY
        "#,
    ),
    (
        "after_init_only_two_capabilities_are_enough",
        r#"
        in_image $kube_proxy --init-only
        unprivileged $kube_proxy $once
        says 'rr' ipvsadm -Ln
        says 'KUBE-SERVICES' iptables-nft-save -t nat
        weir cleanup
        iptables-legacy -t mangle -N KUBE-IPTABLES-HINT
        unprivileged $kube_proxy $once
        says 'KUBE-SERVICES' iptables-legacy-save -t nat
        weir cleanup
        iptables-legacy -t mangle -X KUBE-IPTABLES-HINT
        "#,
    ),
];

/// Whether the name of any check contains this.
pub(super) fn any(filter: &str) -> bool {
    CHECKS.iter().any(|(name, _)| name.contains(filter))
}

/// Boots a guest and runs the checks whose names contain the filter.
pub(super) fn run(image: &Image, filter: &str) -> Result<Counts> {
    let root = unpack(image)?;
    let checks: Vec<_> = CHECKS.iter().filter(|(name, _)| name.contains(filter)).collect();
    let command = |(_, script): &&(&str, &str)| Command {
        streams: Streams::Port,
        directory: "/".to_owned(),
        environment: vec![("NO_COLOR".to_owned(), "1".to_owned())],
        arguments: ["bash", "-euc", &format!("{PREPARE}{script}")].map(str::to_owned).into(),
    };
    let given =
        |host: &std::path::Path, guest: &str| Given { host: host.into(), guest: Some(guest.to_owned()) };
    let job = Job {
        hardware: Hardware { architecture: image.architecture(), ..Hardware::with_timeout(TIMEOUT) },
        commands: checks.iter().map(command).collect(),
        files: vec![
            given(root.path(), ROOT),
            given(&workspace::root().join("tests/demo/manifests"), MANIFESTS),
            given(&workspace::root().join("host/install/base/config.conf"), CONFIG),
        ],
    };
    let mut progress = Progress {
        names: checks.iter().map(|(name, _)| *name).collect(),
        said: Vec::new(),
        counts: Counts::default(),
    };
    job.run(&mut progress)?;
    Ok(progress.counts)
}

/// Unpacks the layers one over the other, as a runtime does, but with tar, an independent program.
fn unpack(image: &Image) -> Result<TempDir> {
    let root = tempfile::tempdir().context("cannot create a directory")?;
    let place = tempfile::tempdir().context("cannot create a directory")?;
    for (index, layer) in image.layers().iter().enumerate() {
        let file = place.path().join(index.to_string());
        fs::write(&file, &layer.blob).context("cannot write a layer")?;
        let mut tar = process::Command::new("tar");
        tar.args(["--extract", "--gzip", "--no-same-owner", "--file"]).arg(&file);
        run_process(tar.arg("--directory").arg(root.path())).context("cannot unpack a layer")?;
    }
    Ok(root)
}

struct Progress {
    names: Vec<&'static str>,
    said: Vec<u8>,
    counts: Counts,
}

impl Listener for Progress {
    fn begun(&mut self, _: usize) -> Result<()> {
        self.said.clear();
        Ok(())
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.said.extend_from_slice(bytes);
        Ok(())
    }

    fn ended(&mut self, index: usize, status: Status) -> Result<()> {
        let name = self.names[index];
        if status.is_success() {
            println!("image {name} ... ok");
            self.counts.passed += 1;
            return Ok(());
        }
        println!("image {name} ... FAILED: {status}");
        self.counts.failed += 1;
        io::stdout().write_all(&self.said).context("cannot write the output")
    }
}
