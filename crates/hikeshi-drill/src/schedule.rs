//! When the next thing is due: faults, lines of scripted people.

use hikeshi_scenario::{Milestone, Scenario};
use jiff::Timestamp;

use crate::people::later;
use crate::state::State;

/// A fault of the scenario in the drill's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// File relative to the scenario's folder; also the name in `FaultInjected`.
    pub file: String,
    pub at: Timestamp,
    /// None: it stays.
    pub until: Option<Timestamp>,
    pub done: bool,
    pub ended: bool,
}

/// All faults with their times, empty before the system is ready.
pub fn injections(state: &State, scenario: &Scenario) -> Vec<Injection> {
    let Some(ready) = state.reached(Milestone::Ready) else {
        return Vec::new();
    };
    let mut seen: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    scenario
        .inject
        .iter()
        .map(|inject| {
            let nth = seen.entry(inject.apply.as_str()).or_default();
            *nth += 1;
            let times = state.injected.get(&inject.apply).copied().unwrap_or(0);
            let done = times >= *nth;
            let active = state.faults.get(&inject.apply).copied();
            let planned = later(ready, inject.at.get());
            // A fault put in late still lasts its whole time.
            let at = if done && times == *nth {
                active.unwrap_or(planned)
            } else {
                planned
            };
            Injection {
                file: inject.apply.clone(),
                at,
                until: inject.lasts.map(|d| later(at, d.get())),
                done,
                ended: done && (active.is_none() || times > *nth),
            }
        })
        .collect()
}

/// When to call again with `Tick` (or to put in or lift a fault), if nothing happens before. None: nothing is planned.
pub fn next_wakeup(state: &State, scenario: &Scenario) -> Option<Timestamp> {
    if state.ended() {
        return None;
    }
    let faults = injections(state, scenario)
        .into_iter()
        .filter_map(|i| match (i.done, i.ended) {
            (false, _) => Some(i.at),
            (true, false) => i.until,
            (true, true) => None,
        });
    faults.chain(crate::people::next_due(state, scenario)).min()
}
