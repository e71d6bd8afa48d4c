//! The answers, byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, UNIX_EPOCH};

use super::*;

/// 2025-10-09T08:53:20Z
const START: u64 = 1_760_000_000;

/// A clock that only moves when told to, and health with a synchronisation period of 30 s.
struct Scene {
    start: Moment,
    millis: Arc<AtomicU64>,
    health: Health,
}

impl Scene {
    fn new() -> Scene {
        let wall = UNIX_EPOCH + Duration::from_secs(START);
        let start = Moment { monotonic: Instant::now(), wall };
        let millis = Arc::new(AtomicU64::new(0));
        let passed = Arc::clone(&millis);
        let clock: Clock =
            Arc::new(move || start.after(Duration::from_millis(passed.load(Ordering::Relaxed))));
        Scene { start, millis, health: Health::with_clock(Duration::from_secs(30), clock) }
    }

    fn at(&self, millis: u64) -> Moment {
        self.millis.store(millis, Ordering::Relaxed);
        self.start.after(Duration::from_millis(millis))
    }

    fn healthz(&self) -> (bool, String) {
        let answer = self.health.healthz();
        (answer.is_success(), answer.body())
    }

    fn livez(&self) -> (bool, String) {
        let answer = self.health.livez();
        (answer.is_success(), answer.body())
    }
}

fn yes(body: &str) -> (bool, String) {
    (true, body.to_owned())
}

fn no(body: &str) -> (bool, String) {
    (false, body.to_owned())
}

#[test]
fn before_the_loop_starts() {
    let scene = Scene::new();
    scene.at(500);
    assert_eq!(
        scene.healthz(),
        no(
            r#"{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"2025-10-09T08:53:20.5Z","nodeEligible":false,"healthy":true}"#
        )
    );
    assert_eq!(
        scene.livez(),
        yes(
            r#"{"lastUpdated":"2025-10-09T08:53:20.5Z","currentTime":"2025-10-09T08:53:20.5Z","healthy":true}"#
        )
    );
    scene.health.node(NodeState::Present);
    assert_eq!(
        scene.healthz(),
        yes(
            r#"{"lastUpdated":"2025-10-09T08:53:20.5Z","currentTime":"2025-10-09T08:53:20.5Z","nodeEligible":true,"healthy":true}"#
        )
    );
}

#[test]
fn both_families_keep_up() {
    let scene = Scene::new();
    scene.health.node(NodeState::Present);
    scene.health.updated(Family::V6, scene.at(1));
    scene.health.updated(Family::V4, scene.at(2));
    scene.at(60_000);
    assert_eq!(
        scene.healthz(),
        yes(concat!(
            r#"{"lastUpdated":"2025-10-09T08:54:20Z","currentTime":"2025-10-09T08:54:20Z","nodeEligible":true,"healthy":true,"#,
            r#""status":{"IPv4":{"lastUpdated":"2025-10-09T08:53:20.002Z","healthy":true},"#,
            r#""IPv6":{"lastUpdated":"2025-10-09T08:53:20.001Z","healthy":true}}}"#
        ))
    );
}

/// Late since the first request that waits; later ones change nothing.
#[test]
fn a_family_that_is_late_says_when_it_last_was_not() {
    let scene = Scene::new();
    scene.health.node(NodeState::Present);
    scene.health.updated(Family::V4, scene.at(1000));
    scene.health.updated(Family::V6, scene.at(0));
    scene.health.queued(Family::V6, scene.at(2000));
    scene.health.queued(Family::V6, scene.at(50_000));
    scene.at(61_999);
    assert!(scene.healthz().0 && scene.livez().0 && scene.health.is_healthy());
    scene.at(62_000);
    let status = concat!(
        r#""healthy":false,"status":{"IPv4":{"lastUpdated":"2025-10-09T08:53:21Z","healthy":true},"#,
        r#""IPv6":{"lastUpdated":"2025-10-09T08:53:20Z","healthy":false}}}"#
    );
    let times = r#"{"lastUpdated":"2025-10-09T08:53:21Z","currentTime":"2025-10-09T08:54:22Z","#;
    assert_eq!(scene.healthz(), no(&format!(r#"{times}"nodeEligible":true,{status}"#)));
    assert_eq!(scene.livez(), no(&format!("{times}{status}")));
    assert!(!scene.health.is_healthy());

    scene.health.updated(Family::V6, scene.at(62_001));
    assert!(scene.healthz().0 && scene.livez().0);
}

#[test]
fn requests_before_the_loop_starts_wait_for_it() {
    let scene = Scene::new();
    scene.health.queued(Family::V4, scene.at(0));
    scene.at(600_000);
    assert!(scene.livez().0);
}

#[test]
fn a_node_that_leaves_is_alive_and_not_to_be_used() {
    let scene = Scene::new();
    scene.health.updated(Family::V4, scene.at(0));
    scene.health.node(NodeState::of(None::<()>, ["example.com/other", TO_BE_DELETED_TAINT]));
    let (success, body) = scene.healthz();
    assert!(!success && body.contains(r#""nodeEligible":false,"healthy":true,"#), "{body}");
    assert!(scene.livez().0);
    scene.health.node(NodeState::of(Some("2025-10-09T08:53:20Z"), []));
    assert!(!scene.healthz().0);
    scene.health.node(NodeState::of(None::<()>, ["example.com/other"]));
    assert!(scene.healthz().0);
    scene.health.node(NodeState::Unknown);
    assert!(!scene.healthz().0);
}
