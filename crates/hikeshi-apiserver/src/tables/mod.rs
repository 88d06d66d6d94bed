//! What `kubectl get` prints: columns and cells of each kind.

mod core;
pub(crate) mod custom;
mod other;
mod workloads;

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

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
    cells: fn(&Value, Timestamp) -> Vec<Value>,
}

const PLAIN: Printer = Printer {
    columns: &[("Name", Narrow), ("Age", Narrow)],
    cells: |object, now| vec![name(object), age_of(object, now)],
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

#[derive(Debug, serde::Serialize)]
struct Row<'a> {
    cells: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Shown<'a>>,
}

#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Whole(&'a Value),
    Metadata(Partial<'a>),
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
        let now = Timestamp::now();
        let row = |object: &'a Value| Row {
            cells: match &*resource.columns {
                [] => (printer.cells)(object, now),
                own => custom::cells(own, object, now),
            },
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
                (true, []) => printer.columns.iter().map(column).collect(),
                (true, own) => custom::columns(own),
            },
            rows: objects.map(row).collect(),
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

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn age_of(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// The time since an RFC 3339 stamp in kubectl's words.
fn since(stamp: &Value, now: Timestamp) -> String {
    match stamp.as_str().and_then(|s| s.parse::<Timestamp>().ok()) {
        Some(then) => human_duration(now.duration_since(then).as_secs()),
        None => "<unknown>".into(),
    }
}

/// `k8s.io/apimachinery/pkg/util/duration.HumanDuration`
fn human_duration(seconds: i64) -> String {
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: i64, unit: char, small: i64, sub: char| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{sub}")
        }
    };
    match seconds {
        s if s < 0 => "0s".into(),
        s if s < 120 => format!("{s}s"),
        s if m < 10 => two(m, 'm', s % 60, 's'),
        _ if m < 180 => format!("{m}m"),
        _ if h < 8 => two(h, 'h', m % 60, 'm'),
        _ if h < 48 => format!("{h}h"),
        _ if d < 8 => two(d, 'd', h % 24, 'h'),
        _ if d < 730 => format!("{d}d"),
        _ if d < 365 * 8 => two(d / 365, 'y', d % 365, 'd'),
        _ => format!("{}y", d / 365),
    }
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
    fn ages_read_like_kubectl() {
        let cases = [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_160, "3h6m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (315_360_000, "10y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn every_printer_fills_its_columns_even_from_nothing() {
        for resource in built_in() {
            let printer = printer(resource);
            let cells = (printer.cells)(&json!({"metadata": {"name": "x"}}), Timestamp::now());
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
