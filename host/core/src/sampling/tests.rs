use super::*;
use crate::net::Protocol;

const MEMORY: u32 = 20;

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn server(ip: &str) -> VirtualServer {
    VirtualServer::new(Protocol::Tcp, ip.parse().unwrap(), 80)
}

fn endpoint(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(millis: u64) -> Duration {
    Duration::from_secs(1_000_000) + Duration::from_millis(millis)
}

fn wanting(wishes: &[(u32, u32)]) -> Sampler {
    let mut sampler = Sampler::default();
    let wishes = wishes.iter().map(|(period, memory)| Wish { period: *period, memory: *memory }).collect();
    sampler.want(&name("web"), wishes, at(0));
    sampler
}

/// A reading of one endpoint behind one virtual server.
fn read(ip: &str, active: u32, connections: u64) -> (Port, VirtualServer, Readings) {
    let totals = Totals { connections, bytes_in: 10 * connections, bytes_out: 100 * connections };
    let reading = Reading { active, inactive: 1, weight: 7, totals };
    (80, server(ip), Some([(endpoint("10.0.0.1:8080"), reading)].into()))
}

fn count(sampler: &Sampler) -> Count {
    sampler.count(&name("web"), 80, endpoint("10.0.0.1:8080"), MEMORY).unwrap()
}

#[test]
fn virtual_servers_add_up_and_the_first_reading_is_where_counting_begins() {
    let mut sampler = wanting(&[(1, MEMORY)]);
    assert_eq!(sampler.count(&name("web"), 80, endpoint("10.0.0.1:8080"), MEMORY), None);
    assert!(sampler.take(&name("web"), &[read("10.96.0.1", 2, 500), read("192.0.2.1", 1, 40)], at(1000)));
    let first = count(&sampler);
    assert_eq!((first.active, first.inactive, first.weight, first.since), (3, 2, 7, 1_000_001));
    assert_eq!((first.totals, first.recent), (Totals::default(), Recent::default()));
    sampler.take(&name("web"), &[read("10.96.0.1", 2, 503), read("192.0.2.1", 2, 41)], at(2000));
    let second = count(&sampler);
    assert_eq!(second.totals, Totals { connections: 4, bytes_in: 40, bytes_out: 400 });
    assert_eq!(second.recent, Recent { connections: 4000, active_time: 4000 });
    assert_eq!(second.since, 1_000_001);
}

#[test]
fn a_counter_that_went_back_began_anew_and_nothing_is_negative() {
    let mut sampler = wanting(&[(1, MEMORY)]);
    for (time, connections) in [(1000, 900), (2000, 910), (3000, 3)] {
        sampler.take(&name("web"), &[read("10.96.0.1", 0, connections)], at(time));
    }
    assert_eq!(count(&sampler).totals.connections, 13);
}

#[test]
fn a_real_server_that_was_away_is_counted_from_its_return() {
    let mut sampler = wanting(&[(1, MEMORY)]);
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 900)], at(1000));
    sampler.take(&name("web"), &[(80, server("10.96.0.1"), Some(BTreeMap::new()))], at(2000));
    assert_eq!(sampler.count(&name("web"), 80, endpoint("10.0.0.1:8080"), MEMORY), None);
    // The kernel may have kept its counters.
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 950)], at(3000));
    assert_eq!((count(&sampler).totals.connections, count(&sampler).since), (0, 1_000_003));
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 951)], at(4000));
    assert_eq!(count(&sampler).totals.connections, 1);
}

#[test]
fn sums_forget_by_their_own_memory() {
    let mut sampler = wanting(&[(1, MEMORY), (5, 10)]);
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 0)], at(1000));
    sampler.take(&name("web"), &[read("10.96.0.1", 3, 1000)], at(2000));
    // Twenty seconds without traffic: one memory for the first, two for the second.
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 1000)], at(22_000));
    let recent = |memory| sampler.count(&name("web"), 80, endpoint("10.0.0.1:8080"), memory).unwrap().recent;
    assert_eq!(recent(MEMORY), Recent { connections: 367_879, active_time: 1104 });
    assert_eq!(recent(10), Recent { connections: 135_335, active_time: 406 });
    assert_eq!(count(&sampler).totals.connections, 1000, "totals do not decay");
}

