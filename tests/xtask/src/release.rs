//! `cargo xtask release`: builds all files of a release from the last commit alone.
//!
//! ```text
//!  git archive ─▶ a checkout ─cargo build──────▶ weir ─image.rs─▶ oci/, weir.tar ─┐
//!                     │                            └─ digest ─▶ provenance.json ──┼─▶ SHA256SUMS ─cosign─▶ its signature
//!                     └─cargo cyclonedx, Debian's packages ───▶ weir.cdx.json ────┘
//! ```
//! The result does not depend on the directory, the time or the machine, so `--check` builds everything twice and
//! compares.

mod statements;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::architecture::Architecture;
use crate::tools::Tool;
use crate::{image, process, setup, workspace};

const CYCLONEDX: Tool = Tool::Cargo("cargo-cyclonedx", "0.5.9");
const COSIGN: Tool = Tool::Go("cosign", "github.com/sigstore/cosign/v3/cmd/cosign", "v3.1.3");

/// Names for the checkout and cargo's directory in the program and in the list of components.
const SOURCE: &str = "/weir";
const CARGO: &str = "/cargo";

/// The length of every checkout's path. `bindgen!` passes the path of the WIT file to the compiler, which records the
/// positions of inline assembly (`srcloc`) in all code that it has read. A longer path moves these positions, and so
/// changes the names that LLVM derives from a module's content.
const PATH_LENGTH: usize = 100;

/// The image index: its checksum is the digest of the image for all architectures.
const INDEX: &str = "weir.index.json";
const COMPONENTS: &str = "weir.cdx.json";
const PROVENANCE: &str = "provenance.json";
const CHECKSUMS: &str = "SHA256SUMS";
const SIGNATURE: &str = "SHA256SUMS.sigstore.json";

/// Options of `cargo xtask release`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory to write the release to [default: target/release-files]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Build everything a second time, in another directory, and compare the two builds
    #[arg(long)]
    check: bool,
    /// Sign the checksums with cosign, with the key in --key or, without --key, with the workflow's identity
    #[arg(long)]
    sign: bool,
    /// Private key for --sign, in cosign's syntax: a file, env://NAME or the URI of a key management service
    #[arg(long, value_name = "KEY", requires = "sign")]
    key: Option<String>,
    /// URI that the provenance names as the builder [default: the URI of the GitHub workflow; outside a workflow,
    /// urn:weir:local-build]
    #[arg(long, value_name = "URI")]
    builder: Option<String>,
}

