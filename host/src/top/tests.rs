use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use weir_kernel::linux::Traffic;

use super::app::{App, Next};
use super::view::{bytes, draw, lines};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn server(last: u8) -> VirtualServer {
    VirtualServer::new(Protocol::Tcp, [10, 96, 0, last].into(), 80)
}

fn traffic(connections: u64, active: u64, bytes_in: u64) -> Traffic {
    let totals = Totals { connections, bytes_in, bytes_out: 10 * bytes_in };
    Traffic { scheduler: "rr".to_owned(), totals, active, inactive: 1, real_servers: 2, quiesced: 0 }
}

/// Two seconds with three services: 1 has the most new connections, 2 the most bytes, 3 the most active connections.
fn app() -> App {
    let before = [(server(1), traffic(100, 0, 0)), (server(2), traffic(100, 0, 0))].into();
    let now = [
        (server(1), traffic(200, 1, 200)),
        (server(2), traffic(140, 2, 10_000)),
        (server(3), Traffic { real_servers: 0, quiesced: 1, ..traffic(8, 9, 0) }),
    ];
    let mut app = App::default();
    app.take(before, SECOND);
    app.take(now.into(), 3 * SECOND);
    app
}

fn press(app: &mut App, keys: &[KeyCode]) -> Next {
    let press = |code: &KeyCode| app.key(KeyEvent::new(*code, KeyModifiers::NONE));
    keys.iter().map(press).last().unwrap()
}

/// The last numbers of the addresses that are shown.
fn shown(app: &App) -> Vec<u8> {
    let last = |ip| match ip {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => unreachable!(),
    };
    app.shown().iter().map(|of| last(of.virtual_server.address.ip())).collect()
}

fn terminal(width: u16, height: u16, app: &App) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    terminal
}

fn screen(width: u16, height: u16, app: &App) -> Vec<String> {
    let terminal = terminal(width, height, app);
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

/// The words of a line, because column widths do not matter.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn reading(connections: u64, active: u32, weight: u32) -> Reading {
    let totals = Totals { connections, ..Totals::default() };
    Reading { active, inactive: 0, weight, totals }
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 244, 0, last], 8080))
}

/// Two seconds with four endpoints. Endpoint 3 drains and 4 is quiesced, so they get no new connections.
fn watched(server: VirtualServer) -> Watched {
    let mut watched = Watched::new(server);
    let leaving = [(at(3), Some(40))].into();
    let readings = |of: [Reading; 4]| Some((1..).map(at).zip(of).collect());
    let first = [reading(1_000, 0, 3), reading(0, 2, 1), reading(7, 5, 0), reading(0, 0, 0)];
    watched.take(readings(first), SECOND, &leaving);
    let second = [reading(1_030, 3, 3), reading(10, 5, 1), reading(7, 4, 0), reading(0, 0, 0)];
    watched.take(readings(second), 3 * SECOND, &leaving);
    watched
}

#[test]
fn rates_are_averages_between_two_readings_and_counters_may_start_again() {
    let app = app();
    let rates: Vec<f64> = app.services.iter().map(|of| of.flow.connections_per_second).collect();
    assert_eq!(rates, [50.0, 20.0, 4.0], "the counters of a new service began at 0");
    let flow = app.services[1].flow;
    assert_eq!((flow.bytes_in_per_second, flow.bytes_out_per_second), (5_000.0, 50_000.0));
    let mut window = Window::default();
    let mut rate = |now: u32, connections: u64| {
        let traffic = [(server(1), traffic(connections, 0, 0))].into();
        services(&mut window, now * SECOND, traffic)[0].flow.connections_per_second
    };
    assert_eq!(rate(1, 100), 0.0, "the first reading has no rate");
    assert_eq!(rate(3, 30), 15.0, "created again with the same address");
    assert_eq!(rate(5, 120), 5.0, "20 more in 4 seconds");
    assert_eq!(rate(11, 160), 16.25, "130 more in 8 seconds");
    assert_eq!(rate(13, 160), 5.0, "40 more in 8 seconds");
    assert_eq!(rate(33, 180), 1.0, "20 more since the last reading, 20 seconds ago");
}

