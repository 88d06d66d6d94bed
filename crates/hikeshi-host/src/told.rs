//! What a finished (or running) drill's log tells: score, timeline, story, postmortem. Folds only.

use std::path::Path;

use hikeshi_drill::map::SystemMap;
use hikeshi_drill::{Event, Lang};
use hikeshi_scenario::Scenario;
use hikeshi_server::store;
use serde_json::Value;

use crate::host::HostError;
use crate::library::Library;

/// A drill's log with its scenario.
pub struct Told {
    pub id: String,
    pub events: Vec<Event>,
    pub scenario: Scenario,
    pub map: SystemMap,
}

impl Told {
    /// Reads a drill from disk.
    ///
    /// # Errors
    /// When its log or its scenario cannot be read.
    pub fn read(drills: &Path, library: &Library, id: &str) -> Result<Self, HostError> {
        let events = store::read(drills, id)?;
        let name = hikeshi_drill::replay(&events).scenario;
        let scenario = library.load(&name)?.scenario;
        let map = library.map(&scenario.system)?;
        Ok(Self {
            id: id.to_owned(),
            events,
            scenario,
            map,
        })
    }

    pub fn score(&self) -> Value {
        let score = hikeshi_drill::score::score(&self.events, &self.scenario);
        serde_json::to_value(score).unwrap_or_default()
    }

    /// As a seat sees it; everything once the drill has ended.
    pub fn timeline(&self, seat: &str) -> Value {
        let ended = hikeshi_drill::replay(&self.events).ended();
        serde_json::to_value(hikeshi_drill::timeline::timeline(&self.events, seat, ended)).unwrap_or_default()
    }

    /// The system, the incident report and the chat log.
    pub fn story(&self, lang: Lang) -> String {
        hikeshi_drill::story::story(&self.events, &self.scenario, &self.map, lang, offset())
    }

    /// The 17 fields, each sentence linked to its events.
    pub fn postmortem(&self, lang: Lang) -> String {
        hikeshi_drill::postmortem::draft(&self.events, &self.scenario, lang, offset())
    }
}

/// The machine's offset from UTC: people remember their own clock.
fn offset() -> jiff::tz::Offset {
    jiff::Zoned::now().offset()
}
