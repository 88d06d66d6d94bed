//! Which parts of an object merge and which are one value: what ownership of fields needs to know of a kind.

use serde_json::{Map, Value, json};

use crate::patch::strategic;
use crate::registry::Resource;

/// How the node at some place of an object behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape<'a> {
    /// Of a kind that is Kubernetes' own: its name and its parent's tell.
    Named { parent: &'a str, name: &'a str },
    /// Of a custom kind: the definition's schema of this node tells.
    Schema(&'a Value),
    /// What nothing describes: maps merge, lists are one value.
    Plain,
    /// One value, whatever it holds.
    Atomic,
}

/// How a list behaves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum List<'a> {
    Atomic,
    Set,
    /// Elements are told apart by these fields; a field may have a default.
    Keyed(Vec<(&'a str, Option<Value>)>),
}

impl<'a> Shape<'a> {
    /// The shape of a whole object.
    pub fn of(resource: &'a Resource) -> Shape<'a> {
        match &resource.schema {
            _ if resource.built_in => Shape::Named { parent: "", name: "" },
            Some(schema) => Shape::Schema(schema),
            None => Shape::Plain,
        }
    }

    /// The shape of a field of the object's root.
    pub fn root_child(self, key: &'a str) -> Shape<'a> {
        if key == "metadata" {
            return Shape::Named {
                parent: "",
                name: key,
            };
        }
        self.child(key)
    }

    pub fn child(self, key: &'a str) -> Shape<'a> {
        match self {
            Shape::Named { name, .. } => Shape::Named {
                parent: name,
                name: key,
            },
            Shape::Schema(schema) => match schema["properties"].get(key) {
                Some(child) => Shape::Schema(child),
                None if schema["additionalProperties"].is_object() => {
                    Shape::Schema(&schema["additionalProperties"])
                }
                None => Shape::Plain,
            },
            other => other,
        }
    }

    /// The shape of a list's elements.
    pub fn item(self) -> Shape<'a> {
        match self {
            Shape::Named {
                name: "ownerReferences",
                ..
            } => Shape::Atomic,
            Shape::Schema(schema) => Shape::Schema(&schema["items"]),
            other => other,
        }
    }

    /// Whether a map's fields are owned one by one.
    pub fn merges(self) -> bool {
        match self {
            Shape::Named { parent, name } => !atomic_map(parent, name),
            Shape::Schema(schema) => schema["x-kubernetes-map-type"] != "atomic",
            Shape::Plain => true,
            Shape::Atomic => false,
        }
    }

    /// `samples`: elements that are there, since two lists of one name may differ.
    pub fn list(self, samples: &[&Value]) -> List<'a> {
        match self {
            Shape::Named { parent, name } => named_list(parent, name, samples),
            Shape::Schema(schema) => match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => List::Set,
                Some("map") => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array();
                    let default = |key: &str| {
                        let of = &schema["items"]["properties"][key]["default"];
                        (!of.is_null()).then(|| of.clone())
                    };
                    let keys = keys.into_iter().flatten().filter_map(Value::as_str);
                    List::Keyed(keys.map(|key| (key, default(key))).collect())
                }
                _ => List::Atomic,
            },
            Shape::Plain | Shape::Atomic => List::Atomic,
        }
    }
}

/// Kubernetes' maps that change as a whole (`x-kubernetes-map-type: atomic`).
fn atomic_map(parent: &str, name: &str) -> bool {
    match name {
        "selector" => parent == "spec" || parent == "volumeClaimTemplate",
        "nodeSelector" | "labelSelector" | "namespaceSelector" | "podSelector" | "fieldRef"
        | "resourceFieldRef" | "secretKeyRef" | "configMapKeyRef" | "scaleTargetRef" | "roleRef"
        | "targetRef" | "claimRef" | "dataSource" | "involvedObject" | "regarding" => true,
        "requiredDuringSchedulingIgnoredDuringExecution" => parent == "nodeAffinity",
        _ => false,
    }
}

/// Kubernetes' lists whose elements are owned one by one; all others change as a whole.
fn named_list<'a>(parent: &str, name: &str, samples: &[&Value]) -> List<'a> {
    let keyed = |keys: &[&'static str]| List::Keyed(keys.iter().map(|key| (*key, None)).collect());
    match name {
        _ if strategic::is_set(name) => List::Set,
        // Where owning is finer, or coarser, than merging.
        "addresses" => List::Atomic,
        "topologySpreadConstraints" => keyed(&["topologyKey", "whenUnsatisfiable"]),
        _ => match strategic::merge_key(parent, name, samples) {
            Some(port) if name == "ports" => {
                List::Keyed(vec![(port, None), ("protocol", Some(json!("TCP")))])
            }
            Some(key) => keyed(&[key]),
            None => List::Atomic,
        },
    }
}

/// The elements of a list by their names in a `fieldsV1` (`k:{"name":"web"}`, `v:"x"`); `Err` says which element cannot
/// be told apart from others. A list that is one value has none.
pub(crate) fn elements<'v>(items: &'v [Value], list: &List<'_>) -> Result<Vec<(String, &'v Value)>, String> {
    let mut found: Vec<(String, &Value)> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let id = match list {
            List::Atomic => return Ok(Vec::new()),
            List::Set => format!("v:{item}"),
            List::Keyed(keys) => format!("k:{}", Value::Object(id_of(at, item, keys)?)),
        };
        if found.iter().any(|(known, _)| *known == id) {
            return Err(format!("duplicate entries for key {}", super::fields::step(&id)));
        }
        found.push((id, item));
    }
    Ok(found)
}

fn id_of(at: usize, item: &Value, keys: &[(&str, Option<Value>)]) -> Result<Map<String, Value>, String> {
    let mut id = Map::new();
    for (key, default) in keys {
        let value = item
            .get(*key)
            .filter(|value| !value.is_null())
            .or(default.as_ref());
        let Some(value) = value else {
            return Err(format!(
                "element {at}: associative list with keys has an element that omits key field {key:?}"
            ));
        };
        id.insert((*key).to_owned(), value.clone());
    }
    Ok(id)
}
