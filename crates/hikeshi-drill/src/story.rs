//! What really happened, as Markdown: the system, the incident report, the chat. Every quoted line, number and command is an event's.

use std::fmt::Write as _;

use hikeshi_scenario::{Scenario, Step, Text};
use jiff::Timestamp;
use jiff::tz::Offset;

use crate::Lang;
use crate::chat::chat;
use crate::event::{Event, EventKind};
use crate::map::SystemMap;
use crate::metrics::metrics;
use crate::score::span;
use crate::timeline::{Category, entry, value_text};

/// The story of a log, in one language, its times at `offset` from UTC.
pub fn story(events: &[Event], scenario: &Scenario, map: &SystemMap, lang: Lang, offset: Offset) -> String {
    let mut out = String::new();
    let title = lang.pick(&scenario.title.ja, &scenario.title.en);
    let _ = writeln!(out, "# {}: {title}\n", map.name);
    system(&mut out, map, lang);
    report(&mut out, events, scenario, lang, offset);
    let _ = writeln!(out, "## {}\n", lang.pick("チャットログ", "Chat log"));
    for line in chat(events) {
        let text = line.text(lang).replace('\n', "\n  ");
        let _ = writeln!(out, "- {} **{}**: {text}", clock(line.at, offset), line.name);
    }
    out
}

/// `14:03`; the report and the chat both use it, so they agree to the minute.
pub fn clock(at: Timestamp, offset: Offset) -> String {
    offset.to_datetime(at).strftime("%H:%M").to_string()
}

/// `2026-11-21`.
pub fn date(at: Timestamp, offset: Offset) -> String {
    offset.to_datetime(at).strftime("%Y-%m-%d").to_string()
}

fn system(out: &mut String, map: &SystemMap, lang: Lang) {
    let text = |t: &Text| lang.pick(&t.ja, &t.en).to_owned();
    let _ = writeln!(
        out,
        "## {}\n\n{}\n",
        lang.pick("システム", "The system"),
        text(&map.about)
    );
    let _ = writeln!(
        out,
        "| {} | {} |\n|---|---|",
        lang.pick("ロール", "role"),
        lang.pick("すること", "does")
    );
    for role in &map.roles {
        let _ = writeln!(out, "| {} | {} |", role.name, text(&role.does));
    }
    let _ = writeln!(
        out,
        "\n### {}\n",
        lang.pick("誰が何に、なぜ依存しているか", "Who depends on what, and why")
    );
    for edge in &map.depends {
        let _ = writeln!(out, "- {} → {}: {}", edge.from, edge.to, text(&edge.why));
    }
    out.push('\n');
}

fn report(out: &mut String, events: &[Event], scenario: &Scenario, lang: Lang, offset: Offset) {
    let m = metrics(events, scenario);
    let _ = writeln!(out, "## {}\n", lang.pick("インシデント報告書", "Incident report"));
    let Some(first) = events.first() else {
        let _ = writeln!(
            out,
            "{}\n",
            lang.pick("記録がありません。", "There is no record.")
        );
        return;
    };
    let mut fact = |ja: &str, en: &str, value: String| {
        let _ = writeln!(out, "- {}: {value}", lang.pick(ja, en));
    };
    fact("日付", "Date", date(first.at, offset));
    let when = |mark: Option<crate::metrics::Mark>, took: Option<f64>| {
        mark.map_or_else(
            || lang.pick("なし", "never").to_owned(),
            |k| match took {
                Some(s) => format!(
                    "{} ({} {})",
                    clock(k.at, offset),
                    lang.pick("アラートから", "after the alert:"),
                    span(s, lang)
                ),
                None => clock(k.at, offset),
            },
        )
    };
    fact("最初のアラート", "First alert", when(m.alert, None));
    fact("検知", "Acknowledged", when(m.acknowledged, m.to_acknowledge));
    fact(
        "指揮官のアサイン",
        "Commander assigned",
        when(m.commander, m.to_assign),
    );
    fact("暫定復旧", "Mitigated", when(m.mitigated, m.to_mitigate));
    fact("終息宣言", "Resolved", when(m.resolved, m.to_resolve));
    let burned: Vec<String> = m
        .budget_burned
        .iter()
        .map(|(j, b)| format!("{j} {:.1} %", b.share * 100.0))
        .collect();
    if !burned.is_empty() {
        fact("エラーバジェットの消費", "Error budget burned", burned.join(", "));
    }
    let _ = writeln!(out, "\n### {}\n", lang.pick("経過", "Course"));
    let mut told = None;
    for event in events {
        let step = event.kind.step();
        // Who looks again has the same reason: it is given once.
        let again = step.is_some() && step == told;
        course(out, event, scenario, lang, offset, again);
        told = step.or(told);
    }
    out.push('\n');
}

