//! A connection: reads requests, and answers them or not.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::asked::{Asked, Kind};
use crate::fault::{Fault, WatchEnd, status};
use crate::store::{Collection, Entry, bookmark};
use crate::{PATIENCE, Power, Shared, State, StreamedLists, http, selector};

/// A time far in the future.
const EVER: Duration = Duration::from_secs(3600);

/// Whether a connection can be used for the next request.
type Next = io::Result<ControlFlow<()>>;

/// Answers requests until the connection closes.
pub(crate) fn serve(stream: TcpStream, shared: &Shared) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut connection = Connection { stream, shared };
    let mut reading = BufReader::new(reading);
    while let Ok(Some(asked)) = http::read(&mut reading) {
        if !matches!(connection.answer(&asked), Ok(ControlFlow::Continue(()))) {
            break;
        }
    }
    // Another handle is kept to hang up, so dropping this one alone would not be noticed by the other side.
    let _ = connection.stream.shutdown(std::net::Shutdown::Both);
}

struct Connection<'s> {
    stream: TcpStream,
    shared: &'s Shared,
}

impl Connection<'_> {
    fn answer(&mut self, asked: &Asked) -> Next {
        let (fault, released, allowed) = self.shared.change(|state| {
            state.asked.push(asked.clone());
            let is_meant = |(kind, collection, _): &(Kind, Collection, Fault)| asked.is(*kind, *collection);
            let fault = state.faults.iter().position(is_meant).map(|place| state.faults.remove(place).2);
            (fault, state.released, is_allowed(state, asked))
        });
        if !allowed {
            http::write(&mut self.stream, 401, &status(401), None)?;
            return Ok(ControlFlow::Continue(()));
        }
        match fault {
            None => self.answer_rightly(asked, None),
            Some(Fault::Cut { after_lines }) => self.answer_rightly(asked, Some(after_lines)),
            Some(Fault::Status { code, retry_after }) => {
                http::write(&mut self.stream, code, &status(code), retry_after)?;
                Ok(ControlFlow::Continue(()))
            }
            Some(Fault::Nonsense) => {
                http::write(&mut self.stream, 200, &json!("<html>"), None)?;
                Ok(ControlFlow::Continue(()))
            }
            Some(Fault::Silence) => {
                self.shared.wait(Instant::now() + EVER, |_| None::<()>);
                Ok(ControlFlow::Break(()))
            }
            Some(Fault::HangUp) => Ok(ControlFlow::Break(())),
            Some(Fault::Held) => {
                let until = Instant::now() + PATIENCE;
                self.shared.change(|state| state.held += 1);
                self.shared.wait(until, |state| (state.released > released).then_some(()));
                self.shared.change(|state| state.held -= 1);
                self.answer_rightly(asked, None)
            }
        }
    }

    fn answer_rightly(&mut self, asked: &Asked, cut: Option<usize>) -> Next {
        let Some((collection, name)) = Collection::at(&asked.path) else {
            http::write(&mut self.stream, 404, &status(404), None)?;
            return Ok(ControlFlow::Continue(()));
        };
        let (code, body) = match asked.kind {
            Kind::StreamedList | Kind::Watch => return self.watch(asked, collection, cut),
            Kind::List | Kind::Page => self.shared.change(|state| page(state, asked, collection)),
            Kind::Create => self.shared.change(|state| create(state, asked, collection)),
            Kind::Patch => {
                self.shared.change(|state| patch(state, asked, collection, name.unwrap_or_default()))
            }
        };
        if cut.is_some() {
            let body = body.to_string();
            let half = body.len() / 2;
            self.stream.write_all((http::head(code, body.len(), None) + &body[..half]).as_bytes())?;
            return Ok(ControlFlow::Break(()));
        }
        http::write(&mut self.stream, code, &body, None)?;
        Ok(ControlFlow::Continue(()))
    }

    fn watch(&mut self, asked: &Asked, collection: Collection, cut: Option<usize>) -> Next {
        let seconds = asked.parameter("timeoutSeconds").parse().map_or(EVER, Duration::from_secs);
        let until = Instant::now() + seconds;
        let begun = self.shared.change(|state| begin(state, asked, collection));
        let (mut lines, since, mut place) = match begun {
            Ok(begun) => begun,
            Err(code) => {
                http::write(&mut self.stream, code, &status(code), None)?;
                return Ok(ControlFlow::Continue(()));
            }
        };
        let open = OpenWatch::begin(self.shared, collection);
        http::write_stream_head(&mut self.stream)?;
        let mut room = cut.unwrap_or(usize::MAX);
        // Sends the changes the watch missed, but not lines or ends that were meant for earlier watches.
        let live_from = place;
        place = if asked.kind == Kind::Watch { 0 } else { place };
        loop {
            for line in lines.drain(..) {
                if room == 0 {
                    return Ok(ControlFlow::Break(()));
                }
                room -= 1;
                http::write_chunk(&mut self.stream, &format!("{line}\n"))?;
            }
            if room == 0 {
                return Ok(ControlFlow::Break(()));
            }
            let found = self.shared.wait(until, |state| {
                let end = state.store.log_end();
                // A restored store starts over.
                (state.power != Power::On || end != place).then(|| {
                    let missed = state.store.log_from(place, collection);
                    let live = state.store.log_from(place.max(live_from), collection).len();
                    (state.power, end, missed, live)
                })
            });
            let Some((Power::On, end, entries, live)) = found else {
                http::write_chunk(&mut self.stream, "")?;
                return Ok(ControlFlow::Continue(()));
            };
            place = end;
            let first_live = entries.len() - live;
            for (i, entry) in entries.into_iter().enumerate() {
                match entry {
                    Entry::Change { version, before, after } if version > since => {
                        lines.extend(change_line(asked, version, before, after));
                    }
                    Entry::Line(line) if i >= first_live => lines.push(line),
                    Entry::End(end) if i >= first_live => {
                        for line in lines.drain(..) {
                            http::write_chunk(&mut self.stream, &format!("{line}\n"))?;
                        }
                        // A client that sees the end and watches again finds this watch closed.
                        drop(open);
                        return self.end(end);
                    }
                    Entry::Change { .. } | Entry::Line(_) | Entry::End(_) => {}
                }
            }
        }
    }

    fn end(&mut self, end: WatchEnd) -> Next {
        let line = |code| format!("{}\n", json!({"type": "ERROR", "object": status(code)}));
        match end {
            WatchEnd::Clean => {}
            WatchEnd::MidLine => {
                http::write_chunk(&mut self.stream, r#"{"type":"MODIFIED","object":{"kind":"Ser"#)?;
                return Ok(ControlFlow::Break(()));
            }
            WatchEnd::Expired => http::write_chunk(&mut self.stream, &line(410))?,
            WatchEnd::Failed => http::write_chunk(&mut self.stream, &line(500))?,
        }
        http::write_chunk(&mut self.stream, "")?;
        Ok(ControlFlow::Continue(()))
    }
}

