//! Rows as a table, with each figure also as a multiple of weir's.

use std::fmt::Write;

use serde_json::Value;

/// The proxy to compare with.
const OURS: &str = "weir";

/// Keys of a row, and their titles in the table.
const FIGURES: &[(&str, &str)] = &[
    ("cold_s", "cold start, s"),
    ("settled_processor_s", "processor, cold start, s"),
    ("idle_processor_s_per_minute", "processor, idle minute, s"),
    ("busy_processor_s_per_minute", "processor, busy minute, s"),
    ("memory_mb", "memory, MB"),
    ("change_median_ms", "change to packets, ms"),
    ("change_processor_median_ms", "processor, one change, ms"),
    ("drain_processor_percent", "processor, draining, %"),
];

/// Medians over all rounds: one line per figure, one column per proxy.
pub(crate) fn of(rows: &[Value]) -> String {
    let proxies = proxies(rows);
    let mut text = match rows.first() {
        Some(row) => format!("{} services, {} endpoints each\n{:<26}", row["services"], row["endpoints"], ""),
        None => return "nothing was measured\n".to_owned(),
    };
    // Writing to a string cannot fail.
    for proxy in &proxies {
        let _ = write!(text, " {proxy:>26}");
    }
    text.push('\n');
    for (key, name) in FIGURES {
        let _ = write!(text, "{name:<26}");
        let ours = median(rows, OURS, key);
        for proxy in &proxies {
            let _ = write!(text, " {:>26}", cell(median(rows, proxy, key), ours, *proxy == OURS));
        }
        text.push('\n');
    }
    text
}

/// The proxies in the order in which they were measured.
pub(crate) fn proxies(rows: &[Value]) -> Vec<&str> {
    let mut proxies = Vec::new();
    for proxy in rows.iter().filter_map(|row| row["proxy"].as_str()) {
        if !proxies.contains(&proxy) {
            proxies.push(proxy);
        }
    }
    proxies
}

fn cell(value: Option<f64>, ours: Option<f64>, is_ours: bool) -> String {
    match (value, ours) {
        (None, _) => "-".to_owned(),
        (Some(value), Some(ours)) if !is_ours && ours > 0.0 => format!("{value:.2} ({:.1} x)", value / ours),
        (Some(value), _) => format!("{value:.2}"),
    }
}

pub(crate) fn median<'r>(rows: impl IntoIterator<Item = &'r Value>, proxy: &str, key: &str) -> Option<f64> {
    let mut values: Vec<f64> =
        rows.into_iter().filter(|row| row["proxy"] == proxy).filter_map(|row| row[key].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn others_are_multiples_of_weir() {
        let row = |proxy: &str, cold: f64| json!({ "services": 7, "endpoints": 10, "proxy": proxy, "cold_s": cold });
        let text = of(&[row("weir", 2.0), row("other", 5.0), row("weir", 4.0), row("weir", 1.0)]);
        let line = text.lines().find(|line| line.starts_with("cold start")).unwrap();
        assert!(line.contains(" 2.00 ") && line.ends_with("5.00 (2.5 x)"), "{text}");
        assert_eq!(of(&[]), "nothing was measured\n");
    }
}
