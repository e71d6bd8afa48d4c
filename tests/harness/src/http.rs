//! A page of a program under test.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use anyhow::{Context, Result};

use crate::patience::GENEROUS;

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks for a page, from the network namespace of the calling thread.
///
/// # Errors
/// When nobody listens, or there is no answer within a generous time.
pub fn get(address: impl ToSocketAddrs, path: &str) -> Result<Page> {
    let mut stream = TcpStream::connect(address).context("nobody listens")?;
    stream.set_read_timeout(Some(GENEROUS))?;
    // HTTP/1.0 has bodies as they are, and the connection ends with them.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: here\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Page { status, body: body.to_owned() })
}
