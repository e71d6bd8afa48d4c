//! Compiles a component to machine code: in this process for short-lived commands, in a child process for the
//! daemon.
//!
//! The compiler needs up to 350 MB for a large component, and a hostile component can use more. A child has its own
//! limits, and its memory returns to the system when it exits.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::component::Component;
use weir_core::causes::with_causes;
use weir_core::text::abridged;

use crate::cache::Cache;
use crate::configuration::Digest;
use crate::engine::Runtime;

/// Address space of the compiling child, and its CPU time in seconds. Compiling Python needed 350 MB.
const CHILD_MEMORY: u64 = 1536 << 20;
const CHILD_SECONDS: u64 = 60;

/// Exit statuses of the child: it refused the component, or could not work.
const REFUSED: u8 = 1;
const FAILED: u8 = 2;

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
    #[error("weir cannot compile it: {0}")]
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
    /// The compiler itself failed, whatever the component.
    #[error("weir's compiler failed: {0}")]
    Failed(String),
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
    Err(match complaint.trim() {
        "" => CompileError::Invalid(format!(
            "the compiler ended early ({status}); it may use at most {CHILD_SECONDS} s of CPU time and {} MiB of \
             memory",
            CHILD_MEMORY >> 20
        )),
        text if status.code() == Some(FAILED.into()) => CompileError::Failed(text.to_owned()),
        text => CompileError::Invalid(text.to_owned()),
    })
}

/// Why the child wrote no machine code.
#[derive(Debug)]
pub struct Complaint {
    /// The message that the parent will show.
    pub message: String,
    /// The exit status by which the parent knows whether the component or the compiler is to blame.
    pub status: u8,
}

/// The child's part: reads a component from standard input and writes its machine code to standard output.
///
/// # Errors
/// When the component is refused, or the compiler cannot work.
pub fn child() -> Result<(), Complaint> {
    let failed = |message| Complaint { message, status: FAILED };
    let (runtime, bytes) = prepare().map_err(failed)?;
    let code = runtime
        .engine()
        .precompile_component(&bytes)
        .map_err(|error| Complaint { message: one_line(&error), status: REFUSED })?;
    let written = std::io::stdout().lock().write_all(&code);
    written.map_err(|error| failed(format!("cannot write the code to standard output: {error}")))
}

fn prepare() -> Result<(Runtime, Vec<u8>), String> {
    limit(Resource::As, CHILD_MEMORY, "memory")?;
    limit(Resource::Cpu, CHILD_SECONDS, "CPU time")?;
    // Traffic on the node has priority.
    let _ = rustix::process::nice(10);
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read the component from standard input: {error}"))?;
    Ok((Runtime::new().map_err(|error| with_causes(&error))?, bytes))
}

fn limit(resource: Resource, most: u64, what: &str) -> Result<(), String> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
        .map_err(|error| format!("cannot limit the compiler's {what}: {error}"))
}
