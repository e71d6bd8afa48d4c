//! The state of the screen of `weir top`, and the keys that change it.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use weir_core::state::VirtualServer;
use weir_kernel::linux::AllTraffic;

use super::{Attempt, Endpoint, Service, Sort, Watched, Window, services};

/// The number of rows that a page key moves.
const PAGE: usize = 20;

/// Everything shown on the screen.
#[derive(Debug, Default)]
pub(crate) struct App {
    /// In the order of `sort`.
    pub(crate) services: Vec<Service>,
    /// The readings behind the rates of services.
    pub(crate) window: Window<VirtualServer>,
    /// The time between two readings that the user asked for.
    pub(crate) interval: Duration,
    /// The last reading of all services.
    pub(crate) last: Option<Attempt>,
    pub(crate) sort: Sort,
    /// Only services that match this text are shown.
    pub(crate) filter: String,
    /// Whether keys edit the filter.
    pub(crate) typing: bool,
    pub(crate) paused: bool,
    /// The selected row among the rows shown.
    pub(crate) selected: usize,
    /// The service whose endpoints are shown, in the order of `sort`.
    pub(crate) open: Option<Watched>,
}

/// What to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Draw the screen, after a reading if one is due.
    Draw,
    /// Exit the program.
    Quit,
}

impl App {
    /// The services that pass the filter.
    pub(crate) fn shown(&self) -> Vec<&Service> {
        let filter = self.filter.to_lowercase();
        let passes = |of: &&Service| {
            filter.is_empty()
                || of.virtual_server.to_string().contains(&filter)
                || of.scheduler.contains(&filter)
        };
        self.services.iter().filter(passes).collect()
    }

    /// When to read again what the screen shows, as a time since the same moment as those of readings.
    pub(crate) fn due(&self) -> Duration {
        self.last().map_or(Duration::ZERO, |last| last.ended + last.pause(self.interval))
    }

    /// Notes that what the screen shows was read from `begin` to `ended`, or could not be read.
    pub(crate) fn note(&mut self, begin: Duration, ended: Duration, error: Option<String>) {
        let last = Some(Attempt { ended, took: ended.saturating_sub(begin), error });
        match &mut self.open {
            Some(watched) => watched.last = last,
            None => self.last = last,
        }
    }

    /// Why what the screen shows could not be read again.
    pub(crate) fn error(&self) -> Option<&str> {
        self.last()?.error.as_deref()
    }

    /// If readings are rarer than the user asked for: the time between two of them, and how long one takes.
    pub(crate) fn slowed(&self) -> Option<(Duration, Duration)> {
        let last = self.last()?;
        let pause = last.pause(self.interval);
        (pause > self.interval).then_some((pause + last.took, last.took))
    }

    /// The last reading of what the screen shows.
    fn last(&self) -> Option<&Attempt> {
        self.open.as_ref().map_or(&self.last, |watched| &watched.last).as_ref()
    }

    /// Adds a reading of all services made at `now`, a time since an arbitrary moment.
    pub(crate) fn take(&mut self, traffic: AllTraffic, now: Duration) {
        self.services = services(&mut self.window, now, traffic);
        self.arrange();
    }

    /// Sorts the rows and keeps the selection within them.
    pub(crate) fn arrange(&mut self) {
        let sort = self.sort;
        let services = |a: &Service, b: &Service| {
            sort.compare(&a.flow, &b.flow).then_with(|| a.virtual_server.cmp(&b.virtual_server))
        };
        let endpoints = |a: &Endpoint, b: &Endpoint| {
            sort.compare(&a.flow, &b.flow).then_with(|| a.real_server.cmp(&b.real_server))
        };
        self.services.sort_by(services);
        let rows = match &mut self.open {
            Some(watched) => {
                watched.endpoints.sort_by(endpoints);
                watched.endpoints.len()
            }
            None => self.shown().len(),
        };
        self.selected = self.selected.min(rows.saturating_sub(1));
    }

    /// Handles a key.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Draw;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        let next = if self.typing { self.type_filter(key.code) } else { self.command(key.code) };
        self.arrange();
        next
    }

    fn command(&mut self, code: KeyCode) -> Next {
        match code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc | KeyCode::Left if self.open.is_some() => {
                let watched = self.open.take().map(|watched| watched.server);
                let row = self.shown().iter().position(|of| Some(of.virtual_server) == watched);
                self.selected = row.unwrap_or_default();
            }
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Enter | KeyCode::Right if self.open.is_none() => {
                let server = self.shown().get(self.selected).map(|service| service.virtual_server);
                let Some(server) = server else { return Next::Draw };
                self.open = Some(Watched::new(server));
                self.selected = 0;
                // A paused screen would not show the endpoints, which have not been read yet.
                self.paused = false;
            }
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') if self.open.is_none() => self.typing = true,
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected += 1,
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            KeyCode::PageDown => self.selected += PAGE,
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = usize::MAX,
            _ => {}
        }
        Next::Draw
    }

    fn type_filter(&mut self, code: KeyCode) -> Next {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
        Next::Draw
    }
}
