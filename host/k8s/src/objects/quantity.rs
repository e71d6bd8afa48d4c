//! Quantities as Kubernetes writes them: `500m`, `4`, `1.5`, `2e3`, `16Gi`, `129M`
//! (`k8s.io/apimachinery/pkg/api/resource`).

/// Thousandths, rounded up; `None` if it is no quantity, negative, or too large.
pub(crate) fn millis(text: &str) -> Option<u64> {
    scaled(text, 1000.0)
}

/// Whole units, rounded up; see [`millis`].
pub(crate) fn bytes(text: &str) -> Option<u64> {
    scaled(text, 1.0)
}

fn scaled(text: &str, by: f64) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '+').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse::<i8>().ok()?.into()),
    };
    let value = (number.parse::<f64>().ok()? * factor * by).ceil();
    // 2^63: what fits the API server's own integers.
    (value.is_finite() && value < 9.2e18).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, thousandths) in [
            ("500m", 500),
            ("4", 4000),
            ("1.5", 1500),
            ("2e3", 2_000_000),
            ("0", 0),
            (".5", 500),
            ("1u", 1),
            ("+1", 1000),
        ] {
            assert_eq!(millis(text), Some(thousandths), "{text}");
        }
        for (text, units) in [
            ("16Mi", 16 << 20),
            ("1Gi", 1 << 30),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("1Ki", 1024),
            ("1E", 1_000_000_000_000_000_000),
            ("1500m", 2),
        ] {
            assert_eq!(bytes(text), Some(units), "{text}");
        }
    }

    #[test]
    fn everything_else_is_none() {
        for text in [
            "",
            "m",
            "-1",
            "1mi",
            "1 Gi",
            "Gi",
            "1e",
            "1e400",
            "9E99",
            "12345678901234567890",
            "1.2.3",
            "NaN",
            "inf",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
