use std::io;
use std::time::Duration;

use super::Client;
use crate::socket::{PortId, Received, Socket, Transport, Wait};
use crate::{Errno, Family};

/// A kernel that gives these answers, and records what it was sent.
#[derive(Default)]
struct Script {
    answers: Vec<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

impl Transport for Script {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent.push(bytes.to_vec());
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
        if self.answers.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        *buffer = self.answers.remove(0);
        Ok(Received { from: PortId::KERNEL, length: buffer.len() })
    }
}

fn client(answers: &[Vec<u8>]) -> Client<Script> {
    let script = Script { answers: answers.to_vec(), ..Script::default() };
    Client::over(Socket::over(script).with_deadline(Duration::from_millis(20)))
}

/// The answer to the first request: zero acknowledges it.
fn answer(errno: i32) -> Vec<u8> {
    [&[36, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0][..], &(-errno).to_ne_bytes(), &[0; 16]].concat()
}

/// The bytes after the sequence number and the port: version 0, no resource, and `kube-proxy` with its zero and
/// padding.
fn named(family: u8) -> Vec<u8> {
    [&[family, 0, 0, 0, 15, 0, 1, 0][..], b"kube-proxy\0\0"].concat()
}

#[test]
fn a_table_is_asked_for_by_family_and_name() {
    for (family, number) in [(Family::V4, 2), (Family::V6, 10)] {
        let mut client = client(&[answer(libc::ENOENT)]);
        assert_eq!(client.has_table(family, "kube-proxy"), Ok(false));
        // Flags: request, acknowledge.
        let header = [36, 0, 0, 0, 1, 10, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(client.socket.transport_mut().sent, [[&header[..], &named(number)].concat()]);
    }
}

#[test]
fn a_table_is_deleted_in_a_transaction_of_its_own() {
    for (family, number) in [(Family::V4, 2), (Family::V6, 10)] {
        let mut client = client(&[answer(0)]);
        assert_eq!(client.delete_table(family, "kube-proxy"), Ok(()));
        // The marks name the subsystem in network order.
        let begin = [20, 0, 0, 0, 0x10, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
        let header = [36, 0, 0, 0, 2, 10, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        let end = [20, 0, 0, 0, 0x11, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
        let sent = [&begin[..], &header, &named(number), &end].concat();
        assert_eq!(client.socket.transport_mut().sent, [sent]);
    }
}

#[test]
fn there_is_a_table_only_if_the_kernel_shows_one() {
    // `NFT_MSG_NEWTABLE`, the answer to a query.
    let table = [&[36, 0, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &named(2)].concat();
    assert_eq!(client(&[table, answer(0)]).has_table(Family::V4, "kube-proxy"), Ok(true));
    assert!(client(&[answer(0)]).has_table(Family::V4, "kube-proxy").is_err(), "acknowledged, not answered");
    let error = client(&[answer(libc::EPERM)]).has_table(Family::V4, "kube-proxy").unwrap_err();
    assert_eq!(error.refused_with(), Some(Errno::EPERM));
}

#[test]
fn without_nf_tables_there_is_no_table() {
    for errno in [libc::EINVAL, libc::EOPNOTSUPP, libc::EAFNOSUPPORT] {
        assert_eq!(client(&[answer(errno)]).has_table(Family::V4, "kube-proxy"), Ok(false));
    }
}

/// A failed commit is reported before the acknowledgement of the committed message.
#[test]
fn a_commit_that_fails_deletes_nothing() {
    let mut client = client(&[answer(libc::EBUSY), answer(0)]);
    let error = client.delete_table(Family::V4, "kube-proxy").unwrap_err();
    assert_eq!(error.refused_with(), Some(Errno::EBUSY));
    // A late message does not answer the next request.
    client.socket.transport_mut().answers.push({
        let mut gone = answer(libc::ENOENT);
        gone[8] = 2;
        gone
    });
    assert_eq!(client.has_table(Family::V4, "kube-proxy"), Ok(false));
}
