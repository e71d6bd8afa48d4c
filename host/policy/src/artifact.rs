//! From a plugin's file to a plugin that can be called: it is read, verified, compiled, linked, configured and
//! described. Any problem is found here, before the plugin is in use.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::component::{Component, Instance as ComponentInstance, InstancePre, Linker};
use wasmtime::{Engine, Precompiled, Store};
use weir_core::causes::with_causes;
use weir_core::policy::Surroundings;
use weir_core::text::{abridged, printable};
use weir_core::view::ServiceView;
use weir_k8s::{FileError, read_regular};

use crate::bindings::{filter, lifecycle, log, masquerade, scheduler};
use crate::call::{CallFailure, Instance};
use crate::compile::{CompileError, Compiler};
use crate::configuration::{Digest, Interface, PluginConfiguration};
use crate::engine::Runtime;
use crate::guest::Guest;
use crate::lower::{Lowering, Zones};
use crate::metrics::{self, Metric, MetricError};
use crate::needs::{NeedError, Needs};
use crate::wasi;

mod names;

use names::Names;

/// The maximum component size. SpiderMonkey in a component takes 12 MB, Python 18 MB.
const LARGEST: u64 = 64 << 20;

/// The package of the contract.
const PACKAGE: &str = "weir:policy/";
const TRACK: &str = "0.2.";

/// A plugin that is ready to be called.
pub struct Artifact {
    pub(crate) linked: Linked,
    pub(crate) needs: Arc<Needs>,
    facts: Facts,
}

/// A component and its configuration, from which instances are created.
pub(crate) struct Linked {
    pub(crate) runtime: Runtime,
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) exports: Exports,
    /// The digest of the file.
    pub(crate) digest: Digest,
    pub(crate) configuration: PluginConfiguration,
    /// The plugin's own configuration, in the form passed to the guest.
    pub(crate) settings: String,
}

/// The interfaces that a component exports.
pub(crate) struct Exports {
    pub(crate) filter: Option<filter::GuestIndices>,
    pub(crate) scheduler: Option<scheduler::GuestIndices>,
    pub(crate) masquerade: Option<masquerade::GuestIndices>,
}

/// Facts about a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The digest of the file.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// The name the plugin reports.
    pub name: String,
    /// The version the plugin reports.
    pub version: String,
    /// The data it requests.
    pub needs: Vec<String>,
    /// The metrics that its answers carry.
    pub metrics: Vec<Metric>,
    /// Its exports.
    pub exports: Vec<String>,
    /// Its imports.
    pub imports: Vec<String>,
    /// The contract interfaces through which it is called.
    pub interfaces: Vec<Interface>,
    /// Memory of an instance right after configuration, in bytes.
    pub memory: u64,
}

/// Why a plugin is rejected.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}{hint}", hint = how_to_build(path, source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: FileError,
    },
    /// The file's digest differs from the configured one.
    #[error(
        "{path} has the digest {actual}, but the policy file requires {wanted}; replace the file, or correct `sha256`"
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        actual: Digest,
        /// The configured digest.
        wanted: Digest,
    },
    /// Machine code.
    #[error(
        "{path} is compiled code, which cannot be verified and is never accepted; use the .wasm component"
    )]
    Precompiled {
        /// The file.
        path: PathBuf,
    },
    /// A core module.
    #[error(
        "{path} is a core WebAssembly module, not a component; build for wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    Module {
        /// The file.
        path: PathBuf,
    },
    /// Not WebAssembly.
    #[error("{path} is not a component: {looks}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it looks like, and the fix.
        looks: &'static str,
    },
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It uses another version of the contract.
    #[error(
        "it exports {found}, but this version of weir supports {PACKAGE}*@{TRACK}x; {advice}",
        advice = names::advice(found)
    )]
    Version {
        /// What it exports.
        found: String,
    },
    /// It exports none of the contract's interfaces through which plugins decide.
    #[error(
        "it exports none of {PACKAGE}filter, {PACKAGE}scheduler and {PACKAGE}masquerade (its exports: {found}); a \
         plugin must export at least one of them"
    )]
    NoInterface {
        /// What it exports.
        found: String,
    },
    /// It lacks an interface.
    #[error("it does not export {PACKAGE}{interface}, which {why}")]
    Missing {
        /// The interface.
        interface: String,
        /// Why plugins need it.
        why: &'static str,
    },
    /// It imports something that plugins may not use.
    #[error("it imports {import}, but plugins get no {what}; they decide only from their arguments")]
    Import {
        /// The import.
        import: String,
        /// What it would give access to.
        what: &'static str,
    },
    /// Its functions have the wrong types.
    #[error("its functions do not match the contract: {0}")]
    Link(String),
    /// It rejected its configuration.
    #[error("it rejects its configuration: {}", .0.join("; "))]
    Configuration(Vec<String>),
    /// It failed while being configured or described.
    #[error("it failed while it was being {step}: {failure}")]
    Start {
        /// The step that failed.
        step: &'static str,
        /// The failure.
        failure: CallFailure,
    },
    /// It requests data that it cannot have.
    #[error("{}", list(.0))]
    Needs(Vec<NeedError>),
    /// It declares metrics that cannot be exported.
    #[error("{}", list(.0))]
    Metrics(Vec<MetricError>),
}

