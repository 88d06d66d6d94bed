//! Label and field selectors of list, watch and delete requests, and of objects.

use serde_json::Value;

use crate::status::ApiError;

/// Both selectors of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selector {
    labels: Vec<LabelTerm>,
    /// dotted path, whether it must be equal, value
    fields: Vec<(String, bool, String)>,
}

/// One requirement of a label selector: the label and the values it may (not) have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LabelTerm {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    pub fn parse(labels: &str, fields: &str) -> Result<Selector, ApiError> {
        Ok(Selector {
            labels: parse_labels(labels)?,
            fields: parse_fields(fields)?,
        })
    }

    /// Adds `metadata.name=NAME`.
    pub fn with_name(mut self, name: &str) -> Selector {
        self.fields.push(("metadata.name".into(), true, name.into()));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        self.labels
            .iter()
            .all(|term| term.matches(&object["metadata"]["labels"]))
            && self
                .fields
                .iter()
                .all(|(path, equal, value)| (field(object, path) == *value) == *equal)
    }
}

impl LabelTerm {
    fn matches(&self, labels: &Value) -> bool {
        match self {
            LabelTerm::In(key, values) => labels[key.as_str()]
                .as_str()
                .is_some_and(|l| values.iter().any(|v| v == l)),
            LabelTerm::NotIn(key, values) => !labels[key.as_str()]
                .as_str()
                .is_some_and(|l| values.iter().any(|v| v == l)),
            LabelTerm::Exists(key) => labels.get(key).is_some(),
            LabelTerm::Absent(key) => labels.get(key).is_none(),
        }
    }
}

/// The text at a dotted path; empty when there is nothing.
fn field(object: &Value, path: &str) -> String {
    let at = path.split('.').fold(object, |v, key| &v[key]);
    match at {
        Value::String(s) => s.clone(),
        // Kubernetes prints the zero value of a field that is not set.
        Value::Null if path == "spec.unschedulable" => "false".into(),
        Value::Null if path == "reportingComponent" => {
            object["source"]["component"].as_str().unwrap_or_default().into()
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Whether a LabelSelector object (`matchLabels`, `matchExpressions`) selects these labels. An empty one selects all.
pub(crate) fn object_selector_matches(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(k, v)| labels.get(k) == Some(v));
    let strings = |v: &Value| -> Vec<String> {
        v.as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    equal
        && selector["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
            .all(|e| {
                let key = e["key"].as_str().unwrap_or_default().to_owned();
                match e["operator"].as_str() {
                    Some("In") => LabelTerm::In(key, strings(&e["values"])).matches(labels),
                    Some("NotIn") => LabelTerm::NotIn(key, strings(&e["values"])).matches(labels),
                    Some("Exists") => LabelTerm::Exists(key).matches(labels),
                    Some("DoesNotExist") => LabelTerm::Absent(key).matches(labels),
                    _ => false,
                }
            })
}

/// Splits at commas outside parentheses.
fn terms(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found
        .into_iter()
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .collect()
}

/// The requirements of a `labelSelector` parameter.
pub(crate) fn parse_labels(text: &str) -> Result<Vec<LabelTerm>, ApiError> {
    let bad = |term: &str| {
        ApiError::bad_request(format!(
            "unable to parse requirement: {term:?} is not a label selector"
        ))
    };
    let key = |text: &str| -> Result<String, ApiError> {
        let text = text.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if text.is_empty() || !text.chars().all(fits) {
            Err(bad(text))
        } else {
            Ok(text.to_owned())
        }
    };
    terms(text)
        .into_iter()
        .map(|term| {
            if let Some(list) = term.strip_suffix(')') {
                let (head, values) = list.split_once('(').ok_or_else(|| bad(term))?;
                let values = values.split(',').map(|v| v.trim().to_owned()).collect();
                let head = head.trim();
                return if let Some(k) = head.strip_suffix(" notin") {
                    Ok(LabelTerm::NotIn(key(k)?, values))
                } else if let Some(k) = head.strip_suffix(" in") {
                    Ok(LabelTerm::In(key(k)?, values))
                } else {
                    Err(bad(term))
                };
            }
            if let Some((k, v)) = term.split_once("!=") {
                Ok(LabelTerm::NotIn(key(k)?, vec![v.trim().into()]))
            } else if let Some((k, v)) = term.split_once("==").or_else(|| term.split_once('=')) {
                Ok(LabelTerm::In(key(k)?, vec![v.trim().into()]))
            } else if let Some(k) = term.strip_prefix('!') {
                Ok(LabelTerm::Absent(key(k)?))
            } else {
                Ok(LabelTerm::Exists(key(term)?))
            }
        })
        .collect()
}

fn parse_fields(text: &str) -> Result<Vec<(String, bool, String)>, ApiError> {
    text.split(',')
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(|term| {
            let (path, equal, value) = if let Some((k, v)) = term.split_once("!=") {
                (k, false, v)
            } else if let Some((k, v)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (k, true, v)
            } else {
                return Err(ApiError::bad_request(format!(
                    "invalid selector: {term:?}; can't understand it"
                )));
            };
            Ok((path.trim().to_owned(), equal, value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hits(labels: &str) -> bool {
        let object = json!({"metadata": {"labels": {"app": "redis", "shard": "2"}}});
        Selector::parse(labels, "").unwrap().matches(&object)
    }

    #[test]
    fn label_selectors() {
        for yes in [
            "app=redis",
            "app==redis,shard",
            "app in (web, redis)",
            "tier!=x",
            "!tier",
            "tier notin (a)",
            "",
        ] {
            assert!(hits(yes), "{yes}");
        }
        for no in [
            "app=web",
            "tier",
            "!app",
            "app notin (redis,x)",
            "app!=redis",
            "app in (web),shard",
        ] {
            assert!(!hits(no), "{no}");
        }
        assert!(Selector::parse("app in redis)", "").is_err());
        assert!(Selector::parse("a b", "").is_err());
    }

    #[test]
    fn field_selectors_follow_dotted_paths() {
        let pod =
            json!({"metadata": {"name": "x"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        let hits = |f| Selector::parse("", f).unwrap().matches(&pod);
        assert!(hits("spec.nodeName=n1,status.phase!=Failed"));
        assert!(hits("metadata.namespace="));
        assert!(hits("spec.unschedulable=false"));
        assert!(!hits("spec.nodeName=n2"));
        assert!(Selector::parse("", "nonsense").is_err());
    }

    #[test]
    fn object_selectors() {
        let labels = json!({"a": "1"});
        assert!(object_selector_matches(&json!({}), &labels));
        assert!(object_selector_matches(
            &json!({"matchLabels": {"a": "1"}}),
            &labels
        ));
        let e = json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]});
        assert!(!object_selector_matches(&e, &labels));
    }
}
