//! `cargo xtask page`: opens the status page in a real browser, Debian's Chromium, which is unpacked but never
//! installed.
//!
//! ```text
//!  status/tests/NAME.json ─served on loopback─▶ weir status --html ─▶ NAME.html ─▶ chromium ─▶ document, NAME.png
//! ```

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::architecture::Architecture;
use crate::{packages, process, workspace};

/// The recorded statuses: each has a `.json` file and, as its screen, a `.txt` file.
const NAMES: [&str; 4] = ["well", "faults", "start", "kernel"];

/// Unpacks the browser, makes the pages and checks what the browser makes of them.
pub(crate) fn main() -> Result<ExitCode> {
    let browser = Browser::unpacked()?;
    let weir = workspace::program("dev", "weir", "weir")?;
    let folder = workspace::target().join("page");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    println!("{}", browser.version()?);
    let mut result = ExitCode::SUCCESS;
    for name in NAMES {
        let page = folder.join(format!("{name}.html"));
        write_page(&weir, name, &page)?;
        let (document, log) = browser.open(&page)?;
        let faults = faults(&document, &log, &labels(&recorded(&format!("{name}.txt"))?));
        println!("{name}: {}", if faults.is_empty() { "ok".to_owned() } else { faults.join("; ") });
        if !faults.is_empty() {
            result = ExitCode::FAILURE;
        }
    }
    println!("pages and pictures: {}", folder.display());
    Ok(result)
}