/// One event in the report: when, who, the command, what it showed, and why that mattered.
fn course(out: &mut String, event: &Event, scenario: &Scenario, lang: Lang, offset: Offset, again: bool) {
    let at = clock(event.at, offset);
    match &event.kind {
        EventKind::CommandRun {
            actor,
            command,
            output,
            exit_code,
            ..
        } => {
            let _ = writeln!(out, "- {at} {}:\n\n  ```\n  $ {command}", actor.name);
            let step = step_of(scenario, event, |s| {
                s.run.as_ref().is_some_and(|c| c.to_string() == *command)
            });
            for line in telling_lines(output, step) {
                let _ = writeln!(out, "  {line}");
            }
            out.push_str("  ```\n\n");
            if exit_code.is_some_and(|c| c != 0) {
                let _ = writeln!(
                    out,
                    "  {}\n",
                    lang.pick("このコマンドは失敗しました。", "The command failed.")
                );
            }
            why(out, step.filter(|_| !again), lang);
        }
        EventKind::MetricSeen {
            actor,
            query,
            value,
            baseline,
            unit,
            ..
        } => {
            let seen = value_text(*value, unit);
            let _ = write!(out, "- {at} {}: `{query}` = **{seen}**", actor.name);
            if let Some(b) = baseline {
                let usual = value_text(*b, unit);
                let _ = match lang {
                    Lang::Ja => write!(out, " (平常時 {usual}"),
                    Lang::En => write!(out, " (normally {usual}"),
                };
                if b.abs() > f64::EPSILON {
                    let _ = write!(
                        out,
                        "{}",
                        lang.pick(
                            &format!("、{:.1} 倍", value / b),
                            &format!(", {:.1} times", value / b)
                        )
                    );
                }
                out.push(')');
            }
            out.push_str("\n\n");
            let step = step_of(scenario, event, |s| {
                s.query.as_ref().is_some_and(|q| q.promql == *query)
            });
            why(out, step.filter(|_| !again), lang);
        }
        _ => {
            let Some(entry) = entry(event).filter(|e| e.category != Category::Seat) else {
                return;
            };
            let text = lang.pick(&entry.text_ja, &entry.text_en);
            let who = entry.actor.map(|a| format!("{a}: ")).unwrap_or_default();
            let _ = writeln!(out, "- {at} {} {who}{text}", entry.icon);
        }
    }
}

fn why(out: &mut String, step: Option<&Step>, lang: Lang) {
    if let Some(why) = step.and_then(|s| s.why.as_ref()) {
        let _ = writeln!(
            out,
            "  {}: {}\n",
            lang.pick("注目した理由", "Why it mattered"),
            lang.pick(&why.ja, &why.en)
        );
    }
}

/// The step of the script that did this; none for what people did themselves. The scenario may have been edited since:
/// a step that no longer does the `same` is another.
fn step_of<'a>(scenario: &'a Scenario, event: &Event, same: impl Fn(&Step) -> bool) -> Option<&'a Step> {
    let index = usize::try_from(event.kind.step()?).ok()?;
    scenario.cast.as_ref()?.steps.get(index).filter(|s| same(s))
}

/// Lines of an output worth quoting, whole and at most twelve: all of a short one; of a long one those that the script looked for,
/// or those of trouble, or the last.
fn telling_lines<'a>(output: &'a str, step: Option<&Step>) -> Vec<&'a str> {
    const MOST: usize = 12;
    let lines: Vec<&str> = output
        .lines()
        .map(str::trim_end)
        .filter(|l| !l.is_empty())
        .collect();
    if lines.len() <= MOST {
        return lines;
    }
    let expected = step.and_then(|s| regex::Regex::new(&s.expect.as_ref()?.matches).ok());
    let matching: Vec<&str> = match &expected {
        Some(regex) => lines.iter().copied().filter(|l| regex.is_match(l)).collect(),
        None => {
            let trouble = ["error", "ERR ", "timed out", "refused", "warn", "fail"];
            lines
                .iter()
                .copied()
                .filter(|l| {
                    trouble
                        .iter()
                        .any(|t| l.to_lowercase().contains(&t.to_lowercase()))
                })
                .collect()
        }
    };
    let from = if matching.is_empty() { lines } else { matching };
    from[from.len().saturating_sub(MOST.min(4))..].to_vec()
}
