use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::diff::Changes;
use crate::diff::{Direction, RulesChange, TableChange};
use crate::kernel::FailureKind::{Busy, Prerequisite, Refused, Stale};
use crate::kernel::{apply, snapshot};
use crate::rule::{Chain, Target};
use crate::set::{Set, SetKind, SetName, SetType};
use crate::state::{Device, Scheduling, Weight};

const CLUSTER_IP: SetName = SetName { family: Family::V4, set: Set::ClusterIp };
const VIP: &str = "10.96.0.10";

fn server() -> VirtualServer {
    VirtualServer::new(crate::net::Protocol::Tcp, VIP.parse().unwrap(), 53)
}

fn real(text: &str) -> RealServer {
    RealServer(text.parse().unwrap())
}

fn scheduling(name: &str) -> Scheduling {
    Scheduling { scheduler: name.to_owned(), flags: Default::default(), persistence: None }
}

fn kinds(kernel: &mut Simulated, changes: Vec<Change>) -> Vec<Option<FailureKind>> {
    kernel.execute(&changes).into_iter().map(|outcome| outcome.err().map(|f| f.kind)).collect()
}

fn write(edit: impl FnOnce(&mut TableChange)) -> Change {
    let mut table = TableChange::default();
    edit(&mut table);
    Change::WriteRules(RulesChange {
        family: Family::V4,
        direction: Direction::Adds,
        tables: BTreeMap::from([(Table::Nat, table)]),
    })
}

#[test]
fn sets_are_refused_as_the_kernel_refuses_them() {
    let mut kernel = Simulated::default();
    let small =
        |max_elements| SetKind::Hash { set_type: SetType::HashIpPort, family: Family::V4, max_elements };
    let add = |text: &str| Change::AddEntry(CLUSTER_IP, text.parse().unwrap());
    let outcomes = kinds(
        &mut kernel,
        vec![
            add("10.96.0.10,tcp:53"),
            Change::CreateSet(CLUSTER_IP, small(2)),
            Change::CreateSet(CLUSTER_IP, small(2)),
        ],
    );
    assert_eq!(outcomes, [Some(Stale), None, Some(Stale)]);
    let outcomes = kinds(
        &mut kernel,
        vec![
            add("10.96.0.10,tcp:53"),
            add("10.96.0.10,tcp:53"),
            add("10.96.0.10"),
            add("fd00::1,tcp:53"),
            add("10.96.0.11,tcp:53"),
            add("10.96.0.12,tcp:53"),
            Change::ReplaceSet(CLUSTER_IP, SetKind::Bitmap, Vec::new()),
            Change::ReplaceSet(CLUSTER_IP, small(4), vec!["10.96.0.12,tcp:53".parse().unwrap()]),
            Change::DeleteEntry(CLUSTER_IP, "10.96.0.10,tcp:53".parse().unwrap()),
        ],
    );
    let refused = Some(Refused);
    assert_eq!(outcomes, [None, Some(Stale), refused, refused, None, refused, refused, None, Some(Stale)]);
}

#[test]
fn a_set_that_rules_name_stays() {
    let mut kernel = Simulated::default();
    let asks = Rule::parse("-m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT");
    let named = write(|table| {
        table.write.insert(Chain::KubeServices, vec![asks]);
    });
    assert_eq!(kinds(&mut kernel, vec![named.clone()]), [Some(Refused)]);
    assert_eq!(kernel.state(), &KernelState::default(), "all or nothing");
    let outcomes = kinds(
        &mut kernel,
        vec![Change::CreateSet(CLUSTER_IP, CLUSTER_IP.kind()), named, Change::DestroySet(CLUSTER_IP)],
    );
    assert_eq!(outcomes, [None, None, Some(Refused)]);
}

#[test]
fn rules_are_refused_as_iptables_restore_refuses_them() {
    let mut kernel = Simulated::default();
    let jump = Rule::always(Target::Jump(Chain::KubeServices));
    let insert = write(|table| table.insert.push((Chain::Output, jump.clone())));
    let remove = write(|table| table.remove.push((Chain::Output, jump.clone())));
    let delete = write(|table| table.delete.push(Chain::KubeServices));
    let declare = write(|table| {
        table.write.insert(Chain::KubeServices, Vec::new());
    });
    let outcomes = kinds(&mut kernel, vec![insert.clone(), remove.clone(), declare, insert, delete.clone()]);
    assert_eq!(outcomes, [Some(Refused), Some(Stale), None, None, Some(Refused)]);
    assert_eq!(kinds(&mut kernel, vec![remove, delete]), [None, None]);
    assert_eq!(kernel.state(), &KernelState::default());
}

