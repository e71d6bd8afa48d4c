//! QEMU's command line.

use std::path::Path;
use std::process::{Command, Stdio};

use weir_cluster::{GUEST_ADDRESS, GUEST_PORT};
use weir_guest_init::{PORT, RECORDED_CARD, Streams};

use super::logs::Logs;
use super::{Clock, Machine, Writes};
use crate::architecture::Architecture;

/// Kernel parameters: a panic ends the run, and nothing waits for missing hardware.
const PARAMETERS: &str = "quiet loglevel=5 panic=-1 oops=panic mitigations=off nokaslr random.trust_cpu=on \
     dummy.numdummies=0 cryptomgr.notests";

/// The serial console, and hardware of this architecture that the kernel would probe in vain.
fn parameters(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => {
            "console=ttyS0 tsc=reliable no_timer_check 8250.nr_uarts=1 i8042.noaux i8042.nokbd tpm.disable=1"
        }
        Architecture::Arm64 => "console=ttyAMA0",
    }
}

/// The board, and a processor that software emulates well: the default pointer authentication of `max` is slow.
fn board(architecture: Architecture) -> [&'static str; 4] {
    match architecture {
        Architecture::Amd64 => ["-machine", "pc,vmport=off", "-cpu", "max"],
        Architecture::Arm64 => ["-machine", "virt", "-cpu", "max,pauth-impdef=on"],
    }
}

/// The network card. QEMU's user network loses packets when the offloads are on.
const CARD: &str = "virtio-net-pci,netdev=net,romfile=,disable-legacy=on,csum=off,guest_csum=off,gso=off,\
     mrg_rxbuf=off,mac=";

/// Returns the command that runs `machine`. With [`Streams::Port`] its standard streams are pipes.
pub(super) fn qemu(machine: &Machine, kernel: &Path, root: &Path, logs: &Logs) -> Command {
    // No guest stays behind, even if xtask is killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", machine.architecture.qemu()]);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(board(machine.architecture));
    command.args(match machine.clock {
        Clock::Host => ["-accel", "tcg,thread=multi"].as_slice(),
        Clock::Instructions => &["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"],
    });
    command.args(["-smp", &machine.processors.to_string(), "-m", &machine.memory.to_string()]);
    let parameters = format!("{} {PARAMETERS}", parameters(machine.architecture));
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(root).args(["-append", &parameters]);
    command.arg("-serial").arg(option("file:", &logs.console));
    let (network, address) = match &machine.tap {
        Some(tap) => (
            format!("tap,id=net,ifname={},script=no,downscript=no", tap.device),
            format!("52:54:00:12:34:{:02x}", tap.number),
        ),
        // `restrict` separates the emulated network from the host's.
        None => {
            let forward = machine.api_server.map(forward).unwrap_or_default();
            (format!("user,id=net,restrict=on{forward}"), RECORDED_CARD.to_owned())
        }
    };
    command.args(["-netdev", &network, "-device", &format!("{CARD}{address}")]);
    if let Some(disk) = &machine.disk {
        let writes = match disk.writes {
            Writes::Kept => "cache=unsafe",
            Writes::Forgotten => "cache=unsafe,snapshot=on",
        };
        let drive = option(&format!("if=none,id=disk,format=raw,{writes},file="), &disk.image);
        command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk,disable-legacy=on"]);
    }
    connect(&mut command, machine.streams, logs);
    command
}

/// The only way out: QEMU starts our relay for each connection. Its own forwarding accepts a single connection
/// only.
fn forward(port: u16) -> String {
    let Ok(relay) = std::env::current_exe() else { return String::new() };
    // QEMU splits the command like a shell.
    let relay = relay.display().to_string().replace('\'', "'\\''");
    let command = format!("'{relay}' relay {port}").replace(',', ",,");
    format!(",guestfwd=tcp:{GUEST_ADDRESS}:{GUEST_PORT}-cmd:{command}")
}

/// Adds the serial port and, if wanted, the interactive console.
fn connect(command: &mut Command, streams: Streams, logs: &Logs) {
    command.args(["-device", "virtio-serial-pci,disable-legacy=on"]);
    match streams {
        Streams::Port => {
            command.args(["-chardev", "stdio,id=port,signal=off"]);
            // QEMU takes the end of its input for a closed connection, so it gets a pipe that stays open.
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        }
        Streams::Console => {
            command.args([
                "-chardev",
                "stdio,id=console,signal=off",
                "-device",
                "virtconsole,chardev=console",
            ]);
            command.arg("-chardev").arg(option("file,id=port,path=", &logs.port));
        }
    }
    command.args(["-device", &format!("virtserialport,chardev=port,name={PORT}")]);
}

/// A QEMU option that contains a path; commas must be doubled.
fn option(prefix: &str, path: &Path) -> String {
    format!("{prefix}{}", path.display().to_string().replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::machine::{Disk, Tap};

    fn arguments(clock: Clock, streams: Streams) -> String {
        arguments_with(clock, streams, None)
    }

    fn arguments_with(clock: Clock, streams: Streams, api_server: Option<u16>) -> String {
        let machine = Machine { clock, streams, api_server, ..sample() };
        line(&machine)
    }

    fn sample() -> Machine {
        Machine {
            architecture: Architecture::HOST,
            memory: 700,
            processors: 3,
            clock: Clock::Host,
            timeout: Duration::ZERO,
            streams: Streams::Port,
            api_server: None,
            disk: None,
            tap: None,
        }
    }

    fn line(machine: &Machine) -> String {
        let logs = Logs::new(Path::new("/a,b"));
        let command = qemu(machine, Path::new("/k"), Path::new("/r"), &logs);
        command.get_args().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn emulates_in_software_whatever_the_host_can() {
        for clock in [Clock::Host, Clock::Instructions] {
            let line = arguments(clock, Streams::Port);
            assert!(line.contains("-accel tcg,") && !line.contains("kvm"), "{line}");
        }
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert!(arguments(Clock::Host, Streams::Console).contains("path=/a,,b/port.log"));
    }

    #[test]
    fn the_guest_cannot_reach_the_host() {
        let line = arguments(Clock::Host, Streams::Port);
        assert!(line.contains("user,id=net,restrict=on") && !line.contains("fwd"), "{line}");
    }

    #[test]
    fn a_node_has_a_disk_whose_file_stays_as_it_is_and_a_card_of_its_own() {
        let disk = Disk { image: "/disk,1".into(), writes: Writes::Forgotten };
        let tap = Tap { device: "tap2".into(), number: 2 };
        let line = line(&Machine { disk: Some(disk), tap: Some(tap), ..sample() });
        assert!(line.contains("snapshot=on,file=/disk,,1 "), "{line}");
        assert!(
            line.contains("tap,id=net,ifname=tap2,") && line.contains("mac=52:54:00:12:34:02 "),
            "{line}"
        );
        assert!(!line.contains("user,"), "{line}");
    }

    #[test]
    fn the_api_server_is_all_that_the_guest_can_reach() {
        let line = arguments_with(Clock::Host, Streams::Port, Some(4321));
        let forward = "user,id=net,restrict=on,guestfwd=tcp:10.0.2.100:6443-cmd:'/";
        assert!(line.contains(forward) && line.contains("' relay 4321 -device"), "{line}");
    }
}
