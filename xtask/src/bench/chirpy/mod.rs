//! `cargo xtask bench chirpy`: the story's load on the whole system, with the load generator and the stores on the same
//! machine, and where its CPU goes.

mod cpu;
mod faults;
mod system;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;

use crate::build::{self, Profile};
use crate::setup;
use crate::workspace::Workspace;
pub use faults::run as faults;
use system::System;

/// One post for ten reads.
const POST_SHARE: f64 = 1.0 / 11.0;
/// How long the generator may take until it measures.
const SETTLED: Duration = Duration::from_secs(120);

#[derive(Parser)]
#[command(name = "bench chirpy", no_binary_name = true)]
struct Options {
    /// Seconds of measuring
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Timeline reads a second; posts are a tenth of them
    #[arg(long, default_value_t = 10_000.0)]
    reads: f64,
    /// People who take part, of those the system is seeded with
    #[arg(long, default_value_t = 3200)]
    users: u32,
    /// Connections of the load generator
    #[arg(long, default_value_t = 512)]
    connections: u32,
    /// Measure the programs as they were built last
    #[arg(long)]
    no_build: bool,
}

pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let options = Options::try_parse_from(args)?;
    if !options.no_build {
        setup::run(workspace, false)?;
        build::run(workspace, Profile::Release)?;
    }
    let system = System::up(workspace)?;
    system.tune()?;
    let rate = options.reads / (1.0 - POST_SHARE);
    system.load(rate, options.users, options.connections)?;
    let began = settled(&system)?;
    println!("bench: measuring for {} s", options.seconds);
    let before = cpu::usage(system.home())?;
    wait(Duration::from_secs(options.seconds));
    let after = cpu::usage(system.home())?;
    let seconds = began.elapsed().as_secs_f64();
    let summary = system.summary()?;
    let answered = journeys(&summary, seconds)?;
    processes(&before, &after, seconds, answered);
    lost(&system)?;
    system.down()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement takes its time, and kubectl has no way to wait for the generator's"
)]
fn wait(time: Duration) {
    sleep(time);
}

/// Waits until the generator measures: it sends without measuring until all went well for a moment.
fn settled(system: &System) -> Result<Instant> {
    let limit = Instant::now() + SETTLED;
    loop {
        let measured = system
            .summary()
            .ok()
            .and_then(|summary| {
                let journeys = summary.get("journeys")?.as_object()?.clone();
                Some(
                    journeys
                        .values()
                        .filter_map(|one| one.get("offered")?.as_u64())
                        .sum::<u64>(),
                )
            })
            .unwrap_or_default();
        if measured > 0 {
            return Ok(Instant::now());
        }
        ensure!(
            Instant::now() < limit,
            "the load generator did not begin within {SETTLED:?}"
        );
        wait(Duration::from_millis(100));
    }
}

/// Prints a line per journey; returns how many requests were answered well.
fn journeys(summary: &Value, seconds: f64) -> Result<f64> {
    let journeys = summary
        .get("journeys")
        .and_then(Value::as_object)
        .context("the load generator's summary has no journeys")?;
    println!("| journey | offered/s | answered/s | errors | stale | p50 ms | p99 ms | max ms |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut answered = 0.0;
    for (name, journey) in journeys {
        let count = |field: &str| journey.get(field).and_then(Value::as_f64).unwrap_or_default();
        let latency = |field: &str| {
            let latency = journey.get("latency_ms").and_then(|latency| latency.get(field));
            latency.and_then(Value::as_f64).unwrap_or_default()
        };
        println!(
            "| {name} | {:.0} | {:.0} | {} | {} | {:.1} | {:.1} | {:.1} |",
            count("offered") / seconds,
            count("ok") / seconds,
            count("error"),
            count("stale"),
            latency("p50"),
            latency("p99"),
            latency("max"),
        );
        for (error, times) in journey
            .get("errors")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            println!("  {times} x {error}");
        }
        answered += count("ok");
    }
    Ok(answered)
}

fn processes(before: &cpu::Usage, after: &cpu::Usage, seconds: f64, answered: f64) {
    let mut rows: Vec<(&str, f64)> = after
        .iter()
        .map(|(name, used)| (name.as_str(), used - before.get(name).unwrap_or(&0.0)))
        .collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all: f64 = rows.iter().map(|(_, used)| used).sum();
    println!("| process | CPU s | cores | us per request |");
    println!("|---|---|---|---|");
    for (name, used) in rows.into_iter().chain([("all", all)]) {
        println!(
            "| {name} | {used:.1} | {:.3} | {:.1} |",
            used / seconds,
            used / answered * 1e6
        );
    }
}

fn lost(system: &System) -> Result<usize> {
    let verdict = system.check()?;
    let count = |field: &str| verdict.get(field).and_then(Value::as_u64).unwrap_or_default();
    let missing = verdict
        .get("missing")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    println!(
        "acknowledged posts: {}, in the database: {}, lost: {missing}; timelines looked at: {}, without the post: {}",
        count("acknowledged"),
        count("in_database"),
        count("timelines_checked"),
        count("timelines_missing"),
    );
    Ok(missing)
}
