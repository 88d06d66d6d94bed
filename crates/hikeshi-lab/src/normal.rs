//! The normal state: how long answers take every day, as quantiles, and how to learn them from one's own Prometheus.

use hikeshi_chaos::quantity;
use hikeshi_scenario::Text;
use serde::{Deserialize, Serialize};

use crate::level::secs;
use crate::words::{number, seconds, text};

/// The shares whose quantiles are kept.
const SHARES: [f64; 5] = [0.5, 0.75, 0.9, 0.99, 0.999];

/// Quantiles of the normal state, rising: share (0 to 1) and microseconds. Empty: as the system is by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Normal {
    pub points: Vec<(f64, u64)>,
}

/// Why there is no normal state in what was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoNormal(pub Text);

impl Normal {
    /// Every answer takes so long.
    pub fn constant(micros: u64) -> Self {
        Self {
            points: vec![(0.5, micros)],
        }
    }

    /// Reads `200ms` or `p50=80ms,p99=1s`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(word: &str) -> Result<Self, NoNormal> {
        let refuse = || {
            NoNormal(text(
                format!(
                    "`{word}` は平常時として読めません。200ms または p50=80ms,p99=1s のように、だんだん大きく書きます"
                ),
                format!(
                    "`{word}` is no normal state: write 200ms, or rising quantiles such as p50=80ms,p99=1s"
                ),
            ))
        };
        if !word.contains('=') {
            return quantity::micros(word.trim())
                .map(Self::constant)
                .map_err(|_| refuse());
        }
        let mut points = Vec::new();
        for point in word.split(',') {
            let (share, length) = point.trim().split_once('=').ok_or_else(refuse)?;
            let share = share
                .strip_prefix('p')
                .and_then(|share| share.parse::<f64>().ok());
            let share = share
                .filter(|share| *share > 0.0 && *share < 100.0)
                .ok_or_else(refuse)?;
            // Without the noise of binary fractions: p99.9 is 0.999.
            let share = (share * 1e6).round() / 1e8;
            points.push((share, quantity::micros(length).map_err(|_| refuse())?));
        }
        let rising = points
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        if rising {
            Ok(Self { points })
        } else {
            Err(refuse())
        }
    }

    /// From a histogram's cumulative buckets: upper bounds in seconds (the last infinite) and counts or rates. Within a bucket a
    /// quantile lies on a straight line, as `histogram_quantile` has it.
    ///
    /// # Errors
    /// When there are no events, or no finite bucket.
    pub fn from_buckets(buckets: &[(f64, f64)]) -> Result<Self, NoNormal> {
        let mut buckets: Vec<(f64, f64)> = buckets.iter().copied().filter(|(_, n)| n.is_finite()).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total = buckets.last().map_or(0.0, |(_, count)| *count);
        let widest = buckets.iter().rev().find(|(bound, _)| bound.is_finite());
        let (Some((widest, _)), true) = (widest, total > 0.0) else {
            return Err(NoNormal(text(
                "このヒストグラムには値がありません。クエリが `..._bucket` の合計を返すか、期間に通信があったかを確かめてください",
                "this histogram is empty: check that the query gives `..._bucket` series, and that there was traffic in its range",
            )));
        };
        let at = |share: f64| {
            let wanted = share * total;
            let mut below = (0.0, 0.0);
            for (bound, count) in &buckets {
                if *count >= wanted {
                    if !bound.is_finite() {
                        return *widest;
                    }
                    let width = (count - below.1).max(f64::MIN_POSITIVE);
                    return below.0 + (bound - below.0) * (wanted - below.1) / width;
                }
                below = (*bound, *count);
            }
            *widest
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive seconds of a histogram"
        )]
        let points = SHARES
            .iter()
            .map(|share| (*share, (at(*share) * 1e6).round() as u64))
            .collect();
        Ok(Self { points })
    }

    pub fn is_given(&self) -> bool {
        !self.points.is_empty()
    }

    /// The length in seconds at a share, on a straight line between two points and flat outside.
    pub fn at(&self, share: f64) -> Option<f64> {
        let points = &self.points;
        let above = points.iter().position(|(p, _)| *p >= share);
        Some(match above {
            None => secs(points.last()?.1),
            Some(0) => secs(points[0].1),
            Some(n) => {
                let ((p0, v0), (p1, v1)) = (points[n - 1], points[n]);
                secs(v0) + (secs(v1) - secs(v0)) * (share - p0) / (p1 - p0)
            }
        })
    }

    /// Mean seconds of a distribution that is straight between the points and flat outside; none where nothing is given.
    pub fn mean(&self) -> Option<f64> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let between = self.points.windows(2).map(|pair| {
            let ((p0, v0), (p1, v1)) = (pair[0], pair[1]);
            (p1 - p0) * (secs(v0) + secs(v1)) / 2.0
        });
        Some(first.0 * secs(first.1) + between.sum::<f64>() + (1.0 - last.0) * secs(last.1))
    }

    /// `p50=80ms,p99=1s`, as the annotation of a delay has it.
    pub fn spelt(&self) -> String {
        let point = |(share, micros): &(f64, u64)| format!("p{}={}us", number_of(share * 100.0), micros);
        self.points.iter().map(point).collect::<Vec<_>>().join(",")
    }

    /// In plain words.
    pub fn said(&self) -> Text {
        if self.points.is_empty() {
            return text("システムそのまま", "as the system is by itself");
        }
        let of = |ja: bool| {
            let point = |(share, micros): &(f64, u64)| {
                let s = seconds(secs(*micros));
                format!("p{} {}", number_of(share * 100.0), if ja { s.ja } else { s.en })
            };
            self.points.iter().map(point).collect::<Vec<_>>()
        };
        if self.points.len() == 1 {
            return seconds(secs(self.points[0].1));
        }
        text(of(true).join("、"), of(false).join(", "))
    }
}

