//! `hikeshi rehearse`: runs scenarios with every seat scripted, in a cluster of its own that ends with this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hikeshi_host::Session;
use hikeshi_host::matrix::{Prover, Run};
use hikeshi_scenario::Fix;
use serde::Serialize;

use super::args::RehearseArgs;
use super::output::{self, Progress};
use crate::failure::{Context, Failure};
use crate::paths::Paths;
use crate::stage::Stage;

#[derive(Debug, Default, Serialize)]
struct Report {
    /// The drill's id of each rehearsal: `hikeshi story ID` tells it.
    drills: Vec<String>,
    runs: Vec<Run>,
    #[serde(skip)]
    path: Option<PathBuf>,
}

impl Report {
    /// Adds a run, and writes at once: what ends early leaves what it knew.
    fn add(&mut self, run: Run) -> Result<(), Failure> {
        self.runs.push(run);
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_string_pretty(self).component("writing the report")?;
        std::fs::write(path, text).component(format!("writing {}", path.display()))
    }
}

pub fn run(args: &RehearseArgs) -> Result<(), Failure> {
    if !args.pace.is_finite() || args.pace < 1.0 {
        return Err(Failure::usage(format!(
            "--pace {} makes no sense: 1 is a real team, 10 is ten times as fast",
            args.pace
        )));
    }
    let share = crate::paths::share()?;
    let library = hikeshi_host::Library::new(share.clone());
    for scenario in &args.scenarios {
        library.load(scenario).map_err(super::drill::unloadable)?;
    }
    if let Some(report) = &args.report {
        // A report that cannot be written is said before half an hour of work, not after.
        std::fs::write(report, "{}\n")
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", report.display())))?;
    }
    // The client's own errors are told again by whoever asked, except when a stage ends and nobody asks any more.
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("HIKESHI_LOG")
                .unwrap_or_else(|_| "error,kube_client=off".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let mut progress = Progress::new(false);
    let mut report = Report {
        path: args.report.clone(),
        ..Report::default()
    };
    let runtime = super::runtime()?;
    for scenario in &args.scenarios {
        runtime.block_on(rehearse(args, &share, scenario, &mut report, &mut progress))?;
    }
    progress.close();
    for run in &report.runs {
        let mark = if run.as_expected() { "✓" } else { "✗" };
        output::line(format!(
            "{mark} {:<11} {:<28} expected {:<5} oracle {:<5} {:>5.0} s",
            run.kind, run.name, run.expected, run.oracle, run.seconds
        ));
        for reason in run.reasons.iter().filter(|_| !run.as_expected()) {
            output::line(format!("    {reason}"));
        }
    }
    for drill in &report.drills {
        output::line(format!("the story: hikeshi story {drill} --lang ja"));
    }
    match report.runs.iter().filter(|run| !run.as_expected()).count() {
        0 => Ok(()),
        wrong => Err(Failure::not_so(format!(
            "{wrong} of {} colours are wrong",
            report.runs.len()
        ))),
    }
}

async fn rehearse(
    args: &RehearseArgs,
    share: &Path,
    scenario: &str,
    report: &mut Report,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let library = hikeshi_host::Library::new(share.to_path_buf());
    let written = library.load(scenario).component("reading the scenario")?.scenario;
    let open = async |rehearsal: bool, progress: &mut Progress| -> Result<(Stage, Arc<Session>), Failure> {
        let own = Paths::from_environment()?;
        let stage = Stage::open(&own, share, &written.system, |text| {
            progress.say(&format!("{scenario}: {text}"))
        })
        .await?;
        let session = stage
            .running
            .host
            .open(scenario, rehearsal, args.seed)
            .await
            .component("opening the drill")?;
        Ok((stage, session))
    };
    if args.matrix {
        for (index, fix) in written.fixes.iter().enumerate() {
            let (stage, session) = open(false, progress).await?;
            let prover = Prover {
                host: stage.running.host.clone(),
                session,
            };
            // The first system gives every colour that does not need a fresh one.
            let fakes = if index == 0 {
                written.fake_fixes.as_slice()
            } else {
                &[]
            };
            prove(&prover, index == 0, fakes, fix, report, |text| {
                progress.say(&format!("{scenario}: {text}"))
            })
            .await?;
            stage
                .running
                .host
                .end("the matrix is done")
                .await
                .component("ending the drill")?;
            stage.close().await?;
        }
    }
    if hikeshi_host::rehearsal::has_cast(written.cast.as_ref()) {
        let (stage, session) = open(true, progress).await?;
        report.drills.push(session.id().to_owned());
        let host = &stage.running.host;
        let prover = Prover {
            host: host.clone(),
            session: session.clone(),
        };
        prover.settled().await.map_err(|reason| {
            Failure::component(format!(
                "{scenario}: the system was not healthy before the drill: {reason}"
            ))
        })?;
        let ready = hikeshi_drill::Command::SystemReady {
            pods: stage.pods,
            seconds: stage.seconds,
        };
        session.submit(ready).await.component("beginning the drill")?;
        let mark = prover.mark().await;
        let played = hikeshi_host::rehearsal::play(host, &session, args.pace, |text| {
            progress.say(&format!("{scenario}: {text}"));
        })
        .await;
        let run = prover.rehearsed(mark).await;
        let reason = if run.as_expected() {
            "resolved"
        } else {
            "the rehearsal did not end green"
        };
        stage
            .running
            .host
            .end(reason)
            .await
            .component("ending the drill")?;
        report.add(run)?;
        stage.close().await?;
        played.map_err(|error| Failure::not_so(format!("{scenario}: {error}")))?;
    }
    Ok(())
}

/// Every colour that one system gives.
async fn prove(
    prover: &Prover,
    first: bool,
    fakes: &[Fix],
    fix: &Fix,
    report: &mut Report,
    mut say: impl FnMut(&str),
) -> Result<(), Failure> {
    let failed = |error: String| Failure::component(format!("the matrix: {error}"));
    if first {
        say("healthy");
        report.add(prover.healthy().await)?;
    } else {
        prover.settled().await.map_err(failed)?;
    }
    say("injecting");
    let injected = prover.injected().await.map_err(failed)?;
    if first {
        report.add(injected)?;
        say("nobody acts");
        report.add(prover.do_nothing().await)?;
    }
    for fake in fakes {
        say(&format!("fake fix: {}", fake.name));
        report.add(prover.fake_fix(fake).await.map_err(failed)?)?;
    }
    say(&format!("fix: {}", fix.name));
    report.add(prover.fix(fix).await.map_err(failed)?)
}
