//! What `kubectl get` prints: columns and cells of each kind.

mod cell;
mod core;
pub(crate) mod custom;
mod kept;
mod other;
mod workloads;

use std::sync::Arc;

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use self::cell::{At, Cell};
use self::kept::Kept;
pub(crate) use self::kept::Rows;
use crate::registry::Resource;

/// A column: its name, and whether only `-o wide` shows it.
type Column = (&'static str, Width);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Narrow,
    Wide,
}
use Width::{Narrow, Wide};

/// The columns of a kind and the function that fills them.
struct Printer {
    columns: &'static [Column],
    cells: fn(&Value) -> Vec<Cell>,
}

const PLAIN: Printer = Printer {
    columns: &[("Name", Narrow), ("Age", Narrow)],
    cells: |object| vec![name(object), age_of(object)],
};

fn printer(resource: &Resource) -> &'static Printer {
    static PLAIN_PRINTER: Printer = PLAIN;
    core::printer(resource)
        .or_else(|| workloads::printer(resource))
        .or_else(|| other::printer(resource))
        .unwrap_or(&PLAIN_PRINTER)
}

/// What each row carries besides its cells (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Metadata,
    Object,
    Nothing,
}

impl Include {
    pub fn parse(text: &str) -> Include {
        match text {
            "Object" => Include::Object,
            "None" => Include::Nothing,
            _ => Include::Metadata,
        }
    }
}

/// A `meta.k8s.io/v1` Table, written without copying the objects it shows.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Table<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Value,
    column_definitions: Vec<Value>,
    rows: Vec<Row<'a>>,
}

#[derive(Debug)]
struct Row<'a> {
    cells: Cells,
    /// The moment at which ages are told.
    now: Timestamp,
    object: Option<Shown<'a>>,
}

#[derive(Debug)]
enum Cells {
    Own(Vec<Cell>),
    Kept(Arc<Kept>),
}

#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Whole(&'a Value),
    Metadata(Partial<'a>),
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut row = to.serialize_map(None)?;
        let cells = match &self.cells {
            Cells::Own(cells) => cells,
            Cells::Kept(kept) => &kept.cells,
        };
        row.serialize_entry("cells", &At(cells, self.now))?;
        match (&self.object, &self.cells) {
            (Some(Shown::Metadata(_)), Cells::Kept(kept)) => row.serialize_entry("object", &kept.metadata)?,
            (Some(object), _) => row.serialize_entry("object", object)?,
            (None, _) => {}
        }
        row.end()
    }
}

impl<'a> Table<'a> {
    /// `metadata`: the list's own. `head`: with column definitions (a watch sends them once).
    pub fn of(
        resource: &Resource,
        objects: impl Iterator<Item = &'a Value>,
        metadata: Value,
        include: Include,
        head: bool,
    ) -> Table<'a> {
        let printer = printer(resource);
        let cells = |object: &Value| match &*resource.columns {
            [] => (printer.cells)(object),
            own => custom::cells(own, object),
        };
        let rows = objects.map(|object| (object, Cells::Own(cells(object))));
        Table::with(resource, rows, metadata, include, head)
    }

    /// A list's table, in which rows of objects that were listed before are not made again.
    pub fn of_list(
        resource: &Resource,
        objects: &'a [Arc<Value>],
        metadata: Value,
        include: Include,
        known: &Rows,
    ) -> Table<'a> {
        // A definition's columns may change without its objects.
        let own = !resource.columns.is_empty();
        let kept = if own { None } else { known.of(resource, objects) };
        let Some(kept) = kept else {
            return Table::of(
                resource,
                objects.iter().map(|object| &**object),
                metadata,
                include,
                true,
            );
        };
        let rows = objects
            .iter()
            .map(|object| &**object)
            .zip(kept.into_iter().map(Cells::Kept));
        Table::with(resource, rows, metadata, include, true)
    }

    fn with(
        resource: &Resource,
        rows: impl Iterator<Item = (&'a Value, Cells)>,
        metadata: Value,
        include: Include,
        head: bool,
    ) -> Table<'a> {
        let now = Timestamp::now();
        let row = |(object, cells): (&'a Value, Cells)| Row {
            cells,
            now,
            object: match include {
                Include::Object => Some(Shown::Whole(object)),
                Include::Metadata => Some(Shown::Metadata(Partial(object))),
                Include::Nothing => None,
            },
        };
        Table {
            kind: "Table",
            api_version: "meta.k8s.io/v1",
            metadata,
            column_definitions: match (head, &*resource.columns) {
                (false, _) => Vec::new(),
                (true, []) => printer(resource).columns.iter().map(column).collect(),
                (true, own) => custom::columns(own),
            },
            rows: rows.map(row).collect(),
        }
    }
}

