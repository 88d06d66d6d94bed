//! What is gathered while another format is read.

use std::collections::BTreeMap;

use hikeshi_scenario::{Problem, Text};

use super::{Format, Imported, Note};
use crate::cujs::{Cuj, Cujs, Slo};
use crate::read::is_label;
use hikeshi_scenario::node::{Is, Node, Place};

pub(super) struct Reading {
    file: String,
    pub cujs: Cujs,
    pub notes: Vec<Note>,
    pub problems: Vec<Problem>,
}

/// Labels that our own series are told apart by; another file's are renamed.
const OURS: [&str; 7] = ["slo", "journey", "sli", "owner", "window", "period", "le"];

impl Reading {
    pub fn new(file: &str) -> Self {
        let stem = file.rsplit('/').next().unwrap_or(file);
        let stem = stem.split('.').next().unwrap_or(stem);
        Self {
            file: file.to_owned(),
            cujs: Cujs {
                api_version: hikeshi_scenario::scenario::API_VERSION.to_owned(),
                kind: "CUJs".to_owned(),
                system: plain(stem).unwrap_or_else(|| "imported".to_owned()),
                min_events: 0,
                min_failures: 0,
                window: None,
                alerts: None,
                policy: Vec::new(),
                metrics: None,
                cujs: Vec::new(),
            },
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    pub fn note(&mut self, at: Place, about: &str, ja: impl Into<String>, en: impl Into<String>) {
        self.notes.push(Note {
            line: at.0,
            column: at.1,
            about: about.to_owned(),
            text: Text {
                ja: ja.into(),
                en: en.into(),
            },
        });
    }

    pub fn refuse(&mut self, (line, column): Place, message: String) {
        self.problems.push(Problem {
            file: self.file.clone(),
            line,
            column,
            message,
            suggestion: None,
        });
    }

    /// A key's text; its absence is a problem.
    pub fn wanted<'a>(&mut self, node: &'a Node, key: &str) -> Option<&'a str> {
        let text = node.get(key).and_then(Node::text);
        if text.is_none() {
            let at = node.get(key).map_or(node.at, |node| node.at);
            self.refuse(at, format!("key `{key}` is missing here or is no text"));
        }
        text
    }

    /// A name as `cujs.yaml` allows it; a changed one is said.
    pub fn name(&mut self, at: Place, said: &str) -> String {
        let name = plain(said).unwrap_or_else(|| format!("slo-{}", at.0));
        if name != said {
            self.note(
                at,
                said,
                format!("名前 `{said}` は `{name}` になりました (小文字、数字、ハイフンのみ)"),
                format!("the name `{said}` has become `{name}`: small letters, digits and dashes"),
            );
        }
        name
    }

    /// A mapping of labels or annotations; what is no plain value is said and left out.
    pub fn texts(&mut self, node: Option<&Node>, about: &str) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (key, at, value) in node.map_or(&[][..], Node::entries) {
            let value = match &value.is {
                // OpenSLO allows several values for a label; Prometheus one.
                Is::List(items) => {
                    let all: Vec<String> = items.iter().filter_map(Node::scalar).collect();
                    self.note(
                        *at,
                        about,
                        format!("`{key}` の複数の値はカンマでつなぎました"),
                        format!("the several values of `{key}` are joined with commas"),
                    );
                    Some(all.join(","))
                }
                _ => value.scalar(),
            };
            match value {
                Some(value) => {
                    texts.insert(key.clone(), value);
                }
                None => self.note(
                    *at,
                    about,
                    format!("`{key}` は単純な値ではないため読みませんでした"),
                    format!("`{key}` is no plain value and was left out"),
                ),
            }
        }
        texts
    }

    /// [`Self::texts`] as labels that Prometheus takes and that are not ours.
    pub fn labels(&mut self, node: Option<&Node>, about: &str) -> BTreeMap<String, String> {
        let at = node.map_or((0, 0), |node| node.at);
        let texts = self.texts(node, about);
        let mut labels = BTreeMap::new();
        for (key, value) in texts {
            let mut name: String = key
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            if !is_label(&name) || OURS.contains(&name.as_str()) {
                name = format!("label_{}", name.trim_start_matches('_'));
            }
            if name != key {
                self.note(
                    at,
                    about,
                    format!("ラベル `{key}` は `{name}` になりました"),
                    format!("the label `{key}` has become `{name}`"),
                );
            }
            labels.insert(name, value);
        }
        labels
    }

    /// Says every key of a mapping that is not among the known ones.
    pub fn unknown(&mut self, node: &Node, known: &[&str], about: &str) {
        for (key, at, _) in node.entries() {
            if !known.contains(&key.as_str()) {
                self.note(
                    *at,
                    about,
                    format!("`{key}` に当たるものがないため無視しました"),
                    format!("`{key}` has no counterpart and was ignored"),
                );
            }
        }
    }

    /// The journey of this name, made if it is not there yet.
    pub fn journey(&mut self, make: Cuj) -> &mut Cuj {
        let at = match self.cujs.cujs.iter().position(|cuj| cuj.name == make.name) {
            Some(at) => at,
            None => {
                self.cujs.cujs.push(make);
                self.cujs.cujs.len() - 1
            }
        };
        &mut self.cujs.cujs[at]
    }

    /// Adds an objective; a second one of its name is a problem.
    pub fn add(&mut self, at: Place, make: Cuj, slo: Slo) {
        let cuj = self.journey(make);
        if cuj.slos.iter().any(|other| other.label() == slo.label()) {
            let message = format!("{} has two SLOs named `{}`", cuj.name, slo.label());
            self.refuse(at, message);
        } else {
            cuj.slos.push(slo);
        }
    }

    pub fn finish(mut self, format: Format) -> Result<Imported, Vec<Problem>> {
        if !self.problems.is_empty() {
            self.problems.sort_by_key(|p| (p.line, p.column));
            return Err(self.problems);
        }
        self.notes.sort_by_key(|note| (note.line, note.column));
        Ok(Imported {
            format,
            cujs: self.cujs,
            notes: self.notes,
        })
    }
}

/// Small letters, digits and dashes; none where nothing is left.
pub(super) fn plain(said: &str) -> Option<String> {
    let name: String = said
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = name.trim_matches('-').to_owned();
    (!name.is_empty()).then_some(name)
}
