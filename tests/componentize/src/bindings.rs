//! Generates Go code for a world.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};

/// The module of the generated code.
const MODULE: &str = "weir.example/bindings";

/// The crate that generates the code and ships the module used by the code.
const GENERATOR: &str = "wit-bindgen-go";

/// The input and output.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The plugin's Go module; the generated code calls its packages `export_weir_policy_…`
    #[arg(long)]
    module: String,
    /// Directory in which to recreate the folders `bindings` and `runtime`, each with one Go module
    #[arg(long)]
    out: PathBuf,
}

/// Writes `bindings`, generated for the world, and `runtime`, which it uses.
pub(crate) fn write(mut resolve: Resolve, world: WorldId, options: &Options) -> Result<()> {
    let mut files = Files::default();
    let generator = wit_bindgen_go::Opts {
        pkg_name: Some(MODULE.to_owned()),
        export_pkg_name: Some(options.module.clone()),
        ..wit_bindgen_go::Opts::default()
    };
    generator.build().generate(&mut resolve, world, &mut files)?;
    let module = format!(
        "module {MODULE}\n\ngo 1.25\n\nrequire (\n\t{}\n\t{} v0.0.0\n)\n",
        wit_bindgen_go::remote_pkg_version(),
        options.module
    );
    files.push("go.mod", module.as_bytes());
    let bindings = options.out.join("bindings");
    clear(&bindings)?;
    for (name, text) in files.iter() {
        let path = bindings.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&bindings)).with_context(|| writing(&path))?;
        fs::write(&path, text).with_context(|| writing(&path))?;
    }
    let runtime = options.out.join("runtime");
    clear(&runtime)?;
    copy(&runtime_source()?, &runtime)
}

fn writing(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| writing(folder))?;
    }
    Ok(())
}

/// Finds the directory where cargo unpacked the Go module. Go's own module proxy may not have this version, and an
/// older version cannot handle garbage collection in Go while an argument is received.
fn runtime_source() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--locked", "--offline", "--format-version=1", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).stderr(Stdio::inherit());
    let output = cargo.output().with_context(|| format!("cannot start {cargo:?}"))?;
    ensure!(output.status.success(), "{cargo:?}: {}", output.status);
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cannot read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo's metadata has no packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == GENERATOR)
        .and_then(|package| package["manifest_path"].as_str())
        .with_context(|| format!("cargo does not know {GENERATOR}"))?;
    Ok(Path::new(manifest).with_file_name("src").join("pkg"))
}

/// Copies a module without its documentation.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let reading = || format!("cannot copy {}", from.display());
    fs::create_dir_all(to).with_context(|| writing(to))?;
    for entry in fs::read_dir(from).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target)?;
        } else if ["go", "mod", "s"].iter().any(|kind| source.extension().is_some_and(|e| e == *kind)) {
            fs::copy(&source, &target).with_context(reading)?;
        }
    }
    Ok(())
}
