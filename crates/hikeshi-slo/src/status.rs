//! What is left of a budget, in every form people ask for: percent, minutes, requests, words, and who spent it.

use hikeshi_scenario::Text;
use schemars::JsonSchema;
use serde::Serialize;

use crate::backtest::marks::{Mark, MarkKind};
use crate::backtest::replay::{Columns, budget_course};
use crate::cujs::Action;
use crate::period::Period;
use crate::spec::Spec;

mod words;

use words::{Said, words};

/// One objective's budget at a moment; what a page or a terminal shows.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Status {
    pub slo: String,
    pub journey: String,
    pub sli: String,
    pub owner: String,
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub title: Text,
    /// Percent.
    pub objective: f64,
    /// As files write it.
    pub period: String,
    /// Seconds of the period that holds this moment.
    pub length: i64,
    /// Unix seconds: since when events count, now, and when the budget begins anew (calendar periods only).
    pub from: i64,
    pub now: i64,
    pub renews: Option<i64>,
    /// Events since `from`.
    pub total: f64,
    pub bad: f64,
    /// Share of good events, 0..1; none without events.
    pub attained: Option<f64>,
    /// Shares of the whole period's budget; `left` may be negative. None without events: that nothing is known is not that
    /// nothing is spent.
    pub spent: Option<f64>,
    pub left: Option<f64>,
    /// Bad events that are left, at the traffic seen so far; none of a ratio, which counts nothing (`total` and `bad` are steps then).
    pub events_left: Option<f64>,
    /// Minutes of a full outage that are left.
    pub minutes_left: Option<f64>,
    /// How many times faster than allowed it is spent, over the fastest alert's short and long window; none without events.
    pub burn_now: Option<f64>,
    pub burn: Option<f64>,
    /// Seconds until nothing is left if it goes on as in the long window; none: it lasts.
    pub exhausted_in: Option<f64>,
    /// What marked incidents and drills spent, in order of time, and what was spent outside of them.
    pub spenders: Vec<Spender>,
    pub unmarked: f64,
    /// What the team agreed to do, that applies now.
    pub actions: Vec<ActionNow>,
    /// The next that will, and at which share spent.
    pub next: Option<ActionNow>,
    /// In plain words.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub words: Text,
    /// Share of the time since `from` about which something is known.
    pub known: f64,
    /// (Unix seconds, share spent): a chart.
    pub points: Vec<(i64, f64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Spender {
    pub name: String,
    pub kind: MarkKind,
    pub from: i64,
    pub to: i64,
    /// Bad events, and the share of the whole period's budget they are.
    pub bad: f64,
    pub spent: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ActionNow {
    /// Percent spent from which it applies.
    pub spent: f64,
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub action: Text,
    pub approver: Option<String>,
}

impl From<&Action> for ActionNow {
    fn from(action: &Action) -> Self {
        Self {
            spent: action.spent,
            action: action.action.clone(),
            approver: action.approver.clone(),
        }
    }
}

/// The budget at the end of a history. Bad events of marks that overlap are counted for each.
///
/// A period's steps are too long for an alert's windows: burn rates are read off `recent`, the end of the same history in steps
/// as short as the shortest of them.
pub fn status(spec: &Spec, columns: &Columns, recent: &Columns, marks: &[Mark]) -> Status {
    let steps = columns.total.len().min(columns.bad.len());
    let now = columns.end_of(steps);
    // What begins now is the next period's; what ended now is this one's.
    let began = match spec.period {
        Period::Rolling(_) => spec.period.start(now),
        Period::Calendar(_) => spec.period.start(now - 1),
    };
    let from = began.max(columns.start);
    let course = budget_course(spec, columns);
    let (bad, total) = columns.between(from, now);
    let any = total > 0.0;
    let left = 1.0 - course.last;
    #[expect(clippy::cast_precision_loss, reason = "seconds of a period")]
    let (length, elapsed) = (length(spec, now) as f64, (now - from).max(1) as f64);
    // The period's bad events at the traffic seen so far: `spent` is a share of these.
    let seen = (elapsed * course.known).max(1.0);
    let allowed = spec.budget * total * (length / seen).max(1.0);
    let share = |bad: f64| if allowed > 0.0 { bad / allowed } else { 0.0 };
    let spenders: Vec<Spender> = marks
        .iter()
        .filter(|mark| mark.hurts(&spec.journey) && mark.to > from && mark.from < now)
        .map(|mark| {
            let (start, end) = touched(columns, mark.from.max(from), mark.to.min(now));
            let (bad, _) = columns.between(start, end);
            Spender {
                name: mark.name.clone(),
                kind: mark.kind,
                from: mark.from,
                to: mark.to,
                bad,
                spent: share(bad),
            }
        })
        .collect();
    let fastest = spec.burns.iter().min_by_key(|burn| burn.long);
    let over = |seconds: u64| {
        let to = recent.end_of(recent.total.len().min(recent.bad.len()));
        let from = to.saturating_sub_unsigned(seconds.max(u64::from(recent.step)));
        let (bad, total) = recent.between(from, to);
        (total > 0.0).then(|| bad / total / spec.budget)
    };
    let burn_now = fastest.and_then(|burn| over(burn.short.seconds));
    let burn = fastest.and_then(|burn| over(burn.long.seconds));
    let renews = match spec.period {
        Period::Rolling(_) => None,
        Period::Calendar(_) => spec.period.end(now - 1),
    };
    let exhausted_in = any
        .then(|| exhausted_in(left, burn, length, renews.map(|at| at - now)))
        .flatten();
    let spent_percent = course.last * 100.0;
    let applies = |action: &&Action| any && spent_percent >= action.spent - 1e-9;
    let events_left = (any && spec.counts()).then_some(allowed - bad);
    let minutes_left = left * spec.budget * length / 60.0;
    let marked: f64 = covered(columns, &spenders, from, now);
    Status {
        slo: spec.id.clone(),
        journey: spec.journey.clone(),
        sli: spec.sli.clone(),
        owner: spec.owner.clone(),
        title: spec.title.clone(),
        objective: spec.objective,
        period: spec.period.to_string(),
        length: self::length(spec, now),
        from,
        now,
        renews,
        total,
        bad,
        attained: (total > 0.0).then(|| 1.0 - bad / total),
        spent: any.then_some(course.last),
        left: any.then_some(left),
        events_left,
        minutes_left: any.then_some(minutes_left),
        burn_now,
        burn,
        exhausted_in,
        unmarked: share((bad - marked).max(0.0)),
        spenders,
        actions: spec.policy.iter().filter(applies).map(ActionNow::from).collect(),
        next: spec
            .policy
            .iter()
            .find(|action| !applies(action))
            .map(ActionNow::from),
        words: words(&Said {
            left,
            events_left,
            minutes_left,
            burn,
            exhausted_in,
            any,
        }),
        known: course.known,
        points: course.points,
    }
}

/// Seconds of the period that holds a moment.
fn length(spec: &Spec, now: i64) -> i64 {
    match spec.period {
        Period::Rolling(_) => i64::try_from(spec.period.seconds()).unwrap_or(i64::MAX),
        Period::Calendar(_) => spec
            .period
            .end(now - 1)
            .map_or(1, |end| end - spec.period.start(now - 1)),
    }
}

/// The whole steps that a stretch touches: what went wrong in a step went wrong in the incident that lies in it.
fn touched(columns: &Columns, from: i64, to: i64) -> (i64, i64) {
    let step = i64::from(columns.step.max(1));
    let down = |at: i64| (at - columns.start).div_euclid(step) * step + columns.start;
    (down(from), down(to + step - 1))
}

/// Bad events within any of the marks, once each.
fn covered(columns: &Columns, spenders: &[Spender], from: i64, now: i64) -> f64 {
    let mut spans: Vec<(i64, i64)> = spenders
        .iter()
        .map(|s| touched(columns, s.from.max(from), s.to.min(now)))
        .collect();
    spans.sort_unstable();
    let (mut bad, mut until) = (0.0, from);
    for (start, end) in spans {
        let start = start.max(until);
        if end > start {
            bad += columns.between(start, end).0;
            until = end;
        }
    }
    bad
}

/// What is left lasts `left x period / burn`. A rolling budget at a burn of 1 or less never ends; a calendar's does not if it is
/// renewed before.
fn exhausted_in(left: f64, burn: Option<f64>, length: f64, renewed_in: Option<i64>) -> Option<f64> {
    if left <= 0.0 {
        return Some(0.0);
    }
    let burn = burn.filter(|burn| *burn > 0.0)?;
    let seconds = left * length / burn;
    match renewed_in {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a period")]
        Some(renewed) => (seconds < renewed as f64).then_some(seconds),
        None => (burn > 1.0).then_some(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::{history, spec};

    /// An hour of 10 % errors two days ago in a month of 99.9 %, marked; a little bit unmarked.
    #[test]
    fn every_form_says_the_same() {
        let mut spec = spec(99.9, "30d");
        spec.policy = [50.0, 10.0, 100.0]
            .map(|spent| Action {
                spent,
                action: Text::default(),
                approver: None,
            })
            .to_vec();
        spec.policy.sort_by(|a, b| a.spent.total_cmp(&b.spent));
        let hour = 28 * 86_400..28 * 86_400 + 3_600;
        let little = 29 * 86_400..29 * 86_400 + 360;
        let columns = history(30, 0, |t| {
            if hour.contains(&t) || little.contains(&t) {
                0.1
            } else {
                0.0
            }
        });
        let mark = |name: &str, from: i64, to: i64| Mark {
            name: name.to_owned(),
            from,
            to,
            kind: MarkKind::Drill,
            journeys: Vec::new(),
        };
        let marks = [
            mark("drill", hour.start - 60, hour.end + 60),
            mark("the same", hour.start, hour.end),
            mark("long ago", -5_000, -4_000),
        ];
        let told = status(&spec, &columns, &columns, &marks);
        // 360 s of outage of 2,592 allowed.
        let drill = 360.0 / 2_592.0;
        assert!(
            (told.spent.unwrap() - drill * 1.1).abs() < 1e-6,
            "{:?}",
            told.spent
        );
        assert_eq!(told.spenders.len(), 2);
        assert!((told.spenders[0].spent - drill).abs() < 1e-6);
        assert!((told.unmarked - drill * 0.1).abs() < 1e-6, "{}", told.unmarked);
        assert!((told.minutes_left.unwrap() - (2_592.0 - 396.0) / 60.0).abs() < 1e-3);
        assert_eq!(told.events_left.map(f64::round), Some(25_920.0 - 3_960.0));
        assert_eq!((told.burn_now, told.exhausted_in), (Some(0.0), None));
        assert_eq!(told.actions.len(), 1);
        assert_eq!(told.next.map(|next| next.spent), Some(50.0));
        assert_eq!(
            told.words.en,
            "85 % of the error budget is left. It would take 37 min of a full outage, or about 21,960 failed requests, to spend it. It is not being spent now."
        );
        assert_eq!(
            told.words.ja,
            "エラーバジェットは残り 85 % です。全面停止なら 37 分、失敗なら約 21,960 件で使い切ります。いまは減っていません。"
        );
    }

    #[test]
    fn what_burns_has_an_end() {
        // The last hour of a month at 1 % errors: 10 times too fast.
        let from = 30 * 86_400 - 3_600;
        let columns = history(30, 0, |t| if t >= from { 0.01 } else { 0.0 });
        let told = status(&spec(99.9, "30d"), &columns, &columns, &[]);
        assert!((told.burn.unwrap() - 10.0).abs() < 1e-6);
        let left = 1.0 - 36.0 / 2_592.0;
        assert!((told.exhausted_in.unwrap() - left * 259_200.0).abs() < 1.0);
        assert!(
            told.words
                .en
                .ends_with("at 10.0 times the pace that is allowed; at that pace it is gone in 3.0 days.")
        );
    }

    /// Ten days that nobody measured, then twenty that were perfect: the chart begins where the knowledge does.
    #[test]
    fn what_is_not_known_is_not_drawn() {
        let mut columns = history(30, 0, |_| 0.0);
        let unknown = 10 * 86_400 / 15;
        columns.bad[..unknown].fill(f64::NAN);
        columns.total[..unknown].fill(f64::NAN);
        let told = status(&spec(99.9, "30d"), &columns, &columns, &[]);
        assert!((told.known - 2.0 / 3.0).abs() < 1e-6, "{}", told.known);
        let first = told.points[0].0;
        assert!((10 * 86_400..11 * 86_400).contains(&first), "{first}");
        assert_eq!(told.left, Some(1.0));
        // A drill's ten minutes in a window of twelve hours: every step of them is drawn.
        let mut drill = history(1, 0, |_| 0.0);
        let unknown = drill.total.len() - 40;
        drill.bad[..unknown].fill(f64::NAN);
        drill.total[..unknown].fill(f64::NAN);
        assert_eq!(status(&spec(99.9, "1d"), &drill, &drill, &[]).points.len(), 40);
    }

    /// A period's steps of a quarter of an hour cannot tell what happened in the last five minutes.
    #[test]
    fn burn_rates_come_from_the_shorter_steps() {
        let spec = spec(99.9, "30d");
        let fine = history(1, 29 * 86_400, |t| if t >= 86_400 - 300 { 0.1 } else { 0.0 });
        let coarse = Columns {
            start: 0,
            step: 900,
            bad: (0..2_880).map(|n| if n == 2_879 { 300.0 } else { 0.0 }).collect(),
            total: vec![9_000.0; 2_880],
        };
        let told = status(&spec, &coarse, &fine, &[]);
        assert!(
            (told.burn_now.unwrap() - 100.0).abs() < 1e-6,
            "{:?}",
            told.burn_now
        );
        assert!(
            (told.burn.unwrap() - 100.0 / 12.0).abs() < 1e-6,
            "{:?}",
            told.burn
        );
    }

    #[test]
    fn a_calendar_renews_and_an_hour_on_the_first_is_not_the_end() {
        // 2026-12-01T00:00Z, an hour and a half later: all of the first hour was bad.
        let start = 1_796_083_200;
        let columns = {
            let mut c = history(1, start, |t| if t < 3_600 { 1.0 } else { 0.0 });
            c.bad.truncate(360);
            c.total.truncate(360);
            c
        };
        let told = status(&spec(99.0, "{calendar: month}"), &columns, &columns, &[]);
        assert_eq!((told.from, told.renews), (start, Some(start + 31 * 86_400)));
        let spent = told.spent.unwrap();
        assert!((spent - 3_600.0 / (31.0 * 864.0)).abs() < 1e-6, "{spent}");
        assert_eq!(
            told.exhausted_in.map(f64::round),
            Some(((1.0 - spent) * 31.0 * 86_400.0 / 50.0).round())
        );
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        let empty = Columns {
            start: 100,
            step: 15,
            ..Columns::default()
        };
        let mut spec = spec(99.9, "30d");
        spec.policy = vec![Action {
            spent: 1e-9,
            action: Text::default(),
            approver: None,
        }];
        let told = status(&spec, &empty, &empty, &[]);
        assert_eq!((told.attained, told.left, told.spent), (None, None, None));
        assert_eq!(
            (told.minutes_left, told.events_left, told.exhausted_in),
            (None, None, None)
        );
        assert_eq!((told.actions, told.points), (Vec::new(), Vec::new()));
        assert!(told.words.ja.contains("まだリクエストがありません"));
    }
}
