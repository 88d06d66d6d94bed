//! Which file of SLOs is meant, and its text.

use std::path::PathBuf;

use hikeshi_scenario::Problem;
use hikeshi_slo::Cujs;

use crate::control::record::Record;
use crate::failure::Failure;
use crate::paths::Paths;

/// Whose SLOs are meant when none is named and no system is up.
const USUAL_SYSTEM: &str = "chirpy";

pub struct File {
    pub path: PathBuf,
    /// As it was named.
    pub name: String,
    pub text: String,
    pub cujs: Cujs,
}

/// A file that was named, else that of the system that is up, else the shipped one.
pub fn read(file: Option<PathBuf>) -> Result<File, Failure> {
    let path = match file {
        Some(path) => path,
        None => {
            let paths = Paths::from_environment()?;
            let system = Record::read(&paths).and_then(|record| record.system);
            let system = system.as_deref().unwrap_or(USUAL_SYSTEM);
            crate::paths::share()?
                .join("systems")
                .join(system)
                .join("cujs.yaml")
        }
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let cujs = hikeshi_slo::parse(&name, &text).map_err(|problems| refusal(&problems))?;
    Ok(File {
        path,
        name,
        text,
        cujs,
    })
}

/// Every problem on a line of its own.
pub fn refusal(problems: &[Problem]) -> Failure {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::usage(lines.join("\n"))
}
