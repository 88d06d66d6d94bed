//! Sets of an object's fields, as `fieldsV1` writes them: `f:` for a map's fields, `k:` and `v:` for a list's elements,
//! `.` for the node itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::shape::{List, Shape, elements};

/// A set of fields below some node. A member without inner fields stands for all that is below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// The node itself is a member.
    pub own: bool,
    pub inner: BTreeMap<String, Fields>,
}

impl Fields {
    pub fn leaf() -> Fields {
        Fields {
            own: true,
            inner: BTreeMap::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        !self.own && self.inner.is_empty()
    }

    /// One value: all below belongs to it.
    pub fn is_leaf(&self) -> bool {
        self.own && self.inner.is_empty()
    }

    /// Reads a `fieldsV1` object; `None` when it is none.
    pub fn read(fields: &Value) -> Option<Fields> {
        let mut set = Fields::default();
        for (key, inner) in fields.as_object()? {
            if key == "." {
                set.own = true;
                continue;
            }
            let mut inner = Fields::read(inner)?;
            inner.own |= inner.inner.is_empty();
            set.inner.insert(key.clone(), inner);
        }
        Some(set)
    }

    pub fn write(&self) -> Value {
        let mut out: Map<String, Value> = self
            .inner
            .iter()
            .map(|(key, inner)| (key.clone(), inner.write()))
            .collect();
        if self.own && !out.is_empty() {
            out.insert(".".into(), json!({}));
        }
        Value::Object(out)
    }

    /// The fields a value has.
    pub fn of(value: &Value, shape: Shape<'_>) -> Fields {
        let inner: BTreeMap<String, Fields> = match value {
            Value::Object(map) if shape.merges() => map
                .iter()
                .map(|(key, value)| (format!("f:{key}"), Fields::of(value, shape.child(key))))
                .collect(),
            Value::Array(items) => {
                let list = shape.list(&items.iter().collect::<Vec<_>>());
                let element = |(id, item): (String, &Value)| {
                    let mut fields = match list {
                        List::Keyed(_) => Fields::of(item, shape.item()),
                        _ => Fields::default(),
                    };
                    fields.own = true;
                    (id, fields)
                };
                // A list whose elements cannot be told apart is one value.
                let elements = elements(items, &list).unwrap_or_default();
                elements.into_iter().map(element).collect()
            }
            _ => BTreeMap::new(),
        };
        Fields {
            own: inner.is_empty(),
            inner,
        }
    }

    pub fn add(&mut self, more: &Fields) {
        self.own |= more.own;
        for (key, inner) in &more.inner {
            self.inner.entry(key.clone()).or_default().add(inner);
        }
    }

    /// Takes out what `less` has; a member of it without inner fields takes all below with it.
    pub fn remove(&mut self, less: &Fields) {
        if less.own {
            self.own = false;
            if less.inner.is_empty() {
                self.inner.clear();
            }
        }
        for (key, less) in &less.inner {
            if let Some(mine) = self.inner.get_mut(key) {
                mine.remove(less);
                if mine.is_empty() {
                    self.inner.remove(key);
                }
            }
        }
    }

    /// The members of this set that lie in `other`, too.
    pub fn common(&self, other: &Fields) -> Fields {
        let swallowed = other.is_leaf() && !self.inner.is_empty();
        let inner: BTreeMap<String, Fields> = self
            .inner
            .iter()
            .filter_map(|(key, mine)| {
                let both = mine.common(other.inner.get(key)?);
                (!both.is_empty()).then(|| (key.clone(), both))
            })
            .collect();
        Fields {
            own: other.own && (self.own || swallowed),
            inner,
        }
    }

    /// Every member, as a path for people: `.spec.template.spec.containers[name="web"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, at: &str, paths: &mut Vec<String>) {
        if self.own {
            paths.push(at.to_owned());
        }
        for (key, inner) in &self.inner {
            inner.collect(&format!("{at}{}", step(key)), paths);
        }
    }
}

/// One step of a path for people.
pub(super) fn step(key: &str) -> String {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    if let Some(field) = key.strip_prefix("f:") {
        format!(".{field}")
    } else if let Some(id) = key.strip_prefix("k:") {
        let id = read(id);
        let pairs = id.as_object().into_iter().flatten();
        let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
        format!("[{}]", pairs.join(","))
    } else {
        format!("[={}]", key.strip_prefix("v:").unwrap_or(key))
    }
}

/// What became of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Fields that are new or have another value.
    pub set: Fields,
    /// Fields that are no more.
    pub gone: Fields,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.gone.is_empty()
    }

    pub fn between(old: &Value, new: &Value, shape: Shape<'_>) -> Changes {
        let mut changes = Changes::default();
        if old == new {
            return changes;
        }
        match (old, new) {
            (Value::Object(before), Value::Object(after))
                if shape.merges() && !before.is_empty() && !after.is_empty() =>
            {
                let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                for key in keys {
                    let pair = (before.get(key), after.get(key));
                    changes.note(format!("f:{key}"), pair, shape.child(key));
                }
            }
            (Value::Array(before), Value::Array(after)) => {
                let list = shape.list(&before.iter().chain(after).collect::<Vec<_>>());
                let both = elements(before, &list).ok().zip(elements(after, &list).ok());
                let told_apart = both.filter(|(b, a)| !b.is_empty() && !a.is_empty());
                let Some((before, after)) = told_apart else {
                    changes.set = Fields::of(new, shape);
                    return changes;
                };
                let find = |list: &[(String, &Value)], id: &str| list.iter().position(|(i, _)| i == id);
                for (id, item) in &before {
                    let now = find(&after, id).map(|at| after[at].1);
                    changes.note(id.clone(), (Some(item), now), shape.item());
                }
                for (id, item) in after.iter().filter(|(id, _)| find(&before, id).is_none()) {
                    changes.note(id.clone(), (None, Some(item)), shape.item());
                }
            }
            _ => changes.set = Fields::of(new, shape),
        }
        changes
    }

    fn note(&mut self, key: String, pair: (Option<&Value>, Option<&Value>), shape: Shape<'_>) {
        let is_element = !key.starts_with("f:");
        match pair {
            (Some(old), Some(new)) => {
                let inner = Changes::between(old, new, shape);
                if !inner.set.is_empty() {
                    self.set.inner.insert(key.clone(), inner.set);
                }
                if !inner.gone.is_empty() {
                    self.gone.inner.insert(key, inner.gone);
                }
            }
            (None, Some(new)) => {
                let mut fields = Fields::of(new, shape);
                fields.own |= is_element;
                self.set.inner.insert(key, fields);
            }
            (Some(_), None) => drop(self.gone.inner.insert(key, Fields::leaf())),
            (None, None) => {}
        }
    }
}
