//! Clients notice nothing while one plan is replaced by the next, unless the plans differ for them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::sample::Index;
use weir_core::net::Family;
use weir_core::node::HostAddress;
use weir_core::set::{Set, SetEntry};
use weir_core::simulated::{Fault, Simulated};
use weir_core::state::{KernelState, VirtualServer};
use weir_core::trace::{Origin, Packet, Verdict, trace};

use super::runs::{Step, step, syncer};
use super::traces::arrivals;

/// Number of packets traced through each state.
const PACKETS: usize = 16;

/// Returns some packets to VIPs that are in both plans.
fn packets(step: &Step, choice: &[Index]) -> Vec<(VirtualServer, Packet)> {
    let before = &step.before.state;
    let kept =
        step.after.plan.state.virtual_servers.keys().filter(|s| before.virtual_servers.contains_key(s));
    let mut all = Vec::new();
    for server in kept {
        let mut origins = arrivals(Family::of(server.address.ip()));
        origins.push((server.address.ip(), Origin::Host));
        for (source, origin) in origins {
            let source = SocketAddr::new(source, 40_000);
            let packet = Packet::new(server.protocol, source, server.address, origin);
            all.extend(packet.map(|packet| (*server, packet)));
        }
    }
    if all.is_empty() { all } else { choice.iter().map(|index| index.get(&all).clone()).collect() }
}

/// What a client observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Served,
    Refused,
    Silence,
}

fn answer(state: &KernelState, host: &[HostAddress], packet: &Packet) -> Answer {
    match trace(state, host, packet).verdict {
        Verdict::Delivered(..) => Answer::Served,
        Verdict::NoRealServer(_) | Verdict::Refused(..) => Answer::Refused,
        Verdict::Dropped(_) => Answer::Silence,
        Verdict::ToHost | Verdict::Onward(_) => Answer::Silence,
    }
}

/// Whether both source filters of a VIP change: the object's ranges and a policy's. Then both first stop
/// admitting sources, and a client may be blocked for a moment although both plans admit it.
fn filters_change(before: &KernelState, after: &KernelState, server: VirtualServer) -> bool {
    let vip = SetEntry::IpPort(server.address.ip(), server.protocol, server.address.port());
    let changes = |sets: &[Set]| {
        let [before, after] = [before, after].map(|state| {
            let of_vip = state.entries.keys().filter(|(name, entry)| {
                sets.contains(&name.set) && name.companion(*entry).is_some_and(|(_, at)| at == vip)
            });
            of_vip.copied().collect::<BTreeSet<_>>()
        });
        before != after
    };
    changes(&[Set::LoadBalancerSourceIp, Set::LoadBalancerSourceCidr]) && changes(&[Set::SourceAllow])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// L5 and L9: clients served by both plans are served at every step between them, unless both source filters of the
    /// VIP change; clients blocked by both stay blocked, even if the program crashes on the way.
    #[test]
    fn clients_notice_nothing(
        step in step(),
        choice in prop::collection::vec(any::<Index>(), PACKETS),
        crash in prop::option::of(0..40u64),
    ) {
        let choice = packets(&step, &choice);
        let Step { before, mut after, host } = step;
        let same = |(server, packet): &(VirtualServer, Packet)| {
            let answers = [&before, &after.plan].map(|plan| answer(&plan.state, &host, packet));
            let may_be_blocked = filters_change(&before.state, &after.plan.state, *server);
            (answers[0] == answers[1] && !(answers[0] == Answer::Served && may_be_blocked))
                .then_some((packet.clone(), answers[0]))
        };
        let followed: Vec<_> = choice.iter().filter_map(same).collect();
        let noticed = Arc::new(Mutex::new(Vec::new()));
        let mut kernel = Simulated::new(before.state.clone());
        kernel.plan_faults(crash.map(|n| (n, Fault::Crash)));
        let (sink, addresses) = (noticed.clone(), host.clone());
        kernel.observe(move |change, state| {
            for (packet, usual) in &followed {
                let now = answer(state, &addresses, packet);
                if now != *usual {
                    sink.lock().unwrap().push(format!("after `{change}`: {now:?}, expected {usual:?}: {packet:?}"));
                }
            }
        });
        let mut syncer = syncer(kernel);
        for number in 0..2 {
            let _ = after.round(&mut syncer, number);
            syncer.kernel().restart();
            syncer.audit();
        }
        prop_assert_eq!(&*noticed.lock().unwrap(), &Vec::<String>::new());
    }
}
