//! The human timeline: what happened, without the chatter.

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Event, EventKind};
use crate::visibility::visible_to;

/// What kind of thing happened; the UI's icon and colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Drill,
    Seat,
    Fault,
    Alert,
    Recovery,
    Command,
    Change,
    Metric,
    Decision,
    Status,
    Hint,
    Oracle,
}

impl Category {
    /// One character for text output.
    pub fn icon(self) -> &'static str {
        match self {
            Self::Drill => "■",
            Self::Seat => "☺",
            Self::Fault => "⚡",
            Self::Alert => "▲",
            Self::Recovery => "▽",
            Self::Command => "$",
            Self::Change => "✎",
            Self::Metric => "∿",
            Self::Decision => "◆",
            Self::Status => "✉",
            Self::Hint => "?",
            Self::Oracle => "✓",
        }
    }
}

/// One entry; it may stand for several events of the same kind in a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Time of its first event.
    pub at: Timestamp,
    pub seqs: Vec<u64>,
    pub category: Category,
    pub icon: &'static str,
    pub text_ja: String,
    pub text_en: String,
    /// Handle of who did it, if somebody did.
    pub actor: Option<String>,
}

/// The timeline a seat may see. The same command run again and again by one person is one entry.
pub fn timeline<'a>(events: impl IntoIterator<Item = &'a Event>, seat: &str, ended: bool) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    for event in events {
        if !visible_to(seat, event, ended) {
            continue;
        }
        let Some(entry) = entry(event) else { continue };
        match out.last_mut() {
            Some(last)
                if last.category == entry.category
                    && last.actor == entry.actor
                    && last.text_en == entry.text_en =>
            {
                last.seqs.extend(entry.seqs);
            }
            _ => out.push(entry),
        }
    }
    out
}

/// The entry of one event, None for chat and samples.
pub fn entry(event: &Event) -> Option<Entry> {
    let (category, actor, ja, en) = words(&event.kind)?;
    Some(Entry {
        at: event.at,
        seqs: vec![event.seq],
        category,
        icon: category.icon(),
        text_ja: ja,
        text_en: en,
        actor,
    })
}

type Words = (Category, Option<String>, String, String);

