//! PromQL of one journey: the parts of rules, and whole queries for charts and the oracle.

use hikeshi_scenario::Dur;
use serde::Serialize;

use crate::cujs::{Cuj, Cujs, Sli, Slo};
use crate::period::Period;
use crate::windows::{ALERTS, compressed, compressed_seconds};

/// Queries of one journey; each gives at most one sample, and none when there is no traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JourneyQuery {
    pub journey: String,
    pub title: hikeshi_scenario::Text,
    /// Ratios 0..1.
    pub availability: String,
    pub latency_good: Option<String>,
    /// Seconds.
    pub p99: String,
    pub freshness: Option<String>,
    /// Share of the period's budget left, the worst SLO's; may be negative.
    pub budget_left: String,
    /// Requests per second.
    pub rps: String,
    pub objectives: Objectives,
}

/// Ratios 0..1 that must be reached; none: not promised.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Objectives {
    pub availability: Option<f64>,
    pub latency: Option<f64>,
    /// Seconds within which `latency` counts.
    pub latency_seconds: Option<f64>,
    pub freshness: Option<f64>,
}

impl JourneyQuery {
    /// What is below its objective, in words; a value that is missing is not good.
    pub fn broken(
        &self,
        availability: Option<f64>,
        latency_good: Option<f64>,
        freshness: Option<f64>,
    ) -> Vec<String> {
        let kinds = [
            ("availability", availability, self.objectives.availability),
            ("latency", latency_good, self.objectives.latency),
            ("freshness", freshness, self.objectives.freshness),
        ];
        kinds
            .into_iter()
            .filter_map(|(name, value, objective)| {
                let objective = objective?;
                match value {
                    Some(value) if value >= objective => None,
                    Some(value) => Some(format!(
                        "{} {name} {:.2} % < {:.2} %",
                        self.journey,
                        value * 100.0,
                        objective * 100.0
                    )),
                    None => Some(format!("{} {name}: no data", self.journey)),
                }
            })
            .collect()
    }
}

/// Queries of every journey.
pub fn journey_queries(cujs: &Cujs, slo_clock: f64) -> Vec<JourneyQuery> {
    let all = |cuj| one(cuj, cujs.window, slo_clock);
    cujs.cujs.iter().map(all).collect()
}

fn one(cuj: &Cuj, window_of_all: Option<Period>, slo_clock: f64) -> JourneyQuery {
    // Ten seconds at least: on a chart a five-second window is all noise.
    let window = format!("{}s", compressed(ALERTS[0].short, slo_clock).max(10));
    let good = |slo: &Slo| format!("1 - {}", error_ratio(&cuj.name, slo.sli, &window));
    // What has queries of its own is not what the load generator counts: these figures would say that nothing comes.
    let find = |name: &str| {
        let counted = cuj.slos.iter().filter(|s| s.queries.is_none());
        counted.into_iter().find(|s| s.sli.name() == name)
    };
    let objective = |name: &str| find(name).map(|s| 1.0 - s.budget());
    let budgets: Vec<String> = cuj
        .slos
        .iter()
        .map(|slo| {
            budget(
                cuj,
                slo,
                slo.window.or(window_of_all).unwrap_or_default(),
                slo_clock,
            )
        })
        .collect();
    let journey = &cuj.name;
    JourneyQuery {
        journey: journey.clone(),
        title: cuj.title.clone(),
        availability: format!("1 - {}", error_ratio(journey, Sli::Availability, &window)),
        latency_good: find("latency").map(good),
        p99: format!(
            "histogram_quantile(0.99, sum by (le) (rate(journey_request_duration_seconds_bucket{{journey=\"{journey}\"}}[{window}]))) >= 0"
        ),
        freshness: find("freshness").map(good),
        budget_left: if budgets.is_empty() {
            "vector(1)".to_owned()
        } else {
            format!("min({})", budgets.join(" or "))
        },
        rps: format!("sum(rate(journey_requests_total{{journey=\"{journey}\"}}[{window}]))"),
        objectives: Objectives {
            availability: objective("availability"),
            latency: objective("latency"),
            latency_seconds: find("latency").and_then(|s| match s.sli {
                Sli::Latency(within) => Some(within.within.get().as_secs_f64()),
                _ => None,
            }),
            freshness: objective("freshness"),
        },
    }
}