/// A watch that is counted as open.
struct OpenWatch<'s> {
    shared: &'s Shared,
    collection: Collection,
}

impl OpenWatch<'_> {
    fn begin(shared: &Shared, collection: Collection) -> OpenWatch<'_> {
        shared.change(|state| state.watches.push(collection));
        OpenWatch { shared, collection }
    }
}

impl Drop for OpenWatch<'_> {
    fn drop(&mut self) {
        self.shared.change(|state| {
            if let Some(place) = state.watches.iter().position(|open| *open == self.collection) {
                state.watches.swap_remove(place);
            }
        });
    }
}

fn is_allowed(state: &State, asked: &Asked) -> bool {
    let given = asked.headers.get("authorization");
    state.token.as_ref().is_none_or(|token| given == Some(&format!("Bearer {token}")))
}

/// A page of a list. A `continue` is the version of the list and the number of objects before.
fn page(state: &State, asked: &Asked, collection: Collection) -> (u16, Value) {
    let (version, skipped) = match asked.parameter("continue").split_once(':') {
        Some((version, skipped)) => (version.parse().unwrap_or(0), skipped.parse().unwrap_or(0)),
        None => (state.store.version(), 0),
    };
    if state.store.is_expired(version) {
        return (410, status(410));
    }
    let limit = asked.parameter("limit").parse().unwrap_or(usize::MAX);
    let matching: Vec<&Value> =
        state.store.objects(collection).filter(|object| selector::matches(asked, object)).collect();
    let items: Vec<Value> =
        matching.iter().skip(skipped).take(limit).map(|object| without_type(object)).collect();
    let seen = skipped + items.len();
    let next = if seen < matching.len() { json!(format!("{version}:{seen}")) } else { Value::Null };
    let (api_version, kind) = collection.type_meta();
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    (
        200,
        json!({"apiVersion": api_version, "kind": format!("{kind}List"), "metadata": metadata, "items": items}),
    )
}

/// Items of lists have no kind, as in the real API.
fn without_type(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

/// The first lines of a watch, the version after which changes are sent, and the position in the log.
fn begin(state: &State, asked: &Asked, collection: Collection) -> Result<(Vec<Value>, u64, usize), u16> {
    let store = &state.store;
    let place = store.log_end();
    if asked.kind == Kind::Watch {
        let since: u64 = asked.parameter("resourceVersion").parse().unwrap_or(0);
        return match since {
            since if store.is_expired(since) => Err(410),
            // The real API server reports after some seconds that the version is too large.
            since if since > store.version() => Err(504),
            since => Ok((Vec::new(), since, place)),
        };
    }
    if state.streamed_lists == StreamedLists::Refused {
        return Err(422);
    }
    let matching = store.objects(collection).filter(|object| selector::matches(asked, object));
    let mut lines: Vec<Value> = matching.map(|object| json!({"type": "ADDED", "object": object})).collect();
    if state.streamed_lists == StreamedLists::Offered {
        let mut end = bookmark(collection, store.version());
        end["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        lines.push(end);
    }
    Ok((lines, store.version(), place))
}

/// The event of a change for a watch: an object that starts or stops matching is added or deleted.
fn change_line(asked: &Asked, version: u64, before: Option<Value>, after: Option<Value>) -> Option<Value> {
    let matching = |object: Option<Value>| object.filter(|object| selector::matches(asked, object));
    match (matching(before), matching(after)) {
        (None, Some(object)) => Some(json!({"type": "ADDED", "object": object})),
        (Some(_), Some(object)) => Some(json!({"type": "MODIFIED", "object": object})),
        (Some(mut object), None) => {
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            Some(json!({"type": "DELETED", "object": object}))
        }
        (None, None) => None,
    }
}

fn create(state: &mut State, asked: &Asked, collection: Collection) -> (u16, Value) {
    let Ok(object) = serde_json::from_str::<Value>(&asked.body) else { return (400, status(400)) };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if state.store.get_mut(collection, name).is_some() {
        return (409, status(409));
    }
    state.store.put(object.clone());
    (201, object)
}

/// Applies a merge patch to objects, one level deep.
fn patch(state: &mut State, asked: &Asked, collection: Collection, name: &str) -> (u16, Value) {
    let Ok(Value::Object(changes)) = serde_json::from_str(&asked.body) else { return (400, status(400)) };
    let Some(object) = state.store.get_mut(collection, name) else { return (404, status(404)) };
    for (key, value) in changes {
        object[key] = value;
    }
    (200, object.clone())
}
