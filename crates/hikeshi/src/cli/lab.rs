//! `hikeshi lab start|status|show|stop|normal|export`.

mod export;
mod normal;
mod told;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use hikeshi_lab::{Kind, Mode, Who};
use hikeshi_server::api::lab::Act;
use serde_json::Value;

use super::args::Lang;
use super::experiment::who;
use super::output::{self, Progress};
use crate::control::record::Record;
use crate::daemon::protocol::Request;
use crate::daemon::{client, start};
use crate::failure::Failure;
use crate::paths::Paths;

/// Between two looks at what is delivered.
const LOOK: Duration = Duration::from_secs(1);
const USUAL_SYSTEM: &str = "chirpy";

#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Prepare a lab for these journeys: blind trials in the war room, or with --feel a level held until Ctrl-C
    Start(StartArgs),
    /// What is on: who sits in it, what is delivered; and the labs that are over
    Status(How),
    /// What came out of a lab that is over; `last` is the newest
    Show {
        id: String,
        #[command(flatten)]
        how: How,
    },
    /// End the lab; nothing of it is left
    Stop(How),
    /// Learn the normal state from a histogram of a Prometheus
    Normal(normal::NormalArgs),
    /// Print the manifests of a level for a real cluster: two target groups, an ingress with weights, HTTPChaos
    Export(export::ExportArgs),
}

#[derive(Debug, Args)]
pub struct How {
    #[arg(long)]
    pub json: bool,
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
}

#[derive(Debug, Args)]
pub struct StartArgs {
    /// Journeys of the system's lab.yaml
    #[arg(required = true, value_name = "CUJ")]
    journeys: Vec<String>,
    /// What is felt
    #[arg(long, value_enum, default_value = "latency")]
    kind: KindArg,
    /// Levels to try in turn, such as 500ms,1s,+800ms,1s@99 or 1.5%,20ppm,burn:1,page-1h; without them the answers choose
    #[arg(long, value_delimiter = ',')]
    levels: Vec<String>,
    /// The normal state of everybody: 200ms, or quantiles such as p50=80ms,p99=1s
    #[arg(long, default_value = "", hide_default_value = true)]
    normal: String,
    /// Valid trials for each journey and person
    #[arg(long, default_value_t = 12)]
    trials: u32,
    /// Everybody feels it, not only the person in the lab
    #[arg(long)]
    everybody: bool,
    /// Hold the first of the levels for everyone to see, with what is delivered beside it, until Ctrl-C
    #[arg(long, requires = "levels")]
    feel: bool,
    /// End after so long, e.g. 2m (with --feel)
    #[arg(long = "for", value_name = "DURATION", requires = "feel")]
    lasts: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    Latency,
    Availability,
}

pub fn run(command: LabCommand) -> Result<(), Failure> {
    match command {
        LabCommand::Start(args) => begin(args),
        LabCommand::Status(how) => status(&how),
        LabCommand::Show { id, how } => show(&id, &how),
        LabCommand::Stop(how) => stop(&how),
        LabCommand::Normal(args) => normal::run(&args),
        LabCommand::Export(args) => export::run(&args),
    }
}

fn ask(paths: &Paths, act: Option<Act>) -> Result<Value, Failure> {
    client::ask(paths, &Request::Lab { by: who(), act }, |_| ())
}

