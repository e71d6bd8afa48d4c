use std::io;
use std::time::Duration;

use proptest::prelude::*;

use super::legacy::{Layout, Table};
use super::{Chain, Client, Generation};
use crate::Family;
use crate::socket::{PortId, Received, Socket, Transport, Wait};

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
        let _ = Chain::decode(&bytes);
        let _ = Generation::decode(&bytes);
        for family in [Family::V4, Family::V6] {
            let _ = Table::decode(&bytes, Layout::of(family));
        }
    }

    #[test]
    fn no_entry_makes_decoding_panic(mut bytes in proptest::collection::vec(any::<u8>(), 170..400), target: u16, next: u16) {
        for (family, at) in [(Family::V4, 88), (Family::V6, 140)] {
            bytes[at..at + 2].copy_from_slice(&(target % 400).to_ne_bytes());
            bytes[at + 2..at + 4].copy_from_slice(&(next % 400).to_ne_bytes());
            let _ = Table::decode(&bytes, Layout::of(family));
        }
    }
}

/// An IPv4 entry with counters and a target with this name and content.
fn entry(counter: u8, name: &str, content: &str) -> Vec<u8> {
    let mut bytes = vec![0; 112 + 32 + 32];
    let length = bytes.len() as u16;
    bytes[88..90].copy_from_slice(&112_u16.to_ne_bytes());
    bytes[90..92].copy_from_slice(&length.to_ne_bytes());
    bytes[96..112].fill(counter);
    bytes[114..114 + name.len()].copy_from_slice(name.as_bytes());
    bytes[144..144 + content.len()].copy_from_slice(content.as_bytes());
    bytes
}

#[test]
fn counters_do_not_count_and_rules_do() {
    let table = |counter, content: &str| {
        let entries =
            [entry(counter, "ERROR", "OURS"), entry(counter, "MARK", content), entry(0, "ERROR", "ERROR")];
        Table::decode(&entries.concat(), Layout::of(Family::V4)).unwrap()
    };
    assert_eq!(table(0, "1"), table(200, "1"));
    assert_ne!(table(0, "1").fingerprint, table(0, "2").fingerprint);
    assert_eq!(table(0, "1").chains, ["OURS"]);
}

/// A kernel that has no nf_tables.
struct Absent;

impl Transport for Absent {
    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
        *buffer =
            [&[36, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0][..], &(-22_i32).to_ne_bytes(), &[0; 16]]
                .concat();
        Ok(Received { from: PortId::KERNEL, length: buffer.len() })
    }
}

#[test]
fn without_nf_tables_there_is_nothing() {
    let client = || Client::over(Socket::over(Absent).with_deadline(Duration::from_millis(20)));
    assert_eq!(client().generation().unwrap(), None);
    assert_eq!(client().chains(Family::V4).unwrap(), None);
}
