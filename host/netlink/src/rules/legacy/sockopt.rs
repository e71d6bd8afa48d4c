//! The two `getsockopt` calls of x_tables.
#![allow(unsafe_code, reason = "socket(2) and getsockopt(2) take descriptors and pointers")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::Family;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`.
const GET_ENTRIES: libc::c_int = 65;

/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// Size of `struct ipt_getinfo`: name, hooks, five entry points, five underflows, number of entries, size.
const INFO: usize = NAME + 4 + 20 + 20 + 4 + 4;
/// Offset of the entries in `struct ipt_get_entries`: name, size, padding to eight bytes.
const ENTRIES: usize = NAME + 8;

/// A socket for querying the tables of one family; it never sends anything.
pub(super) struct Socket {
    fd: OwnedFd,
    level: libc::c_int,
}

impl Socket {
    pub(super) fn open(family: Family) -> io::Result<Self> {
        let (domain, level) = match family {
            Family::V4 => (libc::AF_INET, libc::SOL_IP),
            Family::V6 => (libc::AF_INET6, libc::SOL_IPV6),
        };
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(domain, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just created and has no other owner.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, level })
    }

    /// The entries of a table; `EAGAIN` if it was replaced between the two calls.
    pub(super) fn entries(&self, table: &str) -> io::Result<Vec<u8>> {
        let name = name_field(table)?;
        let mut info = [0; INFO];
        info[..NAME].copy_from_slice(&name);
        self.get(GET_INFO, &mut info)?;
        let size = &info[INFO - 4..];
        let bytes = u32::from_ne_bytes([size[0], size[1], size[2], size[3]]) as usize;
        let mut entries = vec![0; ENTRIES + bytes];
        entries[..NAME].copy_from_slice(&name);
        entries[NAME..NAME + 4].copy_from_slice(size);
        self.get(GET_ENTRIES, &mut entries)?;
        Ok(entries.split_off(ENTRIES))
    }

    fn get(&self, option: libc::c_int, value: &mut [u8]) -> io::Result<()> {
        let mut length = libc::socklen_t::try_from(value.len())
            .map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
        // SAFETY: the pointer and the length describe `value`, which only we use during the call.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                self.level,
                option,
                value.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// The name as the kernel requires it, with a terminating zero.
fn name_field(table: &str) -> io::Result<[u8; NAME]> {
    let mut name = [0; NAME];
    if table.len() >= NAME {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    name[..table.len()].copy_from_slice(table.as_bytes());
    Ok(name)
}
