//! `cargo xtask bench chirpy-faults`: a fifth of the story's load while every service is rolled out anew and one pod of each
//! kind is killed, the primaries included: what users see of it, and that no acknowledged post is lost.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::Value;

use super::lost::Lost;
use super::system::{REDIS, SERVICES, System};
use super::{POST_SHARE, cpu, settled, wait};
use crate::build::{self, Profile};
use crate::setup;
use crate::workspace::Workspace;

/// How often the generator is asked.
const LOOK: Duration = Duration::from_millis(250);
/// A fault is over when nothing failed for so long: longer than Redis' nodes take to miss one another (`cluster-node-timeout`),
/// so that a late failover counts against the fault that caused it.
const QUIET: Duration = Duration::from_secs(16);
/// Or is never over.
const LIMIT: Duration = Duration::from_secs(90);

#[derive(Parser)]
#[command(name = "bench chirpy-faults", no_binary_name = true)]
struct Options {
    /// Timeline reads a second; posts are a tenth of them
    #[arg(long, default_value_t = 2_000.0)]
    reads: f64,
    /// Only faults whose name holds this
    #[arg(long)]
    only: Option<String>,
    /// Measure the programs as they were built last
    #[arg(long)]
    no_build: bool,
}

/// What is done to the system.
enum Fault {
    /// Of this `kind`, this name, within so many seconds.
    RollOut(&'static str, &'static str, u32),
    /// `kill -9` of the main process of a pod of this `app`.
    Kill(&'static str),
    KillRedisPrimary,
    KillRedisReplica,
    KillPostgresPrimary,
    KillPostgresReplica,
    FailOverPostgres,
}

impl Fault {
    fn all() -> Vec<Self> {
        let rolled = SERVICES.into_iter().chain(["search-node", "pgbouncer"]);
        let killed = rolled.clone().map(Self::Kill);
        let stores = [
            Self::KillRedisPrimary,
            Self::KillRedisReplica,
            Self::KillPostgresReplica,
            Self::KillPostgresPrimary,
            Self::FailOverPostgres,
        ];
        let services = rolled.map(|name| Self::RollOut("deployment", name, 120));
        let rolled_stores = ["redis-cluster", "postgres"].map(|name| Self::RollOut("statefulset", name, 180));
        services
            .chain(rolled_stores)
            .chain(killed)
            .chain(stores)
            .collect()
    }

    fn name(&self) -> String {
        match self {
            Self::RollOut(_, name, _) => format!("roll out {name}"),
            Self::Kill(app) => format!("kill -9 {app}"),
            Self::KillRedisPrimary => "kill -9 the Redis primary".to_owned(),
            Self::KillRedisReplica => "kill -9 a Redis replica".to_owned(),
            Self::KillPostgresPrimary => "kill -9 the PostgreSQL primary".to_owned(),
            Self::KillPostgresReplica => "kill -9 the PostgreSQL replica".to_owned(),
            Self::FailOverPostgres => "fail PostgreSQL over (runbook)".to_owned(),
        }
    }

    fn inject(&self, system: &System) -> Result<()> {
        match self {
            Self::RollOut(kind, name, seconds) => {
                let workload = format!("{kind}/{name}");
                system.kubectl(&["-n", "chirpy", "rollout", "restart", &workload], None)?;
                system.rolled_out("chirpy", &workload, *seconds)
            }
            Self::Kill(app) => {
                let selector = format!("app={app}");
                let first = [
                    "-n",
                    "chirpy",
                    "get",
                    "pods",
                    "-l",
                    &selector,
                    "-o",
                    "jsonpath={.items[0].metadata.name}",
                ];
                kill(system, system.kubectl(&first, None)?.trim())
            }
            Self::KillRedisPrimary => kill_redis(system, "master"),
            Self::KillRedisReplica => kill_redis(system, "slave"),
            Self::KillPostgresPrimary => kill(system, &primary(system)?),
            Self::KillPostgresReplica => {
                let replica = if primary(system)? == "postgres-0" {
                    "postgres-1"
                } else {
                    "postgres-0"
                };
                kill(system, replica)
            }
            Self::FailOverPostgres => system.runbook("fail-over-postgres.sh"),
        }
    }
}

/// The pod that is PostgreSQL's primary.
fn primary(system: &System) -> Result<String> {
    let path = "jsonpath={.data.PRIMARY}";
    let said = system.kubectl(
        &[
            "-n",
            "chirpy",
            "get",
            "configmap",
            "postgres-topology",
            "-o",
            path,
        ],
        None,
    )?;
    Ok(said.trim().to_owned())
}

/// Kills the first Redis node that says it has this role.
fn kill_redis(system: &System, role: &str) -> Result<()> {
    for pod in REDIS {
        if system.redis_cli(pod, &["role"])?.starts_with(role) {
            return kill(system, pod);
        }
    }
    bail!("no Redis node is a {role}")
}

fn kill(system: &System, pod: &str) -> Result<()> {
    let pid = cpu::main_process(system.home(), pod)?.with_context(|| format!("{pod} has no process"))?;
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    ensure!(status.success(), "kill -9 {pid} ({pod}): {status}");
    Ok(())
}

pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let options = Options::try_parse_from(args)?;
    let mut faults = Fault::all();
    if let Some(only) = &options.only {
        faults.retain(|fault| fault.name().contains(only.as_str()));
        ensure!(!faults.is_empty(), "no fault's name holds {only:?}");
    }
    if !options.no_build {
        setup::run(workspace, false)?;
        build::run(workspace, Profile::Release)?;
    }
    let system = System::up(workspace, Profile::Release)?;
    system.tune()?;
    system.load(options.reads / (1.0 - POST_SHARE), 3200, 256)?;
    settled(&system)?;
    println!("| fault | requests | errors | error rate | last error after s | lost posts |");
    println!("|---|---|---|---|---|---|");
    let (mut all_lost, mut last) = (0, None);
    for fault in faults {
        let course = watch(&system, &fault)?;
        let lost = Lost::of(&system.check()?);
        all_lost += lost.all();
        println!("| {} | {course} | {} |", fault.name(), lost.all());
        last = Some(lost);
    }
    if let Some(last) = last {
        println!("{last}");
    }
    system.down()?;
    ensure!(all_lost == 0, "acknowledged posts were lost or not shown");
    Ok(())
}

