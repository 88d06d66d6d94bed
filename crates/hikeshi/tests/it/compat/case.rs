//! What a case file says: commands as people type them, and what must come of each.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Text in both languages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    pub ja: String,
    pub en: String,
}

/// One file: cases that share a namespace of their own and run one after another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    #[serde(skip)]
    pub name: String,
    /// The heading in the compatibility page.
    pub title: Words,
    /// Kinds whose behaviour this file proves, as `kubectl api-resources` names them (`deployments.apps`).
    #[serde(default)]
    pub kinds: Vec<String>,
    /// It changes nodes or other things that all groups share: nothing else runs meanwhile.
    #[serde(default)]
    pub alone: bool,
    /// Applied first, into the group's namespace.
    #[serde(default)]
    pub setup: String,
    pub cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The command, beginning with `kubectl`. `{tmp}` is a folder of the group's own, `{ns}` its namespace.
    pub run: String,
    /// What it reads from standard input.
    #[serde(default)]
    pub input: String,
    /// Regular expressions that standard output must match, runs of blanks being one space.
    #[serde(default)]
    pub prints: Vec<String>,
    /// Regular expressions that standard output must not match.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// What standard error says of a command that must fail.
    #[serde(default)]
    pub refused: Option<String>,
    /// What standard error must say besides (warnings).
    #[serde(default)]
    pub warns: Option<String>,
    /// The exit code, where it is neither 0 nor (for `refused`) just another.
    #[serde(default)]
    pub code: Option<i32>,
    /// The cluster needs a moment for what is expected: ask until it is so.
    #[serde(default)]
    pub until: bool,
    /// The command goes on until it is stopped: it is, once it has printed what it must.
    #[serde(default)]
    pub follows: bool,
    /// While it goes on: an HTTP GET of this path at the address it printed (port-forward), and what the answer must match.
    #[serde(default)]
    pub fetches: Option<Fetch>,
    /// While it goes on: another command, once it has begun to print.
    #[serde(default)]
    pub meanwhile: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What it shows, for the page; without it, the case only prepares.
    #[serde(default)]
    pub shows: Option<Words>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    pub path: String,
    pub prints: String,
}

/// Every group of the folder, by file name.
pub fn load(folder: &Path) -> Vec<Group> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).expect("a file of cases");
            let mut group: Group =
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            // The number in front only orders the page.
            group.name = stem.split_once('-').map_or(stem, |(_, name)| name).to_owned();
            group
        })
        .collect()
}
