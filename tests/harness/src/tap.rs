//! Requests that programs make to change the kernel, captured by the kernel's own netlink tap (`nlmon`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Child;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, Linktype, PcapBlockOwned, PcapError};
use tempfile::TempDir;

use crate::netns::Netns;
use crate::patience::{self, GENEROUS};

/// The device; it stays after a tap stops.
const DEVICE: &str = "netlink-tap";

/// A running capture of one namespace; killed when dropped.
#[derive(Debug)]
pub struct Tap {
    tcpdump: Child,
    folder: TempDir,
}

impl Tap {
    /// Starts listening.
    ///
    /// # Errors
    /// When the device cannot be created, or `tcpdump` cannot be started.
    pub fn start(netns: &Netns) -> Result<Tap> {
        netns.script(&format!(
            "ip link show {DEVICE} > /dev/null 2>&1 || ip link add {DEVICE} type nlmon\nip link set {DEVICE} up"
        ))?;
        let folder = tempfile::tempdir().context("cannot create a directory for the capture")?;
        let mut command = netns.command("tcpdump");
        // As root, unbuffered, and with a capture buffer of 64 MiB.
        command
            .args(["-Z", "root", "-U", "-B", "65536", "-i", DEVICE, "-w"])
            .arg(folder.path().join("packets"));
        command.stderr(File::create(folder.path().join("log")).context("cannot write the log of tcpdump")?);
        let tap = Tap { tcpdump: command.spawn().context("cannot start tcpdump")?, folder };
        patience::until(GENEROUS, || {
            let log = tap.log()?;
            ensure!(log.contains("listening on"), "tcpdump does not listen: {log}");
            Ok(())
        })?;
        Ok(tap)
    }

    /// Stops, and counts requests for changes by kind. Read requests are not counted.
    ///
    /// # Errors
    /// When `tcpdump` missed packets, there were no requests, or the capture cannot be parsed.
    pub fn stop(mut self) -> Result<BTreeMap<String, usize>> {
        let id = i32::try_from(self.tcpdump.id()).context("invalid process id")?;
        kill(Pid::from_raw(id), Signal::SIGTERM).context("cannot stop tcpdump")?;
        patience::until(GENEROUS, || {
            let status = self.tcpdump.try_wait().context("cannot check tcpdump")?;
            status.map(drop).context("tcpdump is still running")
        })?;
        let log = self.log()?;
        ensure!(log.contains("\n0 packets dropped by kernel"), "tcpdump missed packets: {log}");
        let file = File::open(self.folder.path().join("packets")).context("cannot read the capture")?;
        let (mut changes, mut requests) = (BTreeMap::new(), 0);
        for (protocol, datagram) in datagrams(file)? {
            for message in messages(&datagram)? {
                if message.flags & NLM_F_REQUEST != 0 {
                    requests += 1;
                    if let Some(change) = change(protocol, &message) {
                        *changes.entry(change).or_default() += 1;
                    }
                }
            }
        }
        ensure!(requests > 0, "no request was captured: {log}");
        Ok(changes)
    }

    fn log(&self) -> Result<String> {
        fs::read_to_string(self.folder.path().join("log")).context("cannot read the log of tcpdump")
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Both fail only if it has already exited.
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// From the list of link-layer header types of libpcap.
const NETLINK: Linktype = Linktype(253);

/// Datagrams sent through netlink sockets, with their protocols. Each is preceded by 16 bytes, of which the last
/// two are the protocol (LINKTYPE_NETLINK).
fn datagrams(capture: File) -> Result<Vec<(u16, Vec<u8>)>> {
    let mut reader = LegacyPcapReader::new(1 << 20, capture).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut datagrams = Vec::new();
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        ensure!(
                            header.network == NETLINK,
                            "the capture has link type {}, not netlink",
                            header.network
                        );
                    }
                    PcapBlockOwned::Legacy(packet) => {
                        ensure!(packet.caplen == packet.origlen, "a datagram is truncated");
                        let (head, rest) = packet
                            .data
                            .split_at_checked(16)
                            .context("a datagram has no link-layer header")?;
                        datagrams.push((u16::from_be_bytes([head[14], head[15]]), rest.to_vec()));
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(datagrams),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|error| anyhow::anyhow!("cannot read the capture: {error}"))?;
            }
            Err(error) => anyhow::bail!("cannot read the capture: {error}"),
        }
    }
}

/// A message, and the content after its header.
struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

/// From include/uapi/linux/netlink.h.
const NLM_F_REQUEST: u16 = 1;

