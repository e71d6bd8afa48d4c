//! `cargo xtask image`: assembles the container image without a daemon.
//!
//! ```text
//!  Debian packages ─▶ root.rs (programs and libraries found by elf.rs) ──┐
//!                                                                        ├─▶ layer.rs ─▶ layout.rs ─▶ oci/, weir.tar
//!  cargo build ─▶ weir ──────────────────────────────────────────────────┘                  └─ check.rs ─▶ the guest
//! ```
//! The same commit, packages and toolchain give the same bytes: entries are sorted, times are zero, root owns
//! everything.

mod check;
mod elf;
mod layer;
mod layout;
mod nodes;
mod root;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::architecture::Architecture;
use crate::packages::Package;
use crate::tally::Counts;
use crate::{setup, workspace};
pub(crate) use layer::digest;
use layer::{Effort, Layer};
use layout::{Image, Start};
pub(crate) use nodes::{write_for_nodes, write_weir};

/// Options of `cargo xtask image`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory for the results: the folder `oci` (an OCI image layout) and `weir.tar` (the same layout in one file)
    /// [default: target/image]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Architecture to build for. If several are given, build an image index
    #[arg(long = "arch", value_name = "ARCH", default_values_t = [Architecture::HOST])]
    architectures: Vec<Architecture>,
    /// Cargo profile to build weir with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Use this weir binary instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    weir: Option<PathBuf>,
    /// Name and tag that the image gets when a node's container runtime imports it
    #[arg(long, value_name = "NAME:TAG", default_value_t = default_name())]
    name: String,
    /// Run the image in the guest, with a read-only root and with both variants of iptables (legacy and nft)
    #[arg(long)]
    check: bool,
}

/// The name that host/install/base uses.
fn default_name() -> String {
    format!("localhost/weir:{}", env!("CARGO_PKG_VERSION"))
}

/// Builds the image, prints its size, and checks it on request.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let architectures = &options.architectures;
    for (place, &architecture) in architectures.iter().enumerate() {
        setup::require(architecture)?;
        ensure!(!architectures[..place].contains(&architecture), "--arch {architecture} is given twice");
    }
    ensure!(
        options.weir.is_none() || architectures.len() == 1,
        "--weir is a program for one architecture, so give only one --arch"
    );
    let mut images = Vec::new();
    for &architecture in architectures {
        let weir = match &options.weir {
            Some(file) => file.clone(),
            None => build_for(architecture, &options.profile)?,
        };
        images.push(assemble(architecture, &weir, &options.name, Effort::Smallest)?.0);
    }
    let output = options.output.clone().unwrap_or_else(|| workspace::target().join("image"));
    write(&images, &output)?;
    images.iter().for_each(print_sizes);
    println!("{}", layout::registry_digest(&images));
    println!("written: {0}/oci and {0}/weir.tar", output.display());
    if !options.check {
        return Ok(ExitCode::SUCCESS);
    }
    let mut counts = Counts::default();
    for image in &images {
        counts += check::run(image, "")?;
    }
    println!("{counts}");
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tier of `cargo xtask test`: an image with the same program that the other tiers test.
pub(crate) fn tier(filter: Option<&str>) -> Result<Counts> {
    let filter = filter.unwrap_or_default();
    if !check::any(filter) {
        return Ok(Counts::default());
    }
    // The image is discarded, so compressing it well gains nothing.
    let weir = build("dev")?;
    check::run(&assemble(Architecture::HOST, &weir, &default_name(), Effort::Least)?.0, filter)
}

/// Writes the image index of a release from weir for each architecture. Returns its digest and its Debian packages.
pub(crate) fn write_release(
    weirs: &[(Architecture, PathBuf)],
    output: &Path,
) -> Result<(String, Vec<Package>)> {
    let (mut images, mut packages) = (Vec::new(), Vec::new());
    for (architecture, weir) in weirs {
        let (image, of_image) = assemble(*architecture, weir, &default_name(), Effort::Smallest)?;
        images.push(image);
        packages.extend(of_image);
    }
    packages.sort_by(|a: &Package, b| a.file.cmp(&b.file));
    packages.dedup();
    write(&images, output)?;
    Ok((layout::registry_digest(&images), packages))
}

pub(crate) fn build(profile: &str) -> Result<PathBuf> {
    build_for(Architecture::HOST, profile)
}

fn build_for(architecture: Architecture, profile: &str) -> Result<PathBuf> {
    eprintln!("building weir for {architecture} with the profile {profile}");
    workspace::program_for(architecture, profile, "weir", "weir")
}

/// Two layers, so that an upgrade of weir only downloads weir. Also returns the Debian packages.
fn assemble(
    architecture: Architecture,
    weir: &Path,
    name: &str,
    effort: Effort,
) -> Result<(Image, Vec<Package>)> {
    let (debian, packages) = root::debian(architecture, weir)?;
    let history =
        format!("Debian packages: {}", packages.iter().map(Package::to_string).collect::<Vec<_>>().join(" "));
    let layers = vec![
        Rc::new(Layer::new("iptables and kmod", &history, &debian, effort)?),
        Rc::new(Layer::new("weir", "weir", &root::program(weir)?, effort)?),
    ];
    let entrypoint = format!("/{}", layout::PROGRAM);
    let start = Start { entrypoint: &[&entrypoint], arguments: &[] };
    let image = Image::new(name, architecture, start, &layout::labels(), layers);
    Ok((image, packages))
}

fn write(images: &[Image], output: &Path) -> Result<()> {
    fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))?;
    let layout = output.join("oci");
    if layout.exists() {
        fs::remove_dir_all(&layout).with_context(|| format!("cannot remove {}", layout.display()))?;
    }
    layout::write_directory(images, &layout)?;
    layout::write_archive(images, &output.join("weir.tar"))
}

fn print_sizes(image: &Image) {
    let line = |title: &str, packed: u64, unpacked: u64| {
        println!("{title:<20} {:>9} {:>9}", megabytes(packed), megabytes(unpacked));
    };
    println!("{:<20} {:>9} {:>9}", image.architecture(), "packed", "unpacked");
    image.layers().iter().for_each(|layer| line(&layer.title, layer.packed_size(), layer.unpacked));
    let total = |size: fn(&Layer) -> u64| image.layers().iter().map(|layer| size(layer)).sum();
    line(image.name(), total(Layer::packed_size), total(|layer| layer.unpacked));
}

fn megabytes(bytes: u64) -> String {
    // Tenths are enough, and exact in integers.
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_tenths() {
        assert_eq!(megabytes(0), "0.0 MB");
        assert_eq!(megabytes(12_349_999), "12.3 MB");
        assert_eq!(megabytes(12_350_000), "12.4 MB");
    }
}
