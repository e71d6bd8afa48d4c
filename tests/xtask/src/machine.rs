//! One run of QEMU. It emulates the processor in software, so it behaves the same everywhere and needs no
//! privileges.

mod command_line;
mod logs;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use weir_guest_init::{Decoder, Frame, Piece, Status, Streams};

use crate::architecture::Architecture;
use logs::Logs;

/// How the guest's clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Follows the host's time; each emulated processor has its own thread.
    Host,
    /// One tick per instruction on a single thread: slower, but ratios are repeatable.
    Instructions,
}

/// The guest's hardware.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) architecture: Architecture,
    /// In MiB.
    pub(crate) memory: u64,
    pub(crate) processors: u32,
    pub(crate) clock: Clock,
    /// Wall-clock limit of the whole run.
    pub(crate) timeout: Duration,
    pub(crate) streams: Streams,
    /// A loopback port of the host that the guest reaches as [`weir_cluster::GUEST_ADDRESS`]; it can reach nothing
    /// else of the host.
    pub(crate) api_server: Option<u16>,
    pub(crate) disk: Option<Disk>,
    /// Replaces QEMU's own network; `api_server` then has no effect.
    pub(crate) tap: Option<Tap>,
}

/// A file that becomes the guest's first virtio disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) image: PathBuf,
    pub(crate) writes: Writes,
}

/// What happens to data that the guest writes to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    Kept,
    Forgotten,
}

/// A tap device of the host as the guest's network card.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    pub(crate) device: String,
    /// The last byte of the card's address.
    pub(crate) number: u8,
}

enum Event {
    Bytes(Vec<u8>),
    Closed,
    Interrupted(i32),
}

/// Receives the commands' output and exit status.
pub(crate) trait Listener {
    /// The command with this index starts; its output follows.
    fn begun(&mut self, index: usize) -> Result<()>;
    /// The running command wrote `bytes`.
    fn output(&mut self, bytes: &[u8]) -> Result<()>;
    /// The command with this index ended.
    fn ended(&mut self, index: usize, status: Status) -> Result<()>;
}

impl Machine {
    /// Boots `kernel` with `root`, passes everything to `listener`, and returns when the guest is done.
    ///
    /// # Errors
    /// When QEMU cannot start, or the guest stops early: panic, out of memory, timeout, Ctrl-C. The error contains
    /// the end of the kernel's console output.
    pub(crate) fn run(
        &self,
        kernel: &Path,
        root: &Path,
        directory: &Path,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let logs = Logs::new(directory);
        let (sender, events) = mpsc::channel();
        watch_signals(sender.clone())?;
        let mut command = command_line::qemu(self, kernel, root, &logs);
        let errors = File::create(&logs.errors).context("cannot create a log")?;
        let child = command.stderr(errors).spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut qemu = Qemu { child };
        match self.streams {
            Streams::Port => {
                let output = qemu.child.stdout.take().context("QEMU has no output")?;
                thread::spawn(move || forward(output, &sender));
            }
            Streams::Console => {
                wait_for_user(&mut qemu, &events)?;
                let log = File::open(&logs.port).context("QEMU did not start")?;
                thread::spawn(move || forward(log, &sender));
            }
        }
        let result = follow(&events, Instant::now() + self.timeout, listener);
        qemu.end();
        result.map_err(|error| if error.is::<Interrupted>() { error } else { logs.explain(&error) })
    }
}

/// The user or a supervisor stopped the run with this signal. The guest's logs would explain nothing.
#[derive(Debug, thiserror::Error)]
#[error("stopped by signal {0}")]
struct Interrupted(i32);

/// A QEMU process that is stopped on drop.
struct Qemu {
    child: Child,
}

