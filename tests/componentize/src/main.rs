//! The two steps of building a Go plugin that the Go toolchain lacks: generating Go code for a world of the
//! contract, and creating a component from the module that Go builds. `cargo xtask examples` runs both;
//! plugins/examples/go shows how.

mod bindings;
mod component;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};

#[derive(Debug, Parser)]
#[command(about)]
struct Arguments {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

/// The contract of the component.
#[derive(Debug, Args)]
struct Target {
    /// The plugin contract: a WIT file, or a directory of WIT files
    #[arg(long)]
    wit: PathBuf,
    /// The world that the plugin implements
    #[arg(long)]
    world: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate a Go module for the world, and write it together with the Go module that it uses
    Bindings(bindings::Options),
    /// Create a component from a module that `go build -buildmode=c-shared` built for wasip1
    Component(component::Options),
}

impl Target {
    fn resolve(&self) -> Result<(Resolve, WorldId)> {
        let mut resolve = Resolve::default();
        let reading = || format!("--wit {}", self.wit.display());
        let (package, _) = resolve.push_path(&self.wit).with_context(reading)?;
        let world = resolve
            .select_world(&[package], Some(&self.world))
            .with_context(|| format!("--world {}", self.world))?;
        Ok((resolve, world))
    }
}

fn main() -> Result<()> {
    let Arguments { target, command } = Arguments::parse();
    let (resolve, world) = target.resolve()?;
    match command {
        Command::Bindings(options) => bindings::write(resolve, world, &options),
        Command::Component(options) => component::write(&resolve, world, &options),
    }
}
