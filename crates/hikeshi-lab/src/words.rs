//! Figures in plain words.

use hikeshi_scenario::Text;

pub(crate) fn text(ja: impl Into<String>, en: impl Into<String>) -> Text {
    Text {
        ja: ja.into(),
        en: en.into(),
    }
}

/// A number with three significant digits and no zeros at its end.
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a double is small")]
    let digits = 2 - value.abs().log10().floor() as i32;
    let places = usize::try_from(digits.clamp(0, 9)).unwrap_or(0);
    let text = format!("{value:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Seconds as people read them.
pub fn seconds(value: f64) -> Text {
    if value < 0.9995 {
        let ms = number(value * 1e3);
        text(format!("{ms} ミリ秒"), format!("{ms} ms"))
    } else {
        let s = number(value);
        text(format!("{s} 秒"), format!("{s} s"))
    }
}

/// A share (0 to 1) in percent.
pub fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let said = [0.00001, 0.015, 0.001, 0.2, 1.0].map(percent);
        assert_eq!(said, ["0.001 %", "1.5 %", "0.1 %", "20 %", "100 %"]);
        assert_eq!(seconds(0.2).en, "200 ms");
        assert_eq!(seconds(1.0).ja, "1 秒");
        assert_eq!(seconds(1.234_5).en, "1.23 s");
        assert_eq!(seconds(0.9999).en, "1 s");
        assert_eq!(number(1_234.0), "1234");
    }
}
