//! The two socket options missing from netlink-sys.
#![allow(unsafe_code, reason = "setsockopt(2) takes a pointer and a length")]

use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::time::Duration;

/// Sets the receive buffer's size beyond the limit of `net.core.rmem_max`.
pub(super) fn force_receive_buffer(fd: RawFd, bytes: u32) -> io::Result<()> {
    set(fd, libc::SO_RCVBUFFORCE, &bytes)
}

/// Makes a receive fail with `EAGAIN` after this time.
pub(super) fn set_receive_timeout(fd: RawFd, timeout: Duration) -> io::Result<()> {
    let value = libc::timeval {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_usec: timeout.subsec_micros().into(),
    };
    set(fd, libc::SO_RCVTIMEO, &value)
}

fn set<V>(fd: RawFd, option: libc::c_int, value: &V) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call, and the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<V>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
