//! `cargo xtask examples`: builds the plugins in languages other than Rust with those languages' own tools.
//!
//! The tools' dependencies are installed below `target`, in the versions that each example pins.

pub(crate) mod toolchain;
mod views;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::suite::Report;
use crate::tally::Counts;
use crate::{process, workspace};

/// The world that all examples implement.
const WORLD: &str = "scheduler-policy";

/// The example's Go module, whose packages the generated code calls.
const GO_MODULE: &str = "weir.example/by-port";

/// Options of `cargo xtask examples`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Build only the examples in these languages [default: all]
    languages: Vec<Language>,
    /// Use this weir binary to check each component against the expected answers in the example's folder tests/views
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
}

/// The language of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Go,
    Javascript,
    Python,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Go => "go",
            Language::Javascript => "javascript",
            Language::Python => "python",
        })
    }
}

/// Builds the examples whose toolchains are installed; a failure does not stop the others.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let all = Language::value_variants();
    let languages = if options.languages.is_empty() { all } else { &options.languages };
    // Paths are relative to our working directory, not to that of the programs we start.
    let weir = options
        .weir
        .as_ref()
        .map(|program| program.canonicalize().with_context(|| format!("--weir {}", program.display())));
    let weir = weir.transpose()?;
    let mut report = Report::default();
    for language in languages {
        let name = format!("example {language}");
        match toolchain::missing(*language) {
            Some(reason) => report.skip(&name, &reason),
            None => {
                report.title(&name);
                report.add(&name, Example::of(*language).check(weir.as_deref()));
            }
        }
    }
    Ok(report.finish())
}

/// An example and its directories.
struct Example {
    language: Language,
    source: PathBuf,
    /// What its tools install and generate.
    work: PathBuf,
    component: PathBuf,
}

impl Example {
    fn of(language: Language) -> Example {
        let target = workspace::target().join("examples");
        Example {
            language,
            source: workspace::root().join("plugins/examples").join(language.to_string()),
            work: target.join(language.to_string()),
            component: target.join(format!("{language}.wasm")),
        }
    }

    /// Runs its own tests, builds the component, and checks it if a weir is given.
    fn check(&self, weir: Option<&Path>) -> Result<Counts> {
        fs::create_dir_all(&self.work).with_context(|| format!("cannot create {}", self.work.display()))?;
        match self.language {
            Language::Go => self.make_go()?,
            Language::Javascript => self.make_javascript()?,
            Language::Python => self.make_python()?,
        }
        let size = fs::metadata(&self.component).context("the tools produced no component")?.len();
        eprintln!("{}: {size} bytes", self.component.display());
        if let Some(weir) = weir {
            views::check(weir, &self.component, &self.source.join("tests/views"))?;
        }
        Ok(Counts { passed: 1, ..Counts::default() })
    }

    fn make_go(&self) -> Result<()> {
        process::run(componentize().args(["bindings", "--module", GO_MODULE, "--out"]).arg(&self.work))?;
        process::run(self.go().args(["test", "./rules"]))?;
        let module = self.work.join("module.wasm");
        let mut build = self.go();
        build.env("GOOS", "wasip1").env("GOARCH", "wasm").args(["build", "-trimpath", "-buildvcs=false"]);
        // The module's runtime package calls parts of Go's runtime that are not public.
        build.args(["-buildmode=c-shared", "-ldflags=-s -w -checklinkname=0", "-o"]).arg(&module);
        process::run(build.arg("."))?;
        process::run(componentize().arg("component").arg(&module).arg("--out").arg(&self.component))
    }

