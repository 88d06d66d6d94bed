//! Server-side apply: what a manager applies becomes its own, what it applied before and leaves out now goes unless
//! somebody else owns it, and what others own is changed only by force.

use serde_json::{Map, Value, json};

use crate::managed::{self, Entry, Fields, List, Shape, Writer, elements};
use crate::registry::Status;
use crate::status::{ApiError, ApiResult};

/// The part of an object that a write reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// Through the object's own path: all but the status.
    Main,
    /// Through `/status`: nothing else.
    Status,
}

impl Part {
    pub fn of(kind: Status, through_status: bool) -> Part {
        match (kind, through_status) {
            (_, true) => Part::Status,
            (Status::Split, false) => Part::Main,
            _ => Part::All,
        }
    }

    fn reaches(self, field: &str) -> bool {
        match self {
            Part::All => true,
            Part::Main => field != "status",
            Part::Status => matches!(field, "status" | "apiVersion" | "kind"),
        }
    }
}

/// The object after `writer` applied `applied` to `live` (null when it does not exist yet), with its `managedFields`.
/// Refused with 409 when it changes what others own, unless by `force`.
pub(crate) fn apply(
    live: &Value,
    applied: &Value,
    shape: Shape<'_>,
    part: Part,
    writer: &Writer<'_>,
    force: bool,
) -> ApiResult<Value> {
    let mut applied = without_nulls(applied);
    if let Some(map) = applied.as_object_mut() {
        map.retain(|field, _| field == "metadata" && part == Part::Status || part.reaches(field));
        if let (Part::Status, Some(metadata)) = (part, map.get_mut("metadata").and_then(Value::as_object_mut))
        {
            metadata
                .retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "resourceVersion" | "uid"));
        }
    }
    // Asked for by `get_mut`: indexing would put a null there, which would stand for "no metadata".
    if let Some(metadata) = applied.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    tell_apart(&applied, shape)?;
    let fields = managed::all(&applied, shape);

    let (mine, mut others): (Vec<Entry>, Vec<Entry>) = managed::entries(live)
        .unwrap_or_default()
        .into_iter()
        .partition(|entry| entry.is_of(writer, true));
    let mut out = merge_root(live, &applied, shape);
    let changed = managed::changes(live, &out, shape).set;
    let conflicts: Vec<(&Entry, Fields)> = others
        .iter()
        .map(|entry| (entry, entry.fields.common(&changed)))
        .filter(|(_, both)| !both.is_empty())
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts));
    }
    for entry in &mut others {
        entry.fields.remove(&changed);
    }
    let held: Vec<&Fields> = others
        .iter()
        .map(|entry| &entry.fields)
        .chain([&fields])
        .collect();
    for entry in &mine {
        prune_root(&mut out, &entry.fields, &held);
    }
    let mut entry = writer.entry(true, fields);
    // An apply that changes nothing must not look like a change: the time stays.
    if let Some(before) = mine
        .iter()
        .find(|before| before.fields == entry.fields && before.api_version == entry.api_version)
        && changed.is_empty()
    {
        entry.time.clone_from(&before.time);
    }
    others.push(entry);
    managed::set_entries(&mut out, others);
    Ok(out)
}

/// The refusal in Kubernetes' words.
fn conflict(conflicts: &[(&Entry, Fields)]) -> ApiError {
    let each: Vec<(String, Vec<String>)> = conflicts
        .iter()
        .map(|(entry, both)| (entry.described(), both.paths()))
        .collect();
    let number: usize = each.iter().map(|(_, paths)| paths.len()).sum();
    let text = match each.as_slice() {
        [(who, paths)] if number == 1 => format!("1 conflict: conflict with {who}: {}", paths.concat()),
        _ => {
            let lines = |(who, paths): &(String, Vec<String>)| {
                let paths: String = paths.iter().map(|path| format!("\n- {path}")).collect();
                format!("conflicts with {who}:{paths}")
            };
            let lines: Vec<String> = each.iter().map(lines).collect();
            format!("{number} conflicts: {}", lines.join("\n"))
        }
    };
    let cause = |who: &str, path: &str| json!({"reason": "FieldManagerConflict", "message": format!("conflict with {who}"), "field": path});
    let causes: Vec<Value> = each
        .iter()
        .flat_map(|(who, paths)| paths.iter().map(move |path| cause(who, path)))
        .collect();
    let mut error = ApiError::new(409, "Conflict", format!("Apply failed with {text}"));
    error.details = json!({"causes": causes});
    error
}

/// A field that is null is a field left out.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        plain => plain.clone(),
    }
}

/// Refuses lists whose elements have no name, or one that another has, too.
fn tell_apart(applied: &Value, shape: Shape<'_>) -> ApiResult<()> {
    for (key, value) in applied.as_object().into_iter().flatten() {
        told_apart(&format!(".{key}"), value, shape.root_child(key)).map_err(|problem| {
            ApiError::bad_request(format!("failed to create typed patch object: {problem}"))
        })?;
    }
    Ok(())
}

