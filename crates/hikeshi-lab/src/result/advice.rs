//! What to agree on, and why.
//!
//! Latency: the objective's threshold must be one that users can bear even when they meet nothing else, so it is the
//! largest histogram bound at or below the *lower* end of the just-tolerable interval. Availability: the team must be
//! woken before users find it too much, so `14.4 x (1 - objective)` (the fastest page: 2 % of a 30-day budget in an hour) must
//! not exceed the lower end; and the objective is the laxest of the usual ones that keeps to that.

use hikeshi_scenario::{Dur, Text};
use hikeshi_slo::policy::{AlertPolicy, burn, usual};
use hikeshi_slo::{BUCKETS, Cuj, Period, Severity, Sli, Slo};
use serde::{Deserialize, Serialize};

use super::Threshold;
use crate::level::Kind;
use crate::psi::Found;
use crate::words::{number, percent, seconds, text};

/// Objectives that people agree on, from the laxest.
const OBJECTIVES: [f64; 11] = [
    90.0, 95.0, 97.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.99, 99.999,
];
/// Below so many valid trials nothing is recommended.
const FEWEST: usize = 6;

/// A change to `cujs.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A latency SLO's threshold, in milliseconds.
    Within { slo: String, from_ms: u64, to_ms: u64 },
    /// An SLO's objective, in percent.
    Objective { slo: String, from: f64, to: f64 },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// In one sentence.
    pub words: Text,
    pub reasons: Vec<Text>,
    /// None: keep what is there, or nothing can be said.
    pub change: Option<Change>,
}

/// What a recommendation is made of.
pub struct Given<'a> {
    pub kind: Kind,
    pub journey: &'a str,
    pub cuj: Option<&'a Cuj>,
    pub period: Period,
    pub noticeable: Option<&'a Threshold>,
    pub tolerable: Option<&'a Threshold>,
    pub people: usize,
    /// Valid trials.
    pub valid: usize,
    pub uses: u32,
}

/// Says what to agree on.
pub fn advise(given: &Given<'_>) -> Recommendation {
    let (Some(noticeable), Some(tolerable)) = (given.noticeable, given.tolerable) else {
        return nothing(
            "有効な比較がまだありません",
            "there is no valid trial yet",
            Vec::new(),
        );
    };
    let mut reasons = vec![
        text(
            format!("違いに気づくのは {} から", noticeable.words.ja),
            format!("a difference is noticed from {}", noticeable.words.en),
        ),
        text(
            format!("毎日使えるのは {} まで", tolerable.words.ja),
            format!("it is bearable every day up to {}", tolerable.words.en),
        ),
        text(
            format!(
                "{} 人、有効な比較 {} 回。かっこ内は 95 % の区間",
                given.people, given.valid
            ),
            format!(
                "{}, {}; in brackets the 95 % interval",
                counted(given.people, "person", "people"),
                counted(given.valid, "valid trial", "valid trials")
            ),
        ),
    ];
    if given.valid < FEWEST {
        return nothing(
            &format!("まだ {} 回です。{FEWEST} 回以上の比較から提案します", given.valid),
            &format!(
                "only {}: a recommendation needs {FEWEST}",
                counted(given.valid, "valid trial", "valid trials")
            ),
            reasons,
        );
    }
    let slo = given.cuj.and_then(|cuj| {
        let of_kind = |slo: &&Slo| slo.sli.name() == given.kind.name();
        cuj.slos.iter().find(of_kind)
    });
    let Some(slo) = slo else {
        let title = given.kind.title();
        return nothing(
            &format!(
                "{} には{}の SLO がありません。cujs.yaml に書き加えてから、もう一度体験してください",
                given.journey, title.ja
            ),
            &format!(
                "{} has no SLO of {}: write one into cujs.yaml first",
                given.journey, title.en
            ),
            reasons,
        );
    };
    match (given.kind, slo.sli) {
        (Kind::Latency, Sli::Latency(within)) => latency(slo, within.within, tolerable, reasons),
        _ => {
            if given.uses > 1 {
                reasons.push(text(
                    format!("エラーは、1 回の比較で {} 回ずつ使って感じたもの", given.uses),
                    format!("errors as felt in {} uses at a time", given.uses),
                ));
            }
            availability(slo, given.period, tolerable, reasons)
        }
    }
}

fn nothing(ja: &str, en: &str, reasons: Vec<Text>) -> Recommendation {
    Recommendation {
        words: text(ja, en),
        reasons,
        change: None,
    }
}

