use proptest::prelude::*;

use super::*;

#[test]
fn numbers_become_small_weights_in_their_ratio() {
    assert_eq!(proportional(&[]), [0; 0]);
    assert_eq!(proportional(&[0, 0]), [0, 0]);
    assert_eq!(proportional(&[7]), [1]);
    assert_eq!(proportional(&[4000, 4000, 8000]), [1, 1, 2]);
    assert_eq!(proportional(&[3920, 7910]), [1, 2], "a weight need not be more precise than 1 %");
    assert_eq!(proportional(&[u64::MAX, 1]), [u16::MAX, 1]);
    assert_eq!(proportional(&[u64::MAX, u64::MAX]), [1, 1]);
}

#[test]
fn a_group_gets_its_share_however_many_it_has() {
    let groups =
        |of: &[usize]| of.iter().map(|group| Member { group: *group, counts: 1 }).collect::<Vec<_>>();
    assert_eq!(shared(&groups(&[0, 1]), &[80, 20]), [4, 1]);
    assert_eq!(shared(&groups(&[0, 1, 1, 1, 1]), &[50, 50]), [4, 1, 1, 1, 1]);
    assert_eq!(shared(&groups(&[0, 0, 1]), &[100, 0]), [1, 1, 0]);
    assert_eq!(shared(&groups(&[1, 1]), &[90, 10]), [1, 1], "the share of an empty group goes to the others");
    assert_eq!(shared(&groups(&[0, 5]), &[1]), [1, 0], "a group without a share gets nothing");
}

#[test]
fn endpoints_of_a_group_share_by_what_they_count() {
    let groups = [(0, 2000), (0, 1000), (1, 500)].map(|(group, counts)| Member { group, counts });
    assert_eq!(shared(&groups, &[75, 25]), [2, 1, 1]);
    let huge = [(0, u64::MAX), (1, u64::MAX)].map(|(group, counts)| Member { group, counts });
    assert_eq!(shared(&huge, &[1, 3]), [1, 3]);
    let uneven = [(0, u64::MAX), (0, 1)].map(|(group, counts)| Member { group, counts });
    assert_eq!(shared(&uneven, &[1]), [u16::MAX, 1]);
}

fn endpoint(port: u16, internal: bool, external: bool) -> Endpoint {
    Endpoint {
        address: ([10, 0, 0, 1], port).into(),
        ready: true,
        serving: true,
        terminating: false,
        local: false,
        internal,
        external,
        zone: None,
        node: None,
        slice: None,
        ready_since: None,
    }
}

#[test]
fn the_last_endpoint_is_never_quiesced() {
    let endpoints = [endpoint(1, true, true), endpoint(2, true, true)];
    let mut weights = [5, 5];
    assert_eq!(quiesce(&mut weights, &endpoints, |_, e| e.address.port() == 1), Failsafe::Idle);
    assert_eq!(weights, [0, 5]);
    assert_eq!(quiesce(&mut weights, &endpoints, |_, _| true), Failsafe::Held);
    assert_eq!(weights, [0, 5]);
    assert_eq!(quiesce(&mut [], &[], |_, _| true), Failsafe::Idle);
}

#[test]
fn each_kind_of_vip_keeps_an_endpoint() {
    // The second is the only one for external VIPs, no VIP uses the third.
    let endpoints = [endpoint(1, true, false), endpoint(2, true, true), endpoint(3, false, false)];
    let mut weights = [1, 1, 1];
    assert_eq!(quiesce(&mut weights, &endpoints, |_, e| e.address.port() != 1), Failsafe::Held);
    assert_eq!(weights, [1, 1, 0]);
}

#[test]
fn a_kind_of_vip_that_would_have_none_gets_its_endpoints_back() {
    let endpoints = [endpoint(1, true, false), endpoint(2, true, true), endpoint(3, false, false)];
    let mut weights = [5, 0, 0];
    assert_eq!(spare(&mut weights, &endpoints), Failsafe::Held);
    assert_eq!(weights, [5, 1, 0]);
    assert_eq!(spare(&mut weights, &endpoints), Failsafe::Idle);
    assert_eq!(spare(&mut [], &[]), Failsafe::Idle);
}

