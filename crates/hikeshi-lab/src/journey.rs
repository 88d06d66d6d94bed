//! `lab.yaml` of a system: where its users come in, and what a person does in the lab for each journey.

use hikeshi_scenario::{Problem, Text};
use hikeshi_slo::{Cuj, Cujs};
use serde::{Deserialize, Serialize};

/// The file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabFile {
    pub api_version: String,
    pub kind: String,
    pub system: String,
    pub entrance: Entrance,
    pub journeys: Vec<Journey>,
}

/// The Deployment behind the ingress, which is made twice, and its Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entrance {
    pub namespace: String,
    pub deployment: String,
    pub service: String,
    /// The Service's port.
    #[serde(default = "eighty")]
    pub port: u16,
    /// The containers' port.
    #[serde(default = "eighty")]
    pub target_port: u16,
}

fn eighty() -> u16 {
    80
}

/// A journey that can be felt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journey {
    /// Its name in `cujs.yaml`.
    pub cuj: String,
    /// In upper case.
    pub method: String,
    /// As the ingress sees it; `*` is any number of characters.
    pub path: String,
    /// What the person does, in the app's own words.
    pub task: Text,
    /// Part of the app's address where that begins, e.g. `/#/`.
    #[serde(default = "root")]
    pub page: String,
    /// How often it is done each time before the person judges.
    #[serde(default)]
    pub uses: Uses,
    /// What is added to `cujs.yaml` when that has no such journey: the text of one item of its `cujs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<String>,
}

fn root() -> String {
    "/".to_owned()
}

/// How often a person does it before judging, by what is felt: one failure of fifty is not met in two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uses {
    pub latency: u32,
    pub availability: u32,
}

impl Default for Uses {
    fn default() -> Self {
        Self {
            latency: 2,
            availability: 10,
        }
    }
}

impl LabFile {
    /// Reads `lab.yaml`.
    ///
    /// # Errors
    /// Every problem with file, line and column.
    pub fn parse(file_name: &str, text: &str, cujs: &Cujs) -> Result<Self, Vec<Problem>> {
        let file: Self = hikeshi_scenario::yaml::from_str(file_name, text)?;
        let mut problems = Vec::new();
        let mut say = |at: &str, message: String| {
            let place = text
                .lines()
                .position(|line| line.contains(at))
                .map_or(0, |line| line + 1);
            problems.push(Problem {
                file: file_name.to_owned(),
                line: place as u64,
                column: 1,
                message,
                suggestion: None,
            });
        };
        if file.kind != "Lab" {
            say("kind:", format!("kind `{}` is not Lab", file.kind));
        }
        if file.api_version != hikeshi_scenario::scenario::API_VERSION {
            say(
                "apiVersion:",
                format!("apiVersion `{}` is not known to this program", file.api_version),
            );
        }
        for journey in &file.journeys {
            let name = &journey.cuj;
            if !journey.path.starts_with('/') {
                say(
                    name,
                    format!("{name}: path `{}` does not begin with /", journey.path),
                );
            }
            if let Err(why) = journey.described(cujs) {
                say(name, format!("{name}: {why}"));
            }
        }
        if problems.is_empty() {
            Ok(file)
        } else {
            Err(problems)
        }
    }

    pub fn journey(&self, name: &str) -> Option<&Journey> {
        self.journeys.iter().find(|journey| journey.cuj == name)
    }
}

impl Journey {
    /// The journey with its objectives: of `cujs.yaml`, else what would be added to it.
    ///
    /// # Errors
    /// When it is in neither, or what would be added cannot be read.
    pub fn described(&self, cujs: &Cujs) -> Result<Cuj, String> {
        if let Some(cuj) = cujs.cujs.iter().find(|cuj| cuj.name == self.cuj) {
            return Ok(cuj.clone());
        }
        let Some(add) = &self.add else {
            return Err("is in cujs.yaml by no such name, and there is no `add` to put it there".to_owned());
        };
        let whole = format!(
            "apiVersion: {}\nkind: CUJs\nsystem: {}\ncujs:\n{}",
            hikeshi_scenario::scenario::API_VERSION,
            cujs.system,
            indented(add)
        );
        let read = hikeshi_slo::parse("add", &whole).map_err(|problems| {
            let words: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
            format!("`add`: {}", words.join("; "))
        })?;
        match read.cujs.into_iter().next() {
            Some(cuj) if cuj.name == self.cuj => Ok(cuj),
            _ => Err(format!("`add` describes another journey than {}", self.cuj)),
        }
    }
}

/// An item of `cujs` as it stands in a file.
pub(crate) fn indented(item: &str) -> String {
    let line = |line: &str| {
        if line.trim().is_empty() {
            String::new()
        } else {
            format!("  {line}")
        }
    };
    let mut text = item.trim_end().lines().map(line).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../systems/chirpy/lab.yaml");
    const CUJS: &str = include_str!("../../../systems/chirpy/cujs.yaml");

    #[test]
    fn the_shipped_file_is_good_and_knows_the_talks_journey() {
        let cujs = hikeshi_slo::parse("c", CUJS).unwrap();
        let file = LabFile::parse("lab.yaml", SHIPPED, &cujs).unwrap();
        let edit = file.journey("edit-message").unwrap();
        assert_eq!(
            (edit.method.as_str(), edit.path.as_str()),
            ("POST", "/api/posts/*/update")
        );
        let described = edit.described(&cujs).unwrap();
        // Slide 66 of the talk.
        let promised: Vec<(&str, f64)> = described
            .slos
            .iter()
            .map(|slo| (slo.sli.name(), slo.objective))
            .collect();
        assert_eq!(promised, [("availability", 99.9), ("latency", 99.0)]);
    }

    #[test]
    fn slips_are_said_with_their_line() {
        let cujs = hikeshi_slo::parse("c", CUJS).unwrap();
        let text = SHIPPED.replace("cuj: read-timeline", "cuj: read-timelines");
        let problems = LabFile::parse("lab.yaml", &text, &cujs).unwrap_err();
        assert!(
            problems[0].line > 1 && problems[0].message.contains("read-timelines"),
            "{problems:?}"
        );
        let text = SHIPPED.replace("journeys:", "jurneys:");
        assert!(LabFile::parse("lab.yaml", &text, &cujs).is_err());
    }
}