/// An object's metadata as a `PartialObjectMetadata`. Who owns which field is left out: it is most of the metadata, and
/// nobody who asks for metadata only has a use for it.
#[derive(Debug)]
pub(crate) struct Partial<'a>(pub &'a Value);

impl Serialize for Partial<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        struct Metadata<'a>(&'a Value);
        impl Serialize for Metadata<'_> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let fields = self.0.as_object().into_iter().flatten();
                to.collect_map(fields.filter(|(name, _)| *name != "managedFields"))
            }
        }
        let mut map = to.serialize_map(Some(3))?;
        map.serialize_entry("kind", "PartialObjectMetadata")?;
        map.serialize_entry("apiVersion", "meta.k8s.io/v1")?;
        map.serialize_entry("metadata", &Metadata(&self.0["metadata"]))?;
        map.end()
    }
}

fn column((name, width): &Column) -> Value {
    const INTEGERS: [&str; 9] = [
        "Desired",
        "Current",
        "Ready",
        "Up-to-date",
        "Available",
        "Data",
        "Secrets",
        "Replicas",
        "MaxPods",
    ];
    // Kubernetes calls these integers; a Deployment's and a Pod's Ready is text such as 1/2, which kubectl prints alike.
    let kind = if INTEGERS.contains(name) {
        "integer"
    } else {
        "string"
    };
    json!({"name": name, "type": kind, "format": if *name == "Name" { "name" } else { "" },
        "description": "", "priority": i32::from(*width == Wide)})
}

fn name(object: &Value) -> Cell {
    object["metadata"]["name"].clone().into()
}

fn age_of(object: &Value) -> Cell {
    Cell::since(&object["metadata"]["creationTimestamp"])
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn text_or<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    value.as_str().filter(|s| !s.is_empty()).unwrap_or(otherwise)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn join<'a>(parts: impl Iterator<Item = &'a Value>) -> String {
    let parts: Vec<&str> = parts.filter_map(Value::as_str).collect();
    if parts.is_empty() {
        "<none>".into()
    } else {
        parts.join(",")
    }
}

/// `a=1,b=2`, or `<none>`.
fn pairs(map: &Value) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() {
        "<none>".into()
    } else {
        pairs.join(",")
    }
}

/// A LabelSelector object as text.
pub(crate) fn selector_text(selector: &Value) -> String {
    let mut terms: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    for e in items(&selector["matchExpressions"]) {
        let key = text_or(&e["key"], "");
        let values = join(items(&e["values"]));
        terms.push(match e["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if terms.is_empty() {
        "<none>".into()
    } else {
        terms.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{built_in, find};

    #[test]
    fn every_printer_fills_its_columns_even_from_nothing() {
        for resource in built_in() {
            let printer = printer(resource);
            let cells = (printer.cells)(&json!({"metadata": {"name": "x"}}));
            assert_eq!(cells.len(), printer.columns.len(), "{}", resource.key());
        }
    }

    #[test]
    fn a_thousand_pods_are_quick_and_whole() {
        let pods: Vec<Value> = (0..1000)
            .map(|n| json!({"metadata": {"name": format!("p{n}"), "managedFields": [{}]}, "spec": {}}))
            .collect();
        let resource = find("", "v1", "pods").unwrap();
        let metadata = json!({"resourceVersion": "7"});
        let table = Table::of(&resource, pods.iter(), metadata, Include::Metadata, true);
        let table = serde_json::to_value(table).unwrap();
        assert_eq!(table["rows"].as_array().unwrap().len(), 1000);
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        assert_eq!(
            table["rows"][0]["object"],
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "p0"}})
        );
    }
}
