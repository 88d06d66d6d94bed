//! Prometheus rules: recordings of every window, multi-window multi-burn-rate alerts, and the period's budget.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cujs::{Channel, Cujs};
use crate::period::{Period, Unit};
use crate::policy::{Burn, Span};
use crate::queries::number;
use crate::spec::{Spec, specs};
use crate::windows::compressed_seconds;

/// A rule file; the same shape is a PrometheusRule's `spec`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleFile {
    pub groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    pub name: String,
    pub interval: String,
    pub rules: Vec<Rule>,
}

type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rule {
    Record {
        record: String,
        expr: String,
        labels: Labels,
    },
    Alert {
        alert: String,
        expr: String,
        labels: Labels,
        annotations: BTreeMap<String, String>,
    },
}

impl RuleFile {
    /// As YAML. JSON is YAML: writing cannot fail for these types, and the text is for Prometheus, not for people.
    pub fn to_yaml(&self) -> String {
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        serde_saphyr::to_string(self).unwrap_or(json)
    }
}

/// How often the rules of a production Prometheus are evaluated.
const INTERVAL: &str = "30s";
/// How often the period's budget is: thirty days of samples change little in five minutes.
const PERIOD_INTERVAL: &str = "5m";
/// The tiles a period is summed up from.
const TILE: Span = Span { seconds: 300 };

/// The rule file for a clock (60: an hour's window is a minute long). Names keep the uncompressed windows, as on a production Prometheus.
///
/// All rules are one group: within it they are evaluated in order, so an alert sees the ratios of its own second.
pub fn generate_rules(cujs: &Cujs, slo_clock: f64) -> String {
    let all = specs(cujs);
    let mut rules: Vec<Rule> = all.iter().flat_map(|spec| records(spec, slo_clock)).collect();
    rules.extend(all.iter().flat_map(alerts));
    let group = Group {
        name: format!("slo-{}", cujs.system),
        interval: "1s".to_owned(),
        rules,
    };
    RuleFile { groups: vec![group] }.to_yaml()
}

/// The group of one objective's alerts on a production Prometheus, with what they look at.
pub fn alert_group(spec: &Spec) -> Group {
    let mut rules = records(spec, 1.0);
    rules.extend(tiles(spec));
    rules.extend(alerts(spec));
    Group {
        name: format!("slo-{}", spec.id),
        interval: INTERVAL.to_owned(),
        rules,
    }
}

/// The group of one objective's period: what is spent and what is left of its budget.
pub fn budget_group(spec: &Spec) -> Group {
    Group {
        name: format!("slo-{}-budget", spec.id),
        interval: PERIOD_INTERVAL.to_owned(),
        rules: period(spec),
    }
}

/// The labels by which everything of an objective is found.
pub(crate) fn labels(spec: &Spec) -> Labels {
    let mut labels = spec.labels.clone();
    labels.extend([
        ("slo".to_owned(), spec.id.clone()),
        ("journey".to_owned(), spec.journey.clone()),
        ("sli".to_owned(), spec.sli.clone()),
        ("owner".to_owned(), spec.owner.clone()),
    ]);
    labels.retain(|_, value| !value.is_empty());
    labels
}

fn record(spec: &Spec, name: impl Into<String>, expr: String) -> Rule {
    Rule::Record {
        record: name.into(),
        expr,
        labels: labels(spec),
    }
}

/// `{slo="..."}`.
fn of(spec: &Spec) -> String {
    format!("{{slo=\"{}\"}}", spec.id)
}

fn records(spec: &Spec, slo_clock: f64) -> Vec<Rule> {
    let seconds = |span: Span| compressed_seconds(span.seconds, slo_clock);
    let mut rules = vec![record(
        spec,
        "slo:objective:ratio",
        format!("vector({})", number(1.0 - spec.budget)),
    )];
    let mut windows: Vec<Span> = spec.burns.iter().flat_map(|b| [b.short, b.long]).collect();
    windows.push(TILE);
    windows.sort();
    windows.dedup();
    for window in windows {
        let range = format!("{}s", seconds(window));
        rules.push(record(
            spec,
            format!("slo:sli_error:ratio_rate{}", window.name()),
            spec.source.error_ratio(&range),
        ));
    }
    let mut longs: Vec<Span> = spec.burns.iter().map(|b| b.long).collect();
    longs.sort();
    longs.dedup();
    for long in longs {
        let range = format!("{}s", seconds(long));
        let Some((bad, total)) = spec.source.counts(&range, seconds(long)) else {
            continue;
        };
        rules.push(record(
            spec,
            format!("slo:sli_events:increase{}", long.name()),
            total,
        ));
        if spec.min_failures > 0 {
            rules.push(record(spec, format!("slo:sli_bad:increase{}", long.name()), bad));
        }
    }
    rules
}

/// Bad and all events of the last five minutes: every five minutes' sample is a tile of the period.
fn tiles(spec: &Spec) -> Vec<Rule> {
    let mut rules = vec![record(
        spec,
        "slo:sli_error:burn_rate",
        format!(
            "slo:sli_error:ratio_rate{}{} / {}",
            TILE.name(),
            of(spec),
            number(spec.budget)
        ),
    )];
    let mut add = |name: &str, expr: String| {
        let expr = match spec.period {
            Period::Rolling(_) => expr,
            Period::Calendar(_) => {
                format!(
                    "({expr}) * on() group_left(period) count_values(\"period\", {})",
                    now_in(spec.period)
                )
            }
        };
        rules.push(record(spec, name, expr));
    };
    match spec.source.counts(&TILE.name(), TILE.seconds) {
        Some((bad, total)) => {
            add("slo:sli_bad:tile", bad);
            add("slo:sli_events:tile", total);
        }
        // A ratio counts nothing: every five minutes weigh the same.
        None => {
            let ratio = format!("slo:sli_error:ratio_rate{}{}", TILE.name(), of(spec));
            add("slo:sli_bad:tile", ratio.clone());
            add("slo:sli_events:tile", format!("{ratio} * 0 + 1"));
        }
    }
    rules
}