#[test]
fn weights_come_with_a_scheduler_that_heeds_them() {
    let context = |schedulers: &[&str]| Context {
        default_scheduler: "rr".to_owned(),
        schedulers: schedulers.iter().map(|name| (*name).to_owned()).collect(),
        ..Context::default()
    };
    let of = |prior: &str, weights: &[u16]| {
        let prior = Scheduling::scheduler(prior);
        let answer = scheduling(Some(&prior), &context(&[]), weights.to_vec());
        (answer.scheduler, answer.scheduler_flags.map(|flags| flags.join(" ")))
    };
    assert_eq!(of("lc", &[1, 2]), (Some("wlc".to_owned()), None));
    assert_eq!(of("default", &[1, 2]), (Some("wrr".to_owned()), None));
    assert_eq!(of("lc", &[1, 1]), (Some("wlc".to_owned()), None), "a change would refuse connections");
    assert_eq!(of("mh", &[1, 2]), (None, None));
    assert_eq!(of("mh", &[1, 0]), (None, Some("fallback port".to_owned())));
    assert_eq!(of("sh", &[1, 0]), (None, Some("fallback".to_owned())));
    let answer = scheduling(None, &context(&["rr", "lc"]), vec![1, 2]);
    assert_eq!(answer, Scheduling::weights(vec![1, 2]), "the kernel has no wrr");
}

#[test]
fn flags_of_earlier_plugins_stay() {
    let flags = |flags: &[&str]| Some(flags.iter().map(|flag| (*flag).to_owned()).collect());
    let prior = Scheduling { scheduler_flags: flags(&[]), ..Scheduling::scheduler("mh") };
    assert_eq!(
        scheduling(Some(&prior), &Context::default(), vec![0, 1]).scheduler_flags,
        flags(&["fallback"])
    );
    let prior = Scheduling { scheduler_flags: flags(&["port", "fallback"]), ..Scheduling::scheduler("sh") };
    let answer = scheduling(Some(&prior), &Context::default(), vec![0, 1]);
    assert_eq!(answer.scheduler_flags, flags(&["port", "fallback"]));
}

proptest! {
    #[test]
    fn ratios_are_kept(numbers in prop::collection::vec(0u64..1_000_000, 1..40)) {
        let weights = proportional(&numbers);
        let (largest, at) = numbers.iter().zip(&weights).max().map(|(n, w)| (*n, *w)).unwrap();
        for (number, weight) in numbers.iter().zip(&weights) {
            prop_assert_eq!(*number == 0, *weight == 0);
            let (exact, got) = (*number as f64 / largest.max(1) as f64, f64::from(*weight) / f64::from(at.max(1)));
            // A share too small for 16 bits still gets weight 1.
            if exact > 0.001 {
                prop_assert!((got / exact - 1.0).abs() < 0.06, "{} of {} is {} of {}", number, largest, weight, at);
            }
        }
    }

    #[test]
    fn order_and_unit_do_not_matter(numbers in prop::collection::vec(0u64..100_000, 1..20), unit in 1u64..1000) {
        let mut weights = proportional(&numbers);
        let scaled: Vec<u64> = numbers.iter().map(|number| number * unit).collect();
        prop_assert_eq!(&proportional(&scaled), &weights);
        let reversed: Vec<u64> = numbers.iter().rev().copied().collect();
        weights.reverse();
        prop_assert_eq!(proportional(&reversed), weights);
    }

    #[test]
    fn groups_get_their_shares(sizes in prop::collection::vec(1usize..60, 1..5), shares in prop::collection::vec(5u32..100, 5)) {
        let groups: Vec<Member> = sizes
            .iter()
            .enumerate()
            .flat_map(|(group, size)| std::iter::repeat_n(Member { group, counts: 1 }, *size))
            .collect();
        let weights = shared(&groups, &shares[..sizes.len()]);
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let wanted: f64 = shares[..sizes.len()].iter().map(|share| f64::from(*share)).sum();
        for (group, share) in shares.iter().enumerate().take(sizes.len()) {
            let got: f64 = groups.iter().zip(&weights).filter(|(m, _)| m.group == group).map(|(_, w)| f64::from(*w)).sum();
            let (got, exact) = (got / total, f64::from(*share) / wanted);
            prop_assert!((got / exact - 1.0).abs() < 0.12, "group {} gets {} instead of {}", group, got, exact);
        }
    }
}
