//! How soon the API server's service works in a cold start, and the daemon's cost in the steady state: CPU time in
//! the following minute, and the time from a changed endpoint to the kernel; and the cost of a refresh of `weir top`.
//! Runs in a separate network namespace, from a folder of manifests. Times are printed but not checked.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;
use weir_world::{api, build};

/// The numbers of services, with ten endpoints each.
const SIZES: [u32; 3] = [1_000, 5_000, 10_000];
const ENDPOINTS: u32 = 10;

/// How long the daemon is measured.
const MINUTE: Duration = Duration::from_secs(60);

/// The longest cold start under emulation.
const PATIENCE: Duration = Duration::from_secs(600);

/// The number of measured changes.
const CHANGES: u32 = 5;

fn name(n: u32) -> String {
    format!("service-{n:05}")
}

fn service(n: u32) -> Value {
    let [_, _, high, low] = n.to_be_bytes();
    let service = build::service(&format!("bench/{}", name(n))).named_port("http", 80);
    api::service(&service.cluster_ip(Ipv4Addr::new(10, 96, high, low)).build())
}

fn slice(n: u32, endpoints: u32) -> Value {
    let [_, _, high, low] = n.to_be_bytes();
    // Otherwise two networks of 256 services each would collide.
    let endpoint = |i: u32| build::endpoint(Ipv4Addr::new(10, 100 + i as u8, high, low));
    let slice = build::slice(&format!("bench/{}", name(n))).named_port("http", 8080);
    api::slice(&slice.endpoints((0..endpoints).map(endpoint)).build())
}

/// The API server's service, with one endpoint.
fn kubernetes() -> [Value; 2] {
    let service = build::service("kubernetes").cluster_ip("10.95.0.1").named_port("https", 443);
    let slice =
        build::slice("kubernetes").named_port("https", 6443).endpoints([build::endpoint("192.0.2.1")]);
    [api::service(&service.build()), api::slice(&slice.build())]
}

/// The CPU time of a process so far in user and kernel mode, then the same for its exited children.
fn processor_time(process: u32) -> Result<[Duration; 4]> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
    // `utime`, `stime`, `cutime`, `cstime` of proc_pid_stat(5), without pid and comm; in hundredths of a second on Linux.
    let time = |field: &str| Ok::<_, anyhow::Error>(Duration::from_millis(field.parse::<u64>()? * 10));
    Ok([time(fields[11])?, time(fields[12])?, time(fields[13])?, time(fields[14])?])
}

/// The CPU time of one refresh of `weir top`, and the kernel's part. A run reads twice, and its filter matches nothing, so it
/// prints no rows. The rest of the run is included.
fn reading_of_top() -> Result<[Duration; 2]> {
    let [.., own, kernels] = processor_time(std::process::id())?;
    let mut top = Command::new(env!("CARGO_BIN_EXE_weir"));
    top.args(["top", "--node", "node1", "--once", "--interval", "100ms", "--filter", "none"]);
    let status = top.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "weir top: {status}");
    let [.., own_then, kernels_then] = processor_time(std::process::id())?;
    Ok([(own_then - own + kernels_then - kernels) / 2, (kernels_then - kernels) / 2])
}

fn real_servers() -> Result<usize> {
    Ok(fs::read_to_string("/proc/net/ip_vs").unwrap_or_default().lines().filter(|l| l.contains("->")).count())
}

/// Waits until the number of real servers is right, and returns how long that took; fails if the daemon exits, or
/// after a generous time.
fn until(is_right: impl Fn(u32) -> bool, weir: &mut Weir, what: &str) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let look = Instant::now();
        // The header contains an arrow too.
        let found = u32::try_from(real_servers()?.saturating_sub(1))?;
        if is_right(found) {
            return Ok(look - start);
        }
        if let Some(status) = weir.process.try_wait()? {
            bail!("{what}: weir has exited: {status}\n{}", fs::read_to_string(weir.log.path())?);
        }
        ensure!(start.elapsed() < PATIENCE, "{what}: {found} real servers");
        // Reading many real servers takes long; leave most of the time to the daemon.
        std::thread::sleep(look.elapsed().max(Duration::from_millis(20)));
    }
}

/// The daemon and its output.
struct Weir {
    process: Child,
    log: NamedTempFile,
}

