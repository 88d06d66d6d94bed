//! Load from this process.

use std::time::{Duration, Instant};

use hikeshi_load::client::ClientError;
use hikeshi_load::engine::{self, Settings};
use hikeshi_load::recorder::cpu_seconds;
use hikeshi_load::run::{Plan, Run, RunError};
use tokio::sync::watch;

use super::super::output::Progress;
use super::{EVERY, Interrupt, Outcome, Ticker, Work};
use crate::failure::{Context, Failure};

/// Entries a reader asks for.
const PAGE: u32 = 20;

/// How long it may take until everyone is logged in.
const LOGIN: Duration = Duration::from_secs(60);

/// Why people could not log in.
async fn no_login(run: &Run, work: &Work) -> Failure {
    let target = &work.target;
    let why = match run.knock().await {
        Err(ClientError::Connection(_)) => "no connection".to_owned(),
        Err(error) => error.to_string(),
        Ok(()) => work
            .language
            .pick("時間がかかりすぎます", "it takes too long")
            .to_owned(),
    };
    let seconds = LOGIN.as_secs();
    Failure::component(match work.language {
        super::Language::Ja => format!("{target} に {seconds} 秒以内に全員がログインできませんでした: {why}"),
        super::Language::En => format!("not everyone could log in at {target} within {seconds} s: {why}"),
    })
    .hint(work.language.pick(
        "プロファイルの people はそのシステムに登録済みでなければなりません",
        "the profile's people must have been registered there",
    ))
}

pub async fn run(work: &Work, progress: &mut Progress) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let settings = Settings {
        timeout: work.timeout,
        connections: work.connections as usize,
        page: PAGE,
    };
    engine::raise_limit();
    let plan = Plan::of(&work.profile, &work.asked);
    let users = plan.users;
    let run = Run::new(plan, &work.target, settings, Some(work.length())).map_err(|error| match error {
        RunError::Target(_) => Failure::usage(format!("--target: {error}")),
        error => Failure::component(error.to_string()),
    })?;
    let (stop, stopped) = watch::channel(false);
    progress.say(&match work.language {
        super::Language::Ja => format!("{users} 人がログインしています"),
        super::Language::En => format!("{users} people are logging in"),
    });
    tokio::select! {
        everyone = tokio::time::timeout(LOGIN, run.log_in(&stopped)) => {
            if everyone.is_err() {
                return Err(no_login(&run, work).await);
            }
        }
        () = interrupt.came() => {
            return Err(Failure::component(work.language.pick(
                "ログインが終わる前に中断しました",
                "interrupted before everyone was logged in",
            ))
            .hint(format!("does {} answer?", work.target)));
        }
    }
    let (cpu, start, started) = (cpu_seconds(), Instant::now(), jiff::Timestamp::now());
    let sending = run.send(start, stopped);
    tokio::pin!(sending);
    let mut ticker = Ticker::new();
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    let mut interrupted = false;
    let sent = loop {
        tokio::select! {
            sent = &mut sending => break sent,
            _ = ticks.tick() => {
                // Not printed while the record is held: a terminal may be slow, and the load must not wait for it.
                let line = ticker.line(&run.recorder.measured(), start.elapsed().as_secs_f64(), work);
                progress.say(&line);
            }
            () = interrupt.came(), if !interrupted => {
                interrupted = true;
                stop.send_replace(true);
            }
        }
    };
    sent.component("sending")?;
    let mut measured = run.recorder.measured().clone();
    measured.cpu = cpu_seconds() - cpu;
    Ok(Outcome {
        measured,
        // What is waited for after the last request was due is no time of sending.
        seconds: start.elapsed().min(work.length()).as_secs_f64(),
        started: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        interrupted,
    })
}
