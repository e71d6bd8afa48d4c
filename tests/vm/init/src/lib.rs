//! What `cargo xtask vm` and the guest's process 1 say to each other.
//!
//! The host puts numbered [`Command`]s into the guest's root before it boots; the guest runs them in order and
//! answers on one virtio serial port with the commands' own output, interrupted by [`Frame`] lines.
//!
//! ```text
//!  cargo xtask vm ──/lab/commands/NNN in the initramfs──▶ weir-guest-init ──spawn──▶ command
//!        ▲                                                       │ Begin, End, Done     │ stdout, stderr
//!        └───────────────── virtio serial port `weir.lab` ◀──────┴──────────────────────┘
//! ```
//!
//! Never:
//! - input from the host while the guest runs (an interactive shell has a console of its own);
//! - shared file systems or sockets between guest and host.

mod command;
mod frame;

pub use command::{Command, DecodeError, Streams};
pub use frame::{Decoder, Frame, Piece, Status};

/// Name of the virtio serial port that carries output and frames to the host.
pub const PORT: &str = "weir.lab";

/// What a line of output begins with that is a file for the host: JSON with `path` and `text` follows.
pub const FILE: &str = "@file ";

/// Directory in the guest that holds the encoded commands, named so that sorting gives their order.
pub const COMMANDS: &str = "/lab/commands";