fn words(kind: &EventKind) -> Option<Words> {
    let by = |actor: &crate::event::Actor| Some(actor.name.clone());
    let ja = |text: &str, text_ja: &Option<String>| text_ja.clone().unwrap_or_else(|| text.to_owned());
    Some(match kind {
        EventKind::DrillStarted { scenario, .. } => (
            Category::Drill,
            None,
            format!("演習「{scenario}」開始"),
            format!("Drill `{scenario}` started"),
        ),
        EventKind::SystemReady { pods, seconds } => (
            Category::Drill,
            None,
            format!("システムは平常 (Pod {pods} 個、起動 {seconds:.1} 秒)"),
            format!("The system is healthy ({pods} pods, up in {seconds:.1} s)"),
        ),
        EventKind::SeatTaken { actor } => (
            Category::Seat,
            by(actor),
            format!("{} が参加 ({})", actor.name, actor.seat),
            format!("{} took the seat {}", actor.name, actor.seat),
        ),
        EventKind::SeatLeft { actor } => (
            Category::Seat,
            by(actor),
            format!("{} が退席", actor.name),
            format!("{} left", actor.name),
        ),
        EventKind::FaultInjected { name, object } => (
            Category::Fault,
            None,
            format!("障害を注入: {name} ({object})"),
            format!("Fault injected: {name} ({object})"),
        ),
        EventKind::FaultEnded { name } => (
            Category::Fault,
            None,
            format!("障害の注入を終了: {name}"),
            format!("Fault lifted: {name}"),
        ),
        EventKind::AlertFired {
            name,
            severity,
            summary,
            ..
        } => (
            Category::Alert,
            None,
            format!("アラート発報 [{severity}] {name}: {summary}"),
            format!("Alert fired [{severity}] {name}: {summary}"),
        ),
        EventKind::AlertResolved { name, .. } => (
            Category::Recovery,
            None,
            format!("アラート解消 {name}"),
            format!("Alert resolved {name}"),
        ),
        EventKind::Acknowledged { actor, .. } => (
            Category::Decision,
            by(actor),
            "検知: アラートを確認".into(),
            "Acknowledged the alert".into(),
        ),
        EventKind::CommanderAssigned { by: who, name } => (
            Category::Decision,
            by(who),
            format!("アサイン: 指揮官は {name}"),
            format!("{name} is incident commander"),
        ),
        EventKind::ImpactStated { actor, text, text_ja } => (
            Category::Decision,
            by(actor),
            format!("インパクト: {}", ja(text, text_ja)),
            format!("Impact: {text}"),
        ),
        EventKind::TaskAssigned {
            by: who,
            name,
            text,
            text_ja,
        } => (
            Category::Decision,
            by(who),
            format!("担当: {name} ({})", ja(text, text_ja)),
            format!("Task for {name}: {text}"),
        ),
        EventKind::StatusPosted {
            actor, text, text_ja, ..
        } => (
            Category::Status,
            by(actor),
            format!("状況報告: {}", ja(text, text_ja)),
            format!("Status: {text}"),
        ),
        EventKind::HypothesisProposed { actor, text, text_ja } => (
            Category::Decision,
            by(actor),
            format!("仮説: {}", ja(text, text_ja)),
            format!("Hypothesis: {text}"),
        ),
        EventKind::MitigationDeclared { actor, text, text_ja } => (
            Category::Recovery,
            by(actor),
            format!("暫定復旧: {}", ja(text, text_ja)),
            format!("Mitigated: {text}"),
        ),
        EventKind::ResolvedDeclared { actor, text, text_ja } => (
            Category::Recovery,
            by(actor),
            format!("終息宣言: {}", ja(text, text_ja)),
            format!("Resolved: {text}"),
        ),
        EventKind::HintGiven {
            number,
            text,
            text_ja,
        } => (
            Category::Hint,
            None,
            format!("ヒント {number}: {text_ja}"),
            format!("Hint {number}: {text}"),
        ),
        EventKind::CommandRun {
            actor,
            command,
            mutating,
            ..
        } => {
            let category = if *mutating {
                Category::Change
            } else {
                Category::Command
            };
            (category, by(actor), command.clone(), command.clone())
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
            let usual = baseline.map(|b| value_text(b, unit));
            let ja = usual.as_ref().map_or_else(
                || format!("{query} = {seen}"),
                |b| format!("{query} = {seen} (平常時 {b})"),
            );
            let en = usual.map_or_else(
                || format!("{query} = {seen}"),
                |b| format!("{query} = {seen} (normally {b})"),
            );
            (Category::Metric, by(actor), ja, en)
        }
        EventKind::OracleChecked { green, reasons } => {
            let why = reasons.join("; ");
            let (ja, en) = if *green {
                ("回復を確認", "The oracle is green")
            } else {
                ("未回復", "The oracle is red")
            };
            (
                Category::Oracle,
                None,
                format!("{ja} {why}").trim_end().to_owned(),
                format!("{en} {why}").trim_end().to_owned(),
            )
        }
        EventKind::DrillEnded { reason } => (
            Category::Drill,
            None,
            format!("演習終了: {reason}"),
            format!("Drill ended: {reason}"),
        ),
        EventKind::Message { .. } | EventKind::HintAsked { .. } | EventKind::Sample { .. } => return None,
    })
}

/// A number as people read it, with its unit.
pub fn value_text(value: f64, unit: &str) -> String {
    match unit {
        "seconds" if value.abs() < 1.0 => format!("{:.0} ms", value * 1_000.0),
        "seconds" => format!("{value:.2} s"),
        "ratio" => format!("{:.1} %", value * 100.0),
        "count" => format!("{value:.0}"),
        _ if unit.is_empty() => format!("{value:.2}"),
        _ => format!("{value:.2} {unit}"),
    }
}
