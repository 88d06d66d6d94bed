//! One event on one line, for the list of what a postmortem's sentences cite.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::Lang;
use crate::event::{Event, EventKind, JourneySample};
use crate::timeline::{Category, Entry, entry, value_text};

/// `[#12]` for each event.
pub(super) fn links(seqs: &[u64]) -> String {
    seqs.iter().map(|s| format!("[#{s}]")).collect()
}

/// `- #12 14:03:05 what it is`, and the line's end.
pub(super) fn line(event: &Event, lang: Lang, offset: Offset) -> String {
    let at = moment(event.at, offset);
    format!("- #{} {at} {}\n", event.seq, what(event, lang))
}

/// `14:03:05`: a minute holds many events.
fn moment(at: Timestamp, offset: Offset) -> String {
    offset.to_datetime(at).strftime("%H:%M:%S").to_string()
}

/// What an event is, on one line.
fn what(event: &Event, lang: Lang) -> String {
    let text = match &event.kind {
        EventKind::Message {
            actor, text, text_ja, ..
        } => format!("{}: {}", actor.name, lang.of(text, text_ja.as_deref())),
        EventKind::HintAsked { actor } => {
            format!(
                "{}: {}",
                actor.name,
                lang.pick("ヒントを求めた", "asked for a hint")
            )
        }
        EventKind::Sample { journeys } => figures(journeys, lang),
        _ => entry(event).map_or_else(String::new, |e| told(&e, lang)),
    };
    text.replace(['\r', '\n'], " ")
}

/// An entry of the timeline: who and what, commands as code.
pub(super) fn told(entry: &Entry, lang: Lang) -> String {
    let words = lang.pick(&entry.text_ja, &entry.text_en);
    let who = match &entry.actor {
        // Words about a seat name the person themselves.
        Some(name) if entry.category != Category::Seat => format!("{name}: "),
        _ => String::new(),
    };
    if matches!(entry.category, Category::Command | Category::Change) {
        format!("{who}`{words}`")
    } else {
        format!("{who}{words}")
    }
}

/// What users got, by journey; what was not measured is left out.
fn figures(journeys: &BTreeMap<String, JourneySample>, lang: Lang) -> String {
    let measured: Vec<String> = journeys
        .iter()
        .filter_map(|(name, j)| {
            let shown: Vec<String> = [
                ("可用性", "availability", j.availability, "ratio"),
                ("レイテンシ達成率", "answered in time", j.latency_good, "ratio"),
                ("p99", "p99", j.p99, "seconds"),
                ("鮮度(品質)", "freshness", j.freshness, "ratio"),
                ("エラーバジェット残", "error budget left", j.budget_left, "ratio"),
                ("リクエスト", "traffic", j.requests_per_second, "req/s"),
            ]
            .into_iter()
            .filter_map(|(ja, en, value, unit)| {
                Some(format!("{} {}", lang.pick(ja, en), value_text(value?, unit)))
            })
            .collect();
            (!shown.is_empty()).then(|| format!("{name} {}", shown.join(lang.pick("、", ", "))))
        })
        .collect();
    if measured.is_empty() {
        lang.pick("計測: 値なし", "Measured: nothing yet").to_owned()
    } else {
        format!("{}{}", lang.pick("計測: ", "Measured: "), measured.join("; "))
    }
}
