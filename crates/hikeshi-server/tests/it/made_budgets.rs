//! Budgets of the shipped objectives over a made-up history: three hours of a drill's clock, a drill that is over and one that is on.

use std::collections::BTreeMap;

use hikeshi_scenario::Text;
use hikeshi_server::api::budget::{Budgets, JourneyBudgets, SloBudget};
use hikeshi_slo::backtest::{Columns, Mark, MarkKind, burn_courses, recent_seconds};
use hikeshi_slo::history::{Change, said, unrecorded};
use hikeshi_slo::{Cujs, Sli, Spec, parse, specs, status};
use jiff::Timestamp;

const CUJS: &str = include_str!("../../../../systems/chirpy/cujs.yaml");
const CLOCK: f64 = 60.0;
const HOUR: i64 = 3_600;

/// The share of bad events of an objective at so many seconds before now; none where nobody measured.
fn bad(slo: &str, ago: i64) -> Option<f64> {
    // Nobody has posted since the system came up.
    if slo.starts_with("post-message") && slo.ends_with("latency") || ago > 3 * HOUR {
        return None;
    }
    Some(match slo {
        "read-timeline-freshness" if (6_000..6_500).contains(&ago) => 0.35,
        "read-timeline-freshness" if ago < 400 => 0.34,
        "read-timeline-latency" if (6_000..6_900).contains(&ago) => 0.4,
        "read-timeline-latency" if ago < 430 => 0.5,
        "read-timeline-availability" if ago < 200 => 0.03,
        // A little always goes wrong.
        _ => 0.000_4,
    })
}

fn columns(slo: &str, now: i64, length: i64, step: u32) -> Columns {
    let seconds = i64::from(step);
    let steps = length / seconds;
    let start = now - steps * seconds;
    let each = |n: i64| bad(slo, now - (start + (n + 1) * seconds));
    let all = 40.0 * f64::from(step);
    Columns {
        start,
        step,
        bad: (0..steps)
            .map(|n| each(n).map_or(f64::NAN, |share| share * all))
            .collect(),
        total: (0..steps).map(|n| each(n).map_or(f64::NAN, |_| all)).collect(),
    }
}

fn marks(now: i64) -> Vec<Mark> {
    let mark = |name: &str, from: i64, to: i64| Mark {
        name: name.to_owned(),
        from: now - from,
        to: now - to,
        kind: MarkKind::Drill,
        journeys: Vec::new(),
    };
    vec![
        mark("20261122-093000-timelines-stop-updating", 6_200, 5_800),
        mark("demo", 512, 0),
    ]
}

fn one(spec: &Spec, now: i64, promised: &BTreeMap<String, String>, changes: &[Change]) -> SloBudget {
    let on_clock = spec.on_clock(CLOCK);
    let whole = columns(&spec.id, now, 12 * HOUR, 15);
    let recent = i64::try_from(recent_seconds(&on_clock)).unwrap_or(HOUR);
    let recent = columns(&spec.id, now, recent, 5);
    SloBudget {
        slo: spec.id.clone(),
        name: spec.sli.clone(),
        sli: spec.kind.name(),
        objective: spec.objective,
        within: match spec.kind {
            Sli::Latency(within) => Some(within.within.to_string()),
            _ => None,
        },
        window: spec.period.to_string(),
        status: Some(status(&on_clock, &whole, &recent, &marks(now))),
        problem: None,
        alerts: burn_courses(spec, CLOCK, &recent),
        changes: changes
            .iter()
            .rev()
            .filter(|change| change.slo == spec.id)
            .cloned()
            .collect(),
        pending: changes
            .iter()
            .rfind(|change| change.slo == spec.id)
            .and_then(|change| change.to.clone())
            .filter(|to| Some(to) != promised.get(&spec.id)),
    }
}

fn changes(cujs: &Cujs) -> Vec<Change> {
    let mut changes = unrecorded(&[], cujs, "2026-11-02T01:00:00Z", "?", "first seen");
    for change in changes
        .iter_mut()
        .filter(|change| change.slo == "read-timeline-latency")
    {
        change.to = Some("99 % within 500ms over 30d".to_owned());
    }
    let felt = unrecorded(
        &changes,
        cujs,
        "2026-11-16T06:30:00Z",
        "sora",
        "felt in the lab: nobody noticed 2 % of slow timelines",
    );
    changes.extend(felt);
    changes
}

pub fn budgets(now: Timestamp) -> Budgets {
    let cujs = parse("cujs.yaml", CUJS).expect("the shipped file is right");
    let (promised, changes) = (said(&cujs), changes(&cujs));
    let all = specs(&cujs);
    let of = |journey: &str| {
        let own = all.iter().filter(|spec| spec.journey == journey);
        own.map(|spec| one(spec, now.as_second(), &promised, &changes))
            .collect()
    };
    let title = |ja: &str, en: &str| Text {
        ja: ja.to_owned(),
        en: en.to_owned(),
    };
    let titled = |id: &str| {
        (
            id.to_owned(),
            title("一部のタイムラインが更新されない", "Some timelines stop updating"),
        )
    };
    Budgets {
        system: cujs.system.clone(),
        at: now,
        slo_clock: CLOCK,
        journeys: cujs
            .cujs
            .iter()
            .map(|cuj| JourneyBudgets {
                name: cuj.name.clone(),
                title: cuj.title.clone(),
                owner: cuj.owner.clone(),
                route: cuj.route.clone(),
                steps: cuj.steps.clone(),
                slos: of(&cuj.name),
            })
            .collect(),
        drills: BTreeMap::from([titled("20261122-093000-timelines-stop-updating"), titled("demo")]),
        marks_problem: None,
    }
}
