//! The chat: what people said and declared, and the alerts, as lines.

use jiff::Timestamp;
use serde::Serialize;

use crate::Lang;
use crate::event::{Event, EventKind};

/// The bot that relays alerts, always in English.
pub const BOT: &str = "alert-bot";

/// One line of the chat.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatLine {
    pub at: Timestamp,
    pub seq: u64,
    pub name: String,
    pub seat: String,
    pub npc: bool,
    pub text_en: String,
    pub text_ja: String,
}

impl ChatLine {
    pub fn text(&self, lang: Lang) -> &str {
        lang.pick(&self.text_ja, &self.text_en)
    }
}

/// All lines, in order.
pub fn chat<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<ChatLine> {
    events.into_iter().filter_map(line).collect()
}

/// The line an event makes, if people see one in the chat.
pub fn line(event: &Event) -> Option<ChatLine> {
    let said = |actor: &crate::event::Actor, mark: &str, text: &str, text_ja: Option<&str>| {
        let words = |t: &str| {
            if mark.is_empty() {
                t.to_owned()
            } else {
                format!("[{mark}] {t}")
            }
        };
        ChatLine {
            at: event.at,
            seq: event.seq,
            name: actor.name.clone(),
            seat: actor.seat.clone(),
            npc: actor.npc,
            text_en: words(text),
            text_ja: words(text_ja.unwrap_or(text)),
        }
    };
    let bot = |text: String| ChatLine {
        at: event.at,
        seq: event.seq,
        name: BOT.to_owned(),
        seat: "bot".to_owned(),
        npc: true,
        text_ja: text.clone(),
        text_en: text,
    };
    Some(match &event.kind {
        EventKind::Message {
            actor, text, text_ja, ..
        } => said(actor, "", text, text_ja.as_deref()),
        EventKind::ImpactStated { actor, text, text_ja } => said(actor, "IMPACT", text, text_ja.as_deref()),
        EventKind::HypothesisProposed { actor, text, text_ja } => {
            said(actor, "HYPOTHESIS", text, text_ja.as_deref())
        }
        EventKind::MitigationDeclared { actor, text, text_ja } => {
            said(actor, "MITIGATED", text, text_ja.as_deref())
        }
        EventKind::ResolvedDeclared { actor, text, text_ja } => {
            said(actor, "RESOLVED", text, text_ja.as_deref())
        }
        EventKind::TaskAssigned {
            by,
            name,
            text,
            text_ja,
        } => {
            let to = |t: &str| format!("@{name} {t}");
            said(by, "", &to(text), text_ja.as_deref().map(to).as_deref())
        }
        EventKind::StatusPosted {
            actor,
            text,
            text_ja,
            eta_minutes,
        } => {
            let mut line = said(actor, "STATUS", text, text_ja.as_deref());
            if let Some(minutes) = eta_minutes {
                line.text_en
                    .push_str(&format!(" (next update within {minutes} min)"));
                line.text_ja.push_str(&format!("(次の報告は {minutes} 分以内)"));
            }
            line
        }
        EventKind::AlertFired {
            name,
            severity,
            summary,
            ..
        } => bot(format!("[FIRING:{severity}] {name}: {summary}")),
        EventKind::AlertResolved { name, summary, .. } => bot(format!("[RESOLVED] {name}: {summary}")),
        _ => return None,
    })
}
