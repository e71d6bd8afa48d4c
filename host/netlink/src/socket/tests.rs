//! A scripted kernel: its answers to each send, and faults along the way.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP};

use super::{Errno, MAX_BATCH_BYTES, NetlinkError, PortId, Received, Request, Socket, Transport, Wait};

const DATA: u16 = 0x20;

/// What one receive returns.
enum Step {
    Datagram(PortId, Vec<u8>),
    Fail(Errno),
}

/// Answers each send with the steps that `answer` derives from its messages' sequence numbers and flags.
struct Script<F> {
    answer: F,
    queue: VecDeque<Step>,
    sends: Vec<Result<(), Errno>>,
    sent: Vec<Vec<(u32, u16)>>,
}

impl<F: FnMut(&[u32]) -> Vec<Step>> Transport for Script<F> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(Err(errno)) = self.sends.pop() {
            return Err(io::Error::from_raw_os_error(errno.0));
        }
        let messages = messages(bytes);
        let sequences = messages.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>();
        self.sent.push(messages);
        self.queue.extend((self.answer)(&sequences));
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
        buffer.clear();
        match self.queue.pop_front().unwrap_or(Step::Fail(Errno::EAGAIN)) {
            Step::Datagram(from, bytes) => {
                buffer.extend_from_slice(&bytes);
                Ok(Received { from, length: bytes.len() })
            }
            Step::Fail(errno) => Err(io::Error::from_raw_os_error(errno.0)),
        }
    }
}

fn messages(mut bytes: &[u8]) -> Vec<(u32, u16)> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize;
        let flags = u16::from_ne_bytes(bytes[6..8].try_into().unwrap());
        messages.push((u32::from_ne_bytes(bytes[8..12].try_into().unwrap()), flags));
        bytes = &bytes[length.next_multiple_of(4)..];
    }
    messages
}

