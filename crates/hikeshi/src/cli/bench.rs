//! `hikeshi bench`: figures, each with its median.

use std::time::{Duration, Instant};

use super::args::BenchCommand;
use super::output::{self, Progress};
use crate::failure::{Context, Failure};
use crate::paths::Paths;
use crate::stage::Stage;

/// What `bench page` breaks.
const PAGE_SCENARIO: &str = "timelines-stop-updating";

pub fn run(command: &BenchCommand) -> Result<(), Failure> {
    let runtime = super::runtime()?;
    let mut progress = Progress::new(false);
    let (name, rounds) = match command {
        BenchCommand::Up { rounds } => ("up to first request served", *rounds),
        BenchCommand::Page { rounds } => ("fault injected to page fired", *rounds),
    };
    let mut figures = Vec::new();
    for round in 1..=rounds.max(1) {
        progress.say(&format!("{name}: round {round} of {rounds}"));
        let seconds = runtime.block_on(async {
            match command {
                BenchCommand::Up { .. } => up(&mut progress).await,
                BenchCommand::Page { .. } => page(&mut progress).await,
            }
        })?;
        figures.push(seconds);
    }
    progress.close();
    figures.sort_by(f64::total_cmp);
    let each = figures
        .iter()
        .map(|seconds| format!("{seconds:.1}"))
        .collect::<Vec<_>>()
        .join(" ");
    output::line(format!(
        "{name}: median {:.1} s  (all: {each})",
        figures[figures.len() / 2]
    ));
    Ok(())
}

/// From nothing (initdb and cluster creation included) until all pods are ready and Chirpy's page answers.
async fn up(progress: &mut Progress) -> Result<f64, Failure> {
    let own = Paths::from_environment()?;
    let started = Instant::now();
    let stage = Stage::open(&own, &crate::paths::share()?, "chirpy", |text| {
        progress.say(&text)
    })
    .await?;
    let http = reqwest::Client::new();
    let limit = started + Duration::from_secs(60);
    loop {
        if let Some(address) = stage.running.control.host_address("chirpy") {
            let answer = http.get(format!("http://{address}/")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
        }
        if Instant::now() > limit {
            return Err(Failure::component(
                "Chirpy's gateway did not answer within a minute",
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    stage.close().await?;
    Ok(seconds)
}

/// The first shipped drill's fault, from its being put in until the page reaches the war room.
async fn page(progress: &mut Progress) -> Result<f64, Failure> {
    let own = Paths::from_environment()?;
    let stage = Stage::open(&own, &crate::paths::share()?, "chirpy", |text| {
        progress.say(&text)
    })
    .await?;
    let session = stage
        .running
        .host
        .open(PAGE_SCENARIO, true, 1)
        .await
        .component("opening the drill")?;
    let prover = hikeshi_host::matrix::Prover {
        host: stage.running.host.clone(),
        session,
    };
    prover
        .settled()
        .await
        .map_err(|reason| Failure::component(format!("the system was not healthy: {reason}")))?;
    progress.say("injecting");
    let run = prover.injected().await.map_err(Failure::component)?;
    stage
        .running
        .host
        .end("measured")
        .await
        .component("ending the drill")?;
    stage.close().await?;
    run.seconds_to_detect
        .ok_or_else(|| Failure::not_so(format!("no page came: {}", run.reasons.join("; "))))
}
