//! `hikeshi drill start|list|show|end`.

use hikeshi_server::store;
use serde_json::{Value, json};

use super::args::{DrillCommand, Lang};
use super::output::{self, Progress};
use crate::control::ports;
use crate::daemon::protocol::Request;
use crate::daemon::{client, start};
use crate::failure::{Context, Failure};
use crate::paths::Paths;
use crate::tools;

pub fn run(command: DrillCommand) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    match command {
        DrillCommand::Start {
            scenario,
            listen,
            json,
        } => begin(&paths, &scenario, listen, json),
        DrillCommand::List(args) => list(&paths, args.json),
        DrillCommand::Show { id, json, lang } => show(&paths, &id, json, Lang::or_environment(lang)),
        DrillCommand::End { id, json } => end(&paths, id.as_deref(), json),
    }
}

fn begin(
    paths: &Paths,
    scenario: &str,
    listen: Option<std::net::SocketAddr>,
    json: bool,
) -> Result<(), Failure> {
    // A misspelt name is said before anything is started.
    let library = hikeshi_host::Library::new(crate::paths::share()?);
    let system = library.load(scenario).map_err(unloadable)?.scenario.system;
    // Nor is anything reset for an address that is then refused.
    if let Some(address) = listen {
        ports::must_name_this_machine(address)?;
    }
    let mut progress = Progress::new(json);
    if another_was_run(paths)? {
        progress.say("resetting the system: another drill was run on it");
        super::down::reset(paths)?;
    }
    start::ensure(paths, &system, listen, |text| progress.say(text))?;
    let request = Request::DrillStart {
        scenario: scenario.to_owned(),
    };
    let answer = client::ask(paths, &request, |text| progress.say(text))?;
    progress.close();
    super::slo::seen(&system);
    if json {
        output::json(&answer);
        return Ok(());
    }
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    output::line(format!(
        "The system is up ({} pods) and the war room is open.",
        answer["pods"]
    ));
    output::line("");
    output::line(format!("  you        {}", text("url")));
    output::line(format!("  the team   {}", text("invite")));
    output::line("");
    output::line("Look at the normal state first; the incident begins after you press the button there.");
    // As people can type it: this program need not be on PATH.
    let own = std::env::current_exe().map_or_else(|_| "hikeshi".to_owned(), |own| own.display().to_string());
    output::line(format!(
        "With your own kubectl: export KUBECONFIG=$({own} kubeconfig --seat YOURNAME)"
    ));
    if let Some(advice) = tools::kubectl_advice() {
        output::line(advice);
    }
    output::line(format!("To end everything: {own} down"));
    Ok(())
}

/// Whether a drill was run to its end on the system that is up: what it broke, and what people changed, would be there
/// still. One that is not over is not ours to end.
fn another_was_run(paths: &Paths) -> Result<bool, Failure> {
    let Ok(id) = std::fs::read_to_string(paths.drilled()) else {
        return Ok(false);
    };
    let drills = store::list(&paths.drills()).component("listing drills")?;
    Ok(!drills.iter().any(|drill| drill.id == id && !drill.ended))
}

/// Only a misspelt name is helped by the list of names.
pub(super) fn unloadable(error: hikeshi_host::LibraryError) -> Failure {
    let failure = Failure::usage(error.to_string());
    match error {
        hikeshi_host::LibraryError::Unknown { .. } => failure.hint("`hikeshi scenario list` names them all"),
        _ => failure,
    }
}

fn list(paths: &Paths, json: bool) -> Result<(), Failure> {
    let drills = store::list(&paths.drills()).component("listing drills")?;
    if json {
        let list: Vec<Value> = drills
            .iter()
            .map(|drill| {
                json!({"id": drill.id, "scenario": drill.scenario, "rehearsal": drill.rehearsal,
                       "started_at": drill.started_at, "ended": drill.ended})
            })
            .collect();
        output::json(&json!(list));
        return Ok(());
    }
    if drills.is_empty() {
        output::line("no drills yet; start one: hikeshi drill start timelines-stop-updating");
    }
    for drill in drills {
        let state = if drill.ended { "ended" } else { "open" };
        let kind = if drill.rehearsal { "rehearsal" } else { "drill" };
        output::line(format!("{}  {kind}  {state}", drill.id));
    }
    Ok(())
}

