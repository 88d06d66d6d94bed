//! Scenario files: their types, errors with file, line and column, and lint. Pure: text in, values out.

pub mod argv;
pub mod cast;
pub mod duration;
pub mod lint;
pub mod node;
pub mod problem;
pub mod scenario;
pub mod yaml;

pub use argv::CommandLine;
pub use cast::{Cast, CastMember, Declare, Expect, Level, Query, Reply, Retry, Step, When};
pub use duration::Dur;
pub use lint::{Finding, Severity, lint};
pub use problem::Problem;
pub use scenario::{
    ActionItem, ActionKind, Check, Fix, Goals, Hint, Inject, JourneyGoal, JourneyOracle, Metadata, Milestone,
    Oracle, Person, Probe, Say, Scenario, Survive, Text, parse,
};
