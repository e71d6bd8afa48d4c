//! What the kernel refuses, with cause and fix: one row per operation and error number. `host/ERRORS.md` shows the
//! same tables.

use weir_core::kernel::{Failure, FailureKind};
use weir_netlink::ipset::{Code, SetError};
use weir_netlink::{Errno, NetlinkError};

use crate::linux::chain;

/// A refusal with a known cause.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<E: 'static> {
    /// Part of the operation's name; empty for any operation.
    pub operation: &'static str,
    /// The error number that the kernel returns.
    pub errors: &'static [E],
    /// What it means for the next attempt.
    pub kind: FailureKind,
    /// The cause.
    pub cause: &'static str,
    /// The fix.
    pub fix: &'static str,
}

const fn row<E>(
    operation: &'static str,
    errors: &'static [E],
    kind: FailureKind,
    cause: &'static str,
    fix: &'static str,
) -> Refusal<E> {
    Refusal { operation, errors, kind, cause, fix }
}

use FailureKind::{Busy, Refused, Stale};

/// Refusals by error number; the first matching row counts.
pub const REFUSALS: &[Refusal<Errno>] = &[
    row(
        "",
        &[Errno::EPERM],
        Refused,
        "the process is not allowed to change the network",
        "run as root or with the capability CAP_NET_ADMIN",
    ),
    row(
        "",
        &[Errno::ENOMEM, Errno::ENOBUFS],
        Busy,
        "the kernel is short of memory",
        "free memory; weir retries the change",
    ),
    row(
        "create dummy link",
        &[Errno::EOPNOTSUPP],
        Refused,
        "the kernel has no dummy devices",
        "run `modprobe dummy`",
    ),
    row(
        "add address",
        &[Errno::EACCES],
        Refused,
        "IPv6 is disabled for the device",
        "run `sysctl -w net.ipv6.conf.kube-ipvs0.disable_ipv6=0`",
    ),
    row(
        "add address",
        &[Errno::EOPNOTSUPP, Errno::EAFNOSUPPORT],
        Refused,
        "the kernel runs without IPv6",
        "boot without ipv6.disable=1, or remove IPv6 from the Services",
    ),
    row(
        "add address",
        &[Errno::EINVAL, Errno::EADDRNOTAVAIL],
        Refused,
        "no device can have this address",
        "remove this address from the Service's spec.externalIPs or load balancer status",
    ),
    row(
        "virtual server",
        &[Errno::EAFNOSUPPORT],
        Refused,
        "IPVS in this kernel has no IPv6 support",
        "use a kernel with CONFIG_IP_VS_IPV6, or remove IPv6 from the Services",
    ),
    row(
        "real server",
        &[Errno::EAFNOSUPPORT],
        Refused,
        "IPVS in this kernel has no IPv6 support",
        "use a kernel with CONFIG_IP_VS_IPV6, or remove IPv6 from the Services",
    ),
    row(
        "create real server",
        &[Errno::EINVAL],
        Refused,
        "IPVS does not accept this address as a real server",
        "correct the EndpointSlice: endpoints need unicast addresses that are not link-local",
    ),
    row(
        "flow",
        &[Errno::EINVAL, Errno::EOPNOTSUPP],
        Refused,
        "the kernel cannot list connections",
        "run `modprobe nf_conntrack_netlink`",
    ),
    row(
        "set",
        &[Errno::EINVAL, Errno::EOPNOTSUPP],
        Refused,
        "the kernel has no ipset",
        "run `modprobe ip_set`",
    ),
    row("", &[Errno::ENODEV], Stale, "the device no longer exists", "weir recreates it"),
    row(
        "",
        &[Errno::EEXIST, Errno::ENOENT, Errno::ESRCH],
        Stale,
        "another program changed the kernel state in the meantime",
        "weir reads the state again",
    ),
];

/// The command that loads ipset and all set types.
macro_rules! load_set_types {
    () => {
        "modprobe -a ip_set ip_set_hash_ip ip_set_hash_ipport ip_set_hash_ipportip ip_set_hash_ipportnet \
         ip_set_bitmap_port"
    };
}
pub(crate) use load_set_types;

/// Refusals of ipset by its own error codes.
pub const SET_REFUSALS: &[Refusal<Code>] = &[
    row(
        "",
        &[Code::FindType],
        Refused,
        "the kernel has no such set type",
        concat!("run `", load_set_types!(), "`"),
    ),
    row(
        "",
        &[Code::MaxSets],
        Refused,
        "the kernel's maximum number of sets is reached",
        "load ip_set with a larger `max_sets`, or remove other programs' sets, listed by `ipset list -n`",
    ),
    row(
        "",
        &[Code::Busy, Code::Referenced],
        Refused,
        "a rule still refers to the set",
        "remove the other program's rule, shown by `iptables-save | grep match-set`",
    ),
    row(
        "",
        &[Code::HashFull],
        Stale,
        "the set is full",
        "weir reads it again and removes other programs' entries",
    ),
    row(
        "",
        &[Code::NullElement],
        Refused,
        "a set cannot contain an all-zero address",
        "remove it from the Service",
    ),
    row(
        "",
        &[Code::Protocol],
        Refused,
        "the kernel uses another version of ipset's protocol",
        "use Linux 3.10 or later",
    ),
    row(
        "",
        &[Code::Exist, Code::TypeMismatch, Code::InvalidFamily],
        Stale,
        "another program created or changed the set",
        "weir reads it again and recreates it",
    ),
];