/// `last`, or an id; an unknown one is answered with the newest ones.
pub fn find(paths: &Paths, id: &str) -> Result<String, Failure> {
    let drills = store::list(&paths.drills()).component("listing drills")?;
    if id == "last" {
        return drills.first().map(|drill| drill.id.clone()).ok_or_else(|| {
            Failure::usage("there are no drills yet").hint("hikeshi drill start timelines-stop-updating")
        });
    }
    if drills.iter().any(|drill| drill.id == id) {
        return Ok(id.to_owned());
    }
    if drills.is_empty() {
        return Err(Failure::usage(format!("no drill is called {id:?}")).hint("there are no drills yet"));
    }
    let newest: Vec<_> = drills.iter().take(3).map(|drill| drill.id.as_str()).collect();
    Err(Failure::usage(format!("no drill is called {id:?}")).hint(format!(
        "the newest are: {}; `last` means the newest",
        newest.join(", ")
    )))
}

fn show(paths: &Paths, id: &str, json: bool, lang: Lang) -> Result<(), Failure> {
    let told = told(paths, id)?;
    let score = told.score();
    let timeline = told.timeline("facilitator");
    if json {
        output::json(&json!({"id": told.id, "score": score, "timeline": timeline}));
        return Ok(());
    }
    output::line(format!(
        "{}  {}",
        told.id,
        if lang == Lang::Ja {
            &told.scenario.title.ja
        } else {
            &told.scenario.title.en
        }
    ));
    summarize(&score, &timeline, lang);
    Ok(())
}

/// A drill's log with its scenario, for whatever is folded over it.
pub fn told(paths: &Paths, id: &str) -> Result<hikeshi_host::Told, Failure> {
    let id = find(paths, id)?;
    let library = hikeshi_host::Library::new(crate::paths::share()?);
    hikeshi_host::Told::read(&paths.drills(), &library, &id).component(format!("reading drill {id}"))
}

fn summarize(score: &Value, timeline: &Value, lang: Lang) {
    let suffix = if lang == Lang::Ja { "ja" } else { "en" };
    let word = |value: &Value, name: &str| {
        value[format!("{name}_{suffix}")]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    output::line(format!("{} / {}", score["points"], score["of"]));
    for line in score["lines"].as_array().into_iter().flatten() {
        output::line(format!(
            "  {:>3} / {:<3} {}",
            line["points"],
            line["of"],
            word(line, "reason")
        ));
    }
    for entry in timeline.as_array().into_iter().flatten() {
        let at = entry["at"]
            .as_str()
            .and_then(|at| at.get(11..19))
            .unwrap_or("--:--:--");
        output::line(format!(
            "{at} {} {}",
            entry["icon"].as_str().unwrap_or(" "),
            word(entry, "text")
        ));
    }
}

fn end(paths: &Paths, id: Option<&str>, json: bool) -> Result<(), Failure> {
    // The last drill is the one that is on, if one is.
    if let Some(id) = id.filter(|id| *id != "last") {
        let status = client::ask(paths, &Request::Status, |_| ())?;
        let on = status["drill"]["id"].as_str();
        if on != Some(id) {
            return Err(Failure::not_so(match on {
                Some(on) => format!("drill {id} is not on; {on} is"),
                None => format!("drill {id} is not on; none is"),
            }));
        }
    }
    let answer = client::ask(paths, &Request::DrillEnd, |_| ())?;
    if json {
        output::json(&answer);
    } else {
        output::line(format!(
            "drill {} has ended",
            answer["drill"].as_str().unwrap_or_default()
        ));
    }
    Ok(())
}
