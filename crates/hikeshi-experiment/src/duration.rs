//! Go's durations, as Chaos Mesh writes them: `300ms`, `1h30m`, `1.5s`.

use std::fmt::Write;

pub use hikeshi_chaos::quantity::seconds;

/// The same in Japanese: `1 分 30 秒`.
pub fn words_ja(seconds: f64) -> String {
    let text = words(seconds);
    let spelt = text
        .replace("ms", " ミリ秒 ")
        .replace('h', " 時間 ")
        .replace('m', " 分 ")
        .replace('s', " 秒 ");
    spelt.split_whitespace().collect::<Vec<_>>().join(" ")
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
        for (number, text) in [
            (40.0, "40s"),
            (5_400.0, "1h30m"),
            (0.25, "250ms"),
            (60.0, "1m"),
            (43_200.0, "12h"),
        ] {
            assert_eq!(words(number), text);
        }
        for (number, text) in [(90.0, "1 分 30 秒"), (0.25, "250 ミリ秒"), (3_600.0, "1 時間")] {
            assert_eq!(words_ja(number), text);
        }
    }
}