impl Qemu {
    fn end(&mut self) {
        // SIGTERM first, so that QEMU restores the terminal's settings.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && matches!(self.child.try_wait(), Ok(None))
        {
            // It may have exited between the two calls, which is fine.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until QEMU exits by itself; meanwhile the guest uses the terminal.
fn wait_for_user(qemu: &mut Qemu, events: &Receiver<Event>) -> Result<()> {
    while qemu.child.try_wait().context("cannot wait for QEMU")?.is_none() {
        if let Ok(Event::Interrupted(signal)) = events.recv_timeout(Duration::from_millis(50)) {
            bail!(Interrupted(signal));
        }
    }
    Ok(())
}

fn watch_signals(sender: Sender<Event>) -> Result<()> {
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch signals")?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(Event::Interrupted(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn forward(mut input: impl Read, sender: &Sender<Event>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let event = match input.read(&mut buffer) {
            Ok(0) => Event::Closed,
            Ok(count) => Event::Bytes(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => Event::Closed,
        };
        let last = matches!(event, Event::Closed);
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

fn follow(events: &Receiver<Event>, deadline: Instant, listener: &mut dyn Listener) -> Result<()> {
    let mut decoder = Decoder::default();
    let mut running = None;
    loop {
        let bytes = match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Bytes(bytes)) => bytes,
            Ok(Event::Interrupted(signal)) => bail!(Interrupted(signal)),
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => {
                // Ctrl-C reaches QEMU too, and its end may be seen first.
                if let Ok(Event::Interrupted(signal)) = events.recv_timeout(Duration::from_millis(200)) {
                    bail!(Interrupted(signal));
                }
                return Err(ended_early(running, "the guest stopped early"));
            }
            Err(RecvTimeoutError::Timeout) => return Err(ended_early(running, "timeout")),
        };
        for piece in decoder.push(&bytes) {
            match piece {
                Piece::Frame(Frame::Begin(index)) => {
                    running = Some(index);
                    listener.begun(index)?;
                }
                Piece::Frame(Frame::End(index, status)) => listener.ended(index, status)?,
                Piece::Frame(Frame::Done) => return Ok(()),
                Piece::Output(bytes) => listener.output(&bytes)?,
            }
        }
    }
}

fn ended_early(running: Option<usize>, reason: &str) -> Error {
    match running {
        Some(index) => anyhow!("{reason} while command {} was running", index + 1),
        None => anyhow!("{reason} before the first command ran"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records its calls.
    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Listener for Notes {
        fn begun(&mut self, index: usize) -> Result<()> {
            self.0.push(format!("begin {index}"));
            Ok(())
        }

        fn output(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.push(String::from_utf8_lossy(bytes).into_owned());
            Ok(())
        }

        fn ended(&mut self, index: usize, status: Status) -> Result<()> {
            self.0.push(format!("end {index} {status}"));
            Ok(())
        }
    }

    /// Runs `follow` on these events, followed by a moment of silence.
    fn followed(events: Vec<Event>) -> (Vec<String>, Result<(), String>) {
        let (sender, receiver) = mpsc::channel();
        for event in events {
            sender.send(event).unwrap();
        }
        let mut notes = Notes::default();
        let deadline = Instant::now() + Duration::from_millis(20);
        let result = follow(&receiver, deadline, &mut notes);
        drop(sender);
        (notes.0, result.map_err(|error| error.to_string()))
    }

    fn frames(frames: &[Frame]) -> Event {
        Event::Bytes(frames.iter().map(Frame::to_string).collect::<String>().into_bytes())
    }

    #[test]
    fn ends_when_the_guest_is_done() {
        let events = vec![
            frames(&[Frame::Begin(0)]),
            Event::Bytes(b"hello".to_vec()),
            frames(&[Frame::End(0, Status::Exited(1)), Frame::Done]),
            Event::Closed,
        ];
        let expected = ["begin 0", "hello", "end 0 exit 1"].map(str::to_owned).to_vec();
        assert_eq!(followed(events), (expected, Ok(())));
    }

    #[test]
    fn says_what_ran_when_the_guest_vanished() {
        let (_, result) = followed(vec![frames(&[Frame::Begin(2)]), Event::Closed]);
        assert_eq!(result, Err("the guest stopped early while command 3 was running".to_owned()));
        let (_, result) = followed(vec![Event::Closed]);
        assert_eq!(result, Err("the guest stopped early before the first command ran".to_owned()));
    }

    #[test]
    fn waits_no_longer_than_the_deadline() {
        let (_, result) = followed(vec![frames(&[Frame::Begin(0)])]);
        assert_eq!(result, Err("timeout while command 1 was running".to_owned()));
    }

    #[test]
    fn a_signal_ends_the_run() {
        let (_, result) = followed(vec![Event::Interrupted(SIGINT)]);
        assert_eq!(result, Err("stopped by signal 2".to_owned()));
        let (_, result) = followed(vec![Event::Closed, Event::Interrupted(SIGINT)]);
        assert_eq!(result, Err("stopped by signal 2".to_owned()));
    }
}
