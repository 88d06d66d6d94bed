//! The level asked for beside the level delivered, as it was measured at the ingress.

use hikeshi_scenario::Text;
use serde::{Deserialize, Serialize};

use crate::level::{Level, secs};
use crate::words::{number, percent, seconds, text};

/// How far the delivered level may be from the one asked for, as a share of it.
pub const TOLERANCE: f64 = 0.02;
/// What a hop through the ingress may cost beyond that, in seconds: at 20 ms two hundredths are less than a thread's turn.
const HOP: f64 = 0.003;

/// What the ingress counted of the requests on trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Delivered {
    pub requests: u64,
    /// 5xx, or no answer at all.
    pub errors: u64,
    /// Of all their durations together.
    pub seconds: f64,
    /// Took at most the time that the level names; none where it names none, or no bucket fits.
    pub within: Option<u64>,
}

impl Delivered {
    /// Mean seconds; none without requests.
    #[expect(clippy::cast_precision_loss, reason = "requests of people")]
    pub fn mean(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.seconds / self.requests as f64)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            errors: self.errors + other.errors,
            seconds: self.seconds + other.seconds,
            within: match (self.within, other.within) {
                (Some(a), Some(b)) => Some(a + b),
                // Nothing was asked in one of them: the other's count holds for both.
                (a, None) if other.requests == 0 => a,
                (None, b) if self.requests == 0 => b,
                _ => None,
            },
        }
    }
}

/// A level asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub asked: Level,
    pub delivered: Delivered,
    /// The figures compared, in seconds or as a share: what was asked for and what was measured.
    pub wanted: f64,
    pub got: Option<f64>,
    /// It was delivered.
    pub ok: bool,
    pub words: Text,
}

/// Judges a level. `normal` is the mean in seconds of the same requests at the normal state, where that is known: what is added is
/// added to it.
pub fn judge(asked: Level, normal: Option<f64>, delivered: Delivered) -> Judged {
    let judged = |wanted: f64, got: Option<f64>, ok: bool, words: Text| Judged {
        asked,
        delivered,
        wanted,
        got,
        ok,
        words,
    };
    let Some(mean) = delivered.mean() else {
        let words = text("リクエストがありませんでした", "there were no requests");
        return judged(0.0, None, false, words);
    };
    match asked {
        Level::Normal => {
            let ok = delivered.errors == 0;
            let said = seconds(mean);
            let words = if ok {
                text(
                    format!("平均 {}、エラーなし", said.ja),
                    format!("{} on average, no errors", said.en),
                )
            } else {
                text(
                    format!("平常時のはずが、{} 件がエラーでした", delivered.errors),
                    format!("{} of the normal answers were errors", delivered.errors),
                )
            };
            judged(normal.unwrap_or(mean), Some(mean), ok, words)
        }
        Level::Total { micros } => length(&judged, secs(micros), mean),
        Level::Added { micros } => match normal {
            Some(normal) => length(&judged, normal + secs(micros), mean),
            None => judged(
                secs(micros),
                None,
                false,
                text(
                    "平常時の長さが測れず、追加分を確かめられません",
                    "the normal state was not measured, so what was added cannot be told",
                ),
            ),
        },
        Level::Edge { good_ppm, .. } => {
            let Some(within) = delivered.within else {
                let words = text(
                    "この長さの境目を測れるヒストグラムがありません",
                    "no histogram bucket of the ingress ends at this length",
                );
                return judged(f64::from(good_ppm) / 1e6, None, false, words);
            };
            let beyond = delivered.requests.saturating_sub(within);
            share(
                &judged,
                1_000_000 - good_ppm,
                beyond,
                delivered.requests,
                ("遅い応答", "slow"),
            )
        }
        Level::Errors { ppm } => share(
            &judged,
            ppm,
            delivered.errors,
            delivered.requests,
            ("エラー", "errors"),
        ),
    }
}

