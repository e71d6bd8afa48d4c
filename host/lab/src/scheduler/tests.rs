use std::hash::Hasher;

use proptest::prelude::*;
use siphasher::sip::SipHasher13;

use super::*;

const HERE: Client = Client { address: IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 0, 1)), port: 40_000 };

/// Real servers in list order, each with its weight.
fn servers(weights: &[u16]) -> Vec<Server> {
    let address = |i| SocketAddr::from(([10, 0, 0, i as u8 + 1], 80));
    weights.iter().enumerate().map(|(i, weight)| Server::new(i, address(i), *weight)).collect()
}

fn make(name: &str, flags: SchedulerFlags) -> Box<dyn Scheduler> {
    scheduler(&Scheduling { scheduler: name.to_owned(), flags, persistence: None }).unwrap()
}

fn started(name: &str, servers: &[Server]) -> Box<dyn Scheduler> {
    let mut scheduler = make(name, SchedulerFlags::default());
    scheduler.changed(servers);
    scheduler
}

/// This many choices; connections stay open.
fn choices(scheduler: &mut dyn Scheduler, servers: &mut [Server], count: usize) -> Vec<usize> {
    let mut choose = || {
        let index = scheduler.pick(servers, HERE)?;
        servers[index].active += 1;
        Some(index)
    };
    (0..count).map_while(|_| choose()).collect()
}

#[track_caller]
fn golden(name: &str, weights: &[u16], expected: &[usize]) {
    let mut servers = servers(weights);
    let mut scheduler = started(name, &servers);
    assert_eq!(choices(&mut *scheduler, &mut servers, expected.len()), expected, "{name} {weights:?}");
}

#[test]
fn sequences_are_those_worked_out_from_the_kernels_rules() {
    golden("rr", &[1, 0, 5], &[0, 2, 0, 2]);
    // Levels 4 and 3: only the first; level 2: two; level 1: all.
    golden("wrr", &[4, 2, 1], &[0, 0, 0, 1, 0, 1, 2, 0, 0]);
    // A common divisor of 2 makes it the same as 3, 1.
    golden("wrr", &[6, 2], &[0, 0, 0, 1, 0, 0, 0, 1]);
    golden("wrr", &[0, 3, 0], &[1, 1, 1]);
    golden("lc", &[1, 9, 0, 1], &[0, 1, 3, 0, 1, 3]);
    // All idle: the first. Then 1 / 1 against 0 / 3, and so on; equal ratios go to the first in the list.
    golden("wlc", &[1, 3, 0], &[0, 1, 1, 1, 0, 1, 1, 1]);
    // (0+1)/1 against (0+1)/3; with two there it is 1 against 1, and the first wins.
    golden("sed", &[1, 3, 0], &[1, 1, 0, 1, 1]);
    // Both are idle at first. Then 2 / 1 against (active + 1) / 3, until both are 2.
    golden("nq", &[1, 3, 0], &[0, 1, 1, 1, 1, 1, 0]);
}

#[test]
fn inactive_connections_count_for_lc_and_wlc_and_not_for_sed_and_nq() {
    let mut busy = servers(&[1, 1]);
    busy[0].inactive = 300;
    busy[1].active = 1;
    for (name, expected) in [("lc", 1), ("wlc", 1), ("sed", 0), ("nq", 0)] {
        assert_eq!(started(name, &busy).pick(&busy, HERE), Some(expected), "{name}");
    }
}

#[test]
fn rr_goes_on_where_the_removed_one_stood() {
    let mut list = servers(&[1, 1, 1]);
    let mut rr = started("rr", &list);
    assert_eq!(choices(&mut *rr, &mut list, 2), [0, 1]);
    rr.removing(&list, 1);
    list.remove(1);
    rr.changed(&list);
    assert_eq!(rr.pick(&list, HERE).map(|index| list[index].endpoint), Some(2));
}

#[test]
fn wrr_starts_at_the_beginning_after_a_change_and_keeps_its_level() {
    let mut list = servers(&[4, 2, 1]);
    let mut wrr = started("wrr", &list);
    assert_eq!(choices(&mut *wrr, &mut list, 4), [0, 0, 0, 1]);
    list[2].weight = 2;
    wrr.changed(&list);
    // It was at level 2 of 4. The step is 2 now, so the levels are 3 and 1: the nearest to 2 is 3.
    assert_eq!(choices(&mut *wrr, &mut list, 4), [0, 0, 1, 2]);
    list[0].weight = 0;
    wrr.changed(&list);
    assert_eq!(choices(&mut *wrr, &mut list, 3), [1, 2, 1]);
}

#[test]
fn sh_fills_its_buckets_in_runs_and_has_no_room_for_large_weights() {
    let share = |weights: &[u16]| {
        let list = servers(weights);
        let mut sh = make("sh", SchedulerFlags::PORT);
        sh.changed(&list);
        let mut counts = vec![0; list.len()];
        for port in 0..4096 {
            if let Some(index) = sh.pick(&list, Client { port, ..HERE }) {
                counts[index] += 1;
            }
        }
        counts
    };
    let counts = share(&[3, 1]);
    assert!((2900..3250).contains(&counts[0]), "{counts:?}");
    assert_eq!(share(&[200, 100, 100])[2], 0, "the buckets end before the third");
    let counts = share(&[1, 0, 1]);
    assert_eq!(counts[1], 0);
    assert!(counts.iter().sum::<i32>() < 3000, "a third of the clients fail: {counts:?}");
}

