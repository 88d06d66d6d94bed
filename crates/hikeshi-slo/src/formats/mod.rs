//! Other people's files of SLOs. Whatever a format cannot say is said aloud, at its place.

mod openslo;
mod openslo_out;
mod openslo_window;
mod reading;
mod sloth;

use hikeshi_scenario::{Problem, Text};
use serde::Serialize;

pub use openslo_out::export as export_openslo;

use crate::cujs::Cujs;
use hikeshi_scenario::node::{Is, Node, read_all};
use reading::Reading;

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `version: prometheus/v1`, and the objects of Sloth's operator.
    Sloth,
    /// `apiVersion: openslo/v1`, and `v1alpha`'s SLO.
    Openslo,
}

/// Something that was lost, assumed or done in another way. Line and column count from 1; (0, 0) on the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub line: u64,
    pub column: u64,
    /// What it is about, e.g. `myservice-requests-availability`.
    pub about: String,
    pub text: Text,
}

/// A file read as `cujs.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    pub format: Format,
    pub cujs: Cujs,
    /// In the order of the file.
    pub notes: Vec<Note>,
}

/// Reads a file of Sloth or OpenSLO; without a format, of the one it looks like.
///
/// # Errors
/// What is no YAML, no such format, or lacks what the format demands.
pub fn import(file_name: &str, text: &str, format: Option<Format>) -> Result<Imported, Vec<Problem>> {
    let problem = |(line, column), message: String| Problem {
        file: file_name.to_owned(),
        line,
        column,
        message,
        suggestion: None,
    };
    let documents = read_all(text).map_err(|(at, message)| vec![problem(at, message)])?;
    let Some(first) = documents.first() else {
        return Err(vec![problem((1, 1), "the file is empty".to_owned())]);
    };
    let format = match format.or_else(|| looks_like(first)) {
        Some(format) => format,
        None => {
            let message = "neither Sloth (`version: prometheus/v1`) nor OpenSLO (`apiVersion: openslo/v1`)";
            return Err(vec![problem(first.at, message.to_owned())]);
        }
    };
    let mut reading = Reading::new(file_name);
    match format {
        Format::Sloth => sloth::read(&documents, &mut reading),
        Format::Openslo => openslo::read(&documents, &mut reading),
    }
    if reading.problems.is_empty() && reading.cujs.cujs.is_empty() {
        let reasons: Vec<String> = reading
            .notes
            .iter()
            .map(|note| format!("line {}: {}", note.line, note.text.en))
            .collect();
        let reasons = match reasons.as_slice() {
            [] => String::new(),
            reasons => format!(" ({})", reasons.join("; ")),
        };
        let message = format!("there is no SLO in this file that could be read{reasons}");
        reading.refuse(first.at, message);
    }
    reading.finish(format)
}

fn looks_like(node: &Node) -> Option<Format> {
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
    if text("version").starts_with("prometheus/") || text("apiVersion").starts_with("sloth.slok.dev/") {
        Some(Format::Sloth)
    } else if text("apiVersion").starts_with("openslo/") {
        Some(Format::Openslo)
    } else {
        None
    }
}

/// Whether a value is there and not empty.
fn given(node: Option<&Node>) -> Option<&Node> {
    node.filter(|node| node.is != Is::Nothing)
}
