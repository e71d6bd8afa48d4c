//! Runs the same conversations as with the running kernel against recorded answers. Every request must equal the
//! recorded one byte by byte, so these tests check encoders and decoders against real bytes on any machine.
//!
//! To record again: `WEIR_RECORD=1 cargo test -p weir-netlink --test netns recorded`, and for IPVS in the guest
//! `cargo xtask vm --env WEIR_RECORD=print --test weir-netlink:guest_ipvs -- recorded --nocapture`.

#[path = "../conversations/conntrack.rs"]
mod conntrack;
#[path = "../conversations/ipset.rs"]
mod ipset;
#[path = "../conversations/ipvs.rs"]
mod ipvs;
#[path = "../conversations/nftables.rs"]
mod nftables;
#[path = "../conversations/route.rs"]
mod route;
#[path = "../conversations/rules.rs"]
mod rules;

use std::io;

use weir_netlink::socket::{PortId, Received, Socket, Transport, Wait};

/// Plays back a recording.
struct Replay {
    lines: std::vec::IntoIter<(char, Vec<u8>)>,
}

fn replay(text: &str) -> Socket<Replay> {
    let lines = text.lines().map(|line| {
        let (direction, hex) = line.split_once(' ').expect("a direction and bytes");
        let bytes = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits"));
        (direction.chars().next().expect("a direction"), bytes.collect())
    });
    Socket::over(Replay { lines: lines.collect::<Vec<_>>().into_iter() })
}

impl Transport for Replay {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (direction, recorded) = self.lines.next().expect("one more request than was recorded");
        assert_eq!(direction, '>', "got a request, expected an answer");
        assert_eq!(bytes, recorded, "the request differs from the recorded one");
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
        let (direction, recorded) = self.lines.next().expect("one more wait than was recorded");
        assert_eq!(direction, '<', "got a wait, expected a request");
        buffer.clear();
        buffer.extend_from_slice(&recorded);
        Ok(Received { from: PortId::KERNEL, length: recorded.len() })
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.lines.len(), 0, "the conversation ended early");
        }
    }
}

#[test]
fn ipvs_of_linux_6_1() {
    ipvs::run(replay(include_str!("ipvs.txt")));
}

#[test]
fn ipset_of_linux_6_18() {
    ipset::run(replay(include_str!("ipset.txt")));
}

#[test]
fn route_of_linux_6_18() {
    route::run(replay(include_str!("route.txt")));
}

#[test]
fn conntrack_of_linux_6_18() {
    conntrack::run(replay(include_str!("conntrack.txt")));
}

#[test]
fn rules_of_linux_6_18() {
    rules::run(replay(include_str!("rules.txt")));
}

#[test]
fn nftables_of_linux_6_18() {
    nftables::run(replay(include_str!("nftables.txt")));
}
