//! Records conversations with a real kernel as text: `> HEX` was sent, `< HEX` was received.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use weir_netlink::socket::{KernelTransport, Protocol, Received, Socket, Transport, Wait};

/// A socket to the kernel. If `WEIR_RECORD` is set, the traffic is written to the file of this name, or printed as
/// `recorded NAME LINE` if `WEIR_RECORD` is `print`.
pub(crate) fn recording(name: &'static str, protocol: Protocol) -> Socket<Recorder> {
    let kernel = KernelTransport::open(protocol).expect("the socket opens");
    Socket::over(Recorder { name, kernel, text: String::new() })
}

/// The path of the conversation with this name.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name).with_extension("txt")
}

#[derive(Debug)]
pub(crate) struct Recorder {
    name: &'static str,
    kernel: KernelTransport,
    text: String,
}

impl Recorder {
    fn keep(&mut self, direction: char, bytes: &[u8]) {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        writeln!(self.text, "{direction} {hex}").expect("writing to a string cannot fail");
    }
}

impl Transport for Recorder {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.keep('>', bytes);
        self.kernel.send(bytes)
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, wait: Wait) -> io::Result<Received> {
        let received = self.kernel.receive(buffer, wait)?;
        self.keep('<', buffer);
        Ok(received)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let Ok(mode) = std::env::var("WEIR_RECORD") else { return };
        if std::thread::panicking() {
            return;
        }
        if mode == "print" {
            self.text.lines().for_each(|line| println!("recorded {} {line}", self.name));
        } else {
            std::fs::write(path(self.name), &self.text).expect("the recording can be written");
        }
    }
}
