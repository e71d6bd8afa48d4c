//! weir-api-server: enough of the Kubernetes API server for tests, with all its failures.
//!
//! ```text
//! put, delete ─▶ Store (objects, versions, changes) ─▶ lists, pages, watches over HTTP/1.1 on loopback
//! script ─▶ a fault for the next request of a kind        asked ◀─ every request, in order
//! ```
//!
//! Uses threads and blocking sockets, so a test controls when each byte is sent. Nothing depends on timing, except
//! the time limits of tests.
//!
//! It has no validation, defaults or authorization, only supports JSON, and only uses loopback.

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

/// Time limit of waiting tests. It measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How the server handles requests for streamed lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamedLists {
    /// Streams them, like servers since 1.34.
    Offered,
    /// Rejects the request as invalid, as while the gate WatchList is off.
    Refused,
    /// Ignores the parameter, like servers before 1.27: the list is sent, without an end marker.
    Unknown,
}

/// Whether the server accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// Connections are closed immediately.
    Off,
    /// Stopped for good.
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
    /// How often held responses were released.
    released: u64,
    /// Number of requests being held.
    held: usize,
    /// The open watches.
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

    /// Changes the state, and wakes everything that waits for a change.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until the state gives an answer; `None` on timeout or when the server stops.
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

/// A server on its own port, running until dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl ApiServer {
    /// Starts a server without objects.
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

    /// Its URL: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds or replaces an object, which gets a new version, and returns the version.
    ///
    /// # Panics
    /// When its kind is unknown, or it has no name.
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

    /// Waits until a collection has the expected objects, and returns them.
    ///
    /// # Panics
    /// When that does not happen.
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

    /// Resets the store to this content, as after restoring a backup: with lower versions.
    pub fn restore(&self, objects: Vec<Value>) {
        self.shared.change(|state| {
            state.store = Store::default();
            for object in objects {
                state.store.put(object);
            }
        });
        self.hang_up();
    }

    /// Forgets earlier changes: watches from earlier versions, and pages of earlier lists, expire.
    pub fn compact(&self) {
        self.shared.change(|state| state.store.compact());
    }

    /// Applies a fault to the next request of this kind. Each fault applies once; several apply in order.
    pub fn script(&self, kind: Kind, collection: Collection, fault: Fault) {
        self.shared.change(|state| state.faults.push((kind, collection, fault)));
    }

    /// Releases what [`Fault::Held`] holds, waiting for it if necessary.
    pub fn release(&self) {
        self.wait_for_held();
        self.shared.change(|state| state.released += 1);
    }

    /// Waits until [`Fault::Held`] holds something.
    ///
    /// # Panics
    /// When nothing is held in time.
    pub fn wait_for_held(&self) {
        let held = self.shared.wait(Instant::now() + PATIENCE, |state| (state.held > 0).then_some(()));
        held.unwrap_or_else(|| panic!("no request is held: {:#?}", self.asked()));
    }

    /// Sends any line to the open watches of a collection. Waits until one is open.
    pub fn send_line(&self, collection: Collection, line: Value) {
        self.with_watch(collection, |state| state.store.send_line(collection, line.clone()));
    }

    /// Sends a bookmark to the open watches of a collection: there are no more changes up to the newest version.
    /// Waits until one is open.
    pub fn send_bookmark(&self, collection: Collection) {
        self.with_watch(collection, |state| state.store.send_bookmark(collection));
    }

    /// Ends the open watches of a collection. Waits until one is open.
    pub fn end_watches(&self, collection: Collection, end: WatchEnd) {
        self.with_watch(collection, |state| state.store.end_watches(collection, end));
    }

    /// Waits until a watch of a collection is open; faults scripted afterwards do not apply to it.
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

    /// Requires this bearer token from now on.
    pub fn require_token(&self, token: &str) {
        self.shared.change(|state| state.token = Some(token.to_owned()));
    }

    /// Sets how streamed lists are handled from now on.
    pub fn set_streamed_lists(&self, streamed_lists: StreamedLists) {
        self.shared.change(|state| state.streamed_lists = streamed_lists);
    }

    /// Stops serving: closes connections, and new ones immediately.
    pub fn stop(&self) {
        self.shared.change(|state| state.power = Power::Off);
        self.hang_up();
    }

    /// Resumes serving, with its objects.
    pub fn resume(&self) {
        self.shared.change(|state| state.power = Power::On);
    }

    fn hang_up(&self) {
        for connection in self.shared.lock().connections.drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// All requests so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }

    /// Waits for this many requests of a kind, and returns them.
    ///
    /// # Panics
    /// When they do not arrive.
    pub fn wait_for(&self, kind: Kind, collection: Collection, count: usize) -> Vec<Asked> {
        let matching = |state: &State| {
            let of_kind = |asked: &&Asked| asked.is(kind, collection);
            state.asked.iter().filter(of_kind).cloned().collect::<Vec<_>>()
        };
        let until = Instant::now() + PATIENCE;
        let found = self.shared.wait(until, |state| Some(matching(state)).filter(|all| all.len() >= count));
        found.unwrap_or_else(|| {
            panic!("fewer than {count} requests {kind:?} {collection:?}: {:#?}", self.asked())
        })
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.shared.change(|state| state.power = Power::Ended);
        self.hang_up();
        // Wakes the accepting thread.
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
