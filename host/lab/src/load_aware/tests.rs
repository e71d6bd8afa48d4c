use super::*;

fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i as u8 + 1], 80))
}

/// Endpoints on which so many connections are active all the time while so many begin per second.
#[derive(Clone)]
struct World {
    loads: Vec<(u32, u64)>,
    begun: Vec<u64>,
    since: Duration,
    state: LoadAware,
}

impl World {
    fn new(loads: &[(u32, u64)]) -> World {
        let state = LoadAware::new(Constants { dead_band: 0.0, scale: 100.0, ..Constants::default() });
        World { loads: loads.to_vec(), begun: vec![0; loads.len()], since: Duration::ZERO, state }
    }

    fn seen(&self) -> Vec<(SocketAddr, Seen)> {
        let seen = |(i, (active, _)): (usize, &(u32, u64))| {
            let (begun, since) = (self.begun[i], self.since);
            (address(i), Seen { active: *active, inactive: 0, begun, since })
        };
        self.loads.iter().enumerate().map(seen).collect()
    }

    fn seconds(&mut self, count: u32) -> Vec<u16> {
        let mut weights = self.state.weigh(Duration::ZERO, &self.seen());
        for _ in 0..count {
            for (begun, (_, rate)) in self.begun.iter_mut().zip(&self.loads) {
                *begun += rate;
            }
            weights = self.state.weigh(Duration::from_secs(1), &self.seen());
        }
        weights
    }
}

#[track_caller]
fn close(weights: &[u16], expected: &[u16]) {
    let near = |(a, b): (&u16, &u16)| a.abs_diff(*b) * 20 <= *b;
    assert!(weights.len() == expected.len() && weights.iter().zip(expected).all(near), "{weights:?}");
}

#[test]
fn half_the_time_is_twice_the_weight() {
    // Little's law: 10 active at 10 per second are a second each, 10 active at 20 per second half of one.
    close(&World::new(&[(10, 10), (10, 10), (10, 20), (10, 20)]).seconds(60), &[67, 67, 133, 133]);
    // What is above the cap of 1.5 × the median is held there.
    close(&World::new(&[(10, 10), (10, 10), (10, 10), (10, 20)]).seconds(60), &[89, 89, 89, 133]);
}

#[test]
fn weights_follow_from_what_is_seen_and_do_not_add_up() {
    let mut world = World::new(&[(20, 10), (10, 10), (10, 10), (10, 10)]);
    let after_a_minute = world.seconds(60);
    close(&world.seconds(600), &after_a_minute);
}

#[test]
fn an_endpoint_that_fails_at_once_is_held_at_the_cap() {
    let weights = World::new(&[(0, 50), (5, 10), (5, 10), (5, 10), (5, 10)]).seconds(60);
    let part = f64::from(weights[0]) / f64::from(weights[1]);
    assert!((1.4..=1.55).contains(&part), "{weights:?}");
}

#[test]
fn an_endpoint_that_hangs_keeps_the_floor() {
    let weights = World::new(&[(5000, 1), (1, 10), (1, 10), (1, 10)]).seconds(120);
    let part = f64::from(weights[0]) / f64::from(weights[1]);
    assert!((0.03..=0.07).contains(&part), "{weights:?}");
}

#[test]
fn keep_alive_leaves_weights_equal() {
    // Connections that stay for long, however fast their requests are answered.
    close(&World::new(&[(300, 10), (300, 10), (300, 10)]).seconds(60), &[100, 100, 100]);
}

#[test]
fn what_has_few_connections_is_counted_as_average() {
    let mut world = World::new(&[(10, 10), (10, 10), (0, 0)]);
    close(&world.seconds(60), &[100, 100, 100]);
    // All together too few: nothing is done.
    close(&World::new(&[(3, 0), (0, 0), (0, 0)]).seconds(60), &[100, 100, 100]);
}

#[test]
fn a_small_difference_programs_nothing() {
    let mut world = World::new(&[(100, 100), (105, 100), (98, 100)]);
    assert_ne!(world.clone().seconds(60), [100, 100, 100]);
    world.state.constants.dead_band = 0.1;
    assert_eq!(world.seconds(60), [100, 100, 100]);
}

#[test]
fn counters_that_start_anew_are_no_burst_of_connections() {
    let mut world = World::new(&[(10, 10), (10, 10)]);
    world.seconds(60);
    // The first look at large counters, too.
    let mut late = World::new(&[(10, 10), (10, 10)]);
    late.begun = vec![1_000_000, 0];
    close(&late.seconds(10), &[100, 100]);
    for begun in [0, 5_000_000] {
        world.begun[0] = begun;
        world.since += Duration::from_secs(1);
        close(&world.seconds(2), &[100, 100]);
    }
    world.begun[1] = 1;
    close(&world.seconds(5), &[100, 100]);
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut world = World::new(&[(20, 10), (10, 10), (10, 10)]);
    world.seconds(60);
    world.loads.truncate(2);
    world.seconds(1);
    assert_eq!(world.state.endpoints.len(), 2);
}

struct Base(Arrangement);

impl Weights for Base {
    fn arrange(&mut self, _: usize, _: Duration, _: &[Option<Seen>]) -> Result<Arrangement, String> {
        Ok(self.0.clone())
    }
}

fn base(weights: &[Option<u16>], persistent: bool) -> Base {
    let persistence = persistent.then_some(weir_core::state::Persistence { timeout: 600, prefix: 32 });
    let scheduling = Scheduling { scheduler: "rr".into(), flags: SchedulerFlags::default(), persistence };
    Base(Arrangement { scheduling, weights: weights.to_vec() })
}

#[test]
fn it_is_wrr_from_the_start_and_multiplies_the_weights_below() {
    let addresses: Vec<SocketAddr> = (0..4).map(address).collect();
    let below = base(&[Some(1), Some(2), Some(0), None], false);
    let mut on_top = OnTop::new(below, Constants::default(), addresses);
    let arrangement = on_top.arrange(0, Duration::ZERO, &[None; 4]).unwrap();
    assert_eq!(arrangement.scheduling.scheduler, "wrr");
    assert_eq!(arrangement.weights, [Some(4), Some(8), Some(0), None]);
    assert_eq!(on_top.period(), Some(Duration::from_secs(2)));
}

#[test]
fn a_service_with_affinity_is_left_alone() {
    let below = base(&[Some(1), Some(1)], true);
    let expected = below.0.clone();
    let mut on_top = OnTop::new(below, Constants::default(), (0..2).map(address).collect());
    assert_eq!(on_top.arrange(0, Duration::ZERO, &[None; 2]).unwrap(), expected);
}

#[test]
fn constants_are_set_by_name_and_mistakes_are_named() {
    let mut constants = Constants::default();
    for (name, value) in [("scale", "100"), ("dead-band", "0.2"), ("period", "1s")] {
        constants.set(name, value).unwrap();
    }
    assert_eq!((constants.scale, constants.dead_band), (100.0, 0.2));
    assert_eq!(constants.period, Duration::from_secs(1));
    for (name, value, expected) in [
        ("scael", "1", "there is no constant `scael`; there are cap, dead-band"),
        ("scale", "0", "scale: `0` must be from 1 to 1000"),
        ("memory", "NaN", "memory: `NaN` must be from 0 to 0.9999"),
        ("period", "2", "period: `2` must be a duration of more than 0s"),
    ] {
        assert!(constants.set(name, value).unwrap_err().to_string().contains(expected), "{name}");
    }
}