    /// Go without network access: all modules are present, and it must not download another toolchain.
    fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(&self.source).env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        go
    }

    fn make_javascript(&self) -> Result<()> {
        let lock = self.source.join("package-lock.json");
        once_for(&lock, &self.work, || {
            self.copy(&["package.json", "package-lock.json"], &self.work)?;
            let mut npm = Command::new("npm");
            npm.current_dir(&self.work).args(["ci", "--silent", "--ignore-scripts", "--no-audit"]);
            process::run(&mut npm)
        })?;
        process::output(Command::new("node").arg("--test").current_dir(&self.source))?;
        let mut build = Command::new(self.work.join("node_modules/.bin/componentize-qjs"));
        build.current_dir(&self.source).args(["--world", WORLD, "--js", "plugin.js"]);
        build.arg("--wit").arg(contract()).args(["--sync", "--stub-wasi"]);
        // It prints every step; only errors matter.
        process::output(build.arg("--output").arg(&self.component)).map(drop)
    }

    fn make_python(&self) -> Result<()> {
        let requirements = self.source.join("requirements.txt");
        let environment = self.work.join("venv");
        let tools = environment.join("bin");
        once_for(&requirements, &self.work, || {
            process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
            let mut pip = Command::new(tools.join("pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
            process::run(pip.arg(&requirements))
        })?;
        let tests = ["-B", "-m", "unittest", "--quiet"];
        process::run(Command::new("python3").args(tests).current_dir(&self.source))?;
        // Works on a copy, because it may leave compiled modules next to the sources.
        let modules = self.work.join("modules");
        self.copy(&["defaults.py", "plugin.py"], &modules)?;
        let mut build = Command::new(tools.join("componentize-py"));
        // Otherwise it would search for packages in whatever environment we were started in.
        build.current_dir(&modules).env("VIRTUAL_ENV", &environment);
        build.arg("--quiet").arg("--wit-path").arg(contract()).args(["--world", WORLD]);
        build.args(["componentize", "--stub-wasi", "plugin", "--output"]);
        process::run(build.arg(&self.component))
    }

    /// Copies some of its files, for tools that write next to their sources.
    fn copy(&self, names: &[&str], to: &Path) -> Result<()> {
        fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
        for name in names {
            let copying = || format!("cannot copy {name} to {}", to.display());
            fs::copy(self.source.join(name), to.join(name)).with_context(copying)?;
        }
        Ok(())
    }
}

fn contract() -> PathBuf {
    workspace::root().join("wit")
}

/// Our own tool for what Go's toolchain lacks. It is built separately, as nothing else needs its dependencies.
fn componentize() -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--locked", "--manifest-path", "tests/componentize/Cargo.toml"]);
    cargo.arg("--target-dir").arg(workspace::target().join("componentize"));
    cargo.arg("--").arg("--wit").arg(contract()).args(["--world", WORLD]);
    cargo
}

/// Runs the installation unless the last successful one was for the same list.
fn once_for(list: &Path, work: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(list).with_context(|| format!("cannot read {}", list.display()))?;
    let installed = work.join("installed");
    if fs::read(&installed).is_ok_and(|last| last == wanted) {
        return Ok(());
    }
    // An interrupted installation matches no list.
    if installed.exists() {
        fs::remove_file(&installed).with_context(|| format!("cannot remove {}", installed.display()))?;
    }
    install()?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a list made `once_for` install.
    fn installs(list: &Path, work: &Path, outcome: Result<()>) -> bool {
        let mut called = false;
        let result = once_for(list, work, || {
            called = true;
            outcome
        });
        assert!(called || result.is_ok());
        called
    }

    #[test]
    fn installs_again_only_for_another_list_or_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("requirements.txt");
        fs::write(&list, "a==1\n").unwrap();
        assert!(installs(&list, folder.path(), Err(anyhow::anyhow!("no network"))));
        assert!(installs(&list, folder.path(), Ok(())));
        assert!(!installs(&list, folder.path(), Ok(())));
        fs::write(&list, "a==2\n").unwrap();
        assert!(installs(&list, folder.path(), Err(anyhow::anyhow!("no network"))));
        fs::write(&list, "a==1\n").unwrap();
        assert!(installs(&list, folder.path(), Ok(())), "the failed installation may have removed files");
    }

    #[test]
    fn every_example_is_where_it_is_looked_for() {
        for language in Language::value_variants() {
            let example = Example::of(*language);
            for name in ["README.md", "manifests", "tests/views"] {
                assert!(example.source.join(name).exists(), "{language}: {name}");
            }
        }
    }

    #[test]
    fn lock_files_name_no_registry() {
        let lock = Example::of(Language::Javascript).source.join("package-lock.json");
        let text = fs::read_to_string(lock).unwrap();
        assert!(text.contains("componentize-qjs") && !text.contains("://"));
    }
}
