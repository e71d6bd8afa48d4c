//! The arguments of `weir run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgMatches, Args, FromArgMatches, ValueEnum};
use serde_json::{Map, Value, json};
use weir_k8s::config::{self, parse_duration, set_field};

use super::flags::parse_bool;
use super::{NodeArguments, PolicyArguments};

/// `weir run`
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) input: RunInputArguments,
    /// Directory for state that is kept across restarts: compiled plugins, and the time at which each endpoint became
    /// ready. Its subdirectory `plugins`, which weir creates, must have mode 700.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// File to which weir appends each question that it asks a plugin, together with the answer. `weir replay` reads
    /// this file.
    #[arg(long, value_name = "FILE", requires = "policy", help_heading = "Policy")]
    pub(crate) record: Option<PathBuf>,
    /// Read all objects, bring the kernel in sync once, and exit. Exits with status 1 if anything failed.
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) special: SpecialRuns,
}

/// The source of the objects, the configuration and the node.
#[derive(Args, Debug)]
pub(crate) struct RunInputArguments {
    /// Read the objects from this folder or file (YAML or JSON, including Lists) instead of from the API server.
    #[arg(long, value_name = "PATH")]
    pub(crate) manifests: Option<PathBuf>,
    /// Address of the API server; overrides the kubeconfig. Can be combined with --config.
    #[arg(long, value_name = "URL")]
    pub(crate) master: Option<String>,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    #[command(flatten)]
    pub(crate) policy: PolicyArguments,
}

/// kube-proxy's flags that do one task and exit.
#[derive(Args, Debug)]
pub(crate) struct SpecialRuns {
    /// Write the effective configuration to this file and exit.
    #[arg(long, value_name = "FILE", help_heading = "Do one task and exit")]
    pub(crate) write_config_to: Option<PathBuf>,
    /// Do only the setup that needs more than CAP_NET_ADMIN and CAP_NET_RAW (sysctls, connection tracking limits,
    /// loading the scheduler), and exit.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool, help_heading = "Do one task and exit")]
    init_only: Option<bool>,
    /// Do the same as `weir cleanup`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool, help_heading = "Do one task and exit")]
    cleanup: Option<bool>,
    /// Print the version.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = "Do one task and exit")]
    version: Option<String>,
}

impl SpecialRuns {
    /// The flags given to a command other than the daemon; `None` if the command does not accept the daemon's
    /// arguments.
    pub(crate) fn of_another(matches: &ArgMatches) -> Option<SpecialRuns> {
        let (name, mut matches) = matches.subcommand()?;
        while let Some((_, inner)) = matches.subcommand() {
            matches = inner;
        }
        let takes_them = name != "run" && matches.try_contains_id("write_config_to").is_ok();
        takes_them.then(|| SpecialRuns::from_arg_matches(matches).ok()).flatten()
    }

    /// The flags given that make the daemon do something else and exit.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("write-config-to", self.write_config_to.is_some()),
            ("init-only", self.init_only()),
            ("cleanup", self.cleanup()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name)
    }

    /// `--init-only`
    pub(crate) fn init_only(&self) -> bool {
        self.init_only == Some(true)
    }

    /// `--cleanup`
    pub(crate) fn cleanup(&self) -> bool {
        self.cleanup == Some(true)
    }

    /// `--version`; kube-proxy also accepts `raw` and a version to report instead.
    pub(crate) fn version(&self) -> bool {
        self.version.as_deref().is_some_and(|text| parse_bool(text) != Ok(false))
    }
}

/// The flags of [`LoggingFlags`] that the daemon's help lists.
pub(super) const OF_LOGGING: [&str; 4] = ["log", "log_format", "logging_format", "verbosity"];