fn latency(slo: &Slo, within: Dur, tolerable: &Threshold, mut reasons: Vec<Text>) -> Recommendation {
    let floor = if tolerable.found == Found::Below {
        0.0
    } else {
        tolerable.low
    };
    let fitting = BUCKETS.iter().rev().find(|bound| **bound <= floor);
    let now = within.get();
    let objective = number(slo.objective);
    let (Some(bound), true) = (fitting, tolerable.found != Found::Below) else {
        return nothing(
            "いちばん短い待ち時間でも我慢できないという結果でした。速くする仕事が先です",
            "even the shortest wait was too long: make it faster first",
            reasons,
        );
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "buckets of seconds"
    )]
    let to_ms = (bound * 1e3).round() as u64;
    let from_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let (to, from) = (seconds(*bound), seconds(now.as_secs_f64()));
    reasons.push(text(
        format!(
            "{} は、我慢できる範囲の下の端より短い、計測できるいちばん長い区切り",
            to.ja
        ),
        format!(
            "{} is the longest measured bound below the lower end of what is bearable",
            to.en
        ),
    ));
    if to_ms == from_ms {
        return nothing(
            &format!("今のまま：{objective} % が {} 以内", from.ja),
            &format!("keep it: {objective} % within {}", from.en),
            reasons,
        );
    }
    let words = if to_ms < from_ms {
        text(
            format!(
                "{} 以内では遅すぎます。{objective} % が {} 以内へ",
                from.ja, to.ja
            ),
            format!(
                "within {} is too slow: agree on {objective} % within {}",
                from.en, to.en
            ),
        )
    } else {
        text(
            format!(
                "{} 以内は厳しすぎるかもしれません。{objective} % が {} 以内でも使えます",
                from.ja, to.ja
            ),
            format!(
                "within {} may be stricter than users need: {objective} % within {} is bearable",
                from.en, to.en
            ),
        )
    };
    Recommendation {
        words,
        reasons,
        change: Some(Change::Within {
            slo: slo.label().to_owned(),
            from_ms,
            to_ms,
        }),
    }
}

fn availability(slo: &Slo, period: Period, tolerable: &Threshold, mut reasons: Vec<Text>) -> Recommendation {
    let alerts: Vec<AlertPolicy> = slo.alerts.clone().unwrap_or_else(usual);
    let pages = alerts.iter().map(|alert| burn(alert, period));
    let fastest = pages
        .filter(|burn| burn.severity == Severity::Page)
        .max_by(|a, b| a.factor.total_cmp(&b.factor));
    let (factor, window) = fastest.map_or((1.0, "-".to_owned()), |burn| (burn.factor, burn.long.name()));
    let fits = |objective: &&f64| factor * (100.0 - **objective) / 100.0 <= tolerable.low;
    let Some(to) = OBJECTIVES
        .iter()
        .find(fits)
        .filter(|_| tolerable.found != Found::Below)
    else {
        return nothing(
            "どんなに少ないエラーでも我慢できないという結果でした。測れる目標では守れません",
            "no rate of errors that could be promised is bearable",
            reasons,
        );
    };
    let rings = percent(factor * (100.0 - to) / 100.0);
    reasons.push(text(
        format!("{} % なら、いちばん早い呼び出し（{window}、バーンレート {}）が {rings} のエラーで鳴り、我慢できなくなる前に人が動ける", number_of(*to), number(factor)),
        format!("at {} % the fastest page ({window}, burn rate {}) rings at {rings} of errors: somebody acts before it is too much", number_of(*to), number(factor)),
    ));
    let from = slo.objective;
    let (said_from, said_to) = (number_of(from), number_of(*to));
    if (from - to).abs() < 1e-9 {
        return nothing(
            &format!("今のまま：{said_from} %"),
            &format!("keep it: {said_from} %"),
            reasons,
        );
    }
    let words = if *to > from {
        text(
            format!("{said_from} % では、我慢できなくなってから呼ばれます。{said_to} % へ"),
            format!("at {said_from} % the page comes after it is too much: agree on {said_to} %"),
        )
    } else {
        text(
            format!(
                "{said_from} % は厳しすぎるかもしれません。{said_to} % でも、我慢できなくなる前に呼ばれます"
            ),
            format!(
                "{said_from} % may be stricter than users need: at {said_to} % the page still comes in time"
            ),
        )
    };
    Recommendation {
        words,
        reasons,
        change: Some(Change::Objective {
            slo: slo.label().to_owned(),
            from,
            to: *to,
        }),
    }
}

/// All digits of an objective: 99.999 is not 100.
fn number_of(objective: f64) -> String {
    format!("{objective}")
}

/// English words for so many.
fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1, "valid trial", "valid trials"), "1 valid trial");
        assert_eq!(counted(0, "valid trial", "valid trials"), "0 valid trials");
        assert_eq!(counted(2, "person", "people"), "2 people");
    }
}
