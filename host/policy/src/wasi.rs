//! The parts of WASI that a plugin gets: enough for its language's start-up code, and no access to the machine.
//!
//! The environment is empty, clocks stand still, random numbers are always the same, no directory is open,
//! standard output becomes log lines, and everything else traps. So a plugin in Go or Python starts, and still
//! decides only from its arguments.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime::{Engine, Result, StoreContextMut, bail};

use crate::guest::{Guest, Stream};

/// The interfaces that a plugin may import, by the part of the name before `@`. They give no access to the
/// outside; toolchains import them whether or not a plugin uses them.
const TOLERATED: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// The name of an interface without its version.
pub(crate) fn unversioned(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// Whether a plugin may import this interface of WASI.
pub(crate) fn tolerates(import: &str) -> bool {
    TOLERATED.contains(&unversioned(import))
}

/// The numbers of the two text streams.
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// Text on its way to the log.
struct OutputStream;
/// At its end immediately.
struct InputStream;
/// Never created.
struct IoError;
/// Ready immediately: output always has room, and nothing else can be waited for.
struct Pollable;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct DateTime {
    seconds: u64,
    nanoseconds: u32,
}

/// The maximum number of random bytes per request.
const RANDOM_BYTES: u64 = 64 << 10;

type Store<'a> = StoreContextMut<'a, Guest>;

/// Defines every WASI import of the component.
pub(crate) fn define(linker: &mut Linker<Guest>, component: &Component, engine: &Engine) -> Result<()> {
    let component_type = component.component_type();
    for (name, import) in component_type.imports(engine) {
        if !tolerates(name) {
            continue;
        }
        let mut instance = linker.instance(name)?;
        if let ComponentItem::ComponentInstance(interface) = &import.ty {
            for (item, import) in interface.exports(engine) {
                if let ComponentItem::Resource(_) = import.ty {
                    instance.resource(item, resource(item), |_, _| Ok(()))?;
                }
            }
        }
        functions(unversioned(name), &mut instance)?;
    }
    linker.define_unknown_imports_as_traps(component)
}

fn resource(name: &str) -> ResourceType {
    match name {
        "output-stream" => ResourceType::host::<OutputStream>(),
        "input-stream" => ResourceType::host::<InputStream>(),
        "error" => ResourceType::host::<IoError>(),
        "pollable" => ResourceType::host::<Pollable>(),
        _ => ResourceType::host::<()>(),
    }
}

fn functions(interface: &str, to: &mut LinkerInstance<'_, Guest>) -> Result<()> {
    match interface {
        "wasi:cli/environment" => {
            to.func_wrap("get-environment", |_: Store<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
            to.func_wrap("get-arguments", |_: Store<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
            to.func_wrap("initial-cwd", |_: Store<'_>, (): ()| Ok((None::<String>,)))
        }
        "wasi:cli/exit" => to.func_wrap("exit", |_: Store<'_>, (status,): (Result<(), ()>,)| -> Result<()> {
            bail!("the plugin called exit({})", if status.is_ok() { 0 } else { 1 })
        }),
        "wasi:cli/stdin" => {
            to.func_wrap("get-stdin", |_: Store<'_>, (): ()| Ok((Resource::<InputStream>::new_own(0),)))
        }
        "wasi:cli/stdout" => to
            .func_wrap("get-stdout", |_: Store<'_>, (): ()| Ok((Resource::<OutputStream>::new_own(STDOUT),))),
        "wasi:cli/stderr" => to
            .func_wrap("get-stderr", |_: Store<'_>, (): ()| Ok((Resource::<OutputStream>::new_own(STDERR),))),
        "wasi:cli/terminal-stdin" => no_terminal(to, "get-terminal-stdin"),
        "wasi:cli/terminal-stdout" => no_terminal(to, "get-terminal-stdout"),
        "wasi:cli/terminal-stderr" => no_terminal(to, "get-terminal-stderr"),
        "wasi:clocks/monotonic-clock" => {
            // Any moment except 0: Go takes that for a broken clock and refuses to start.
            to.func_wrap("now", |_: Store<'_>, (): ()| Ok((1u64,)))?;
            to.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((1u64,)))
        }
        "wasi:clocks/wall-clock" => {
            to.func_wrap("now", |_: Store<'_>, (): ()| Ok((DateTime { seconds: 0, nanoseconds: 0 },)))?;
            to.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((DateTime { seconds: 0, nanoseconds: 1 },)))
        }
        "wasi:filesystem/preopens" => to
            .func_wrap("get-directories", |_: Store<'_>, (): ()| Ok((Vec::<(Resource<()>, String)>::new(),))),
        "wasi:random/random" => {
            to.func_wrap("get-random-bytes", random_bytes)?;
            to.func_wrap("get-random-u64", |mut store: Store<'_>, (): ()| Ok((store.data_mut().random(),)))
        }
        "wasi:random/insecure" => {
            to.func_wrap("get-insecure-random-bytes", random_bytes)?;
            to.func_wrap("get-insecure-random-u64", |mut store: Store<'_>, (): ()| {
                Ok((store.data_mut().random(),))
            })
        }
        "wasi:random/insecure-seed" => to.func_wrap("insecure-seed", |mut store: Store<'_>, (): ()| {
            let guest = store.data_mut();
            Ok(((guest.random(), guest.random()),))
        }),
        "wasi:io/streams" => streams(to),
        "wasi:io/poll" => {
            to.func_wrap("[method]pollable.block", |_: Store<'_>, (_,): (Resource<Pollable>,)| Ok(()))?;
            to.func_wrap("[method]pollable.ready", |_: Store<'_>, (_,): (Resource<Pollable>,)| Ok((true,)))?;
            to.func_wrap("poll", |_: Store<'_>, (list,): (Vec<Resource<Pollable>>,)| {
                Ok(((0u32..).take(list.len()).collect::<Vec<u32>>(),))
            })
        }
        _ => Ok(()),
    }
}

fn no_terminal(to: &mut LinkerInstance<'_, Guest>, name: &str) -> Result<()> {
    to.func_wrap(name, |_: Store<'_>, (): ()| Ok((None::<Resource<()>>,)))
}

fn random_bytes(mut store: Store<'_>, (length,): (u64,)) -> Result<(Vec<u8>,)> {
    if length > RANDOM_BYTES {
        bail!("the plugin requested {length} random bytes; at most {RANDOM_BYTES} per request are allowed");
    }
    let guest = store.data_mut();
    let bytes = std::iter::repeat_with(|| guest.random().to_le_bytes()).flatten();
    Ok((bytes.take(usize::try_from(length)?).collect(),))
}

/// The result of a guest's write, as returned to the guest.
type Written = Result<(std::result::Result<(), StreamError>,)>;

fn streams(to: &mut LinkerInstance<'_, Guest>) -> Result<()> {
    type Out = Resource<OutputStream>;
    type In = Resource<InputStream>;
    fn write(mut store: Store<'_>, (out, bytes): (Out, Vec<u8>)) -> Written {
        let stream = if out.rep() == STDERR { Stream::Error } else { Stream::Output };
        store.data_mut().print(stream, &bytes);
        Ok((Ok(()),))
    }
    fn flush(_: Store<'_>, (_,): (Out,)) -> Written {
        Ok((Ok(()),))
    }
    fn read(_: Store<'_>, _: (In, u64)) -> Result<(std::result::Result<Vec<u8>, StreamError>,)> {
        Ok((Err(StreamError::Closed),))
    }
    let room = |_: Store<'_>, (_,): (Out,)| Ok((Ok::<u64, StreamError>(4096),));
    to.func_wrap("[method]output-stream.check-write", room)?;
    to.func_wrap("[method]output-stream.subscribe", |_: Store<'_>, (_,): (Out,)| {
        Ok((Resource::<Pollable>::new_own(0),))
    })?;
    to.func_wrap("[method]output-stream.write", write)?;
    to.func_wrap("[method]output-stream.blocking-write-and-flush", write)?;
    to.func_wrap("[method]output-stream.flush", flush)?;
    to.func_wrap("[method]output-stream.blocking-flush", flush)?;
    to.func_wrap("[method]input-stream.read", read)?;
    to.func_wrap("[method]input-stream.blocking-read", read)
}
