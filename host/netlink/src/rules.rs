//! Detects whether packet filter rules may have changed, without starting a process.
//!
//! iptables comes in two kinds. With nf_tables, every transaction has a number, and chains can be listed by
//! netlink (include/uapi/linux/netfilter/nf_tables.h). The older kind, x_tables ([`legacy`]), returns whole tables
//! by `getsockopt`. No function here loads a module or creates a table: they return `None` for what does not exist.
//! Whole nf_tables tables can also be deleted.

pub mod legacy;
mod tables;

use crate::attribute::Attribute;
use crate::netfilter::{self, NFNL_SUBSYS_NFTABLES, is_absent};
use crate::socket::{Counters, KernelTransport, NetlinkError, Protocol, Request, Socket, Transport};
use crate::{DecodeError, Family};

const NFT_MSG_GETCHAIN: u8 = 4;
const NFT_MSG_GETGEN: u8 = 16;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_GEN_ID: u16 = 1;

/// The number of a network namespace's last nf_tables transaction: if it changes, the rules may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub u32);

/// A chain and its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub name: String,
}

impl Chain {
    /// Decodes the body of a chain message.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let attributes = netfilter::attributes(body, "chain")?;
        let text = |kind| attributes.require(kind).and_then(Attribute::text);
        Ok(Self { table: text(NFTA_CHAIN_TABLE)?, name: text(NFTA_CHAIN_NAME)? })
    }
}

impl Generation {
    /// Decodes the body of the answer to `NFT_MSG_GETGEN`.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        netfilter::attributes(body, "generation")?.require(NFTA_GEN_ID)?.be32().map(Self)
    }
}

/// A client for the kernel's nf_tables.
#[derive(Debug)]
pub struct Client<T = KernelTransport> {
    socket: Socket<T>,
}

impl Client<KernelTransport> {
    /// Opens a socket.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self::over(Socket::open(Protocol::Netfilter)?))
    }
}

impl<T: Transport> Client<T> {
    /// Uses a socket of the netfilter protocol.
    pub fn over(socket: Socket<T>) -> Self {
        Self { socket }
    }

    /// The traffic of this client's socket.
    pub fn counters(&self) -> Counters {
        self.socket.counters()
    }

    /// The number of the last transaction; `None` if this kernel has no nf_tables.
    pub fn generation(&mut self) -> Result<Option<Generation>, NetlinkError> {
        let operation = "read rules generation";
        let body = netfilter::begin(netfilter::UNSPECIFIED).into_bytes();
        let request = Request::new(operation, kind(NFT_MSG_GETGEN), body);
        let body = match self.socket.get(&request) {
            Err(error) if is_absent(&error) => return Ok(None),
            body => body?,
        };
        Generation::decode(&body).map(Some).map_err(|source| NetlinkError::Decode { operation, source })
    }

    /// The chains of a family, including base chains; `None` if this kernel has no nf_tables.
    pub fn chains(&mut self, family: Family) -> Result<Option<Vec<Chain>>, NetlinkError> {
        let mut chains = Vec::new();
        let body = netfilter::begin(family.number()).into_bytes();
        let request = Request::dump("list chains", kind(NFT_MSG_GETCHAIN), body);
        let outcome = self.socket.dump(&request, &mut |_, body| {
            chains.push(Chain::decode(body)?);
            Ok(())
        });
        match outcome {
            Err(error) if is_absent(&error) => Ok(None),
            outcome => outcome.map(|()| Some(chains)),
        }
    }
}

fn kind(command: u8) -> u16 {
    netfilter::kind(NFNL_SUBSYS_NFTABLES, command)
}

#[cfg(test)]
mod tests;
