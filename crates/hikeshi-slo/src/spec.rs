//! One objective with everything that applies to it, whichever file it came from: what rules, budgets and backtests are made of.

use std::collections::BTreeMap;

use hikeshi_scenario::{Dur, Text};

use crate::cujs::{Action, Alerting, Channel, Cuj, Cujs, Metrics, Queries, Sli, Slo};
use crate::period::Period;
use crate::policy::{Burn, Severity, burn, usual};
use crate::queries::{bad, selector_with_le, total};

/// What stands for the range in a query.
pub const WINDOW: &str = "{{.window}}";

/// An objective, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// `read-timeline-freshness`: unique within its file.
    pub id: String,
    pub journey: String,
    /// The SLI's name.
    pub sli: String,
    /// What kind of events are good, and of latency, how fast.
    pub kind: Sli,
    pub title: Text,
    pub owner: String,
    pub route: String,
    pub description: Option<String>,
    /// Percent.
    pub objective: f64,
    /// Share of events that may be bad, 0..1.
    pub budget: f64,
    pub period: Period,
    pub source: Source,
    /// Below so many events in its long window an alert stays quiet.
    pub min_events: u32,
    /// Below so many failures, too; 0 asks for none.
    pub min_failures: u32,
    /// All alerts of its policy, those too that cannot fire.
    pub burns: Vec<Burn>,
    pub labels: BTreeMap<String, String>,
    pub alerting: Alerting,
    /// By the share of budget at which they begin.
    pub policy: Vec<Action>,
}

/// Where its events are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// PromQL of bad and of all events per second, with [`WINDOW`] for the range.
    Events { bad: String, total: String, own: Own },
    /// PromQL of the share of errors.
    Ratio { error: String },
}

/// Who wrote the queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// We did, from selectors: plain rates of counters, never NaN.
    Selectors,
    /// Somebody did: they may be NaN or negative.
    Rates,
    /// Somebody did, and they count events in the range rather than per second (`increase`, `count_over_time`).
    Counts,
}

/// All objectives of a file, in its order.
pub fn specs(cujs: &Cujs) -> Vec<Spec> {
    cujs.cujs
        .iter()
        .flat_map(|cuj| cuj.slos.iter().map(|slo| one(cujs, cuj, slo)))
        .collect()
}

fn one(cujs: &Cujs, cuj: &Cuj, slo: &Slo) -> Spec {
    let period = slo.window.or(cujs.window).unwrap_or_default();
    let alerts = slo.alerts.clone().or_else(|| cujs.alerts.clone());
    let mut policy = slo.policy.clone().unwrap_or_else(|| cujs.policy.clone());
    policy.sort_by(|a, b| a.spent.total_cmp(&b.spent));
    Spec {
        id: format!("{}-{}", cuj.name, slo.label()),
        journey: cuj.name.clone(),
        sli: slo.label().to_owned(),
        kind: slo.sli,
        title: cuj.title.clone(),
        owner: cuj.owner.clone(),
        route: cuj.route.clone(),
        description: slo.description.clone(),
        objective: slo.objective,
        budget: slo.budget(),
        period,
        source: source(cujs.metrics.as_ref(), cuj, slo),
        min_events: slo.min_events.unwrap_or(cujs.min_events),
        min_failures: slo.min_failures.unwrap_or(cujs.min_failures),
        burns: alerts
            .unwrap_or_else(usual)
            .iter()
            .map(|alert| burn(alert, period))
            .collect(),
        labels: slo.labels.clone(),
        alerting: slo.alerting.clone().unwrap_or_default(),
        policy,
    }
}

fn source(metrics: Option<&Metrics>, cuj: &Cuj, slo: &Slo) -> Source {
    if let Some(queries) = &slo.queries {
        return written(queries);
    }
    let Some(metrics) = metrics else {
        return events(&bad(&cuj.name, slo.sli), &total(&cuj.name, slo.sli));
    };
    let (method, path) = cuj.route.split_once(' ').unwrap_or(("", cuj.route.as_str()));
    let fill = |selector: &str| {
        selector
            .replace("$journey", &cuj.name)
            .replace("$method", method)
            .replace("$path", path)
    };
    let of = |selector: &Option<String>| fill(selector.as_deref().unwrap_or_default());
    let plus = |selector: String| vec![("", selector)];
    match slo.sli {
        Sli::Latency(within) => {
            let durations = of(&metrics.durations);
            let all = suffixed(&durations, "_count");
            let fast = selector_with_le(&suffixed(&durations, "_bucket"), within.within);
            events(&[("", all.clone()), (" - ", fast)], &all)
        }
        Sli::Freshness => events(&plus(of(&metrics.stale)), &of(&metrics.reads)),
        Sli::Quality => events(&plus(of(&metrics.degraded)), &fill(&metrics.requests)),
        Sli::Availability | Sli::Custom => events(&plus(fill(&metrics.errors)), &fill(&metrics.requests)),
    }
}