/// What the generator counts, over all journeys.
#[derive(Clone, Copy, Default)]
struct Counts {
    offered: f64,
    errors: f64,
}

fn counts(summary: &Value) -> Counts {
    let journeys = summary.get("journeys").and_then(Value::as_object);
    let mut counts = Counts::default();
    for journey in journeys.into_iter().flat_map(|journeys| journeys.values()) {
        let of = |field: &str| journey.get(field).and_then(Value::as_f64).unwrap_or_default();
        counts.offered += of("offered");
        counts.errors += of("error");
    }
    counts
}

/// What users saw from a fault's injection until nothing failed any more.
struct Course {
    offered: f64,
    errors: f64,
    /// Since the injection began, seconds; none when nothing failed.
    last_error: Option<f64>,
    over: bool,
}

impl Course {
    /// From looks at the generator: seconds since the injection began, and what it had counted by then. The first look is
    /// before the injection.
    fn of(looks: &[(f64, Counts)], over: bool) -> Self {
        let first = looks.first().map_or(Counts::default(), |(_, counts)| *counts);
        let last = looks.last().map_or(first, |(_, counts)| *counts);
        let mut grown = looks.iter().zip(looks.iter().skip(1));
        let last_error = grown
            .rfind(|((_, before), (_, after))| after.errors > before.errors)
            .map(|(_, (at, _))| *at);
        Self {
            offered: last.offered - first.offered,
            errors: last.errors - first.errors,
            last_error,
            over,
        }
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = self.errors / self.offered.max(1.0) * 100.0;
        write!(out, "{:.0} | {:.0} | {rate:.3} % | ", self.offered, self.errors)?;
        match self.last_error {
            _ if !self.over => write!(out, "still failing after {} s", LIMIT.as_secs()),
            Some(seconds) => write!(out, "{seconds:.1}"),
            None => write!(out, "none"),
        }
    }
}

fn watch(system: &System, fault: &Fault) -> Result<Course> {
    let began = Instant::now();
    let mut looks = vec![(0.0, counts(&system.summary()?))];
    let (mut errors, mut last) = (
        looks.iter().map(|(_, counts)| counts.errors).sum::<f64>(),
        Instant::now(),
    );
    fault.inject(system).with_context(|| fault.name())?;
    last = last.max(Instant::now());
    loop {
        wait(LOOK);
        // It may be the generator's way that is cut for a moment.
        if let Ok(summary) = system.summary() {
            let now = counts(&summary);
            looks.push((began.elapsed().as_secs_f64(), now));
            if now.errors > errors {
                (errors, last) = (now.errors, Instant::now());
            }
        }
        if last.elapsed() > QUIET {
            return Ok(Course::of(&looks, true));
        }
        if began.elapsed() > LIMIT {
            return Ok(Course::of(&looks, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: f64, offered: f64, errors: f64) -> (f64, Counts) {
        (at, Counts { offered, errors })
    }

    #[test]
    fn errors_of_before_do_not_count_and_the_last_one_is_timed() {
        let looks = [
            look(0.0, 100.0, 7.0),
            look(1.0, 200.0, 9.0),
            look(2.0, 300.0, 12.0),
            look(9.0, 1100.0, 12.0),
        ];
        let course = Course::of(&looks, true);
        assert_eq!(
            (course.offered, course.errors, course.last_error),
            (1000.0, 5.0, Some(2.0))
        );
        assert_eq!(course.to_string(), "1000 | 5 | 0.500 % | 2.0");
    }

    #[test]
    fn nothing_failed_and_still_failing_are_said() {
        let course = Course::of(&[look(0.0, 0.0, 0.0), look(9.0, 900.0, 0.0)], true);
        assert_eq!(course.to_string(), "900 | 0 | 0.000 % | none");
        let course = Course::of(&[look(0.0, 0.0, 0.0), look(90.0, 900.0, 900.0)], false);
        assert!(course.to_string().ends_with("still failing after 90 s"));
    }

    #[test]
    fn every_service_is_rolled_out_and_killed() {
        let names: Vec<String> = Fault::all().iter().map(Fault::name).collect();
        for service in SERVICES {
            for word in ["roll out", "kill -9"] {
                assert!(names.contains(&format!("{word} {service}")), "{word} {service}");
            }
        }
        assert_eq!(names.len(), 2 * 9 + 2 + 5);
    }
}
