//! `cargo xtask parity`: compares weir with the real kube-proxy on random clusters from a real API server.
//!
//! The API server runs on the host, on loopback; both programs run in one guest, driven there by `weir-parity`.

use std::fs;
use std::io::{self, Write};
use std::path::{Component, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;
use weir_guest_init::{FILE, Status};

use crate::beside::Beside;
use crate::lines::{Lines, TakeLine};
use crate::tally::Counts;
use crate::workspace;

/// Options of `cargo xtask parity`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seeds to run, from A to B - 1; each seed gives one random cluster
    #[arg(long, value_name = "A..B", default_value = "0..10")]
    seeds: String,
    /// Number of random changes to each cluster
    #[arg(long, default_value_t = 20)]
    mutations: usize,
    /// Number of changes between two comparisons. Use 1 to find the change that causes a difference
    #[arg(long, default_value_t = 10)]
    batch: usize,
    /// Use this weir binary instead of building one
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
    /// Stop the guest after this many seconds
    #[arg(long, default_value_t = 3600)]
    timeout: u64,
}

/// Runs the comparison; differences are written to directories below `target/parity`.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    Ok(if run(options)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Two seeds as one test: one with the configuration of the recordings, one with a different configuration.
///
/// # Errors
/// When it cannot run.
pub(crate) fn tier() -> Result<Counts> {
    let options = Options { seeds: "4..6".to_owned(), mutations: 20, batch: 10, weir: None, timeout: 1200 };
    Ok(if run(&options)? {
        Counts { passed: 1, ..Counts::default() }
    } else {
        Counts { failed: 1, ..Counts::default() }
    })
}

/// Returns whether there was no unexplained difference.
fn run(options: &Options) -> Result<bool> {
    ensure!(options.batch > 0, "--batch must be at least 1, not {}", options.batch);
    let beside = Beside::build("weir-parity", options.weir.as_deref())?;
    let arguments = ["--seeds", &options.seeds, "--mutations", &options.mutations.to_string(), "--batch"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(options.batch.to_string());
    let folder = workspace::target().join("parity");
    let mut output = Lines::to(Output { folder, files: 0 });
    beside.run(arguments, options.timeout, &mut output)?;
    let Lines { taker: Output { folder, files }, status, .. } = output;
    if files > 0 {
        eprintln!("differences, each with the steps that lead to it: {}", folder.display());
    }
    Ok(status.is_some_and(Status::is_success))
}

/// Prints lines for people and keeps the files.
struct Output {
    folder: PathBuf,
    files: usize,
}

#[derive(Deserialize)]
struct Handed {
    path: PathBuf,
    text: String,
}

impl TakeLine for Output {
    fn take(&mut self, line: &str) -> Result<()> {
        let Some(file) = line.strip_prefix(FILE) else {
            let mut output = io::stdout().lock();
            return writeln!(output, "{line}")
                .and_then(|()| output.flush())
                .context("cannot write the output");
        };
        let Handed { path, text } = serde_json::from_str(file).context("invalid file from the guest")?;
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(inside, "the guest names a file outside of the output directory: {}", path.display());
        let path = self.folder.join(path);
        let writing = || format!("cannot write {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(&self.folder)).with_context(writing)?;
        self.files += 1;
        fs::write(&path, text).with_context(writing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Listener as _;

    #[test]
    fn files_are_kept_where_they_belong() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Lines::to(Output { folder: folder.path().to_owned(), files: 0 });
        let text = format!("hello\n{FILE}{{\"path\": \"a/1/x.txt\", \"text\": \"y\"}}\n");
        text.as_bytes().chunks(5).for_each(|bytes| output.output(bytes).unwrap());
        assert_eq!(fs::read_to_string(folder.path().join("a/1/x.txt")).unwrap(), "y");
        let outside = format!("{FILE}{{\"path\": \"../x\", \"text\": \"\"}}\n");
        assert!(output.output(outside.as_bytes()).is_err());
    }
}
