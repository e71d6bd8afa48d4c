//! Selects the guest's kernel and its modules.

use std::collections::{BTreeMap, BTreeSet};

use crate::architecture::Architecture;

/// Debian's and Ubuntu's names for "the newest kernel with the drivers of virtual machines".
pub(crate) fn meta_packages(architecture: Architecture) -> [&'static str; 2] {
    let debian = match architecture {
        Architecture::Amd64 => "linux-image-cloud-amd64",
        Architecture::Arm64 => "linux-image-cloud-arm64",
    };
    [debian, "linux-image-generic"]
}

/// Module directories (below `kernel/`) to copy whole, and single modules, without suffix.
const WANTED: &[&str] = &[
    "net/",
    "crypto/",
    "arch/x86/crypto/crc32c-intel",
    "drivers/block/virtio_blk",
    "drivers/char/virtio_console",
    "drivers/char/hw_random/virtio-rng",
    "drivers/net/dummy",
    "drivers/net/ifb",
    "drivers/net/ipvlan/",
    "drivers/net/macvlan",
    "drivers/net/net_failover",
    "drivers/net/nlmon",
    "drivers/net/tun",
    "drivers/net/veth",
    "drivers/net/virtio_net",
    "drivers/net/vrf",
    "drivers/virtio/",
    "fs/ext4/",
    "fs/overlayfs/",
    "lib/",
];

/// Returns the modules to copy: the wanted ones and all their dependencies. `dependencies` is `modules.dep`, whose
/// lines read `kernel/a/b.ko: kernel/c/d.ko ...` and list every indirect dependency.
pub(crate) fn select_modules(dependencies: &str) -> BTreeSet<String> {
    let table: BTreeMap<&str, Vec<&str>> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (module, needs.split_whitespace().collect()))
        .collect();
    let wanted = table.iter().filter(|(module, _)| is_wanted(module));
    wanted.flat_map(|(module, needs)| needs.iter().chain([module])).map(|&module| module.to_owned()).collect()
}

fn is_wanted(module: &str) -> bool {
    let Some(path) = module.strip_prefix("kernel/") else { return false };
    // `.ko`, `.ko.xz` or `.ko.zst`
    let stem = path.split_once(".ko").map_or(path, |(stem, _)| stem);
    WANTED.iter().any(|wanted| if wanted.ends_with('/') { stem.starts_with(wanted) } else { stem == *wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_dependencies_from_anywhere() {
        let dependencies = "\
kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz kernel/far/away.ko.xz
kernel/net/netfilter/nf_conntrack.ko.xz:
kernel/far/away.ko.xz:
kernel/drivers/gpu/card.ko.xz: kernel/far/away.ko.xz
kernel/drivers/net/dummy.ko.xz:
kernel/drivers/net/dummy_like.ko.xz:
";
        let expected = [
            "kernel/drivers/net/dummy.ko.xz",
            "kernel/far/away.ko.xz",
            "kernel/net/netfilter/ipvs/ip_vs.ko.xz",
            "kernel/net/netfilter/nf_conntrack.ko.xz",
        ];
        assert_eq!(select_modules(dependencies), expected.map(str::to_owned).into());
    }
}
