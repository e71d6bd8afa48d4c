//! Turns a module into a component.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// The input and output.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The module to read (.wasm file)
    module: PathBuf,
    /// File to write the component to
    #[arg(long)]
    out: PathBuf,
}

/// Creates the component from the module, its exports, and an adapter from the WASI version used by Go to the one
/// that components import.
pub(crate) fn write(resolve: &Resolve, world: WorldId, options: &Options) -> Result<()> {
    let Options { module: from, out } = options;
    let mut module = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8)?;
    let component = ComponentEncoder::default()
        .module(&module)
        .with_context(|| format!("{} does not fit the world", from.display()))?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .validate(true)
        .encode()
        .with_context(|| format!("cannot create a component from {}", from.display()))?;
    fs::write(out, component).with_context(|| format!("cannot write {}", out.display()))
}