/// `name{...}` -> `name_count{...}`.
fn suffixed(selector: &str, suffix: &str) -> String {
    match selector.split_once('{') {
        Some((name, rest)) => format!("{name}{suffix}{{{rest}"),
        None => format!("{selector}{suffix}"),
    }
}

fn events(bad: &[(&'static str, String)], total: &str) -> Source {
    let rate = |selector: &str| format!("sum(rate({selector}[{WINDOW}]))");
    Source::Events {
        bad: bad
            .iter()
            .map(|(sign, selector)| format!("{sign}{}", rate(selector)))
            .collect(),
        total: rate(total),
        own: Own::Selectors,
    }
}

fn written(queries: &Queries) -> Source {
    let clean = |query: &Option<String>| query.as_deref().unwrap_or_default().trim().to_owned();
    if queries.error_ratio.is_some() {
        return Source::Ratio {
            error: clean(&queries.error_ratio),
        };
    }
    let total = clean(&queries.total);
    let bad = match &queries.good {
        Some(_) => format!("({total}) - ({})", clean(&queries.good)),
        None => clean(&queries.bad),
    };
    // `rate(` and `irate(` are per second; whatever else ranges (increase, count_over_time) counts.
    let own = if total.contains("rate(") {
        Own::Rates
    } else {
        Own::Counts
    };
    Source::Events { bad, total, own }
}

impl Source {
    /// Share of bad events over a range such as `5m`; no sample without traffic, never NaN.
    pub fn error_ratio(&self, range: &str) -> String {
        match self {
            // A series of bad events that does not exist yet is none, not unknown.
            Self::Events {
                bad,
                total,
                own: Own::Selectors,
            } => {
                let (bad, total) = (fill(bad, range), fill(total, range));
                format!("(({bad}) or 0 * {total}) / ({total} > 0)")
            }
            Self::Events { bad, total, .. } => {
                let (bad, total) = (fill(bad, range), fill(total, range));
                format!("clamp_min(({bad}) or 0 * ({total}), 0) / (({total}) > 0) >= 0")
            }
            Self::Ratio { error } => format!("clamp_min({}, 0) >= 0", fill(error, range)),
        }
    }

    /// Events over a range; none of a ratio, which has no counts.
    pub fn events(&self, range: &str, seconds: u64) -> Option<String> {
        self.counts(range, seconds).map(|(_, total)| total)
    }

    /// Bad and all events over a range.
    pub fn counts(&self, range: &str, seconds: u64) -> Option<(String, String)> {
        let Self::Events { bad, total, own } = self else {
            return None;
        };
        let (bad, total) = (fill(bad, range), fill(total, range));
        let times = match own {
            Own::Counts => String::new(),
            Own::Selectors | Own::Rates => format!(" * {seconds}"),
        };
        Some((
            format!("(clamp_min(({bad}) or 0 * ({total}), 0) >= 0){times}"),
            format!("({total}){times} >= 0"),
        ))
    }
}

fn fill(query: &str, range: &str) -> String {
    query.replace(WINDOW, range)
}

impl Spec {
    /// Alerts that can fire and are wanted, from the fastest to the slowest as the policy lists them.
    pub fn alerts(&self) -> impl Iterator<Item = &Burn> {
        self.burns.iter().filter(|burn| {
            self.reachable(burn)
                && !self
                    .channel(burn.severity)
                    .is_some_and(|channel| channel.disabled)
        })
    }

    /// Whether even a full outage burns fast enough.
    pub fn reachable(&self, burn: &Burn) -> bool {
        burn.factor * self.budget < 1.0
    }

    pub(crate) fn channel(&self, severity: Severity) -> Option<&Channel> {
        match severity {
            Severity::Page => self.alerting.page.as_ref(),
            Severity::Ticket => self.alerting.ticket.as_ref(),
        }
    }

    /// The same on a clock that runs so many times faster (a drill's hour is a minute): shorter windows and periods, the same
    /// factors. A calendar's period becomes a rolling one.
    #[must_use]
    pub fn on_clock(&self, slo_clock: f64) -> Self {
        let shorter = |seconds: u64| crate::windows::compressed_seconds(seconds, slo_clock);
        let mut spec = self.clone();
        #[expect(clippy::float_cmp, reason = "1 is exact")]
        if slo_clock == 1.0 {
            return spec;
        }
        spec.period = Period::Rolling(Dur::secs(shorter(self.period.seconds())));
        for burn in &mut spec.burns {
            burn.long.seconds = shorter(burn.long.seconds);
            burn.short.seconds = shorter(burn.short.seconds);
        }
        spec
    }

    /// Whether the period can be weighted by traffic.
    pub fn counts(&self) -> bool {
        matches!(self.source, Source::Events { .. })
    }
}
