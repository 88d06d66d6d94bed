//! Quantities as whole thousandths: exact for everything that quotas and limits compare.

use hikeshi_chaos::resource;
use serde_json::Value;

/// Kubernetes' largest quantity, 2^63 - 1, in thousandths: sums of such are far from what an `i128` holds.
const MOST: i128 = i64::MAX as i128 * 1000;

/// As [`resource::thousandths`], of a text or a JSON number. As in Kubernetes, what is beyond the largest quantity is
/// that one.
pub(crate) fn thousandths(quantity: &Value) -> Option<i128> {
    let exact = match quantity {
        Value::String(text) => resource::thousandths(text),
        Value::Number(number) => resource::thousandths(&number.to_string()),
        _ => None,
    };
    exact.map(|exact| exact.clamp(-MOST, MOST))
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
        assert_eq!((there("1e35"), there("-1e35")), (Some(MOST), Some(-MOST)));
        assert_eq!(thousandths(&Value::from(3)), Some(3000));
        assert_eq!(thousandths(&Value::from(0.25)), Some(250));
        for bad in [Value::Null, Value::from("x"), Value::from(true)] {
            assert_eq!(thousandths(&bad), None, "{bad}");
        }
    }
}