/// Bad events so far against what the whole period may have at the traffic of the last hours: a drill sees minutes of the
/// period, so the ratio over what it has seen would call every hiccup the end of the month.
fn budget(cuj: &Cuj, slo: &Slo, period: Period, slo_clock: f64) -> String {
    let period = compressed_seconds(period.seconds(), slo_clock);
    let recent = format!("{}s", compressed(ALERTS[1].long, slo_clock));
    let (bad, total) = (bad(&cuj.name, slo.sli), total(&cuj.name, slo.sli));
    let sli = slo.sli.name();
    let spent = bad
        .iter()
        .map(|(sign, b)| format!("{sign}sum(increase({b}[{period}s]))"))
        .collect::<String>();
    // Until its first request a journey has spent nothing.
    format!(
        "label_replace(1 - (({spent}) or vector(0)) / ({} * {period} * (sum(rate({total}[{recent}])) > 0)), \"sli\", \"{sli}\", \"\", \"\")",
        number(slo.budget())
    )
}

/// Bad over all, 0..1; no sample without traffic, so never NaN.
pub fn error_ratio(journey: &str, sli: Sli, window: &str) -> String {
    let total = format!("sum(rate({}[{window}]))", total(journey, sli));
    let bad = bad(journey, sli)
        .iter()
        .map(|(sign, b)| format!("{sign}sum(rate({b}[{window}]))"))
        .collect::<String>();
    // A series of bad events that does not exist yet is none, not unknown.
    format!("(({bad}) or 0 * {total}) / ({total} > 0)")
}

/// Selector of all events.
pub(crate) fn total(journey: &str, sli: Sli) -> String {
    match sli {
        Sli::Availability | Sli::Quality | Sli::Custom => {
            format!("journey_requests_total{{journey=\"{journey}\"}}")
        }
        Sli::Latency(_) => format!("journey_request_duration_seconds_count{{journey=\"{journey}\"}}"),
        Sli::Freshness => format!("journey_freshness_total{{journey=\"{journey}\"}}"),
    }
}

/// Selectors of bad events, to be summed with their signs. The load generator counts no degraded answers: a file that
/// promises quality must say where they are counted, which `parse` checks.
pub(crate) fn bad(journey: &str, sli: Sli) -> Vec<(&'static str, String)> {
    match sli {
        Sli::Availability | Sli::Quality | Sli::Custom => vec![(
            "",
            format!("journey_requests_total{{journey=\"{journey}\",result=\"error\"}}"),
        )],
        Sli::Latency(within) => {
            let bucket = format!("journey_request_duration_seconds_bucket{{journey=\"{journey}\"}}");
            vec![
                ("", total(journey, sli)),
                (" - ", selector_with_le(&bucket, within.within)),
            ]
        }
        Sli::Freshness => vec![(
            "",
            format!("journey_freshness_total{{journey=\"{journey}\",result=\"stale\"}}"),
        )],
    }
}

/// A histogram's selector narrowed to one bucket.
pub(crate) fn selector_with_le(selector: &str, within: Dur) -> String {
    let seconds = within.get().as_secs_f64();
    // Exporters differ in whether a whole number has a fraction.
    let le = if seconds.fract() == 0.0 {
        format!("le=~\"{seconds:.0}|{seconds:.1}\"")
    } else {
        format!("le=\"{seconds}\"")
    };
    match selector.strip_suffix('}') {
        Some(open) if open.ends_with('{') => format!("{open}{le}}}"),
        Some(open) => format!("{},{le}}}", open.trim_end_matches(',')),
        None => format!("{selector}{{{le}}}"),
    }
}

/// A number as PromQL reads it, without an exponent.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.12}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
