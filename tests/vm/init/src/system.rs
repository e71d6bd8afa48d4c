//! The guest apart from its network: mounts, devices, the port to the host, power.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot, sethostname};
use weir_guest_init::{PORT, Streams};

/// The environment of every command.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
    ("HOME", "/root"),
    ("TERM", "linux"),
    ("LANG", "C.UTF-8"),
    ("RUST_BACKTRACE", "1"),
    // With a single thread, tests run on the main thread, whose name is not the test's; some tests use that name
    // to start themselves again.
    ("RUST_TEST_THREADS", "2"),
    ("WEIR_GUEST", "1"),
];

/// The name of the node where the scenarios were recorded.
const HOST_NAME: &[u8] = b"node1";

/// Modules the guest itself needs; the kernel or the tests load everything else on demand.
const DEVICE_MODULES: &[&str] = &["virtio_pci", "virtio_console", "virtio_net"];

/// Time limit for devices to appear; under emulation on a busy machine it can take seconds.
const DEVICE_DEADLINE: Duration = Duration::from_secs(30);

/// Mounts the kernel's file systems and sets the host name.
pub(crate) fn mount_all() -> Result<()> {
    let none = MountFlags::empty();
    let mounts: &[(&str, &str, &CStr)] = &[
        ("proc", "/proc", c""),
        ("sysfs", "/sys", c""),
        ("devtmpfs", "/dev", c""),
        ("devpts", "/dev/pts", c"ptmxmode=666"),
        ("tmpfs", "/dev/shm", c""),
        ("cgroup2", "/sys/fs/cgroup", c""),
        ("bpf", "/sys/fs/bpf", c""),
    ];
    for (kind, place, data) in mounts {
        fs::create_dir_all(place).with_context(|| format!("cannot create {place}"))?;
        match mount(*kind, *place, *kind, none, *data) {
            // Debian's kernels mount devtmpfs themselves.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot mount {kind} on {place}")),
        }
    }
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        let link = Path::new("/dev").join(name);
        symlink(Path::new("/proc/self").join(target), &link)
            .with_context(|| format!("cannot link {link:?}"))?;
    }
    // If the host put files below /tmp, the directory has the host's mode.
    fs::set_permissions("/tmp", Permissions::from_mode(0o1777))
        .context("cannot make /tmp writable for all")?;
    // When out of memory, the guest must stop with a reason on the console, instead of continuing without the
    // killed process.
    fs::write("/proc/sys/vm/panic_on_oom", "1").context("cannot make out-of-memory fatal")?;
    sethostname(HOST_NAME).context("cannot set the host name")
}

/// Loads the drivers of the guest's own devices.
pub(crate) fn load_devices() -> Result<()> {
    let status = Command::new("/usr/sbin/modprobe").arg("-a").args(DEVICE_MODULES).status();
    match status.context("cannot start modprobe")? {
        status if status.success() => Ok(()),
        status => bail!("modprobe {DEVICE_MODULES:?}: {status}"),
    }
}

/// Opens the virtio serial port to the host.
pub(crate) fn open_port() -> Result<File> {
    let name = wait_until("the port to the host", find_port)?;
    let path = Path::new("/dev").join(name);
    wait_until("the port's device node", || OpenOptions::new().write(true).open(&path).ok())
}

/// Opens the interactive console.
pub(crate) fn open_console() -> Result<File> {
    wait_until("the console", || OpenOptions::new().read(true).write(true).open("/dev/hvc0").ok())
}

/// Powers off the guest. The host stops it before that, once it has read everything from the port; with an
/// interactive guest there is nothing left to read.
pub(crate) fn power_off(streams: Streams) -> Result<()> {
    match streams {
        Streams::Port => thread::sleep(Duration::from_secs(10)),
        Streams::Console => {}
    }
    reboot(RebootCommand::PowerOff).context("cannot power off")
}

fn find_port() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let named =
        |path: &PathBuf| fs::read_to_string(path.join("name")).is_ok_and(|name| name.trim_end() == PORT);
    let found = ports.filter_map(Result::ok).map(|entry| entry.path()).find(named)?;
    found.file_name().map(PathBuf::from)
}

/// Polls until there is a result: the kernel creates devices asynchronously, and without udev there is no
/// notification.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < DEVICE_DEADLINE {
        if let Some(found) = look() {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(5));
    }
    bail!("{what} did not appear within {DEVICE_DEADLINE:?}")
}