impl LoadError {
    /// The error with its causes, as one sentence safe to print on a terminal.
    pub fn with_causes(&self) -> String {
        printable(&with_causes(self)).into_owned()
    }
}

fn list(errors: &[impl ToString]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Artifact {
    /// Loads a plugin, unless `known` already contains the same component with the same configuration.
    ///
    /// # Errors
    /// The first problem, or all problems that the plugin finds in its configuration.
    pub(crate) fn load(
        runtime: &Runtime,
        compiler: &Compiler,
        configuration: &PluginConfiguration,
        known: &[Arc<Artifact>],
    ) -> Result<Arc<Artifact>, LoadError> {
        let path = &configuration.source;
        let bytes = read(path)?;
        let digest = Digest(Sha256::digest(&bytes).into());
        if let Some(wanted) = configuration.sha256
            && wanted != digest
        {
            return Err(LoadError::Digest { path: path.clone(), actual: digest, wanted });
        }
        if let Some(same) = known.iter().find(|artifact| artifact.is(digest, configuration)) {
            return Ok(Arc::clone(same));
        }
        refuse_other_kinds(path, &bytes)?;
        let component = compiler.compile(runtime, digest, &bytes)?;
        let names = Names::of(&component, runtime.engine());
        names.check()?;
        let pre = link(runtime, &component)?;
        let wants = |interface: Interface| {
            names.exports_interface(interface)
                && configuration.interfaces.as_ref().is_none_or(|wanted| wanted.contains(&interface))
        };
        for wanted in configuration.interfaces.iter().flatten() {
            if !names.exports_interface(*wanted) {
                let interface = wanted.to_string();
                return Err(LoadError::Missing {
                    interface,
                    why: "the plugin's `interfaces` in the policy file require",
                });
            }
        }
        let misfit = |error: wasmtime::Error| LoadError::Link(format!("{error:#}"));
        let linked = Linked {
            runtime: runtime.clone(),
            lifecycle: lifecycle::GuestIndices::new(&pre).map_err(misfit)?,
            exports: Exports::of(&pre, wants).map_err(misfit)?,
            pre,
            digest,
            configuration: configuration.clone(),
            settings: configuration.configuration.to_string(),
        };
        let (description, memory) = linked.introduce()?;
        let needs = Needs::parse(&description.needs).map_err(LoadError::Needs)?;
        let declared = description.metrics.as_deref().unwrap_or_default();
        let metrics = metrics::parse(declared).map_err(LoadError::Metrics)?;
        // A toolchain may export all of the contract's interfaces, whatever the plugin decides.
        let decided = description.extra.iter().flatten().find(|(key, _)| key == "interfaces");
        let decides = |interface: Interface| {
            decided.is_none_or(|(_, words)| words.split(' ').any(|word| word == interface.name()))
        };
        let facts = Facts {
            digest,
            bytes: bytes.len() as u64,
            name: abridged(&description.name, 128),
            version: abridged(&description.version, 128),
            needs: needs.words().to_vec(),
            metrics,
            interfaces: Interface::ALL.into_iter().filter(|i| wants(*i) && decides(*i)).collect(),
            exports: names.exports,
            imports: names.imports,
            memory,
        };
        Ok(Arc::new(Artifact { linked, needs: Arc::new(needs), facts }))
    }

    /// Whether this is the component with this digest and this configuration.
    pub(crate) fn is(&self, digest: Digest, configuration: &PluginConfiguration) -> bool {
        self.facts.digest == digest && self.linked.configuration == *configuration
    }

    /// Creates the records of these services that a call would pass to the guest, and discards them, to measure
    /// the cost.
    pub fn lower(&self, views: &[ServiceView], around: &Surroundings<'_>) {
        let mut lowering = Lowering::new(self.needs.clone(), Zones::default(), around);
        for view in views {
            std::hint::black_box(lowering.service(view));
        }
    }

    /// Its configuration.
    pub(crate) fn configuration(&self) -> &PluginConfiguration {
        &self.linked.configuration
    }

    /// Facts about the component.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the plugin is called through an interface.
    pub(crate) fn has(&self, interface: Interface) -> bool {
        self.facts.interfaces.contains(&interface)
    }
}

impl Exports {
    fn of(pre: &InstancePre<Guest>, wants: impl Fn(Interface) -> bool) -> wasmtime::Result<Exports> {
        let wants = |interface| wants(interface).then_some(pre);
        Ok(Exports {
            filter: wants(Interface::Filter).map(filter::GuestIndices::new).transpose()?,
            scheduler: wants(Interface::Scheduler).map(scheduler::GuestIndices::new).transpose()?,
            masquerade: wants(Interface::Masquerade).map(masquerade::GuestIndices::new).transpose()?,
        })
    }

    /// Checks that each export has the contract's functions.
    pub(crate) fn check(
        &self,
        store: &mut Store<Guest>,
        instance: &ComponentInstance,
    ) -> wasmtime::Result<()> {
        if let Some(indices) = &self.filter {
            indices.load(&mut *store, instance)?;
        }
        if let Some(indices) = &self.scheduler {
            indices.load(&mut *store, instance)?;
        }
        if let Some(indices) = &self.masquerade {
            indices.load(store, instance)?;
        }
        Ok(())
    }
}

impl Linked {
    /// Starts the plugin once: it must accept its configuration, report its needs, and export the contract's
    /// functions. Also returns the memory used, in bytes.
    fn introduce(&self) -> Result<(lifecycle::Description, u64), LoadError> {
        let starting = |step| move |failure| LoadError::Start { step, failure };
        let mut instance = Instance::start(self).map_err(starting("instantiated"))?;
        if let Err(refusals) = instance.configure().map_err(starting("configured"))? {
            let said = |text: String| abridged(&text, 1024);
            return Err(LoadError::Configuration(refusals.into_iter().take(64).map(said).collect()));
        }
        let description = instance.describe().map_err(starting("described"))?;
        instance.check_interfaces().map_err(|error| LoadError::Link(format!("{error:#}")))?;
        Ok((description, instance.peak_memory()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    read_regular(path, LARGEST).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

/// How to build the plugin of a missing file, if the path looks like the output of a build; otherwise empty.
fn how_to_build(path: &Path, why: &FileError) -> String {
    let FileError::Io(error) = why else { return String::new() };
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    // A name that is safe to paste into a shell.
    let is_plain = stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let is_component = path.extension().is_some_and(|extension| extension == "wasm");
    if error.kind() != ErrorKind::NotFound || !is_plain || !is_component {
        return String::new();
    }
    let below = |folder: &str| path.iter().any(|part| part == folder);
    let (command, place) = match stem {
        _ if stem.starts_with("weir_plugin_") => {
            let package = stem.replace('_', "-");
            let command = format!("cargo build --profile plugin --target wasm32-wasip2 -p {package}");
            (command, "in weir's source tree")
        }
        "go" | "javascript" | "python" if below("examples") => {
            (format!("cargo xtask examples {stem}"), "in weir's source tree")
        }
        _ if below("target") => {
            ("cargo build --release --target wasm32-wasip2".to_owned(), "in the plugin's folder")
        }
        _ if below("plugins") => {
            return " (if the plugin is not built yet, see plugins/README.md)".to_owned();
        }
        _ => return String::new(),
    };
    format!(" (if the plugin is not built yet, run `{command}` {place})")
}

fn refuse_other_kinds(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    if matches!(Engine::detect_precompiled(bytes), Some(Precompiled::Module | Precompiled::Component)) {
        return Err(LoadError::Precompiled { path: path.to_owned() });
    }
    // The preamble's layer: 0 is a core module, 1 a component (component-model/design/mvp/Binary.md).
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(LoadError::Module { path: path.to_owned() });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(LoadError::Foreign { path: path.to_owned(), looks: looks(bytes) });
    }
    Ok(())
}

/// What a file that is not WebAssembly looks like, and how to get a component.
fn looks(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        return "it is empty; build or copy it again";
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return "unknown file type; use the .wasm file produced by a build for wasm32-wasip2";
    };
    let code = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with(";;"));
    if code.is_some_and(|line| line.starts_with("(component") || line.starts_with("(module")) {
        return "it is WebAssembly text format; convert it with `wasm-tools parse -o FILE.wasm`";
    }
    "it is a text file; use the .wasm file produced by a build for wasm32-wasip2"
}

fn link(runtime: &Runtime, component: &Component) -> Result<InstancePre<Guest>, LoadError> {
    let mut linker = Linker::new(runtime.engine());
    log::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |guest| guest)
        .and_then(|()| wasi::define(&mut linker, component, runtime.engine()))
        .and_then(|()| linker.instantiate_pre(component))
        .map_err(|error| LoadError::Link(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_that_a_build_would_write_is_reported_with_the_command() {
        let said = |path: &str| read(Path::new(path)).unwrap_err().with_causes();
        for (path, command) in [
            (
                "/none/target/wasm32-wasip2/plugin/weir_plugin_slow_start.wasm",
                "`cargo build --profile plugin --target wasm32-wasip2 -p weir-plugin-slow-start` in weir's source tree)",
            ),
            ("/none/target/examples/go.wasm", "`cargo xtask examples go` in weir's source tree)"),
            (
                "/none/target/wasm32-wasip2/release/my_plugin.wasm",
                "`cargo build --release --target wasm32-wasip2` in the plugin's folder)",
            ),
            ("/none/plugins/mine.wasm", "see plugins/README.md)"),
        ] {
            let said = said(path);
            assert!(
                said.starts_with(&format!("cannot read {path} (if the plugin is not built yet, ")),
                "{said}"
            );
            assert!(said.contains(command) && said.contains("): No such file"), "{said}");
        }
        for path in ["/none/mine.wasm", "/none/target/a b.wasm", "/none/target/mine.txt", "/none/target"] {
            assert!(!said(path).contains("built"), "{path}");
        }
    }

    #[test]
    fn what_is_no_webassembly_is_reported_by_what_it_looks_like() {
        for (bytes, wanted) in [
            (&b""[..], "it is empty"),
            (b"hello\n", "it is a text file"),
            (b"\n ;; mine\n  (component\n)", "wasm-tools parse"),
            (b"(module)", "wasm-tools parse"),
            (b"\x7fELF\xff", "unknown file type"),
        ] {
            let error = refuse_other_kinds(Path::new("a\u{1b}.wasm"), bytes).unwrap_err().with_causes();
            assert!(
                error.starts_with(r"a\u{1b}.wasm is not a component: ") && error.contains(wanted),
                "{error}"
            );
        }
        assert!(refuse_other_kinds(Path::new("a.wasm"), b"\0asm\x0d\0\x01\0").is_ok());
    }
}
