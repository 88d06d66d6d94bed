//! Collecting problems while reading a spec.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::shape::{Field, without_blanks};
use crate::words::Words;
use crate::{Part, Problem};

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
    pub fn add(&mut self, field: impl Into<String>, said: impl Into<Words>) {
        self.suggest(field, Part::Value, said, None);
    }

    pub fn suggest(
        &mut self,
        field: impl Into<String>,
        part: Part,
        said: impl Into<Words>,
        meant: Option<&str>,
    ) {
        self.problems.push(Problem {
            field: field.into(),
            part,
            said: said.into(),
            meant: meant.map(str::to_owned),
        });
    }

    /// The typed form of a mapping with the fields of `tables`; none when any of them is not as it must be.
    pub fn read<T: DeserializeOwned>(&mut self, at: &str, value: &Value, tables: &[&[Field]]) -> Option<T> {
        let before = self.problems.len();
        self.object(at, value, tables);
        if self.problems.len() > before {
            return None;
        }
        match serde_path_to_error::deserialize(&without_blanks(value, tables)) {
            Ok(read) => Some(read),
            // The tables let through what the type does not take; it is refused all the same.
            Err(error) => {
                self.misread(at, error);
                None
            }
        }
    }

    /// What is at `at` is not of its type.
    pub fn misread(&mut self, at: &str, error: serde_path_to_error::Error<impl Display>) {
        let path = error.path().to_string();
        let field = if path == "." {
            at.to_owned()
        } else {
            format!("{at}.{path}")
        };
        let words = error.into_inner().to_string();
        self.add(field, Words::new(format!("読めません: {words}"), words));
    }

    /// A value that has a problem of its own is one with this field.
    pub fn take<T>(&mut self, field: impl Into<String>, read: Result<T, Words>) -> Option<T> {
        read.map_err(|said| self.add(field, said)).ok()
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
