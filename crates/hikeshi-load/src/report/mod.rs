//! What is said of a run: the verdict, a table, JSON, a page. Pure.

mod chart;
mod html;
mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use hikeshi_scenario::Text;

use crate::journey::Journey;
use crate::latency::Quantiles;
use crate::measured::{Counts, Measured, Tally};
use crate::profile::Expect;

pub use html::page;
pub use table::{Language, progress, table};

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct Report {
    pub profile: String,
    pub title: Text,
    pub target: String,
    /// RFC 3339.
    pub started: String,
    /// Seconds that it took, and that its profile is long.
    pub seconds: f64,
    pub planned: f64,
    /// Generators that shared it; zero: this program itself.
    pub pods: u32,
    pub seed: u64,
    pub measured: Measured,
    pub findings: Vec<Finding>,
}

/// Something that was not as good as the profile expects, or wrong in any case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about; `None`: the whole run.
    pub journey: Option<Journey>,
    pub text: Text,
}

/// Answers that no server may give, by the beginning of their error's name.
const WRONG: [&str; 3] = ["wrong answer", "unreadable answer", "not HTTP"];

/// What of a measurement is not as expected.
pub fn judge(measured: &Measured, expect: &Expect) -> Vec<Finding> {
    let mut findings = vec![];
    let mut find = |journey: Option<Journey>, ja: String, en: String| {
        findings.push(Finding {
            journey,
            text: Text { ja, en },
        });
    };
    let total = measured.total();
    let of_offered = |some: u64| 100.0 * some as f64 / total.offered.max(1) as f64;
    if total.offered == 0 {
        find(
            None,
            "リクエストが 1 件もありませんでした".into(),
            "there was not a single request".into(),
        );
    }
    for (journey, tally) in &measured.journeys {
        let wrong = |kind: &str| WRONG.iter().any(|begins| kind.starts_with(begins));
        for (kind, times) in tally.errors.iter().filter(|(kind, _)| wrong(kind)) {
            find(
                Some(*journey),
                format!("{times} 件の応答の内容が誤っています ({kind})"),
                format!("{times} answers were wrong ({kind})"),
            );
        }
        let p99 = tally.latency.quantile(0.99);
        if let Some(limit) = expect.p99.get(journey)
            && p99 > limit.get().as_secs_f64() * 1e3
        {
            find(
                Some(*journey),
                format!("p99 が {p99:.1} ms です (上限 {limit})"),
                format!("p99 is {p99:.1} ms (at most {limit})"),
            );
        }
        let sampled = tally.fresh + tally.stale;
        if let Some(least) = &expect.fresh
            && sampled > 0
        {
            let fresh = tally.fresh as f64 / sampled as f64;
            if fresh < least.0 {
                let (fresh, least) = (100.0 * fresh, 100.0 * least.0);
                find(
                    Some(*journey),
                    format!("時間内に届いた投稿は標本の {fresh:.1} % です (下限 {least:.1} %)"),
                    format!("{fresh:.1} % of the sampled posts arrived in time (at least {least:.1} %)"),
                );
            }
        }
    }
    let errors = of_offered(total.error);
    if let Some(most) = &expect.errors
        && errors > 100.0 * most.0
    {
        let most = 100.0 * most.0;
        find(
            None,
            format!("エラーが {errors:.2} % です (上限 {most:.2} %)"),
            format!("{errors:.2} % errors (at most {most:.2} %)"),
        );
    }
    let short = of_offered(total.offered.saturating_sub(total.sent));
    if let Some(most) = &expect.short
        && short > 100.0 * most.0
    {
        let most = 100.0 * most.0;
        find(
            None,
            format!("予定のうち {short:.2} % を送信できませんでした (上限 {most:.2} %)"),
            format!("{short:.2} % of what was due was never sent (at most {most:.2} %)"),
        );
    }
    findings
}

/// A journey as JSON tells it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    counts: Counts,
    fresh: u64,
    stale: u64,
    /// Of what was answered well, and of what failed.
    latency_ms: Quantiles,
    failed_ms: Quantiles,
    errors: &'a BTreeMap<String, u64>,
    /// Of what was answered well: HdrHistogram V2, base64, microseconds.
    histogram: &'a crate::latency::Latencies,
    course: Vec<Point>,
}

/// A stretch of the course.
#[derive(Serialize)]
struct Point {
    /// Seconds from the start to the stretch's beginning.
    at: f64,
    #[serde(flatten)]
    counts: Counts,
    latency_ms: Quantiles,
}

