//! `hikeshi experiment run|list|show|stop|export`.

mod export;
mod follow;
mod told;

use std::path::Path;

use hikeshi_experiment::api::{Detail, Experiments, Preview, Problem, Verdict};
use hikeshi_experiment::{Manifest, duration, manifest};
use hikeshi_scenario::Text;
use kube::config::Kubeconfig;
use serde::de::DeserializeOwned;

use super::args::{ExperimentCommand, Lang};
use super::output::{self, Progress};
use crate::control::record::Record;
use crate::daemon::protocol::{AboutExperiment, Request};
use crate::daemon::{client, session};
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// How long a fault without a duration lasts when nobody says.
const DEFAULT_SECONDS: f64 = 60.0;
/// Whose journeys the SLOs of a manifest are when no system is up.
const USUAL_SYSTEM: &str = "chirpy";

pub fn run(command: ExperimentCommand) -> Result<(), Failure> {
    match command {
        ExperimentCommand::Run {
            file,
            lasts,
            json,
            lang,
        } => begin(&file, lasts.as_deref(), json, Lang::or_environment(lang)),
        ExperimentCommand::List { json, lang } => list(json, Lang::or_environment(lang)),
        ExperimentCommand::Show { id, json, lang } => show(&id, json, Lang::or_environment(lang)),
        ExperimentCommand::Stop { id, json, lang } => stop(&id, json, Lang::or_environment(lang)),
        ExperimentCommand::Export(args) => export::run(&args),
    }
}

impl Lang {
    /// The words of this language.
    pub(super) fn of(self, text: &Text) -> &str {
        match self {
            Self::Ja => &text.ja,
            Self::En => &text.en,
        }
    }

    pub(super) fn pick<'a>(self, ja: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Ja => ja,
            Self::En => en,
        }
    }
}

/// Asks control, and reads its answer as what it is.
fn ask<T: DeserializeOwned>(paths: &Paths, request: AboutExperiment) -> Result<T, Failure> {
    let answer = client::ask(paths, &Request::Experiment(request), |_| ())?;
    serde_json::from_value(answer).component("reading control's answer")
}

/// A manifest as it was read.
struct Read {
    text: String,
    manifest: Manifest,
    /// Where an object goes that names no namespace.
    namespace: String,
}

/// Text and manifest of a file; every slip is said with its place before anything is asked for.
fn read(file: &Path, lang: Lang) -> Result<Read, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    let paths = Paths::from_environment()?;
    let namespace = usual_namespace(&paths);
    let up = Record::read(&paths).and_then(|record| record.system);
    let system = up.as_deref().unwrap_or(USUAL_SYSTEM);
    let cujs = session::cujs(&crate::paths::share()?, system)?;
    let reading = manifest::read(&text, &cujs, session::SLO_CLOCK, &namespace);
    match reading.manifest {
        Some(manifest) => Ok(Read {
            text,
            manifest,
            namespace,
        }),
        None => Err(refusal(file, &reading.problems, lang)),
    }
}

/// The namespace of our own kubeconfig's context: where kubectl would put it.
fn usual_namespace(paths: &Paths) -> String {
    let context = Kubeconfig::read_from(paths.kubeconfig()).ok().and_then(|config| {
        let current = config.current_context?;
        let named = config
            .contexts
            .into_iter()
            .find(|context| context.name == current)?;
        named.context?.namespace
    });
    context.unwrap_or_else(|| "default".to_owned())
}

fn refusal(file: &Path, problems: &[Problem], lang: Lang) -> Failure {
    let file = file.display();
    let line = |problem: &Problem| {
        let Problem {
            line,
            column,
            path,
            message,
            suggestion,
        } = problem;
        let at = if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        };
        let meant = suggestion
            .as_ref()
            .map(|meant| match lang {
                Lang::Ja => format!(" (もしかして `{meant}`?)"),
                Lang::En => format!("; did you mean `{meant}`?"),
            })
            .unwrap_or_default();
        format!("{file}:{line}:{column}: {at}{}{meant}", lang.of(message))
    };
    Failure::usage(problems.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn begin(file: &Path, lasts: Option<&str>, json: bool, lang: Lang) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let Read {
        text,
        manifest,
        namespace,
    } = read(file, lang)?;
    let seconds = seconds(lasts, &manifest)?;
    let asked = AboutExperiment::Preview {
        manifest: text.clone(),
        namespace: namespace.clone(),
    };
    let preview: Preview = ask(&paths, asked)?;
    if !preview.problems.is_empty() {
        return Err(refusal(file, &preview.problems, lang));
    }
    let lasts = seconds.or(preview.duration_s);
    if !json {
        told::preview(&preview, lasts, lang);
    }
    let start = AboutExperiment::Start {
        manifest: text,
        namespace,
        by: who(),
        seconds,
    };
    let answer: serde_json::Value = ask(&paths, start)?;
    let Some(id) = answer["id"].as_str() else {
        let problems: Vec<Problem> = serde_json::from_value(answer["problems"].clone()).unwrap_or_default();
        return Err(refusal(file, &problems, lang));
    };
    let detail = follow::to_the_end(&paths, id, lasts, json, lang)?;
    conclude(&detail, json, lang)
}