/// Like the kernel (`netlink_rcv_skb`), this stops at the first impossible length: some programs also send the
/// rest of their buffer.
fn messages(mut datagram: &[u8]) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    while let Some((&[a, b, c, d, e, f, g, h], rest)) = datagram.split_first_chunk() {
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d]))?;
        if length < 16 {
            break;
        }
        messages.push(Message {
            kind: u16::from_ne_bytes([e, f]),
            flags: u16::from_ne_bytes([g, h]),
            body: rest.get(8..length - 8).unwrap_or_default().to_vec(),
        });
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

/// The kind of change that a request makes; `None` if it only reads. The numbers are from include/uapi/linux:
/// netlink.h, rtnetlink.h, ip_vs.h, netfilter/nfnetlink.h, netfilter/ipset/ip_set.h, netfilter/nf_tables.h,
/// netfilter/nf_conntrack_common.h.
fn change(protocol: u16, message: &Message) -> Option<String> {
    let kind = message.kind;
    let command = message.body.first().copied().unwrap_or_default();
    let [command_of_subsystem, subsystem] = kind.to_le_bytes();
    match protocol {
        // RTM_NEWLINK for link 0, without a name or anything else; `ip` uses it to test whether the request is
        // supported.
        0 if kind == 16 && message.body.len() == 16 && message.body[4..8] == [0; 4] => None,
        // NETLINK_ROUTE: new, delete, get and set for each kind of object.
        0 if kind >= 16 => {
            let verb = ["new", "delete", "get", "set"][usize::from(kind % 4)];
            (verb != "get").then(|| format!("rtnetlink {verb} {}", kind / 4 * 4))
        }
        // NETLINK_GENERIC; 16 is the family that names the others. These programs use no family other than IPVS.
        16 if kind != 16 => match command {
            4 | 8 | 11 | 13 | 15 => None,
            1 => Some("IPVS new service".to_owned()),
            2 => Some("IPVS set service".to_owned()),
            3 => Some("IPVS delete service".to_owned()),
            5 => Some("IPVS new destination".to_owned()),
            6 => Some("IPVS set destination".to_owned()),
            7 => Some("IPVS delete destination".to_owned()),
            other => Some(format!("IPVS command {other}")),
        },
        // NETLINK_NETFILTER
        12 => match (subsystem, command_of_subsystem) {
            // Begin and end of a transaction.
            (0, _) => None,
            (1, 1 | 4..=7) => None,
            (1, other) => Some(format!("conntrack message {other}")),
            (6, 1 | 7 | 8 | 11..=15) => None,
            (6, other) => Some(format!("ipset command {other}")),
            // nf_tables: get for each kind of object. `iptables-save` sends nothing else.
            (10, 1 | 4 | 7 | 10 | 13 | 16 | 19 | 21 | 23) => None,
            (10, other) => Some(format!("nf_tables message {other}")),
            // nft_compat: lists the available matches.
            (11, _) => None,
            (other, command) => Some(format!("netfilter subsystem {other} message {command}")),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: u16, command: u8) -> Vec<u8> {
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(NLM_F_REQUEST.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([command, 1, 0, 0]);
        bytes
    }

    #[test]
    fn messages_of_a_datagram_are_distinguished() {
        let datagram = [request(33, 5), request(33, 8)].concat();
        let said: Vec<_> = messages(&datagram).unwrap().iter().map(|message| change(16, message)).collect();
        assert_eq!(said, [Some("IPVS new destination".to_owned()), None]);
    }

    #[test]
    fn what_follows_the_last_message_is_none() {
        let datagram = [request(18, 0), vec![0; 40]].concat();
        assert_eq!(messages(&datagram).unwrap().len(), 1);
    }

    #[test]
    fn what_reads_is_no_change() {
        let of = |protocol, kind| change(protocol, &messages(&request(kind, 0)).unwrap()[0]);
        for (protocol, kind) in [(0, 18), (0, 22), (12, 0x0607), (12, 0x0a0a), (12, 0x0101), (12, 0x10)] {
            assert_eq!(of(protocol, kind), None, "{protocol} {kind:#x}");
        }
        assert_eq!(change(0, &Message { kind: 16, flags: NLM_F_REQUEST, body: vec![0; 16] }), None);
        for (protocol, kind) in [(0, 16), (0, 21), (12, 0x0609), (12, 0x0a06), (12, 0x0102)] {
            assert!(of(protocol, kind).is_some(), "{protocol} {kind:#x}");
        }
    }
}