/// Builds the release, and checks and signs it on request.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let changes = process::output(git().args(["status", "--porcelain"]))?;
    ensure!(
        changes.is_empty(),
        "a release is built from the last commit; commit or remove these changes first:\n{changes}"
    );
    for &architecture in Architecture::value_variants() {
        setup::require(architecture)?;
    }
    let output = options.output.clone().unwrap_or_else(|| workspace::target().join("release-files"));
    let old = output.join(SIGNATURE);
    if old.exists() {
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let commit = process::output(git().args(["rev-parse", "HEAD"]))?;
    let builder = options.builder.clone().unwrap_or_else(statements::builder);
    let sums = make(commit.trim(), &output, "one", &builder)?;
    print!("{sums}");
    if options.check {
        let again = tempfile::tempdir().context("cannot create a directory")?;
        let sums_again = make(commit.trim(), again.path(), "the-other", &builder)?;
        ensure!(sums == sums_again, "the second build differs from the first:\n{sums_again}");
        println!("two builds in different directories are equal");
    }
    if options.sign {
        sign(&output, options.key.as_deref())?;
    }
    println!("written: {}", output.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds all files except the signature, and returns their checksums. `name` is the checkout's directory, so that two
/// builds have different paths.
fn make(commit: &str, output: &Path, name: &str, builder: &str) -> Result<String> {
    let place = tempfile::tempdir().context("cannot create a directory")?;
    let checkout = padded(place.path(), name)?;
    check_out(commit, &checkout)?;
    let source = Source::of(commit)?;
    let mut weirs = Vec::new();
    for &architecture in Architecture::value_variants() {
        weirs.push((architecture, build(&checkout, architecture, &source)?));
    }
    let (digest, packages) = image::write_release(&weirs, output)?;
    let components = components(&checkout, &source)?;
    write(output, COMPONENTS, &statements::with_packages(&components, &digest, &packages)?)?;
    let lock = fs::read(checkout.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let compiler = process::output(Command::new("rustc").arg("--version").current_dir(&checkout))?;
    let made = statements::Made { commit, lock: &lock, compiler: compiler.trim(), digest: &digest };
    write(output, PROVENANCE, &made.provenance(builder, &packages))?;
    let index = output.join("oci/blobs").join(digest.replace(':', "/"));
    fs::copy(index, output.join(INDEX)).context("cannot copy the image index")?;
    let sums = checksums(output)?;
    write(output, CHECKSUMS, &sums)?;
    Ok(sums)
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(workspace::root());
    git
}

/// A path in `place` of [`PATH_LENGTH`] bytes, which begins with `name`.
fn padded(place: &Path, name: &str) -> Result<PathBuf> {
    let width = PATH_LENGTH.saturating_sub(place.as_os_str().len() + 1);
    ensure!(width >= name.len(), "the path of {} is too long; set TMPDIR to a shorter path", place.display());
    Ok(place.join(format!("{name:-<width$}")))
}

/// Writes the commit's files, without untracked ones.
fn check_out(commit: &str, directory: &Path) -> Result<()> {
    fs::create_dir(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut archive =
        git().args(["archive", commit]).stdout(Stdio::piped()).spawn().context("cannot start git")?;
    let pipe = archive.stdout.take().context("git has no output")?;
    process::run(Command::new("tar").arg("--extract").current_dir(directory).stdin(pipe))?;
    ensure!(archive.wait().context("cannot wait for git")?.success(), "git archive {commit} failed");
    Ok(())
}

/// What a build records about its sources. A date of the build itself would differ between two builds.
struct Source<'a> {
    commit: &'a str,
    /// When the commit was made, in seconds since 1970.
    seconds: String,
    /// The same, as in `2026-11-30T07:00:00Z`.
    date: String,
}

impl<'a> Source<'a> {
    fn of(commit: &'a str) -> Result<Source<'a>> {
        let mut git = git();
        // `format-local` uses the time zone of the environment.
        git.env("TZ", "UTC").args([
            "log",
            "-1",
            "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
            "--format=%ct %cd",
        ]);
        let text = process::output(git.arg(commit))?;
        let (seconds, date) = text.trim().split_once(' ').context("git log printed no date")?;
        Ok(Source { commit, seconds: seconds.to_owned(), date: date.to_owned() })
    }

    /// Tells weir's build what `weir --version` and the metric `kubernetes_build_info` show.
    fn record(&self, cargo: &mut Command) {
        cargo.env("WEIR_COMMIT", self.commit).env("WEIR_BUILD_DATE", &self.date);
    }
}

/// Builds weir in a checkout. Panic messages would contain the names of this machine's directories, so they are replaced.
fn build(checkout: &Path, architecture: Architecture, source: &Source<'_>) -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("CARGO_HOME is not set, and the home directory is unknown")?;
    let flags = [(checkout, SOURCE), (home.as_path(), CARGO)]
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let target = checkout.join("target");
    let mut cargo = workspace::cargo();
    cargo.current_dir(checkout).env("CARGO_TARGET_DIR", &target);
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.args(["build", "--locked", "--release", "--package", "weir", "--bin", "weir"]);
    cargo.args(["--target", architecture.target()]);
    workspace::set_linker(&mut cargo, architecture)?;
    source.record(&mut cargo);
    process::run(&mut cargo)?;
    Ok(target.join(architecture.target()).join("release/weir"))
}

/// Lists the crates of weir with cargo-cyclonedx.
fn components(checkout: &Path, source: &Source<'_>) -> Result<String> {
    let mut cyclonedx = CYCLONEDX.command()?;
    cyclonedx.current_dir(checkout).env("SOURCE_DATE_EPOCH", &source.seconds);
    cyclonedx.args(["--manifest-path", "host/Cargo.toml", "--format", "json", "--spec-version", "1.5"]);
    // weir for arm64 needs no other crates.
    cyclonedx.args(["--target", "x86_64-unknown-linux-gnu", "--override-filename", "weir.cdx", "--quiet"]);
    process::run(&mut cyclonedx)?;
    let path = checkout.join("host").join(COMPONENTS);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.replace(&checkout.display().to_string(), SOURCE))
}

fn write(output: &Path, name: &str, text: &str) -> Result<()> {
    fs::write(output.join(name), text).with_context(|| format!("cannot write {name}"))
}

/// The checksums in the format of `sha256sum --check`.
fn checksums(output: &Path) -> Result<String> {
    let files = [INDEX, COMPONENTS, PROVENANCE, "weir.tar"];
    let line = |name: &str| {
        let content = fs::read(output.join(name)).with_context(|| format!("cannot read {name}"))?;
        Ok(format!("{}  {name}\n", statements::sha256(&content)))
    };
    files.into_iter().map(line).collect()
}

/// Signs the checksums, which cover all other files.
fn sign(output: &Path, key: Option<&str>) -> Result<()> {
    let mut cosign = COSIGN.command()?;
    cosign.current_dir(output).args(["sign-blob", "--yes", "--bundle", SIGNATURE]);
    if let Some(key) = key {
        // Signing with a key needs no certificate, log or time stamp.
        let none = tempfile::NamedTempFile::new().context("cannot create a file")?;
        fs::write(none.path(), statements::NO_SERVICES).context("cannot write cosign's configuration")?;
        cosign.args(["--key", key, "--signing-config"]).arg(none.path());
        return process::run(cosign.arg(CHECKSUMS));
    }
    process::run(cosign.arg(CHECKSUMS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weir_reads_the_commit_and_the_date_of_its_release() {
        let source = Source { commit: "c0ffee", seconds: "0".into(), date: "1970-01-01T00:00:00Z".into() };
        let mut command = Command::new("cargo");
        source.record(&mut command);
        let readers = [
            include_str!("../../../host/src/cli/version.rs"),
            include_str!("../../../host/src/commands/run/publish.rs"),
        ];
        assert_eq!(command.get_envs().count(), 2);
        for (name, _) in command.get_envs() {
            let read = format!("option_env!({name:?})");
            assert!(readers.iter().any(|reader| reader.contains(&read)), "weir does not read {name:?}");
        }
    }

    #[test]
    fn checkouts_have_different_paths_of_the_same_length() {
        let paths = [("/tmp/.tmpZ8KNXD", "one"), ("/var/tmp/x", "the-other")];
        let paths = paths.map(|(place, name)| padded(Path::new(place), name).unwrap());
        assert!(paths.iter().all(|path| path.as_os_str().len() == PATH_LENGTH), "{paths:?}");
        assert!(paths[1].starts_with("/var/tmp/x") && paths[1].to_string_lossy().contains("/the-other-"));
        let error = padded(Path::new(&"/long".repeat(20)), "one").unwrap_err().to_string();
        assert!(error.contains("set TMPDIR to a shorter path"), "{error}");
    }
}
