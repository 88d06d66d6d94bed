//! A run as one page that needs nothing else: charts, the table, what was found. In both languages, light and dark.

use std::fmt::Write as _;

use super::chart::{Series, chart};
use super::{Language, Report};
use crate::latency::Latencies;
use crate::measured::{Counts, Stretch};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page. It opens in `language`, and has a button for the other one.
pub fn page(report: &Report, language: Language) -> String {
    let lang = language.pick("ja", "en");
    let title = escaped(language.pick(&report.title.ja, &report.title.en));
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        r#"<header><div><h1>{}</h1><p class="about">{} · <code>{}</code> · {}</p></div><button id="lang" type="button">{}</button></header>"#,
        both(&escaped(&report.title.ja), &escaped(&report.title.en)),
        escaped(&report.profile),
        escaped(&report.target),
        escaped(&report.started),
        both("English", "日本語"),
    );
    body.push_str(&verdict(report));
    body.push_str(&figures(report));
    body.push_str(&charts(report));
    body.push_str(&journeys(report));
    body.push_str(&errors(report));
    let _ = write!(
        body,
        "<footer>{}</footer>",
        both(
            "レイテンシーは、送信予定の時刻から応答を読み終えるまで。サーバーが止まれば、その間に予定されていたすべてのリクエストに現れます。",
            "Latency counts from when a request was due to when its answer was read: when the server stalls, every request that was due meanwhile shows it."
        )
    );
    format!(
        "<!doctype html>\n<html lang=\"{lang}\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title} - Hikeshi</title><style>{STYLE}</style></head>\n\
         <body><main>{body}</main><script>{SCRIPT}</script></body>\n</html>\n"
    )
}

