//! When to be told: alerts as shares of the period's budget, scaled to any period.

use hikeshi_scenario::Dur;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::period::Period;

/// Who must look, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Somebody is woken.
    Page,
    /// Somebody looks on a working day.
    Ticket,
}

impl Severity {
    /// As the `severity` label says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

/// One alert of a policy: so much of the period's budget spent within the long window, and still being spent in the short one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertPolicy {
    pub severity: Severity,
    /// Percent of the period's error budget.
    pub budget: f64,
    #[schemars(with = "String")]
    pub long: Dur,
    /// A twelfth of the long window where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub short: Option<Dur>,
}

/// The published policy (SRE workbook, chapter 5): 2 % in an hour and 5 % in six page, 10 % in one and in three days is a ticket.
pub fn usual() -> Vec<AlertPolicy> {
    [
        (Severity::Page, 2.0, 3_600),
        (Severity::Page, 5.0, 21_600),
        (Severity::Ticket, 10.0, 86_400),
        (Severity::Ticket, 10.0, 3 * 86_400),
    ]
    .into_iter()
    .map(|(severity, budget, long)| AlertPolicy {
        severity,
        budget,
        long: Dur::secs(long),
        short: None,
    })
    .collect()
}

/// A length of time with the name that rules and labels give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub seconds: u64,
}

impl Span {
    /// `5m`, `1h`, `3d`: in the largest unit that is whole, as Prometheus reads it.
    pub fn name(self) -> String {
        for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
            if self.seconds >= seconds && self.seconds.is_multiple_of(seconds) {
                return format!("{}{unit}", self.seconds / seconds);
            }
        }
        format!("{}s", self.seconds)
    }
}

impl From<Dur> for Span {
    fn from(length: Dur) -> Self {
        Self {
            seconds: length.get().as_secs(),
        }
    }
}

/// An alert of one objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burn {
    pub severity: Severity,
    /// How many times faster than allowed the budget is being spent.
    pub factor: f64,
    pub long: Span,
    pub short: Span,
    /// What the policy asked for, where `factor` is another: see [`burn`].
    pub asked: f64,
}

/// Below this a budget is never spent before the period ends, so an alert would speak of nothing; 28 days' 0.933 is still one.
const SLOWEST: f64 = 0.9;

/// `factor = budget x period / long`, the short window a twelfth of the long one. A factor that would never spend the
/// budget is raised to 1.
pub fn burn(alert: &AlertPolicy, period: Period) -> Burn {
    #[expect(clippy::cast_precision_loss, reason = "at most a year of seconds")]
    let per_long = period.seconds() as f64 / (alert.long.get().as_secs().max(1)) as f64;
    // Without the noise of binary fractions: 14.4, not 14.399999999999999.
    let asked = (alert.budget / 100.0 * per_long * 1e9).round() / 1e9;
    let long = Span::from(alert.long);
    let short = alert.short.map_or(
        Span {
            seconds: (long.seconds / 12).max(1),
        },
        Span::from,
    );
    Burn {
        severity: alert.severity,
        factor: if asked < SLOWEST { 1.0 } else { asked },
        long,
        short,
        asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(days: u64) -> Vec<f64> {
        let period = Period::Rolling(Dur::secs(days * 86_400));
        usual().iter().map(|a| burn(a, period).factor).collect()
    }

    #[test]
    fn factors_are_the_published_ones() {
        assert_eq!(factors(30), [14.4, 6.0, 3.0, 1.0]);
        let of_28: Vec<f64> = factors(28).iter().map(|f| (f * 1e3).round() / 1e3).collect();
        assert_eq!(of_28, [13.44, 5.6, 2.8, 0.933]);
        // A week: 0.7 and 0.23 times would never spend the budget.
        assert_eq!(factors(7), [3.36, 1.4, 1.0, 1.0]);
    }

    #[test]
    fn windows_have_the_usual_names() {
        let names: Vec<(String, String)> = usual()
            .iter()
            .map(|a| burn(a, Period::default()))
            .map(|b| (b.long.name(), b.short.name()))
            .collect();
        let names: Vec<(&str, &str)> = names.iter().map(|(l, s)| (l.as_str(), s.as_str())).collect();
        assert_eq!(names, [("1h", "5m"), ("6h", "30m"), ("1d", "2h"), ("3d", "6h")]);
    }
}
