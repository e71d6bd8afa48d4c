//! Plots.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::Played;
use crate::outcome::Slice;
use crate::traffic::Rate;

/// The width of a plot in pixels.
const WIDTH: u32 = 900;
/// The height of one panel in pixels.
const HEIGHT: u32 = 340;

/// The plot could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the plot: {0}")]
pub struct PlotError(String);

/// A line with its name; its colour depends on its position.
type Line = (String, Vec<(f64, f64)>);

/// The content of one panel.
struct Panel {
    title: String,
    x: String,
    y: &'static str,
    lines: Vec<Line>,
    /// Latencies differ by factors, weights by amounts.
    logarithmic: bool,
}

/// An SVG document with panels below each other. For each service: p99 against load, or p99 over time if there is
/// only one load; then, for its last load, weights and shares over time for each policy that changes weights.
///
/// # Errors
/// If the plotting library fails.
pub fn svg(all: &[Played]) -> Result<String, PlotError> {
    let mut panels = Vec::new();
    let mut rest = all;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|played| played.load.service == first.load.service).count();
        let (service, others) = rest.split_at(count);
        panels.extend(panels_of(service));
        rest = others;
    }
    let mut document = String::new();
    draw(&mut document, &panels).map_err(|error| PlotError(error.to_string()))?;
    Ok(document)
}

fn panels_of(all: &[Played]) -> Vec<Panel> {
    let Some(last) = all.last() else { return Vec::new() };
    let service = &last.load.service;
    let of_last = || all.iter().filter(|played| played.load.rate == last.load.rate);
    let mut panels = Vec::new();
    if all.iter().any(|played| played.load.rate != last.load.rate) {
        let percent = all.iter().all(|played| matches!(played.load.rate, Rate::Percent(_)));
        panels.push(Panel {
            title: format!("{service}: p99 against load"),
            x: if percent { "load in percent of capacity" } else { "connections per second" }.to_owned(),
            y: "ms",
            lines: of_last().map(|of| (of.policy.clone(), against_load(all, &of.policy))).collect(),
            logarithmic: true,
        });
    } else {
        panels.push(Panel {
            title: format!("{service}: p99 over time at a load of {}", last.load.rate),
            x: "seconds since the start of the warm-up".to_owned(),
            y: "ms",
            lines: of_last().map(|of| (of.policy.clone(), over_time(of))).collect(),
            logarithmic: true,
        });
    }
    for played in of_last().filter(|played| played.outcomes.iter().any(|outcome| outcome.weights_move())) {
        panels.push(Panel {
            title: format!("{service}: weights with {} at a load of {}", played.policy, played.load.rate),
            x: "seconds since the start of the warm-up".to_owned(),
            y: "weight",
            lines: by_endpoint(played, |slice, endpoint| slice.weights[endpoint]),
            logarithmic: false,
        });
        panels.push(Panel {
            title: format!("{service}: shares with {} at a load of {}", played.policy, played.load.rate),
            x: "seconds since the start of the warm-up".to_owned(),
            y: "percent",
            lines: by_endpoint(played, |slice, endpoint| Some(slice.shares()[endpoint])),
            logarithmic: false,
        });
    }
    panels
}

fn against_load(all: &[Played], policy: &str) -> Vec<(f64, f64)> {
    let point = |played: &Played| {
        let load = match played.load.rate {
            Rate::Percent(percent) => percent,
            Rate::PerSecond(_) => played.load.per_second,
        };
        Some((load, played.median(|outcome| outcome.percentile(0.99))?))
    };
    all.iter().filter(|played| played.policy == policy).filter_map(point).collect()
}

fn over_time(played: &Played) -> Vec<(f64, f64)> {
    let slices = played.outcomes.first().into_iter().flat_map(|outcome| &outcome.timeline);
    slices.filter_map(|slice| Some((slice.until.as_secs_f64(), slice.p99?))).collect()
}

/// A line over time for each endpoint, from the first seed.
fn by_endpoint(played: &Played, figure: impl Fn(&Slice, usize) -> Option<f64>) -> Vec<Line> {
    let line = |(endpoint, address): (usize, &std::net::SocketAddr)| {
        let slices = played.outcomes.first().into_iter().flat_map(|outcome| &outcome.timeline);
        let points = slices.filter_map(|slice| Some((slice.until.as_secs_f64(), figure(slice, endpoint)?)));
        (address.to_string(), points.collect())
    };
    played.load.addresses.iter().enumerate().map(line).collect()
}

type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn draw<'a>(document: &'a mut String, panels: &[Panel]) -> Result<(), DrawError<'a>> {
    let count = panels.len().max(1);
    let root = SVGBackend::with_string(document, (WIDTH, HEIGHT * count as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, panel) in root.split_evenly((count, 1)).iter().zip(panels) {
        let points = || panel.lines.iter().flat_map(|(_, points)| points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
        };
        if points().next().is_none() {
            continue;
        }
        let (left, right) = range(&mut points().map(|(x, _)| *x));
        let (low, high) = range(&mut points().map(|(_, y)| *y));
        // A single point still needs some width, and the legend needs room next to the lines.
        let right = left + (right - left).max(1.0) * 1.25;
        let mut builder = ChartBuilder::on(area);
        builder
            .caption(&panel.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70);
        if panel.logarithmic {
            let low = low.max(0.001);
            let y = (low * 0.8..high.max(low) * 1.25).log_scale();
            let mut chart = builder.build_cartesian_2d(left..right, y)?;
            chart.configure_mesh().x_desc(&panel.x).y_desc(panel.y).draw()?;
            draw_lines(&mut chart, &panel.lines)?;
        } else {
            let mut chart = builder.build_cartesian_2d(left..right, 0.0..high.max(1.0) * 1.1)?;
            chart.configure_mesh().x_desc(&panel.x).y_desc(panel.y).draw()?;
            draw_lines(&mut chart, &panel.lines)?;
        }
    }
    root.present()
}

fn draw_lines<'c, 's: 'c, Y: Ranged<ValueType = f64>>(
    chart: &mut ChartContext<'c, SVGBackend<'s>, Cartesian2d<RangedCoordf64, Y>>,
    lines: &[Line],
) -> Result<(), DrawError<'s>> {
    for (place, (name, points)) in lines.iter().enumerate() {
        let style = Palette99::pick(place).stroke_width(2);
        let series = LineSeries::new(points.iter().copied(), style).point_size(2);
        chart
            .draw_series(series)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .draw()
}
