//! What the kernel holds, or should hold: sorted maps from typed keys to values, and their text form.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::net::{Family, Protocol};
use crate::rule::{Chain, Rule, Table};
use crate::set::{SetEntry, SetKind, SetName};

mod text;

pub use text::{ParseError, Sign};

/// The kernel's state, limited to what weir owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelState {
    /// Values below `/proc/sys`.
    pub sysctls: BTreeMap<Sysctl, i64>,
    /// IPVS timeouts in seconds.
    pub timeouts: BTreeMap<Timeout, u32>,
    /// Network devices of ours.
    pub devices: BTreeMap<Device, ()>,
    /// ipsets.
    pub sets: BTreeMap<SetName, SetKind>,
    /// Members of ipsets.
    pub entries: BTreeMap<(SetName, SetEntry), ()>,
    /// Chains with their rules. For built-in chains, only the jumps to our chains are listed.
    pub rules: BTreeMap<(Family, Table, Chain), Vec<Rule>>,
    /// Addresses on the dummy device.
    pub addresses: BTreeMap<IpAddr, ()>,
    /// Virtual servers, each with its real servers.
    pub virtual_servers: BTreeMap<VirtualServer, Server>,
}

impl KernelState {
    /// The real servers of one virtual server.
    pub fn real_servers_of(&self, server: VirtualServer) -> impl Iterator<Item = (RealServer, Weight)> {
        self.virtual_servers.get(&server).into_iter().flat_map(Server::real_servers)
    }

    /// All real servers, each with its virtual server.
    pub fn real_servers(&self) -> impl Iterator<Item = (VirtualServer, RealServer, Weight)> {
        let of = |(server, behind): (&VirtualServer, &Server)| {
            let server = *server;
            behind.real_servers.clone().into_iter().map(move |(real, weight)| (server, real, weight))
        };
        self.virtual_servers.iter().flat_map(of)
    }

    /// The weight of a real server, if it exists.
    pub fn weight(&self, server: VirtualServer, real: RealServer) -> Option<Weight> {
        self.virtual_servers.get(&server)?.real_servers.get(&real).copied()
    }

    /// Removes virtual servers at excluded addresses, except those in `wanted`: other programs own them.
    pub fn forget_excluded(&mut self, excluded: &[IpNet], wanted: &KernelState) {
        self.virtual_servers.retain(|server, _| {
            wanted.virtual_servers.contains_key(server) || !is_excluded(excluded, *server)
        });
    }

    /// The entries of one set.
    pub fn entries_of(&self, name: SetName) -> impl Iterator<Item = SetEntry> {
        let first = SetEntry::Ip(IpAddr::from([0, 0, 0, 0]));
        self.entries
            .range((name, first)..)
            .take_while(move |((of, _), ())| *of == name)
            .map(|((_, entry), ())| *entry)
    }
}

/// Whether a virtual server is at an address that the configuration leaves to other programs.
pub fn is_excluded(excluded: &[IpNet], server: VirtualServer) -> bool {
    excluded.iter().any(|net| net.contains(&server.address.ip()))
}

/// A value below `/proc/sys`, identified by its path there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sysctl(pub String);

impl Sysctl {
    /// The sysctl at this path, for example `net/ipv4/ip_forward`.
    pub fn new(path: &str) -> Sysctl {
        Sysctl(path.to_owned())
    }
}

/// An IPVS connection timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timeout {
    /// Established TCP connections.
    Tcp,
    /// TCP connections after a FIN.
    TcpFin,
    /// UDP flows.
    Udp,
}

/// A network device of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// `kube-ipvs0`, a dummy device that is never set up; it makes the VIPs local.
    KubeIpvs0,
}

/// The name of the dummy device.
pub const DUMMY_DEVICE: &str = "kube-ipvs0";

/// The IPVS entry that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualServer {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its address and port.
    pub address: SocketAddr,
}

impl VirtualServer {
    /// The virtual server of `protocol` at `ip`:`port`.
    pub fn new(protocol: Protocol, ip: IpAddr, port: u16) -> VirtualServer {
        VirtualServer { protocol, address: SocketAddr::new(ip, port) }
    }

    /// The family of its address.
    pub fn family(&self) -> Family {
        Family::of(self.address.ip())
    }
}

/// The properties of a virtual server: how it schedules, and its real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How it spreads connections.
    pub scheduling: Scheduling,
    /// Its real servers.
    pub real_servers: BTreeMap<RealServer, Weight>,
}

impl Server {
    /// A virtual server without real servers.
    pub fn new(scheduling: Scheduling) -> Server {
        Server { scheduling, real_servers: BTreeMap::new() }
    }

    /// Its real servers with their weights.
    pub fn real_servers(&self) -> impl Iterator<Item = (RealServer, Weight)> {
        self.real_servers.iter().map(|(real, weight)| (*real, *weight))
    }
}

/// An IPVS destination behind a virtual server; forwarding is always masquerading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealServer(pub SocketAddr);

/// The weight of a real server; 0 takes no new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(pub u16);

impl Weight {
    /// No new connections.
    pub const QUIESCED: Weight = Weight(0);
    /// The weight of every real server unless a policy decides otherwise.
    pub const DEFAULT: Weight = Weight(1);
}

/// How a virtual server spreads connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scheduling {
    /// The scheduler's name, for example `rr`.
    pub scheduler: String,
    /// Scheduler flags.
    pub flags: SchedulerFlags,
    /// Session persistence.
    pub persistence: Option<Persistence>,
}

/// IPVS flags of a virtual server that change scheduling (`include/uapi/linux/ip_vs.h`, `IP_VS_SVC_F_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchedulerFlags(pub u32);

impl SchedulerFlags {
    /// `IP_VS_SVC_F_ONEPACKET`: each UDP packet is scheduled on its own.
    pub const ONE_PACKET: SchedulerFlags = SchedulerFlags(0x4);
    /// `IP_VS_SVC_F_SCHED1`: `sh-fallback`, `mh-fallback`.
    pub const FALLBACK: SchedulerFlags = SchedulerFlags(0x8);
    /// `IP_VS_SVC_F_SCHED2`: `sh-port`, `mh-port`.
    pub const PORT: SchedulerFlags = SchedulerFlags(0x10);
    /// The flags of schedulers that hash, `sh` and `mh`.
    pub const HASHING: SchedulerFlags = SchedulerFlags(0x18);
    /// All flags a policy may set.
    pub const ALL: SchedulerFlags = SchedulerFlags(0x1c);

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: SchedulerFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Session persistence of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Persistence {
    /// Seconds without a connection after which a client may be sent to another real server.
    pub timeout: u32,
    /// Clients that share this many leading address bits go to the same real server: 32 or 128 = a single client.
    pub prefix: u8,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Timeout::Tcp => "tcp",
            Timeout::TcpFin => "tcpfin",
            Timeout::Udp => "udp",
        })
    }
}

impl FromStr for Timeout {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Timeout, ParseError> {
        [Timeout::Tcp, Timeout::TcpFin, Timeout::Udp]
            .into_iter()
            .find(|t| t.to_string() == text)
            .ok_or_else(|| ParseError::new(text))
    }
}

impl fmt::Display for VirtualServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.address)
    }
}

impl fmt::Display for RealServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheduler)?;
        if self.flags.0 != 0 {
            write!(f, " flags {:#x}", self.flags.0)?;
        }
        if let Some(Persistence { timeout, prefix }) = self.persistence {
            write!(f, " persistent {timeout}/{prefix}")?;
        }
        Ok(())
    }
}
