//! Clients that are slow, numerous, or send a lot.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use weir_serve::{Health, Limits, Options, RequestOutcome};

use crate::client::{Scene, connect, exchange, get, options, parse, rest};

fn scene(limits: Limits) -> Scene {
    Scene::with(Options { limits, ..options() }, Health::new(Duration::from_secs(30)))
}

#[test]
fn a_client_that_says_nothing_is_sent_away() {
    let scene = scene(Limits { head_time: Duration::from_millis(200), ..Limits::default() });
    let start = Instant::now();
    for begin in ["", "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        rest_of(&scene, begin);
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    // So does one that sent one request and is then silent.
    let start = Instant::now();
    let answer = rest_of(&scene, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(parse(&answer).status, 200);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

fn rest_of(scene: &Scene, begin: &str) -> String {
    let mut stream = connect(scene.health_address());
    stream.write_all(begin.as_bytes()).unwrap();
    rest(&mut stream)
}

/// An occasional byte does not help.
#[test]
fn a_client_that_drips_is_sent_away() {
    let scene = scene(Limits { head_time: Duration::from_millis(300), ..Limits::default() });
    let mut stream = connect(scene.health_address());
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ").unwrap();
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(10), "still connected");
        let ended = match stream.read(&mut [0; 512]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        if ended || stream.write_all(b"x").is_err() {
            break;
        }
    }
}

/// Including one that keeps sending requests.
#[test]
fn no_connection_lives_for_ever() {
    let scene = scene(Limits { lifetime: Duration::from_millis(300), ..Limits::default() });
    let mut stream = connect(scene.metrics_address());
    let start = Instant::now();
    let mut answer = [0; 4096];
    while stream.write_all(b"GET /proxyMode HTTP/1.1\r\nHost: x\r\n\r\n").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10), "still connected");
        if !matches!(stream.read(&mut answer), Ok(1..)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let lived = start.elapsed();
    assert!((Duration::from_millis(250)..Duration::from_secs(10)).contains(&lived), "{lived:?}");
}

/// A client that reads no answers and requests more than the sockets can hold.
#[test]
fn a_client_that_does_not_read_is_sent_away() {
    let scene = scene(Limits { lifetime: Duration::from_millis(500), ..Limits::default() });
    for host in 0..20_000 {
        scene.metrics.client.requested(
            RequestOutcome::Error,
            "GET",
            &format!("host-{host}.example.com:6443"),
            1,
        );
    }
    let mut stream = connect(scene.metrics_address());
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(64);
    let (start, mut waited) = (Instant::now(), false);
    loop {
        assert!(start.elapsed() < Duration::from_secs(30), "still connected");
        match stream.write_all(&request) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => waited = true,
            Err(_) => break,
        }
    }
    assert!(waited, "the sockets were never full");
    assert_eq!(get(scene.metrics_address(), "/proxyMode").status, 200);
}

#[test]
fn heads_are_of_limited_size() {
    let scene = Scene::new();
    let head = |line: String| format!("GET /livez HTTP/1.1\r\nHost: x\r\n{line}\r\n");
    let long = head(format!("X-Long: {}\r\n", "x".repeat(20_000)));
    let many = head("X-Many: x\r\n".repeat(200));
    for request in [long, many] {
        let answer = exchange(scene.health_address(), request.as_bytes());
        // Unread data may turn the answer into a reset.
        assert!(answer.is_empty() || parse(&answer).status == 431, "{answer}");
    }
    for nonsense in ["\x16\x03\x01\x02", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = exchange(scene.health_address(), format!("{nonsense}\r\n\r\n").as_bytes());
        assert!(answer.is_empty() || parse(&answer).status >= 400, "{nonsense:?}: {answer}");
    }
    assert_eq!(get(scene.health_address(), "/livez").status, 200);
}

/// A body is neither read nor waited for.
#[test]
fn bodies_are_ignored() {
    let scene = Scene::new();
    let request = b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nonly this";
    assert_eq!(parse(&exchange(scene.health_address(), request)).status, 200);
}

/// A client that opens all connections cannot keep probes out; the oldest connections are closed.
#[test]
fn many_silent_connections_keep_no_probe_out() {
    let scene = scene(Limits { connections: 8, ..Limits::default() });
    let silent: Vec<TcpStream> = (0..100).map(|_| connect(scene.health_address())).collect();
    for _ in 0..20 {
        assert_eq!(get(scene.health_address(), "/livez").status, 200);
    }
    let open = silent.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!(open.count() <= 8);
    // The metrics have a separate limit.
    assert_eq!(get(scene.metrics_address(), "/healthz").status, 200);
}

#[test]
fn what_is_answered_after_a_flood() {
    let scene = scene(Limits { head_time: Duration::from_millis(200), ..Limits::default() });
    for _ in 0..1000 {
        let _ = TcpStream::connect(scene.health_address());
    }
    assert_eq!(get(scene.health_address(), "/livez").status, 200);
}