fn told_apart(at: &str, value: &Value, shape: Shape<'_>) -> Result<(), String> {
    match value {
        Value::Object(map) if shape.merges() => map
            .iter()
            .try_for_each(|(key, value)| told_apart(&format!("{at}.{key}"), value, shape.child(key))),
        Value::Array(items) => {
            let list = shape.list(&items.iter().collect::<Vec<_>>());
            let elements = elements(items, &list).map_err(|problem| format!("{at}: {problem}"))?;
            let mut keyed = elements.iter().filter(|_| matches!(list, List::Keyed(_)));
            keyed.try_for_each(|(id, item)| told_apart(&format!("{at}[{id}]"), item, shape.item()))
        }
        _ => Ok(()),
    }
}

fn merge_root(live: &Value, applied: &Value, shape: Shape<'_>) -> Value {
    let mut out = live.as_object().cloned().unwrap_or_default();
    for (key, value) in applied.as_object().into_iter().flatten() {
        let merged = merge(out.get(key).unwrap_or(&Value::Null), value, shape.root_child(key));
        out.insert(key.clone(), merged);
    }
    Value::Object(out)
}

fn merge(live: &Value, applied: &Value, shape: Shape<'_>) -> Value {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if shape.merges() => {
            let mut out: Map<String, Value> = live.clone();
            for (key, value) in applied {
                let merged = merge(live.get(key).unwrap_or(&Value::Null), value, shape.child(key));
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(live), Value::Array(applied)) => {
            let list = shape.list(&live.iter().chain(applied).collect::<Vec<_>>());
            let both = elements(live, &list).ok().zip(elements(applied, &list).ok());
            match (both, list) {
                (None, _) | (_, List::Atomic) => Value::Array(applied.clone()),
                (Some((live, applied)), _) => merge_lists(&live, &applied, shape),
            }
        }
        (_, applied) => applied.clone(),
    }
}

/// The applied order holds; elements only the live list has stay behind those they were behind.
fn merge_lists(live: &[(String, &Value)], applied: &[(String, &Value)], shape: Shape<'_>) -> Value {
    let mut out = Vec::new();
    let mut left = applied.iter().peekable();
    let find = |list: &[(String, &Value)], id: &str| list.iter().position(|(known, _)| known == id);
    let merged = |(id, item): &(String, &Value)| match find(live, id) {
        Some(at) => merge(live[at].1, item, shape.item()),
        None => (*item).clone(),
    };
    for (id, item) in live {
        match find(applied, id) {
            None => out.push((*item).clone()),
            Some(_) => {
                // Up to this element, if it has not come yet: new ones and those that moved before it.
                let behind = left.clone().any(|(next, _)| next == id);
                while behind && let Some(next) = left.next() {
                    out.push(merged(next));
                    if next.0 == *id {
                        break;
                    }
                }
            }
        }
    }
    out.extend(left.map(merged));
    Value::Array(out)
}

fn prune_root(value: &mut Value, before: &Fields, held: &[&Fields]) {
    for (key, inner) in &before.inner {
        let held: Vec<&Fields> = held.iter().filter_map(|h| h.inner.get(key)).collect();
        match key.strip_prefix("f:") {
            // Every object has metadata, owned or not.
            Some("metadata") => prune(&mut value["metadata"], inner, &held),
            Some(field) => prune_field(value, field, inner, &held),
            None => {}
        }
    }
}

/// Removes from `value` what `before` has and no one in `held` does.
fn prune(value: &mut Value, before: &Fields, held: &[&Fields]) {
    for (key, inner) in &before.inner {
        let held: Vec<&Fields> = held.iter().filter_map(|h| h.inner.get(key)).collect();
        if let Some(field) = key.strip_prefix("f:") {
            prune_field(value, field, inner, &held);
        } else if let Some(id) = key.strip_prefix("k:").or_else(|| key.strip_prefix("v:")) {
            let (Some(items), Ok(id)) = (value.as_array_mut(), serde_json::from_str::<Value>(id)) else {
                continue;
            };
            let is_it = |item: &Value| match &id {
                // A key that the element leaves out has its default.
                Value::Object(id) if item.is_object() => id
                    .iter()
                    .all(|(key, value)| item.get(key).is_none_or(|v| v == value)),
                plain => item == plain,
            };
            if held.is_empty() {
                items.retain(|item| !is_it(item));
            } else if let Some(item) = items.iter_mut().find(|item| is_it(item)) {
                prune(item, inner, &held);
            }
        }
    }
}

fn prune_field(value: &mut Value, field: &str, before: &Fields, held: &[&Fields]) {
    let Some(map) = value.as_object_mut() else { return };
    if held.is_empty() {
        map.remove(field);
    } else if !held.iter().any(|held| held.is_leaf())
        && let Some(child) = map.get_mut(field)
    {
        prune(child, before, held);
    }
}

#[cfg(test)]
mod tests;
