//! A status in rows, which a terminal shows as lines and the page as a table.

use weir_core::text::{counted, printable};

use super::{Held, Objects, Plugin, Reported, Running, Standing, Status};
use crate::style;

/// How good the state in a row is. The words say so too, for readers who cannot see colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Neutral.
    Plain,
    /// Worth checking.
    Doubtful,
    /// Needs fixing.
    Bad,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its label.
    pub(crate) label: &'static str,
    /// Its lines, none of them empty.
    pub(crate) lines: Vec<String>,
    /// How good it is.
    pub(crate) tone: Tone,
}

fn row(label: &'static str, tone: Tone, lines: impl IntoIterator<Item = String>) -> Row {
    // Untrusted names and messages must not move the cursor.
    let lines = lines.into_iter().map(|line| printable(&line).into_owned());
    Row { label, lines: lines.collect(), tone }
}

/// The time between two moments in seconds since 1970, in at most two units.
pub(crate) fn age(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A time in microseconds, with a unit that fits.
pub(crate) fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// The number of things, or `None` for zero.
fn some(number: usize, thing: &str) -> Option<String> {
    (number > 0).then(|| counted(number, thing))
}

/// A whole status.
pub(crate) fn rows(status: &Status) -> Vec<Row> {
    let backend = &status.backend;
    let rules = backend.rules.as_ref().map(|rules| format!(", rules by iptables ({rules})"));
    let node = format!("{}, weir {}", status.node, status.version);
    let carried = format!(
        "{}, scheduler {}, {}{}",
        backend.mode,
        backend.scheduler,
        backend.families.join(" and "),
        rules.unwrap_or_default()
    );
    let mut rows = vec![row("node", Tone::Plain, [node]), row("backend", Tone::Plain, [carried])];
    match (&status.daemon, &status.kernel) {
        (Some(daemon), _) => rows.extend(running(daemon, status.now)),
        (None, Some(held)) => rows.extend(kernel(held)),
        (None, None) => {}
    }
    rows.push(todo(status));
    rows
}

fn running(daemon: &Running, now: u64) -> Vec<Row> {
    let mut rows = vec![
        row("daemon", Tone::Plain, [format!("running for {}", age(now, daemon.started))]),
        in_step(daemon, now),
        objects(&daemon.objects, now),
    ];
    let services = daemon.services;
    let parts = [
        Some(counted(services.total, "service")),
        some(services.without_endpoints as usize, "service").map(|some| format!("{some} without endpoints")),
        some(services.ignored as usize, "service").map(|some| format!("{some} ignored by a plugin")),
    ];
    rows.push(row("services", Tone::Plain, [join(parts)]));
    let endpoints = daemon.endpoints;
    let parts = [
        Some(format!("{} ready", counted(endpoints.ready, "endpoint"))),
        some(endpoints.terminating as usize, "endpoint").map(|some| format!("{some} terminating")),
        some(endpoints.unready as usize, "endpoint").map(|some| format!("{some} not ready")),
        some(endpoints.draining, "real server").map(|some| format!("{some} draining")),
    ];
    rows.push(row("endpoints", Tone::Plain, [join(parts)]));
    rows.push(pending(daemon, now));
    if !daemon.warnings.is_empty() {
        let urgent = daemon.warnings.iter().any(|warning| warning.urgent);
        let tone = if urgent { Tone::Bad } else { Tone::Doubtful };
        rows.push(row("warnings", tone, daemon.warnings.iter().map(|warning| warning.what.clone())));
    }
    if !daemon.reports.is_empty() {
        rows.push(row("reports", Tone::Doubtful, daemon.reports.iter().map(Reported::line)));
    }
    rows.push(plugins(daemon));
    rows
}

fn in_step(daemon: &Running, now: u64) -> Row {
    let change = daemon.last_change.as_ref().map(|last| {
        let made = counted(last.made, "change");
        format!("last change {} ago: {made} in {}", age(now, last.at), time(last.took_micros))
    });
    let change = change.unwrap_or_else(|| "no change yet".to_owned());
    let (state, tone) = match (&daemon.awaits, daemon.in_step_since) {
        (Some(awaited), _) => (format!("NOT STARTED: waiting for {awaited}"), Tone::Bad),
        (None, Some(since)) => (format!("in sync for {}", age(now, since)), Tone::Good),
        (None, None) => ("OUT OF SYNC".to_owned(), Tone::Bad),
    };
    let waits = daemon.late_since.filter(|since| now.saturating_sub(*since) > 0);
    let waits = waits.map(|since| format!("; a change has been waiting for {}", age(now, since)));
    row("kernel", tone, [format!("{state}; {change}{}", waits.unwrap_or_default())])
}

fn objects(objects: &Objects, now: u64) -> Row {
    let of = |standing, word: &str| objects.names(standing).map(|names| format!("{names} {word}"));
    let (stale, missing) = (of(Standing::Stale, "STALE"), of(Standing::Incomplete, "NOT LISTED"));
    let heard =
        objects.heard.map(|heard| format!("last contact with the API server {} ago", age(now, heard)));
    let tone = match (&stale, &missing) {
        (None, None) => Tone::Plain,
        _ => Tone::Bad,
    };
    let parts = [Some(objects.source.clone()), stale, missing, of(Standing::Current, "current"), heard];
    row("objects", tone, [join(parts)])
}

fn pending(daemon: &Running, now: u64) -> Row {
    let unread = daemon.unread.iter().map(|unread| unread.line(now));
    let failures = daemon.pending.iter().map(|pending| format!("failing for {}", pending.line(now)));
    let held =
        some(daemon.held, "change").map(|held| format!("{held} held back until the failed changes succeed"));
    let lines: Vec<String> = unread.chain(failures).chain(held).collect();
    match lines.is_empty() {
        true => row("pending", Tone::Good, ["nothing".to_owned()]),
        false => row("pending", Tone::Bad, lines),
    }
}

fn plugins(daemon: &Running) -> Row {
    let line = |plugin: &Plugin| {
        let does = if plugin.shadow { "shadow" } else { "active" };
        let suspended = plugin.suspended.as_ref().map(|why| format!(", {}", why.to_uppercase()));
        format!(
            "{} ({} {}, {}): {does}{}; {}, {}, {}, {} from cache",
            plugin.name,
            plugin.component,
            plugin.version,
            plugin.digest,
            suspended.unwrap_or_default(),
            counted(plugin.calls, "call"),
            counted(plugin.failures, "failure"),
            time(plugin.micros),
            counted(plugin.remembered, "answer"),
        )
    };
    let refused = daemon.refused.iter().map(|why| format!("NOT USED: {why}"));
    let lines: Vec<String> = daemon.plugins.iter().map(line).chain(refused).collect();
    let bad = !daemon.refused.is_empty() || daemon.plugins.iter().any(|plugin| plugin.suspended.is_some());
    match lines.is_empty() {
        true => row("plugins", Tone::Plain, ["none; services are handled as in kube-proxy".to_owned()]),
        false => row("plugins", if bad { Tone::Bad } else { Tone::Plain }, lines),
    }
}

fn kernel(held: &Held) -> Vec<Row> {
    let mut rows = vec![row("daemon", Tone::Bad, [format!("NO ANSWER: {}", held.no_daemon)])];
    if !held.has_ipvs {
        rows.push(row("kernel", Tone::Bad, ["NO IPVS".to_owned()]));
        return rows;
    }
    let parts = [
        Some(counted(held.virtual_servers, "virtual server")),
        some(held.without_real_servers, "virtual server").map(|some| format!("{some} without a real server")),
        Some(counted(held.real_servers, "real server")),
        some(held.quiesced, "quiesced real server"),
    ];
    rows.push(row("kernel", Tone::Plain, [join(parts)]));
    rows
}

fn todo(status: &Status) -> Row {
    let lines = status.todo.iter().enumerate().flat_map(|(index, advice)| {
        let mark = if advice.urgent { "!" } else { "-" };
        [format!("{}. {mark} {}", index + 1, advice.what), format!("     → {}", advice.fix)]
    });
    let lines: Vec<String> = lines.collect();
    match (lines.is_empty(), status.needs_attention()) {
        (true, _) => row("to do", Tone::Good, ["nothing".to_owned()]),
        (false, true) => row("to do", Tone::Bad, lines),
        (false, false) => row("to do", Tone::Doubtful, lines),
    }
}

fn join(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The rows as lines for a terminal.
pub(crate) fn screen(status: &Status, paint: fn(Tone, &str) -> String) -> String {
    let rows = rows(status);
    let width = rows.iter().map(|row| row.label.len()).max().unwrap_or_default();
    let mut screen = String::new();
    for Row { label, lines, tone } in rows {
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            screen += format!("{label:width$}  {}", paint(tone, line)).trim_end();
            screen.push('\n');
        }
    }
    screen
}

/// Adds colours, for a terminal.
pub(crate) fn painted(tone: Tone, text: &str) -> String {
    match tone {
        Tone::Good => style::good(text),
        Tone::Plain => text.to_owned(),
        Tone::Doubtful => style::doubtful(text),
        Tone::Bad => style::bad(text),
    }
}
