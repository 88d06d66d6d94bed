//! Resource quantities as numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in thousandths (`100m` -> 100, `1` -> 1000, `1Ki` -> 1,024,000), rounded up; `None` if it is no quantity.
pub(crate) fn thousandths(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let end = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || c == '.' || (at == 0 && (c == '+' || c == '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    // Suffix as (numerator, denominator) over thousandths.
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
                Ok(power) => (1_000_i128.checked_mul(10_i128.checked_pow(power)?)?, 1),
                Err(_) => (1_000, 10_i128.checked_pow(power.unsigned_abs())?),
            }
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = divisor.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let value = digits.checked_mul(scale)?;
    Some(value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0))
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
    fn suffixes() {
        let of = |text: &str| thousandths(&Quantity(text.to_owned()));
        assert_eq!(of("100m"), Some(100));
        assert_eq!(of("1"), Some(1_000));
        assert_eq!(of("0.5"), Some(500));
        assert_eq!(of("1.5Gi"), Some(1_610_612_736_000));
        assert_eq!(of("64Mi"), Some(67_108_864_000));
        assert_eq!(of("1e3"), Some(1_000_000));
        assert_eq!(of("1E"), Some(1_000_000_000_000_000_000_000));
        assert_eq!(of("5n"), Some(1), "rounded up");
        assert_eq!(of("12 parsecs"), None);
        assert_eq!(of(""), None);
    }
}
