//! Collecting problems while reading a spec.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Problem, quantity};

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Check {
    pub problems: Vec<Problem>,
}

/// Null and an empty string are Go's zero values: a field that was not given.
pub(crate) fn given(value: &Value) -> bool {
    !value.is_null() && *value != ""
}

impl Check {
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem {
            field: field.into(),
            message: message.into(),
        });
    }

    /// Refuses what is given and not `known`, suggesting the nearest known name.
    pub fn fields(&mut self, at: &str, value: &Value, known: &[&str]) {
        let fields = value.as_object().into_iter().flat_map(Map::iter);
        for (name, _) in fields.filter(|(name, value)| given(value) && !known.contains(&name.as_str())) {
            let message = match nearest(name, known) {
                Some(near) => format!("is not supported (did you mean {near}?)"),
                None => "is not supported".to_owned(),
            };
            self.add(format!("{at}.{name}"), message);
        }
    }

    /// Refuses a field that Chaos Mesh has and nobody here can honour, with the reason.
    pub fn refuse(&mut self, at: &str, value: &Value, name: &str, why: &str) {
        let said = match &value[name] {
            Value::Array(list) => !list.is_empty(),
            value => given(value),
        };
        if said {
            self.add(format!("{at}.{name}"), format!("cannot be honoured: {why}"));
        }
    }

    /// The typed form; a field of the wrong type is a problem with its path.
    pub fn read<T: DeserializeOwned>(&mut self, at: &str, value: &Value) -> Option<T> {
        match serde_path_to_error::deserialize(value) {
            Ok(read) => Some(read),
            Err(error) => {
                let path = error.path().to_string();
                let field = if path == "." {
                    at.to_owned()
                } else {
                    format!("{at}.{path}")
                };
                self.add(field, error.into_inner().to_string());
                None
            }
        }
    }

    /// A value that has a problem of its own is one with this field.
    pub fn take<T>(&mut self, field: impl Into<String>, read: Result<T, String>) -> Option<T> {
        read.map_err(|message| self.add(field, message)).ok()
    }

    /// A Go duration, if one is given.
    pub fn duration(&mut self, field: impl Into<String>, text: Option<&str>) -> Option<Duration> {
        let text = text.filter(|text| !text.is_empty())?;
        self.take(field, quantity::duration(text))
    }
}

/// The known name that a misspelt one most resembles.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|known| {
        let score = strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
        (score, *known)
    });
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 > 0.85).then_some(best.1)
}
