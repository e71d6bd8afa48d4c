//! Where log lines go.

use std::collections::HashSet;
use std::fmt::Debug;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::bail;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use weir_core::text::printable;
use weir_k8s::config::LogFormat;

use crate::output::complain;

/// Whether the daemon's log is on.
static STARTED: AtomicBool = AtomicBool::new(false);

/// The most distinct plugin lines that a command shows.
const PLUGIN_LINES: usize = 1000;

/// Whether there is a log, so that errors belong in it too.
pub(crate) fn is_started() -> bool {
    STARTED.load(Ordering::Relaxed)
}

/// Sends log lines of this level and above to standard error.
pub(crate) fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let Ok(level) = level.parse::<LevelFilter>() else {
        bail!("--log `{level}`: must be error, warn, info, debug or trace");
    };
    // The daemon must not exit because its log cannot be written.
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_target(false).with_ansi(colours).init();
        }
    }
    STARTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Shows what plugins write, for commands that have no log. Each line is shown once, as a plugin may be called many
/// times.
pub(crate) fn show_plugins(level: LevelFilter) {
    // Only the first call in a process has an effect.
    let _ = tracing_subscriber::registry().with(PluginLines { level, seen: Mutex::default() }).try_init();
}

struct PluginLines {
    level: LevelFilter,
    seen: Mutex<HashSet<String>>,
}

/// The parts of a plugin's line.
#[derive(Default)]
struct Line {
    plugin: String,
    text: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin" {
            value.clone_into(&mut self.plugin);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "plugin" => self.plugin = format!("{value:?}").trim_matches('"').to_owned(),
            "message" => self.text = format!("{value:?}"),
            _ => {}
        }
    }
}

impl<S: Subscriber> Layer<S> for PluginLines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == weir_policy::LOG_TARGET && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_lowercase();
        let line = format!("plugin {}: {level}: {}", printable(&line.plugin), printable(&line.text));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < PLUGIN_LINES && seen.insert(line.clone()) {
            complain!("{line}");
        }
    }
}
