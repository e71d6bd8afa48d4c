//! What the daemon costs when the wanted state is reached: processor time in the minute after a cold start, and from a
//! changed endpoint to the kernel. It runs in a network namespace of its own, from a folder of manifests. Times are shown,
//! not judged.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// How many services, with ten endpoints each.
const SIZES: [u32; 3] = [1_000, 5_000, 10_000];
const ENDPOINTS: u32 = 10;

/// How long the daemon is watched.
const MINUTE: Duration = Duration::from_secs(60);

/// How long a cold start may take under emulation.
const PATIENCE: Duration = Duration::from_secs(600);

/// Changes that are measured.
const CHANGES: u32 = 5;

fn name(n: u32) -> String {
    format!("service-{n:05}")
}

fn service(n: u32) -> Value {
    let [_, _, high, low] = n.to_be_bytes();
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "bench", "name": name(n)},
        "spec": {"clusterIP": format!("10.96.{high}.{low}"), "ports": [{"name": "http", "port": 80}]},
    })
}

fn slice(n: u32, endpoints: u32) -> Value {
    let [_, _, high, low] = n.to_be_bytes();
    // Two networks of 256 services each would meet otherwise.
    let address = |i: u32| format!("10.{}.{high}.{low}", 100 + i);
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": "bench", "name": format!("{}-x", name(n)), "labels": {"kubernetes.io/service-name": name(n)},
        },
        "addressType": "IPv4",
        "endpoints": (0..endpoints).map(|i| json!({"addresses": [address(i)]})).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080}],
    })
}

/// The processor time of a process so far.
fn processor_time(process: &Child) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
    // `utime` and `stime` of proc_pid_stat(5), without pid and comm; in hundredths of a second on Linux.
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn real_servers() -> Result<usize> {
    Ok(fs::read_to_string("/proc/net/ip_vs").unwrap_or_default().lines().filter(|l| l.contains("->")).count())
}

/// Waits for so many real servers; fails when the daemon ends, or after a generous time.
fn until(count: u32, weir: &mut Weir, what: &str) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let look = Instant::now();
        // The heading has an arrow, too.
        let found = real_servers()?.saturating_sub(1);
        if found == count as usize {
            return Ok(look - start);
        }
        if let Some(status) = weir.process.try_wait()? {
            bail!("{what}: weir has ended: {status}\n{}", fs::read_to_string(weir.log.path())?);
        }
        ensure!(start.elapsed() < PATIENCE, "{what}: {found} real servers, not {count}");
        // A look at many real servers takes long; most of the time is for the daemon.
        std::thread::sleep(look.elapsed().max(Duration::from_millis(20)));
    }
}

/// The daemon, and what it says.
struct Weir {
    process: Child,
    log: NamedTempFile,
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
    let log = NamedTempFile::new()?;
    let process = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--node", "node1", "--healthz-bind-address=", "--metrics-bind-address="])
        // The kernel's limit cannot be written from a network namespace of one's own.
        .args(["--conntrack-max-per-core=0", "--manifests"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(log.reopen()?)
        .spawn()?;
    let mut weir = Weir { process, log };
    let cold = until(services * ENDPOINTS, &mut weir, "cold start")?;
    let before = processor_time(&weir.process)?;
    std::thread::sleep(MINUTE);
    let idle = processor_time(&weir.process)? - before;
    let mut changes = Vec::new();
    for n in 1..=CHANGES {
        let endpoints = ENDPOINTS + n % 2;
        write(folder.path(), "one.yaml", &[service(0), slice(0, endpoints)])?;
        changes.push(until((services - 1) * ENDPOINTS + endpoints, &mut weir, "a change")?);
    }
    changes.sort();
    let median = changes[changes.len() / 2];
    println!(
        "  {services} services: started in {:.1} s; {:.2} s of processor time in the minute after; a change is in the kernel \
         {:.2} s after its file",
        cold.as_secs_f64(),
        idle.as_secs_f64(),
        median.as_secs_f64()
    );
    weir.process.kill()?;
    weir.process.wait()?;
    Ok(())
}

/// The size that a child measures.
const SIZE: &str = "WEIR_IDLE_SERVICES";

fn main() -> Result<()> {
    if let Ok(size) = std::env::var(SIZE) {
        return measure(size.parse()?);
    }
    println!("the daemon when the wanted state is reached, {ENDPOINTS} endpoints a service");
    for size in SIZES {
        // A namespace of its own, so that nothing has to be removed between two sizes.
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
