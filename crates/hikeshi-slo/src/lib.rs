//! CUJs and SLOs: files to Prometheus rules, queries, budgets and backtests. Pure: text and numbers in, text and values out.
//!
//! `cujs.yaml`, Sloth's and OpenSLO's files all become [`Spec`]s; whatever is generated or judged is made of those.
//!
//! Metrics come from the load generator where a file names no others: `journey_requests_total{journey,result="ok"|"error"}`,
//! `journey_request_duration_seconds_bucket{journey,le}`, `journey_freshness_total{journey,result="fresh"|"stale"}`.

pub mod backtest;
pub mod budget;
pub mod cujs;
pub mod formats;
pub mod generate;
pub mod history;
pub mod lint;
pub mod period;
pub mod policy;
pub mod queries;
mod read;
pub mod rules;
pub mod spec;
pub mod status;
pub mod windows;
pub mod within;

pub use budget::{budget_left, budget_words, burn_rate, detection_seconds};
pub use cujs::{BUCKETS, Cuj, Cujs, Sli, Slo, schema};
pub use hikeshi_scenario::node::Place;
pub use lint::{Finding, Weight, lint};
pub use period::Period;
pub use policy::{AlertPolicy, Burn, Severity, Span};
pub use queries::{JourneyQuery, Objectives, error_ratio, journey_queries};
pub use read::parse;
pub use rules::generate_rules;
pub use spec::{Source, Spec, specs};
pub use status::{Status, status};
pub use windows::{ALERTS, BurnAlert};
