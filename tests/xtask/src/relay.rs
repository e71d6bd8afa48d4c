//! Connects a guest to the host's loopback.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use clap::Args;

/// Options of `cargo xtask relay`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    port: u16,
}

/// Relays bytes until the server closes the connection; QEMU closes the other end.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let server =
        TcpStream::connect((Ipv4Addr::LOCALHOST, options.port)).context("cannot connect to the server")?;
    server.set_nodelay(true).context("cannot disable send delays")?;
    let upstream = server.try_clone().context("cannot clone the connection")?;
    thread::spawn(move || {
        // Either end may close at any time; the other end must notice.
        let _ = pass_on(io::stdin().lock(), &upstream);
        let _ = upstream.shutdown(Shutdown::Both);
    });
    pass_on(&server, io::stdout().lock()).context("cannot relay data")?;
    Ok(ExitCode::SUCCESS)
}

fn pass_on(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count]).and_then(|()| to.flush())?,
        }
    }
}
