//! What kube-proxy's nftables mode leaves: a table in each family. Its rules translate addresses in PREROUTING and OUTPUT,
//! before IPVS sees a packet: while it is there, VIPs lead to the endpoints of the moment when that mode ended.
//!
//! kube-proxy deletes it by the program `nft`, which not every image has; here no process is started.

use std::fmt;

use weir_core::kernel::{Failure, FailureKind};
use weir_core::net::Family;
use weir_netlink::rules::Client;
use weir_netlink::{Errno, NetlinkError};

use crate::linux::{chain, netlink_family};

/// `kubeProxyTable` of `pkg/proxy/nftables/proxier.go`.
const NAME: &str = "kube-proxy";

/// The table of one family; shown as `nft` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its family.
    pub family: Family,
}

impl Table {
    /// Both, whether or not they are there: a node keeps the table of a family that it has left since.
    pub const BOTH: [Table; 2] = [Table { family: Family::V4 }, Table { family: Family::V6 }];

    /// Deletes it, with all that is in it.
    ///
    /// # Errors
    /// When the kernel refuses. That it is gone already is none.
    pub fn delete(self) -> Result<(), Failure> {
        let deleted = Client::open().and_then(|mut c| c.delete_table(netlink_family(self.family), NAME));
        match deleted {
            Err(error) if error.refused_with() == Some(Errno::ENOENT) => Ok(()),
            deleted => deleted.map_err(|error| failure(&error)),
        }
    }

    /// What to type to delete it.
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

/// The tables that are there: one question per family. A kernel without nf_tables has none.
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
