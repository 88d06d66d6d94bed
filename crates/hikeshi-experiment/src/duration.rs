//! Go's durations, as Chaos Mesh writes them: `300ms`, `1h30m`, `1.5s`.

use std::fmt::Write;

/// Seconds; `None` if the text is no duration. Negative only with a leading `-` (a clock may be set back).
pub fn seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    Some(sign * total)
}

/// As Go would write whole seconds: `90s` is `1m30s`.
pub fn words(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; a huge one saturates"
    )]
    let whole = seconds.max(0.0).round() as u64;
    if whole == 0 {
        return if seconds > 0.0 {
            format!("{:.0}ms", seconds * 1e3)
        } else {
            "0s".to_owned()
        };
    }
    let mut text = String::new();
    for (unit, size) in [("h", 3_600), ("m", 60), ("s", 1)] {
        let count = match unit {
            "h" => whole / size,
            _ => whole % (size * 60) / size,
        };
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_go() {
        for (text, expected) in [
            ("40s", 40.0),
            ("1h30m", 5_400.0),
            ("1.5s", 1.5),
            ("-5m", -300.0),
            ("0", 0.0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for wrong in ["", "5", "s", "1 s", "1d", "1..2s", "--1s"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        for (number, text) in [
            (40.0, "40s"),
            (5_400.0, "1h30m"),
            (0.25, "250ms"),
            (60.0, "1m"),
            (43_200.0, "12h"),
        ] {
            assert_eq!(words(number), text);
        }
    }
}
