//! Resource quantities as numbers.

use hikeshi_chaos::resource;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Kubernetes' largest quantity, 2^63 - 1, in thousandths: sums of such are far from what an `i128` holds.
const MOST: i128 = i64::MAX as i128 * 1_000;

/// As [`resource::thousandths`]. As in Kubernetes, what is beyond the largest quantity is that one.
pub(crate) fn thousandths(quantity: &Quantity) -> Option<i128> {
    let exact = resource::thousandths(&quantity.0)?;
    Some(exact.clamp(-MOST, MOST))
}

/// The quantity of so many thousandths, in Kubernetes' shortest decimal form (`1500` -> `1500m`, `2000000` -> `2k`).
pub(crate) fn text(thousandths: i128) -> Quantity {
    if thousandths % 1_000 != 0 {
        return Quantity(format!("{thousandths}m"));
    }
    let mut number = thousandths / 1_000;
    let mut suffix = "";
    for larger in ["k", "M", "G", "T", "P", "E"] {
        if number == 0 || number % 1_000 != 0 {
            break;
        }
        number /= 1_000;
        suffix = larger;
    }
    Quantity(format!("{number}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_shortest_exact_ones() {
        for (value, expected) in [
            (0, "0"),
            (1_500, "1500m"),
            (2_000, "2"),
            (2_000_000, "2k"),
            (104_857_600_000, "104857600"),
        ] {
            assert_eq!(text(value).0, expected);
            assert_eq!(thousandths(&text(value)), Some(value));
        }
    }

    #[test]
    fn nothing_is_beyond_the_largest_quantity() {
        let of = |text: &str| thousandths(&Quantity(text.to_owned()));
        assert_eq!((of("1e35"), of("-1e35")), (Some(MOST), Some(-MOST)));
    }
}
