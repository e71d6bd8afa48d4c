//! `weir top`: traffic through this node, live.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use serde_json::json;
use weir_core::state::VirtualServer;
use weir_kernel::Linux;

use super::status;
use crate::cli::{Output, TopArguments};
use crate::inputs::{self, Settings};
use crate::output::say;
use crate::top::app::{App, Next};
use crate::top::{Leaving, Watched, view};

/// Reading and drawing take at most one part in this many of the time: 2 % of a CPU.
const SHARE: u32 = 50;

/// The longest delay until a signal is noticed.
const LOOK: Duration = Duration::from_millis(250);

/// Shows traffic until the user quits, or once.
pub(crate) fn run(arguments: &TopArguments) -> anyhow::Result<ExitCode> {
    if !arguments.once {
        ensure!(arguments.output == Output::Text, "--output json requires --once");
        ensure!(std::io::stdout().is_terminal(), "standard output is not a terminal; use --once");
    }
    let settings = inputs::settings(&arguments.node)?;
    let mut source = Source { kernel: Linux::new(&[]), settings, started: Instant::now() };
    let open = arguments.server().map(Watched::new);
    let mut app = App { sort: arguments.sort, filter: arguments.filter.clone(), open, ..App::default() };
    // Read before the screen opens, so that an error appears on the normal terminal.
    source.read(&mut app)?;
    if let Some(Watched { server, .. }) = &app.open {
        ensure!(
            app.has(*server),
            "the kernel has no virtual server {server}; `weir top --once` lists all virtual servers"
        );
    }
    if arguments.once {
        std::thread::sleep(arguments.interval);
        source.read(&mut app)?;
        print(&app, arguments.output);
    } else {
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register(signal, Arc::clone(&ended)).context("cannot listen for signals")?;
        }
        // Restores the terminal on every exit. `try_init` also makes a panic restore it before the message.
        let _restored = Restored;
        let mut terminal =
            ratatui::try_init().context("cannot use the terminal; `--once` works without one")?;
        watch(&mut terminal, &mut app, &mut source, arguments.interval, &ended)?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Reads and draws until the user or a signal stops it.
fn watch(
    terminal: &mut DefaultTerminal,
    app: &mut App,
    source: &mut Source,
    interval: Duration,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    let mut due = Instant::now() + interval;
    let mut is_drawn = false;
    while !ended.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let reads = begin >= due && !app.paused;
        if reads {
            app.error = source.read(app).err().map(|error| format!("{error:#}"));
        }
        if reads || !is_drawn {
            terminal.draw(|frame| view::draw(frame, app)).context("cannot draw the screen")?;
            is_drawn = true;
        }
        if reads {
            due = Instant::now() + interval.max(begin.elapsed() * SHARE);
        }
        let wait = if app.paused { LOOK } else { due.saturating_duration_since(Instant::now()).min(LOOK) };
        if event::poll(wait).context("cannot read keys")? {
            // All other events change the size of the terminal.
            is_drawn = false;
            let Event::Key(key) = event::read().context("cannot read keys")? else { continue };
            match app.key(key) {
                Next::Quit => return Ok(()),
                Next::Look => app.error = source.look(app).err().map(|error| format!("{error:#}")),
                Next::Draw => {}
            }
        }
    }
    Ok(())
}

fn print(app: &App, output: Output) {
    match output {
        Output::Json => {
            let endpoints = app.open.as_ref().map(|watched| &watched.endpoints);
            let seconds = app.window.time().as_secs_f64();
            say!("{:#}", json!({"seconds": seconds, "services": app.shown(), "endpoints": endpoints}));
        }
        Output::Text => view::lines(app).for_each(|line| say!("{line}")),
    }
}

/// The source of the numbers.
struct Source {
    kernel: Linux,
    settings: Settings,
    started: Instant,
}

impl Source {
    /// Reads all services, and the endpoints if shown.
    fn read(&mut self, app: &mut App) -> anyhow::Result<()> {
        let begin = self.started.elapsed();
        let traffic = self
            .kernel
            .traffic()
            .context("cannot read the IPVS counters (this needs root or CAP_NET_ADMIN)")?;
        app.take(traffic.context("this kernel has no IPVS; run `modprobe ip_vs`")?, begin);
        self.look(app)
    }

    /// Reads the endpoints if they are shown.
    fn look(&mut self, app: &mut App) -> anyhow::Result<()> {
        let Some(watched) = &mut app.open else { return Ok(()) };
        let server = watched.server;
        let readings = self.kernel.sample(server);
        let readings = readings.with_context(|| format!("the counters of {server} cannot be read"))?;
        let drains = readings.values().any(|reading| reading.weight == 0);
        let leaving = if drains { self.leaving(server) } else { Leaving::new() };
        watched.take(readings, self.started.elapsed(), &leaving);
        app.arrange();
        Ok(())
    }

    /// Asks the daemon which real servers it wants to remove. Returns an empty map if no daemon answers.
    fn leaving(&self, server: VirtualServer) -> Leaving {
        let Ok(status) = status::ask(&self.settings) else { return Leaving::new() };
        let server = server.to_string();
        let leaving = status.daemon.unwrap_or_default().leaving;
        let of_server = leaving.into_iter().filter(|of| of.virtual_server == server);
        let left = |deadline: u64| deadline.saturating_sub(status.now);
        of_server.filter_map(|of| Some((of.real_server.parse().ok()?, of.deadline.map(left)))).collect()
    }
}
