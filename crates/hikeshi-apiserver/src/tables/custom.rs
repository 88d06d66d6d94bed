//! Columns that a CustomResourceDefinition asks for (`additionalPrinterColumns`).

use serde_json::{Value, json};

use super::cell::Cell;
use super::{age_of, name};

/// A column of a custom kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CustomColumn {
    name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    kind: String,
    path: Vec<Step>,
    /// 0: always shown; greater: only by `-o wide`.
    priority: i64,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(usize),
    /// `[?(@.type=="Ready")]`: the first element whose field has this value.
    Where(String, String),
}

/// The columns of one version of a definition; those whose path is not understood show nothing.
pub(crate) fn read(version: &Value) -> Vec<CustomColumn> {
    let columns = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten();
    columns
        .filter_map(|column| {
            Some(CustomColumn {
                name: column["name"].as_str()?.to_owned(),
                kind: column["type"].as_str().unwrap_or("string").to_owned(),
                path: steps(column["jsonPath"].as_str()?).unwrap_or_default(),
                priority: column["priority"].as_i64().unwrap_or(0),
            })
        })
        .collect()
}

/// `.spec.a`, `.status.list[0]`, `.metadata.annotations.a\.b/c`, `.status.conditions[?(@.type=="Ready")].status`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut found = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[?(@.") {
            let (condition, after) = after.split_once(")]")?;
            let (field, value) = condition.split_once("==")?;
            let value = value.trim().trim_matches(['"', '\'']);
            found.push(Step::Where(field.trim().to_owned(), value.to_owned()));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']')?;
            let quoted = inside.trim_matches(['"', '\'']);
            found.push(match inside.parse() {
                Ok(index) => Step::Index(index),
                Err(_) if quoted.len() < inside.len() => Step::Field(quoted.to_owned()),
                Err(_) => return None,
            });
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let mut field = String::new();
            let mut chars = after.char_indices();
            let mut end = after.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => field.extend(chars.next().map(|(_, c)| c)),
                    '.' | '[' => {
                        end = at;
                        break;
                    }
                    c => field.push(c),
                }
            }
            found.push(Step::Field(field));
            rest = &after[end..];
        }
    }
    Some(found)
}

fn look<'a>(object: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| match step {
        Step::Field(field) => value.get(field),
        Step::Index(index) => value.get(index),
        Step::Where(field, wanted) => value.as_array()?.iter().find(|item| item[field] == **wanted),
    })
}

pub(super) fn columns(custom: &[CustomColumn]) -> Vec<Value> {
    let column = |name: &str, kind: &str, priority: i64| {
        json!({"name": name, "type": kind, "format": if name == "Name" { "name" } else { "" },
            "description": "", "priority": priority})
    };
    std::iter::once(column("Name", "string", 0))
        .chain(
            custom
                .iter()
                .map(|one| column(&one.name, &one.kind, one.priority)),
        )
        .collect()
}

pub(super) fn cells(custom: &[CustomColumn], object: &Value) -> Vec<Cell> {
    let cell = |column: &CustomColumn| {
        if column.path
            == [
                Step::Field("metadata".into()),
                Step::Field("creationTimestamp".into()),
            ]
        {
            return age_of(object);
        }
        match (look(object, &column.path), &*column.kind) {
            (None, _) | (Some(Value::Null), _) => Value::Null.into(),
            (Some(time), "date") => Cell::since(time),
            (Some(plain @ (Value::Number(_) | Value::Bool(_))), "integer" | "number" | "boolean") => {
                plain.clone().into()
            }
            (Some(Value::String(text)), _) => text.as_str().into(),
            (Some(other), _) => other.to_string().into(),
        }
    };
    std::iter::once(name(object))
        .chain(custom.iter().map(cell))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_fields_elements_and_conditions() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "Litres", "type": "integer", "jsonPath": ".spec.litres"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "First", "type": "string", "jsonPath": ".spec.hoses[0]"},
            {"name": "Note", "type": "string", "jsonPath": ".metadata.annotations.a\\.b/c", "priority": 1},
            {"name": "Odd", "type": "string", "jsonPath": "{.x"}]});
        let columns = read(&version);
        let object = json!({"metadata": {"name": "p", "annotations": {"a.b/c": "n"}}, "spec": {"litres": 40, "hoses": ["red"]},
            "status": {"conditions": [{"type": "Old", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        let row = cells(&columns, &object);
        assert_eq!(
            row[..5],
            ["p".into(), 40_i64.into(), "True".into(), "red".into(), "n".into()]
        );
        assert_eq!(super::columns(&columns)[4]["priority"], 1);
        let empty = json!({"metadata": {"name": "q"}});
        assert_eq!(cells(&columns, &empty)[1], Value::Null.into());
    }
}
