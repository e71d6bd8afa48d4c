//! The screen of `weir top`. Colours only repeat what the text says.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{self, Table, TableState};
use weir_core::text::counted;

use super::app::App;
use super::{Endpoint, Flow, Service};
use crate::status::text::{self, Tone, painted};

/// The title, the heading, one row, and the keys.
const LEAST_HEIGHT: u16 = 4;

const MARK: &str = "> ";

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    let remark = remark(app).filter(|_| area.height > LEAST_HEIGHT);
    let remarks = Constraint::Length(remark.is_some().into());
    let line = Constraint::Length(1);
    let [head, body, above_foot, foot] =
        Layout::vertical([line, Constraint::Min(0), remarks, line]).areas(area);
    // There may be thousands of rows, so only the visible ones are built.
    let height = usize::from(body.height.saturating_sub(1));
    let first = (app.selected + 1).saturating_sub(height);
    let sheet = Sheet::of(app, first..first + height).fit(area.width);
    if area.height < LEAST_HEIGHT || sheet.columns.is_empty() {
        frame.render_widget(Line::from("too small: enlarge the terminal"), area);
        return;
    }
    frame.render_widget(Line::from(title(app)).style(Modifier::BOLD), head);
    let mut state = TableState::new().with_selected(app.selected - first);
    frame.render_stateful_widget(sheet.table(), body, &mut state);
    frame.render_widget(Line::from(remark.unwrap_or_default()), above_foot);
    frame.render_widget(Line::from(keys(app)).style(Modifier::DIM), foot);
}

/// Returns the whole table as lines, for standard output.
pub(crate) fn lines(app: &App) -> impl Iterator<Item = String> {
    [title(app)].into_iter().chain(Sheet::of(app, 0..usize::MAX).lines())
}

fn title(app: &App) -> String {
    let (what, time) = match &app.open {
        Some(watched) => {
            let deleted = if watched.exists { "" } else { " (DELETED)" };
            let endpoints = counted(watched.endpoints.len(), "endpoint");
            (format!("{}{deleted}: {endpoints}", watched.server), watched.window.time())
        }
        None => {
            let filter = match (app.typing, app.filter.is_empty()) {
                (true, _) => format!(" with \"{}_\"", app.filter),
                (false, false) => format!(" with \"{}\"", app.filter),
                (false, true) => String::new(),
            };
            let (shown, all) = (app.shown().len(), app.services.len());
            (format!("{shown} of {}{filter}", counted(all, "service")), app.window.time())
        }
    };
    let paused = if app.paused { "PAUSED · " } else { "" };
    let error = app.error().map(|error| format!("CANNOT READ: {error} · ")).unwrap_or_default();
    format!("{error}{paused}{what} · by {} · over {:.1} s", app.sort.name(), time.as_secs_f64())
}

/// Says why the screen is older than the user expects.
fn remark(app: &App) -> Option<String> {
    let (every, takes) = app.slowed()?;
    let [every, takes] =
        [every, takes].map(|of| text::time(u64::try_from(of.as_micros()).unwrap_or(u64::MAX)));
    let what = if app.open.is_some() { "this service" } else { "all services" };
    Some(format!("refreshes every {every}: reading {what} takes {takes}"))
}

fn keys(app: &App) -> &'static str {
    match (app.typing, app.open.is_some()) {
        (true, _) => "Enter keep filter   Esc clear filter",
        (false, true) => "Esc back   s sort   p pause   ↑↓ move   q quit",
        (false, false) => "Enter endpoints   s sort   / filter   p pause   ↑↓ move   q quit",
    }
}

/// A table. The first column is as wide as its names. The others have a heading and a width, the most important first.
struct Sheet {
    name: &'static str,
    columns: Vec<(&'static str, u16)>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    cells: Vec<String>,
    tone: Tone,
}

impl Sheet {
    fn of(app: &App, range: Range<usize>) -> Sheet {
        fn cut<T>(rows: impl Iterator<Item = T>, range: Range<usize>, row: fn(T) -> Row) -> Vec<Row> {
            rows.skip(range.start).take(range.len()).map(row).collect()
        }
        match &app.open {
            Some(watched) => Sheet {
                name: "endpoint",
                columns: ENDPOINT.to_vec(),
                rows: cut(watched.endpoints.iter(), range, endpoint),
            },
            None => Sheet {
                name: "service",
                columns: SERVICE.to_vec(),
                rows: cut(app.shown().into_iter(), range, service),
            },
        }
    }

    fn name_width(&self) -> usize {
        self.rows.iter().map(|row| row.name.len()).chain([self.name.len()]).max().unwrap_or_default()
    }

    /// The width with the first column and this number of others.
    fn width(&self, columns: usize) -> usize {
        let others = self.columns[..columns].iter().map(|(_, width)| 1 + usize::from(*width));
        MARK.len() + self.name_width() + others.sum::<usize>()
    }

    /// Drops columns at the end, because a truncated number would be wrong.
    fn fit(mut self, width: u16) -> Sheet {
        let all = 0..=self.columns.len();
        let fitting = all.rev().find(|columns| self.width(*columns) <= usize::from(width));
        self.columns.truncate(fitting.unwrap_or_default());
        self
    }

