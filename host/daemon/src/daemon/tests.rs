use std::cell::RefCell;
use std::rc::Rc;

use weir_core::diff::Change;
use weir_core::kernel::{Connections, Fact, Kernel, Outcome, Unread};
use weir_core::net::PerFamily;
use weir_core::node::{DetectLocal, HostAddress};
use weir_core::objects::Node;
use weir_core::policy::{BuiltIn, Decided, Policy, Surroundings};
use weir_core::rule::Extension;
use weir_core::sampling::{Reading, Readings, Totals, Wish};
use weir_core::simulated::Simulated;
use weir_core::state::{RealServer, VirtualServer};
use weir_core::sync::Round;
use weir_core::view::ServiceView;
use weir_world::build;

use super::*;

/// A machine that counts calls.
#[derive(Clone, Default)]
struct Counting(Rc<RefCell<Counts>>);

#[derive(Default)]
struct Counts {
    kernel: Simulated,
    clock: Duration,
    reads: u32,
    batches: u32,
    addresses: u32,
    samples: u32,
    /// The time that reading a virtual server's counters takes.
    sampling: Duration,
    unreadable: bool,
}

impl Kernel for Counting {
    fn read(&mut self, see: &mut dyn FnMut(Fact<'_>)) -> Result<Unread, ReadError> {
        self.0.borrow_mut().reads += 1;
        self.0.borrow_mut().kernel.read(see)
    }

    fn execute(&mut self, batch: &[Change]) -> Vec<Outcome> {
        self.0.borrow_mut().batches += 1;
        self.0.borrow_mut().kernel.execute(batch)
    }

    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections {
        self.0.borrow_mut().kernel.connections(servers)
    }
}

impl Host for Counting {
    fn time(&mut self) -> Duration {
        self.0.borrow().clock
    }

    fn addresses(&mut self) -> Result<Vec<HostAddress>, ReadError> {
        let mut counts = self.0.borrow_mut();
        counts.addresses += 1;
        match counts.unreadable {
            true => Err(ReadError { what: "addresses".to_owned(), message: "interrupted".to_owned() }),
            false => Ok(Vec::new()),
        }
    }

    fn is_untouched(&mut self) -> bool {
        self.0.borrow().kernel.state().virtual_servers.is_empty()
    }

    /// Every real server has one more connection each time.
    fn sample(&mut self, server: VirtualServer) -> Readings {
        let mut counts = self.0.borrow_mut();
        let took = counts.sampling;
        counts.clock += took;
        counts.samples += 1;
        let totals = Totals { connections: counts.samples.into(), ..Totals::default() };
        let servers = &counts.kernel.state().virtual_servers[&server].real_servers;
        Some(servers.keys().map(|real| (real.0, Reading { totals, ..Reading::default() })).collect())
    }

    fn clear_device(&mut self) {}

    fn missing_extensions(&mut self, _: &[Family]) -> PerFamily<BTreeSet<Extension>> {
        PerFamily::default()
    }
}

/// Service number 0 is the API server's.
fn service(n: u32) -> Event {
    let name = if n == 0 { "kubernetes".to_owned() } else { format!("web-{n}") };
    build::service(&name).cluster_ip(format!("10.96.{}.{}", n / 250, n % 250 + 1)).port(443).event()
}

/// An endpoint of a service.
fn slice(n: u32) -> Event {
    let endpoint = build::endpoint(format!("10.244.{}.{}", n / 250, n % 250 + 1));
    build::slice(&format!("web-{n}")).port(8443).endpoints([endpoint]).event()
}

/// Wants all counters each second, and decides as if it had not read them.
struct Curious;

impl Policy for Curious {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        BuiltIn.decide(views, around)
    }

    fn wishes(&self, _: &weir_core::objects::Service) -> BTreeSet<Wish> {
        [Wish { period: 1, memory: 25 }].into()
    }
}

fn daemon(machine: &Counting) -> Daemon<Counting> {
    daemon_with(machine, Box::new(BuiltIn))
}

fn daemon_with(machine: &Counting, policy: Box<dyn Policy>) -> Daemon<Counting> {
    Daemon::new(setup(), machine.clone(), policy)
}

fn setup() -> Setup {
    Setup {
        node_name: "node1".to_owned(),
        bind_address: None,
        proxy: ProxyConfig::default(),
        capabilities: Capabilities::assumed(),
        from_api_server: false,
        epoch: 0,
        configured: true,
        readiness: Readiness::default(),
    }
}

