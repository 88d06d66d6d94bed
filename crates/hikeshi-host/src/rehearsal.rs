//! Plays a scenario's cast on the real system: what the pure stepper asks for is done, and what was really seen goes back.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_drill::Command;
use hikeshi_drill::rehearsal::{Action, Rehearsal};
use hikeshi_scenario::cast::Query;
use hikeshi_scenario::{Cast, CommandLine};
use hikeshi_server::command_line::Programs;
use jiff::Timestamp;

use crate::console::Finished;
use crate::host::Host;
use crate::session::Session;

/// How long one command of the script may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// Why the script could not be played to its end: the real system did not do what it says, or said no.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    #[error("the scenario has no cast to rehearse with")]
    NoCast,
    #[error("step {step}: {reason}")]
    Step { step: usize, reason: String },
}

/// Plays the whole cast. The drill must be ready; it is not ended here.
///
/// # Errors
/// See [`RehearsalError`].
pub async fn play(
    host: &Arc<Host>,
    session: &Arc<Session>,
    pace: f64,
    mut progress: impl FnMut(String),
) -> Result<(), RehearsalError> {
    let cast = session
        .scenario
        .scenario
        .cast
        .clone()
        .ok_or(RehearsalError::NoCast)?;
    let mut heard = host.heard.subscribe();
    let mut script = Rehearsal::new(pace);
    let mut told = usize::MAX;
    loop {
        if script.step() != told {
            told = script.step();
            progress(format!(
                "step {} of {}",
                (told + 1).min(cast.steps.len()),
                cast.steps.len()
            ));
        }
        let step = script.step();
        let failed = |reason: String| RehearsalError::Step { step, reason };
        match script.next(&session.state(), &cast, Timestamp::now()) {
            Action::Command(command) => {
                session
                    .submit(command)
                    .await
                    .map_err(|error| failed(error.to_string()))?;
            }
            Action::Run { by, command, step } => {
                let output = run(host, session, &by, &command.to_string(), step)
                    .await
                    .map_err(failed)?;
                script.ran(&cast, &output, Timestamp::now());
            }
            Action::Query { by, query, step } => {
                let (value, baseline) = measure(host, session, &by, &query, step).await.map_err(failed)?;
                script.measured(&cast, value, baseline, Timestamp::now());
            }
            Action::Wait { until } => {
                let pause = until.map_or(Duration::from_secs(1), |until| {
                    Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default()
                });
                tokio::select! {
                    _ = heard.recv() => {}
                    () = tokio::time::sleep(pause.min(Duration::from_secs(1))) => {}
                }
            }
            Action::Failed { step, reason } => return Err(RehearsalError::Step { step, reason }),
            Action::Done => return Ok(()),
        }
    }
}

fn seat_of(session: &Session, cast_name: &str) -> String {
    session.with_state(|state| {
        state
            .seats
            .get(cast_name)
            .map_or_else(|| "operator".to_owned(), |actor| actor.seat.clone())
    })
}

/// Runs one line with the identity of a member of the cast, and writes down what it printed.
async fn run(host: &Host, session: &Session, by: &str, line: &str, step: u32) -> Result<String, String> {
    let seat = seat_of(session, by);
    Ok(run_as(host, session, by, &seat, line, Some(step)).await?.output)
}

async fn run_as(
    host: &Host,
    session: &Session,
    by: &str,
    seat: &str,
    line: &str,
    step: Option<u32>,
) -> Result<Finished, String> {
    let resolved = Programs::default()
        .resolve(line)
        .map_err(|error| format!("{line}: {error}"))?;
    let finished = host
        .shell
        .run(by, seat, &resolved.args, COMMAND_LIMIT, None)
        .await?;
    let record = Command::CommandRun {
        by: by.to_owned(),
        command: line.to_owned(),
        mutating: resolved.mutating,
        source: "rehearsal".to_owned(),
        exit_code: Some(finished.exit_code),
        output: finished.output.clone(),
        seconds: finished.seconds,
        step,
    };
    session.submit(record).await.map_err(|error| error.to_string())?;
    Ok(finished)
}

async fn measure(
    host: &Host,
    session: &Session,
    by: &str,
    query: &Query,
    step: u32,
) -> Result<(Option<f64>, Option<f64>), String> {
    let value = host
        .prometheus
        .value(&query.promql)
        .await
        .map_err(|error| error.to_string())?;
    let baseline = match &query.baseline {
        Some(promql) => host
            .prometheus
            .value(promql)
            .await
            .map_err(|error| error.to_string())?,
        None => None,
    };
    if let Some(value) = value {
        let seen = Command::MetricSeen {
            by: by.to_owned(),
            query: query.promql.clone(),
            value,
            baseline,
            unit: query.unit.clone(),
            step: Some(step),
        };
        session.submit(seen).await.map_err(|error| error.to_string())?;
    }
    Ok((value, baseline))
}

/// Runs a scenario's commands as somebody with the right to would, without a cast.
///
/// # Errors
/// The command that failed, with the end of what it printed.
pub async fn run_lines(host: &Host, session: &Session, lines: &[CommandLine]) -> Result<(), String> {
    for command in lines {
        let line = command.to_string();
        let finished = run_as(host, session, "matrix0", "operator", &line, None).await?;
        if finished.exit_code != 0 {
            return Err(format!(
                "{line} ended with {}: {}",
                finished.exit_code,
                finished.output.trim()
            ));
        }
    }
    Ok(())
}

/// Whether this scenario can be played.
pub fn has_cast(cast: Option<&Cast>) -> bool {
    cast.is_some_and(|cast| !cast.steps.is_empty())
}
