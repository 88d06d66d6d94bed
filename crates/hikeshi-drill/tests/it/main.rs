//! The engine against its properties, the shipped scenario played on a pretended system, and golden stories.

mod audit;
mod engine;
mod fixture;
mod folds;
mod map;
mod rehearsal;

use hikeshi_scenario::Scenario;

/// The shipped scenario.
pub fn scenario() -> Scenario {
    let text = include_str!("../../../../scenarios/timelines-stop-updating/scenario.yaml");
    hikeshi_scenario::parse("scenario.yaml", text).expect("the shipped scenario is right")
}
