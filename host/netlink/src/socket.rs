//! One blocking netlink socket for every protocol: many requests per send, one result per request.
//!
//! The kernel processes all messages of one send before the send returns, and it answers a refused request whether
//! or not an acknowledgement was requested. So only the last message of a batch requests one: when it arrives,
//! every earlier request without its own error has succeeded. A lost answer cannot go unnoticed, because the
//! kernel then reports `ENOBUFS` on the next receive, before anything else.

mod batch;
mod counters;
mod error;
mod message;
mod options;
mod transport;

use std::time::{Duration, Instant};

pub use counters::Counters;
pub use error::{Errno, NetlinkError};
pub use message::Request;
pub(crate) use message::{Messages, Refusal};
pub(crate) use transport::RECEIVE_BYTES;
pub use transport::{KernelTransport, PortId, Protocol, Received, Transport, Wait};

use crate::DecodeError;
use batch::Batch;
use message::Incoming;

/// How long one batch or one dump may take before it is abandoned.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// The maximum number of requests in one send. 256 answers fit into the default receive buffer of 212,992 bytes
/// (measured). Every request of a batch may be refused, so half of that leaves room for refusals with a text.
pub const MAX_BATCH_REQUESTS: usize = 128;

/// Bytes after which a batch is closed; a single larger request is still sent, alone.
pub const MAX_BATCH_BYTES: usize = 64 * 1024;

/// Receives one part of a dump: its netlink message type and the bytes after the netlink header.
pub type Visit<'a> = dyn FnMut(u16, &[u8]) -> Result<(), DecodeError> + 'a;

/// A blocking netlink socket over a [`Transport`].
#[derive(Debug)]
pub struct Socket<T = KernelTransport> {
    transport: T,
    deadline: Duration,
    sequence: u32,
    counters: Counters,
    buffer: Vec<u8>,
}

impl Socket<KernelTransport> {
    /// Opens a socket of one netlink protocol with the default deadline.
    pub fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        Ok(Self::over(KernelTransport::open(protocol)?))
    }
}

impl<T: Transport> Socket<T> {
    /// Creates a socket over a transport.
    pub fn over(transport: T) -> Self {
        Self {
            transport,
            deadline: DEFAULT_DEADLINE,
            sequence: 0,
            counters: Counters::default(),
            buffer: Vec::with_capacity(RECEIVE_BYTES),
        }
    }

    /// Changes how long one batch or one dump may take.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The traffic of this socket since it was opened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends changes, as many per send as fit, and returns one result per request, in order.
    ///
    /// A refused request does not stop the others. After [`NetlinkError::Timeout`] or a failed send or receive,
    /// the requests of later batches are not sent: they fail with [`NetlinkError::NotSent`], and the socket must
    /// be reopened (see [`NetlinkError::needs_new_socket`]).
    pub fn execute(&mut self, requests: &[Request]) -> Vec<Result<(), NetlinkError>> {
        self.exchange(requests, &mut |_, _| {})
            .into_iter()
            .zip(requests)
            .map(|(answer, request)| answer.map_err(|refusal| refusal.into_error(request.operation)))
            .collect()
    }

    /// Sends one change.
    pub fn execute_one(&mut self, request: &Request) -> Result<(), NetlinkError> {
        let answers = self.exchange(std::slice::from_ref(request), &mut |_, _| {});
        only(answers, request.operation)
    }

    /// Sends one change as a transaction, between its two marks; it counts as one message.
    pub(crate) fn execute_between(
        &mut self,
        marks: &[Request; 2],
        change: &Request,
    ) -> Result<(), NetlinkError> {
        let batch = Batch::transaction(marks, change, self.next_sequence());
        only(self.run(&batch, std::slice::from_ref(change), &mut |_, _| {}), change.operation)
    }

    /// Sends one query and returns the bytes after the netlink header of its answer.
    pub fn get(&mut self, request: &Request) -> Result<Vec<u8>, NetlinkError> {
        let operation = request.operation;
        let mut body = None;
        let answers = self.exchange(std::slice::from_ref(request), &mut |_, part| {
            body.get_or_insert_with(|| part.body.to_vec());
        });
        only(answers, operation)?;
        body.ok_or(NetlinkError::NoAnswer { operation })
    }

