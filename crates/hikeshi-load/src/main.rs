//! `hikeshi-load`: sends a constant rate of posts and timeline reads to Chirpy and measures what users would see.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use hikeshi_load::engine::{self, Settings};
use hikeshi_load::journey::Journey;
use hikeshi_load::profile::Profile;
use hikeshi_load::run::{Asked, Plan, Run};
use hikeshi_load::schedule::{Arrivals, Mix, Schedule};
use hikeshi_load::serve;
use hikeshi_load::shape::{Piece, Shape};
use hikeshi_load::share::{Share, Stage};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Chirpy's base URL
    #[arg(
        long,
        env = "LOAD_TARGET",
        default_value = "http://gateway.chirpy.svc.cluster.local"
    )]
    target: String,
    /// Requests per second [default: 50, or the profile's]
    #[arg(long, env = "LOAD_RATE")]
    rate: Option<f64>,
    /// The text of a profile (YAML): it says what the flags about journeys and people say otherwise
    #[arg(long, env = "LOAD_PROFILE")]
    profile: Option<String>,
    /// Generators that share the schedule
    #[arg(long, env = "LOAD_PARTS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    parts: u64,
    /// Which of them this one is, from 0
    #[arg(long, env = "JOB_COMPLETION_INDEX", default_value_t = 0)]
    part: u64,
    /// Begin when told to by POST /begin, and go on serving what was measured until told to end
    #[arg(long, env = "LOAD_SHARED")]
    shared: bool,
    /// Share of posts among the requests (one post for ten timeline reads)
    #[arg(long, env = "LOAD_POST_SHARE", default_value_t = 1.0 / 11.0)]
    post_share: f64,
    /// Share of the hot account's posts among the posts
    #[arg(long, env = "LOAD_HOT_SHARE", default_value_t = 0.22)]
    hot_share: f64,
    /// The hot account
    #[arg(long, env = "LOAD_HOT_ACCOUNT", default_value = "tenki")]
    hot: String,
    /// People who take part
    #[arg(long, env = "LOAD_USERS", default_value_t = 200)]
    users: u32,
    /// People are named this followed by four digits
    #[arg(long, env = "LOAD_USER_PREFIX", default_value = "person")]
    prefix: String,
    /// Everyone's password
    #[arg(long, env = "LOAD_PASSWORD", default_value = "chirpchirp")]
    password: String,
    /// Seconds after which an acknowledged post must be in its followers' timelines
    #[arg(long, env = "LOAD_FRESHNESS_AFTER_S", default_value_t = 5.0)]
    freshness_after: f64,
    /// At least so many seconds between two posts sampled for freshness (the hot account's and others' apart)
    #[arg(long, env = "LOAD_FRESHNESS_EVERY_S", default_value_t = 2.0)]
    freshness_every: f64,
    /// Followers looked at, per sampled post
    #[arg(long, env = "LOAD_FRESHNESS_FOLLOWERS", default_value_t = 6)]
    freshness_followers: usize,
    /// Measure only after so many seconds went well (0: from the first request)
    #[arg(long, env = "LOAD_SETTLE_S", default_value_t = 5.0)]
    settle: f64,
    /// Measure after so many seconds however it goes
    #[arg(long, env = "LOAD_SETTLE_LIMIT_S", default_value_t = 60.0)]
    settle_limit: f64,
    /// Seconds until a request counts as failed
    #[arg(long, env = "LOAD_TIMEOUT_S", default_value_t = 5.0)]
    timeout: f64,
    /// Connections open at once, at most; requests that find none free wait, and their latency goes on counting
    #[arg(long, env = "LOAD_CONNECTIONS", default_value_t = 1024)]
    connections: usize,
    /// Seconds of measuring, after which the program prints its totals and ends; without it, it goes on until told
    #[arg(long, env = "LOAD_DURATION_S")]
    duration: Option<f64>,
    /// The same seed gives the same schedule
    #[arg(long, env = "LOAD_SEED", default_value_t = 1)]
    seed: u64,
    /// Port of this program's own metrics
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
}

/// Requests per second when nobody says.
const RATE: f64 = 50.0;
/// How long the part of a shared run waits to be fetched.
const LINGER: Duration = Duration::from_secs(300);
/// Entries a reader asks for.
const PAGE: u32 = 20;

