//! `hikeshi scenario list|lint`.

use hikeshi_host::{Library, LibraryError};
use hikeshi_scenario::{Severity, lint};
use serde_json::{Value, json};

use super::args::{Lang, ScenarioCommand};
use super::output;
use crate::failure::{Context, Failure};

pub fn run(command: ScenarioCommand) -> Result<(), Failure> {
    match command {
        ScenarioCommand::List(args) => list(args.json),
        ScenarioCommand::Lint { files } => check(&files),
    }
}

fn list(json: bool) -> Result<(), Failure> {
    let library = Library::new(crate::paths::share()?);
    let mut all = Vec::new();
    for name in library.names().component("listing scenarios")? {
        let loaded = library
            .load(&name)
            .map_err(|error| Failure::usage(error.to_string()))?;
        all.push((name, loaded.scenario));
    }
    if json {
        let list: Vec<Value> = all
            .iter()
            .map(|(name, scenario)| {
                json!({"name": name, "title": scenario.title, "difficulty": scenario.difficulty, "system": scenario.system})
            })
            .collect();
        output::json(&json!(list));
        return Ok(());
    }
    let lang = Lang::or_environment(None);
    for (name, scenario) in &all {
        let title = if lang == Lang::Ja {
            &scenario.title.ja
        } else {
            &scenario.title.en
        };
        output::line(format!(
            "{name:<28} {}  {title}",
            "★".repeat(usize::from(scenario.difficulty))
        ));
    }
    Ok(())
}

fn check(files: &[std::path::PathBuf]) -> Result<(), Failure> {
    let files = if files.is_empty() {
        let library = Library::new(crate::paths::share()?);
        library
            .names()
            .component("listing scenarios")?
            .iter()
            .map(|name| library.file(name))
            .collect()
    } else {
        files.to_vec()
    };
    let mut found = 0;
    for file in &files {
        let loaded = match hikeshi_host::load_file(file) {
            Ok(loaded) => loaded,
            Err(error @ LibraryError::Invalid(_)) => return Err(Failure::usage(error.to_string())),
            Err(error) => return Err(Failure::usage(error.to_string())),
        };
        let faults: Vec<(String, Value)> = loaded
            .faults
            .iter()
            .flat_map(|(name, objects)| objects.iter().map(|object| (name.clone(), object.clone())))
            .collect();
        for finding in lint(&loaded.scenario, &faults) {
            if finding.severity == Severity::Error {
                found += 1;
            }
            output::line(format!(
                "{}: {} [{}]",
                file.display(),
                finding.message,
                finding.rule
            ));
        }
    }
    match found {
        0 => {
            output::line(format!("{} scenario(s) checked, nothing found", files.len()));
            Ok(())
        }
        count => Err(Failure::not_so(format!("{count} finding(s)"))),
    }
}
