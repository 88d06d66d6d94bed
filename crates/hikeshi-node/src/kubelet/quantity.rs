//! Kubernetes quantities: `100m`, `1.5`, `64Mi`, `1G`.

/// The value in units of 1/1000; `None` if it is not a quantity.
fn thousandths(text: &str) -> Option<f64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor = match suffix {
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "P" => 1e18,
        "Ki" => 1e3 * 1024.0,
        "Mi" => 1e3 * 1_048_576.0,
        "Gi" => 1e3 * 1_073_741_824.0,
        "Ti" => 1e3 * 1_099_511_627_776.0,
        "Pi" => 1e3 * 1_125_899_906_842_624.0,
        exponent => 1e3 * 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Thousandths, rounded up: for CPU, millicores.
pub fn millis(text: &str) -> Option<u64> {
    thousandths(text).map(|value| value.ceil() as u64)
}

/// Whole units, rounded up: for memory, bytes.
pub fn units(text: &str) -> Option<u64> {
    thousandths(text).map(|value| (value / 1000.0).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suffix_counts() {
        assert_eq!(millis("250m"), Some(250));
        assert_eq!(millis("1.5"), Some(1500));
        assert_eq!(millis("2"), Some(2000));
        assert_eq!(units("64Mi"), Some(64 << 20));
        assert_eq!(units("1e3"), Some(1000));
        assert_eq!(units("128974848000m"), Some(128_974_848));
        assert_eq!(units("1G"), Some(1_000_000_000));
        assert_eq!(millis("lots"), None);
    }
}
