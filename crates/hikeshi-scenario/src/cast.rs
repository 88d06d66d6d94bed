//! The cast: the script of a rehearsal, in which every seat is played.

use serde::{Deserialize, Serialize};

use crate::argv::CommandLine;
use crate::duration::Dur;
use crate::scenario::{Milestone, Text};

/// People and what they do, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    pub engineers: Vec<CastMember>,
    pub steps: Vec<Step>,
    /// Answers to the scripted people, used in order for each `to`; the last is used again.
    #[serde(default)]
    pub replies: Vec<Reply>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CastMember {
    /// Handle of small letters and digits.
    pub name: String,
    pub seat: String,
    pub level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Senior,
    Junior,
}

/// One thing one person does. Within it the order is: wait for `when`, think, `say`, `run` or `query`, `then`, `declare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub who: String,
    /// Absent: at once after the step before.
    #[serde(default)]
    pub when: Option<When>,
    /// A person's own time, shortened by `--pace`; the system's time never is.
    #[serde(default)]
    pub think: Dur,
    /// Said before acting. `{name}` stands for something really seen earlier.
    #[serde(default)]
    pub say: Option<Text>,
    #[serde(default)]
    pub run: Option<CommandLine>,
    #[serde(default)]
    pub query: Option<Query>,
    /// What the output must show.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// Why one looks there; the report says it beside what was seen.
    #[serde(default)]
    pub why: Option<Text>,
    /// Said after acting; may use what was just seen.
    #[serde(default)]
    pub then: Option<Text>,
    #[serde(default)]
    pub declare: Option<Declare>,
}

/// What a step waits for besides the step before it; the system's own time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    Milestone(Milestone),
    /// An alert whose name or summary matches this expression is firing.
    Alert(String),
    /// No alert of severity `page` has been firing for so long.
    Quiet(Dur),
    /// So long after the previous step ended, in the system's time.
    Wait(Dur),
}

/// An expression over what was printed; its named groups become placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub matches: String,
    /// Run again until it matches; absent: one look.
    #[serde(default)]
    pub retry: Option<Retry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub every: Dur,
    #[serde(rename = "for")]
    pub lasts: Dur,
}

/// A PromQL query a person looks at. Fills `{NAME}`, and with a baseline `{NAME_baseline}` and `{NAME_ratio}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    pub name: String,
    pub promql: String,
    /// The same a while ago; a query of its own.
    #[serde(default)]
    pub baseline: Option<String>,
    /// `seconds`, `ratio`, `per second`, `count` ...
    pub unit: String,
    /// What must be seen before going on; the person keeps looking, for at most five minutes.
    #[serde(default)]
    pub until: Option<Until>,
}

/// Look again until the value is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// At least three times the baseline.
    WorseThanBaseline,
    /// At most one and a half times the baseline.
    LikeBaseline,
}

/// What a step tells the drill, besides words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Declare {
    Ack,
    /// Takes command of the incident.
    Commander,
    Impact(Text),
    Hypothesis(Text),
    Task(Task),
    Status(Status),
    Mitigated(Text),
    Resolved(Text),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    pub name: String,
    pub text: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub text: Text,
    #[serde(default)]
    pub eta_minutes: Option<u32>,
}

/// An answer to a scripted person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// Handle of the one who asked.
    pub to: String,
    pub who: String,
    #[serde(default)]
    pub think: Dur,
    pub say: Text,
    #[serde(default)]
    pub eta_minutes: Option<u32>,
}
