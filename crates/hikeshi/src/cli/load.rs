//! `hikeshi load run|list`: load on the running system, from this process or from a Job's pods.

mod job;
mod local;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use hikeshi_load::measured::{Counts, Measured};
use hikeshi_load::profile::Profile;
use hikeshi_load::report::{self, Language, Report};
use hikeshi_load::run::Asked;
use hikeshi_scenario::problem::nearest;
use hikeshi_scenario::{Dur, Text};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::Lang;
use super::output::{self, Progress};
use crate::control::record::Record;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Whose profiles are meant when no system is up.
const USUAL_SYSTEM: &str = "chirpy";
/// Between two lines of progress.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Send load as a profile says and tell what users would have seen; exit code 1 when it was not as expected
    Run(RunArgs),
    /// List the shipped profiles
    List {
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// A shipped profile's name, or a YAML file
    profile: String,
    /// Where to send; without it the running system's entrance, or from pods its gateway
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Stretch the whole profile to this length, e.g. `30s` or `5m`
    #[arg(long)]
    duration: Option<String>,
    /// Requests per second instead of the profile's; its stages scale with it
    #[arg(long)]
    rate: Option<f64>,
    /// Send from so many pods of a Job on the running system, each its part of the same schedule
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pods: Option<u32>,
    /// The same seed gives the same schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connections open at once, at most (of each pod)
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// After how long a request counts as failed
    #[arg(long, default_value = "5s")]
    timeout: String,
    #[arg(long)]
    json: bool,
    /// Write a page with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[arg(long, value_enum)]
    lang: Option<Lang>,
}

/// What is to be done, understood.
struct Work {
    profile: Profile,
    /// The profile's own words: what pods are given.
    text: String,
    asked: Asked,
    target: String,
    timeout: Duration,
    connections: u32,
    language: Language,
}

impl Work {
    /// How long it is planned to take.
    fn length(&self) -> Duration {
        self.asked.length.unwrap_or(self.profile.length())
    }
}

/// What came of it.
struct Outcome {
    measured: Measured,
    seconds: f64,
    started: String,
    /// Somebody ended it early.
    interrupted: bool,
}

pub fn run(command: LoadCommand) -> Result<(), Failure> {
    match command {
        LoadCommand::Run(args) => begin(&args),
        LoadCommand::List { json, lang } => list(json, Lang::or_environment(lang)),
    }
}

fn language(lang: Lang) -> Language {
    match lang {
        Lang::Ja => Language::Ja,
        Lang::En => Language::En,
    }
}

fn begin(args: &RunArgs) -> Result<(), Failure> {
    let work = understand(args)?;
    if let Some(file) = &args.html {
        // A report that cannot be written is said before minutes of work, not after.
        std::fs::write(file, "")
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", file.display())))?;
    }
    let mut progress = Progress::new(args.json);
    let runtime = super::runtime()?;
    let outcome = match args.pods {
        None => runtime.block_on(local::run(&work, &mut progress))?,
        Some(pods) => runtime.block_on(job::run(&work, pods, &mut progress))?,
    };
    progress.close();
    let report = Report {
        profile: work.profile.name.clone(),
        title: work.profile.title.clone(),
        target: work.target.clone(),
        started: outcome.started,
        seconds: outcome.seconds,
        planned: work.length().as_secs_f64(),
        pods: args.pods.unwrap_or(0),
        seed: args.seed,
        findings: report::judge(&outcome.measured, &work.profile.expect),
        measured: outcome.measured,
    };
    if args.json {
        output::json(&report.json());
    } else {
        output::line(report::table(&report, work.language));
    }
    if let Some(file) = &args.html {
        std::fs::write(file, report::page(&report, work.language))
            .component(format!("writing {}", file.display()))?;
        if !args.json {
            output::line(file.display());
        }
    }
    if outcome.interrupted {
        return Err(Failure::not_so(work.language.pick(
            "予定の途中で終了しました。結果はそこまでのものです",
            "ended before its time; the figures are those up to then",
        )));
    }
    match report.findings.len() {
        0 => Ok(()),
        some => Err(Failure::not_so(match work.language {
            Language::Ja => format!("期待に反する点が {some} 件あります"),
            Language::En => format!("{some} things were not as expected"),
        })),
    }
}

