//! Which modules the running kernel has, and which it could load.

use std::collections::BTreeSet;
use std::fs;

/// Whether a module is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Loaded,
    Loadable,
    Absent,
    /// The modules of this kernel cannot be listed.
    Unknown,
}

/// The modules of the running kernel.
pub(super) struct Modules {
    pub(super) release: String,
    loaded: BTreeSet<String>,
    available: Option<BTreeSet<String>>,
}

impl Modules {
    pub(super) fn read() -> Modules {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
        let loaded = loaded.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
        let list = |file: &str| fs::read_to_string(format!("/lib/modules/{release}/{file}")).ok();
        let available = list("modules.dep").map(|dep| {
            let built_in = list("modules.builtin").unwrap_or_default();
            dep.lines().chain(built_in.lines()).filter_map(module_name).collect()
        });
        Modules { release, loaded, available }
    }

    /// The first two numbers of the kernel's version.
    pub(super) fn version(&self) -> (u32, u32) {
        let mut numbers = self.release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Whether a module is loaded but could not be loaded again, because its package is gone.
    pub(super) fn is_left_over(&self, name: &str) -> bool {
        self.loaded.contains(name)
            && self.available.as_ref().is_some_and(|available| !available.contains(name))
    }

    pub(super) fn has(&self, name: &str) -> Presence {
        // Before Linux 5.2, each family had its own module.
        let earlier = if name == "xt_MASQUERADE" { "ipt_MASQUERADE" } else { name };
        let among = |modules: &BTreeSet<String>| modules.contains(name) || modules.contains(earlier);
        if among(&self.loaded) {
            return Presence::Loaded;
        }
        match &self.available {
            None => Presence::Unknown,
            Some(available) if among(available) => Presence::Loadable,
            Some(_) => Presence::Absent,
        }
    }
}

/// Extracts the module's name from a line such as `kernel/net/netfilter/ipvs/ip_vs_rr.ko.xz: …`.
fn module_name(line: &str) -> Option<String> {
    let path = line.split(':').next()?;
    let file = path.rsplit('/').next()?;
    let (name, _) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_names_are_found_in_any_packing() {
        let name = |line| module_name(line);
        assert_eq!(name("kernel/net/netfilter/ipvs/ip_vs_rr.ko: a.ko b.ko"), Some("ip_vs_rr".to_owned()));
        assert_eq!(name("kernel/net/netfilter/xt_set.ko.xz:"), Some("xt_set".to_owned()));
        assert_eq!(name("kernel/drivers/net/dummy.ko"), Some("dummy".to_owned()));
        assert_eq!(name("# nothing"), None);
    }
}
