//! The process according to `/proc`, under the names used by Prometheus client libraries.

use std::fs;
use std::sync::LazyLock;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts};

/// Reads on demand. Unreadable values are left out.
pub(super) struct Process {
    descriptions: Vec<Desc>,
}

/// Name and help.
type Title = (&'static str, &'static str);

/// A value that may be unreadable.
type Reading = fn() -> Option<f64>;

const CPU: Title = ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");

const GAUGES: [(Title, Reading); 5] = [
    (("process_open_fds", "Number of open file descriptors."), open_files),
    (("process_max_fds", "Maximum number of open file descriptors."), most_files),
    (("process_virtual_memory_bytes", "Virtual memory size in bytes."), || Some(stat()?.virtual_bytes)),
    (("process_resident_memory_bytes", "Resident memory size in bytes."), || Some(stat()?.resident_bytes)),
    (("process_start_time_seconds", "Start time of the process since unix epoch in seconds."), start_time),
];

impl Process {
    pub(super) fn new() -> Process {
        let all = std::iter::once(CPU).chain(GAUGES.map(|(options, _)| options));
        let describe = |(name, help): Title| Desc::new(name.into(), help.into(), vec![], Default::default());
        Process { descriptions: all.map(|o| describe(o).expect("names are valid")).collect() }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let cpu = stat().and_then(|stat| {
            let counter = Counter::with_opts(Opts::new(CPU.0, CPU.1)).ok()?;
            counter.inc_by(stat.cpu_seconds);
            Some(counter.collect())
        });
        let gauges = GAUGES.into_iter().filter_map(|((name, help), value)| {
            let gauge = Gauge::with_opts(Opts::new(name, help)).ok()?;
            gauge.set(value()?);
            Some(gauge.collect())
        });
        cpu.into_iter().chain(gauges).flatten().collect()
    }
}

/// Fields of `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
    /// Seconds after boot.
    start_seconds: f64,
}

fn stat() -> Option<Stat> {
    let (tick, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size());
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?, tick as f64, page as f64)
}

fn parse_stat(text: &str, tick: f64, page: f64) -> Option<Stat> {
    // The second field is a name in parentheses, which may contain spaces and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // Fields after the name are numbered from 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Stat {
        cpu_seconds: (field(14)? + field(15)?) / tick,
        start_seconds: field(22)? / tick,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page,
    })
}

/// Seconds since 1970. The kernel moves its boot time when the clock is set, so it is read only once: a start that
/// moves would look like a restart.
pub(super) fn start_time() -> Option<f64> {
    static START: LazyLock<Option<f64>> = LazyLock::new(|| {
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(boot + stat()?.start_seconds)
    });
    *START
}

fn open_files() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn most_files() -> Option<f64> {
    parse_limit(&fs::read_to_string("/proc/self/limits").ok()?)
}

fn parse_limit(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let text =
            "7 (we (ir) x) S 1 7 7 0 -1 4194560 900 0 3 0 150 50 0 0 20 0 4 0 12345 1048576 256 184467440737";
        let expected = Stat {
            cpu_seconds: 2.0,
            virtual_bytes: 1_048_576.0,
            resident_bytes: 1_048_576.0,
            start_seconds: 123.45,
        };
        assert_eq!(parse_stat(text, 100.0, 4096.0), Some(expected));
        assert_eq!(parse_stat("7 (weir) S 1", 100.0, 4096.0), None);
    }

    #[test]
    fn the_soft_limit_counts() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(parse_limit(text), Some(1024.0));
        assert_eq!(parse_limit("Max open files  unlimited unlimited files"), None);
    }
}
