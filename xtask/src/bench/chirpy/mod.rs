//! `cargo xtask bench chirpy`: the story's load on the whole system, with the load generator and the stores on the same
//! machine, and where its CPU goes. It fails when an acknowledged post is lost, a request failed, or less was sent than asked
//! for, and says at the end whether it shows what the story asks for.

mod cpu;
mod faults;
mod goal;
mod hops;
mod lost;
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
use lost::Lost;
use system::System;

/// One post for ten reads.
const POST_SHARE: f64 = 1.0 / 11.0;
/// How long the generator may take until it measures.
const SETTLED: Duration = Duration::from_secs(120);

#[derive(Parser)]
#[command(name = "bench chirpy", no_binary_name = true)]
struct Options {
    /// Seconds of measuring
    #[arg(long, default_value_t = u64::from(goal::SECONDS))]
    seconds: u64,
    /// Timeline reads a second; posts are a tenth of them
    #[arg(long, default_value_t = goal::READS)]
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
        build::run(workspace, Profile::Dist)?;
    }
    let system = System::up(workspace, Profile::Dist)?;
    system.shrink()?;
    system.tune()?;
    let rate = options.reads / (1.0 - POST_SHARE);
    system.load(rate, options.users, options.connections)?;
    let began = settled(&system)?;
    println!("bench: measuring for {} s", options.seconds);
    let look = || anyhow::Ok((cpu::usage(system.home())?, hops::calls(&system.edges()?)));
    let (used_before, calls_before) = look()?;
    let from = Instant::now();
    wait(Duration::from_secs(options.seconds));
    let (used_after, calls_after) = look()?;
    let looked = from.elapsed().as_secs_f64();
    let seconds = began.elapsed().as_secs_f64();
    let summary = system.summary()?;
    let load = journeys(&summary, seconds)?;
    // CPU and calls are of the time between the looks, a little less than what was measured in all.
    let answered = load.answered * looked / seconds;
    let used = grown(&used_before, &used_after);
    processes(&used, looked, answered);
    let hops = hops::between(&calls_before, &calls_after, &used, looked, answered);
    hops::print(&hops, &used, looked);
    let lost = Lost::of(&system.check()?);
    println!("{lost}");
    system.down()?;
    let wrong = failures(&load, rate * seconds, lost.all());
    let shown = goal::Shown {
        reads: options.reads,
        seconds,
        p99: load.p99,
        whole: wrong.is_empty(),
    };
    println!("{}", goal::verdict(&shown));
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// What the generator counted, over all journeys.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    offered: f64,
    sent: f64,
    answered: f64,
    errors: f64,
    /// The worst journey's, milliseconds.
    p99: f64,
}

/// What of what was asked for may be missing: the generator's clock and ours differ by a moment.
const SHORT: f64 = 0.01;

/// Why the run does not count.
fn failures(load: &Load, asked: f64, lost: usize) -> Vec<String> {
    let mut wrong = vec![];
    if lost > 0 {
        wrong.push(format!("{lost} acknowledged posts are lost or not shown"));
    }
    if load.errors > 0.0 {
        wrong.push(format!("{} requests failed", load.errors));
    }
    let least = asked * (1.0 - SHORT);
    for (what, count) in [
        ("due", load.offered),
        ("sent", load.sent),
        ("answered", load.answered),
    ] {
        // What failed is said already.
        let count = if what == "answered" {
            count + load.errors
        } else {
            count
        };
        if count < least {
            wrong.push(format!("{count:.0} requests were {what}, of {asked:.0}"));
        }
    }
    wrong
}

fn grown(before: &cpu::Usage, after: &cpu::Usage) -> cpu::Usage {
    let used = after.iter().map(|(name, seconds)| {
        let before = before.get(name).unwrap_or(&0.0);
        (name.clone(), seconds - before)
    });
    used.collect()
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

/// Prints a line per journey; returns their sum. Latencies are of what was answered well; what failed has its own.
fn journeys(summary: &Value, seconds: f64) -> Result<Load> {
    let journeys = summary
        .get("journeys")
        .and_then(Value::as_object)
        .context("the load generator's summary has no journeys")?;
    println!(
        "| journey | offered/s | answered/s | errors | stale | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms | errors' p50 ms | max ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut load = Load::default();
    for (name, journey) in journeys {
        let count = |field: &str| journey.get(field).and_then(Value::as_f64).unwrap_or_default();
        let milliseconds = |kind: &str, field: &str| {
            let latency = journey.get(kind).and_then(|latency| latency.get(field));
            latency.and_then(Value::as_f64).unwrap_or_default()
        };
        let latency = |field| milliseconds("latency_ms", field);
        println!(
            "| {name} | {:.0} | {:.0} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            count("offered") / seconds,
            count("ok") / seconds,
            count("error"),
            count("stale"),
            latency("p50"),
            latency("p90"),
            latency("p99"),
            latency("p999"),
            latency("max"),
            milliseconds("failed_ms", "p50"),
            milliseconds("failed_ms", "max"),
        );
        for (error, times) in journey
            .get("errors")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            println!("  {times} x {error}");
        }
        load.offered += count("offered");
        load.sent += count("sent");
        load.answered += count("ok");
        load.errors += count("error");
        load.p99 = load.p99.max(latency("p99"));
    }
    let late = |field: &str| summary.get("late_ms").and_then(|late| late.get(field)?.as_f64());
    if let (Some(p99), Some(max)) = (late("p99"), late("max")) {
        println!("requests were written p99 {p99:.2} ms, at most {max:.1} ms after they were due");
    }
    Ok(load)
}

fn processes(used: &cpu::Usage, seconds: f64, answered: f64) {
    let mut rows: Vec<(&str, f64)> = used
        .iter()
        .map(|(name, seconds)| (name.as_str(), *seconds))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_a_lost_post_an_error_or_less_load_does_not_count() {
        let good = Load {
            offered: 1000.0,
            sent: 1000.0,
            answered: 998.0,
            errors: 0.0,
            p99: 20.0,
        };
        assert!(failures(&good, 1001.0, 0).is_empty());
        assert_eq!(
            failures(&good, 1000.0, 2),
            ["2 acknowledged posts are lost or not shown"]
        );
        let failed = Load { errors: 1.0, ..good };
        assert_eq!(failures(&failed, 1000.0, 0), ["1 requests failed"]);
        let late = Load {
            answered: 800.0,
            ..good
        };
        assert_eq!(
            failures(&late, 1000.0, 0),
            ["800 requests were answered, of 1000"]
        );
        assert_eq!(failures(&good, 2000.0, 0).len(), 3);
    }
}
