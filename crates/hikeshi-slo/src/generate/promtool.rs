//! Unit tests for `promtool test rules`: every alert quiet just before it must fire, firing just after, and over again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::series::{Counts, counters};
use crate::backtest::replay::{Columns, replay};
use crate::rules::{alert_name, labels};
use crate::spec::Spec;

#[derive(Serialize)]
struct TestFile {
    rule_files: Vec<String>,
    evaluation_interval: &'static str,
    tests: Vec<Test>,
}

#[derive(Serialize)]
struct Test {
    name: String,
    interval: &'static str,
    input_series: Vec<Series>,
    promql_expr_test: Vec<Case>,
}

#[derive(Serialize)]
struct Series {
    series: String,
    values: String,
}

#[derive(Serialize)]
struct Case {
    expr: String,
    eval_time: String,
    exp_samples: Vec<Sample>,
}

#[derive(Serialize)]
struct Sample {
    labels: &'static str,
    value: f64,
}

/// Minutes of health before the fault.
const HEALTHY: u32 = 60;
/// Minutes between a bracket and the moment itself: how Prometheus counts a range's edges differs by a sample between versions.
const MARGIN: u32 = 2;
/// Events a minute.
const TRAFFIC: f64 = 6_000.0;
/// What counters begin with: a counter that begins at zero is extrapolated otherwise than one that does not.
const BEGIN: f64 = 1_000.0;

/// The test file of an objective, and how its queries are tested.
pub(super) fn tests(spec: &Spec, rule_file: &str) -> (String, Tested) {
    let (tests, tested) = if spec.alerts().next().is_none() {
        (Vec::new(), Tested::Nothing)
    } else if let Some(counters) = counters(&spec.source) {
        (whole(spec, &counters.series), Tested::Queries)
    } else {
        (vec![alerts_alone(spec)], Tested::Alerts)
    };
    let file = TestFile {
        rule_files: vec![rule_file.to_owned()],
        evaluation_interval: "1m",
        tests,
    };
    let json = serde_json::to_string_pretty(&file).unwrap_or_default();
    (serde_saphyr::to_string(&file).unwrap_or(json), tested)
}

/// How much of an objective's rules its tests exercise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tested {
    /// Counters are fed to the queries.
    Queries,
    /// The queries' results are fed to the alerts: no counters could be made up for queries like these.
    Alerts,
    /// There are no alerts.
    Nothing,
}

/// Bad events a minute in a fault that the fastest alert sees about twenty minutes in, else a full outage. Whole ones: promtool adds
/// up a series step by step, and a counter that is less by a rounding error has been reset.
fn fault(spec: &Spec) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most days of seconds")]
    let needed = spec
        .alerts()
        .map(|b| b.factor * spec.budget * b.long.seconds.min(3_600) as f64 / 1_200.0);
    (TRAFFIC * needed.fold(0.0, f64::max).clamp(0.0, 1.0))
        .round()
        .max(1.0)
}

/// A history of so many minutes with a fault in it.
fn history(minutes: u32, bad: f64, lasts: u32) -> Columns {
    let minutes = minutes as usize;
    let (from, to) = (HEALTHY as usize, (HEALTHY + lasts) as usize);
    Columns {
        start: 0,
        step: 60,
        bad: (0..minutes)
            .map(|m| if (from..to).contains(&m) { bad } else { 0.0 })
            .collect(),
        total: vec![TRAFFIC; minutes],
    }
}

/// Counters through the queries, the recordings and the alerts.
fn whole(spec: &Spec, counters: &[(String, Counts)]) -> Vec<Test> {
    let bad = fault(spec);
    let drained = spec.alerts().map(|b| b.short.seconds).max().unwrap_or(0) / 60;
    let drained = u32::try_from(drained).unwrap_or(u32::MAX / 4);
    // How long it takes until all of them fire.
    let endless = replay(spec, &history(HEALTHY + 1_440, bad, 1_440));
    let last = endless
        .firings
        .iter()
        .map(|f| minute(f.from))
        .max()
        .unwrap_or(HEALTHY);
    let lasts = last.saturating_sub(HEALTHY) + 10;
    let minutes = HEALTHY + lasts + drained + 10;
    let seen = replay(spec, &history(minutes, bad, lasts));
    let mut cases = Vec::new();
    for firing in &seen.firings {
        let mut add = |at: u32, fires: bool| cases.push(case(spec, &firing.window, at, fires));
        let from = minute(firing.from);
        add(from.saturating_sub(MARGIN), false);
        add(from + MARGIN, true);
        if let Some(to) = firing.to.map(minute).filter(|to| *to + MARGIN <= minutes) {
            add(to.saturating_sub(MARGIN), true);
            add(to + MARGIN, false);
        }
    }
    let rates = (TRAFFIC, bad);
    let mut tests = vec![Test {
        name: format!("{}: quiet, fires, resets", spec.id),
        interval: "1m",
        input_series: counters
            .iter()
            .map(|(series, counts)| Series {
                series: series.clone(),
                values: values(*counts, rates, (lasts, minutes - HEALTHY - lasts)),
            })
            .collect(),
        promql_expr_test: cases,
    }];
    let few = f64::from(spec.min_events) / 2.0;
    if few >= 1.0 {
        tests.push(gated(spec, counters, few));
    }
    tests
}

