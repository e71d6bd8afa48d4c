//! Tests against the running kernel's IPVS and dummy links, with ipvsadm and ip as witnesses. Runs in the guest:
//! `cargo xtask vm --test weir-netlink:guest_ipvs`.

#[path = "../conversations/ipvs.rs"]
mod conversation;
mod destinations;
mod dummy;
#[path = "../support/namespace.rs"]
mod namespace;
#[path = "../support/recording.rs"]
mod recording;
mod services;

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use weir_netlink::TransportProtocol;
use weir_netlink::ipvs::{self, Client, ServiceKey};
use weir_netlink::socket::Protocol;

use namespace::{isolated, output};

/// Runs `test` in a fresh network namespace with a client, unless this kernel has no IPVS. In the guest that is a
/// failure; elsewhere the test is counted as skipped.
///
/// Tests take turns: all namespaces share the kernel's table of services, and a dump continues from a position in
/// that table, so a service created meanwhile in another namespace makes it repeat one.
fn with_ipvs(test: impl FnOnce(Client)) {
    static TURN: Mutex<()> = Mutex::new(());
    // A failed test leaves nothing behind for the next.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    isolated(|| match Client::open() {
        Ok(client) => {
            // Without a local routing table, the kernel accepts no address as unicast and refuses destinations.
            output("ip", &["link", "set", "lo", "up"]);
            test(client);
            // Otherwise the kernel would remove them some time after the namespace is gone, during the next test.
            output("ipvsadm", &["-C"]);
        }
        Err(error) if ipvs::is_absent(&error) && std::env::var("WEIR_GUEST").as_deref() != Ok("1") => {
            let thread = std::thread::current();
            println!("SKIPPED {}: this kernel has no IPVS", thread.name().unwrap_or("a test"));
        }
        Err(error) => panic!("{error:?}"),
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn key(protocol: TransportProtocol, address: &str, port: u16) -> ServiceKey {
    ServiceKey::Address { protocol, address: ip(address), port }
}

/// The lines of `ipvsadm -Sn`, sorted, without trailing spaces.
fn saved() -> Vec<String> {
    let text = output("ipvsadm", &["-Sn"]);
    let mut lines = text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    lines.sort();
    lines
}

fn ipvsadm(arguments: &str) {
    output("ipvsadm", &arguments.split(' ').collect::<Vec<_>>());
}

/// See `tests/recorded/main.rs`.
#[test]
fn ipvs_is_as_recorded() {
    with_ipvs(|_| conversation::run(recording::recording("ipvs", Protocol::Generic)));
}