fn socket<F: FnMut(&[u32]) -> Vec<Step>>(answer: F) -> Socket<Script<F>> {
    Socket::over(Script { answer, queue: VecDeque::new(), sends: Vec::new(), sent: Vec::new() })
        .with_deadline(Duration::from_millis(20))
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn kernel(bytes: Vec<u8>) -> Step {
    Step::Datagram(PortId::KERNEL, bytes)
}

fn acknowledged(sequence: u32) -> Step {
    refused(sequence, 0)
}

fn refused(sequence: u32, errno: i32) -> Step {
    let mut body = (-errno).to_ne_bytes().to_vec();
    body.extend_from_slice(&message(DATA, 0, sequence, &[]));
    kernel(message(NLMSG_ERROR, 0x100, sequence, &body))
}

fn part(sequence: u32, flags: u16, body: &[u8]) -> Step {
    kernel(message(DATA, NLM_F_MULTIPART | flags, sequence, body))
}

fn done(sequence: u32, code: i32) -> Step {
    kernel(message(NLMSG_DONE, NLM_F_MULTIPART, sequence, &code.to_ne_bytes()))
}

fn requests(count: usize) -> Vec<Request> {
    (0..count).map(|_| Request::new("test", DATA, vec![1, 2, 3])).collect()
}

fn refusal(errno: Errno) -> Result<(), NetlinkError> {
    Err(NetlinkError::Refused { operation: "test", text: None, source: errno })
}

fn dump<F: FnMut(&[u32]) -> Vec<Step>>(socket: &mut Socket<Script<F>>) -> Result<Vec<u8>, NetlinkError> {
    let mut seen = Vec::new();
    socket.dump(&Request::dump("test", DATA, Vec::new()), &mut |_, body| {
        seen.extend_from_slice(body);
        Ok(())
    })?;
    Ok(seen)
}

#[test]
fn one_acknowledgement_settles_a_batch() {
    let mut socket = socket(|sent| vec![acknowledged(*sent.last().unwrap())]);
    assert_eq!(socket.execute(&requests(3)), [Ok(()), Ok(()), Ok(())]);
    let flags = socket.transport.sent[0].iter().map(|(_, flags)| flags & NLM_F_ACK != 0).collect::<Vec<_>>();
    assert_eq!(flags, [false, false, true]);
    let counters = socket.counters();
    assert_eq!((counters.messages, counters.sends, counters.receives), (3, 1, 1));
    assert_eq!((counters.bytes_sent, counters.bytes_received, counters.ignored), (60, 36, 0));
}

#[test]
fn refusals_are_reported_by_their_sequence_number() {
    let mut socket = socket(|sent| vec![refused(sent[0], 17), refused(sent[2], 3), acknowledged(sent[3])]);
    assert_eq!(socket.execute(&requests(4)), [refusal(Errno::EEXIST), Ok(()), refusal(Errno::ESRCH), Ok(())]);
}

#[test]
fn the_last_request_may_be_the_refused_one() {
    let mut socket = socket(|sent| vec![refused(sent[1], 2)]);
    assert_eq!(socket.execute(&requests(2)), [Ok(()), refusal(Errno::ENOENT)]);
}

#[test]
fn a_batch_is_bounded_by_answers_and_by_bytes() {
    let mut socket = socket(|sent| vec![acknowledged(*sent.last().unwrap())]);
    assert_eq!(socket.execute(&requests(300)).len(), 300);
    let sizes = socket.transport.sent.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes, [128, 128, 44]);

    socket.transport.sent.clear();
    let large = Request::new("test", DATA, vec![0; MAX_BATCH_BYTES / 2]);
    let huge = Request::new("test", DATA, vec![0; MAX_BATCH_BYTES * 2]);
    assert!(socket.execute(&[large.clone(), large, huge]).iter().all(Result::is_ok));
    assert_eq!(socket.transport.sent.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn nothing_to_do_sends_nothing() {
    let mut socket = socket(|_| Vec::new());
    assert_eq!(socket.execute(&[]), []);
    assert_eq!(socket.counters(), super::Counters::default());
}

#[test]
fn signals_are_nothing() {
    let mut socket = socket(|sent| vec![Step::Fail(Errno::EINTR), acknowledged(sent[0])]);
    socket.transport.sends = vec![Ok(()), Err(Errno::EINTR)];
    assert_eq!(socket.execute(&requests(1)), [Ok(())]);
    assert_eq!((socket.counters().sends, socket.counters().receives), (2, 2));
}

#[test]
fn a_lost_acknowledgement_ends_at_the_deadline_and_keeps_later_batches_back() {
    let mut socket = socket(|sent| vec![refused(sent[0], 17)]);
    let results = socket.execute(&requests(130));
    assert_eq!(results[0], refusal(Errno::EEXIST));
    let after = Duration::from_millis(20);
    assert_eq!(results[1], Err(NetlinkError::Timeout { operation: "test", after }));
    assert_eq!(results[127], Err(NetlinkError::Timeout { operation: "test", after }));
    assert_eq!(results[128], Err(NetlinkError::NotSent { operation: "test" }));
    assert!(results[1].as_ref().unwrap_err().needs_new_socket());
    assert_eq!(socket.transport.sent.len(), 1);
}

#[test]
fn late_answers_are_ignored() {
    let mut first = true;
    let mut socket = socket(move |sent| {
        if std::mem::take(&mut first) {
            return Vec::new();
        }
        vec![refused(sent[0] - 1, 17), acknowledged(sent[0])]
    });
    assert!(matches!(socket.execute(&requests(1))[0], Err(NetlinkError::Timeout { .. })));
    assert_eq!(socket.execute(&requests(1)), [Ok(())]);
    assert_eq!(socket.counters().ignored, 1);
}

#[test]
fn only_the_kernel_is_believed() {
    let mut socket = socket(|sent| {
        let Step::Datagram(_, forged) = refused(sent[0], 17) else { unreachable!() };
        vec![Step::Datagram(PortId(4711), forged), acknowledged(sent[0])]
    });
    assert_eq!(socket.execute(&requests(1)), [Ok(())]);
    assert_eq!(socket.counters().ignored, 1);
}

#[test]
fn an_overflow_leaves_unanswered_requests_unknown() {
    let mut socket =
        socket(|sent| vec![refused(sent[0], 17), Step::Fail(Errno::ENOBUFS), refused(sent[1], 3)]);
    let unknown = Err(NetlinkError::Overrun { operation: "test" });
    assert_eq!(socket.execute(&requests(3)), [refusal(Errno::EEXIST), refusal(Errno::ESRCH), unknown]);
}

#[test]
fn an_overflow_before_the_last_acknowledgement_hides_no_refusal() {
    let mut socket = socket(|sent| vec![Step::Fail(Errno::ENOBUFS), acknowledged(sent[1])]);
    let unknown = Err(NetlinkError::Overrun { operation: "test" });
    assert_eq!(socket.execute(&requests(2)), [unknown, Ok(())]);
}

#[test]
fn after_an_overflow_the_next_batch_is_sent() {
    let mut socket = socket(|sent| match sent.len() {
        128 => vec![Step::Fail(Errno::ENOBUFS)],
        _ => vec![acknowledged(*sent.last().unwrap())],
    });
    let results = socket.execute(&requests(130));
    assert_eq!(results[127], Err(NetlinkError::Overrun { operation: "test" }));
    assert_eq!(results[128..], [Ok(()), Ok(())]);
}

#[test]
fn a_short_message_is_an_error() {
    for cut in [1, 15, 19] {
        let mut socket = socket(|sent| {
            let Step::Datagram(port, mut bytes) = acknowledged(sent[0]) else { unreachable!() };
            bytes.truncate(cut);
            vec![Step::Datagram(port, bytes)]
        });
        let results = socket.execute(&requests(1));
        assert!(matches!(results[0], Err(NetlinkError::Decode { .. })), "{cut}: {results:?}");
    }
}

#[test]
fn a_message_that_is_cut_is_an_error() {
    struct Cut;
    impl Transport for Cut {
        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
            buffer.clear();
            Ok(Received { from: PortId::KERNEL, length: 1 << 20 })
        }
    }
    let results = Socket::over(Cut).execute(&requests(1));
    assert_eq!(results, [Err(NetlinkError::Receive { operation: "test", source: Errno::EMSGSIZE })]);
}

#[test]
fn a_send_that_fails_keeps_the_rest_back() {
    let mut socket = socket(|_| Vec::new());
    socket.transport.sends = vec![Err(Errno::EPERM)];
    let results = socket.execute(&requests(129));
    assert_eq!(results[0], Err(NetlinkError::Send { operation: "test", source: Errno::EPERM }));
    assert_eq!(results[128], Err(NetlinkError::NotSent { operation: "test" }));
}

#[test]
fn a_request_that_is_too_large_stops_nothing_else() {
    let mut socket = socket(|sent| vec![acknowledged(sent[0])]);
    socket.transport.sends = vec![Ok(()), Err(Errno::EMSGSIZE)];
    let huge = Request::new("test", DATA, vec![0; MAX_BATCH_BYTES]);
    let bytes = MAX_BATCH_BYTES + 16;
    assert_eq!(
        socket.execute(&[huge.clone(), huge]),
        [Err(NetlinkError::TooLarge { operation: "test", bytes }), Ok(())]
    );
}

#[test]
fn the_kernels_explanation_is_kept() {
    let text = b"IPVS is not in the mood\0";
    let mut attribute = ((4 + text.len()) as u16).to_ne_bytes().to_vec();
    attribute.extend_from_slice(&1_u16.to_ne_bytes());
    attribute.extend_from_slice(text);
    for (capped, echo) in [(true, &[][..]), (false, &[1, 2, 3, 0][..])] {
        let attribute = attribute.clone();
        let mut socket = socket(move |sent| {
            let mut body = (-1_i32).to_ne_bytes().to_vec();
            let mut header = message(DATA, 0, sent[0], &[]);
            header[0] = 19;
            body.extend_from_slice(&header);
            body.extend_from_slice(echo);
            body.extend_from_slice(&attribute);
            let flags = 0x200 | if capped { 0x100 } else { 0 };
            vec![kernel(message(NLMSG_ERROR, flags, sent[0], &body))]
        });
        let error = socket.execute(&requests(1)).pop().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "test: refused by the kernel (IPVS is not in the mood)");
        assert_eq!(error.refused_with(), Some(Errno::EPERM));
    }
}

