//! CUJs and SLOs to Prometheus rules, queries and budgets. Pure: text in, text out.
//!
//! Metrics come from the load generator: `journey_requests_total{journey,result="ok"|"error"}`,
//! `journey_request_duration_seconds_bucket{journey,le}`, `journey_freshness_total{journey,result="fresh"|"stale"}`.

pub mod budget;
pub mod cujs;
pub mod queries;
pub mod rules;
pub mod windows;

pub use budget::{budget_left, budget_words, burn_rate, detection_seconds};
pub use cujs::{BUCKETS, Cuj, Cujs, Sli, Slo, lint, parse};
pub use queries::{JourneyQuery, Objectives, error_ratio, journey_queries};
pub use rules::generate_rules;
pub use windows::{ALERTS, BurnAlert};