#[test]
fn servers_and_addresses_are_refused_as_the_kernel_refuses_them() {
    let foreign = VirtualServer::new(crate::net::Protocol::Tcp, "192.0.2.100".parse().unwrap(), 81);
    let others = Foreign { virtual_servers: BTreeSet::from([foreign]), ..Foreign::default() };
    let mut kernel = Simulated::default().with_foreign(others).with_schedulers(["rr".to_owned()]);
    let (a, other_family) = (real("10.244.0.1:53"), real("[fd00::1]:53"));
    let address = Change::AddAddress(VIP.parse().unwrap());
    let outcomes = kinds(
        &mut kernel,
        vec![
            Change::CreateVirtualServer(foreign, scheduling("rr")),
            Change::AddRealServer(server(), a, Weight::DEFAULT),
            Change::CreateVirtualServer(server(), scheduling("rr")),
            Change::UpdateVirtualServer(server(), scheduling("lc")),
            Change::AddRealServer(server(), other_family, Weight::DEFAULT),
            Change::AddRealServer(server(), a, Weight::DEFAULT),
            Change::AddRealServer(server(), a, Weight::DEFAULT),
            address.clone(),
            Change::CreateDevice(Device::KubeIpvs0),
            address.clone(),
            address,
            Change::DeleteVirtualServer(server()),
            Change::SetWeight(server(), a, Weight::QUIESCED),
        ],
    );
    let (stale, refused) = (Some(Stale), Some(Refused));
    let expected = [stale, stale, None, refused, refused, None, stale, stale, None, None, stale, None, stale];
    assert_eq!(outcomes, expected);
    assert_eq!(kernel.state().real_servers().count(), 0);
}

#[test]
fn changes_that_need_a_failed_one_are_not_tried() {
    let mut kernel = Simulated::default().with_schedulers([]);
    let changes = Changes(vec![
        Change::CreateDevice(Device::KubeIpvs0),
        Change::CreateVirtualServer(server(), scheduling("rr")),
        Change::AddRealServer(server(), real("10.244.0.1:53"), Weight::DEFAULT),
        Change::AddAddress(VIP.parse().unwrap()),
    ]);
    let outcomes = apply(&mut kernel, &changes, &KernelState::default());
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.err().map(|f| f.kind)).collect();
    assert_eq!(outcomes, [None, Some(Refused), Some(Prerequisite), Some(Prerequisite)]);
}

#[test]
fn a_real_server_that_returns_has_its_connections_again() {
    let mut kernel = Simulated::default();
    let a = real("10.244.0.1:53");
    let add = Change::AddRealServer(server(), a, Weight::DEFAULT);
    kernel.execute(&[Change::CreateVirtualServer(server(), scheduling("rr")), add.clone()]);
    kernel.set_connections(server(), a, 3);
    kernel.execute(&[Change::DeleteRealServer(server(), a)]);
    assert!(kernel.connections(&[(server(), a)]).is_empty());
    kernel.execute(&[add]);
    assert_eq!(kernel.connections(&[(server(), a)]), Connections::from([((server(), a), 3)]));
}

#[test]
fn faults_strike_where_they_are_planned() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut kernel = Simulated::default();
    let sink = seen.clone();
    kernel.observe(move |change, _| sink.lock().unwrap().push(change.to_string()));
    kernel.plan_faults([(0, Fault::Fail(Busy)), (1, Fault::Lose(Stale)), (3, Fault::Crash)]);
    let create = Change::CreateVirtualServer(server(), scheduling("rr"));
    let delete = Change::DeleteVirtualServer(server());
    let outcomes = kinds(&mut kernel, vec![create.clone(), create, delete.clone(), delete.clone(), delete]);
    assert_eq!(outcomes, [Some(Busy), Some(Stale), None, Some(Refused), Some(Refused)]);
    assert_eq!(
        *seen.lock().unwrap(),
        ["create virtual server tcp 10.96.0.10:53 rr", "delete virtual server tcp 10.96.0.10:53"]
    );
    assert!(kernel.has_crashed() && snapshot(&mut kernel).is_err());
    kernel.restart();
    let held = kernel.state().clone();
    assert_eq!(snapshot(&mut kernel), Ok((held, Unread::default())));
}

#[test]
fn half_written_rules_are_the_first_table() {
    let mut kernel = Simulated::default();
    let table =
        |chain| TableChange { write: BTreeMap::from([(chain, Vec::new())]), ..TableChange::default() };
    let tables = BTreeMap::from([
        (Table::Filter, table(Chain::KubeForward)),
        (Table::Nat, table(Chain::KubeServices)),
    ]);
    kernel.plan_faults([(0, Fault::WriteHalf)]);
    let change = Change::WriteRules(RulesChange { family: Family::V4, direction: Direction::Adds, tables });
    assert_eq!(kinds(&mut kernel, vec![change]), [Some(Refused)]);
    let chains: Vec<_> = kernel.state().rules.keys().map(|(.., chain)| *chain).collect();
    assert_eq!(chains, [Chain::KubeForward]);
}
