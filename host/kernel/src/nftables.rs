//! The leftovers of kube-proxy's nftables mode: one table per family. Its rules translate addresses in PREROUTING
//! and OUTPUT, before IPVS sees a packet. While the table exists, VIPs lead to the endpoints known when that mode
//! stopped.
//!
//! kube-proxy deletes it with the program `nft`, which not every image has; weir starts no process for it.

use std::fmt;

use weir_core::kernel::{Failure, FailureKind};
use weir_core::net::Family;
use weir_netlink::rules::Client;
use weir_netlink::{Errno, NetlinkError};

use crate::linux::{chain, netlink_family};

/// `kubeProxyTable` of `pkg/proxy/nftables/proxier.go`.
const NAME: &str = "kube-proxy";

/// One family's table, displayed as `nft` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its family.
    pub family: Family,
}

impl Table {
    /// Both tables, whether or not they exist: a node keeps the table of a family that it no longer serves.
    pub const BOTH: [Table; 2] = [Table { family: Family::V4 }, Table { family: Family::V6 }];

    /// Deletes the table with all its content.
    ///
    /// # Errors
    /// When the kernel refuses. A table that does not exist is no error.
    pub fn delete(self) -> Result<(), Failure> {
        let deleted = Client::open().and_then(|mut c| c.delete_table(netlink_family(self.family), NAME));
        match deleted {
            Err(error) if error.refused_with() == Some(Errno::ENOENT) => Ok(()),
            deleted => deleted.map_err(|error| failure(&error)),
        }
    }

    /// The command that deletes it.
    pub fn command(self) -> String {
        format!("nft delete {self}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        write!(formatter, "table {family} {NAME}")
    }
}

/// The tables that exist, with one query per family. A kernel without nf_tables has none.
///
/// # Errors
/// When the kernel does not answer.
pub fn leftovers() -> Result<Vec<Table>, Failure> {
    let find = || {
        let mut client = Client::open()?;
        let mut found = Vec::new();
        for table in Table::BOTH {
            if client.has_table(netlink_family(table.family), NAME)? {
                found.push(table);
            }
        }
        Ok(found)
    };
    find().map_err(|error: NetlinkError| failure(&error))
}

fn failure(error: &NetlinkError) -> Failure {
    Failure { kind: FailureKind::Refused, message: chain(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_as_nft_takes_them() {
        let commands = Table::BOTH.map(Table::command);
        assert_eq!(commands, ["nft delete table ip kube-proxy", "nft delete table ip6 kube-proxy"]);
    }
}
