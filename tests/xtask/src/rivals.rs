//! `cargo xtask bench --rivals`: measures weir, the real kube-proxy in IPVS and nftables mode, and kube-router side by
//! side.
//!
//! The API server runs on the host and is filled from there; the proxies take turns in one guest, driven by
//! `weir-rivals`.

mod plot;
mod table;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;
use weir_cluster::Cluster;
use weir_guest_init::Status;

use crate::bench::Output;
use crate::beside::Beside;
use crate::job::Hardware;
use crate::lines::{Lines, TakeLine};
use crate::process;

/// The program that writes the objects, and measures in the guest.
const DRIVER: &str = "weir-rivals";

/// The proxy that takes another build.
const KUBE_ROUTER: &str = "kube-router";

/// Optimised, as for all measurements.
const PROFILE: &str = "lab";

/// Memory of the guest in MiB: for the proxies and their kernel state.
const MEMORY: u64 = 6144;

/// Options of `cargo xtask bench --rivals`.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Number of Services, each with ten endpoints. If several numbers are given, measure each in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 5000], requires = "rivals")]
    services: Vec<u32>,
    /// Number of changes to measure for each proxy. A change replaces the endpoint of an additional Service, which has
    /// only this endpoint
    #[arg(long, default_value_t = 10, requires = "rivals")]
    changes: u32,
    /// During the measurements, change this many endpoints of other Services per second
    #[arg(long, value_name = "PER SECOND", default_value_t = 0, requires = "rivals")]
    background: u32,
    /// Number of runs per proxy; the result is their median
    #[arg(long, default_value_t = 1, requires = "rivals")]
    rounds: u32,
    /// Proxies to measure, in the order given
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = ["weir", "ipvs", "nftables", KUBE_ROUTER],
        default_values_t = ["weir", "nftables", KUBE_ROUTER, "ipvs"].map(str::to_owned),
        requires = "rivals"
    )]
    only: Vec<String>,
    /// Use this weir binary instead of building one
    #[arg(long, value_name = "PROGRAM", requires = "rivals")]
    weir: Option<PathBuf>,
    /// Stop a guest after this many seconds
    #[arg(long, default_value_t = 3600, requires = "rivals")]
    timeout: u64,
    /// Also draw the results as an SVG image, and write it to this file
    #[arg(long, value_name = "FILE", requires = "rivals")]
    svg: Option<PathBuf>,
    /// Instead of measuring, print the results of an earlier run as tables. The file must contain that run's output
    /// with `-o json`
    #[arg(long, value_name = "FILE", requires = "rivals")]
    from: Option<PathBuf>,
}

/// Measures, and prints rows as they arrive or a table for each number of services.
pub(crate) fn main(options: &Options, output: Output) -> Result<ExitCode> {
    let (rows, all_measured) = match &options.from {
        Some(file) => (read(file)?, true),
        None => measure(options, output)?,
    };
    if let Some(file) = &options.svg {
        fs::write(file, plot::svg(&rows)?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if all_measured { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut rows: Vec<Value> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        rows.push(serde_json::from_str(line).with_context(|| format!("{}, line {number}", file.display()))?);
    }
    for same in rows.chunk_by(|one, other| one["services"] == other["services"]) {
        print!("{}", table::of(same));
    }
    Ok(rows)
}

/// Returns the rows, and whether every proxy could be measured.
fn measure(options: &Options, output: Output) -> Result<(Vec<Value>, bool)> {
    let mut all = Vec::new();
    let mut beside = Beside::build_as(PROFILE, DRIVER, options.weir.as_deref())?;
    if options.only.iter().any(|name| name == KUBE_ROUTER) {
        beside = beside.with_kube_router()?;
    }
    let mut all_measured = true;
    for services in &options.services {
        let arguments = |more: &[&str]| {
            let mut line = vec!["--services".to_owned(), services.to_string()];
            line.extend(["--changes".to_owned(), options.changes.to_string()]);
            line.extend(["--rounds".to_owned(), options.rounds.to_string()]);
            line.extend(["--background".to_owned(), options.background.to_string()]);
            line.extend(["--only".to_owned(), options.only.join(",")]);
            line.extend(more.iter().map(|argument| (*argument).to_owned()));
            line
        };
        eprintln!("writing {services} services to an API server");
        let cluster = Cluster::start()?;
        process::run(&mut beside.command_here(&cluster, arguments(&["--fill"]))?)?;
        let mut writer = match options.background {
            0 => None,
            _ => Some(Writer::start(beside.command_here(&cluster, arguments(&["--write"]))?)?),
        };
        let mut hardware = Hardware::with_timeout(options.timeout);
        hardware.memory = Some(MEMORY);
        let mut rows = Lines::to(Rows { output, rows: Vec::new() });
        beside.run_with(&cluster, hardware, arguments(&[]), &mut rows)?;
        writer.as_mut().map_or(Ok(()), Writer::expect_running)?;
        if output == Output::Text {
            print!("{}", table::of(&rows.taker.rows));
        }
        all.append(&mut rows.taker.rows);
        all_measured &= rows.status.is_some_and(Status::is_success);
    }
    Ok((all, all_measured))
}

/// The process that makes background changes.
struct Writer(process::Killed);

impl Writer {
    fn start(mut command: Command) -> Result<Writer> {
        process::Killed::start(&mut command).map(Writer)
    }

    /// Fails if it has ended: the changes did not last until the end of the measurement.
    fn expect_running(&mut self) -> Result<()> {
        let status = self.0.try_wait().context("cannot check the background changes")?;
        ensure!(status.is_none(), "the background changes ended early; see the messages above");
        Ok(())
    }
}

/// Keeps the rows that the driver prints, and prints everything else.
struct Rows {
    output: Output,
    rows: Vec<Value>,
}

impl TakeLine for Rows {
    fn take(&mut self, line: &str) -> Result<()> {
        let Some(row) = line.strip_prefix('{').and_then(|_| serde_json::from_str(line).ok()) else {
            eprintln!("{line}");
            return Ok(());
        };
        self.rows.push(row);
        if self.output == Output::Json {
            let mut output = io::stdout().lock();
            writeln!(output, "{line}").and_then(|()| output.flush()).context("cannot write the output")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Listener as _;

    #[test]
    fn rows_are_distinguished_from_what_is_for_people() {
        let mut rows = Lines::to(Rows { output: Output::Text, rows: Vec::new() });
        let text = "weir: started\n{\"proxy\": \"weir\"}\n{broken\n";
        text.as_bytes().chunks(5).for_each(|bytes| rows.output(bytes).unwrap());
        assert_eq!(rows.taker.rows, [serde_json::json!({ "proxy": "weir" })]);
    }
}