fn seconds(name: &str, value: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(value).with_context(|| format!("--{name} {value}"))
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "a program says why it ends")]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LOG_LEVEL")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hikeshi-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the options ask for, and how long it is if it ends by itself.
fn plan(options: &Options) -> anyhow::Result<(Plan, Option<Duration>)> {
    if let Some(rate) = options.rate {
        anyhow::ensure!(rate > 0.0 && rate.is_finite(), "--rate must be more than zero");
    }
    anyhow::ensure!(
        options.part < options.parts,
        "--part {} is not one of the {} parts, which count from 0",
        options.part,
        options.parts
    );
    let length = options
        .duration
        .map(|length| seconds("duration", length))
        .transpose()?;
    anyhow::ensure!(
        length.is_none_or(|length| !length.is_zero()),
        "--duration must be more than zero"
    );
    if let Some(text) = &options.profile {
        let profile = Profile::parse("profile", text).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", lines.join("\n"))
        })?;
        let asked = Asked {
            rate: options.rate,
            length,
            seed: options.seed,
            share: (options.part, options.parts),
        };
        return Ok((
            Plan::of(&profile, &asked),
            Some(length.unwrap_or(profile.length())),
        ));
    }
    for (name, share) in [
        ("post-share", options.post_share),
        ("hot-share", options.hot_share),
    ] {
        anyhow::ensure!(
            (0.0..=1.0).contains(&share),
            "--{name} {share} is not between 0 and 1"
        );
    }
    let rate = options.rate.unwrap_or(RATE);
    let shape = match length {
        None => Shape::constant(rate),
        Some(length) => Shape::new([Piece {
            seconds: length.as_secs_f64(),
            from: rate,
            to: rate,
        }]),
    };
    let mix = Mix {
        weights: [options.post_share, 1.0 - options.post_share, 0.0, 0.0],
        hot: options.hot_share,
    };
    let schedule = Schedule::new(shape, vec![mix], Arrivals::Constant, options.seed);
    let plan = Plan {
        schedule: schedule.shared(options.part, options.parts),
        journeys: vec![Journey::PostMessage, Journey::ReadTimeline],
        hot: options.hot.clone(),
        prefix: options.prefix.clone(),
        users: options.users.max(1),
        password: options.password.clone(),
        freshness_after: seconds("freshness-after", options.freshness_after)?,
        freshness_every: seconds("freshness-every", options.freshness_every)?,
        freshness_followers: options.freshness_followers,
        settle: seconds("settle", options.settle)?,
        settle_limit: seconds("settle-limit", options.settle_limit)?,
    };
    Ok((plan, length))
}

#[expect(clippy::print_stdout, reason = "the final summary is this program's output")]
async fn run(options: Options) -> anyhow::Result<()> {
    let (plan, length) = plan(&options)?;
    engine::raise_limit();
    let settings = Settings {
        timeout: seconds("timeout", options.timeout)?,
        connections: options.connections,
        page: PAGE,
    };
    // Only a run that is shared is asked for its course.
    let course = length.filter(|_| options.shared);
    let run = Run::new(plan, &options.target, settings, course)
        .with_context(|| format!("--target {:?}", options.target))?;
    let share = Arc::new(Share::default());

    let address = SocketAddr::from(([0, 0, 0, 0], options.port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("binding {address}"))?;
    tracing::info!(port = listener.local_addr()?.port(), "Listening");
    let started = Instant::now();
    let server =
        tokio::spawn(axum::serve(listener, serve::routes(run.clone(), share.clone(), started)).into_future());

    let (stop, mut stopped) = watch::channel(false);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        stop.send_replace(true);
    });
    run.log_in(&stopped).await;
    run.settle(&stopped).await?;
    share.enter(Stage::Ready);
    let began = if options.shared {
        share.beginning(&mut stopped).await
    } else {
        Some(Instant::now())
    };
    let Some(began) = began else { return Ok(()) };
    tracing::info!("Measuring");
    share.enter(Stage::Running);
    run.send(began, stopped.clone()).await?;
    share.enter(Stage::Ended);
    println!(
        "{}",
        serde_json::to_string(&run.recorder.summary(began.elapsed()))?
    );
    if options.shared {
        // Whoever merges the parts comes for this one, then ends it.
        let _ = tokio::time::timeout(LINGER, stopped.wait_for(|stop| *stop)).await;
    }
    server.abort();
    Ok(())
}
