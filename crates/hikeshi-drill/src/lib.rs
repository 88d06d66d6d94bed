//! The drill engine: pure. `decide` turns commands and outside facts into events, `apply` folds events into the state,
//! and everything shown to people (timeline, score, story, postmortem) is a fold over `event`.

pub mod audit;
pub mod chat;
pub mod command;
pub mod decide;
pub mod event;
pub mod log;
pub mod map;
pub mod metrics;
pub mod output;
pub mod people;
pub mod postmortem;
pub mod rehearsal;
pub mod schedule;
pub mod score;
pub mod state;
pub mod story;
pub mod timeline;
pub mod visibility;

pub use command::{Command, Refusal};
pub use decide::decide;
pub use event::{Actor, Event, EventKind, JourneySample, LOG_VERSION};
pub use schedule::{Injection, injections, next_wakeup};
pub use state::{State, apply, replay};
pub use visibility::visible_to;

use serde::{Deserialize, Serialize};

/// The languages of every text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    Ja,
    #[default]
    En,
}

impl Lang {
    /// One of two words.
    pub fn pick<'a>(self, ja: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Ja => ja,
            Self::En => en,
        }
    }

    /// The Japanese words where they were wanted and given, else the others.
    pub fn of<'a>(self, text: &'a str, text_ja: Option<&'a str>) -> &'a str {
        match self {
            Self::Ja => text_ja.unwrap_or(text),
            Self::En => text,
        }
    }
}
