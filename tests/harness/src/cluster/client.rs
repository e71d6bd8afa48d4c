//! Requests and their results.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::Socket;
use weir_core::net::Protocol;

use super::transport;

/// Time limit for an answer. The guest is emulated, and within two seconds TCP retransmits a lost first packet
/// only once.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub server: String,
    /// The client's address and port as seen by the server.
    pub source: SocketAddr,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// The target or a hop on the way refused the request.
    #[error("refused")]
    Refused,
    /// There was no answer in time.
    #[error("no answer in time")]
    Unanswered,
    /// An open connection was closed.
    #[error("the connection was closed")]
    Ended,
    /// Anything else.
    #[error("failed: {0}")]
    Other(io::ErrorKind),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        use io::ErrorKind::{
            BrokenPipe, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock,
        };
        match error.kind() {
            ConnectionRefused => Failure::Refused,
            TimedOut | WouldBlock => Failure::Unanswered,
            ConnectionReset | UnexpectedEof | BrokenPipe => Failure::Ended,
            other => Failure::Other(other),
        }
    }
}

/// A connection, or for UDP a socket that keeps its port. Each question gets one answer.
#[derive(Debug)]
pub struct Conversation {
    socket: Socket,
    /// Number of questions asked.
    asked: u64,
}

impl Conversation {
    /// Connects from the calling thread's namespace.
    pub(super) fn open(
        protocol: Protocol,
        target: SocketAddr,
        patience: Duration,
    ) -> Result<Conversation, Failure> {
        Ok(Conversation { socket: transport::connect(protocol, target, patience)?, asked: 0 })
    }

    /// Like [`Conversation::open`], from this source port.
    pub(super) fn open_from(
        port: u16,
        protocol: Protocol,
        target: SocketAddr,
        patience: Duration,
    ) -> Result<Conversation, Failure> {
        Ok(Conversation { socket: transport::connect_from(port, protocol, target, patience)?, asked: 0 })
    }

    /// Asks once. Questions are numbered, and the answer must have the same number: losses, repetitions and
    /// reordering in either direction are failures.
    ///
    /// # Errors
    /// [`Failure::Refused`] can also stem from an error message that an earlier datagram caused.
    pub fn ask(&mut self) -> Result<Answer, Failure> {
        self.asked += 1;
        self.socket.write_all(format!("{}\n", self.asked).as_bytes())?;
        let mut text = Vec::new();
        while text.last() != Some(&b'\n') {
            let mut buffer = [0; 128];
            let count = self.socket.read(&mut buffer)?;
            if count == 0 {
                return Err(Failure::Ended);
            }
            text.extend_from_slice(&buffer[..count]);
        }
        parse(&text, self.asked).ok_or(Failure::Other(io::ErrorKind::InvalidData))
    }

    /// Changes the time limit.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn with_patience(self, patience: Duration) -> Result<Conversation, Failure> {
        self.socket.set_read_timeout(Some(patience))?;
        Ok(self)
    }

    /// Closes the connection with a reset: the kernel forgets it within seconds, instead of the two minutes for a
    /// connection closed normally.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn abort(self) -> Result<(), Failure> {
        Ok(self.socket.set_linger(Some(Duration::ZERO))?)
    }
}

/// `web-1 10.0.2.15:40000 7`
fn parse(text: &[u8], number: u64) -> Option<Answer> {
    let mut words = std::str::from_utf8(text).ok()?.split_whitespace();
    let answer = Answer { server: words.next()?.to_owned(), source: words.next()?.parse().ok()? };
    (words.next()?.parse() == Ok(number) && words.next().is_none()).then_some(answer)
}

/// The results of several requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by server.
    pub answers: BTreeMap<String, usize>,
    /// The clients' addresses as seen by servers.
    pub sources: BTreeSet<IpAddr>,
    /// Requests without an answer, by reason.
    pub failures: BTreeMap<Failure, usize>,
}

impl Tally {
    /// Counts one result.
    pub fn add(&mut self, result: Result<Answer, Failure>) {
        match result {
            Ok(answer) => {
                *self.answers.entry(answer.server).or_default() += 1;
                self.sources.insert(answer.source.ip());
            }
            Err(failure) => *self.failures.entry(failure).or_default() += 1,
        }
    }

    /// Number of answers from all servers.
    pub fn answered(&self) -> usize {
        self.answers.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let answer = parse(b"web-1 10.0.2.15:40000 7\n", 7).unwrap();
        assert_eq!((answer.server.as_str(), answer.source.port()), ("web-1", 40000));
        assert_eq!(parse(b"web-1 10.0.2.15:40000 6\n", 7), None);
        assert_eq!(parse(b"web-1 10.0.2.15:40000 7 7\n", 7), None, "two questions at once");
        assert_eq!(parse(b"web-1 10.0.2.15:40000 \n", 7), None);
    }
}
