//! A receiver that records its messages.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use weir_api_server::{ApiServer, Collection, PATIENCE};
use weir_core::cluster::{Cluster, Event};
use weir_k8s::objects::{self, Decoded};
use weir_watch::{
    Access, Backoff, Handle, Message, Recorder, Resource, Settings, Standing, Standings, Timing, spawn,
};

/// The name of the following node.
pub(crate) const NODE: &str = "node-1";

/// Follows a server.
pub(crate) struct Follower {
    pub(crate) handle: Handle,
    pub(crate) recorder: Recorder,
    receiver: Receiver<Message>,
    /// The state according to its messages, as the daemon would keep it.
    pub(crate) cluster: Cluster,
    pub(crate) standings: Standings,
    /// Its messages, one line for each event, problem and change of standing.
    pub(crate) told: Vec<String>,
}

/// Settings without waiting, except for the server.
pub(crate) fn settings(server: &ApiServer) -> Settings {
    let access = Access { kubeconfig: None, master: Some(server.url()) };
    let mut settings = Settings::new(access, NODE);
    settings.resources = [Resource::Services].into();
    settings.requests.per_second = 0.0;
    settings.timing = Timing {
        backoff: Backoff { first: Duration::from_millis(1), most: Duration::from_millis(5) },
        answer: PATIENCE,
        silence: PATIENCE,
        brief: Duration::ZERO,
        ..Timing::default()
    };
    settings
}

impl Follower {
    /// Follows the server's Services.
    pub(crate) fn of(server: &ApiServer) -> Follower {
        Follower::with(settings(server))
    }

    /// Follows with these settings. There is always enough room for messages that a test has not taken: a follower
    /// that waits for room watches nothing.
    pub(crate) fn with(settings: Settings) -> Follower {
        Follower::with_room(settings, 1024)
    }

    /// Follows with these settings, with room for this many untaken messages.
    pub(crate) fn with_room(settings: Settings, messages: usize) -> Follower {
        let (sender, receiver) = sync_channel(messages);
        let (handle, recorder) = spawn(settings, sender, || {}).unwrap();
        let (cluster, standings) = (Cluster::default(), Standings::default());
        Follower { handle, recorder, receiver, cluster, standings, told: Vec::new() }
    }

    /// Follows the server's Services and has received them.
    pub(crate) fn current(server: &ApiServer) -> Follower {
        let mut follower = Follower::of(server);
        follower.until_standing(Resource::Services, Standing::Current);
        follower.told.clear();
        follower
    }

    /// Waits for a message and records it.
    pub(crate) fn take(&mut self) -> Message {
        let Ok(message) = self.receiver.recv_timeout(PATIENCE) else {
            panic!("no further message after {:#?}", self.told)
        };
        self.told.extend(message.events.iter().map(words));
        self.told.extend(message.problems.iter().map(|problem| format!("problem: {problem}")));
        if self.standings.of(message.resource) != message.standing {
            self.told.push(format!("{}: {:?}", message.resource, message.standing));
        }
        self.standings.note(&message);
        for event in message.events.clone() {
            self.cluster.apply(event);
        }
        message
    }

    pub(crate) fn until(&mut self, done: impl Fn(&Follower) -> bool) {
        while !done(self) {
            self.take();
        }
    }

    pub(crate) fn until_standing(&mut self, resource: Resource, standing: Standing) {
        self.until(|follower| follower.standings.of(resource) == standing);
    }

    /// Waits for the given lines, checks them, and forgets them.
    #[track_caller]
    pub(crate) fn expect(&mut self, lines: &[&str]) {
        self.until(|follower| follower.told.len() >= lines.len());
        assert_eq!(self.told, lines);
        self.told.clear();
    }

    /// The messages so far lead to the server's state, and there are no others: the next one is about a new object.
    #[track_caller]
    pub(crate) fn expect_convergence(&mut self, server: &ApiServer) {
        server.put(crate::objects::service("zz-last", 9999));
        self.expect(&["service shop/zz-last"]);
        let mut expected = Cluster::default();
        for object in server.objects(Collection::Services) {
            let (Decoded::Here(service), _) = objects::service(&object) else { continue };
            expected.apply(Event::Service(Box::new(service)));
        }
        assert_eq!(self.cluster, expected);
        server.delete(Collection::Services, "shop", "zz-last");
        self.expect(&["service shop/zz-last gone"]);
    }

    /// Whether there is an untaken message.
    pub(crate) fn has_news(&self) -> bool {
        self.receiver.try_recv().is_ok()
    }
}

fn words(event: &Event) -> String {
    match event {
        Event::Service(service) => format!("service {}", service.name),
        Event::ServiceGone(name) => format!("service {name} gone"),
        Event::Slice(slice) => format!("slice {}", slice.name),
        Event::SliceGone(name) => format!("slice {name} gone"),
        Event::Endpoints(name) => format!("endpoints {name}"),
        Event::EndpointsGone(name) => format!("endpoints {name} gone"),
        Event::Node(node) => format!("this node {}", node.name),
        Event::NodeGone => "this node gone".to_owned(),
        Event::AnyNode(node) => format!("node {}", node.name),
        Event::AnyNodeGone(name) => format!("node {name} gone"),
        Event::Namespace(namespace) => format!("namespace {}", namespace.name),
        Event::NamespaceGone(name) => format!("namespace {name} gone"),
    }
}