/// A daemon in sync with this many services.
fn running(machine: &Counting, services: u32) -> Daemon<Counting> {
    let mut daemon = daemon(machine);
    let events = (0..services).map(service).collect();
    daemon.step(Input::Objects { events, listed: Listed::ALL }, Duration::ZERO);
    let kernel = std::mem::take(&mut machine.0.borrow_mut().kernel);
    *machine.0.borrow_mut() = Counts { kernel, ..Counts::default() };
    daemon
}

fn at(machine: &Counting, milliseconds: u64) -> Duration {
    let now = Duration::from_millis(milliseconds);
    machine.0.borrow_mut().clock = now;
    now
}

fn rounds(outputs: &[Output]) -> Vec<&Round> {
    let round = |output| match output {
        &Output::Round(Done { ref round, .. }) => Some(round),
        _ => None,
    };
    outputs.iter().filter_map(round).collect()
}

#[test]
fn a_cold_start_serves_the_api_server_first_whatever_else_there_is() {
    let mut first = Vec::new();
    for services in [2, 500] {
        let machine = Counting::default();
        let events = (0..services).rev().map(service).collect();
        let outputs = daemon(&machine).step(Input::Objects { events, listed: Listed::ALL }, Duration::ZERO);
        let rounds = rounds(&outputs);
        assert_eq!(rounds.len(), 2);
        let bound: Vec<&Change> = rounds[0]
            .changes
            .iter()
            .map(|(change, _)| change)
            .filter(|change| matches!(change, Change::AddAddress(_)))
            .collect();
        assert_eq!(bound, [&Change::AddAddress([10, 96, 0, 1].into())]);
        first.push(rounds[0].changes.len());
        let told = outputs.iter().position(|output| matches!(output, Output::UpToDate(_)));
        let last = outputs.iter().rposition(|output| matches!(output, Output::Round(_)));
        assert!(told > last, "a family is reported up to date only after the last round");
    }
    assert_eq!(first[0], first[1], "its cost does not grow with the cluster");
}

#[test]
fn a_kernel_that_holds_something_is_planned_for_as_a_whole() {
    let machine = Counting::default();
    running(&machine, 3);
    let events = (0..3).map(service).collect();
    let outputs = daemon(&machine).step(Input::Objects { events, listed: Listed::ALL }, Duration::ZERO);
    assert_eq!(rounds(&outputs), [&Round { next: None, ..Round::default() }]);
}

#[test]
fn addresses_are_read_once_however_often_they_changed() {
    let machine = Counting::default();
    let mut daemon = running(&machine, 100);
    for n in 0..5_000 {
        let now = at(&machine, 1_000 + n / 100);
        daemon.step(Input::AddressesChanged, now);
    }
    daemon.step(Input::Time, at(&machine, 2_000));
    let counts = machine.0.borrow();
    // Changes are gathered for 20 ms after the last one and for 200 ms at most, so all of these are one round.
    assert_eq!((counts.addresses, counts.reads, counts.batches), (1, 0, 0));
}

#[test]
fn news_that_come_together_are_one_round_and_cost_what_they_change() {
    let machine = Counting::default();
    let mut daemon = running(&machine, 100);
    let mut ended = 0;
    for n in 0..1_000 {
        let events = vec![service(n % 100)];
        let outputs = daemon
            .step(Input::Objects { events, listed: Listed::ALL }, at(&machine, 1_000 + u64::from(n) / 10));
        ended += rounds(&outputs).len();
    }
    ended += rounds(&daemon.step(Input::Time, at(&machine, 2_000))).len();
    let counts = machine.0.borrow();
    assert_eq!((ended, counts.reads, counts.batches), (1, 0, 0), "nothing is new");
}

#[test]
fn time_alone_costs_nothing_but_an_audit() {
    let machine = Counting::default();
    let mut daemon = running(&machine, 100);
    for n in 0..2_900 {
        assert!(daemon.step(Input::Time, at(&machine, 10 * n)).is_empty());
    }
    assert_eq!(machine.0.borrow().reads, 0);
    let outputs = daemon.step(Input::Time, at(&machine, 30_000));
    assert_eq!(rounds(&outputs).len(), 1);
    let counts = machine.0.borrow();
    assert_eq!((counts.reads, counts.addresses, counts.batches), (1, 1, 0));
}

#[test]
fn addresses_that_cannot_be_read_are_read_again_soon_and_nothing_is_written_before() {
    let machine = Counting::default();
    machine.0.borrow_mut().unreadable = true;
    let mut daemon = daemon(&machine);
    let events = vec![service(1)];
    let outputs = daemon.step(Input::Objects { events, listed: Listed::ALL }, Duration::ZERO);
    assert!(rounds(&outputs).is_empty());
    assert_eq!(machine.0.borrow().batches, 0);
    machine.0.borrow_mut().unreadable = false;
    let next = daemon.next();
    assert!(next <= Duration::from_secs(1));
    machine.0.borrow_mut().clock = next;
    assert_eq!(rounds(&daemon.step(Input::Time, next)).len(), 1);
    machine.0.borrow_mut().unreadable = true;
    daemon.step(Input::AddressesChanged, at(&machine, 5_000));
    daemon.step(Input::Time, at(&machine, 5_100));
    assert!(daemon.next() <= Duration::from_millis(6_100), "also when they were known before");
}

