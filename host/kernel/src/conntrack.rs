//! The connection-tracking limits that kube-proxy sets once, at start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_core::state::Sysctl;

use crate::sysctl::{self, SysctlError};

/// The wanted connection-tracking limits; zero leaves the kernel's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Maximum connections per processor; with 0, the minimum has no effect either.
    pub max_per_core: u64,
    /// The minimum for the maximum number of connections.
    pub min: u64,
    /// How long an established TCP connection is remembered without packets.
    pub tcp_established_timeout: Duration,
    /// The same in CLOSE_WAIT.
    pub tcp_close_wait_timeout: Duration,
    /// Whether TCP packets outside the window are tracked anyway.
    pub tcp_be_liberal: bool,
    /// How long a UDP flow without replies is remembered.
    pub udp_timeout: Duration,
    /// How long a UDP flow with replies is remembered.
    pub udp_stream_timeout: Duration,
}

/// The largest maximum that follows from the number of processors (kube-proxy's `getConntrackMax`).
const MOST: u64 = 1 << 20;

/// The hash table has one bucket for every four connections.
const CONNECTIONS_PER_BUCKET: u64 = 4;

/// The module's parameter. It applies to the whole machine, whatever network namespace sets it.
const HASHSIZE: &str = "sys/module/nf_conntrack/parameters/hashsize";

/// The maximum number of connections; `None` leaves the kernel's value.
pub fn max(limits: &Limits, processors: u64) -> Option<u64> {
    if limits.max_per_core == 0 {
        return None;
    }
    let scaled = limits.max_per_core.saturating_mul(processors);
    Some(if scaled > MOST { MOST } else { scaled.max(limits.min) }).filter(|max| *max > 0)
}

/// The sysctls that must have exactly these values.
pub fn exact(limits: &Limits) -> Vec<(Sysctl, i64)> {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let values = [
        ("nf_conntrack_tcp_timeout_established", limits.tcp_established_timeout),
        ("nf_conntrack_tcp_timeout_close_wait", limits.tcp_close_wait_timeout),
        ("nf_conntrack_udp_timeout", limits.udp_timeout),
        ("nf_conntrack_udp_timeout_stream", limits.udp_stream_timeout),
    ]
    .into_iter()
    .filter(|(_, time)| !time.is_zero())
    .map(|(name, time)| (name, seconds(time)));
    let liberal = limits.tcp_be_liberal.then_some(("nf_conntrack_tcp_be_liberal", 1));
    values.chain(liberal).map(|(name, value)| (key(name), value)).collect()
}

fn key(name: &str) -> Sysctl {
    Sysctl::new(&format!("net/netfilter/{name}"))
}

/// Sets the values that differ, and returns what was changed. Correct values are not written, so a read-only
/// `/proc` does no harm.
///
/// # Errors
/// When a value cannot be read or written; stops at the first one.
pub fn set(limits: &Limits) -> Result<Vec<(PathBuf, i64)>, SysctlError> {
    set_below(Path::new("/"), limits)
}

fn set_below(root: &Path, limits: &Limits) -> Result<Vec<(PathBuf, i64)>, SysctlError> {
    let mut changed = Vec::new();
    if let Some(max) = max(limits, processors(root)) {
        let at_least = |path: PathBuf, value: u64, changed: &mut Vec<(PathBuf, i64)>| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            if sysctl::read_file(&path)?.ok_or_else(|| missing(&path))? < value {
                sysctl::write_file(&path, value)?;
                changed.push((path, value));
            }
            Ok::<(), SysctlError>(())
        };
        at_least(sysctl::file(root, &key("nf_conntrack_max")), max, &mut changed)?;
        at_least(root.join(HASHSIZE), max / CONNECTIONS_PER_BUCKET, &mut changed)?;
    }
    for (key, value) in exact(limits) {
        let path = sysctl::file(root, &key);
        if sysctl::read_file(&path)?.ok_or_else(|| missing(&path))? != value {
            sysctl::write_file(&path, value)?;
            changed.push((path, value));
        }
    }
    Ok(changed)
}

