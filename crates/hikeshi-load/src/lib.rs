//! Open-loop load for Chirpy: schedule (pure) x executor x recorder.
//!
//! Requests are sent when they are due, whatever became of the ones before them, and their latency counts from then:
//! a server that stalls for a second shows a second, in every request that was due meanwhile.

pub mod client;
pub mod recorder;
pub mod run;
pub mod schedule;
pub mod serve;
