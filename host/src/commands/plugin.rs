//! `weir plugin`: everything about plugins that needs no node.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use serde_json::json;
use weir_k8s::policy_config::{self, PluginConfiguration};
use weir_policy::{Artifact, Compiler, LoadError, Loader, Runtime};

use crate::cli::{Output, PluginCommand, PluginFileArguments, PluginNewArguments};
use crate::output::{complain, say};
use crate::style;

mod ask;
mod bench;

/// Runs one of the subcommands.
pub(crate) fn run(command: &PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::Check(arguments) => check(arguments),
        PluginCommand::Inspect(arguments) => inspect(arguments),
        PluginCommand::Run(arguments) => ask::ask(arguments),
        PluginCommand::Bench(arguments) => bench::bench(arguments),
        PluginCommand::New(arguments) => new(arguments),
    }
}

/// The compiling child of a running weir.
pub(crate) fn compile() -> anyhow::Result<ExitCode> {
    match weir_policy::child() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(message) => {
            complain!("{message}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The entry that a policy file would have for the plugin.
fn configuration(arguments: &PluginFileArguments) -> anyhow::Result<PluginConfiguration> {
    let text = match arguments.configuration.as_deref() {
        None => "null".to_owned(),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => fs::read_to_string(file).with_context(|| format!("--configuration {text}"))?,
            None => text.to_owned(),
        },
    };
    let given = weir_k8s::parse_value(&text).map_err(|why| anyhow!("--configuration: {why}"))?;
    let mut entry = json!({
        "name": "plugin",
        "source": path_text(&std::path::absolute(&arguments.file)?)?,
        "configuration": given,
        // A person who tries something out would rather wait than be told of a deadline.
        "limits": {"callTimeout": "5s", "syncBudget": "10s"},
    });
    if let Some(memory) = &arguments.memory {
        entry["limits"]["memory"] = json!(memory);
    }
    let file =
        json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": [entry]});
    let mut parsed = policy_config::parse(&file.to_string(), Path::new(""))?;
    let entry = parsed.plugins.remove(0);
    let refusal = entry.refusal().unwrap_or_default();
    entry.plugin.map_err(|_| anyhow!("{refusal}"))
}

/// A path as a policy file can name it.
fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| {
        format!("{}: a path that is not UTF-8 cannot be named in a policy file; rename it", path.display())
    })
}

/// The plugin, or why it is refused.
pub(super) fn load(arguments: &PluginFileArguments) -> anyhow::Result<Result<Arc<Artifact>, LoadError>> {
    let (runtime, compiler) = (Runtime::new()?, Compiler::InProcess);
    let loader = Loader::new(runtime, compiler, "");
    Ok(loader.load_one(&configuration(arguments)?))
}

fn interfaces(artifact: &Artifact) -> String {
    let names: Vec<String> = artifact.facts().interfaces.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn check(arguments: &PluginFileArguments) -> anyhow::Result<ExitCode> {
    let (status, text) = match &load(arguments)? {
        Ok(artifact) => {
            let facts = artifact.facts();
            let text = format!("{} {}: taken, for {}", facts.name, facts.version, interfaces(artifact));
            (ExitCode::SUCCESS, text)
        }
        Err(error) => (ExitCode::FAILURE, format!("refused: {}", error.with_causes())),
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
    let artifact = load(arguments)??;
    let facts = artifact.facts();
    if arguments.output == Output::Json {
        let document = json!({
            "name": facts.name, "version": facts.version, "digest": facts.digest.to_string(),
            "bytes": facts.bytes, "memory": facts.memory, "needs": facts.needs,
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
    for (title, items) in [("needs", &facts.needs), ("exports", &facts.exports), ("imports", &facts.imports)]
    {
        let text = if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        say!("{title:<10} {text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The files of a new plugin, with `{{name}}` and `{{sdk}}` to be filled in.
const TEMPLATE: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../../plugin-sdk/template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../../../plugin-sdk/template/src/lib.rs.in")),
    ("tests/views/scheduler.json", include_str!("../../../plugin-sdk/template/tests/views/scheduler.json")),
    ("README.md", include_str!("../../../plugin-sdk/template/README.md.in")),
];

/// A configuration that the new plugin takes.
const CONFIGURATION: &str = "{annotation: example.com/scheduler, allowed: [rr, lc]}";

fn new(arguments: &PluginNewArguments) -> anyhow::Result<ExitCode> {
    let name = &arguments.name;
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    ensure!(
        name.bytes().all(fits)
            && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && name.len() <= 63
            && !name.ends_with('-')
            && !matches!(name.as_str(), "std" | "core" | "alloc" | "serde" | "weir-plugin-sdk"),
        "`{name}` is no name for a plugin: use small letters, digits and dashes, a letter first"
    );
    let sdk = arguments.sdk.canonicalize().with_context(|| format!("--sdk {}", arguments.sdk.display()))?;
    let manifest = fs::read_to_string(sdk.join("Cargo.toml")).unwrap_or_default();
    ensure!(
        manifest.contains("name = \"weir-plugin-sdk\"") && !path_text(&sdk)?.contains(['"', '\\']),
        "--sdk {}: it is not the folder plugin-sdk of weir's source",
        sdk.display()
    );
    let folder = Path::new(name);
    ensure!(!folder.exists(), "{name} is there already");
    for (file, text) in TEMPLATE {
        let path = folder.join(file);
        let making = || format!("cannot make {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(making)?;
        let text = text.replace("{{name}}", name).replace("{{sdk}}", path_text(&sdk)?);
        fs::write(&path, text).with_context(making)?;
    }
    say!("{}", style::good(&format!("{name} is ready")));
    say!("  cd {name} && cargo test && cargo build --release --target wasm32-wasip2");
    say!(
        "  weir plugin check target/wasm32-wasip2/release/{}.wasm --configuration '{CONFIGURATION}'",
        name.replace('-', "_")
    );
    Ok(ExitCode::SUCCESS)
}