#[test]
fn endpoints_have_shares_and_a_connection_time_since_watching_began() {
    let mut watched = watched(server(1));
    let of = |watched: &Watched| -> Vec<_> {
        let of = |e: &Endpoint| (e.share_wanted, e.share_had, e.mean_time_ms);
        watched.endpoints.iter().map(of).collect()
    };
    let idle = (Some(0.0), Some(0.0), None);
    // 3 active for 2 s and 30 connections; 5 and 10.
    let busy = [(Some(0.75), Some(0.75), Some(200.0)), (Some(0.25), Some(0.25), Some(1000.0))];
    assert_eq!(of(&watched), [busy[0], busy[1], idle, idle]);
    assert_eq!(watched.endpoints[0].flow.connections_per_second, 15.0);
    // The first was removed and added again; the last ones are gone.
    let third = [(at(1), reading(10, 0, 3)), (at(2), reading(20, 0, 0))];
    watched.take(Some(third.into()), 4 * SECOND, &Leaving::new());
    let rates: Vec<_> = watched.endpoints.iter().map(|of| of.flow.connections_per_second).collect();
    assert_eq!(rates, [10.0 / 3.0, 20.0 / 3.0], "over all 3 seconds");
    let had: Vec<_> = watched.endpoints.iter().map(|of| of.share_had).collect();
    assert_eq!(had, [Some(40.0 / 60.0), Some(20.0 / 60.0)]);
}

#[test]
fn udp_has_no_connection_time() {
    let udp = VirtualServer { protocol: Protocol::Udp, ..server(1) };
    assert!(watched(udp).endpoints.iter().all(|of| of.mean_time_ms.is_none()));
}

#[test]
fn keys_sort_filter_and_pause() {
    let mut app = app();
    assert_eq!(shown(&app), [1, 2, 3], "by connections per second");
    press(&mut app, &[KeyCode::Char('s')]);
    assert_eq!((shown(&app), app.sort), (vec![3, 2, 1], Sort::Active));
    press(&mut app, &[KeyCode::Char('s')]);
    assert_eq!(shown(&app), [2, 1, 3], "by bytes");
    press(&mut app, &[KeyCode::Char('s'), KeyCode::Down, KeyCode::End]);
    assert_eq!((shown(&app), app.selected), (vec![1, 2, 3], 2), "by address");
    press(&mut app, &[KeyCode::Char('/'), KeyCode::Char('0'), KeyCode::Char('.'), KeyCode::Char('2')]);
    assert_eq!((shown(&app), app.selected), (vec![2], 0));
    let title = |app: &App| screen(100, 7, app)[0].clone();
    assert_eq!(title(&app), "1 of 3 services with \"0.2_\" · by address · over 2.0 s");
    press(&mut app, &[KeyCode::Enter, KeyCode::Char('p')]);
    assert_eq!(title(&app), "PAUSED · 1 of 3 services with \"0.2\" · by address · over 2.0 s");
    press(&mut app, &[KeyCode::Esc, KeyCode::Char('p')]);
    assert_eq!(title(&app), "3 of 3 services · by address · over 2.0 s");
    assert_eq!(press(&mut app, &[KeyCode::Char('q')]), Next::Quit);
    press(&mut app, &[KeyCode::Char('/')]);
    assert_eq!(press(&mut app, &[KeyCode::Char('q')]), Next::Draw, "a letter of the filter");
    assert_eq!(app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Quit);
    assert_eq!(press(&mut app, &[KeyCode::Enter, KeyCode::Enter]), Next::Draw, "no service is shown");
    assert!(app.open.is_none());
}

#[test]
fn words_say_what_colours_say() {
    let mut app = app();
    let lines = screen(100, 7, &app);
    assert_eq!(words(&lines[1]), "service conn/s active in/s out/s endpoints quiesced inactive scheduler");
    assert_eq!(words(&lines[2]), "> tcp 10.96.0.1:80 50.0 1 100 B 1.0 kB 2 0 1 rr");
    assert_eq!(words(&lines[4]), "tcp 10.96.0.3:80 4.0 9 0 B 0 B NONE 1 1 rr");
    app.note(SECOND, SECOND, Some("no".to_owned()));
    assert!(screen(100, 7, &app)[0].starts_with("CANNOT READ: no · "));
    press(&mut app, &[KeyCode::Enter]);
    app.note(SECOND, SECOND, None);
    assert!(screen(100, 7, &app)[0].starts_with("tcp 10.96.0.1:80: "));
    press(&mut app, &[KeyCode::Esc]);
    assert!(screen(100, 7, &app)[0].starts_with("CANNOT READ: no · "), "still not read");
}