#[test]
fn a_question_collects_its_answer() {
    let mut socket = socket(|sent| {
        vec![
            kernel(message(NLMSG_NOOP, 0, sent[0], &[])),
            part(sent[0], 0, &[7, 8, 9, 0]),
            acknowledged(sent[0]),
        ]
    });
    assert_eq!(socket.get(&Request::new("test", DATA, Vec::new())), Ok(vec![7, 8, 9, 0]));
}

#[test]
fn a_question_without_an_answer_is_an_error() {
    let mut socket = socket(|sent| vec![acknowledged(sent[0])]);
    let answer = socket.get(&Request::new("test", DATA, Vec::new()));
    assert_eq!(answer, Err(NetlinkError::NoAnswer { operation: "test" }));
}

#[test]
fn a_dump_collects_every_part() {
    let mut socket = socket(|sent| {
        let Step::Datagram(_, mut two) = part(sent[0], 0, &[1; 4]) else { unreachable!() };
        let Step::Datagram(_, more) = part(sent[0], 0, &[2; 4]) else { unreachable!() };
        two.extend(more);
        vec![kernel(two), part(sent[0], 0, &[3; 4]), done(sent[0], 0)]
    });
    assert_eq!(dump(&mut socket), Ok(vec![1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]));
    assert_eq!(socket.counters().receives, 3);
}