/// How long what was asked for lasts, where the manifest does not say it or the person says otherwise.
fn seconds(lasts: Option<&str>, manifest: &Manifest) -> Result<Option<f64>, Failure> {
    let Some(text) = lasts else {
        let says = manifest::duration_of(&manifest.object).is_some();
        // Workflows and kills end by themselves.
        let endless = manifest.kind == "Schedule" || manifest::takes_duration(&manifest.object);
        return Ok((!says && endless).then_some(DEFAULT_SECONDS));
    };
    match duration::seconds(text).filter(|seconds| *seconds >= 1.0) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Failure::usage(format!(
            "--for {text}: write a duration of at least a second, such as 40s, 2m or 1h30m"
        ))),
    }
}

/// Who runs this, as this machine knows them.
pub(super) fn who() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| format!("uid {}", nix::unistd::getuid()))
}

/// Prints what came out; an error when the hypothesis did not hold.
fn conclude(detail: &Detail, json: bool, lang: Lang) -> Result<(), Failure> {
    if json {
        output::json(&serde_json::to_value(detail).component("telling an experiment")?);
    } else {
        told::detail(detail, lang);
    }
    let good = matches!(detail.summary.verdict, None | Some(Verdict::Held));
    if good && detail.recovery.verified != Some(false) {
        return Ok(());
    }
    Err(Failure::not_so(lang.of(&detail.summary.sentence)))
}

fn list(json: bool, lang: Lang) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let experiments: Experiments = ask(&paths, AboutExperiment::List)?;
    if json {
        output::json(&serde_json::to_value(experiments).component("telling experiments")?);
        return Ok(());
    }
    if experiments.running.is_empty() && experiments.history.is_empty() {
        output::line(lang.pick(
            "まだ実験はありません。始めるには: hikeshi experiment run FILE",
            "no experiments yet; run one: hikeshi experiment run FILE",
        ));
    }
    for summary in experiments.running.iter().chain(&experiments.history) {
        told::line(summary, lang);
    }
    Ok(())
}

/// An id; `last` is the newest.
fn find(paths: &Paths, id: &str) -> Result<String, Failure> {
    if id != "last" {
        return Ok(id.to_owned());
    }
    let experiments: Experiments = ask(paths, AboutExperiment::List)?;
    experiments
        .running
        .into_iter()
        .chain(experiments.history)
        .max_by(|a, b| a.started_at.cmp(&b.started_at).then_with(|| a.id.cmp(&b.id)))
        .map(|newest| newest.id)
        .ok_or_else(|| Failure::usage("there are no experiments yet").hint("hikeshi experiment run FILE"))
}

fn show(id: &str, json: bool, lang: Lang) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let id = find(&paths, id)?;
    let detail: Detail = ask(&paths, AboutExperiment::Show { id })?;
    if json {
        output::json(&serde_json::to_value(detail).component("telling an experiment")?);
    } else {
        told::detail(&detail, lang);
    }
    Ok(())
}

fn stop(id: &str, json: bool, lang: Lang) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let id = find(&paths, id)?;
    let _: serde_json::Value = ask(
        &paths,
        AboutExperiment::Stop {
            id: id.clone(),
            by: who(),
        },
    )?;
    let mut progress = Progress::new(json);
    progress.say(lang.pick(
        "停止し、復旧を確認しています",
        "stopping; recovery is being verified",
    ));
    let detail = follow::ended(&paths, &id)?;
    progress.close();
    if json {
        output::json(&serde_json::to_value(&detail).component("telling an experiment")?);
    } else {
        told::detail(&detail, lang);
    }
    if detail.recovery.verified == Some(false) {
        return Err(Failure::not_so(lang.of(&detail.summary.sentence)));
    }
    Ok(())
}