    fn table(self) -> Table<'static> {
        fn cells<'a>(name: String, cells: impl Iterator<Item = String>) -> widgets::Row<'a> {
            let right = cells.map(|cell| Line::from(cell).alignment(Alignment::Right));
            widgets::Row::new([Line::from(name)].into_iter().chain(right))
        }
        let heads = self.columns.iter().map(|(head, _)| (*head).to_owned());
        let header = cells(self.name.to_owned(), heads).style(Modifier::UNDERLINED);
        let widths = self.columns.iter().map(|(_, width)| Constraint::Length(*width));
        let widths: Vec<_> = [Constraint::Fill(1)].into_iter().chain(widths).collect();
        let columns = self.columns.len();
        let row = |row: Row| cells(row.name, row.cells.into_iter().take(columns)).style(style(row.tone));
        Table::new(self.rows.into_iter().map(row), widths)
            .header(header)
            .highlight_symbol(MARK)
            .row_highlight_style(Modifier::REVERSED)
    }

    fn lines(self) -> impl Iterator<Item = String> {
        let Sheet { name, columns, rows } = &self;
        let name_width = self.name_width();
        let line = |name: &str, cells: &[String]| {
            let cell = |((_, width), cell): (&(&str, u16), &String)| {
                let width = usize::from(*width);
                format!(" {cell:>width$}")
            };
            format!("{name:name_width$}{}", columns.iter().zip(cells).map(cell).collect::<String>())
        };
        let heads: Vec<String> = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        let rows = rows.iter().map(|row| painted(row.tone, line(&row.name, &row.cells).trim_end()));
        [line(name, &heads)].into_iter().chain(rows).collect::<Vec<_>>().into_iter()
    }
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Plain => Style::new(),
        Tone::Doubtful => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red),
    }
}

/// Columns of [`service`].
const SERVICE: [(&str, u16); 8] = [
    ("conn/s", 8),
    ("active", 7),
    ("in/s", 7),
    ("out/s", 7),
    ("endpoints", 9),
    ("quiesced", 8),
    ("inactive", 8),
    ("scheduler", 9),
];

fn service(service: &Service) -> Row {
    let Service { virtual_server, scheduler, flow, real_servers, quiesced } = service;
    let (takers, tone) = match real_servers {
        0 => ("NONE".to_owned(), Tone::Bad),
        some => (some.to_string(), Tone::Plain),
    };
    let [rate, active, bytes_in, bytes_out, inactive] = numbers(flow);
    let cells = [rate, active, bytes_in, bytes_out, takers, quiesced.to_string(), inactive];
    let cells = cells.into_iter().chain([scheduler.clone()]).collect();
    Row { name: virtual_server.to_string(), cells, tone }
}

/// Columns of [`endpoint`].
const ENDPOINT: [(&str, u16); 10] = [
    ("weight", 6),
    ("wanted", 6),
    ("had", 5),
    ("conn/s", 8),
    ("active", 7),
    ("W = L/λ", 9),
    ("state", 13),
    ("inactive", 8),
    ("in/s", 7),
    ("out/s", 7),
];

fn endpoint(endpoint: &Endpoint) -> Row {
    let percent =
        |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let state = match (endpoint.draining, endpoint.deadline_in_seconds) {
        (true, Some(left)) => format!("drains {left} s"),
        (true, None) => "drains".to_owned(),
        (false, _) if endpoint.weight == 0 => "quiesced".to_owned(),
        (false, _) => String::new(),
    };
    let [rate, active, bytes_in, bytes_out, inactive] = numbers(&endpoint.flow);
    // Saturates, as casts of floating-point numbers do.
    let mean = endpoint.mean_time_ms.map_or("-".to_owned(), |ms| text::time((ms * 1000.0).round() as u64));
    let tone = if state.is_empty() { Tone::Plain } else { Tone::Doubtful };
    let [wanted, had] = [endpoint.share_wanted, endpoint.share_had].map(percent);
    let weight = endpoint.weight.to_string();
    let cells = vec![weight, wanted, had, rate, active, mean, state, inactive, bytes_in, bytes_out];
    Row { name: endpoint.real_server.to_string(), cells, tone }
}

/// Rate, active, bytes in and out, inactive.
fn numbers(flow: &Flow) -> [String; 5] {
    let decimals = if flow.connections_per_second < 1000.0 { 1 } else { 0 };
    [
        format!("{:.decimals$}", flow.connections_per_second),
        flow.active.to_string(),
        bytes(flow.bytes_in_per_second),
        bytes(flow.bytes_out_per_second),
        flow.inactive.to_string(),
    ]
}

/// Formats a number of bytes in at most seven characters.
pub(super) fn bytes(number: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut scaled, mut unit) = (number, 0);
    // Values that would round to four digits use the next unit.
    while scaled >= 999.5 && unit + 1 < units.len() {
        (scaled, unit) = (scaled / 1000.0, unit + 1);
    }
    let decimals = if scaled < 9.95 && unit > 0 { 1 } else { 0 };
    format!("{scaled:.decimals$} {}", units[unit])
}
