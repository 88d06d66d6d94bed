//! A run as lines of text, no wider than 80 columns.

use super::Report;
use crate::measured::{Counts, Measured};

/// Requests from which on what each cost is told.
const CPU_FROM: u64 = 20_000;

/// The reader's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Ja,
    En,
}

impl Language {
    pub fn pick<'a>(self, ja: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Ja => ja,
            Self::En => en,
        }
    }
}

/// Milliseconds in at most six columns.
fn milliseconds(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}s", value / 1e3)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A count in at most seven columns.
fn count(value: u64) -> String {
    match value {
        0..=9_999_999 => value.to_string(),
        _ => format!("{:.1}M", value as f64 / 1e6),
    }
}

/// The final table: one line for each journey, its errors below.
pub fn table(report: &Report, language: Language) -> String {
    let measured = &report.measured;
    let total = measured.total();
    let seconds = report.seconds.max(f64::MIN_POSITIVE);
    let mut lines = vec![format!(
        "{:<15}{:>8}{:>8}{:>8}{:>6}{:>7}{:>7}{:>7}{:>7}{:>7}",
        "", "offered", "sent", "ok", "error", "p50", "p90", "p99", "p99.9", "max"
    )];
    let mut row = |name: &str, counts: &Counts, latency: &crate::latency::Latencies| {
        let quantiles = latency.quantiles();
        let each = [
            quantiles.p50,
            quantiles.p90,
            quantiles.p99,
            quantiles.p999,
            quantiles.max,
        ];
        let mut line = format!(
            "{name:<15}{:>8}{:>8}{:>8}{:>6}",
            count(counts.offered),
            count(counts.sent),
            count(counts.ok),
            count(counts.error)
        );
        for value in each {
            line.push_str(&format!("{:>7}", milliseconds(value)));
        }
        lines.push(line);
    };
    for (journey, tally) in &measured.journeys {
        row(journey.name(), &tally.counts, &tally.latency);
    }
    if measured.journeys.len() > 1 {
        row("(all)", &total, &measured.latency());
    }
    for (journey, tally) in &measured.journeys {
        let mut kinds: Vec<_> = tally.errors.iter().collect();
        kinds.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (kind, times) in kinds {
            lines.push(shorten(
                &format!("  {} {:>7}  {kind}", journey.name(), count(*times)),
                80,
            ));
        }
    }
    let sampled: (u64, u64) = measured
        .journeys
        .values()
        .fold((0, 0), |sum, tally| (sum.0 + tally.fresh, sum.1 + tally.stale));
    let late = measured.late.quantile(0.99);
    let rate = total.sent as f64 / seconds;
    let cpu = measured.cpu / total.sent.max(1) as f64 * 1e5;
    lines.push(match language {
        Language::Ja => format!(
            "レイテンシーは ms、送信予定の時刻から。{rate:.0} 件/秒 ({:.1} 秒間)",
            report.seconds
        ),
        Language::En => format!(
            "latency in ms from when each was due; {rate:.0} requests/s for {:.1} s",
            report.seconds
        ),
    });
    let mut own = match language {
        Language::Ja => format!("送信の遅れ p99 {late:.2} ms"),
        Language::En => format!("sent late p99 {late:.2} ms"),
    };
    // Of few requests it would be the price of being there at all.
    if total.sent >= CPU_FROM {
        own.push_str(&match language {
            Language::Ja => format!("、CPU {cpu:.2} 秒/10 万件"),
            Language::En => format!(", own CPU {cpu:.2} s per 100,000"),
        });
    }
    lines.push(own);
    if sampled.0 + sampled.1 > 0 {
        let (fresh, all) = (sampled.0, sampled.0 + sampled.1);
        lines.push(match language {
            Language::Ja => format!("標本の投稿 {all} 件中 {fresh} 件が時間内にタイムラインへ届きました"),
            Language::En => format!("{fresh} of {all} sampled posts reached timelines in time"),
        });
    }
    for finding in &report.findings {
        let about = finding
            .journey
            .map_or(String::new(), |journey| format!("{}: ", journey.name()));
        let text = match language {
            Language::Ja => &finding.text.ja,
            Language::En => &finding.text.en,
        };
        lines.push(format!("✗ {about}{text}"));
    }
    if report.is_good() {
        lines.push(
            language
                .pick("✓ すべて期待どおりです", "✓ all as expected")
                .to_owned(),
        );
    }
    lines.join("\n")
}

/// One line while it runs: what happened since `before`, which is when the last line was.
pub fn progress(
    now: &Measured,
    before: &Counts,
    seconds: f64,
    at: f64,
    planned: f64,
    language: Language,
) -> String {
    let total = now.total();
    let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(0.001);
    let (sent, errors) = (
        per_second(total.sent, before.sent),
        total.error.saturating_sub(before.error),
    );
    // The last stretch may still be filling, and while the system stalls those before it have no answers yet.
    let mut latency = crate::latency::Latencies::coarse();
    for tally in now.journeys.values() {
        let filled = tally.stretches.iter().rev().skip(1);
        if let Some(stretch) = filled.into_iter().find(|stretch| !stretch.latency.is_empty()) {
            latency.add(&stretch.latency);
        }
    }
    let (p50, p99) = (
        milliseconds(latency.quantile(0.5)),
        milliseconds(latency.quantile(0.99)),
    );
    // A second's grace: the last line of a load that ends on time comes a little late.
    let pace = if at > planned + 1.0 {
        language
            .pick("残りの応答を待っています", "waiting for the last answers")
            .to_owned()
    } else {
        format!("{sent:.0} {}", language.pick("件/秒", "req/s"))
    };
    let at = at.min(planned);
    match language {
        Language::Ja => {
            format!("{at:.0}/{planned:.0} 秒  {pace}  エラー {errors}  p50 {p50} ms  p99 {p99} ms")
        }
        Language::En => {
            format!("{at:.0}/{planned:.0} s  {pace}  {errors} errors  p50 {p50} ms  p99 {p99} ms")
        }
    }
}

fn shorten(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    /// Columns of a terminal: the wide characters of Japanese take two.
    fn columns(line: &str) -> usize {
        line.chars().map(|c| if c >= '\u{2e80}' { 2 } else { 1 }).sum()
    }

    #[test]
    fn progress_does_not_run_past_the_end_of_the_load() {
        let (now, before) = (Measured::default(), Counts::default());
        let line = |at, language| progress(&now, &before, 1.0, at, 60.0, language);
        assert!(line(30.0, Language::En).starts_with("30/60 s  0 req/s  "));
        assert!(line(60.4, Language::Ja).starts_with("60/60 秒  0 件/秒  "));
        assert!(line(75.0, Language::En).starts_with("60/60 s  waiting for the last answers  "));
        assert!(line(75.0, Language::Ja).starts_with("60/60 秒  残りの応答を待っています  "));
    }

    #[test]
    fn a_table_fits_into_80_columns_and_tells_errors_by_kind() {
        for language in [Language::Ja, Language::En] {
            let text = table(&example(), language);
            for line in text.lines() {
                assert!(columns(line) <= 80, "{} {line}", columns(line));
            }
            assert!(
                text.contains("status 503") && text.contains("✗ read-timeline: "),
                "{text}"
            );
        }
    }

    #[test]
    fn figures_stay_in_their_columns() {
        for value in [0.0, 0.004, 9.99, 99.94, 123.4, 9_999.0, 60_000.0] {
            assert!(milliseconds(value).len() <= 6, "{value}");
        }
        assert_eq!(
            (count(9_999_999), count(72_000_000)),
            ("9999999".into(), "72.0M".into())
        );
    }
}
