//! Whatever happens, in whatever order: the messages lead to the server's state, and nothing that stays is ever
//! reported as gone.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use weir_api_server::{ApiServer, Collection, Fault, Kind, StreamedLists, WatchEnd};
use weir_core::cluster::{Cluster, Event};
use weir_k8s::objects::Decoded;

use crate::follower::Follower;
use crate::objects::service;

const SERVICES: Collection = Collection::Services;
/// Services that are sometimes deleted; others are only changed.
const COMES_AND_GOES: [&str; 3] = ["a", "b", "c"];
const STAYS: [&str; 3] = ["x", "y", "z"];

#[derive(Clone, Debug)]
enum Step {
    Put(&'static str, u16),
    Break(&'static str),
    Delete(&'static str),
    Compact,
    Bookmark,
    Late(&'static str, u16),
    End(WatchEnd),
    Fault(Kind, Fault),
}

fn step() -> impl Strategy<Value = Step> {
    let any_name = prop::sample::select([COMES_AND_GOES, STAYS].concat());
    let end =
        prop::sample::select(vec![WatchEnd::Clean, WatchEnd::MidLine, WatchEnd::Expired, WatchEnd::Failed]);
    let kind = prop::sample::select(vec![Kind::Watch, Kind::StreamedList, Kind::List]);
    let refused = |code| Fault::Status { code, retry_after: None };
    let fault = prop::sample::select(vec![
        refused(500),
        refused(410),
        refused(401),
        Fault::Nonsense,
        Fault::HangUp,
        Fault::Cut { after_lines: 1 },
        Fault::Cut { after_lines: 4 },
    ]);
    prop_oneof![
        6 => (any_name.clone(), 1..4_u16).prop_map(|(name, port)| Step::Put(name, port)),
        1 => prop::sample::select(COMES_AND_GOES.to_vec()).prop_map(Step::Break),
        3 => prop::sample::select(COMES_AND_GOES.to_vec()).prop_map(Step::Delete),
        1 => Just(Step::Compact),
        1 => Just(Step::Bookmark),
        1 => (any_name, 1..4_u16).prop_map(|(name, port)| Step::Late(name, port)),
        2 => end.prop_map(Step::End),
        2 => (kind, fault).prop_map(|(kind, fault)| Step::Fault(kind, fault)),
    ]
}

fn take(server: &ApiServer, present: &mut BTreeSet<&'static str>, step: Step) {
    match step {
        Step::Put(name, port) => {
            present.insert(name);
            server.put(service(name, port));
        }
        Step::Break(name) => {
            present.insert(name);
            let mut broken = service(name, 1);
            broken["spec"]["ports"] = json!("none");
            server.put(broken);
        }
        Step::Delete(name) => {
            if present.remove(name) {
                server.delete(SERVICES, "shop", name);
            }
        }
        Step::Compact => server.compact(),
        Step::Bookmark => server.send_bookmark(SERVICES),
        Step::Late(name, port) => {
            let mut object = service(name, port);
            object["metadata"]["resourceVersion"] = json!("1");
            server.send_line(SERVICES, json!({"type": "MODIFIED", "object": object}));
        }
        Step::End(end) => server.end_watches(SERVICES, end),
        Step::Fault(kind, fault) => server.script(kind, SERVICES, fault),
    }
}

/// The server's objects, all of them valid.
fn content(server: &ApiServer) -> Cluster {
    let mut cluster = Cluster::default();
    for object in server.objects(SERVICES) {
        let (Decoded::Here(service), _) = weir_k8s::objects::service(&object) else { panic!("{object}") };
        cluster.apply(Event::Service(Box::new(service)));
    }
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_reported_ends_at_what_the_server_has(
        steps in vec(step(), 1..30),
        streamed_lists in prop::sample::select(vec![StreamedLists::Offered, StreamedLists::Refused]),
    ) {
        let server = ApiServer::start();
        server.set_streamed_lists(streamed_lists);
        let mut present = BTreeSet::new();
        for name in STAYS {
            take(&server, &mut present, Step::Put(name, 1));
        }
        let mut follower = Follower::current(&server);
        for step in steps {
            take(&server, &mut present, step);
        }
        for name in present.clone() {
            take(&server, &mut present, Step::Put(name, 5));
        }
        let wanted = content(&server);
        follower.until(|follower| follower.cluster == wanted);
        for name in STAYS {
            prop_assert!(!follower.told.contains(&format!("service shop/{name} gone")), "{:#?}", follower.told);
        }
    }
}
