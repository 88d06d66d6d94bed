//! The lab, as the page and the command line ask for it.

use async_trait::async_trait;
use hikeshi_lab::lab::Wish;
use hikeshi_lab::level::Preset;
use hikeshi_lab::view::View;
pub use hikeshi_lab::{Answer, Outcome, Slot};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ApiError, Text};

/// Something that somebody in the lab does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Act {
    /// Prepare a lab. For whoever runs the drill.
    Start {
        journeys: Vec<String>,
        kind: hikeshi_lab::Kind,
        who: hikeshi_lab::Who,
        mode: hikeshi_lab::Mode,
        /// As people type them, see `hikeshi_lab::level::parse`.
        #[serde(default)]
        levels: Vec<String>,
        #[serde(default = "dozen")]
        trials: u32,
        /// As `hikeshi_lab::Normal::parse` reads it; empty: as the system is by itself.
        #[serde(default)]
        normal: String,
    },
    /// Sit down in it.
    Sit,
    /// Get up before the end.
    Rise,
    /// Begin the next trial.
    Next,
    /// Feel A, B or X.
    Show { slot: Slot },
    /// Judge.
    Answer(Answer),
    /// Feel a level with its figures beside it. For whoever runs the drill.
    Feel { journey: String, level: String },
    /// End the lab. For whoever runs the drill, and for who sits in it.
    Stop,
    /// Write what a lab recommends for a journey into `cujs.yaml`. For whoever runs the drill.
    Export {
        id: String,
        journey: String,
        #[serde(default)]
        why: String,
    },
}

fn dozen() -> u32 {
    12
}

impl Act {
    /// Whether only a host or a facilitator may do it.
    pub fn is_for_hosts(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::Feel { .. } | Self::Export { .. })
    }
}

/// Who does it.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    pub name: &'a str,
    /// May run labs.
    pub host: bool,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabState {
    pub journeys: Vec<Offered>,
    pub on: Option<View>,
    /// The one who asks sits in it.
    pub mine: bool,
    /// Newest first.
    pub past: Vec<Past>,
}

/// A journey that can be felt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Offered {
    pub journey: String,
    pub title: Text,
    pub owner: String,
    pub task: Text,
    /// Where in the app it begins.
    pub page: String,
    /// What is promised now, in words.
    pub promised: Vec<Text>,
    pub presets: Vec<Preset>,
}

/// A lab that is over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Past {
    pub id: String,
    pub at: Timestamp,
    pub kind: hikeshi_lab::Kind,
    pub journeys: Vec<String>,
    pub people: Vec<String>,
    pub valid: usize,
}

/// Runs labs.
#[async_trait]
pub trait LabHost: Send + Sync {
    /// What there is; who sits in the lab tells by asking that they are still there.
    async fn state(&self, person: Person<'_>) -> LabState;

    /// Does something.
    ///
    /// # Errors
    /// Words for who did it; `Refused` where both languages have them.
    async fn act(&self, act: Act, person: Person<'_>) -> Result<LabState, ApiError>;

    /// The cookie by which the ingress knows who sits in the lab; none for anybody else.
    async fn token(&self, person: &str) -> Option<String>;

    /// What came out of a lab that is over.
    async fn outcome(&self, id: &str) -> Option<Outcome>;

    /// What somebody wants, from how they say it.
    ///
    /// # Errors
    /// What cannot be read.
    fn wish(&self, act: &Act) -> Result<Wish, ApiError>;
}