#[test]
fn an_interrupted_dump_is_an_error_wherever_it_is_flagged() {
    for place in 0..3 {
        let mut socket = socket(move |sent| {
            let flag = |at| if at == place { NLM_F_DUMP_INTR } else { 0 };
            let end = message(NLMSG_DONE, NLM_F_MULTIPART | flag(2), sent[0], &0_i32.to_ne_bytes());
            vec![part(sent[0], flag(0), &[1; 4]), part(sent[0], flag(1), &[2; 4]), kernel(end)]
        });
        assert_eq!(dump(&mut socket), Err(NetlinkError::Interrupted { operation: "test" }), "{place}");
        assert!(socket.transport.queue.is_empty(), "the dump was received completely");
    }
}

#[test]
fn a_dump_without_an_end_is_an_error() {
    let mut socket = socket(|sent| vec![part(sent[0], 0, &[1; 4])]);
    assert!(matches!(dump(&mut socket), Err(NetlinkError::Timeout { .. })));
}

#[test]
fn a_dump_that_ends_in_an_error_or_is_refused_is_an_error() {
    let mut ends = socket(|sent| vec![part(sent[0], 0, &[1; 4]), done(sent[0], -22)]);
    assert_eq!(dump(&mut ends).map(|_| ()), refusal(Errno::EINVAL));
    let mut refuses = socket(|sent| vec![refused(sent[0], 16)]);
    assert_eq!(dump(&mut refuses).map(|_| ()), refusal(Errno::EBUSY));
}

#[test]
fn a_dump_with_an_overflow_is_an_error() {
    let mut socket =
        socket(|sent| vec![part(sent[0], 0, &[1; 4]), Step::Fail(Errno::ENOBUFS), done(sent[0], 0)]);
    assert_eq!(dump(&mut socket), Err(NetlinkError::Overrun { operation: "test" }));
}

#[test]
fn a_part_that_is_not_understood_fails_the_dump_and_not_the_next() {
    let mut socket =
        socket(|sent| vec![part(sent[0], 0, &[1; 4]), part(sent[0], 0, &[2; 4]), done(sent[0], 0)]);
    let request = Request::dump("test", DATA, Vec::new());
    let error = crate::DecodeError::Overlong { what: "test" };
    let outcome = socket.dump(&request, &mut |_, _| Err(error.clone()));
    assert_eq!(outcome, Err(NetlinkError::Decode { operation: "test", source: error.clone() }));
    assert_eq!(dump(&mut socket).unwrap().len(), 8);
}

/// Every fault at every position: no result claims more success than there was.
#[test]
fn no_fault_turns_a_refusal_into_a_success() {
    let faults: [fn() -> Option<Step>; 5] = [
        || None,
        || Some(Step::Fail(Errno::EINTR)),
        || Some(Step::Fail(Errno::EAGAIN)),
        || Some(Step::Fail(Errno::ENOBUFS)),
        || Some(kernel(vec![1, 2, 3])),
    ];
    for fault in faults {
        for position in 0..4 {
            let mut socket = socket(move |sent| {
                let mut steps = vec![refused(sent[0], 17), refused(sent[1], 3), acknowledged(sent[2])];
                match fault() {
                    // A lost answer is always announced by an overflow.
                    None if position < 3 => {
                        steps.remove(position);
                        steps.insert(0, Step::Fail(Errno::ENOBUFS));
                    }
                    None => {}
                    Some(step) => steps.insert(position, step),
                }
                steps
            });
            let results = socket.execute(&requests(3));
            assert_eq!(results.len(), 3);
            assert!(results[0].is_err() && results[1].is_err(), "position {position}: {results:?}");
        }
    }
}