/// The number of the calendar's period that a moment is in: 1 to 12 for months, 1 to 4 for quarters.
fn now_in(period: Period) -> String {
    let Period::Calendar(calendar) = period else {
        return "vector(1)".to_owned();
    };
    let month = match calendar.utc_offset.seconds() {
        0 => "month()".to_owned(),
        seconds if seconds < 0 => format!("month(vector(time() - {}))", -seconds),
        seconds => format!("month(vector(time() + {seconds}))"),
    };
    match calendar.calendar {
        Unit::Month => month,
        Unit::Quarter => format!("floor(({month} + 2) / 3)"),
    }
}

/// The period's share of bad events, weighted by traffic: sums of counts are divided, ratios are never averaged.
fn period(spec: &Spec) -> Vec<Rule> {
    let range = Span {
        seconds: spec.period.longest_seconds(),
    }
    .name();
    let sum = |name: &str| {
        let all = format!("sum_over_time({name}{}[{range}:{}])", of(spec), TILE.name());
        match spec.period {
            Period::Rolling(_) => all,
            // Last year's month of the same number is beyond the range; other periods' samples carry other numbers.
            Period::Calendar(_) => {
                format!(
                    "sum without (period) ({all} and on(period) count_values(\"period\", {}))",
                    now_in(spec.period)
                )
            }
        }
    };
    let budget = number(spec.budget);
    let error = format!("slo:period_error:ratio{}", of(spec));
    #[expect(clippy::cast_precision_loss, reason = "at most a year of seconds")]
    let days = spec.period.longest_seconds() as f64 / 86_400.0;
    vec![
        record(spec, "slo:error_budget:ratio", format!("vector({budget})")),
        record(spec, "slo:time_period:days", format!("vector({})", number(days))),
        record(spec, "slo:period_events:sum", sum("slo:sli_events:tile")),
        record(spec, "slo:period_bad:sum", sum("slo:sli_bad:tile")),
        record(
            spec,
            "slo:period_error:ratio",
            format!("slo:period_bad:sum{0} / (slo:period_events:sum{0} > 0)", of(spec)),
        ),
        record(
            spec,
            "slo:period_error_budget_spent:ratio",
            format!("{error} / {budget}"),
        ),
        record(
            spec,
            "slo:period_error_budget_remaining:ratio",
            format!("1 - {error} / {budget}"),
        ),
    ]
}

/// An alert that cannot fire is left out; `lint` says so.
fn alerts(spec: &Spec) -> Vec<Rule> {
    spec.alerts().map(|burn| alert(spec, burn)).collect()
}

fn alert(spec: &Spec, burn: &Burn) -> Rule {
    let side = |window: Span| {
        format!(
            "slo:sli_error:ratio_rate{}{} / {} > {}",
            window.name(),
            of(spec),
            number(spec.budget),
            number(burn.factor)
        )
    };
    let mut expr = format!("{} and {}", side(burn.long), side(burn.short));
    let long = burn.long.name();
    if spec.counts() && spec.min_events > 0 {
        expr += &format!(
            " and slo:sli_events:increase{long}{} >= {}",
            of(spec),
            spec.min_events
        );
    }
    if spec.counts() && spec.min_failures > 0 {
        // An increase is extrapolated to its window's edges: two failures may be 1.98.
        expr += &format!(
            " and slo:sli_bad:increase{long}{} >= {}",
            of(spec),
            f64::from(spec.min_failures) - 0.5
        );
    }
    let channel = spec.channel(burn.severity).cloned().unwrap_or_default();
    let Channel {
        labels: of_channel,
        annotations: said,
        ..
    } = channel;
    let mut labels = labels(spec);
    labels.insert("severity".to_owned(), burn.severity.name().to_owned());
    labels.insert("window".to_owned(), long.clone());
    labels.extend(spec.alerting.labels.clone());
    labels.extend(of_channel);
    let what = format!("{} {}", sentence(&spec.title.en), spec.sli);
    let factor = number(burn.factor);
    let mut description = format!(
        "{what} ({} % over {}) burned its error budget at {{{{ $value | printf \"%.1f\" }}}}x the sustainable rate over the last {long} and still does over {}. Owner: {}.",
        spec.objective,
        spec.period,
        burn.short.name(),
        spec.owner
    );
    if !spec.route.is_empty() {
        description += &format!(" Route: {}.", spec.route);
    }
    let mut annotations = BTreeMap::from([
        (
            "summary".to_owned(),
            format!("{what} is burning its error budget at over {factor}x the sustainable rate"),
        ),
        ("description".to_owned(), description),
    ]);
    annotations.extend(spec.alerting.annotations.clone());
    annotations.extend(said);
    Rule::Alert {
        alert: alert_name(spec),
        expr,
        labels,
        annotations,
    }
}

/// `ReadTimelineFreshnessBudgetBurn`, or what the file calls it.
pub(crate) fn alert_name(spec: &Spec) -> String {
    spec.alerting.name.clone().unwrap_or_else(|| {
        let words = spec.journey.split('-').chain(spec.sli.split('-'));
        words.map(sentence).collect::<String>() + "BudgetBurn"
    })
}

/// The first letter large.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().collect::<String>() + chars.as_str())
        .unwrap_or_default()
}