fn recorded(file: &str) -> Result<String> {
    let path = workspace::root().join("host/src/status/tests").join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Lets `weir status` write the page of a recorded status. As a daemon's answer, the status has the path of a packet.
fn write_page(weir: &Path, name: &str, page: &Path) -> Result<()> {
    let mut status: Value = serde_json::from_str(&recorded(&format!("{name}.json"))?)?;
    status["journey"] = journey();
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let address = listener.local_addr().context("the listener has no address")?.to_string();
    let serving = thread::spawn(move || answer(&listener, &status));
    let mut command = Command::new(weir);
    command.args(["status", "--metrics-bind-address", &address, "--html"]).arg(page);
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    // The status may need attention, for which the exit status is 1.
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    // Ends a wait for a request that weir did not send.
    drop(TcpStream::connect(&address));
    serving.join().unwrap_or_else(|_| bail!("the thread that serves the status panicked"))
}

/// Answers one request, whatever it is.
fn answer(listener: &TcpListener, status: &Value) -> Result<()> {
    let (mut stream, _) = listener.accept().context("weir status did not connect")?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    ensure!(lines.next().is_some(), "weir status did not send a request");
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    write!(stream, "HTTP/1.0 200 OK\r\n\r\n{status}").context("weir status did not read the status")
}

/// A short path: two rules of one table, IPVS, and a choice of two real servers.
fn journey() -> Value {
    let way = |address, weight| json!({"realServer": address, "weight": weight, "sourceKept": true});
    json!({
        "packet": "tcp 10.244.2.7:40000 -> 10.96.0.10:80",
        "stops": [
            {"name": "table nat", "rules": ["PREROUTING: -j KUBE-SERVICES", "KUBE-SERVICES: -j ACCEPT"]},
            {"name": "IPVS has virtual server tcp 10.96.0.10:80 rr", "rules": []},
        ],
        "verdict": "goes through virtual server tcp 10.96.0.10:80 to one of",
        "ways": [way("10.244.0.1:8080", 1), way("10.244.1.1:8080", 3)],
    })
}

/// The labels of the rows of a recorded screen: continued lines are indented.
fn labels(screen: &str) -> Vec<&str> {
    let rows = screen.lines().filter(|line| !line.starts_with(' '));
    rows.filter_map(|line| line.split("  ").next()).filter(|label| !label.is_empty()).collect()
}

/// What is wrong with a document that the browser has read, and with the log of reading it.
fn faults(document: &str, log: &str, labels: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    // A browser closes and moves elements that are not well formed, so the whole order must be as written.
    let mut rest = document;
    let rows = labels.iter().map(|label| format!("<th scope=\"row\">{label}</th><td><p "));
    let drawn = [
        "<svg ",
        "<marker ",
        ">table nat</text>",
        ">10.244.1.1:8080</text>",
        "</svg>",
        "<footer>",
        "</body>",
    ];
    for part in rows.chain(drawn.map(str::to_owned)) {
        match rest.split_once(&part) {
            Some((_, after)) => rest = after,
            None => faults.push(format!("no {part} in its place")),
        }
    }
    faults.extend(log.lines().filter(|line| line.contains(":CONSOLE:")).map(str::to_owned));
    faults
}

/// An unpacked Chromium.
struct Browser {
    root: PathBuf,
    program: PathBuf,
}

impl Browser {
    fn unpacked() -> Result<Browser> {
        // The host's dynamic linker works only with the host's own C library.
        let wanted = |package: &packages::Package| package.name != "libc6";
        let root = packages::unpacked(Architecture::HOST, "chromium", wanted)?;
        let program = root.join("usr/lib/chromium/chromium");
        ensure!(program.exists(), "the package chromium does not contain {}", program.display());
        Ok(Browser { root, program })
    }

    fn command(&self) -> Command {
        let mut chromium = Command::new(&self.program);
        let tuple = Architecture::HOST.tuple();
        let libraries = ["usr/lib/{}", "lib/{}", "usr/lib/{}/pulseaudio"];
        let libraries =
            libraries.map(|place| self.root.join(place.replace("{}", tuple)).display().to_string());
        chromium.env("LD_LIBRARY_PATH", libraries.join(":")).env("FONTCONFIG_SYSROOT", &self.root);
        chromium
    }

    fn version(&self) -> Result<String> {
        Ok(process::output(self.command().arg("--version"))?.trim().to_owned())
    }

    /// Opens a page without network access, and writes a picture next to the page. Returns the document as the browser
    /// has understood it, and the browser's log.
    fn open(&self, page: &Path) -> Result<(String, String)> {
        let profile = tempfile::tempdir().context("cannot create a directory")?;
        let mut chromium = self.command();
        chromium.env("HOME", profile.path()).arg(format!("--user-data-dir={}", profile.path().display()));
        // The sandbox does not start as root; the page is weir's own.
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        chromium.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--dump-dom"]);
        chromium.arg(format!("--screenshot={}", page.with_extension("png").display()));
        chromium.arg("--window-size=1100,1400").arg(format!("file://{}", page.display()));
        let output = chromium.output().with_context(|| format!("cannot start {chromium:?}"))?;
        let [document, log] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(output.status.success(), "{chromium:?}: {}:\n{log}", output.status);
        Ok((document, log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_row_a_lost_picture_and_a_console_error_are_faults() {
        let row =
            |label: &str| format!("<tr><th scope=\"row\">{label}</th><td><p class=\"plain\">x</p></td></tr>");
        let picture = "<svg x><marker y></marker><text>table nat</text><text>10.244.1.1:8080</text></svg>";
        let document = format!("{}{}{picture}<footer></footer></body>", row("node"), row("to do"));
        let labels = labels("node     node1\n         more\nto do    1. this\n");
        assert_eq!(labels, ["node", "to do"]);
        assert_eq!(faults(&document, "[1:1:INFO:main] x", &labels), Vec::<String>::new());
        let swapped = format!("{}{}{picture}<footer></footer></body>", row("to do"), row("node"));
        assert_eq!(faults(&swapped, "", &labels).len(), 1);
        assert_eq!(faults(&document.replace("<svg", "&lt;svg"), "", &labels).len(), 1);
        assert_eq!(faults(&document, "[1:1:INFO:CONSOLE:1] \"Refused\"", &labels).len(), 1);
    }
}
