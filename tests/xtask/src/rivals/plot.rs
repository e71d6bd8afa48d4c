//! Rows as a plot: what a change costs with each proxy, against the number of services.

use plotters::prelude::*;
use serde_json::Value;

use super::table::{median, proxies};

/// The size of a plot in pixels.
const WIDTH: u32 = 1080;
const HEIGHT: u32 = 380;

/// Keys of a row, and the titles of the panels.
const PANELS: &[(&str, &str)] = &[
    ("change_median_ms", "change to packets, ms"),
    ("change_processor_median_ms", "processor for one change, ms"),
    ("idle_processor_s_per_minute", "processor in an idle minute, s"),
];

/// The smallest value that is drawn, as axes are logarithmic.
const SMALLEST: f64 = 0.01;

/// The numbers of services with their medians.
type Points = Vec<(f64, f64)>;

/// An SVG document with panels side by side.
///
/// # Errors
/// When the plotting library fails, or there is nothing to draw.
pub(crate) fn svg(rows: &[Value]) -> anyhow::Result<String> {
    let mut document = String::new();
    draw(&mut document, rows).map_err(|error| anyhow::anyhow!("cannot draw the plot: {error}"))?;
    Ok(document)
}

fn draw<'a>(
    document: &'a mut String,
    rows: &[Value],
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let root = SVGBackend::with_string(document, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, (key, title)) in root.split_evenly((1, PANELS.len())).iter().zip(PANELS) {
        let lines: Vec<(&str, Points)> =
            proxies(rows).into_iter().map(|proxy| (proxy, points(rows, proxy, key))).collect();
        let all = || lines.iter().flat_map(|(_, points)| points.iter().copied());
        let Some((left, right)) = range(all().map(|(services, _)| services)) else { continue };
        let Some((low, high)) = range(all().map(|(_, value)| value)) else { continue };
        // The names stand right of the last points.
        let x = (left * 0.8..right * 6.0).log_scale();
        let y = (low * 0.5..high * 2.0).log_scale();
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(x, y)?;
        chart.configure_mesh().x_desc("services, 10 endpoints each").x_labels(4).draw()?;
        for (place, (proxy, points)) in lines.iter().enumerate() {
            let style = Palette99::pick(place).stroke_width(2);
            chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?;
            let text = |&(x, y): &(f64, f64)| {
                EmptyElement::at((x, y)) + Text::new((*proxy).to_owned(), (7, -6), ("sans-serif", 12))
            };
            chart.draw_series(points.last().map(text))?;
        }
    }
    root.present()
}

fn points(rows: &[Value], proxy: &str, key: &str) -> Points {
    let mut numbers: Vec<u64> = rows.iter().filter_map(|row| row["services"].as_u64()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let point = |services: u64| {
        let value = median(rows.iter().filter(|row| row["services"] == services), proxy, key)?;
        Some((f64::from(u32::try_from(services).ok()?), value.max(SMALLEST)))
    };
    numbers.into_iter().filter_map(point).collect()
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_proxy_has_a_line_through_its_medians() {
        let row = |proxy: &str, services: u32, ms: f64| json!({ "services": services, "proxy": proxy, "change_median_ms": ms });
        let rows = [
            row("weir", 5000, 0.0),
            row("weir", 1000, 90.0),
            row("weir", 1000, 80.0),
            row("weir", 1000, 70.0),
            row("other", 1000, 900.0),
        ];
        assert_eq!(points(&rows, "weir", "change_median_ms"), [(1000.0, 80.0), (5000.0, SMALLEST)]);
        assert_eq!(points(&rows, "weir", "no such key"), []);
        let svg = svg(&rows).unwrap();
        // Both names and one title: the other panels have no rows.
        for expected in ["weir\n", "other\n", "change to packets, ms\n"] {
            assert_eq!(svg.matches(expected).count(), 1, "{expected}: {svg}");
        }
        assert!(!svg.contains("idle"));
    }
}