#[test]
fn a_service_opens_and_closes() {
    let mut app = app();
    let keys = [KeyCode::Char('p'), KeyCode::Down, KeyCode::Enter];
    app.note(3 * SECOND, 4 * SECOND, None);
    assert_eq!(press(&mut app, &keys), Next::Draw);
    assert_eq!(app.open.as_ref().map(|of| of.server), Some(server(2)));
    assert_eq!(app.due(), Duration::ZERO, "its endpoints are read at once");
    assert!(!app.paused, "a pause would leave the endpoints unread");
    app.open = Some(watched(server(2)));
    app.arrange();
    let lines = screen(110, 8, &app);
    assert_eq!(lines[0], "tcp 10.96.0.2:80: 4 endpoints · by connections per second · over 2.0 s");
    assert_eq!(
        words(&lines[1]),
        "endpoint weight wanted had conn/s active W = L/λ state inactive in/s out/s"
    );
    assert_eq!(words(&lines[2]), "> 10.244.0.1:8080 3 75 % 75 % 15.0 3 200 ms 0 0 B 0 B");
    assert_eq!(words(&lines[4]), "10.244.0.3:8080 0 0 % 0 % 0.0 4 - drains 40 s 0 0 B 0 B");
    assert_eq!(words(&lines[5]), "10.244.0.4:8080 0 0 % 0 % 0.0 0 - quiesced 0 0 B 0 B");
    press(&mut app, &[KeyCode::Char('s')]);
    assert!(screen(110, 8, &app)[2].starts_with("> 10.244.0.2:8080"), "by active connections");
    app.open.as_mut().unwrap().take(None, 4 * SECOND, &Leaving::new());
    assert!(screen(110, 8, &app)[0].starts_with("tcp 10.96.0.2:80 (DELETED): 0 endpoints"));
    press(&mut app, &[KeyCode::Esc]);
    assert!(app.open.is_none());
}

#[test]
fn slow_readings_are_rare_and_the_screen_says_so() {
    let mut app = App { interval: 2 * SECOND, ..app() };
    assert_eq!(app.due(), Duration::ZERO, "nothing was read");
    app.note(9_960 * SECOND / 1000, 10 * SECOND, None);
    assert_eq!(app.due(), 12 * SECOND, "40 ms are 2 % of the interval");
    let lines = screen(100, 7, &app);
    app.note(8 * SECOND, 10 * SECOND, None);
    assert_eq!(app.due(), 110 * SECOND, "2 s are 2 % of 100 s");
    let slow = screen(100, 7, &app);
    assert_eq!(slow[5], "refreshes every 102.0 s: reading all services takes 2.0 s");
    assert_eq!((&slow[..5], &slow[6]), (&lines[..5], &lines[6]));
    assert!(screen(100, 4, &app)[2].starts_with("> tcp 10.96.0.1:80"), "a row is more important");
    press(&mut app, &[KeyCode::Enter]);
    app.note(11 * SECOND, 11_100 * SECOND / 1000, None);
    assert_eq!(app.due(), 16_100 * SECOND / 1000);
    assert_eq!(screen(100, 7, &app)[5], "refreshes every 5.1 s: reading this service takes 100 ms");
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.due(), 110 * SECOND, "a service in between does not change when all are read");
}

#[test]
fn a_narrow_terminal_has_fewer_columns_and_whole_numbers() {
    let mut app = app();
    let lines = screen(80, 7, &app);
    assert_eq!(words(&lines[1]), "service conn/s active in/s out/s endpoints quiesced inactive");
    app.open = Some(watched(server(2)));
    let lines = screen(80, 8, &app);
    assert_eq!(words(&lines[1]), "endpoint weight wanted had conn/s active W = L/λ state");
    assert_eq!(words(&lines[4]), "10.244.0.3:8080 0 0 % 0 % 0.0 4 - drains 40 s");
    for (width, height) in [(23, 8), (24, 3), (1, 1), (80, 1), (1, 80)] {
        let told = screen(width, height, &app)[0].clone();
        assert!("too small: enlarge the terminal".starts_with(&told), "{width}x{height}: {told}");
    }
    assert_eq!(words(&screen(24, 4, &app)[2]), "> 10.244.0.1:8080 3");
}

#[test]
fn only_rows_that_fit_are_drawn_of_ten_thousand() {
    let server = |n: u32| VirtualServer::new(Protocol::Tcp, (0x0a60_0000 + n).to_be_bytes().into(), 80);
    let all: AllTraffic = (0..10_000).map(|n| (server(n), traffic(n.into(), 0, 0))).collect();
    let mut app = App { sort: Sort::Address, ..App::default() };
    app.take(all, SECOND);
    press(&mut app, &[KeyCode::End]);
    let screen = screen(100, 7, &app);
    assert!(screen[2].starts_with("  tcp 10.96.39.12:80"), "{screen:?}");
    assert!(screen[5].starts_with("> tcp 10.96.39.15:80"), "{screen:?}");
    assert_eq!(lines(&app).count(), 10_002, "all of them without a terminal");
}

#[test]
fn bytes_are_short() {
    let texts = [0.0, 999.0, 999.7, 1_000.0, 9_960.0, 12_345.0, 999_600.0, 2.5e9, 1e16].map(bytes);
    let expected = ["0 B", "999 B", "1.0 kB", "1.0 kB", "10 kB", "12 kB", "1.0 MB", "2.5 GB", "10000 TB"];
    assert_eq!(texts, expected);
}