#[test]
fn what_others_changed_is_drift_and_what_it_left_itself_is_not() {
    let machine = Counting::default();
    let mut daemon = running(&machine, 3);
    machine.0.borrow_mut().kernel.tamper(|state| {
        state.addresses.pop_first();
    });
    let outputs = daemon.step(Input::Time, at(&machine, 30_000));
    let drifts: Vec<bool> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Round(done) => Some(done.drift && !done.round.changes.is_empty()),
            _ => None,
        })
        .collect();
    assert_eq!(drifts, [true]);
    let event = service(9);
    daemon.step(Input::Objects { events: vec![event], listed: Listed::ALL }, at(&machine, 59_999));
    let outputs = daemon.step(Input::Time, at(&machine, 60_001));
    assert_eq!(rounds(&outputs).len(), 2, "its own change, and the audit");
    let drifts = outputs.iter().filter(|output| match output {
        Output::Round(done) => done.drift && !done.round.changes.is_empty(),
        _ => false,
    });
    assert_eq!(drifts.count(), 0);
}

/// Endless sampling, because each part takes longer than its time.
#[test]
fn sampling_delays_no_change_and_what_it_does_not_change_is_not_written() {
    let machine = Counting::default();
    let mut daemon = daemon_with(&machine, Box::new(Curious));
    let events = (1..=100).flat_map(|n| [service(n), slice(n)]).collect();
    daemon.step(Input::Objects { events, listed: Listed::ALL }, Duration::ZERO);
    let batches = machine.0.borrow().batches;
    let parts = |daemon: &mut Daemon<Counting>, sampling, now| {
        machine.0.borrow_mut().samples = 0;
        machine.0.borrow_mut().sampling = sampling;
        daemon.step(Input::Time, at(&machine, now));
        machine.0.borrow().samples
    };
    assert_eq!(parts(&mut daemon, Duration::ZERO, 5_000), 32, "one part");
    assert_eq!(parts(&mut daemon, Duration::ZERO, 5_049), 0, "a pause");
    assert_eq!(parts(&mut daemon, Duration::from_millis(2), 5_050), 3, "a part that takes its time");
    for n in 0..100 {
        let now = 6_000 + 100 * n;
        assert!(parts(&mut daemon, Duration::from_millis(2), now) <= 3);
        daemon.step(Input::Time, at(&machine, now + 30));
    }
    assert_eq!((machine.0.borrow().batches, machine.0.borrow().reads), (batches, 1));
    let events = vec![service(101), slice(101)];
    daemon.step(Input::Objects { events, listed: Listed::ALL }, at(&machine, 20_000));
    let next = daemon.next();
    assert!(next <= Duration::from_millis(20_030), "{next:?}");
    daemon.step(Input::Time, at(&machine, 20_030));
    assert!(machine.0.borrow().batches > batches);
}

/// Reads namespaces, which are not listed.
struct Reader;

impl Policy for Reader {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        BuiltIn.decide(views, around)
    }

    fn reads(&self) -> Reads {
        Reads { namespaces: true, ..Reads::default() }
    }
}

/// New plugins, which replace the current ones without a trial.
struct Next<P>(P);

impl<P: Policy + 'static> Successor for Next<P> {
    fn reads(&self) -> Reads {
        self.0.reads()
    }

    fn replace(self: Box<Self>, planner: &mut Planner, now: u64, _: bool) -> Replacement {
        planner.consider(self.0, now).accept();
        Replacement::Taken { changed: 0, services: 0 }
    }
}

/// The warnings in force after a step at this second, and those that are output for it.
fn warnings(
    (daemon, machine): (&mut Daemon<Counting>, &Counting),
    second: u64,
    input: Input,
) -> (Vec<Warning>, Vec<Warning>) {
    let (mut in_force, mut told) = (None, Vec::new());
    let outputs = daemon.step(input, at(machine, second * 1_000));
    for output in outputs.into_iter().chain(daemon.step(Input::Time, at(machine, second * 1_000 + 2_000))) {
        match output {
            Output::Overview(overview) => in_force = Some(overview.warnings),
            Output::Warning(warning) => told.push(warning),
            _ => {}
        }
    }
    (in_force.expect("a round"), told)
}

