//! The path of one packet through a node, from `weir trace`, as a picture.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use weir_core::text::abridged;
use weir_core::trace::{Packet, Step, Trace, Verdict};

use super::page::escaped;

/// A traced packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Journey {
    /// The packet: protocol, source, destination.
    pub(crate) packet: String,
    /// The stops on its path, in order.
    pub(crate) stops: Vec<Stop>,
    /// What happens to it.
    pub(crate) verdict: String,
    /// The real servers that IPVS chooses from.
    pub(crate) ways: Vec<Way>,
}

/// A table of the kernel with the rules that applied, or an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stop {
    /// The table, or what happened.
    pub(crate) name: String,
    /// The rules that applied, each with its chain.
    pub(crate) rules: Vec<String>,
}

/// A real server that may get the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Way {
    /// Its address.
    pub(crate) real_server: String,
    /// Its weight.
    pub(crate) weight: u16,
    /// Whether it sees the sender's own address.
    pub(crate) source_kept: bool,
}

/// The most real servers drawn.
const DRAWN: usize = 8;

impl Journey {
    /// Builds the picture's data from a trace.
    pub(crate) fn of(packet: &Packet, trace: &Trace) -> Journey {
        let mut stops: Vec<Stop> = Vec::new();
        for step in &trace.steps {
            let (name, rule) = match step {
                Step::Event(text) => (text.clone(), None),
                Step::Rule(place, rule) | Step::Unknown(place, rule) => {
                    (format!("table {}", place.table), Some(format!("{}: {rule}", place.chain)))
                }
            };
            match stops.last_mut().filter(|last| last.name == name) {
                Some(last) => last.rules.extend(rule),
                None => stops.push(Stop { name, rules: rule.into_iter().collect() }),
            }
        }
        let (verdict, ways) = match &trace.verdict {
            Verdict::Delivered(_, ways) => {
                let gets = match ways.len() {
                    1 => "this real server gets the packet",
                    _ => "one of these real servers gets the packet",
                };
                (gets.to_owned(), ways.as_slice())
            }
            other => (format!("the packet {other}"), [].as_slice()),
        };
        let ways = ways.iter().map(|way| Way {
            real_server: way.real.to_string(),
            weight: way.weight.0,
            source_kept: way.source == weir_core::trace::Source::Kept,
        });
        Journey { packet: packet.to_string(), stops, verdict, ways: ways.collect() }
    }
}

/// Sizes in pixels: the picture, a line of text, and the gap that an arrow crosses.
const WIDTH: usize = 920;
const LINE: usize = 17;
const GAP: usize = 26;
const MARGIN: usize = 8;

/// The most characters that fit on a line of a rule.
const RULE: usize = 128;

/// The picture, with a text alternative.
pub(super) fn svg(journey: &Journey) -> String {
    let mut boxes = String::new();
    let mut y = MARGIN;
    let first = Stop { name: format!("packet {}", journey.packet), rules: Vec::new() };
    for stop in [&first].into_iter().chain(&journey.stops) {
        let height = LINE * (1 + stop.rules.len()) + 12;
        let _ = writeln!(
            boxes,
            "<rect x=\"{MARGIN}\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"6\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            WIDTH - 2 * MARGIN,
            MARGIN + 10,
            y + LINE + 2,
            shown(&stop.name, RULE)
        );
        for (index, rule) in stop.rules.iter().enumerate() {
            let at = y + LINE * (index + 2) + 2;
            let _ =
                write!(boxes, "<text class=\"rule\" x=\"{}\" y=\"{at}\">{}", MARGIN + 20, shown(rule, RULE));
            let _ = writeln!(boxes, "<title>{}</title></text>", escaped(rule));
        }
        y += height;
        boxes += &arrow(WIDTH / 2, y, WIDTH / 2, y + GAP);
        y += GAP;
    }
    let _ = writeln!(
        boxes,
        "<text x=\"{}\" y=\"{}\">{}</text>",
        MARGIN + 10,
        y + LINE,
        shown(&journey.verdict, RULE)
    );
    y += LINE + 8;
    boxes += &real_servers(&journey.ways, &mut y);
    let label = escaped(&format!("Path of {}: {}", journey.packet, journey.verdict));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {0}\" width=\"{WIDTH}\" height=\"{0}\" \
         role=\"img\" aria-label=\"{label}\">\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" \
         markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\"/></marker></defs>\n{boxes}</svg>\n",
        y + MARGIN
    )
}

/// The real servers side by side, four in a row.
fn real_servers(ways: &[Way], y: &mut usize) -> String {
    const IN_ROW: usize = 4;
    let width = (WIDTH - 2 * MARGIN) / IN_ROW;
    let mut boxes = String::new();
    for row in ways[..ways.len().min(DRAWN)].chunks(IN_ROW) {
        for (index, way) in row.iter().enumerate() {
            let x = MARGIN + index * width;
            let source =
                if way.source_kept { "sees the sender's address" } else { "sees the node's address" };
            let _ = writeln!(
                boxes,
                "<rect class=\"via\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
                 <text x=\"{2}\" y=\"{3}\">{4}</text><text class=\"faint\" x=\"{2}\" y=\"{5}\">weight {6}</text>\
                 <text class=\"faint\" x=\"{2}\" y=\"{7}\">{source}</text>",
                width - 8,
                3 * LINE + 10,
                x + 10,
                *y + LINE,
                shown(&way.real_server, 30),
                *y + 2 * LINE,
                way.weight,
                *y + 3 * LINE,
            );
        }
        *y += 3 * LINE + 18;
    }
    if ways.len() > DRAWN {
        let more = ways.len() - DRAWN;
        let _ = writeln!(
            boxes,
            "<text class=\"faint\" x=\"{}\" y=\"{}\">and {more} more</text>",
            MARGIN + 10,
            *y + LINE
        );
        *y += LINE + 8;
    }
    boxes
}

fn arrow(x1: usize, y1: usize, x2: usize, y2: usize) -> String {
    format!("<path d=\"M{x1} {y1} L{x2} {y2}\" marker-end=\"url(#tip)\"/>\n")
}

fn shown(text: &str, most: usize) -> String {
    escaped(&abridged(text, most))
}
