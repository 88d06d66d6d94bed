//! Who owns which field (`metadata.managedFields`): appliers by what they applied, others by what they changed.

mod fields;
mod shape;

use serde_json::{Value, json};

pub(crate) use fields::{Changes, Fields};
pub(crate) use shape::{List, Shape, elements};

/// Writers that do not apply, per object; the longest silent ones beyond it share one entry.
const MOST_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Fields of `metadata` that nobody owns.
const SERVER_OWNED: [&str; 8] = [
    "f:name",
    "f:namespace",
    "f:creationTimestamp",
    "f:selfLink",
    "f:uid",
    "f:generation",
    "f:managedFields",
    "f:resourceVersion",
];

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub manager: String,
    /// By server-side apply; else by any other write.
    pub applied: bool,
    pub api_version: String,
    /// RFC 3339, whole seconds.
    pub time: String,
    pub subresource: Option<String>,
    pub fields: Fields,
}

/// Who writes now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub manager: &'a str,
    pub api_version: &'a str,
    pub subresource: Option<&'a str>,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
}

impl Writer<'_> {
    /// An entry of this writer's that owns `fields` since now.
    pub fn entry(&self, applied: bool, fields: Fields) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            applied,
            api_version: self.api_version.to_owned(),
            time: self.now.to_owned(),
            subresource: self.subresource.map(str::to_owned),
            fields,
        }
    }
}

impl Entry {
    pub fn is_of(&self, writer: &Writer<'_>, applied: bool) -> bool {
        self.manager == writer.manager
            && self.applied == applied
            && self.subresource.as_deref() == writer.subresource
            && (applied || self.api_version == writer.api_version)
    }

    /// The manager as Kubernetes names it in a conflict.
    pub fn described(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if let Some(subresource) = &self.subresource {
            text = format!("{text} with subresource {subresource:?}");
        }
        if !self.applied {
            text = format!("{text} using {} at {}", self.api_version, self.time);
        }
        text
    }

    fn read(entry: &Value) -> Option<Entry> {
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        Some(Entry {
            manager: text("manager").unwrap_or_default(),
            applied: match entry["operation"].as_str()? {
                "Apply" => true,
                "Update" => false,
                _ => return None,
            },
            api_version: text("apiVersion")?,
            time: text("time").unwrap_or_default(),
            subresource: text("subresource").filter(|name| !name.is_empty()),
            fields: Fields::read(&entry["fieldsV1"])?,
        })
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": if self.applied { "Apply" } else { "Update" },
            "apiVersion": self.api_version, "time": self.time, "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.write(),
        });
        if let Some(subresource) = &self.subresource {
            entry["subresource"] = subresource.as_str().into();
        }
        entry
    }
}

/// The entries of an object; `None` when they are not well-formed.
pub(crate) fn entries(object: &Value) -> Option<Vec<Entry>> {
    match &object["metadata"]["managedFields"] {
        Value::Null => Some(Vec::new()),
        // An empty entry is how a client says: forget who owns what.
        Value::Array(list) => list
            .iter()
            .filter(|entry| entry.as_object().is_none_or(|e| !e.is_empty()))
            .map(Entry::read)
            .collect(),
        _ => None,
    }
}

/// Writes the entries into an object, in Kubernetes' order.
pub(crate) fn set_entries(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| (!a.applied, &a.time, &a.manager).cmp(&(!b.applied, &b.time, &b.manager)));
    let Some(metadata) = object["metadata"].as_object_mut() else {
        return;
    };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        let list = entries.iter().map(Entry::write).collect();
        metadata.insert("managedFields".into(), Value::Array(list));
    }
}

/// Takes out of a set what nobody owns: the object's type, name and what the server writes.
pub(crate) fn strip(fields: &mut Fields) {
    fields.own = false;
    for key in ["f:apiVersion", "f:kind"] {
        fields.inner.remove(key);
    }
    if let Some(metadata) = fields.inner.get_mut("f:metadata") {
        metadata.own = false;
        metadata
            .inner
            .retain(|key, _| !SERVER_OWNED.contains(&key.as_str()));
        if metadata.is_empty() {
            fields.inner.remove("f:metadata");
        }
    }
}

/// The changes of a whole object, without what nobody owns.
pub(crate) fn changes(old: &Value, new: &Value, shape: Shape<'_>) -> Changes {
    let mut changes = Changes::default();
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        return changes;
    };
    for (key, value) in after {
        let old = before.get(key).unwrap_or(&Value::Null);
        let inner = Changes::between(old, value, shape.root_child(key));
        changes.set.inner.insert(format!("f:{key}"), inner.set);
        changes.gone.inner.insert(format!("f:{key}"), inner.gone);
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        changes.gone.inner.insert(format!("f:{key}"), Fields::leaf());
    }
    for set in [&mut changes.set, &mut changes.gone] {
        set.inner.retain(|_, inner| !inner.is_empty());
        strip(set);
    }
    changes
}

/// The fields of a whole object, without what nobody owns.
pub(crate) fn all(object: &Value, shape: Shape<'_>) -> Fields {
    changes(&json!({}), object, shape).set
}

/// Records in `new` what a write other than apply changed: the writer owns it now, and nobody else.
pub(crate) fn record(old: Option<&Value>, new: &mut Value, shape: Shape<'_>, writer: &Writer<'_>) {
    let mut entries = match old {
        None => Vec::new(),
        Some(old) => entries(new).or_else(|| entries(old)).unwrap_or_default(),
    };
    let nothing = json!({});
    let changes = changes(old.unwrap_or(&nothing), new, shape);
    if !changes.is_empty() {
        for entry in entries.iter_mut() {
            entry.fields.remove(&changes.gone);
            if !entry.is_of(writer, false) {
                entry.fields.remove(&changes.set);
            }
        }
        match entries.iter_mut().find(|entry| entry.is_of(writer, false)) {
            Some(mine) => {
                let before = mine.fields.clone();
                mine.fields.add(&changes.set);
                if mine.fields != before || !changes.set.is_empty() {
                    mine.time = writer.now.to_owned();
                }
            }
            None => entries.push(writer.entry(false, changes.set)),
        }
        entries = capped(entries);
    }
    set_entries(new, entries);
}

/// Puts the oldest writers into one entry when there are too many.
fn capped(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.retain(|entry| !entry.fields.is_empty());
    let mut times: Vec<String> = entries
        .iter()
        .filter(|e| !e.applied)
        .map(|e| e.time.clone())
        .collect();
    if times.len() <= MOST_UPDATERS {
        return entries;
    }
    times.sort_unstable();
    // One more than the excess: what they become is an entry, too.
    let last = times[times.len() - MOST_UPDATERS].clone();
    let (old, mut kept): (Vec<Entry>, Vec<Entry>) = entries
        .into_iter()
        .partition(|entry| !entry.applied && entry.subresource.is_none() && entry.time <= last);
    for entry in old {
        let same = |e: &&mut Entry| e.manager == ANCIENT && !e.applied && e.api_version == entry.api_version;
        match kept.iter_mut().find(same) {
            Some(ancient) => {
                ancient.fields.add(&entry.fields);
                ancient.time = ancient.time.clone().max(entry.time);
            }
            None => kept.push(Entry {
                manager: ANCIENT.into(),
                ..entry
            }),
        }
    }
    kept
}

#[cfg(test)]
pub(crate) mod tests;
