//! Notes in, writes out.

use super::*;
use crate::rate::Rate;

const SECOND: Duration = Duration::from_secs(1);
/// 2026-11-25T15:00:00Z
const WALL: u64 = 1_795_618_800;

fn limits() -> Limits {
    Limits {
        overall: Rate { per_second: 1.0, burst: 100 },
        per_object: Rate { per_second: 0.1, burst: 3 },
        ..Limits::default()
    }
}

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(WALL + seconds) + Duration::from_micros(1234)
}

fn note(name: &str, text: &str) -> Note {
    let words = |text: &str| text.to_owned();
    Note {
        controller: "weir",
        regarding: Regarding {
            api_version: words("v1"),
            kind: words("Service"),
            namespace: words("shop"),
            name: words(name),
        },
        severity: Severity::Warning,
        reason: words("FailedToListen"),
        action: words("Listen"),
        text: words(text),
    }
}

/// A ledger and a clock.
struct Book {
    ledger: Ledger,
    start: Instant,
    seconds: u64,
}

impl Book {
    fn new(limits: Limits) -> Book {
        let start = Instant::now();
        Book { ledger: Ledger::new(limits, "node-1", start), start, seconds: 0 }
    }

    fn note(&mut self, note: Note) -> Write {
        self.ledger.note(note, self.start + SECOND * u32::try_from(self.seconds).unwrap(), wall(self.seconds))
    }

    fn due(&mut self) -> Vec<Post> {
        self.ledger.due(self.start + SECOND * u32::try_from(self.seconds).unwrap())
    }
}

fn post(write: Write) -> Post {
    let Write::Now(post) = write else { panic!("{write:?}") };
    *post
}

#[test]
fn an_event_has_the_fields_of_kube_proxys() {
    let post = post(Book::new(limits()).note(note("web", "port 80 is taken")));
    assert_eq!(
        post.body,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": post.name, "namespace": "shop"},
            "eventTime": "2026-11-25T15:00:00.001234Z",
            "reportingController": "weir", "reportingInstance": "weir-node-1",
            "action": "Listen", "reason": "FailedToListen", "note": "port 80 is taken", "type": "Warning",
            "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web"},
        })
    );
    assert_eq!((post.namespace.as_str(), post.repeats), ("shop", false));
    assert!(post.name.starts_with("web."), "{}", post.name);
}

#[test]
fn events_of_objects_without_a_namespace_are_in_default() {
    let mut about_node = note("node-1", "");
    about_node.regarding.namespace.clear();
    let post = post(Book::new(limits()).note(about_node));
    assert_eq!(post.namespace, "default");
    assert_eq!(post.body["regarding"].get("namespace"), None);
}

#[test]
fn a_repetition_becomes_a_series_whose_count_is_written_now_and_then() {
    let mut book = Book::new(limits());
    let first = post(book.note(note("web", "x")));
    book.seconds = 1;
    let second = post(book.note(note("web", "x")));
    assert_eq!((second.name, second.repeats), (first.name, true));
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-11-25T15:00:01.001234Z"}});
    assert_eq!(second.body, series);
    for seconds in 2..10 {
        book.seconds = seconds;
        assert_eq!(book.note(note("web", "x")), Write::Later);
        assert_eq!(book.due(), []);
    }
    book.seconds = 61;
    let due = book.due();
    assert_eq!(
        due[0].body["series"],
        json!({"count": 10, "lastObservedTime": "2026-11-25T15:00:09.001234Z"})
    );
    assert_eq!((due.len(), book.due().len()), (1, 0));
}

#[test]
fn after_a_long_silence_it_is_a_new_event() {
    let mut book = Book::new(limits());
    let first = post(book.note(note("web", "x")));
    book.seconds = 400;
    let again = post(book.note(note("web", "x")));
    assert!(!again.repeats && again.name != first.name);
    book.seconds = 800;
    book.due();
    assert!(book.ledger.series.is_empty() && book.ledger.objects.is_empty(), "nothing is kept for ever");
}

#[test]
fn one_object_does_not_use_up_what_others_may() {
    let mut book = Book::new(limits());
    let writes: Vec<Write> = (0..5).map(|i| book.note(note("loud", &i.to_string()))).collect();
    assert!(writes[..3].iter().all(|write| matches!(write, Write::Now(_))));
    assert_eq!(writes[3..], [Write::Never, Write::Never]);
    post(book.note(note("quiet", "x")));
    book.seconds = 10;
    post(book.note(note("loud", "3")));
}

#[test]
fn there_is_a_limit_for_all_objects_too() {
    let mut book = Book::new(Limits { overall: Rate { per_second: 1.0, burst: 2 }, ..limits() });
    let writes: Vec<Write> = (0..3).map(|i| book.note(note(&i.to_string(), "x"))).collect();
    assert_eq!(writes.iter().filter(|write| **write == Write::Never).count(), 1);
}

#[test]
fn memory_has_an_end() {
    let mut book = Book::new(Limits { overall: Rate { per_second: 0.0, burst: 1 }, ..limits() });
    let writes = (0..MEMORY + 10).map(|i| book.note(note(&i.to_string(), "x")));
    assert_eq!(writes.filter(|write| *write == Write::Never).count(), 10);
}

#[test]
fn long_notes_are_cut_between_characters() {
    let post = post(Book::new(limits()).note(note("web", &"ä€".repeat(500))));
    let text = post.body["note"].as_str().unwrap();
    assert!((1021..=1024).contains(&text.len()), "{}", text.len());
}

#[test]
fn names_differ_at_one_moment() {
    let mut book = Book::new(limits());
    let names = [post(book.note(note("a", "1"))).name, post(book.note(note("a", "2"))).name];
    assert_ne!(names[0], names[1]);
}

#[test]
fn a_series_whose_event_was_not_taken_begins_anew() {
    let mut book = Book::new(limits());
    let first = post(book.note(note("web", "x")));
    book.ledger.forget(&first);
    assert!(!post(book.note(note("web", "x"))).repeats);
}
