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
use weir_core::kernel::ReadError;
use weir_core::sampling::Readings;
use weir_core::state::VirtualServer;
use weir_kernel::Linux;
use weir_kernel::linux::AllTraffic;

use super::status;
use crate::cli::{Output, TopArguments};
use crate::inputs::{self, Settings};
use crate::output::say;
use crate::top::app::{App, Next};
use crate::top::{Leaving, Watched, view};

/// The longest delay until a signal is noticed.
const LOOK: Duration = Duration::from_millis(250);

/// Shows traffic until the user quits, or once.
pub(crate) fn run(arguments: &TopArguments) -> anyhow::Result<ExitCode> {
    if !arguments.once {
        ensure!(arguments.output == Output::Text, "--output json requires --once");
        ensure!(std::io::stdout().is_terminal(), "standard output is not a terminal; use --once");
    }
    let settings = inputs::settings(&arguments.node)?;
    let started = Instant::now();
    let mut source = Source { kernel: Linux::new(&[]), settings, started, waited: Duration::ZERO };
    let (sort, filter, interval) = (arguments.sort, arguments.filter.clone(), arguments.interval);
    let mut app = App { sort, filter, interval, ..App::default() };
    // Read before the screen opens, so that an error appears on the normal terminal.
    source.read(&mut app)?;
    if let Some(server) = arguments.server() {
        app.open = Some(Watched::new(server));
        source.read(&mut app)?;
        ensure!(
            app.open.as_ref().is_some_and(|watched| watched.exists),
            "the kernel has no virtual server {server}; `weir top --once` lists all virtual servers"
        );
    }
    if arguments.once {
        std::thread::sleep(interval);
        source.read_services(&mut app)?;
        source.read_endpoints(&mut app)?;
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
        watch(&mut terminal, &mut app, &mut source, &ended)?;
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
    source: &mut Source<Linux>,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    let mut is_drawn = false;
    while !ended.load(Ordering::Relaxed) {
        let reads = source.now() >= app.due() && !app.paused;
        if reads {
            // The screen shows errors.
            source.read(app).ok();
        }
        if reads || !is_drawn {
            terminal.draw(|frame| view::draw(frame, app)).context("cannot draw the screen")?;
            is_drawn = true;
        }
        let wait = if app.paused { LOOK } else { app.due().saturating_sub(source.now()).min(LOOK) };
        if event::poll(wait).context("cannot read keys")? {
            // All other events change the size of the terminal.
            is_drawn = false;
            let Event::Key(key) = event::read().context("cannot read keys")? else { continue };
            if app.key(key) == Next::Quit {
                return Ok(());
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

/// What the kernel counts.
trait Counters {
    /// As in [`Linux::traffic`].
    fn traffic(&mut self) -> Result<Option<AllTraffic>, ReadError>;

    /// As in [`Linux::readings`].
    fn readings(&mut self, server: VirtualServer) -> Result<Readings, ReadError>;
}

impl Counters for Linux {
    fn traffic(&mut self) -> Result<Option<AllTraffic>, ReadError> {
        Linux::traffic(self)
    }

    fn readings(&mut self, server: VirtualServer) -> Result<Readings, ReadError> {
        Linux::readings(self, server)
    }
}

/// The source of the numbers.
struct Source<K> {
    kernel: K,
    settings: Settings,
    started: Instant,
    /// How long the last reading waited for the daemon, which uses no processor here.
    waited: Duration,
}

impl<K: Counters> Source<K> {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Reads what the screen shows: the endpoints of one service, or all services.
    fn read(&mut self, app: &mut App) -> anyhow::Result<()> {
        let begin = self.now();
        self.waited = Duration::ZERO;
        let read = if app.open.is_some() { self.read_endpoints(app) } else { self.read_services(app) };
        app.note(begin + self.waited, self.now(), read.as_ref().err().map(|error| format!("{error:#}")));
        read
    }

    fn read_services(&mut self, app: &mut App) -> anyhow::Result<()> {
        let begin = self.now();
        let traffic = self
            .kernel
            .traffic()
            .context("cannot read the IPVS counters (this needs root or CAP_NET_ADMIN)")?;
        app.take(traffic.context("this kernel has no IPVS; run `modprobe ip_vs`")?, begin);
        Ok(())
    }

    /// Reads the endpoints of the open service, if there is one.
    fn read_endpoints(&mut self, app: &mut App) -> anyhow::Result<()> {
        let Some(watched) = &mut app.open else { return Ok(()) };
        let (server, begin) = (watched.server, self.now());
        let readings = self.kernel.readings(server);
        let readings = readings.with_context(|| format!("cannot read the counters of {server}"))?;
        let drains = readings.iter().flatten().any(|(_, reading)| reading.weight == 0);
        let read = self.now();
        let leaving = if drains { self.leaving(server) } else { Leaving::new() };
        self.waited = self.now().saturating_sub(read);
        watched.take(readings, begin, &leaving);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use weir_core::net::Protocol;
    use weir_kernel::linux::Traffic;

    use super::*;

    /// A kernel with these virtual servers, and the number of times that all of them were read.
    struct Fake {
        servers: Vec<VirtualServer>,
        all: u32,
    }

    impl Counters for Fake {
        fn traffic(&mut self) -> Result<Option<AllTraffic>, ReadError> {
            self.all += 1;
            Ok(Some(self.servers.iter().map(|server| (*server, Traffic::default())).collect()))
        }

        fn readings(&mut self, server: VirtualServer) -> Result<Readings, ReadError> {
            Ok(self.servers.contains(&server).then(BTreeMap::new))
        }
    }

    #[test]
    fn while_a_service_is_open_the_others_are_not_read() {
        let server = |last| VirtualServer::new(Protocol::Tcp, [10, 96, 0, last].into(), 80);
        let settings = inputs::example(&[]);
        let kernel = Fake { servers: vec![server(1), server(2)], all: 0 };
        let (started, waited) = (Instant::now(), Duration::ZERO);
        let mut source = Source { kernel, settings, started, waited };
        let mut app = App::default();
        source.read(&mut app).unwrap();
        assert_eq!((app.services.len(), source.kernel.all), (2, 1));
        for (last, exists) in [(1, true), (3, false)] {
            app.open = Some(Watched::new(server(last)));
            source.read(&mut app).unwrap();
            assert_eq!(app.open.as_ref().map(|of| of.exists), Some(exists));
            assert_eq!(source.kernel.all, 1);
        }
        app.open = None;
        source.read(&mut app).unwrap();
        assert_eq!(source.kernel.all, 2);
    }
}
