//! What the page of error budgets is told.

use std::collections::BTreeMap;

use hikeshi_scenario::Text;
use hikeshi_slo::Status;
use hikeshi_slo::backtest::BurnCourse;
use hikeshi_slo::history::Change;
use jiff::Timestamp;
use serde::Serialize;

/// The budgets of a system, at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Budgets {
    pub system: String,
    pub at: Timestamp,
    /// How many times faster than written the windows run; 1 on a production Prometheus.
    pub slo_clock: f64,
    /// Ordered by what their failure costs the business.
    pub journeys: Vec<JourneyBudgets>,
    /// The titles of marked drills, by their ids.
    pub drills: BTreeMap<String, Text>,
    /// What is wrong with the file of marked incidents, if it could not be read.
    pub marks_problem: Option<String>,
}

/// A critical user journey, and the budgets of its objectives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JourneyBudgets {
    pub name: String,
    pub title: Text,
    /// The owner team.
    pub owner: String,
    /// Method and path at the ingress; empty where nobody said.
    pub route: String,
    /// What the user does, one after another; empty where nobody said.
    pub steps: Vec<Text>,
    pub slos: Vec<SloBudget>,
}

/// One objective.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SloBudget {
    /// `read-timeline-freshness`: unique within its system.
    pub slo: String,
    /// Its own name, e.g. `latency`.
    pub name: String,
    /// `availability`, `latency`, `freshness`, `quality` or `custom`.
    pub sli: &'static str,
    /// Percent.
    pub objective: f64,
    /// Within what an answer is in time, as the file writes it; latency only.
    pub within: Option<String>,
    /// The period as the file writes it.
    pub window: String,
    /// None: Prometheus did not say, and `problem` says why.
    pub status: Option<Status>,
    pub problem: Option<String>,
    /// The alerts that can fire, from the policy's first.
    pub alerts: Vec<BurnCourse>,
    /// Who changed it, from what to what, and why: the newest first.
    pub changes: Vec<Change>,
    /// What the file says since, where that is not what this system was started with.
    pub pending: Option<String>,
}
