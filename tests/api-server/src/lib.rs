//! weir-api-server: enough of the Kubernetes API server for tests, and all of its bad days.
//!
//! ```text
//! put, delete ─▶ Store (objects, versions, what happened) ─▶ lists, pages, watches over HTTP/1.1 on loopback
//! script ─▶ what happens to the next request of a kind        asked ◀─ every request, in order
//! ```
//!
//! Threads and blocking sockets, so that a test decides when a byte is sent. Nothing depends on how long anything takes,
//! but for the times after which a test gives up.
//!
//! Never: validation, defaults, authorization, encodings but JSON; a connection from or to another machine.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

mod answer;
mod asked;
mod fault;
mod http;
mod selector;
mod store;

pub use asked::{Asked, Kind};
pub use fault::{Fault, WatchEnd};
pub use store::Collection;

use store::Store;

/// After so long a test that waits has failed. It is no measure of anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Whether lists are streamed by those who ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamedLists {
    /// They are, as by servers since 1.34.
    Offered,
    /// Asking for it is invalid, as while the gate WatchList is off.
    Refused,
    /// The parameter is not known, as by servers before 1.27: the list comes, and its end is not told.
    Unknown,
}

/// Whether anybody is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// Connections are closed as soon as they are made.
    Off,
    /// For good.
    Ended,
}

