//! Where log lines go.

use std::io::IsTerminal;

use anyhow::bail;
use tracing_subscriber::filter::LevelFilter;
use weir_k8s::config::LogFormat;

/// Sends log lines of this level and above to standard error.
pub(crate) fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let Ok(level) = level.parse::<LevelFilter>() else {
        bail!("--log `{level}`: allowed are error, warn, info, debug and trace");
    };
    // The daemon outlives whoever reads its log: a line that cannot be written must not end it.
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
    Ok(())
}
