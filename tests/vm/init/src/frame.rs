//! Frames: messages of the guest between lines of program output.

use std::fmt;

/// ASCII "record separator": starts a frame, and does not occur in the output of the programs we run.
const MARK: u8 = 0x1e;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code.
    Exited(i32),
    /// It was terminated by this signal.
    Signaled(i32),
    /// The program could not be started; the output before the frame contains the reason.
    NotStarted,
}

impl Status {
    /// Whether the command returned 0.
    pub fn is_success(self) -> bool {
        self == Status::Exited(0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Exited(code) => write!(f, "exit {code}"),
            Status::Signaled(signal) => write!(f, "signal {signal}"),
            Status::NotStarted => f.write_str("not-started"),
        }
    }
}

/// A message from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The output that follows belongs to the command with this index.
    Begin(usize),
    /// The command with this index ended.
    End(usize, Status),
    /// All commands have run; nothing follows.
    Done,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = char::from(MARK);
        match self {
            Frame::Begin(index) => writeln!(f, "{mark}begin {index}"),
            Frame::End(index, status) => writeln!(f, "{mark}end {index} {status}"),
            Frame::Done => writeln!(f, "{mark}done"),
        }
    }
}

impl Frame {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?;
        let words: Vec<&str> = line.split(' ').collect();
        Some(match words.as_slice() {
            ["begin", index] => Frame::Begin(index.parse().ok()?),
            ["end", index, "exit", code] => {
                Frame::End(index.parse().ok()?, Status::Exited(code.parse().ok()?))
            }
            ["end", index, "signal", n] => Frame::End(index.parse().ok()?, Status::Signaled(n.parse().ok()?)),
            ["end", index, "not-started"] => Frame::End(index.parse().ok()?, Status::NotStarted),
            ["done"] => Frame::Done,
            _ => return None,
        })
    }
}

/// A part of the stream, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes a command wrote.
    Output(Vec<u8>),
    /// A message from the guest.
    Frame(Frame),
}

/// Decodes the stream, however it was split in transit.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Vec<u8>,
}

impl Decoder {
    /// Returns the pieces completed by `bytes`. Output is passed on immediately; only an incomplete frame line is
    /// held back.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.partial.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        loop {
            let start = self.partial.iter().position(|&b| b == MARK).unwrap_or(self.partial.len());
            let end = self.partial[start..].iter().position(|&b| b == b'\n').map(|n| start + n);
            if start > 0 {
                pieces.push(Piece::Output(self.partial[..start].to_vec()));
            }
            let Some(end) = end else {
                self.partial.drain(..start);
                return pieces;
            };
            // A line that only resembles a frame is output: losing a program's output would be worse.
            let line = &self.partial[start..=end];
            pieces.push(match Frame::parse(&line[1..line.len() - 1]) {
                Some(frame) => Piece::Frame(frame),
                None => Piece::Output(line.to_vec()),
            });
            self.partial.drain(..=end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (Vec<u8>, Vec<Piece>) {
        let text = format!(
            "boot\n{}no newline{}{}{}{}\u{1e}odd\n{}",
            Frame::Begin(0),
            Frame::End(0, Status::Exited(-1)),
            Frame::Begin(1),
            Frame::End(1, Status::Signaled(9)),
            Frame::End(2, Status::NotStarted),
            Frame::Done
        );
        let pieces = vec![
            Piece::Output(b"boot\n".to_vec()),
            Piece::Frame(Frame::Begin(0)),
            Piece::Output(b"no newline".to_vec()),
            Piece::Frame(Frame::End(0, Status::Exited(-1))),
            Piece::Frame(Frame::Begin(1)),
            Piece::Frame(Frame::End(1, Status::Signaled(9))),
            Piece::Frame(Frame::End(2, Status::NotStarted)),
            Piece::Output(b"\x1eodd\n".to_vec()),
            Piece::Frame(Frame::Done),
        ];
        (text.into_bytes(), pieces)
    }

    fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
        pieces.into_iter().fold(Vec::new(), |mut all, piece| {
            match (all.last_mut(), piece) {
                (Some(Piece::Output(before)), Piece::Output(more)) => before.extend(more),
                (_, piece) => all.push(piece),
            }
            all
        })
    }

    #[test]
    fn takes_a_whole_stream_apart() {
        let (bytes, pieces) = stream();
        assert_eq!(Decoder::default().push(&bytes), pieces);
    }

    #[test]
    fn cuts_in_the_transport_change_nothing() {
        let (bytes, pieces) = stream();
        for size in 1..7 {
            let mut decoder = Decoder::default();
            let found = bytes.chunks(size).flat_map(|chunk| decoder.push(chunk)).collect();
            assert_eq!(joined(found), pieces, "chunks of {size}");
        }
    }

    #[test]
    fn output_is_not_kept_back() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"prompt> "), vec![Piece::Output(b"prompt> ".to_vec())]);
    }
}
