//! Follows an experiment to its end; Ctrl-C ends it, and its recovery is verified all the same.

use std::time::Duration;

use hikeshi_experiment::api::{Detail, Phase};
use hikeshi_experiment::{Role, duration};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::output::Progress;
use super::{Lang, ask, who};
use crate::daemon::protocol::AboutExperiment;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// How often it is asked how things stand.
const EVERY: Duration = Duration::from_millis(300);
/// Length of the bar.
const BAR: usize = 24;

/// Until it has ended, with progress.
pub fn to_the_end(
    paths: &Paths,
    id: &str,
    lasts: Option<f64>,
    json: bool,
    lang: Lang,
) -> Result<Detail, Failure> {
    super::super::runtime()?.block_on(async {
        let listen = |kind| signal(kind).component("listening for Ctrl-C");
        let mut signals = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let mut progress = Progress::new(json);
        let mut told = 0;
        let mut last = String::new();
        let mut stopping = false;
        loop {
            let detail: Detail = ask(paths, AboutExperiment::Show { id: id.to_owned() })?;
            for note in detail.events.iter().skip(told) {
                progress.close();
                progress.say(lang.of(&note.text));
                progress.close();
            }
            told = detail.events.len();
            if detail.summary.phase == Phase::Ended {
                return Ok(detail);
            }
            let line = standing(&detail, lasts, lang);
            // A pipe gets what has changed, not the same line three times a second.
            if line != last && (progress.is_terminal() || detail.summary.phase != Phase::Running) {
                progress.say(&line);
                last = line;
            }
            if interrupted(&mut signals).await {
                if stopping {
                    let words = lang.pick(
                        "復旧の確認を待たずに終了します。実験は停止済みです",
                        "not waiting for the recovery; the experiment has been stopped",
                    );
                    return Err(Failure::not_so(words));
                }
                stopping = true;
                progress.close();
                progress.say(lang.pick("停止しています", "stopping"));
                let stop = AboutExperiment::Stop {
                    id: id.to_owned(),
                    by: who(),
                };
                // It may just have ended by itself.
                let _: Result<serde_json::Value, Failure> = ask(paths, stop);
            }
        }
    })
}

/// Waits a moment, or for a signal; true for a signal.
async fn interrupted((interrupt, terminate): &mut (Signal, Signal)) -> bool {
    tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
        () = tokio::time::sleep(EVERY) => false,
    }
}

/// Until it has ended, without words.
pub fn ended(paths: &Paths, id: &str) -> Result<Detail, Failure> {
    super::super::runtime()?.block_on(async {
        loop {
            let detail: Detail = ask(paths, AboutExperiment::Show { id: id.to_owned() })?;
            if detail.summary.phase == Phase::Ended {
                return Ok(detail);
            }
            tokio::time::sleep(EVERY).await;
        }
    })
}

/// `[######------] 12s/60s  2 hit  p99 0.31 s < 0.5 s`.
fn standing(detail: &Detail, lasts: Option<f64>, lang: Lang) -> String {
    if detail.summary.phase != Phase::Running {
        return lang.of(&detail.summary.sentence).to_owned();
    }
    let now = unix_now();
    let passed = (now - detail.summary.started_at.as_duration().as_secs_f64()).max(0.0);
    let mut line = match lasts {
        Some(lasts) => format!(
            "[{}] {}/{}",
            bar(passed / lasts),
            duration::words(passed.floor()),
            duration::words(lasts)
        ),
        None => duration::words(passed.floor()),
    };
    let hit = detail.summary.hit;
    line.push_str(&match lang {
        Lang::Ja => format!("  {hit} Pod"),
        Lang::En => format!("  {hit} hit"),
    });
    for (figure, check) in detail.figures.iter().zip(&detail.checks) {
        if let Some((_, value)) = figure.points.last() {
            let mark = match (check.role, check.holds) {
                (Role::Hypothesis, Some(false)) => "✗",
                _ => "",
            };
            line.push_str(&format!(
                "  {} {}{mark}",
                figure.name,
                super::told::figure(*value, &figure.unit)
            ));
        }
    }
    line
}

fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn bar(share: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to 24"
    )]
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "#".repeat(full), "-".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_always_as_long() {
        assert_eq!(bar(0.0), "-".repeat(BAR));
        assert_eq!(bar(7.0), "#".repeat(BAR));
        assert_eq!(bar(0.5).len(), BAR);
        assert!(bar(0.5).contains("#-"));
    }
}
