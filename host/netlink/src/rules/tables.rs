//! Queries and deletes whole nf_tables tables by name.
//!
//! Constants are from include/uapi/linux/netfilter/nf_tables.h. Changes are transactions, here of one table each;
//! a table is deleted with everything in it.

use crate::netfilter::{self, NFNL_SUBSYS_NFTABLES, is_absent};
use crate::socket::{NetlinkError, Request, Transport};
use crate::{Errno, Family};

use super::Client;

const NFT_MSG_GETTABLE: u8 = 1;
const NFT_MSG_DELTABLE: u8 = 2;
const NFTA_TABLE_NAME: u16 = 1;

impl<T: Transport> Client<T> {
    /// Whether a table of this family and name exists; false if the kernel has no nf_tables or, before Linux 4.16, if
    /// the family's own module is not loaded.
    pub fn has_table(&mut self, family: Family, name: &str) -> Result<bool, NetlinkError> {
        match self.socket.get(&request("find table", NFT_MSG_GETTABLE, family, name)) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => match error.refused_with() {
                Some(Errno::ENOENT | Errno::EAFNOSUPPORT) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Deletes the table of this family and name with its chains, rules and sets, in one transaction. `ENOENT`
    /// means that it does not exist.
    pub fn delete_table(&mut self, family: Family, name: &str) -> Result<(), NetlinkError> {
        let change = request("delete table", NFT_MSG_DELTABLE, family, name);
        let marks = netfilter::transaction(change.operation, NFNL_SUBSYS_NFTABLES);
        self.socket.execute_between(&marks, &change)
    }
}

/// Family and name are always included: without them the kernel would delete every table.
fn request(operation: &'static str, command: u8, family: Family, name: &str) -> Request {
    let mut body = netfilter::begin(family.number());
    body.text(NFTA_TABLE_NAME, name);
    Request::new(operation, netfilter::kind(NFNL_SUBSYS_NFTABLES, command), body.into_bytes())
}

#[cfg(test)]
mod tests;