fn length(judged: &impl Fn(f64, Option<f64>, bool, Text) -> Judged, wanted: f64, mean: f64) -> Judged {
    let ok = (mean - wanted).abs() <= wanted * TOLERANCE + HOP;
    let (w, g) = (seconds(wanted), seconds(mean));
    judged(
        wanted,
        Some(mean),
        ok,
        text(
            format!("指定 {}、実測 {}", w.ja, g.ja),
            format!("{} asked for, {} delivered", w.en, g.en),
        ),
    )
}

/// A share is made exactly: of any so many requests the count is within one of it.
#[expect(clippy::cast_precision_loss, reason = "requests of people")]
fn share(
    judged: &impl Fn(f64, Option<f64>, bool, Text) -> Judged,
    ppm: u32,
    hits: u64,
    requests: u64,
    (ja, en): (&str, &str),
) -> Judged {
    let wanted = f64::from(ppm) / 1e6;
    let expected = wanted * requests as f64;
    let ok = (hits as f64 - expected).abs() <= (expected * TOLERANCE).max(1.0) + 1e-9;
    let got = hits as f64 / requests as f64;
    judged(
        wanted,
        Some(got),
        ok,
        text(
            format!(
                "指定 {}（{requests} 件中 {} 件の見込み）、実測 {ja} {hits} 件",
                percent(wanted),
                number(expected)
            ),
            format!(
                "{} asked for ({} of {requests} expected), {hits} {en} delivered",
                percent(wanted),
                number(expected)
            ),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(requests: u64, errors: u64, seconds: f64) -> Delivered {
        Delivered {
            requests,
            errors,
            seconds,
            within: None,
        }
    }

    #[test]
    fn a_length_is_delivered_within_two_hundredths() {
        let second = Level::Total { micros: 1_000_000 };
        for (mean, ok) in [
            (1.0, true),
            (1.019, true),
            (0.981, true),
            (1.03, false),
            (0.97, false),
        ] {
            let judged = judge(second, None, of(10, 0, mean * 10.0));
            assert_eq!(judged.ok, ok, "{mean}: {}", judged.words.en);
            assert_eq!(judged.wanted, 1.0);
        }
        // The system itself was slower than what was asked for.
        assert!(!judge(Level::Total { micros: 50_000 }, None, of(2, 0, 0.4)).ok);
        let added = Level::Added { micros: 800_000 };
        assert!(judge(added, Some(0.2), of(4, 0, 4.0)).ok);
        assert!(!judge(added, None, of(4, 0, 4.0)).ok, "nothing to compare with");
    }

    #[test]
    fn a_share_is_delivered_to_the_request() {
        let errors = Level::Errors { ppm: 15_000 };
        for (requests, hits, ok) in [
            (1_000, 15, true),
            (1_000, 16, true),
            (1_000, 17, false),
            (10_000, 153, true),
            (10_000, 154, false),
            (10, 0, true),
            (10, 2, false),
        ] {
            assert_eq!(
                judge(errors, None, of(requests, hits, 1.0)).ok,
                ok,
                "{hits} of {requests}"
            );
        }
        let edge = Level::Edge {
            micros: 1_000_000,
            good_ppm: 990_000,
        };
        let delivered = Delivered {
            within: Some(99),
            ..of(100, 0, 50.0)
        };
        assert!(judge(edge, None, delivered).ok);
        assert!(
            !judge(
                edge,
                None,
                Delivered {
                    within: Some(96),
                    ..delivered
                }
            )
            .ok
        );
        assert!(!judge(edge, None, of(100, 0, 50.0)).ok, "nothing was measured");
    }

    #[test]
    fn what_was_not_tried_is_not_delivered() {
        for level in [
            Level::Normal,
            Level::Total { micros: 1 },
            Level::Errors { ppm: 10 },
        ] {
            assert!(!judge(level, Some(0.1), Delivered::default()).ok);
        }
        assert!(!judge(Level::Normal, None, of(3, 1, 0.1)).ok);
    }

    #[test]
    fn presentations_add_up() {
        let some = Delivered {
            within: Some(1),
            ..of(2, 0, 1.0)
        };
        assert_eq!(some.and(Delivered::default()).within, Some(1));
        assert_eq!(Delivered::default().and(some), some);
        assert_eq!(some.and(some).requests, 4);
    }
}
