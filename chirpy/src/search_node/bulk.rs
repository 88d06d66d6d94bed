//! `_bulk`: lines of JSON, an action each, some followed by a document.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Indices;
use super::error::Refused;
use super::index::Version;

/// Does the actions in order; each has its own outcome in the answer.
///
/// # Errors
/// 400 when the lines cannot be told apart; nothing is done after that.
pub fn run(indices: &Indices, own: Option<&str>, body: &str) -> Result<Value, Refused> {
    let mut lines = body
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let (mut items, mut errors) = (vec![], false);
    while let Some((number, line)) = lines.next() {
        let malformed = |reason: String| {
            Refused::argument(format!(
                "malformed action/metadata line [{}]: {reason}",
                number + 1
            ))
        };
        let action: Value = serde_json::from_str(line).map_err(|error| malformed(error.to_string()))?;
        let Some((name, about)) = action.as_object().and_then(|action| action.iter().next()) else {
            return Err(malformed("an object with one action is expected".into()));
        };
        let document = if name == "delete" {
            Value::Null
        } else {
            let (number, line) = lines
                .next()
                .ok_or_else(|| malformed("its document is missing".into()))?;
            serde_json::from_str(line)
                .map_err(|error| Refused::argument(format!("line [{}]: {error}", number + 1)))?
        };
        let index = about["_index"].as_str().or(own).unwrap_or_default();
        let id = match about["_id"].as_str() {
            Some(id) => id.to_owned(),
            None => uuid::Uuid::new_v4().simple().to_string(),
        };
        let mut item = json!({ "_index": index, "_id": id });
        let done = version(about).and_then(|version| act(indices, index, name, (&id, version), &document));
        match done {
            Ok((status, result, version)) => {
                item["status"] = json!(status.as_u16());
                item["result"] = json!(result);
                item["_version"] = json!(version);
            }
            Err(refused) => {
                errors = true;
                item["status"] = json!(refused.status.as_u16());
                item["error"] = refused.cause();
            }
        }
        items.push(json!({ (name): item }));
    }
    Ok(json!({ "took": 0, "errors": errors, "items": items }))
}

/// What an action says of its document's version.
fn version(about: &Value) -> Result<Version, Refused> {
    match (&about["version"], about["version_type"].as_str()) {
        (Value::Null, None | Some("internal")) => Ok(Version::Internal),
        (version, Some("external")) => match version.as_u64() {
            Some(version) => Ok(Version::External(version)),
            None => Err(Refused::argument(format!(
                "version [{version}] of version_type [external] is no whole number"
            ))),
        },
        (_, kind) => Err(Refused::argument(format!(
            "this node has versions of version_type [external], not [{}]",
            kind.unwrap_or("internal")
        ))),
    }
}

fn act(
    indices: &Indices,
    index: &str,
    action: &str,
    (id, version): (&str, Version),
    document: &Value,
) -> Result<(StatusCode, &'static str, u64), Refused> {
    // Unlike Elasticsearch's default: an index made by guessing would have the wrong analyzer.
    let index = indices.get(index)?;
    match (action, document) {
        ("index", Value::Object(source)) => Ok(match index.put(id, source, version)? {
            (true, version) => (StatusCode::CREATED, "created", version),
            (false, version) => (StatusCode::OK, "updated", version),
        }),
        ("delete", _) => Ok(match index.delete(id, version)? {
            (true, version) => (StatusCode::OK, "deleted", version),
            (false, version) => (StatusCode::NOT_FOUND, "not_found", version),
        }),
        ("index", _) => Err(Refused::argument("a document is an object")),
        (other, _) => Err(Refused::argument(format!(
            "this node has the actions index and delete, not [{other}]"
        ))),
    }
}
