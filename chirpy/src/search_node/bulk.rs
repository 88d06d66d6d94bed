//! `_bulk`: lines of JSON, an action each, some followed by a document.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Indices;
use super::error::Refused;

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
        match act(indices, index, name, &id, &document) {
            Ok((status, result)) => {
                item["status"] = json!(status.as_u16());
                item["result"] = json!(result);
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

fn act(
    indices: &Indices,
    index: &str,
    action: &str,
    id: &str,
    document: &Value,
) -> Result<(StatusCode, &'static str), Refused> {
    // Unlike Elasticsearch's default: an index made by guessing would have the wrong analyzer.
    let index = indices.get(index)?;
    match (action, document) {
        ("index", Value::Object(source)) => Ok(if index.put(id, source)? {
            (StatusCode::CREATED, "created")
        } else {
            (StatusCode::OK, "updated")
        }),
        ("delete", _) => Ok(if index.delete(id) {
            (StatusCode::OK, "deleted")
        } else {
            (StatusCode::NOT_FOUND, "not_found")
        }),
        ("index", _) => Err(Refused::argument("a document is an object")),
        (other, _) => Err(Refused::argument(format!(
            "this node has the actions index and delete, not [{other}]"
        ))),
    }
}
