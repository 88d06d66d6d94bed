//! `hikeshi slo set|history`: who changed an objective, from what to what, and why.

use std::io::Write;
use std::path::PathBuf;

use hikeshi_scenario::problem::nearest;
use hikeshi_slo::Cujs;
use hikeshi_slo::history::{Change, SetError, read, set_objective, unrecorded};
use jiff::Timestamp;

use super::super::args::Lang;
use super::super::experiment::who;
use super::super::output;
use super::args::How;
use super::file;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

pub struct Wish<'a> {
    pub cuj: &'a str,
    pub sli: &'a str,
    /// Percent.
    pub objective: f64,
    pub why: &'a str,
}

pub fn set(wish: &Wish<'_>, file: Option<PathBuf>, how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    if wish.why.trim().is_empty() {
        return Err(Failure::usage("--why is empty: write why the objective changes"));
    }
    let file = file::read(file)?;
    let text =
        set_objective(&file.cujs, &file.text, wish.cuj, wish.sli, wish.objective).map_err(|error| {
            let known = match &error {
                SetError::NoJourney { name, known } | SetError::NoSlo { name, known, .. } => {
                    Some((name, known))
                }
                SetError::NotFound => None,
            };
            let failure = Failure::usage(format!("{}: {error}", file.name));
            match known {
                Some((name, known)) => {
                    let there = format!("there are: {}", known.join(", "));
                    failure.hint(match nearest(name, known.iter().map(String::as_str)) {
                        Some(meant) => format!("did you mean `{meant}`? {there}"),
                        None => there,
                    })
                }
                None => failure,
            }
        })?;
    let after = keep(&file, &text, &who(), wish.why.trim())?;
    if after.is_empty() {
        return Err(Failure::not_so(format!(
            "{} {} is {} % already",
            wish.cuj, wish.sli, wish.objective
        )));
    }
    if how.json {
        output::json(&serde_json::to_value(&after).component("telling a change")?);
    } else {
        for change in &after {
            tell(change, lang);
        }
    }
    Ok(())
}

/// Writes another text of a file, and in the history who changed what and why. Answers the changes.
pub fn keep(file: &file::File, text: &str, who: &str, why: &str) -> Result<Vec<Change>, Failure> {
    let changed = hikeshi_slo::parse(&file.name, text).map_err(|problems| file::refusal(&problems))?;
    let mut history = History::open()?;
    let past = history.changes.clone();
    let now = Timestamp::now().to_string();
    // What was edited by hand before is not this person's doing.
    let first = !past.iter().any(|change| change.system == file.cujs.system);
    let before = unrecorded(&past, &file.cujs, &now, "?", unknown(first));
    let so_far: Vec<Change> = past.into_iter().chain(before.iter().cloned()).collect();
    let after = unrecorded(&so_far, &changed, &now, who, why);
    if after.is_empty() {
        return Ok(after);
    }
    // The line first: a change without its reason is what this is here to prevent.
    history.add(&before)?;
    history.add(&after)?;
    std::fs::write(&file.path, text).component(format!("writing {}", file.name))?;
    Ok(after)
}

/// Why of changes that were found rather than made here.
fn unknown(first: bool) -> &'static str {
    if first { "first seen" } else { "edited by hand" }
}

/// Writes down what differs from what the history says last, whoever did it.
pub fn notice(cujs: &Cujs) -> Result<Vec<Change>, Failure> {
    let mut history = History::open()?;
    let now = Timestamp::now().to_string();
    let first = !history.changes.iter().any(|c| c.system == cujs.system);
    let found = unrecorded(&history.changes, cujs, &now, "?", unknown(first));
    history.add(&found)?;
    Ok(history.changes)
}

pub fn history(file: Option<PathBuf>, how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let file = file::read(file)?;
    let all = notice(&file.cujs)?;
    let changes: Vec<&Change> = all
        .iter()
        .filter(|change| change.system == file.cujs.system)
        .collect();
    if how.json {
        output::json(&serde_json::to_value(&changes).component("telling a history")?);
    } else {
        for change in changes {
            tell(change, lang);
        }
    }
    Ok(())
}

fn tell(change: &Change, lang: Lang) {
    let none = lang.pick("なし", "none");
    let (from, to) = (
        change.from.as_deref().unwrap_or(none),
        change.to.as_deref().unwrap_or(none),
    );
    let at = change.at.get(..16).unwrap_or(&change.at);
    output::line(format!(
        "{at}  {}  {}: {from} -> {to}  ({})",
        change.who, change.slo, change.why
    ));
}

/// `slo/history.jsonl` of the state folder.
struct History {
    path: PathBuf,
    changes: Vec<Change>,
}

impl History {
    fn open() -> Result<Self, Failure> {
        let path = hikeshi_host::budgets::history_file(&Paths::from_environment()?.slo());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::component(format!("{}: {error}", path.display()))),
        };
        let changes = read(&text).map_err(|line| {
            Failure::component(format!("{}:{line}: the history is damaged here", path.display()))
        })?;
        Ok(Self { path, changes })
    }

    fn add(&mut self, changes: &[Change]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let writing = || format!("writing {}", self.path.display());
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).component(writing())?;
        }
        let mut lines = String::new();
        for change in changes {
            lines += &serde_json::to_string(change).component("writing a change")?;
            lines.push('\n');
        }
        // A torn end of an earlier write must not swallow this line.
        let torn =
            std::fs::read(&self.path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        if torn {
            let text = std::fs::read_to_string(&self.path).component(writing())?;
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            std::fs::write(&self.path, whole).component(writing())?;
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .component(writing())?;
        file.write_all(lines.as_bytes())
            .and_then(|()| file.sync_data())
            .component(writing())?;
        self.changes.extend_from_slice(changes);
        Ok(())
    }
}
