//! Compiles a component to machine code: in this process for short-lived commands, in a child process for the
//! daemon.
//!
//! The compiler needs up to 350 MB for a large component, and a hostile one can make it need more. A child has its
//! own limits, and its memory returns to the system when it exits.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::component::Component;
use weir_core::text::abridged;

use crate::cache::Cache;
use crate::configuration::Digest;
use crate::engine::Runtime;

/// Address space of the compiling child, and its CPU time in seconds. Machine code for Python needed 350 MB.
const CHILD_MEMORY: u64 = 1536 << 20;
const CHILD_SECONDS: u64 = 60;

/// Where components are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In this process, without a cache.
    InProcess,
    /// In a child process: this program and arguments, with the component on its standard input and the machine
    /// code on its standard output; see [`child`]. The result is cached if there is a cache.
    Child {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// The cache.
        cache: Option<Cache>,
    },
}

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It is not a valid component, or it uses disabled WebAssembly features.
    #[error("it is not a component that weir can run: {0}")]
    Invalid(String),
    /// The compiler did not start, or the pipes to it failed.
    #[error("cannot run the compiler {program}")]
    Child {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The compiler's machine code is unusable.
    #[error("cannot load the compiler's output: {0}")]
    Output(String),
}

impl Compiler {
    /// The compiled component.
    pub(crate) fn compile(
        &self,
        runtime: &Runtime,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<Component, CompileError> {
        match self {
            Compiler::InProcess => Component::from_binary(runtime.engine(), bytes)
                .map_err(|error| CompileError::Invalid(one_line(&error))),
            Compiler::Child { program, arguments, cache } => {
                if let Some(known) = cache.as_ref().and_then(|cache| cache.get(runtime, digest)) {
                    return Ok(known);
                }
                let code = in_child(program, arguments, bytes)?;
                let component =
                    deserialize(runtime, &code).map_err(|error| CompileError::Output(one_line(&error)))?;
                if let Some(cache) = cache {
                    cache.put(runtime, digest, &code);
                }
                Ok(component)
            }
        }
    }
}

/// Loads machine code made by our own compiler.
#[expect(unsafe_code, reason = "wasmtime cannot verify machine code; the caller vouches for it")]
pub(crate) fn deserialize(runtime: &Runtime, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` comes from our own child over a pipe, or from the cache, which only accepts what this user
    // wrote and no other user could have changed. It is copied, so a later change of the file does not change
    // running code. Wasmtime refuses code of another version or configuration.
    unsafe { Component::deserialize(runtime.engine(), code) }
}

/// The compiler's message, which may span several lines.
fn one_line(error: &wasmtime::Error) -> String {
    let words = format!("{error:#}");
    abridged(&words.split_whitespace().collect::<Vec<_>>().join(" "), 512)
}

fn in_child(program: &PathBuf, arguments: &[String], bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
    let failed = |source| CompileError::Child { program: program.clone(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let mut code = Vec::new();
    let complaint = thread::scope(|scope| {
        // A child that exits early closes the pipe; its exit status and error output say why.
        scope.spawn(move || input.map(|mut input| input.write_all(bytes)));
        let complaint = scope.spawn(move || {
            let mut text = String::new();
            if let Some(errors) = errors {
                let _ = errors.take(4096).read_to_string(&mut text);
            }
            text
        });
        if let Some(mut output) = child.stdout.take() {
            output.read_to_end(&mut code).map_err(failed)?;
        }
        Ok(complaint.join().unwrap_or_default())
    })?;
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(code);
    }
    let complaint = complaint.trim();
    Err(CompileError::Invalid(match complaint {
        "" => format!(
            "the compiler exited with {status}; its limits are {CHILD_SECONDS} s and {} MiB",
            CHILD_MEMORY >> 20
        ),
        text => text.to_owned(),
    }))
}

/// The child's part: reads a component from standard input and writes its machine code to standard output.
///
/// # Errors
/// The message that the parent will show.
pub fn child() -> Result<(), String> {
    limit(Resource::As, CHILD_MEMORY)?;
    limit(Resource::Cpu, CHILD_SECONDS)?;
    // Traffic on the node has priority.
    let _ = rustix::process::nice(10);
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read the component: {error}"))?;
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let code = runtime.engine().precompile_component(&bytes).map_err(|error| one_line(&error))?;
    std::io::stdout().lock().write_all(&code).map_err(|error| format!("cannot write the code: {error}"))
}

fn limit(resource: Resource, most: u64) -> Result<(), String> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
        .map_err(|error| format!("cannot limit {resource:?}: {error}"))
}
