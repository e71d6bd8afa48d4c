//! Tables of x_tables, the older kind of iptables.
//!
//! Structures are from include/uapi/linux/netfilter/x_tables.h, netfilter_ipv4/ip_tables.h and
//! netfilter_ipv6/ip6_tables.h, with the alignment of 64-bit kernels.

mod blob;
mod sockopt;

use std::fs;
use std::io;

use crate::{DecodeError, Errno, Family};

pub use blob::{Layout, Table};

/// How often a table that is replaced during the read is read again.
const ATTEMPTS: usize = 5;

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// The list of tables could not be read.
    #[error("cannot read {path}")]
    Names {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel did not return the table.
    #[error("cannot read {family} table {table}")]
    Read {
        /// The table's family.
        family: Family,
        /// Its name.
        table: String,
        /// Why; `EAGAIN` if it was replaced again and again.
        source: Errno,
    },
    /// The table could not be decoded.
    #[error("cannot decode {family} table {table}")]
    Decode {
        /// The table's family.
        family: Family,
        /// Its name.
        table: String,
        /// Why.
        source: DecodeError,
    },
}

/// Reads one table of this thread's network namespace; `None` if it does not exist.
pub fn table(family: Family, name: &str) -> Result<Option<Table>, LegacyError> {
    // Querying a table makes the kernel load and register it, so only listed tables are queried.
    if !is_listed(family, name)? {
        return Ok(None);
    }
    let failed =
        |error: io::Error| LegacyError::Read { family, table: name.to_owned(), source: Errno::from(error) };
    let socket = sockopt::Socket::open(family).map_err(failed)?;
    let mut outcome = Err(io::Error::from_raw_os_error(Errno::EAGAIN.0));
    for _ in 0..ATTEMPTS {
        outcome = socket.entries(name);
        if !matches!(&outcome, Err(error) if error.raw_os_error() == Some(Errno::EAGAIN.0)) {
            break;
        }
    }
    match outcome {
        Ok(entries) => Table::decode(&entries, Layout::of(family))
            .map(Some)
            .map_err(|source| LegacyError::Decode { family, table: name.to_owned(), source }),
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT.0) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The file belongs to the thread, not to the process, because each thread may be in its own network namespace.
fn is_listed(family: Family, name: &str) -> Result<bool, LegacyError> {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match fs::read_to_string(path) {
        Ok(names) => Ok(names.lines().any(|line| line == name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(LegacyError::Names { path, source }),
    }
}
