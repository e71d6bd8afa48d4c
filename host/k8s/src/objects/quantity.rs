//! Quantities as Kubernetes writes them: `500m`, `4`, `1.5`, `2e3`, `16Gi`, `129M`
//! (`k8s.io/apimachinery/pkg/api/resource`).

/// Thousandths, rounded up; `None` if the quantity is invalid, negative or too large.
pub(crate) fn millis(text: &str) -> Option<u64> {
    scaled(text, 3)
}

/// A Kubernetes quantity in whole units, rounded up; `None` if it is invalid, negative or too large.
pub fn bytes(text: &str) -> Option<u64> {
    scaled(text, 0)
}

/// The quantity in units of 10^-`places`. Integer arithmetic, because in floating point 9 × 0.001 × 1000 is slightly
/// more than the 9 thousandths of `9m`.
fn scaled(text: &str, places: i32) -> Option<u64> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (twos, tens) = factor(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    let fine = digits.checked_mul(1 << twos)?;
    let shift = tens + places - i32::try_from(fraction.len()).ok()?;
    let power = 10u128.checked_pow(shift.unsigned_abs());
    let value = match power {
        _ if fine == 0 => 0,
        Some(power) if shift < 0 => fine.div_ceil(power),
        // More digits than the number can have: more than zero but less than one.
        None if shift < 0 => 1,
        power => fine.checked_mul(power?)?,
    };
    // The range of the API server's own integers.
    i64::try_from(value).ok()?.try_into().ok()
}

/// A suffix's factor, as powers of two and of ten.
fn factor(suffix: &str) -> Option<(u32, i32)> {
    let exponents = match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        exponent => (0, exponent.strip_prefix(['e', 'E'])?.parse::<i8>().ok()?.into()),
    };
    Some(exponents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            ("9m", 9),
            ("2.007", 2007),
            ("0.0001", 1),
            ("0e100", 0),
            ("1e-100", 1),
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
            ("1.5Gi", 3 << 29),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9223372036854775807", i64::MAX as u64),
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
            "9223372036854775808",
            "8Ei",
            ".",
            "+",
            "++1",
            "1.2.3",
            "NaN",
            "inf",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
    proptest! {
        #[test]
        fn every_number_is_exact(number in 0..i64::MAX as u64 / 1000) {
            prop_assert_eq!(millis(&format!("{number}m")), Some(number));
            prop_assert_eq!(bytes(&format!("{number}000m")), Some(number));
            prop_assert_eq!(millis(&format!("{}.{:03}", number / 1000, number % 1000)), Some(number));
        }

        #[test]
        fn no_text_is_too_odd(text in "[+.0-9]{0,60}[a-zA-Z]{0,2}[-+0-9]{0,5}|\\PC{0,20}") {
            let (fine, coarse) = (millis(&text), bytes(&text));
            prop_assert!(fine.is_none_or(|fine| coarse == Some(fine.div_ceil(1000))), "{fine:?} {coarse:?}");
        }
    }
}
