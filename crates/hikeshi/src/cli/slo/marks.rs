//! Marked incidents: people's files, and the drills of this machine.

use std::path::Path;

use hikeshi_host::budgets::{incidents_file, marks};
use hikeshi_slo::backtest::Mark;

use super::file::refusal;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Incidents of a file that was named and of the state folder's, and every drill on this machine that broke something.
pub fn all(file: Option<&Path>) -> Result<Vec<Mark>, Failure> {
    let paths = Paths::from_environment()?;
    let usual = incidents_file(&paths.slo());
    let mut all = match file {
        Some(file) => read(file)?,
        None => Vec::new(),
    };
    if usual.exists() && file.is_none_or(|file| file != usual) {
        all.extend(read(&usual)?);
    }
    all.extend(marks::drills(&paths.drills()).component("listing drills")?);
    all.sort_by_key(|mark| (mark.from, mark.to));
    Ok(all)
}

fn read(file: &Path) -> Result<Vec<Mark>, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    marks::read(&name, &text).map_err(|problems| refusal(&problems))
}
