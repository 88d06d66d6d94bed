//! Budget arithmetic and its plain words.

use hikeshi_scenario::Text;

use crate::windows::BurnAlert;

/// Share of the error budget left after `bad` of `total` events under an objective in percent: 1 is untouched, 0 spent, negative
/// overspent. Without events nothing is spent; an objective of 100 has no budget, so the first bad event overspends it wholly.
pub fn budget_left(total: u64, bad: u64, objective: f64) -> f64 {
    if total == 0 || bad == 0 {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts: 53 bits are enough")]
    let ratio = bad as f64 / total as f64;
    let budget = (100.0 - objective) / 100.0;
    if budget <= 0.0 {
        f64::NEG_INFINITY
    } else {
        1.0 - ratio / budget
    }
}

/// How many times too fast a ratio of bad events spends the budget.
pub fn burn_rate(error_ratio: f64, objective: f64) -> f64 {
    let budget = (100.0 - objective) / 100.0;
    if budget > 0.0 {
        error_ratio / budget
    } else {
        f64::INFINITY
    }
}

/// Seconds from a sudden `error_ratio` to the alert on steady traffic and the uncompressed clock; None: it never fires.
pub fn detection_seconds(alert: &BurnAlert, error_ratio: f64, objective: f64) -> Option<f64> {
    let needed = alert.factor * (100.0 - objective) / 100.0;
    #[expect(clippy::cast_precision_loss, reason = "at most three days of seconds")]
    let long = alert.long.seconds as f64;
    (error_ratio > needed).then(|| long * needed / error_ratio)
}

/// What a share of budget left means.
pub fn budget_words(left: f64) -> Text {
    let percent = left * 100.0;
    let (ja, en) = if !left.is_finite() || left < 0.0 {
        let over = if left.is_finite() {
            format!("{:.0} %", -percent)
        } else {
            "∞".to_owned()
        };
        (
            format!("エラーバジェットを {over} 超過しました"),
            format!("the error budget is overspent by {over}"),
        )
    } else if left >= 0.995 {
        (
            "エラーバジェットは手つかずです".to_owned(),
            "the error budget is untouched".to_owned(),
        )
    } else if left < 0.25 {
        (
            format!("エラーバジェットは残りわずか {percent:.0} % です"),
            format!("only {percent:.0} % of the error budget is left"),
        )
    } else {
        (
            format!("エラーバジェットは残り {percent:.0} % です"),
            format!("{percent:.0} % of the error budget is left"),
        )
    };
    Text { ja, en }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::ALERTS;

    #[test]
    fn budgets_by_hand() {
        assert!((budget_left(1_000, 1, 99.9) - 0.0).abs() < 1e-9);
        assert!((budget_left(1_000, 5, 99.0) - 0.5).abs() < 1e-9);
        assert!(budget_left(100, 50, 99.0) < -40.0);
        assert!((budget_left(0, 0, 99.0) - 1.0).abs() < f64::EPSILON);
        assert!(budget_words(budget_left(100, 50, 99.0)).en.contains("overspent"));
    }

    /// The workbook's table for 99.9 % over 30 days.
    #[test]
    fn detection_times_are_the_published_ones() {
        let page = |ratio| {
            ALERTS[..2]
                .iter()
                .filter_map(|a| detection_seconds(a, ratio, 99.9))
                .min_by(f64::total_cmp)
        };
        assert_eq!(page(1.0).map(|s| s.round()), Some(52.0));
        assert_eq!(page(0.1).map(|s| (s / 6.0).round() / 10.0), Some(8.6));
        assert_eq!(page(0.01).map(|s| (s / 360.0).round() / 10.0), Some(3.6));
        assert_eq!(page(0.005), None);
        assert_eq!(
            detection_seconds(&ALERTS[2], 0.005, 99.9).map(|s| (s / 360.0).round() / 10.0),
            Some(14.4)
        );
    }
}
