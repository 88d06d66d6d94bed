//! Open-loop load for Chirpy: schedule (pure) x engine x recorder.
//!
//! Requests are sent when they are due, whatever became of the ones before them, and their latency counts from then:
//! a server that stalls for a second shows a second, in every request that was due meanwhile.
//!
//! Pure are `schedule`, `shape`, `check`, `http1`, `latency`, `measured` and `text`; `engine` is the one thread that sends.

pub mod check;
pub mod client;
pub mod engine;
mod http1;
pub mod journey;
pub mod latency;
pub mod measured;
pub mod people;
pub mod profile;
pub mod recorder;
pub mod report;
pub mod run;
pub mod schedule;
pub mod serve;
pub mod shape;
pub mod share;
mod text;
