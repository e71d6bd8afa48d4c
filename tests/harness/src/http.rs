//! Requests to a program under test.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use anyhow::{Context, Result};

use crate::patience::GENEROUS;

/// A response.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Requests a page from the calling thread's network namespace.
///
/// # Errors
/// When the connection fails, or there is no answer within a generous time.
pub fn get(address: impl ToSocketAddrs, path: &str) -> Result<Page> {
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    stream.set_read_timeout(Some(GENEROUS))?;
    // HTTP/1.0 sends bodies unchanged, and the connection closes after them.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: here\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the response has no header")?;
    let status = head.split(' ').nth(1).context("the response has no status")?.parse()?;
    Ok(Page { status, body: body.to_owned() })
}