/// Logging. All of these can be combined with --config and only affect the daemon.
#[derive(Args, Debug, Default)]
pub(crate) struct LoggingFlags {
    /// Log level: error, warn, info, debug or trace. Overrides the verbosity (-v).
    #[arg(long, hide = true, value_name = "LEVEL", help_heading = "Logging")]
    pub(crate) log: Option<String>,
    /// Log format, text or JSON; same as --logging-format.
    #[arg(long, hide = true, value_enum, help_heading = "Logging")]
    log_format: Option<LogFormat>,
    /// logging.format: text or json [default: text]
    #[arg(long, hide = true, value_name = "FORMAT", help_heading = "Logging")]
    logging_format: Option<String>,
    /// logging.verbosity: up to 3 = info, 4 and 5 = debug, 6 and above = trace [default: 0]
    #[arg(short = 'v', long = "v", hide = true, value_name = "LEVEL", help_heading = "Logging")]
    verbosity: Option<u32>,
    #[arg(long, hide = true, action = ArgAction::Append, value_delimiter = ',', value_parser = parse_module)]
    vmodule: Vec<Module>,
    #[arg(long, hide = true, value_parser = parse_interval)]
    log_flush_frequency: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    log_text_split_stream: Option<bool>,
    #[arg(long, hide = true)]
    log_text_info_buffer_size: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    log_json_split_stream: Option<bool>,
    #[arg(long, hide = true)]
    log_json_info_buffer_size: Option<String>,
}

/// The log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// One part of `--vmodule`.
#[derive(Clone, Debug)]
struct Module {
    pattern: String,
    verbosity: u32,
}

fn parse_module(text: &str) -> Result<Module, String> {
    let parts = text.split_once('=').and_then(|(pattern, n)| Some((pattern, n.trim().parse().ok()?)));
    match parts {
        Some((pattern, verbosity)) => Ok(Module { pattern: pattern.to_owned(), verbosity }),
        None => Err("expected PATTERN=LEVEL".to_owned()),
    }
}

fn parse_interval(text: &str) -> Result<String, String> {
    parse_time(text).map(|_| text.to_owned())
}

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration such as 5s".to_owned())
}

impl LoggingFlags {
    /// The configuration fields that these flags set.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let format = self.logging_format.clone();
        let format = format.or(self.log_format.map(|format| match format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }));
        let modules: Vec<Value> = self
            .vmodule
            .iter()
            .map(|module| json!({"filePattern": module.pattern, "verbosity": module.verbosity}))
            .collect();
        let given = [
            ("logging.format", format.map(|format| json!(format))),
            ("logging.verbosity", self.verbosity.map(|verbosity| json!(verbosity))),
            ("logging.vmodule", Some(json!(modules)).filter(|_| !modules.is_empty())),
            ("logging.flushFrequency", self.log_flush_frequency.as_ref().map(|time| json!(time))),
            ("logging.options.text.splitStream", self.log_text_split_stream.map(|on| json!(on))),
            (
                "logging.options.text.infoBufferSize",
                self.log_text_info_buffer_size.as_ref().map(|n| json!(n)),
            ),
            ("logging.options.json.splitStream", self.log_json_split_stream.map(|on| json!(on))),
            (
                "logging.options.json.infoBufferSize",
                self.log_json_info_buffer_size.as_ref().map(|n| json!(n)),
            ),
        ];
        let mut fields = Map::new();
        for (field, value) in given {
            if let Some(value) = value {
                set_field(&mut fields, field, value);
            }
        }
        fields
    }

    /// The log level: the one given, or the equivalent of kube-proxy's verbosity.
    pub(crate) fn level(&self, logging: config::Logging) -> &str {
        match (&self.log, logging.verbosity) {
            (Some(level), _) => level,
            (None, 0..=3) => "info",
            (None, 4 | 5) => "debug",
            (None, _) => "trace",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosity_is_a_level_unless_one_is_given() {
        let level = |flags: &LoggingFlags, verbosity| {
            flags.level(config::Logging { format: config::LogFormat::Text, verbosity }).to_owned()
        };
        let flags = LoggingFlags::default();
        let levels = [0, 3, 4, 5, 6, 10].map(|verbosity| level(&flags, verbosity));
        assert_eq!(levels, ["info", "info", "debug", "debug", "trace", "trace"]);
        let flags = LoggingFlags { log: Some("warn".to_owned()), ..flags };
        assert_eq!(level(&flags, 9), "warn");
    }
}