fn begin(args: StartArgs) -> Result<(), Failure> {
    let lang = Lang::or_environment(args.how.lang);
    let json = args.how.json;
    let lasts = match &args.lasts {
        None => None,
        Some(text) => {
            let seconds = hikeshi_experiment::duration::seconds(text).filter(|seconds| *seconds >= 1.0);
            let seconds = seconds.ok_or_else(|| {
                Failure::usage(format!(
                    "--for {text}: write a duration of at least a second, such as 40s or 2m"
                ))
            })?;
            Some(Duration::from_secs_f64(seconds))
        }
    };
    // A level of errors says which kind is meant.
    let errors = |word: &String| {
        ["%", "ppm"].iter().any(|end| word.ends_with(end))
            || word.starts_with("burn:")
            || word.starts_with("page-")
    };
    let kind = match args.kind {
        KindArg::Availability => Kind::Availability,
        KindArg::Latency if !args.levels.is_empty() && args.levels.iter().all(errors) => Kind::Availability,
        KindArg::Latency => Kind::Latency,
    };
    let paths = Paths::from_environment()?;
    let mut progress = Progress::new(json);
    let system = Record::read(&paths)
        .and_then(|record| record.system)
        .unwrap_or_else(|| USUAL_SYSTEM.to_owned());
    start::ensure(&paths, &system, None, |text| progress.say(text))?;
    let up = Request::Up {
        system,
        left_behind: false,
    };
    client::ask(&paths, &up, |text| progress.say(text))?;
    progress.say(lang.pick("ラボを準備しています", "preparing the lab"));
    let act = Act::Start {
        journeys: args.journeys,
        kind,
        who: if args.everybody {
            Who::Everybody
        } else {
            Who::Person
        },
        mode: if args.feel { Mode::Feel } else { Mode::Blind },
        levels: args.levels,
        trials: args.trials,
        normal: args.normal,
    };
    let mut state = ask(&paths, Some(act))?;
    let running = client::ask(&paths, &Request::Status, |_| ())?;
    progress.close();
    state["url"] = running["url"].clone();
    let page = running["url"].as_str().unwrap_or_default();
    if !json {
        output::line(lang.pick("ラボの準備ができました。", "the lab is ready."));
        output::line(format!("  {}  {page}", lang.pick("入る", "come in")));
        output::line(lang.pick(
            "  入ったら、画面の「ラボ」を開いてください。",
            "  then open “Lab” at the top of the page.",
        ));
    }
    if args.feel {
        return hold(&paths, lasts, json, lang);
    }
    if json {
        output::json(&state);
    }
    Ok(())
}

/// Holds a level and tells what is delivered, until it is interrupted or its time is up. Then nothing is left.
fn hold(paths: &Paths, lasts: Option<Duration>, json: bool, lang: Lang) -> Result<(), Failure> {
    if !json {
        output::line(lang.pick("Ctrl-C で終わります。", "Ctrl-C ends it."));
    }
    let runtime = super::runtime()?;
    let begun = Instant::now();
    let last = runtime.block_on(async {
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|error| Failure::component(format!("listening for SIGTERM: {error}")))?;
        let mut said = String::new();
        loop {
            tokio::select! {
                _ = &mut interrupted => break,
                _ = terminate.recv() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            let state = ask(paths, None)?;
            if state["on"].is_null() {
                return Err(Failure::not_so(
                    lang.pick("ラボは別のところで終えられました", "the lab was ended elsewhere"),
                ));
            }
            let line = told::felt(&state["on"]["felt"], lang);
            if !json && line != said {
                output::line(&line);
                said = line;
            }
            if lasts.is_some_and(|lasts| begun.elapsed() >= lasts) {
                break;
            }
        }
        ask(paths, None)
    })?;
    let felt = last["on"]["felt"].clone();
    ask(paths, Some(Act::Stop))?;
    if json {
        output::json(&felt);
    }
    if felt["judged"]["ok"] == true || felt["judged"]["delivered"]["requests"] == 0 {
        return Ok(());
    }
    Err(Failure::not_so(told::felt(&felt, lang)))
}

fn status(how: &How) -> Result<(), Failure> {
    let state = ask(&Paths::from_environment()?, None)?;
    if how.json {
        output::json(&state);
    } else {
        told::status(&state, Lang::or_environment(how.lang));
    }
    Ok(())
}

fn show(id: &str, how: &How) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let id = if id == "last" {
        let state = ask(&paths, None)?;
        let newest = state["past"][0]["id"].as_str().map(str::to_owned);
        newest.ok_or_else(|| Failure::usage("no lab is over yet").hint("hikeshi lab start edit-message"))?
    } else {
        id.to_owned()
    };
    let outcome = client::ask(&paths, &Request::LabOutcome { id }, |_| ())?;
    if how.json {
        output::json(&outcome);
    } else {
        told::outcome(&outcome, Lang::or_environment(how.lang));
    }
    Ok(())
}

fn stop(how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let state = ask(&Paths::from_environment()?, Some(Act::Stop))?;
    if how.json {
        output::json(&state);
        return Ok(());
    }
    output::line(lang.pick(
        "ラボを終えました。注入したものは残っていません。結果: hikeshi lab show last",
        "the lab is over; nothing of it is left. What came out: hikeshi lab show last",
    ));
    Ok(())
}

/// The text of a file that is named.
fn read(path: &PathBuf) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}
