//! The protocol between `cargo xtask vm` and the guest's process 1.
//!
//! The host puts numbered [`Command`]s into the guest's root before it boots. The guest runs them in order and
//! sends the commands' output over one virtio serial port, interleaved with [`Frame`] lines.
//!
//! ```text
//!  cargo xtask vm ──/lab/commands/NNN in the initramfs──▶ weir-guest-init ──spawn──▶ command
//!        ▲                                                       │ Begin, End, Done     │ stdout, stderr
//!        └───────────────── virtio serial port `weir.lab` ◀──────┴──────────────────────┘
//! ```
//!
//! Not supported:
//! - input from the host while the guest runs (an interactive shell has its own console);
//! - shared file systems or sockets between guest and host.

mod command;
mod frame;

pub use command::{Command, DecodeError, Streams};
pub use frame::{Decoder, Frame, Piece, Status};

/// Name of the virtio serial port that carries output and frames to the host.
pub const PORT: &str = "weir.lab";

/// Address of the recorded node's network card, on which its link-local address depends. Guests with another card share a
/// network, so they must not take the recorded addresses: their commands give them their own.
pub const RECORDED_CARD: &str = "52:54:00:12:34:56";

/// Prefix of an output line that contains a file for the host: JSON with `path` and `text` follows.
pub const FILE: &str = "@file ";

/// Directory of the encoded commands in the guest; sorting the names gives their order.
pub const COMMANDS: &str = "/lab/commands";
