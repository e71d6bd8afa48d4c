//! The two steps of a plugin in Go that the Go toolchain does not know: Go code for a world of the contract, and the
//! component made of the module that Go builds. `cargo xtask examples` calls both; plugins/examples/go shows how.

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

/// What a component is to be.
#[derive(Debug, Args)]
struct Target {
    /// The contract: a file, or a folder of files
    #[arg(long)]
    wit: PathBuf,
    /// The world that the plugin implements
    #[arg(long)]
    world: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a Go module for the world, and the Go module that it uses
    Bindings(bindings::Options),
    /// Make a component of a module that `go build -buildmode=c-shared` made for wasip1
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