#[test]
fn another_reader_leaves_the_sums_of_the_first() {
    let mut sampler = wanting(&[(1, MEMORY)]);
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 0)], at(1000));
    sampler.take(&name("web"), &[read("10.96.0.1", 3, 1000)], at(2000));
    let before = count(&sampler);
    let wishes = [(1, MEMORY), (1, 10)].map(|(period, memory)| Wish { period, memory });
    sampler.want(&name("web"), wishes.into(), at(2000));
    assert_eq!(count(&sampler), before);
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 1000)], at(22_000));
    assert_eq!(count(&sampler).recent, Recent { connections: 367_879, active_time: 1104 });
    let other = sampler.count(&name("web"), 80, endpoint("10.0.0.1:8080"), 10).unwrap();
    assert_eq!(other.recent, Recent::default(), "it starts when it is wanted");
}

#[test]
fn an_idle_service_is_news_only_until_it_is_forgotten() {
    let mut sampler = wanting(&[(1, 1)]);
    let idle = || [read("10.96.0.1", 0, 8)];
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 7)], at(1000));
    assert!(sampler.take(&name("web"), &idle(), at(2000)), "a connection");
    assert!(sampler.take(&name("web"), &idle(), at(3000)), "it has decayed");
    for second in 4..30 {
        sampler.take(&name("web"), &idle(), at(second * 1000));
    }
    assert!(!sampler.take(&name("web"), &idle(), at(30_000)));
}

#[test]
fn services_are_spread_over_the_period_and_keep_their_distance() {
    let mut sampler = Sampler::default();
    let wishes: BTreeSet<Wish> = [Wish { period: 2, memory: 20 }].into();
    for i in 0..200 {
        sampler.want(&name(&format!("web-{i}")), wishes.clone(), at(0));
    }
    let mut most = 0;
    let mut readings = vec![0; 200];
    for millis in (0..20_000).step_by(125) {
        let due = sampler.due(at(millis), usize::MAX);
        most = most.max(due.len());
        for service in due {
            readings[service.name[4..].parse::<usize>().unwrap()] += 1;
            sampler.take(&service, &[], at(millis));
        }
    }
    assert!(most < 30, "{most} of 200 services in one of 16 slots");
    assert!(readings.iter().all(|count| (9..=10).contains(count)), "{readings:?}");
}

#[test]
fn what_is_overdue_comes_first_and_is_not_made_up_for() {
    let mut sampler = wanting(&[(1, MEMORY)]);
    sampler.want(&name("api"), [Wish { period: 60, memory: 20 }].into(), at(0));
    assert_eq!(sampler.due(at(100_000), 1).len(), 1);
    assert_eq!(sampler.due(at(100_000), 9).len(), 2);
    sampler.take(&name("web"), &[], at(100_000));
    assert!(sampler.next().unwrap() <= at(60_125), "the other one is still due");
    sampler.take(&name("api"), &[], at(100_000));
    assert!(sampler.next().unwrap() > at(100_000));
    sampler.want(&name("web"), BTreeSet::new(), at(0));
    sampler.forget(&name("api"));
    assert_eq!((sampler.next(), sampler.services()), (None, 0));
}

#[test]
fn a_failed_reading_leaves_everything_as_it_is() {
    let mut sampler = wanting(&[(1, MEMORY)]);
    sampler.take(&name("web"), &[read("10.96.0.1", 0, 5)], at(1000));
    let before = count(&sampler);
    assert!(!sampler.take(
        &name("web"),
        &[read("10.96.0.1", 9, 9), (80, server("192.0.2.1"), None)],
        at(2000)
    ));
    assert_eq!(count(&sampler), before);
    sampler.take(&name("web"), &[read("10.96.0.1", 1, 9)], at(3000));
    assert_eq!(count(&sampler).recent, Recent { connections: 4000, active_time: 2000 }, "two seconds passed");
}