impl Weir {
    /// How long the rounds so far took, in order.
    fn rounds(&self) -> Result<Vec<Duration>> {
        let log = fs::read_to_string(self.log.path())?;
        let took = log.lines().filter(|line| line.contains("synchronised"));
        took.map(|line| {
            let took = line.split_once("took_ms=").context("a round without its duration")?.1;
            let digits = took.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            Ok(Duration::from_millis(digits.parse()?))
        })
        .collect()
    }
}

fn write(folder: &Path, file: &str, objects: &[Value]) -> Result<()> {
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    let (new, place) = (folder.join(format!(".{file}")), folder.join(file));
    fs::write(&new, text.join("\n---\n"))?;
    Ok(fs::rename(new, place)?)
}

fn measure(services: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let all: Vec<Value> = (0..services).flat_map(|n| [service(n), slice(n, ENDPOINTS)]).skip(2).collect();
    write(folder.path(), "all.yaml", &all)?;
    write(folder.path(), "one.yaml", &[service(0), slice(0, ENDPOINTS)])?;
    // The last one that it reads.
    write(folder.path(), "zz.yaml", &kubernetes())?;
    let log = NamedTempFile::new()?;
    let process = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--node", "node1", "--healthz-bind-address=", "--metrics-bind-address="])
        // The kernel's limit cannot be set from a separate network namespace.
        .args(["--conntrack-max-per-core=0", "--manifests"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(log.reopen()?)
        .spawn()?;
    let mut weir = Weir { process, log };
    let first = until(|found| found > 0, &mut weir, "the first real server")?;
    ensure!(
        fs::read_to_string("/proc/net/ip_vs")?.contains("0A5F0001:01BB"),
        "the API server's service comes first"
    );
    let all = services * ENDPOINTS + 1;
    let cold = first + until(|found| found == all, &mut weir, "cold start")?;
    let before = processor_time(weir.process.id())?;
    std::thread::sleep(MINUTE);
    let after = processor_time(weir.process.id())?;
    // Their lines come a little after their changes.
    let rounds = weir.rounds()?;
    let [own, kernels] = [0, 1].map(|part| (after[part] - before[part]).as_secs_f64());
    let mut changes = Vec::new();
    for n in 1..=CHANGES {
        let endpoints = ENDPOINTS + n % 2;
        write(folder.path(), "one.yaml", &[service(0), slice(0, endpoints)])?;
        changes.push(until(|found| found == all - ENDPOINTS + endpoints, &mut weir, "a change")?);
    }
    changes.sort();
    let median = changes[changes.len() / 2];
    let cold = cold.as_secs_f64();
    let round = rounds.first().copied().unwrap_or_default().as_secs_f64();
    let all_rounds = rounds.iter().sum::<Duration>().as_secs_f64();
    let [top, kernels_for_top] = reading_of_top()?.map(|time| time.as_secs_f64());
    println!(
        "  {services} services: all after {cold:.1} s, {all_rounds:.2} s of it for planning and the kernel; the round with \
         default/kubernetes took {round:.2} s, 1/{:.0} of that; {:.2} s of processor time in the minute after, {kernels:.2} s of \
         it the kernel's; a change is in the kernel {:.2} s after its file; a refresh of `weir top` takes {top:.2} s of processor \
         time, {kernels_for_top:.2} s of it the kernel's",
        all_rounds / round,
        own + kernels,
        median.as_secs_f64()
    );
    weir.process.kill()?;
    weir.process.wait()?;
    Ok(())
}

/// The size that a child process measures.
const SIZE: &str = "WEIR_IDLE_SERVICES";

fn main() -> Result<()> {
    if let Ok(size) = std::env::var(SIZE) {
        return measure(size.parse()?);
    }
    println!("the daemon when the wanted state is reached, {ENDPOINTS} endpoints a service");
    for size in SIZES {
        // A separate namespace, so that nothing has to be removed between two sizes.
        let this = std::env::current_exe()?;
        let status = Command::new("unshare")
            .args(["-n", "sh", "-c", "ip link set lo up && exec \"$0\""])
            .arg(this)
            .env(SIZE, size.to_string())
            .status()?;
        ensure!(status.success(), "{size} services: {status}");
    }
    println!(
        "test idle ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
    );
    Ok(())
}
