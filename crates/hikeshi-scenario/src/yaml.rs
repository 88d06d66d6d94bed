//! YAML into typed values, with every unknown key found and placed.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

use crate::problem::{Problem, nearest};

/// More than this many problems in one file are cut: the reader mends the first ones first.
const MOST: usize = 20;

/// Reads `text` as `T`. After an unknown key the rest is still read, with the key that was probably meant in its place (or
/// without the entry), so that several slips show at once.
///
/// # Errors
/// At least one problem, in the order of the file.
pub fn from_str<T: DeserializeOwned>(file_name: &str, text: &str) -> Result<T, Vec<Problem>> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut renamed: Vec<Renamed> = Vec::new();
    loop {
        let current = lines.join("\n");
        let error = match serde_saphyr::from_str::<T>(&current) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        let mut problem = describe(file_name, &error);
        let place = (problem.line, problem.column);
        // A later slip on a line where a key was renamed: back to the columns of the user's own file.
        for edit in renamed
            .iter()
            .rev()
            .filter(|e| e.line == place.0 && e.column < place.1)
        {
            problem.column = (problem.column + edit.was).saturating_sub(edit.is).max(1);
        }
        // Whatever is wrong with a key we put there is our doing, not the user's.
        let ours = renamed.iter().any(|e| (e.line, e.column) == place)
            || problems
                .iter()
                .any(|p| (p.line, p.column) == (problem.line, problem.column));
        let typed = match error.without_snippet() {
            Error::SerdeUnknownField { field, .. } => Some(field.clone()),
            _ => None,
        };
        let meant = problem.suggestion.clone();
        if !ours {
            problems.push(problem);
        }
        let mended = match (typed, meant) {
            (Some(_), _) if ours || problems.len() >= MOST => false,
            (Some(typed), Some(meant)) => {
                rename(&mut lines, place, &typed, &meant, &mut renamed) || blank_entry(&mut lines, place)
            }
            (Some(_), None) => blank_entry(&mut lines, place),
            (None, _) => false,
        };
        if !mended {
            problems.sort_by_key(|p| (p.line, p.column));
            return Err(problems);
        }
    }
}

/// A key replaced by the one that was meant; lengths in characters.
struct Renamed {
    line: u64,
    column: u64,
    was: u64,
    is: u64,
}

fn rename(
    lines: &mut [String],
    (line, column): (u64, u64),
    typed: &str,
    meant: &str,
    renamed: &mut Vec<Renamed>,
) -> bool {
    let place = usize::try_from(line).ok().zip(usize::try_from(column).ok());
    let Some((index, skip)) = place.and_then(|(l, c)| Some((l.checked_sub(1)?, c.checked_sub(1)?))) else {
        return false;
    };
    let Some(text) = lines.get_mut(index) else {
        return false;
    };
    let before: String = text.chars().take(skip).collect();
    let Some(after) = text.get(before.len()..).and_then(|t| t.strip_prefix(typed)) else {
        return false;
    };
    *text = format!("{before}{meant}{after}");
    renamed.push(Renamed {
        line,
        column,
        was: typed.chars().count() as u64,
        is: meant.chars().count() as u64,
    });
    true
}

/// Line and column (from 1) of the first `key:` in the text, (1, 1) when it is not found.
pub fn find_key(text: &str, key: &str) -> (u64, u64) {
    for (number, line) in (1u64..).zip(text.lines()) {
        for (at, _) in line.match_indices(key) {
            let before = line[..at].chars().next_back();
            let starts = before.is_none_or(|c| c.is_whitespace() || "{,-".contains(c));
            if starts && line[at + key.len()..].trim_start().starts_with(':') {
                return (number, line[..at].chars().count() as u64 + 1);
            }
        }
    }
    (1, 1)
}

fn describe(file_name: &str, error: &Error) -> Problem {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let (message, suggestion) = match error {
        Error::SerdeUnknownField { field, expected, .. } => (
            format!("unknown key `{field}`, expected one of {}", expected.join(", ")),
            nearest(field, expected.iter().copied()).map(str::to_owned),
        ),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => (
            format!(
                "unknown value `{variant}`, expected one of {}",
                expected.join(", ")
            ),
            nearest(variant, expected.iter().copied()).map(str::to_owned),
        ),
        Error::SerdeMissingField { field, .. } => (format!("key `{field}` is missing here"), None),
        other => (plain(&other.to_string()), None),
    };
    Problem {
        file: file_name.to_owned(),
        line,
        column,
        message,
        suggestion,
    }
}

/// The reader's own message repeats the place; ours has it in front.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let cut = first.find(" at line ").unwrap_or(first.len());
    first[..cut].trim_start_matches("error: ").to_owned()
}

/// Blanks a block mapping's entry, keeping line numbers. False where the entry cannot be cut out by lines alone.
fn blank_entry(lines: &mut [String], (line, column): (u64, u64)) -> bool {
    let (Ok(line), Ok(column)) = (usize::try_from(line), usize::try_from(column)) else {
        return false;
    };
    if line == 0 || column == 0 || line > lines.len() {
        return false;
    }
    let indent = column - 1;
    let before: String = lines[line - 1].chars().take(indent).collect();
    if !before.chars().all(char::is_whitespace) {
        return false;
    }
    lines[line - 1].clear();
    for next in lines.iter_mut().skip(line) {
        let deeper = next.trim().is_empty() || next.chars().take_while(|c| *c == ' ').count() > indent;
        if !deeper {
            break;
        }
        next.clear();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Top {
        title: String,
        #[serde(default)]
        items: Vec<Item>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Item {
        name: String,
        #[serde(default)]
        silence: u32,
    }

    fn problems(text: &str) -> Vec<String> {
        from_str::<Top>("f.yaml", text)
            .expect_err("wrong")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn several_slips_show_at_once_in_block_and_flow() {
        let found = problems(
            "titel: x\nitems:\n  - {nam: a, silnce: 3}\n  - name: b\n    silencee: 4\nzzz:\n  deep: 1\n",
        );
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(
            found[0].starts_with("f.yaml:1:1: unknown key `titel`")
                && found[0].ends_with("did you mean `title`?")
        );
        assert!(found[1].starts_with("f.yaml:3:6: unknown key `nam`"));
        assert!(
            found[2].starts_with("f.yaml:3:14: unknown key `silnce`"),
            "{}",
            found[2]
        );
        assert!(found[3].starts_with("f.yaml:5:5: unknown key `silencee`"));
        assert!(found[4].starts_with("f.yaml:6:1: unknown key `zzz`") && !found[4].contains("did you mean"));
    }

    #[test]
    fn other_mistakes_have_a_place_too() {
        assert_eq!(problems("items: []\n").len(), 1);
        let wrong_type = problems("title: x\nitems:\n  - {name: a, silence: soon}\n");
        assert!(wrong_type[0].starts_with("f.yaml:3:"), "{wrong_type:?}");
        let syntax = problems("title: [\n");
        assert!(syntax[0].starts_with("f.yaml:"), "{syntax:?}");
        let twice = problems("title: a\ntitle: b\n");
        assert_eq!(twice.len(), 1, "{twice:?}");
    }
}