impl Report {
    /// Whether everything was as expected.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// Seconds from the start to a stretch's beginning.
    fn at(&self, stretch: usize) -> f64 {
        stretch as f64 * self.measured.stretch
    }

    /// All of it, histograms included.
    pub fn json(&self) -> serde_json::Value {
        let told = |tally: &Tally| {
            let course = tally.stretches.iter().enumerate().map(|(place, stretch)| Point {
                at: self.at(place),
                counts: stretch.counts,
                latency_ms: stretch.latency.quantiles(),
            });
            serde_json::to_value(Told {
                counts: tally.counts,
                fresh: tally.fresh,
                stale: tally.stale,
                latency_ms: tally.latency.quantiles(),
                failed_ms: tally.failed.quantiles(),
                errors: &tally.errors,
                histogram: &tally.latency,
                course: course.collect(),
            })
            .unwrap_or_default()
        };
        let journeys: serde_json::Map<_, _> = self
            .measured
            .journeys
            .iter()
            .map(|(journey, tally)| (journey.name().to_owned(), told(tally)))
            .collect();
        serde_json::json!({
            "profile": self.profile,
            "title": self.title,
            "target": self.target,
            "started": self.started,
            "seconds": self.seconds,
            "planned_seconds": self.planned,
            "pods": self.pods,
            "seed": self.seed,
            "good": self.is_good(),
            "findings": self.findings,
            "total": self.measured.total(),
            "late_ms": self.measured.late.quantiles(),
            "cpu_seconds": self.measured.cpu,
            "journeys": journeys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;
    use std::time::Duration;

    /// A run of ten seconds with a stall and a few errors, the same each time.
    pub(super) fn example() -> Report {
        let mut measured = Measured::with_course(Duration::from_secs(10));
        for n in 0..2200_u64 {
            let at = Duration::from_micros(n * 10_000_000 / 2200);
            let journey = if n % 11 == 0 {
                Journey::PostMessage
            } else {
                Journey::ReadTimeline
            };
            let stalled = (4.0..6.0).contains(&at.as_secs_f64());
            let latency = Duration::from_micros(900 + n % 700 + if stalled { 90_000 } else { 0 });
            let failed = stalled && n % 40 == 0;
            measured.late.record(Duration::from_micros(40 + n % 90));
            measured.count(journey, at, |counts, latencies| {
                counts.offered += 1;
                counts.sent += 1;
                if failed {
                    counts.error += 1;
                } else {
                    latencies.record(latency);
                    counts.ok += 1;
                }
            });
            if failed {
                measured.journey(journey).failed.record(latency);
                let kind = if n % 80 == 0 { "timeout" } else { "status 503" };
                measured.journey(journey).fail(kind, 1);
            }
        }
        measured.journey(Journey::ReadTimeline).fresh = 4;
        measured.journey(Journey::ReadTimeline).stale = 1;
        measured.cpu = 0.25;
        let profile = include_str!("../../../../systems/chirpy/load/steady.yaml");
        let profile = Profile::parse("steady.yaml", profile).expect("shipped");
        Report {
            profile: "steady".into(),
            title: profile.title.clone(),
            target: "http://127.0.0.2:7780".into(),
            started: "2026-01-05T09:30:00Z".into(),
            seconds: 10.02,
            planned: 10.0,
            pods: 0,
            seed: 1,
            findings: judge(&measured, &profile.expect),
            measured,
        }
    }

    #[test]
    fn what_is_not_as_expected_is_found_and_wrong_answers_always_are() {
        let report = example();
        let found: Vec<&str> = report
            .findings
            .iter()
            .map(|finding| finding.text.en.as_str())
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("80.0 %"), "{found:?}");
        let mut measured = report.measured;
        measured
            .journey(Journey::ReadTimeline)
            .fail("wrong answer: the timeline is out of order", 2);
        let findings = judge(&measured, &Expect::default());
        assert!(
            findings[0].text.en.starts_with("2 answers were wrong"),
            "{findings:?}"
        );
    }

    #[test]
    fn json_tells_the_course_and_keeps_the_histogram() {
        let json = example().json();
        let reads = &json["journeys"]["read-timeline"];
        assert_eq!(reads["course"].as_array().map(Vec::len), Some(10));
        let histogram: crate::latency::Latencies =
            serde_json::from_value(reads["histogram"].clone()).expect("a histogram");
        assert_eq!(Some(histogram.len()), reads["ok"].as_u64());
        assert_eq!(json["good"], false);
    }
}