fn missing(path: &Path) -> SysctlError {
    SysctlError::Missing { path: path.to_owned(), hint: "; run `modprobe nf_conntrack`" }
}

/// The number of online processors, including those this process may not use: the limits apply to the whole
/// machine.
fn processors(root: &Path) -> u64 {
    let listed = fs::read_to_string(root.join("sys/devices/system/cpu/online"));
    let counted = listed.ok().and_then(|text| count(text.trim())).filter(|count| *count > 0);
    counted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u64))
}

/// Counts the numbers in a list such as `0-3,8`.
fn count(list: &str) -> Option<u64> {
    list.split(',').try_fold(0, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn defaults() -> Limits {
        Limits {
            max_per_core: 32 * 1024,
            min: 128 * 1024,
            tcp_established_timeout: 24 * HOUR,
            tcp_close_wait_timeout: HOUR,
            ..Limits::default()
        }
    }

    #[test]
    fn the_number_of_connections_follows_the_processors_within_bounds() {
        let limits = defaults();
        assert_eq!(max(&limits, 1), Some(128 * 1024), "the minimum");
        assert_eq!(max(&limits, 8), Some(8 * 32 * 1024));
        assert_eq!(max(&limits, 32), Some(MOST));
        assert_eq!(max(&limits, 1024), Some(MOST), "never more");
        assert_eq!(max(&Limits { min: 2 * MOST, ..limits }, 8), Some(2 * MOST), "the minimum may exceed it");
        assert_eq!(max(&Limits { max_per_core: 0, ..limits }, 8), None, "the minimum alone has no effect");
    }

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        assert_eq!(count("3-1"), None);
        assert_eq!(count(""), None);
    }

    /// A machine with two processors: its files and their values.
    struct Machine(tempfile::TempDir);

    const FILES: [(&str, i64); 7] = [
        ("proc/sys/net/netfilter/nf_conntrack_max", 65536),
        (HASHSIZE, 16384),
        ("proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established", 432_000),
        ("proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait", 60),
        ("proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", 0),
        ("proc/sys/net/netfilter/nf_conntrack_udp_timeout", 30),
        ("proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream", 120),
    ];

    impl Machine {
        fn new() -> Machine {
            let machine = Machine(tempfile::tempdir().unwrap());
            for (file, value) in FILES {
                machine.write(file, &value.to_string());
            }
            machine.write("sys/devices/system/cpu/online", "0-7\n");
            machine
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn values(&self) -> [i64; 7] {
            FILES.map(|(file, _)| sysctl::read_file(&self.0.path().join(file)).unwrap().unwrap())
        }

        fn set(&self, limits: &Limits) -> Result<usize, SysctlError> {
            set_below(self.0.path(), limits).map(|changed| changed.len())
        }
    }

    #[test]
    fn only_what_is_different_is_written() {
        let machine = Machine::new();
        assert_eq!(machine.set(&defaults()).unwrap(), 4);
        assert_eq!(machine.values(), [262_144, 65_536, 86_400, 3600, 0, 30, 120]);
        assert_eq!(machine.set(&defaults()).unwrap(), 0);
        let all = Limits {
            tcp_be_liberal: true,
            udp_timeout: Duration::from_millis(10_900),
            udp_stream_timeout: Duration::from_secs(20),
            max_per_core: 1,
            min: 1,
            ..defaults()
        };
        assert_eq!(machine.set(&all).unwrap(), 3);
        assert_eq!(machine.values(), [262_144, 65_536, 86_400, 3600, 1, 10, 20], "no limit is lowered");
        assert_eq!(machine.set(&Limits::default()).unwrap(), 0, "zero leaves the kernel's values");
    }

    #[test]
    fn what_is_missing_is_named_with_a_way_out() {
        let machine = Machine::new();
        fs::remove_file(machine.0.path().join(FILES[0].0)).unwrap();
        let error = machine.set(&defaults()).unwrap_err().to_string();
        assert!(error.ends_with("nf_conntrack_max does not exist; run `modprobe nf_conntrack`"));
        assert_eq!(
            machine.set(&Limits { max_per_core: 0, ..defaults() }).unwrap(),
            2,
            "it can be left alone"
        );
    }
}
