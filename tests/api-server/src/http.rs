//! A minimal HTTP/1.1.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use serde_json::Value;

use crate::asked::{Asked, Kind};
use crate::store::Collection;

/// Reads a request; `None` when the connection is closed.
pub(crate) fn read(stream: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut first = String::new();
    if stream.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default();
    let (path, query) =
        words.next().and_then(|uri| uri.split_once('?').or(Some((uri, "")))).unwrap_or_default();
    let query: BTreeMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (unescaped(key), unescaped(value)))
        .collect();
    let kind = match method {
        "POST" => Kind::Create,
        "PATCH" => Kind::Patch,
        _ if query.contains_key("sendInitialEvents") => Kind::StreamedList,
        _ if query.contains_key("watch") => Kind::Watch,
        _ if query.contains_key("continue") => Kind::Page,
        _ => Kind::List,
    };
    Ok(Some(Asked {
        kind,
        collection: Collection::at(path).map(|(collection, _)| collection),
        path: path.to_owned(),
        query,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        at: Instant::now(),
    }))
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, code.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The head of a response with a known length.
pub(crate) fn head(code: u16, length: usize, retry_after: Option<u64>) -> String {
    let retry_after = retry_after.map_or(String::new(), |seconds| format!("Retry-After: {seconds}\r\n"));
    format!(
        "HTTP/1.1 {code} Answer\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{retry_after}\r\n"
    )
}

/// A whole response.
pub(crate) fn write(
    stream: &mut impl Write,
    code: u16,
    body: &Value,
    retry_after: Option<u64>,
) -> io::Result<()> {
    let body = body.to_string();
    stream.write_all((head(code, body.len(), retry_after) + &body).as_bytes())
}

/// The head of a chunked response.
pub(crate) fn write_stream_head(stream: &mut impl Write) -> io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
}

/// A chunk; an empty one is the end.
pub(crate) fn write_chunk(stream: &mut impl Write, data: &str) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes())
}