#[test]
fn one_client_stays_with_one_server_and_fallback_finds_another() {
    for name in ["sh", "mh"] {
        let mut list = servers(&[1, 1, 1, 1]);
        let mut plain = started(name, &list);
        let chosen = plain.pick(&list, HERE).unwrap();
        assert_eq!(plain.pick(&list, Client { port: 1, ..HERE }), Some(chosen), "{name}");
        let mut fallback = make(name, SchedulerFlags::FALLBACK);
        fallback.changed(&list);
        assert_eq!(fallback.pick(&list, HERE), Some(chosen), "{name}");
        list[chosen].weight = 0;
        plain.changed(&list);
        fallback.changed(&list);
        assert_eq!(plain.pick(&list, HERE), None, "{name}");
        assert!(fallback.pick(&list, HERE).is_some_and(|index| index != chosen), "{name}");
    }
}

#[test]
fn mh_moves_few_clients_when_a_server_goes() {
    let list = servers(&[1; 8]);
    let mut mh = started("mh", &list);
    let client = |i: u32| Client { address: IpAddr::from((0x0af4_0000 + i).to_be_bytes()), ..HERE };
    let before: Vec<usize> = (0..2000).filter_map(|i| mh.pick(&list, client(i))).collect();
    assert_eq!(before.len(), 2000);
    let fewer = &list[..7];
    mh.changed(fewer);
    let moved =
        (0..2000).filter(|i| before[*i] != 7 && mh.pick(fewer, client(*i as u32)) != Some(before[*i]));
    assert!(moved.count() < 100);
}

#[test]
fn the_keyed_hash_is_the_kernels() {
    // SipHash-1-3 with keys 0 and 0 of an empty text, a published value.
    let hasher = SipHasher13::new_with_keys(0, 0);
    assert_eq!(hasher.finish(), 0xd1fb_a762_150c_532c);
}

#[test]
fn a_scheduler_that_is_not_known_is_named_with_those_that_are() {
    let scheduling =
        Scheduling { scheduler: "fo".into(), flags: SchedulerFlags::default(), persistence: None };
    let error = scheduler(&scheduling).err().unwrap().to_string();
    assert!(error.contains("`fo`") && error.contains("rr, wrr, lc"), "{error}");
}

proptest! {
    #[test]
    fn weight_0_gets_nothing_and_someone_is_chosen_while_any_weight_is_not_0(
        weights in prop::collection::vec(prop_oneof![Just(0u16), 1..200u16], 1..12),
        name in prop::sample::select(&SCHEDULERS[..6]),
        change in any::<prop::sample::Index>(),
        to in 0..200u16,
    ) {
        let mut list = servers(&weights);
        let mut scheduler = started(name, &list);
        for _ in 0..2 {
            let open = list.iter().any(|server| server.weight > 0);
            let chosen = choices(&mut *scheduler, &mut list, 300);
            prop_assert_eq!(chosen.len(), if open { 300 } else { 0 });
            prop_assert!(chosen.iter().all(|index| list[*index].weight > 0));
            let index = change.index(list.len());
            list[index].weight = to;
            scheduler.changed(&list);
        }
    }

    #[test]
    fn a_cycle_of_wrr_and_open_connections_of_wlc_and_sed_follow_the_weights(
        weights in prop::collection::vec(0..30u16, 1..10),
        name in prop::sample::select(&["wrr", "wlc", "sed", "nq"]),
    ) {
        let total: usize = weights.iter().copied().map(usize::from).sum();
        let mut list = servers(&weights);
        let mut scheduler = started(name, &list);
        choices(&mut *scheduler, &mut list, total);
        for server in &list {
            // Except with wrr, one idle real server may be chosen instead of one with room.
            let off = u32::from(server.weight).abs_diff(server.active);
            let allowed = if name == "wrr" { 0 } else { list.len() as u32 };
            prop_assert!(off <= allowed, "{} {:?}", name, list);
        }
    }

    #[test]
    fn slots_of_mh_follow_the_weights(weights in prop::collection::vec(0..8u16, 2..10)) {
        let list = servers(&weights);
        let mut mh = make("mh", SchedulerFlags::PORT);
        mh.changed(&list);
        let total: usize = weights.iter().copied().map(usize::from).sum();
        let mut counts = vec![0usize; list.len()];
        for port in 0..60_000 {
            if let Some(index) = mh.pick(&list, Client { port, ..HERE }) {
                counts[index] += 1;
            }
        }
        for (weight, count) in weights.iter().zip(&counts) {
            let fair = 60_000 * usize::from(*weight) / total.max(1);
            prop_assert!(count.abs_diff(fair) < 2_500, "{:?} {:?}", weights, counts);
        }
    }
}
