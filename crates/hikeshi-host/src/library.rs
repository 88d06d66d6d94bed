//! What is shipped: scenarios and what is known of the systems they break, read from their folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hikeshi_drill::map::SystemMap;
use hikeshi_scenario::{Problem, Scenario};
use serde_json::Value;

/// The folder with `scenarios/` (one folder each, with `scenario.yaml` in it) and `systems/`.
#[derive(Debug, Clone)]
pub struct Library {
    share: PathBuf,
}

/// A scenario and the objects of its fault files.
#[derive(Debug, Clone)]
pub struct LoadedScenario {
    pub scenario: Scenario,
    /// Fault file (as the scenario writes it) to its objects.
    pub faults: BTreeMap<String, Vec<Value>>,
}

impl LoadedScenario {
    /// The objects of a fault file; none for a file that the scenario does not name.
    pub fn fault(&self, file: &str) -> &[Value] {
        self.faults.get(file).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Why a scenario was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("no scenario is called {name:?}{}", did_you_mean(nearest))]
    Unknown { name: String, nearest: Option<String> },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"))
}

impl Library {
    pub fn new(share: PathBuf) -> Self {
        Self { share }
    }

    fn folder(&self) -> PathBuf {
        self.share.join("scenarios")
    }

    /// The roles of a system and who depends on whom.
    ///
    /// # Errors
    /// When `systems/NAME/map.yaml` cannot be read.
    pub fn map(&self, system: &str) -> Result<SystemMap, LibraryError> {
        let path = self.share.join("systems").join(system).join("map.yaml");
        SystemMap::parse(&path.display().to_string(), &read(&path)?).map_err(LibraryError::Invalid)
    }

    /// Names of all scenarios, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, LibraryError> {
        let file = |error: std::io::Error| LibraryError::File {
            path: self.folder(),
            reason: error.to_string(),
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.folder()).map_err(file)? {
            let entry = entry.map_err(file)?;
            if entry.path().join("scenario.yaml").is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The file a scenario is written in.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name).join("scenario.yaml")
    }

    /// Reads a scenario and everything it names.
    ///
    /// # Errors
    /// `Unknown` (with the nearest name), every `Problem` of the file, or a fault file that cannot be read.
    pub fn load(&self, name: &str) -> Result<LoadedScenario, LibraryError> {
        let names = self.names()?;
        if !names.iter().any(|known| known == name) {
            let nearest =
                hikeshi_scenario::problem::nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
            return Err(LibraryError::Unknown {
                name: name.to_owned(),
                nearest,
            });
        }
        load_file(&self.file(name))
    }
}

/// Reads the scenario in `path` and the fault files beside it.
///
/// # Errors
/// As [`Library::load`].
pub fn load_file(path: &Path) -> Result<LoadedScenario, LibraryError> {
    let text = read(path)?;
    let scenario =
        hikeshi_scenario::parse(&path.display().to_string(), &text).map_err(LibraryError::Invalid)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let named = scenario
        .inject
        .iter()
        .map(|inject| &inject.apply)
        .chain(scenario.oracle.survives.iter().map(|survive| &survive.again));
    let mut faults = BTreeMap::new();
    for file in named {
        if faults.contains_key(file) {
            continue;
        }
        let path = folder.join(file);
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&read(&path)?).map_err(|error| LibraryError::File {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        faults.insert(file.clone(), objects);
    }
    Ok(LoadedScenario { scenario, faults })
}

fn read(path: &Path) -> Result<String, LibraryError> {
    std::fs::read_to_string(path).map_err(|error| LibraryError::File {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })
}
