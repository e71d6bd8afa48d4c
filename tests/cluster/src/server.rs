//! A server as a child process that cannot outlive this one.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ring::rand::{self, SystemRandom};

/// How long a server may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(25);

/// Below the ports that Linux assigns to connections (32768 and up, `ip_local_port_range`): an API server has some
/// hundred connections to its etcd, and one of them could occupy a port that a server needs again after a restart.
const PORTS: Range<u16> = 12_000..32_000;

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    log: PathBuf,
    ended: Arc<AtomicBool>,
    /// Dropping it stops the keeper, which stops its child.
    order: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a program; its output goes to the log.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        log: PathBuf,
    ) -> Result<Server> {
        // No server stays behind, even if the test is killed. The signal arrives when the starting thread ends, so
        // that thread must live as long as the server.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(arguments);
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stderr(output.try_clone().context("cannot clone the log file")?)
            .stdout(output);
        let (order, orders) = mpsc::channel();
        let (started, outcome) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let keeper = thread::spawn(move || match command.spawn() {
            Ok(child) => {
                // The send fails only if the starter is gone, and then the server is not needed.
                let _ = started.send(Ok(()));
                keep(child, &orders, &told);
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        });
        outcome.recv().context("the keeper thread died")?.with_context(|| format!("cannot start {name}"))?;
        Ok(Server { name, log, ended, order: Some(order), keeper: Some(keeper) })
    }

    /// Waits until the server answers.
    pub(crate) fn await_answer(&self, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        loop {
            match ask() {
                Ok(()) => return Ok(()),
                Err(_) if self.ended.load(Ordering::Acquire) => return Err(self.ended_early()),
                Err(error) if start.elapsed() > PATIENCE => {
                    return Err(error.context(format!(
                        "{} does not answer; last lines of its log:\n{}",
                        self.name,
                        self.log_tail()
                    )));
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn ended_early(&self) -> anyhow::Error {
        anyhow!("{} exited; last lines of its log:\n{}", self.name, self.log_tail())
    }

    /// Whether a start failed because another program took the port.
    pub(crate) fn lost_its_port(error: &anyhow::Error) -> bool {
        format!("{error:#}").contains("address already in use")
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.order = None;
        if let Some(keeper) = self.keeper.take() {
            // It can only have panicked, and a panic prints its message.
            let _ = keeper.join();
        }
    }
}

fn keep(mut child: Child, orders: &Receiver<()>, ended: &AtomicBool) {
    loop {
        match orders.recv_timeout(PAUSE) {
            Err(RecvTimeoutError::Timeout) => {
                if !matches!(child.try_wait(), Ok(None)) {
                    ended.store(true, Ordering::Release);
                    return;
                }
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // Both fail only if it has already exited.
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
        }
    }
}

/// Finds ports that are free at the moment, all different.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for _ in 0..1000 {
        if listeners.len() == N {
            break;
        }
        let random: [u8; 2] = rand::generate(&SystemRandom::new())
            .map_err(|_| anyhow!("cannot generate random bytes"))?
            .expose();
        let port = PORTS.start + u16::from_ne_bytes(random) % (PORTS.end - PORTS.start);
        listeners.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    ensure!(listeners.len() == N, "no free port among {PORTS:?}");
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr().context("no free port")?.port();
    }
    Ok(ports)
}

/// Retries with other ports while other programs take them first.
pub(crate) fn until_ports_are_ours<T>(mut start: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..5 {
        match start() {
            Err(error) if Server::lost_its_port(&error) => {}
            result => return result,
        }
    }
    bail!("other programs took the free ports five times in a row")
}