/// Without the noise of binary fractions.
fn number_of(share: f64) -> String {
    let rounded = (share * 1e6).round() / 1e6;
    if rounded.fract() == 0.0 {
        number(rounded)
    } else {
        format!("{rounded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        assert_eq!(Normal::parse("200ms").unwrap().points, [(0.5, 200_000)]);
        let normal = Normal::parse("p50=80ms, p99.9=1s").unwrap();
        assert_eq!(normal.points, [(0.5, 80_000), (0.999, 1_000_000)]);
        assert_eq!(normal.spelt(), "p50=80000us,p99.9=1000000us");
        assert!((Normal::constant(200_000).mean().unwrap() - 0.2).abs() < 1e-9);
        assert!((normal.mean().unwrap() - (0.04 + 0.499 * 0.54 + 0.001)).abs() < 1e-9);
        assert_eq!(normal.said().en, "p50 80 ms, p99.9 1 s");
        for word in ["", "fast", "p99=1s,p50=2s", "p50=2s,p99=1s", "p0=1s", "q=1s"] {
            assert!(Normal::parse(word).is_err(), "{word}");
        }
    }

    #[test]
    fn quantiles_of_a_histogram_are_prometheus_own() {
        let buckets = [(0.1, 50.0), (0.2, 90.0), (1.0, 99.0), (f64::INFINITY, 100.0)];
        let normal = Normal::from_buckets(&buckets).unwrap();
        assert_eq!(normal.at(0.5), Some(0.1));
        assert_eq!(normal.at(0.9), Some(0.2));
        assert_eq!(normal.at(0.99), Some(1.0));
        // Beyond the last finite bound nothing is known: its bound is said, as Prometheus does.
        assert_eq!(normal.at(0.999), Some(1.0));
        assert!((normal.at(0.75).unwrap() - 0.162_5).abs() < 1e-9);
        for none in [
            &[][..],
            &[(0.1, 0.0), (f64::INFINITY, 0.0)],
            &[(f64::INFINITY, 3.0)],
            &[(0.1, f64::NAN)],
        ] {
            assert!(Normal::from_buckets(none).is_err());
        }
    }
}