/// Fewer events than the gate asks for, all of them bad.
fn gated(spec: &Spec, counters: &[(String, Counts)], few: f64) -> Test {
    Test {
        name: format!("{}: few events are no alert", spec.id),
        interval: "1m",
        input_series: counters
            .iter()
            .map(|(series, counts)| {
                let then = if *counts == Counts::Good {
                    BEGIN
                } else {
                    BEGIN + few
                };
                Series {
                    series: series.clone(),
                    values: format!("{BEGIN}x30 {then}x30"),
                }
            })
            .collect(),
        promql_expr_test: spec
            .alerts()
            .flat_map(|b| [33, 40].map(|at| case(spec, &b.long.name(), at, false)))
            .collect(),
    }
}

/// A counter over health, fault and recovery, in promtool's notation.
fn values(counts: Counts, (traffic, bad): (f64, f64), (lasts, after): (u32, u32)) -> String {
    let (healthy, faulty) = match counts {
        Counts::All => (traffic, traffic),
        Counts::Good => (traffic, traffic - bad),
        Counts::Bad => (0.0, bad),
    };
    let mut at = BEGIN;
    let mut text = String::new();
    for (index, (rate, minutes)) in [(healthy, HEALTHY), (faulty, lasts), (healthy, after)]
        .into_iter()
        .enumerate()
    {
        // `a+bxn` is a, a+b, ... a+nb; each part goes on where the last one ended.
        let (from, times) = if index == 0 {
            (at, minutes)
        } else {
            (at + rate, minutes - 1)
        };
        let _ = write!(text, "{from}+{rate}x{times} ");
        at = from + rate * f64::from(times);
    }
    text.trim_end().to_owned()
}

/// Ready ratios to the alerts: for queries whose counters nobody can make up.
fn alerts_alone(spec: &Spec) -> Test {
    let labels = labels(spec);
    let inner: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    let inner = inner.join(",");
    let factor = spec.alerts().map(|b| b.factor).fold(0.0, f64::max);
    let burning = f64::midpoint(1.0, factor * spec.budget);
    let mut series = BTreeMap::new();
    for burn in spec.alerts() {
        let name = |kind: &str, window: String| format!("slo:sli_{kind}{window}{{{inner}}}");
        series.insert(
            name("error:ratio_rate", burn.long.name()),
            format!("0x9 {burning}x20"),
        );
        // What is a long window for one alert may be a short one for another: that one then never resets here.
        series
            .entry(name("error:ratio_rate", burn.short.name()))
            .or_insert_with(|| format!("0x9 {burning}x9 0x10"));
        if spec.counts() {
            series.insert(name("events:increase", burn.long.name()), "1000000x30".to_owned());
            series.insert(name("bad:increase", burn.long.name()), "1000000x30".to_owned());
        }
    }
    let long: Vec<String> = spec.alerts().map(|b| b.long.name()).collect();
    let mut cases = Vec::new();
    for burn in spec.alerts() {
        let name = burn.long.name();
        cases.push(case(spec, &name, 9, false));
        cases.push(case(spec, &name, 11, true));
        if !long.contains(&burn.short.name()) {
            cases.push(case(spec, &name, 22, false));
        }
    }
    Test {
        name: format!("{}: quiet, fires, resets (from ratios)", spec.id),
        interval: "1m",
        input_series: series
            .into_iter()
            .map(|(series, values)| Series { series, values })
            .collect(),
        promql_expr_test: cases,
    }
}

fn case(spec: &Spec, window: &str, minute: u32, fires: bool) -> Case {
    Case {
        expr: format!(
            "count(ALERTS{{alertname=\"{}\",slo=\"{}\",window=\"{window}\",alertstate=\"firing\"}})",
            alert_name(spec),
            spec.id
        ),
        eval_time: format!("{minute}m"),
        exp_samples: if fires {
            vec![Sample {
                labels: "{}",
                value: 1.0,
            }]
        } else {
            Vec::new()
        },
    }
}

fn minute(seconds: i64) -> u32 {
    u32::try_from(seconds / 60).unwrap_or(0)
}