#[test]
fn a_node_that_is_unknown_or_gone_is_warned_about_once_and_until_it_is_back() {
    let machine = Counting::default();
    let setup = Setup { from_api_server: true, ..setup() };
    let mut daemon = Daemon::new(setup, machine.clone(), Box::new(BuiltIn));
    let mut step = |second, events| {
        warnings((&mut daemon, &machine), second, Input::Objects { events, listed: Listed::ALL })
    };
    let node = || Event::Node(build::node("node1", &["192.0.2.1"]).into());
    let unknown = Warning::NoNode("node1".to_owned());
    assert_eq!(step(0, vec![service(1)]), (vec![], vec![]), "it may still arrive");
    let late = NODE_WAIT.as_secs();
    assert_eq!(step(late, vec![service(2)]), (vec![unknown.clone()], vec![unknown.clone()]));
    assert_eq!(step(late + 10, vec![service(3)]), (vec![unknown], vec![]), "told once");
    assert_eq!(step(late + 20, vec![node()]), (vec![], vec![]));
    let gone = (vec![Warning::NodeGone], vec![Warning::NodeGone]);
    assert_eq!(step(late + 30, vec![node(), Event::NodeGone]), gone);
    assert_eq!(step(late + 40, vec![node()]), (vec![], vec![]));
}

#[test]
fn lists_that_plugins_need_are_warned_about_while_they_are_missing() {
    let machine = Counting::default();
    // No audit makes a round due.
    let proxy = ProxyConfig { sync_period: Duration::from_secs(3_600), ..ProxyConfig::default() };
    let mut daemon = Daemon::new(Setup { proxy, ..setup() }, machine.clone(), Box::new(Reader));
    let step = |daemon: &mut Daemon<Counting>, second, input| warnings((daemon, &machine), second, input);
    let objects = |namespaces| Input::Objects {
        events: vec![Event::Node(build::node("node1", &["192.0.2.1"]).into())],
        listed: Listed { namespaces, ..Listed::ALL },
    };
    let missing = |awaited| vec![Warning::Unlisted { resources: "namespaces", awaited }];
    let late = NODE_WAIT.as_secs();
    let outage = 100;
    assert_eq!(step(&mut daemon, outage, objects(false)), (vec![], vec![]), "they may still arrive");
    assert_eq!(step(&mut daemon, outage + late, Input::Time), (missing(false), missing(false)));
    assert_eq!(step(&mut daemon, outage + late + 10, objects(true)), (vec![], vec![]));
    assert_eq!(
        step(&mut daemon, outage + late + 20, objects(false)),
        (vec![], vec![]),
        "they are listed again"
    );
    let due = daemon.next().as_secs();
    assert!(
        (outage + late * 2..outage + late * 2 + 30).contains(&due),
        "the warning makes a round due: {due}"
    );
    assert_eq!(step(&mut daemon, outage + late * 3, objects(false)), (missing(false), missing(false)));
    assert_eq!(
        step(&mut daemon, outage + late * 3 + 10, Input::Policy(Box::new(Next(BuiltIn)))),
        (vec![], vec![]),
        "replaced all the same"
    );
    assert_eq!(
        step(&mut daemon, outage + late * 4, Input::Policy(Box::new(Next(Reader)))),
        (vec![], vec![]),
        "they may still arrive"
    );
    assert_eq!(step(&mut daemon, outage + late * 5 + 1, objects(false)), (missing(true), missing(true)));
    assert!(!daemon.planner().reads().namespaces, "the previous plugins decide");
}

#[test]
fn missing_networks_and_unreadable_addresses_are_warned_about_while_they_last() {
    let machine = Counting::default();
    let proxy = ProxyConfig { detect_local: DetectLocal::NodeCidr, ..ProxyConfig::default() };
    let mut daemon = Daemon::new(Setup { proxy, ..setup() }, machine.clone(), Box::new(BuiltIn));
    let mut step = |second, networks: &[&str]| {
        let pod_cidrs = networks.iter().map(|network| network.parse().unwrap()).collect();
        let node = Node { pod_cidrs, ..build::node("node1", &["192.0.2.1"]) };
        let events = vec![Event::Node(node.into())];
        warnings((&mut daemon, &machine), second, Input::Objects { events, listed: Listed::ALL }).0
    };
    assert_eq!(step(0, &[]), [Warning::NoNetworks]);
    assert_eq!(step(10, &["10.244.1.0/24"]), []);
    machine.0.borrow_mut().unreadable = true;
    let unreadable = step(40, &["10.244.1.0/24"]);
    assert!(matches!(unreadable[..], [Warning::Addresses { known: true, .. }]), "{unreadable:?}");
    machine.0.borrow_mut().unreadable = false;
    assert_eq!(step(80, &["10.244.1.0/24"]), []);
}
