//! `weir status`: this node's status on one screen.
//!
//! The daemon is asked on its metrics port, because that is on loopback by default, needs no mount and no second
//! listener, and is reachable from `kubectl exec` and from the host alike; the health port is open to everyone.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use weir_core::kernel::whole;
use weir_core::state::{VirtualServer, Weight};
use weir_core::trace::{example, trace};
use weir_kernel::Linux;
use weir_kernel::capabilities::{self, Finding, Verdict};

use crate::cli::{Output, StatusArguments, version};
use crate::inputs::{self, Settings};
use crate::output::out;
use crate::status::way::Journey;
use crate::status::{self, Backend, Held, Status, advice, page, text};

/// How long the daemon has to answer. It answers without looking anything up.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer that is read, in bytes. Lists in it have at most 500 entries.
const LONGEST: u64 = 1 << 20;

/// Prints the status, and exits with 1 if something needs attention.
pub(crate) fn run(arguments: &StatusArguments) -> anyhow::Result<ExitCode> {
    let settings = inputs::settings(&arguments.node)?;
    let status = match ask(&settings) {
        Ok(status) => status,
        Err(error) => of_kernel(&settings, format!("{error:#}"), arguments.html.is_some())?,
    };
    out(format_args!("{}", show(&status, arguments.html.as_deref(), arguments.output)?));
    Ok(if status.needs_attention() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the text for standard output. Writes the page if it has a file.
fn show(status: &Status, html: Option<&Path>, output: Output) -> anyhow::Result<String> {
    match html {
        // A container's file system may be read-only.
        Some(file) if file == "-" => return Ok(page::page(status)),
        Some(file) => {
            std::fs::write(file, page::page(status)).with_context(|| format!("--html {}", file.display()))?
        }
        None => {}
    }
    Ok(match output {
        Output::Text => text::screen(status, text::painted),
        Output::Json => status::to_json(status),
    })
}

/// Asks the running daemon.
pub(crate) fn ask(settings: &Settings) -> anyhow::Result<Status> {
    let Some(address) = settings.configuration.metrics_bind_address() else {
        bail!(
            "the configuration disables the metrics port, through which the daemon is queried; set \
             metricsBindAddress to an address such as 127.0.0.1:10249"
        );
    };
    let address = reachable(address);
    let answer = get(address).with_context(|| format!("http://{address}{}", status::JSON_PATH))?;
    serde_json::from_str(&answer)
        .with_context(|| format!("the program at {address} is not weir, or is a different version of weir"))
}

/// The address at which a program on this machine reaches such a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}

/// HTTP/1.0 has plain bodies that end with the connection.
fn get(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {} HTTP/1.0\r\nHost: {address}\r\n\r\n", status::JSON_PATH)?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some(code) => {
            bail!("the response has HTTP status {code}: is the program an older weir, or kube-proxy?")
        }
        None => bail!("the response has no HTTP status: is the program an older weir, or kube-proxy?"),
    }
}

/// The state of the kernel if no daemon answers. The picture needs the rules, and reading these starts a process.
fn of_kernel(settings: &Settings, no_daemon: String, picture: bool) -> anyhow::Result<Status> {
    let probe = capabilities::probe();
    let families = probe.capabilities.families;
    let mut kernel = Linux::new(&families);
    let servers = kernel.virtual_servers();
    let servers =
        servers.with_context(|| format!("no daemon answers ({no_daemon}), and the kernel cannot be read"))?;
    let findings =
        probe.findings.into_iter().chain(capabilities::missing_scheduler(&settings.proxy.scheduler));
    let bad = findings.filter(|finding| finding.verdict == Verdict::Bad);
    let obstacle = |finding: Finding| {
        advice::urgent(format!("{}: {}", finding.topic, finding.text), finding.fix.unwrap_or_default())
    };
    let obstacles = bad.map(obstacle).collect();
    let mut held = Held { no_daemon, obstacles, has_ipvs: servers.is_some(), ..Held::default() };
    for behind in servers.into_iter().flatten().map(|(_, behind)| behind) {
        let takers = behind.real_servers().filter(|(_, weight)| *weight != Weight::QUIESCED).count();
        held.virtual_servers += 1;
        held.without_real_servers += usize::from(takers == 0);
        held.real_servers += takers;
        held.quiesced += behind.real_servers.len() - takers;
    }
    let status = Status {
        version: version().to_owned(),
        node: settings.node_name.clone(),
        now: inputs::now(),
        backend: Backend::of(settings, &families),
        kernel: Some(held),
        journey: if picture { journey(&mut kernel) } else { None },
        ..Status::default()
    };
    Ok(status.with_advice())
}

/// The path of a packet according to the kernel; `None` if the kernel cannot be read, which the rest of the status
/// reports.
fn journey(kernel: &mut Linux) -> Option<Journey> {
    let state = whole(kernel).ok()?;
    let host = kernel.host_addresses().ok()?;
    let bound = |server: &VirtualServer| state.addresses.contains_key(&server.address.ip());
    let servers = state.virtual_servers.iter().map(|(server, behind)| (*server, behind));
    let (_, packet) = example(servers.filter(|(server, _)| bound(server)))?;
    Some(Journey::of(&packet, &trace(&state, &host, &packet)))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    /// The body of an answer on the wire, or the error that it causes.
    fn asked(answer: &'static str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let head: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            stream.write_all(answer.as_bytes()).unwrap();
            head
        });
        let got = get(address).map_err(|error| format!("{error:#}"));
        assert_eq!(server.join().unwrap()[0], "GET /status.json HTTP/1.0");
        got
    }

    #[test]
    fn only_an_answer_that_is_one_is_taken() {
        assert_eq!(asked("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"), Ok("{}".to_owned()));
        assert!(asked("HTTP/1.0 404 Not Found\r\n\r\n404").unwrap_err().contains("404"));
        assert!(asked("SSH-2.0-OpenSSH\r\n").unwrap_err().contains("not HTTP"));
    }

    #[test]
    fn a_page_takes_the_place_of_the_screen_on_standard_output_only() {
        let status = Status { node: "node1".to_owned(), ..Status::default() };
        let page = page::page(&status);
        assert_eq!(show(&status, Some(Path::new("-")), Output::Text).unwrap(), page);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status.html");
        let json = show(&status, Some(&file), Output::Json).unwrap();
        assert_eq!(json, show(&status, None, Output::Json).unwrap());
        assert_eq!(std::fs::read_to_string(file).unwrap(), page);
        assert!(
            show(&status, Some(folder.path()), Output::Text).unwrap_err().to_string().starts_with("--html /")
        );
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:10249"), "127.0.0.1:10249");
        assert_eq!(reached("[::]:10249"), "[::1]:10249");
        assert_eq!(reached("192.0.2.1:10249"), "192.0.2.1:10249");
    }
}
