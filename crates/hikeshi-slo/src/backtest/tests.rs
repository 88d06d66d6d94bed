use super::*;
use crate::parse;
use crate::spec::specs;

pub(crate) fn spec(objective: f64, window: &str) -> Spec {
    let text = format!(
        "apiVersion: hikeshi.dev/v1\nkind: CUJs\nsystem: s\nwindow: {window}\ncujs:\n  - name: update\n    title: {{ja: 更新, en: Update}}\n    owner: team-a\n    route: POST /update\n    slos: [{{sli: availability, objective: {objective}}}]\n"
    );
    specs(&parse("t.yaml", &text).expect("right")).remove(0)
}

/// Ten events a second in steps of 15 s; `bad(second)` of each are bad, 0..1.
pub(crate) fn history(days: u32, start: i64, bad: impl Fn(i64) -> f64) -> Columns {
    let steps = days * 86_400 / 15;
    Columns {
        start,
        step: 15,
        bad: (0..i64::from(steps)).map(|n| 150.0 * bad(n * 15)).collect(),
        total: vec![150.0; steps as usize],
    }
}

/// The workbook's times to page at 99.9 % over 30 days, to the step.
#[test]
fn alerts_come_when_the_arithmetic_says() {
    let spec = spec(99.9, "30d");
    let quiet = 4 * 86_400;
    for (ratio, seconds) in [(1.0, 52.0), (0.1, 518.0), (0.02, 2_592.0), (0.01, 12_960.0)] {
        let columns = history(6, 0, |t| if t >= quiet { ratio } else { 0.0 });
        let replay = replay::replay(&spec, &columns);
        let page = replay.firings.iter().find(|f| f.severity == Severity::Page);
        let after = page.map(|f| f.from - quiet).expect("it pages");
        assert!(
            (f64::from(after as i32) - seconds).abs() <= 15.0,
            "{ratio}: {after} s"
        );
    }
    let slow = history(6, 0, |t| if t >= quiet { 0.005 } else { 0.0 });
    let replay = replay::replay(&spec, &slow);
    assert!(replay.firings.iter().all(|f| f.severity == Severity::Ticket));
    let after = replay.firings[0].from - quiet;
    assert!((after - 51_840).abs() <= 15, "{after}");
}

#[test]
fn a_full_outage_stops_paging_half_an_hour_after_its_end() {
    let outage = 4 * 86_400..4 * 86_400 + 300;
    let columns = history(6, 0, |t| if outage.contains(&t) { 1.0 } else { 0.0 });
    let replay = replay::replay(&spec(99.9, "30d"), &columns);
    let last = replay
        .firings
        .iter()
        .filter(|f| f.severity == Severity::Page)
        .filter_map(|f| f.to)
        .max()
        .expect("it ends");
    let after = last - outage.end;
    assert!((1_700..=1_830).contains(&after), "{after}");
    // Five minutes of 43.2 allowed.
    assert!(
        (replay.course.worst - 300.0 / 2_592.0).abs() < 1e-3,
        "{}",
        replay.course.worst
    );
    assert!(replay.course.held);
}

#[test]
fn a_rolling_budget_comes_back_and_a_calendar_one_begins_anew() {
    // An hour's outage on the second day: 8.6 budgets of a week at 99.94 %... and it is forgotten a week later.
    let bad = |t: i64| if (86_400..90_000).contains(&t) { 1.0 } else { 0.0 };
    let rolling = replay::replay(&spec(99.5, "7d"), &history(10, 0, bad)).course;
    assert!(!rolling.held && rolling.exhausted.is_some());
    assert!((rolling.worst - 3_600.0 / 3_024.0).abs() < 1e-3);
    assert!(rolling.last.abs() < 1e-12);
    // 2026-11-29T00:00Z on: the month ends on the third day.
    let month = spec(99.9, "{calendar: month}");
    let calendar = replay::replay(&month, &history(4, 1_795_910_400, bad)).course;
    assert!(!calendar.held && calendar.last.abs() < 1e-12, "{calendar:?}");
    assert_eq!(
        calendar.exhausted.map(|at| at / 86_400),
        Some((1_795_910_400 + 86_400) / 86_400)
    );
}