    /// Sends one dump request and passes every part to `visit`; the dump is either complete or an error.
    ///
    /// [`NetlinkError::Interrupted`] means that something changed during the dump: discard what `visit` saw and
    /// request the dump again.
    pub fn dump(&mut self, request: &Request, visit: &mut Visit<'_>) -> Result<(), NetlinkError> {
        let operation = request.operation;
        let mut decoded = Ok(());
        let batch = Batch::dump(request, self.next_sequence());
        // After a part that cannot be decoded, the rest of the dump is still received, so the socket stays usable.
        let answers = self.run(&batch, std::slice::from_ref(request), &mut |_, part| {
            if decoded.is_ok() {
                decoded = visit(part.kind, part.body);
            }
        });
        only(answers, operation)?;
        decoded.map_err(|source| NetlinkError::Decode { operation, source })
    }

    /// The transport, for tests that inspect it.
    #[cfg(test)]
    pub(crate) fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Like [`Socket::execute`], but with the bodies of answers, and with refusals that keep the kernel's echo of
    /// the request.
    pub(crate) fn exchange(
        &mut self,
        requests: &[Request],
        visit: &mut dyn FnMut(usize, Incoming<'_>),
    ) -> Vec<Result<(), Refusal>> {
        let mut results = Vec::with_capacity(requests.len());
        while results.len() < requests.len() {
            let offset = results.len();
            let rest = &requests[offset..];
            let batch = Batch::pack(rest, self.sequence.wrapping_add(1));
            self.sequence = self.sequence.wrapping_add(batch.count as u32);
            let answers =
                self.run(&batch, &rest[..batch.count], &mut |index, part| visit(offset + index, part));
            let broken = answers
                .iter()
                .any(|answer| answer.as_ref().is_err_and(|refusal| refusal.error_breaks_socket()));
            results.extend(answers);
            if broken {
                results.extend(requests[results.len()..].iter().map(|request| {
                    Err(Refusal::from(NetlinkError::NotSent { operation: request.operation }))
                }));
            }
        }
        results
    }

    /// Sends one batch and waits for its last answer.
    fn run(
        &mut self,
        batch: &Batch,
        requests: &[Request],
        visit: &mut dyn FnMut(usize, Incoming<'_>),
    ) -> Vec<Result<(), Refusal>> {
        let mut pending = Pending::new(batch, requests);
        if let Err(error) = self.send(batch) {
            return pending.fail_all(|operation| match error {
                Errno::EMSGSIZE => NetlinkError::TooLarge { operation, bytes: batch.bytes.len() },
                errno => NetlinkError::Send { operation, source: errno },
            });
        }
        let started = Instant::now();
        while !pending.complete {
            let wait = if pending.overrun { Wait::No } else { Wait::Yes };
            match self.receive(wait) {
                Ok(Some(length)) => {
                    let buffer = std::mem::take(&mut self.buffer);
                    let outcome = pending.take_datagram(&buffer[..length], visit, &mut self.counters);
                    self.buffer = buffer;
                    if let Err(error) = outcome {
                        return pending
                            .fail_all(|operation| NetlinkError::Decode { operation, source: error.clone() });
                    }
                }
                Ok(None) => {}
                Err(Errno::EAGAIN) if pending.overrun => {
                    return pending.fail_all(|operation| NetlinkError::Overrun { operation });
                }
                Err(Errno::EAGAIN) => {}
                Err(Errno::ENOBUFS) => pending.overrun = true,
                Err(errno) => {
                    return pending.fail_all(|operation| NetlinkError::Receive { operation, source: errno });
                }
            }
            if !pending.complete && started.elapsed() >= self.deadline {
                let after = self.deadline;
                return pending.fail_all(|operation| NetlinkError::Timeout { operation, after });
            }
        }
        pending.finish()
    }

    fn send(&mut self, batch: &Batch) -> Result<(), Errno> {
        loop {
            self.counters.sends += 1;
            match self.transport.send(&batch.bytes).map_err(Errno::from) {
                Ok(()) => {
                    self.counters.messages += batch.count as u64;
                    self.counters.bytes_sent += batch.bytes.len() as u64;
                    return Ok(());
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Receives one datagram; `None` if it was not from the kernel or a signal interrupted the call.
    fn receive(&mut self, wait: Wait) -> Result<Option<usize>, Errno> {
        self.counters.receives += 1;
        match self.transport.receive(&mut self.buffer, wait).map_err(Errno::from) {
            Ok(received) if received.from != PortId::KERNEL => {
                self.counters.ignored += 1;
                Ok(None)
            }
            Ok(received) if received.length > self.buffer.len() => Err(Errno::EMSGSIZE),
            Ok(received) => {
                self.counters.bytes_received += received.length as u64;
                Ok(Some(received.length))
            }
            Err(Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// The answer to a single request.
fn only(answers: Vec<Result<(), Refusal>>, operation: &'static str) -> Result<(), NetlinkError> {
    let answer = answers.into_iter().next();
    answer.unwrap_or(Ok(())).map_err(|refusal| refusal.into_error(operation))
}

/// The requests of one batch and what is known about each.
struct Pending<'a> {
    requests: &'a [Request],
    first: u32,
    dump: bool,
    answers: Vec<Option<Result<(), Refusal>>>,
    interrupted: bool,
    overrun: bool,
    complete: bool,
}

impl<'a> Pending<'a> {
    fn new(batch: &Batch, requests: &'a [Request]) -> Self {
        Self {
            requests,
            first: batch.first,
            dump: batch.dump,
            answers: vec![None; batch.count],
            interrupted: false,
            overrun: false,
            complete: false,
        }
    }

    fn take_datagram(
        &mut self,
        datagram: &[u8],
        visit: &mut dyn FnMut(usize, Incoming<'_>),
        counters: &mut Counters,
    ) -> Result<(), DecodeError> {
        for message in Messages::of(datagram) {
            let message = message?;
            let index = message.sequence.wrapping_sub(self.first) as usize;
            // An answer to a request that was abandoned earlier.
            if index >= self.answers.len() || message.is_noise() {
                counters.ignored += 1;
                continue;
            }
            self.interrupted |= self.dump && message.interrupted();
            match message.verdict()? {
                Some(verdict) => self.settle(index, verdict),
                None => visit(index, message),
            }
        }
        Ok(())
    }

    fn settle(&mut self, index: usize, verdict: Result<(), Refusal>) {
        // The first answer counts: a second one for the same request would be the acknowledgement of its refusal.
        let answer = self.answers[index].get_or_insert(verdict);
        if self.dump && answer.is_ok() {
            let operation = self.requests[index].operation;
            if self.interrupted {
                *answer = Err(Refusal::from(NetlinkError::Interrupted { operation }));
            } else if self.overrun {
                *answer = Err(Refusal::from(NetlinkError::Overrun { operation }));
            }
        }
        self.complete |= index + 1 == self.answers.len();
    }

    /// Everything without its own answer succeeded, unless answers were lost.
    fn finish(self) -> Vec<Result<(), Refusal>> {
        let overrun = self.overrun;
        let settle = |(answer, request): (Option<_>, &Request)| match answer {
            Some(answer) => answer,
            None if overrun => Err(Refusal::from(NetlinkError::Overrun { operation: request.operation })),
            None => Ok(()),
        };
        self.answers.into_iter().zip(self.requests).map(settle).collect()
    }

    /// Fails everything that has no answer yet.
    fn fail_all(self, error: impl Fn(&'static str) -> NetlinkError) -> Vec<Result<(), Refusal>> {
        self.answers
            .into_iter()
            .zip(self.requests)
            .map(|(answer, request)| answer.unwrap_or_else(|| Err(Refusal::from(error(request.operation)))))
            .collect()
    }
}

#[cfg(test)]
mod tests;
