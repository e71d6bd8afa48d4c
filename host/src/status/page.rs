//! A status as an HTML page: one document, without scripts and without pictures or styles from elsewhere.

use std::fmt::Write as _;

use weir_core::text::printable;

use super::text::{Row, Tone, rows};
use super::{Status, way};

/// Light or dark as on the reader's system. Tones have a mark in addition to their colour.
const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #59636e; --line: #d1d9e0; --good: #1a7f37;
  --doubtful: #9a6700; --bad: #cf222e; --box: #f6f8fa; --via: #0969da; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --faint: #9198a1; --line: #3d444d;
  --good: #3fb950; --doubtful: #d29922; --bad: #f85149; --box: #151b23; --via: #58a6ff; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid var(--line); padding: .5rem .75rem; text-align: left; vertical-align: top; }
th { color: var(--faint); font-weight: 500; white-space: nowrap; width: 8rem; }
td { overflow-wrap: anywhere; } td p { margin: 0 0 .25rem; white-space: pre-wrap; }
.good { color: var(--good); } .doubtful { color: var(--doubtful); } .bad { color: var(--bad); }
.good:first-child::before { content: '\u{2713} '; } .doubtful:first-child::before { content: '\u{25b3} '; }
.bad:first-child::before { content: '\u{2717} '; }
footer { color: var(--faint); font-size: .85rem; margin-top: 2rem; }
svg { height: auto; max-width: 100%; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; } svg .rule { font: 11px ui-monospace, monospace; }
svg .faint { fill: var(--faint); } svg rect { fill: var(--box); stroke: var(--line); } svg .via { stroke: var(--via); }
svg path { fill: none; stroke: var(--via); stroke-width: 1.5; } svg marker path { fill: var(--via); }
";

/// The whole page.
pub(crate) fn page(status: &Status) -> String {
    let title = format!("weir on {}", status.node);
    let verdict = if status.needs_attention() { "needs attention" } else { "OK" };
    let tone = if status.needs_attention() { Tone::Bad } else { Tone::Good };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<h1>{0}: <span class=\"{1}\">{verdict}</span></h1>\n<table>\n",
        escaped(&title),
        class(tone),
    );
    for Row { label, lines, tone } in rows(status) {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th><td>", escaped(label));
        for line in lines {
            let _ = write!(page, "<p class=\"{}\">{}</p>", class(tone), escaped(&line));
        }
        page += "</td></tr>\n";
    }
    page += "</table>\n";
    if let Some(journey) = &status.journey {
        page += "<h2>Path of one packet through this node</h2>\n";
        page += &way::svg(journey);
    }
    page += "<footer>Reload this page for current values. <code>weir status</code> prints the same values.</footer>\n";
    page += "</body>\n</html>\n";
    page
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Plain => "plain",
        Tone::Doubtful => "doubtful",
        Tone::Bad => "bad",
    }
}

/// Escapes untrusted text for the page, also inside quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use weir_core::state::KernelState;
    use weir_core::trace::{example, trace};

    use super::super::way::Journey;
    use super::super::{Backend, Held};
    use super::*;

    /// A cluster IP with two real servers, and a virtual server whose real server is the client.
    const STATE: &str = "
chain ip nat PREROUTING
rule ip nat PREROUTING -j KUBE-SERVICES
chain ip nat KUBE-SERVICES
rule ip nat KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
chain ip nat KUBE-MARK-MASQ
rule ip nat KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
chain ip nat POSTROUTING
rule ip nat POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
entry KUBE-CLUSTER-IP 10.96.0.10,tcp:80
address 10.96.0.10
virtual tcp 10.96.0.10:80 rr
virtual tcp 10.96.0.11:80 rr
real tcp 10.96.0.10:80 -> 10.244.0.1:8080 weight 1
real tcp 10.96.0.10:80 -> 10.244.1.1:8080 weight 3
real tcp 10.96.0.11:80 -> 10.244.2.7:8080 weight 1
";

    fn journey() -> Journey {
        let state: KernelState = STATE.parse().unwrap();
        let servers = state.virtual_servers.iter().map(|(server, behind)| (*server, behind));
        let (_, packet) = example(servers).unwrap();
        Journey::of(&packet, &trace(&state, &[], &packet))
    }

    #[test]
    fn the_way_of_a_packet_is_drawn_from_its_trace() {
        let journey = journey();
        assert_eq!(journey.packet, "tcp 10.244.2.7:40000 -> 10.96.0.10:80");
        let names: Vec<&str> = journey.stops.iter().map(|stop| stop.name.as_str()).collect();
        let [first, local, ipvs, last] = names[..] else { panic!("{names:?}") };
        assert_eq!((first, last), ("table nat", "table nat"), "before and after IPVS");
        assert!(
            local.ends_with("is an address of this node") && ipvs.starts_with("IPVS has virtual"),
            "{names:?}"
        );
        assert_eq!(journey.stops[0].rules.len(), 3, "{:?}", journey.stops[0]);
        let ways: Vec<(&str, u16, bool)> =
            journey.ways.iter().map(|way| (way.real_server.as_str(), way.weight, way.source_kept)).collect();
        assert_eq!(ways, [("10.244.0.1:8080", 1, false), ("10.244.1.1:8080", 3, false)]);
        let page = page(&Status { journey: Some(journey), ..Status::default() });
        for text in
            ["KUBE-MARK-MASQ: ", "weight 3", "sees the node's address", "role=\"img\" aria-label=\"Path of"]
        {
            assert!(page.contains(text), "{text} is not in {page}");
        }
    }

    /// Every text here that could come from outside weir is hostile.
    #[test]
    fn a_page_runs_and_loads_nothing_whatever_others_named() {
        const HOSTILE: &str =
            "</p></svg><script>alert(1)</script><img src=x onerror=\"alert('2')\">&\u{1b}[2J";
        let mut journey = journey();
        journey.packet = HOSTILE.to_owned();
        journey.verdict = HOSTILE.to_owned();
        journey.stops[0].name = HOSTILE.to_owned();
        journey.stops[0].rules[0] = HOSTILE.to_owned();
        journey.ways[0].real_server = HOSTILE.to_owned();
        let status = Status {
            node: HOSTILE.to_owned(),
            version: HOSTILE.to_owned(),
            backend: Backend { scheduler: HOSTILE.to_owned(), ..Backend::default() },
            kernel: Some(Held { no_daemon: HOSTILE.to_owned(), ..Held::default() }),
            journey: Some(journey),
            ..Status::default()
        };
        let page = page(&status.with_advice());
        for forbidden in
            ["<script", "<img", "<a ", "<link", "<iframe", "src=\"", "@import", "url(h", "\u{1b}"]
        {
            assert!(!page.contains(forbidden), "{forbidden} is in {page}");
        }
        let without = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!without.contains("http:") && !without.contains("https:"), "it names another place: {page}");
        for tag in ["html", "head", "body", "table", "tr", "td", "th", "p", "svg", "text", "style", "h1"] {
            let opened =
                page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("&lt;script&gt;"), "{page}");
    }
}