#[test]
fn what_is_unknown_is_neither_good_nor_bad() {
    let mut columns = history(1, 0, |_| 0.0);
    columns.total[100..200].fill(f64::NAN);
    columns.bad[100..200].fill(f64::NAN);
    let replay = replay::replay(&spec(99.9, "30d"), &columns);
    assert!(replay.firings.is_empty() && replay.course.last.abs() < f64::EPSILON);
    assert!((replay.course.known - 5_660.0 / 5_760.0).abs() < 1e-9);
    let nothing = replay::replay(
        &spec(99.9, "30d"),
        &Columns {
            step: 15,
            ..Columns::default()
        },
    );
    assert_eq!((nothing.course.attained, nothing.course.held), (None, true));
}

#[test]
fn few_events_are_gated() {
    let spec = spec(99.9, "30d");
    let steps = 5_760;
    let mut columns = Columns {
        start: 0,
        step: 15,
        bad: vec![0.0; steps],
        total: vec![0.0; steps],
    };
    // Ten requests an hour, one of them bad.
    for n in (0..steps).step_by(24) {
        columns.total[n] = 1.0;
    }
    columns.bad[2_400] = 1.0;
    assert!(
        replay::replay(&spec, &columns)
            .firings
            .iter()
            .all(|f| f.window != "1h")
    );
    let open = Spec {
        min_events: 0,
        ..spec
    };
    assert!(
        replay::replay(&open, &columns)
            .firings
            .iter()
            .any(|f| f.window == "1h")
    );
    let two = Spec {
        min_failures: 2,
        ..open
    };
    assert!(replay::replay(&two, &columns).firings.is_empty());
}

#[test]
fn marks_make_precision_and_recall() {
    let spec = spec(99.9, "30d");
    let bad = |t: i64| {
        if (200_000..203_600).contains(&t) || (400_000..403_600).contains(&t) {
            0.5
        } else {
            0.0
        }
    };
    let mark = |name: &str, from: i64, journeys: &[&str]| Mark {
        name: name.to_owned(),
        from,
        to: from + 3_600,
        kind: MarkKind::Incident,
        journeys: journeys.iter().map(|&j| j.to_owned()).collect(),
    };
    let marks = [
        mark("found", 200_000, &[]),
        mark("another journey", 200_000, &["read"]),
        mark("unseen", 300_000, &["update"]),
        mark("out of the history", 900_000_000, &[]),
    ];
    let told = backtest(&[(&spec, history(6, 0, bad))], &marks);
    let page = &told.quality[0];
    assert_eq!((page.fired, page.right, page.incidents, page.found), (2, 1, 3, 1));
    assert_eq!((page.precision, page.missed.len()), (Some(0.5), 2));
    // 14.4 x 0.1 % of an hour at 50 % errors: 104 s.
    assert!((page.seconds_to_detect.unwrap() - 104.0).abs() < 16.0);
}

/// Every window summed up anew at every step: slow, and plainly right.
fn fires_by_hand(spec: &Spec, columns: &Columns, long: usize, short: usize, factor: f64) -> Vec<bool> {
    let sum = |column: &[f64], end: usize, steps: usize| -> f64 {
        column[(end + 1).saturating_sub(steps)..=end].iter().sum()
    };
    (0..columns.total.len())
        .map(|end| {
            let burning = |steps: usize| {
                let total = sum(&columns.total, end, steps);
                total > 0.0 && sum(&columns.bad, end, steps) > factor * spec.budget * total
            };
            burning(long) && burning(short) && sum(&columns.total, end, long) >= f64::from(spec.min_events)
        })
        .collect()
}

proptest::proptest! {
    #[test]
    fn running_sums_are_sums(counts in proptest::collection::vec((0_u32..40, 0_u32..5), 1..400), min_events in 0_u32..200) {
        let spec = Spec { min_events, ..spec(98.0, "30d") };
        let columns = Columns {
            start: 0,
            step: 300,
            bad: counts.iter().map(|(total, bad)| f64::from(*bad.min(total))).collect(),
            total: counts.iter().map(|(total, _)| f64::from(*total)).collect(),
        };
        let told = replay::replay(&spec, &columns);
        for burn in spec.alerts() {
            let steps = |seconds: u64| usize::try_from(seconds / 300).unwrap();
            let (long, short) = (steps(burn.long.seconds), steps(burn.short.seconds));
            let by_hand = fires_by_hand(&spec, &columns, long, short, burn.factor);
            let mut told_steps = vec![false; columns.total.len()];
            for firing in told.firings.iter().filter(|f| f.window == burn.long.name()) {
                let first = usize::try_from(firing.from / 300 - 1).unwrap();
                let after = firing.to.map_or(told_steps.len(), |to| usize::try_from(to / 300 - 1).unwrap());
                told_steps[first..after].fill(true);
            }
            proptest::prop_assert_eq!(by_hand, told_steps);
        }
    }
}
