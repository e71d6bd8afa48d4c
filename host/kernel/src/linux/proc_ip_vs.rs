//! `/proc/net/ip_vs`: all virtual servers with their real servers, weights and connections in one read.
//!
//! The format is `ip_vs_info_seq_show` in `net/netfilter/ipvs/ip_vs_ctl.c`: addresses and ports in hexadecimal,
//! IPv6 addresses in brackets as usual.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use weir_core::net::Protocol;
use weir_core::state::{RealServer, VirtualServer, Weight};

use super::ipvs::IpvsError;
use super::traffic::Listed;

const PATH: &str = "/proc/net/ip_vs";

/// A line in an unexpected format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number} of {PATH} is malformed: `{line}`")]
pub(super) struct BadLine {
    number: usize,
    line: String,
}

/// The parsed file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) servers: Vec<VirtualServer>,
    pub(super) reals: Vec<Listed>,
}

pub(super) fn read() -> Result<Listing, IpvsError> {
    let text = std::fs::read_to_string(PATH).map_err(|source| {
        if source.kind() == std::io::ErrorKind::NotFound {
            IpvsError::Absent
        } else {
            IpvsError::Proc { path: PATH, source }
        }
    })?;
    Ok(parse(&text)?)
}

/// What the lines after a virtual server belong to.
#[derive(Clone, Copy)]
enum Under {
    Server(VirtualServer),
    /// A firewall mark or another protocol; not ours.
    Foreign,
}

fn parse(text: &str) -> Result<Listing, BadLine> {
    let mut listing = Listing::default();
    let mut under = Under::Foreign;
    // The first three lines are headings.
    for (index, line) in text.lines().enumerate().skip(3) {
        let bad = || BadLine { number: index + 1, line: line.to_owned() };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["->", address, _method, weight, active, inactive, ..] => {
                let Under::Server(server) = under else { continue };
                let real = RealServer(parse_address(address).ok_or_else(bad)?);
                // Other programs may have set weights outside our range; any such value differs from what is
                // wanted.
                let weight: i64 = weight.parse().map_err(|_| bad())?;
                let weight = Weight(u16::try_from(weight).unwrap_or(u16::MAX));
                let active = active.parse().map_err(|_| bad())?;
                let inactive = inactive.parse().map_err(|_| bad())?;
                listing.reals.push(Listed { server, real, weight, active, inactive });
            }
            ["->", ..] => return Err(bad()),
            [protocol, address, ..] => match protocol.parse::<Protocol>() {
                Ok(protocol) => {
                    let address = parse_address(address).ok_or_else(bad)?;
                    let server = VirtualServer { protocol, address };
                    listing.servers.push(server);
                    under = Under::Server(server);
                }
                Err(_) => under = Under::Foreign,
            },
            _ => return Err(bad()),
        }
    }
    Ok(listing)
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = match address.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().ok()?,
        None => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60010A:0050 rr  
  -> 0AF4010A:1F90      Masq    1      0          0         
  -> 0AF4000A:1F90      Masq    0      2          1         
FWM  00000001 rr 
  -> 0AF4000A:0000      Masq    1      0          0         
UDP  [fd00:0096:0000:0000:0000:0000:0000:0010]:0035 mh (mh-port) persistent 120 
  -> [fd00:0010:0244:0000:0000:0000:0000:0010]:0035      Masq    1      0          0         
";

    #[test]
    fn the_file_is_read() {
        let listing = parse(TEXT).unwrap();
        let servers: Vec<String> = listing.servers.iter().map(|s| s.to_string()).collect();
        assert_eq!(servers, ["tcp 10.96.1.10:80", "udp [fd00:96::10]:53"]);
        let reals: Vec<String> =
            listing.reals.iter().map(|l| format!("{} {} {}", l.server.address, l.real, l.weight.0)).collect();
        let connections: Vec<(u32, u32)> = listing.reals.iter().map(|l| (l.active, l.inactive)).collect();
        assert_eq!(connections, [(0, 0), (2, 1), (0, 0)]);
        assert_eq!(
            reals,
            [
                "10.96.1.10:80 10.244.1.10:8080 1",
                "10.96.1.10:80 10.244.0.10:8080 0",
                "[fd00:96::10]:53 [fd00:10:244::10]:53 1"
            ]
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = parse(&TEXT.replace("0A60010A:0050", "0A60010A")).unwrap_err();
        assert!(error.to_string().starts_with("line 4 of /proc/net/ip_vs"), "{error}");
    }
}
