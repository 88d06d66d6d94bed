//! Kubernetes' resource quantities (`250m`, `1.5`, `64Mi`, `1e3`) as whole thousandths: exact for all that is compared.

/// The value in thousandths (`100m` is 100, `1` is 1,000, `1Ki` is 1,024,000), rounded up; `None` if it is no quantity, or
/// one beyond 128 bits. A sign may only stand in front of the number or of its exponent.
pub fn thousandths(text: &str) -> Option<i128> {
    let end = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || c == '.' || (at == 0 && (c == '+' || c == '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
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
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    let divisor = divisor.checked_mul(10_i128.checked_pow(places)?)?;
    let value = digits.checked_mul(scale)?;
    Some(value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_counts() {
        for (text, expected) in [
            ("100m", 100),
            ("1", 1_000),
            ("+1", 1_000),
            ("-1", -1_000),
            ("-1.5", -1_500),
            ("0.5", 500),
            (".5", 500),
            ("5.", 5_000),
            ("1.5Gi", 1_610_612_736_000),
            ("64Mi", 67_108_864_000),
            ("128974848000m", 128_974_848_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1e+3", 1_000_000),
            ("15e-1", 1_500),
            ("1E", 1_000_000_000_000_000_000_000),
            ("1Ei", 1_152_921_504_606_846_976_000),
            ("1n", 1),
            ("1000001n", 2),
            ("2u", 1),
            // Up is towards the larger number, below 0 too.
            ("-1n", 0),
        ] {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            ".",
            "+",
            "-",
            "--1",
            "1-",
            "1+1",
            "1-2m",
            "1.2.3",
            "m",
            "1x",
            "1mm",
            "1 ",
            " 1",
            "1 Gi",
            "12 parsecs",
            "1e",
            "1e1.5",
            "1e99",
            "9E99",
            "e3",
            "0x10",
            "1,5",
            "\u{664}",
        ] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn thousandths_are_themselves(value in any::<i64>()) {
            prop_assert_eq!(thousandths(&format!("{value}m")), Some(i128::from(value)));
        }

        #[test]
        fn a_fraction_is_what_its_digits_say(whole in 0_u32.., micro in 0_u32..1_000_000) {
            let exact = i128::from(whole) * 1_000_000 + i128::from(micro);
            let text = format!("{whole}.{micro:06}");
            prop_assert_eq!(thousandths(&text), Some((exact + 999).div_euclid(1_000)));
            prop_assert_eq!(thousandths(&format!("-{text}")), Some(-exact.div_euclid(1_000)));
            prop_assert_eq!(thousandths(&format!("{exact}u")), thousandths(&text));
        }

        #[test]
        fn a_suffix_is_a_factor(value in any::<u32>(), which in 0_u32..6) {
            let at = usize::try_from(which).unwrap_or(0);
            let (binary, decimal) = (["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][at], ["k", "M", "G", "T", "P", "E"][at]);
            let milli = i128::from(value) * 1_000;
            prop_assert_eq!(thousandths(&format!("{value}{binary}")), Some(milli << (10 * (which + 1))));
            let power = 3 * (which + 1);
            prop_assert_eq!(thousandths(&format!("{value}{decimal}")), Some(milli * 10_i128.pow(power)));
            prop_assert_eq!(thousandths(&format!("{value}e{power}")), Some(milli * 10_i128.pow(power)));
        }

        #[test]
        fn no_text_is_too_strange(text in "[0-9+\\-.eEkKmMGinu ]{0,50}|.{0,12}") {
            let _ = thousandths(&text);
        }
    }
}