/// What failed and why. An error begins with its operation, which is left out if `what` begins with it too.
pub(crate) fn explained(what: &str, error: &dyn std::error::Error) -> String {
    let error = chain(error);
    let cause = error.split_once(": ").filter(|(operation, _)| what.starts_with(operation));
    format!("{what}: {}", cause.map_or(error.as_str(), |(_, cause)| cause))
}

/// The failure of a change that the kernel refused, or whose acknowledgement was lost.
pub(crate) fn failure(error: &NetlinkError, what: &str) -> Failure {
    let Some(errno) = error.refused_with() else {
        // Acknowledgements were lost, so the kernel has to be read again.
        return Failure { kind: Stale, message: explained(what, error) };
    };
    let operation = match error {
        NetlinkError::Refused { operation, .. } => operation,
        _ => "",
    };
    tell(REFUSALS, operation, &errno, explained(what, error))
}

/// The same for sets.
pub(crate) fn set_failure(error: &SetError, what: &str) -> Failure {
    let message = explained(what, error);
    match error {
        SetError::Refused { operation, source } => tell(SET_REFUSALS, operation, source, message),
        SetError::Netlink(error) => failure(error, what),
        SetError::Protocol { .. } | SetError::Revision { .. } | SetError::OpaqueElement { .. } => {
            Failure { kind: Refused, message }
        }
    }
}

fn tell<E: PartialEq>(table: &[Refusal<E>], operation: &str, error: &E, said: String) -> Failure {
    match table.iter().find(|row| operation.contains(row.operation) && row.errors.contains(error)) {
        Some(Refusal { kind, cause, fix, .. }) => {
            Failure { kind: *kind, message: format!("{said}; {cause}: {fix}") }
        }
        None => Failure { kind: Refused, message: said },
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use super::*;

    fn refused(operation: &'static str, source: Errno) -> Failure {
        failure(&NetlinkError::Refused { operation, text: None, source }, "change")
    }

    #[test]
    fn an_operation_is_named_once() {
        let refused = NetlinkError::Refused { operation: "add address", text: None, source: Errno::EEXIST };
        let told = explained("add address 10.96.0.1", &refused);
        assert!(told.starts_with("add address 10.96.0.1: refused by the kernel"), "{told}");
        let told = explained("create device kube-ipvs0", &refused);
        assert!(told.starts_with("create device kube-ipvs0: add address: refused by the kernel"), "{told}");
    }

    #[test]
    fn a_refusal_names_cause_and_way_out() {
        let disabled = refused("add address", Errno::EACCES);
        assert_eq!(disabled.kind, Refused);
        assert!(disabled.message.ends_with(
            "; IPv6 is disabled for the device: run `sysctl -w net.ipv6.conf.kube-ipvs0.disable_ipv6=0`"
        ));
        assert!(refused("delete flow", Errno::EINVAL).message.contains("modprobe nf_conntrack_netlink"));
        assert!(refused("add set elements", Errno::EINVAL).message.contains("modprobe ip_set"));
        assert!(refused("create real server", Errno::EPERM).message.contains("CAP_NET_ADMIN"));
        assert_eq!(refused("add address", Errno::ENODEV).kind, Stale);
        assert_eq!(refused("create real server", Errno::EEXIST).kind, Stale);
        let full = SetError::Refused { operation: "add set elements", source: Code::HashFull };
        assert!(set_failure(&full, "change").message.contains("the set is full"));
    }

    #[test]
    fn an_answer_that_was_lost_has_the_kernel_read_again() {
        let error = NetlinkError::Overrun { operation: "add address" };
        assert_eq!(failure(&error, "change").kind, Stale);
    }

    fn lines<E: Display>(table: &[Refusal<E>]) -> Vec<String> {
        let line = |row: &Refusal<E>| {
            let operation = if row.operation.is_empty() { "any" } else { row.operation };
            let errors: Vec<String> = row.errors.iter().map(|error| plain(&error.to_string())).collect();
            format!(
                "| {operation} | {} | {} | {} |",
                errors.join(", "),
                row.cause,
                row.fix.replace('|', "\\|")
            )
        };
        table.iter().map(line).collect()
    }

    /// An error number as the C library describes it, without the number.
    fn plain(text: &str) -> String {
        text.split(" (os error").next().unwrap_or(text).to_owned()
    }

    #[test]
    fn the_page_shows_every_row() {
        let page = include_str!("../../ERRORS.md");
        let complaints = crate::iptables::complaint::COMPLAINTS.iter().map(|row| {
            let words: Vec<String> = row.words.iter().map(|words| format!("`{words}`")).collect();
            format!("| {} | {} | {} |", words.join(", "), row.cause, row.fix)
        });
        let extensions = weir_core::rule::extension::EXTENSIONS.iter().map(|row| {
            let modules = match (row.modules.v4, row.modules.v6) {
                (v4, v6) if v4 == v6 => v4.to_owned(),
                (v4, v6) => format!("{v4}, {v6}"),
            };
            format!("| `{}` {} | {modules} | {} |", row.name, row.role, row.means)
        });
        let rows = lines(REFUSALS).into_iter().chain(lines(SET_REFUSALS)).chain(complaints).chain(extensions);
        let missing: Vec<String> = rows.filter(|row| !page.lines().any(|line| line == row)).collect();
        assert!(missing.is_empty(), "host/ERRORS.md lacks:\n{}", missing.join("\n"));
    }
}