/// Both languages; the page shows the one of its `lang`.
fn both(ja: &str, en: &str) -> String {
    format!(r#"<span lang="ja">{ja}</span><span lang="en">{en}</span>"#)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

fn verdict(report: &Report) -> String {
    if report.is_good() {
        return format!(
            r#"<p class="verdict good">✓ {}</p>"#,
            both("すべて期待どおりです", "All as expected")
        );
    }
    let mut list = String::from(r#"<ul class="verdict bad">"#);
    for finding in &report.findings {
        let about = finding.journey.map_or(String::new(), |journey| {
            format!("<code>{}</code> ", journey.name())
        });
        let text = both(&escaped(&finding.text.ja), &escaped(&finding.text.en));
        let _ = write!(list, "<li>✗ {about}{text}</li>");
    }
    list.push_str("</ul>");
    list
}

fn milliseconds(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn figures(report: &Report) -> String {
    let total = report.measured.total();
    let latency = report.measured.latency();
    let seconds = report.seconds.max(f64::MIN_POSITIVE);
    let share = 100.0 * total.error as f64 / total.offered.max(1) as f64;
    let mut all = vec![
        (
            both("送信", "Sent"),
            format!("{:.0}", total.sent as f64 / seconds),
            both("件/秒", "req/s"),
        ),
        (both("エラー", "Errors"), format!("{share:.2}"), "%".into()),
        ("p50".into(), milliseconds(latency.quantile(0.5)), "ms".into()),
        ("p99".into(), milliseconds(latency.quantile(0.99)), "ms".into()),
        (
            both("時間", "Time"),
            format!("{:.0}", report.seconds),
            both("秒", "s"),
        ),
    ];
    if report.pods > 0 {
        all.push((
            both("負荷生成 Pod", "Load pods"),
            report.pods.to_string(),
            String::new(),
        ));
    }
    let mut html = String::from(r#"<dl class="figures">"#);
    for (name, value, unit) in all {
        let _ = write!(
            html,
            "<div><dt>{name}</dt><dd>{value}<small>{unit}</small></dd></div>"
        );
    }
    html.push_str("</dl>");
    html
}

/// The stretches of all journeys together.
fn together(report: &Report) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = vec![];
    for tally in report.measured.journeys.values() {
        for (place, stretch) in tally.stretches.iter().enumerate() {
            if all.len() <= place {
                all.push(Stretch {
                    counts: Counts::default(),
                    latency: Latencies::coarse(),
                });
            }
            let sum = &mut all[place];
            sum.counts.offered += stretch.counts.offered;
            sum.counts.sent += stretch.counts.sent;
            sum.counts.ok += stretch.counts.ok;
            sum.counts.error += stretch.counts.error;
            sum.latency.add(&stretch.latency);
        }
    }
    all
}

fn charts(report: &Report) -> String {
    let stretches = together(report);
    let stretch = report.measured.stretch;
    if stretches.is_empty() || stretch <= 0.0 {
        return String::new();
    }
    // The last stretch may be short of its length: a rate over the whole of it would dip.
    let seconds = (report.measured.stretch * stretches.len() as f64).min(report.planned.max(stretch));
    let length = |place: usize| (seconds - place as f64 * stretch).clamp(stretch * 0.05, stretch);
    let rate = |class, filled, of: fn(&Counts) -> u64| Series {
        class,
        filled,
        values: stretches
            .iter()
            .enumerate()
            .map(|(place, stretch)| Some(of(&stretch.counts) as f64 / length(place)))
            .collect(),
    };
    let quantile = |class, share| Series {
        class,
        filled: false,
        values: stretches
            .iter()
            .map(|stretch| (!stretch.latency.is_empty()).then(|| stretch.latency.quantile(share)))
            .collect(),
    };
    let figure = |title: (&str, &str), legend: &[(&str, String)], series: &[Series]| {
        let keys: String = legend
            .iter()
            .map(|(class, name)| format!(r#"<li><i class="{class}"></i>{name}</li>"#))
            .collect();
        format!(
            r#"<figure><figcaption><h2>{}</h2><ul class="legend">{keys}</ul></figcaption>{}</figure>"#,
            both(title.0, title.1),
            chart(title.1, series, stretch, seconds)
        )
    };
    let throughput = figure(
        ("スループット (件/秒)", "Throughput (req/s)"),
        &[("offered", both("予定", "offered")), ("ok", both("成功", "ok"))],
        &[
            rate("ok", true, |counts| counts.ok),
            rate("offered", false, |counts| counts.offered),
        ],
    );
    let latency = figure(
        ("レイテンシー (ms)", "Latency (ms)"),
        &[
            ("p50", "p50".into()),
            ("p90", "p90".into()),
            ("p99", "p99".into()),
        ],
        &[quantile("p99", 0.99), quantile("p90", 0.9), quantile("p50", 0.5)],
    );
    // An empty picture would only look like one that is broken.
    let errors = if stretches.iter().any(|stretch| stretch.counts.error > 0) {
        figure(
            ("エラー (件/秒)", "Errors (per second)"),
            &[("error", both("エラー", "errors"))],
            &[rate("error", true, |counts| counts.error)],
        )
    } else {
        String::new()
    };
    format!(r#"<section class="charts">{throughput}{latency}{errors}</section>"#)
}

fn journeys(report: &Report) -> String {
    let mut html = format!(
        r#"<section><h2>{}</h2><div class="scroll"><table><thead><tr><th></th><th>{}</th><th>{}</th><th>{}</th><th>{}</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>{}</th></tr></thead><tbody>"#,
        both("操作ごとの結果 (ms)", "By journey (ms)"),
        both("予定", "offered"),
        both("送信", "sent"),
        both("成功", "ok"),
        both("エラー", "errors"),
        both("最大", "max"),
    );
    for (journey, tally) in &report.measured.journeys {
        let counts = &tally.counts;
        let quantiles = tally.latency.quantiles();
        let _ = write!(
            html,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            journey.name(),
            counts.offered,
            counts.sent,
            counts.ok,
            counts.error
        );
        for value in [
            quantiles.p50,
            quantiles.p90,
            quantiles.p99,
            quantiles.p999,
            quantiles.max,
        ] {
            let _ = write!(html, "<td>{}</td>", milliseconds(value));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div></section>");
    html
}

fn errors(report: &Report) -> String {
    let mut rows = String::new();
    for (journey, tally) in &report.measured.journeys {
        for (kind, times) in &tally.errors {
            let (name, kind) = (journey.name(), escaped(kind));
            let _ = write!(
                rows,
                "<tr><th>{name}</th><td class=\"kind\">{kind}</td><td>{times}</td></tr>"
            );
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!(
        r#"<section><h2>{}</h2><div class="scroll"><table><tbody>{rows}</tbody></table></div></section>"#,
        both("エラーの種類", "Errors by kind")
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_page_stands_alone_and_what_came_from_outside_is_only_text() {
        let mut report = example();
        report.target = "http://<script>".into();
        report
            .measured
            .journey(crate::journey::Journey::ReadTimeline)
            .fail("<b>\"", 1);
        let page = page(&report, Language::Ja);
        assert!(page.contains("<html lang=\"ja\">") && page.contains("http://&lt;script&gt;"));
        assert!(page.contains("&lt;b&gt;&quot;") && !page.contains("<b>"));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(
            page.matches("<span lang=\"ja\">").count(),
            page.matches("<span lang=\"en\">").count()
        );
    }
}
