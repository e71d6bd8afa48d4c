//! `weir plugin`: plugin commands that need no node.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;
use weir_core::text::printable;
use weir_k8s::read_regular;
use weir_policy::configuration::{self, PluginConfiguration};
use weir_policy::{Artifact, Compiler, LoadError, Loader, Runtime};

use crate::cli::{Output, PluginCommand, PluginFileArguments};
use crate::output::{complain, say};
use crate::{logging, style};

mod ask;
mod bench;
mod new;

/// The largest configuration file that is read, in bytes.
const LARGEST_CONFIGURATION: u64 = 16 << 20;

/// Runs one of the subcommands.
pub(crate) fn run(command: &PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::Check(arguments) => check(arguments),
        PluginCommand::Inspect(arguments) => inspect(arguments),
        PluginCommand::Run(arguments) => ask::ask(arguments),
        PluginCommand::Bench(arguments) => bench::bench(arguments),
        PluginCommand::New(arguments) => new::new(arguments),
    }
}

/// Runs the child process in which a running weir compiles a plugin.
pub(crate) fn compile() -> anyhow::Result<ExitCode> {
    match weir_policy::child() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(complaint) => {
            complain!("{}", complaint.message);
            Ok(complaint.status.into())
        }
    }
}

/// The policy file entry for the plugin, which is named after its file.
fn configuration(arguments: &PluginFileArguments) -> anyhow::Result<PluginConfiguration> {
    let mut entry = json!({
        "name": "plugin",
        "source": "FILE",
        "configuration": given(arguments.configuration.as_deref())?,
        // When trying out a plugin, a long wait is better than a missed deadline.
        "limits": {"callTimeout": "5s", "syncBudget": "10s"},
    });
    if let Some(memory) = &arguments.memory {
        entry["limits"]["memory"] = json!(memory);
    }
    let file =
        json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": [entry]});
    let mut parsed = configuration::parse(&file.to_string(), Path::new(""))?;
    let entry = parsed.plugins.remove(0);
    let refusal = entry.refusal().unwrap_or_default();
    let plugin = entry.plugin.map_err(|_| anyhow!("{}", refusal.replace("limits.memory", "--memory")))?;
    Ok(PluginConfiguration { name: name(&arguments.file), source: arguments.file.clone(), ..plugin })
}

/// The name of a file's plugin.
pub(super) fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    printable(&name.to_string_lossy()).into_owned()
}

/// Reads the value of `--configuration`.
fn given(argument: Option<&str>) -> anyhow::Result<Value> {
    let Some(argument) = argument else { return Ok(Value::Null) };
    let place = match argument.strip_prefix('@') {
        Some(_) => format!("--configuration {argument}"),
        None => "--configuration".to_owned(),
    };
    let text = match argument.strip_prefix('@') {
        None => argument.to_owned(),
        Some(file) => {
            let bytes =
                read_regular(Path::new(file), LARGEST_CONFIGURATION).with_context(|| place.clone())?;
            String::from_utf8(bytes).map_err(|_| anyhow!("{place}: not UTF-8 text"))?
        }
    };
    weir_k8s::parse_value(&text).map_err(|why| anyhow!("{place}: {why}"))
}

/// Loads the plugin, or returns why it is refused. Its log lines from the level `shown` up are printed.
pub(super) fn load(
    arguments: &PluginFileArguments,
    shown: LevelFilter,
) -> anyhow::Result<Result<Arc<Artifact>, LoadError>> {
    logging::show_plugins(shown);
    let loader = Loader::new(Runtime::new()?, Compiler::InProcess, "");
    Ok(loader.load_one(&configuration(arguments)?))
}

/// Loads the plugin; if it is refused, the error names its file.
pub(super) fn taken(arguments: &PluginFileArguments, shown: LevelFilter) -> anyhow::Result<Arc<Artifact>> {
    load(arguments, shown)?.map_err(|error| anyhow!("{}", refusal(&arguments.file, &error)))
}

/// Why the plugin of a file is refused.
fn refusal(file: &Path, error: &LoadError) -> String {
    let (file, why) = (file.to_string_lossy(), error.with_causes());
    let file = printable(&file);
    if why.contains(&*file) { why } else { format!("{file}: {why}") }
}

fn interfaces(artifact: &Artifact) -> String {
    let names: Vec<String> = artifact.facts().interfaces.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn check(arguments: &PluginFileArguments) -> anyhow::Result<ExitCode> {
    let (status, text) = match &load(arguments, LevelFilter::WARN)? {
        Ok(artifact) => {
            let facts = artifact.facts();
            let metrics = match facts.metrics.len() {
                0 => String::new(),
                1 => ", with 1 metric".to_owned(),
                count => format!(", with {count} metrics"),
            };
            let (name, version) = (&facts.name, &facts.version);
            let text = format!("{name} {version}: accepted, for {}{metrics}", interfaces(artifact));
            (ExitCode::SUCCESS, text)
        }
        Err(error) => (ExitCode::FAILURE, format!("refused: {}", refusal(&arguments.file, error))),
    };
    let taken = status == ExitCode::SUCCESS;
    match arguments.output {
        Output::Json => say!("{:#}", json!({"taken": taken, "verdict": text})),
        Output::Text if taken => say!("{}", style::good(&text)),
        Output::Text => say!("{}", style::bad(&text)),
    }
    Ok(status)
}

fn inspect(arguments: &PluginFileArguments) -> anyhow::Result<ExitCode> {
    let artifact = taken(arguments, LevelFilter::WARN)?;
    let facts = artifact.facts();
    if arguments.output == Output::Json {
        let document = json!({
            "name": facts.name, "version": facts.version, "digest": facts.digest.to_string(),
            "bytes": facts.bytes, "memory": facts.memory, "needs": facts.needs,
            "metrics": facts.metrics.iter().map(|metric| json!({
                "name": metric.name, "kind": metric.kind.name(), "help": metric.help,
            })).collect::<Vec<_>>(),
            "interfaces": facts.interfaces.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "exports": facts.exports, "imports": facts.imports,
        });
        say!("{document:#}");
        return Ok(ExitCode::SUCCESS);
    }
    say!("{} {} {}", style::heading("plugin"), facts.name, facts.version);
    say!("digest     {}", facts.digest);
    say!("size       {} bytes; a configured instance has {} bytes of memory", facts.bytes, facts.memory);
    say!("interfaces {}", interfaces(&artifact));
    let metrics =
        facts.metrics.iter().map(|metric| format!("{} ({})", metric.name, metric.kind.name())).collect();
    for (title, items) in [
        ("needs", &facts.needs),
        ("metrics", &metrics),
        ("exports", &facts.exports),
        ("imports", &facts.imports),
    ] {
        let text = if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        say!("{title:<10} {text}");
    }
    Ok(ExitCode::SUCCESS)
}