#[derive(Debug)]
struct State {
    store: Store,
    faults: Vec<(Kind, Collection, Fault)>,
    asked: Vec<Asked>,
    token: Option<String>,
    streamed_lists: StreamedLists,
    power: Power,
    /// How often what is held was let go.
    released: u64,
    /// How many requests are held.
    held: usize,
    /// The watches that are open.
    watches: Vec<Collection>,
    connections: Vec<TcpStream>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and wakes all that wait for a change.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until the state gives an answer; `None` when time is over or the server ends.
    fn wait<T>(&self, until: Instant, mut answer: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(answer) = answer(&mut state) {
                return Some(answer);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.power == Power::Ended {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A server on a port of its own, until it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl ApiServer {
    /// Starts one without objects.
    pub fn start() -> ApiServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("a bound port has an address");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                store: Store::default(),
                faults: Vec::new(),
                asked: Vec::new(),
                token: None,
                streamed_lists: StreamedLists::Offered,
                power: Power::On,
                released: 0,
                held: 0,
                watches: Vec::new(),
                connections: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        ApiServer { address, shared }
    }

    /// Where it is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds or replaces an object, which gets a new version, and returns that.
    ///
    /// # Panics
    /// When it is of no kind that is known, or has no name.
    pub fn put(&self, object: Value) -> u64 {
        self.shared.change(|state| state.store.put(object))
    }

    /// Deletes an object.
    pub fn delete(&self, collection: Collection, namespace: &str, name: &str) {
        self.shared.change(|state| state.store.delete(collection, namespace, name));
    }

    /// The objects of a collection, sorted by name.
    pub fn objects(&self, collection: Collection) -> Vec<Value> {
        self.shared.lock().store.objects(collection).cloned().collect()
    }

    /// Waits until the objects of a collection are as they should be, and returns them.
    ///
    /// # Panics
    /// When they never are.
    pub fn wait_for_objects(
        &self,
        collection: Collection,
        are_right: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let found = self.shared.wait(Instant::now() + PATIENCE, |state| {
            let objects: Vec<Value> = state.store.objects(collection).cloned().collect();
            are_right(&objects).then_some(objects)
        });
        found.unwrap_or_else(|| panic!("{:#?}", self.objects(collection)))
    }

    /// Puts back what the store was when it had this content, as after a restored backup: with lower versions.
    pub fn restore(&self, objects: Vec<Value>) {
        self.shared.change(|state| {
            state.store = Store::default();
            for object in objects {
                state.store.put(object);
            }
        });
        self.hang_up();
    }

    /// Forgets what happened before now: watches from earlier versions, and pages of earlier lists, are expired.
    pub fn compact(&self) {
        self.shared.change(|state| state.store.compact());
    }

    /// The next request of this kind fares like this. Each counts once; several are taken in order.
    pub fn script(&self, kind: Kind, collection: Collection, fault: Fault) {
        self.shared.change(|state| state.faults.push((kind, collection, fault)));
    }

    /// Answers what [`Fault::Held`] holds, as soon as there is something.
    pub fn release(&self) {
        self.wait_for_held();
        self.shared.change(|state| state.released += 1);
    }

    /// Waits until [`Fault::Held`] holds something.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for_held(&self) {
        let held = self.shared.wait(Instant::now() + PATIENCE, |state| (state.held > 0).then_some(()));
        held.unwrap_or_else(|| panic!("nothing is held: {:#?}", self.asked()));
    }

    /// Sends a line to the open watches of a collection, whatever it is. Waits for one to be open.
    pub fn send_line(&self, collection: Collection, line: Value) {
        self.with_watch(collection, |state| state.store.send_line(collection, line.clone()));
    }

    /// Sends a bookmark to the open watches of a collection: nothing happened up to the newest version. Waits for one
    /// to be open.
    pub fn send_bookmark(&self, collection: Collection) {
        self.with_watch(collection, |state| state.store.send_bookmark(collection));
    }

    /// Ends the open watches of a collection. Waits for one to be open.
    pub fn end_watches(&self, collection: Collection, end: WatchEnd) {
        self.with_watch(collection, |state| state.store.end_watches(collection, end));
    }

    /// Waits until a watch of a collection is open: what is scripted afterwards is not for that one.
    pub fn wait_for_open_watch(&self, collection: Collection) {
        self.with_watch(collection, |_| {});
    }

    fn with_watch(&self, collection: Collection, change: impl Fn(&mut State)) {
        let done = self.shared.wait(Instant::now() + PATIENCE, |state| {
            state.watches.contains(&collection).then(|| change(state))
        });
        done.unwrap_or_else(|| panic!("no watch of {collection:?}: {:#?}", self.asked()));
        self.shared.changed.notify_all();
    }

    /// From now on requests need this bearer token.
    pub fn require_token(&self, token: &str) {
        self.shared.change(|state| state.token = Some(token.to_owned()));
    }

    /// From now on lists are streamed, or not.
    pub fn set_streamed_lists(&self, streamed_lists: StreamedLists) {
        self.shared.change(|state| state.streamed_lists = streamed_lists);
    }

    /// Goes away: connections are closed, and new ones as soon as they are made.
    pub fn stop(&self) {
        self.shared.change(|state| state.power = Power::Off);
        self.hang_up();
    }

    /// Comes back, with its objects.
    pub fn resume(&self) {
        self.shared.change(|state| state.power = Power::On);
    }

    fn hang_up(&self) {
        for connection in self.shared.lock().connections.drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Every request so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }

    /// Waits until there were so many requests of a kind, and returns them.
    ///
    /// # Panics
    /// When they do not come.
    pub fn wait_for(&self, kind: Kind, collection: Collection, count: usize) -> Vec<Asked> {
        let matching = |state: &State| {
            let of_kind = |asked: &&Asked| asked.is(kind, collection);
            state.asked.iter().filter(of_kind).cloned().collect::<Vec<_>>()
        };
        let until = Instant::now() + PATIENCE;
        let found = self.shared.wait(until, |state| Some(matching(state)).filter(|all| all.len() >= count));
        found.unwrap_or_else(|| panic!("no {count} requests {kind:?} {collection:?}: {:#?}", self.asked()))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.shared.change(|state| state.power = Power::Ended);
        self.hang_up();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else { continue };
        let power = {
            let mut state = shared.lock();
            if state.power == Power::On
                && let Ok(clone) = connection.try_clone()
            {
                state.connections.push(clone);
            }
            state.power
        };
        match power {
            Power::On => {
                let shared = Arc::clone(shared);
                std::thread::spawn(move || answer::serve(connection, &shared));
            }
            Power::Off => {}
            Power::Ended => return,
        }
    }
}
