//! The scenario file, `apiVersion: hikeshi.dev/v1`, `kind: Scenario`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::argv::CommandLine;
use crate::cast::Cast;
use crate::duration::Dur;
use crate::problem::Problem;

/// The only version this program reads.
pub const API_VERSION: &str = "hikeshi.dev/v1";

/// A scenario: what breaks when, who says what, hints, oracle, real fixes, fake fixes, a cast for rehearsal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    pub api_version: String,
    pub kind: String,
    pub metadata: Metadata,
    pub title: Text,
    pub goals: Goals,
    /// What people are told before it starts; never the answer.
    pub briefing: Text,
    /// Where the story comes from.
    #[serde(default)]
    pub origin: Option<String>,
    /// 1 (first drill) to 5.
    pub difficulty: u8,
    /// How long the drill is meant to take.
    pub duration: Dur,
    /// Folder under `systems/`.
    pub system: String,
    /// Load profile of the system.
    pub load: String,
    /// Seat to how many people it wants.
    pub seats: BTreeMap<String, u32>,
    pub inject: Vec<Inject>,
    #[serde(default)]
    pub people: Vec<Person>,
    #[serde(default)]
    pub hints: Vec<Hint>,
    pub oracle: Oracle,
    #[serde(default)]
    pub fixes: Vec<Fix>,
    #[serde(default, rename = "fake_fixes")]
    pub fake_fixes: Vec<Fix>,
    /// Proposals for the postmortem of this incident.
    #[serde(default, rename = "action_items")]
    pub action_items: Vec<ActionItem>,
    #[serde(default)]
    pub cast: Option<Cast>,
}

/// A proposed action item; the team owns the real ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionItem {
    pub kind: ActionKind,
    pub text: Text,
    /// How one sees that it is done.
    pub done_when: Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// 発生対策: stop it happening.
    Prevent,
    /// 流出対策: stop it reaching users.
    Contain,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Folder name under `scenarios/`.
    pub name: String,
}

/// The same words in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub ja: String,
    pub en: String,
}

/// What people practise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goals {
    pub ja: Vec<String>,
    pub en: Vec<String>,
}

/// A fault: a file of Kubernetes or Chaos Mesh objects beside the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// After the system was ready.
    pub at: Dur,
    /// File relative to the scenario's folder.
    pub apply: String,
    /// After this it is deleted again; absent: it stays.
    #[serde(rename = "for", default)]
    pub lasts: Option<Dur>,
}

/// A moment of the incident that scripts can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Milestone {
    /// The system is healthy and the drill's clock runs.
    Ready,
    /// The first fault was put in.
    Injected,
    /// The first alert fired.
    Alert,
    Acknowledged,
    Commander,
    /// Impact was stated.
    Impact,
    Hypothesis,
    Mitigated,
    Resolved,
}

/// A scripted person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Handle of small letters and digits.
    pub name: String,
    /// `product_manager`, `customer_support`, ...
    pub seat: String,
    /// Who this is, in a few words.
    pub role: Text,
    #[serde(default)]
    pub say: Vec<Say>,
}

/// A line and when it is said: once `after` was reached (or `at` passed), after `silence` without a word to this person,
/// unless `unless` was reached; again every `repeat` of further silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Say {
    #[serde(default)]
    pub after: Option<Milestone>,
    /// After the system was ready.
    #[serde(default)]
    pub at: Option<Dur>,
    #[serde(default)]
    pub silence: Option<Dur>,
    #[serde(default)]
    pub unless: Option<Milestone>,
    #[serde(default)]
    pub repeat: Option<Dur>,
    pub text: Text,
}

/// Given when asked for, and only after `after_stall` without progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    pub after_stall: Dur,
    pub text: Text,
}

/// What must hold for the incident to be over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oracle {
    pub journeys: JourneyOracle,
    #[serde(default)]
    pub checks: Vec<Check>,
    #[serde(default)]
    pub survives: Vec<Survive>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JourneyOracle {
    pub all: JourneyGoal,
    /// How long without a break.
    pub hold: Dur,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JourneyGoal {
    WithinSlo,
}

/// One check, written as a map of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// A PromQL comparison: true when it returns at least one sample.
    Promql(String),
    Probe(Probe),
    Chirpy(ChirpyCheck),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    WriteAndReadEachShard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChirpyCheck {
    /// The database has every acknowledged post.
    NoAcknowledgedPostLost,
    /// And so have its followers' timelines and search, as it now reads.
    AcknowledgedPostsEverywhere,
}

/// The same fault again must not bring it down again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survive {
    /// File relative to the scenario's folder.
    pub again: String,
    /// How long the fault lasts; absent: as long as its `inject`.
    #[serde(rename = "for", default)]
    pub lasts: Option<Dur>,
}

/// A way out, real or fake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// `[a-z0-9-]+`, used in reports.
    pub name: String,
    pub title: Text,
    pub run: Vec<CommandLine>,
    /// What takes a fake fix back, where it leaves something behind: the next one is then tried by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<CommandLine>,
}

/// Reads a scenario.
///
/// # Errors
/// Every problem found, each with its place; unknown keys carry the key that was probably meant.
pub fn parse(file_name: &str, text: &str) -> Result<Scenario, Vec<Problem>> {
    let scenario: Scenario = crate::yaml::from_str(file_name, text)?;
    let mut problems = Vec::new();
    let mut say = |key: &str, message: String, suggestion: Option<&str>| {
        let (line, column) = crate::yaml::find_key(text, key);
        problems.push(Problem {
            file: file_name.to_owned(),
            line,
            column,
            message,
            suggestion: suggestion.map(str::to_owned),
        });
    };
    if scenario.api_version != API_VERSION {
        say(
            "apiVersion",
            format!(
                "apiVersion `{}` is not known to this program",
                scenario.api_version
            ),
            Some(API_VERSION),
        );
    }
    if scenario.kind != "Scenario" {
        say(
            "kind",
            format!("kind `{}` is not a scenario", scenario.kind),
            Some("Scenario"),
        );
    }
    if !(1..=5).contains(&scenario.difficulty) {
        say(
            "difficulty",
            format!("difficulty {} is outside 1 to 5", scenario.difficulty),
            None,
        );
    }
    for seat in scenario.seats.keys() {
        if !SEATS.contains(&seat.as_str()) {
            let meant = crate::problem::nearest(seat, SEATS);
            say(
                seat,
                format!("unknown seat `{seat}`, expected one of {}", SEATS.join(", ")),
                meant,
            );
        }
    }
    for name in scenario.people.iter().map(|p| &p.name).chain(
        scenario
            .cast
            .iter()
            .flat_map(|c| c.engineers.iter().map(|e| &e.name)),
    ) {
        if !is_handle(name) {
            say(
                "people",
                format!("`{name}` is not a handle: small letters and digits only"),
                None,
            );
        }
    }
    if problems.is_empty() {
        Ok(scenario)
    } else {
        Err(problems)
    }
}

/// The seats people can take.
pub const SEATS: [&str; 6] = [
    "commander",
    "operator",
    "communicator",
    "scribe",
    "observer",
    "facilitator",
];

/// Handles are 2 to 16 small letters and digits: they are read aloud, typed in chat and become certificate names.
pub fn is_handle(name: &str) -> bool {
    (2..=16).contains(&name.len()) && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_small_letters_and_digits() {
        for good in ["pika7", "ab", "0123456789abcdef"] {
            assert!(is_handle(good), "{good}");
        }
        for bad in ["a", "", "Pika", "ab-c", "0123456789abcdefg", "ピカ", "a b"] {
            assert!(!is_handle(bad), "{bad}");
        }
    }
}
