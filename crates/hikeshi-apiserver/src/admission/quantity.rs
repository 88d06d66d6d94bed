//! Quantities as whole thousandths: exact for everything that quotas and limits compare.

use serde_json::Value;

/// Kubernetes' largest quantity, 2^63 - 1, in thousandths: sums of such are far from what an `i128` holds.
const MOST: i128 = i64::MAX as i128 * 1000;

/// The value in thousandths (`100m` is 100, `1` is 1000, `1Ki` is 1,024,000), rounded up; `None` if it is no quantity.
/// As in Kubernetes, what is beyond the largest quantity is that one.
pub(crate) fn thousandths(quantity: &Value) -> Option<i128> {
    let number;
    let text = match quantity {
        Value::String(text) => text.trim(),
        Value::Number(n) => {
            number = n.to_string();
            &number
        }
        _ => return None,
    };
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    // Thousandths per unit, as a numerator and a denominator.
    let (scale, divisor): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        "Ei" => (1_000 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            match u32::try_from(power) {
                Ok(power) => (10_i128.checked_pow(power)?.checked_mul(1_000)?, 1),
                Err(_) => (1_000, 10_i128.checked_pow(power.unsigned_abs())?),
            }
        }
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_i128
        .checked_pow(u32::try_from(fraction.len()).ok()?)?
        .checked_mul(divisor)?;
    let value = value.checked_mul(scale)?;
    let value = value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0);
    Some(value.clamp(-MOST, MOST))
}

/// Thousandths as Kubernetes writes them: bytes with a binary suffix where that is exact, the rest in units or thousandths.
pub(crate) fn text(name: &str, thousandths: i128) -> String {
    if thousandths % 1000 != 0 {
        return format!("{thousandths}m");
    }
    let units = thousandths / 1000;
    let bytes = name.ends_with("memory") || name.ends_with("storage");
    let suffixes = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let fits = |(_, power): &&(&str, u32)| units != 0 && units % (1_i128 << power) == 0;
    match suffixes.iter().find(fits).filter(|_| bytes) {
        Some((suffix, power)) => format!("{}{suffix}", units >> power),
        None => units.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_there_and_back() {
        let there = |t: &str| thousandths(&Value::from(t));
        for (name, quantity) in [
            ("cpu", "250m"),
            ("cpu", "2"),
            ("memory", "64Mi"),
            ("requests.storage", "3Gi"),
            ("pods", "7"),
        ] {
            assert_eq!(text(name, there(quantity).unwrap()), quantity);
        }
        assert_eq!(there("1.5"), Some(1500));
        assert_eq!(there("0.5Gi"), there("512Mi"));
        assert_eq!(there("1n"), Some(1));
        assert_eq!(there("1e3"), Some(1_000_000));
        assert_eq!(there("-1"), Some(-1000));
        assert_eq!((there("1e35"), there("-1e35")), (Some(MOST), Some(-MOST)));
        assert_eq!(thousandths(&Value::from(3)), Some(3000));
        for bad in ["", "x", "1x", "1e99", "9E99"] {
            assert_eq!(there(bad), None, "{bad}");
        }
    }
}