fn understand(args: &RunArgs) -> Result<Work, Failure> {
    let paths = Paths::from_environment()?;
    let running = Record::running(&paths);
    let system = running.as_ref().and_then(|record| record.system.clone());
    let file = find(&args.profile, system.as_deref().unwrap_or(USUAL_SYSTEM))?;
    let (profile, text) = read(&file)?;
    if let Some(rate) = args.rate
        && !(rate > 0.0 && rate <= 1e6)
    {
        return Err(Failure::usage(format!(
            "--rate {rate}: write a number of requests per second, more than 0 and at most 1000000"
        )));
    }
    let duration = |flag: &str, text: &str, least: Duration| match Dur::parse(text) {
        Ok(duration) if duration.get() >= least => Ok(duration.get()),
        Ok(_) => Err(Failure::usage(format!(
            "{flag} {text}: at least {} ms",
            least.as_millis()
        ))),
        Err(error) => Err(Failure::usage(format!("{flag}: {error}"))),
    };
    let length = args
        .duration
        .as_deref()
        .map(|text| duration("--duration", text, Duration::from_secs(1)))
        .transpose()?;
    let target = match (&args.target, args.pods, &running) {
        (Some(target), _, _) => {
            hikeshi_load::engine::Target::parse(target)
                .map_err(|error| Failure::usage(format!("--target {error}")))?;
            target.clone()
        }
        (None, Some(_), _) => job::TARGET.to_owned(),
        (None, None, Some(record)) => match record.hosts.get("chirpy") {
            Some(address) => format!("http://{address}"),
            None => {
                return Err(Failure::component("the running system has no entrance open yet")
                    .hint("wait for `hikeshi up`, or say --target URL"));
            }
        },
        (None, None, None) => return Err(not_running()),
    };
    Ok(Work {
        profile,
        text,
        asked: Asked {
            rate: args.rate,
            length,
            seed: args.seed,
            share: (0, 1),
        },
        target,
        timeout: duration("--timeout", &args.timeout, Duration::from_millis(1))?,
        connections: args.connections,
        language: language(Lang::or_environment(args.lang)),
    })
}

fn not_running() -> Failure {
    Failure::component("nothing is running here to send load to").hint("`hikeshi up`, or say --target URL")
}

fn folder(system: &str) -> Result<PathBuf, Failure> {
    Ok(crate::paths::share()?.join("systems").join(system).join("load"))
}

/// The shipped profiles, by name.
fn shipped(system: &str) -> Result<Vec<(String, PathBuf)>, Failure> {
    let folder = folder(system)?;
    let entries = std::fs::read_dir(&folder).component(format!("listing {}", folder.display()))?;
    let mut all: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path.clone())))
        .collect();
    all.sort();
    Ok(all)
}

/// What looks like a file is one; anything else is the name of a shipped profile.
fn find(said: &str, system: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(said);
    if said.contains('/') || path.extension().is_some() {
        return Ok(path.to_path_buf());
    }
    let all = shipped(system)?;
    if let Some((_, path)) = all.iter().find(|(name, _)| name == said) {
        return Ok(path.clone());
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let meant = nearest(said, names.iter().copied())
        .map_or(String::new(), |meant| format!(" (did you mean {meant:?}?)"));
    Err(
        Failure::usage(format!("no load profile is called {said:?}{meant}")).hint(format!(
            "there are {}; a file of your own is said with its path, such as ./mine.yaml",
            names.join(", ")
        )),
    )
}

fn read(file: &Path) -> Result<(Profile, String), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    match Profile::parse(&file.display().to_string(), &text) {
        Ok(profile) => Ok((profile, text)),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(Failure::usage(lines.join("\n")))
        }
    }
}

fn list(json: bool, lang: Lang) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let system = Record::running(&paths).and_then(|record| record.system);
    let mut told = vec![];
    for (name, file) in shipped(system.as_deref().unwrap_or(USUAL_SYSTEM))? {
        let (profile, _) = read(&file)?;
        let length = Dur(profile.length()).to_string();
        if json {
            told.push(serde_json::json!({
                "name": name, "title": profile.title, "rate": profile.rate.0, "length": length,
                "journeys": profile.occurring(), "file": file,
            }));
        } else {
            let Text { ja, en } = &profile.title;
            let title = language(lang).pick(ja, en);
            output::line(format!("{name:<12} {:>5}/s {length:>6}  {title}", profile.rate.0));
        }
    }
    if json {
        output::json(&told.into());
    }
    Ok(())
}

/// Ctrl-C, or being asked to end.
struct Interrupt(Signal, Signal);

impl Interrupt {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).component("listening for Ctrl-C");
        Ok(Self(
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        ))
    }

    async fn came(&mut self) {
        tokio::select! { _ = self.0.recv() => {}, _ = self.1.recv() => {} }
    }
}

/// The lines of progress, one a second.
struct Ticker {
    before: Counts,
    last: std::time::Instant,
}

impl Ticker {
    fn new() -> Self {
        Self {
            before: Counts::default(),
            last: std::time::Instant::now(),
        }
    }

    /// The next line. `at`: seconds since the load began.
    fn line(&mut self, now: &Measured, at: f64, work: &Work) -> String {
        let seconds = self.last.elapsed().as_secs_f64();
        let planned = work.length().as_secs_f64();
        let line = report::progress(now, &self.before, seconds, at.max(0.0), planned, work.language);
        self.before = now.total();
        self.last = std::time::Instant::now();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_is_right_and_named_as_its_file() {
        let all = shipped(USUAL_SYSTEM).expect("shipped");
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["flash-crowd", "ramp", "soak", "spike", "steady"]);
        for (name, file) in &all {
            let (profile, _) = read(file).expect("right");
            assert_eq!(profile.name, *name);
        }
    }

    #[test]
    fn a_misspelt_name_is_told_with_what_was_meant() {
        let failure = find("stedy", USUAL_SYSTEM).expect_err("no such profile");
        assert_eq!(failure.kind.exit_code(), 2);
        assert!(failure.message.contains("did you mean \"steady\"?"), "{failure}");
        assert!(find("./mine.yaml", USUAL_SYSTEM).is_ok());
    }
}
