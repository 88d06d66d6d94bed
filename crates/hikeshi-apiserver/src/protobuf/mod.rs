//! Kubernetes' protobuf bodies, which kubectl's imperative commands send and for which it has no JSON fallback.
//!
//! `table.txt` lists every message that may come: its name, then per field `TAG NAME TYPE`, where `*` before the type
//! means repeated and `%` a map from text. It was made from Kubernetes' own descriptors (crate `k8s-pb` 0.9).

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The envelope's first bytes.
pub(crate) const MAGIC: &[u8] = b"k8s\0";
/// Messages nest; no kind nests deeper than this.
const MAX_DEPTH: usize = 40;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProtobufError {
    #[error("the protobuf body is cut short or damaged")]
    Damaged,
    #[error("no protobuf decoding for {0}; send JSON")]
    UnknownKind(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    List,
    Map,
}

struct Field {
    name: &'static str,
    shape: Shape,
    kind: &'static str,
}

static TABLE: LazyLock<HashMap<&'static str, HashMap<u64, Field>>> = LazyLock::new(|| {
    let message = |line: &'static str| {
        let mut cells = line.split('\t');
        let name = cells.next().unwrap_or_default();
        let fields = cells.filter_map(|cell| {
            let mut words = cell.split(' ');
            let (tag, name, kind) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
            let (shape, kind) = match (kind.strip_prefix('*'), kind.strip_prefix('%')) {
                (Some(kind), _) => (Shape::List, kind),
                (_, Some(kind)) => (Shape::Map, kind),
                _ => (Shape::One, kind),
            };
            Some((tag, Field { name, shape, kind }))
        });
        (name, fields.collect())
    };
    include_str!("table.txt").lines().map(message).collect()
});

/// Go embeds these, so their fields are the parent's in JSON.
const INLINE: [&str; 6] = [
    "ephemeralContainerCommon",
    "handler",
    "ingressRuleValue",
    "localObjectReference",
    "persistentVolumeSource",
    "volumeSource",
];
/// Go writes these even when they are zero, though JSON leaves them out.
const ZERO_MEANS_UNSET: [&str; 22] = [
    "failureThreshold",
    "generation",
    "healthCheckNodePort",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "nodePort",
    "paused",
    "periodSeconds",
    "publishNotReadyAddresses",
    "readOnly",
    "stdin",
    "stdinOnce",
    "successThreshold",
    "timeoutSeconds",
    "tty",
    "unschedulable",
    "orphanDependents",
    "count",
];

/// Decodes an enveloped body into the object's JSON form. A status is dropped: no client's create carries one.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Damaged)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in wire(envelope) {
        match field? {
            (1, Wire::Bytes(bytes)) => {
                for field in wire(bytes) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let group = group
        .split('.')
        .next()
        .filter(|g| !g.is_empty())
        .unwrap_or("core");
    let name = if kind == "DeleteOptions" {
        "meta.DeleteOptions".into()
    } else {
        format!("{group}.{version}.{kind}")
    };
    if !TABLE.contains_key(name.as_str()) {
        return Err(ProtobufError::UnknownKind(format!("{api_version} {kind}")));
    }
    let mut object = message(&name, raw, 0)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    Ok(object)
}

#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
fn wire(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), ProtobufError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let mut next = || {
            let key = varint(&mut bytes)?;
            let value = match key & 7 {
                0 => Wire::Number(varint(&mut bytes)?),
                1 => Wire::Bytes(take(&mut bytes, 8)?),
                2 => {
                    let length = varint(&mut bytes)?;
                    Wire::Bytes(take(&mut bytes, usize::try_from(length).ok()?)?)
                }
                5 => Wire::Bytes(take(&mut bytes, 4)?),
                _ => return None,
            };
            Some((key >> 3, value))
        };
        let field = next();
        if field.is_none() {
            bytes = &[];
        }
        Some(field.ok_or(ProtobufError::Damaged))
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 127) << shift;
        if *first < 128 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

fn utf8(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Damaged)
}

fn value(kind: &str, wire: Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (kind, wire) {
        ("string", Wire::Bytes(b)) => utf8(b)?.into(),
        ("bytes", Wire::Bytes(b)) => STANDARD.encode(b).into(),
        ("bool", Wire::Number(n)) => (n != 0).into(),
        ("int32" | "int64", Wire::Number(n)) => n.cast_signed().into(),
        ("double", Wire::Bytes(b)) => {
            f64::from_le_bytes(b.try_into().map_err(|_| ProtobufError::Damaged)?).into()
        }
        (name, Wire::Bytes(b)) => message(name, b, depth)?,
        _ => return Err(ProtobufError::Damaged),
    })
}

/// Messages whose JSON form is not an object.
fn special(name: &str, bytes: &[u8]) -> Option<Result<Value, ProtobufError>> {
    let fields = || -> Result<HashMap<u64, Wire<'_>>, ProtobufError> { wire(bytes).collect() };
    let text = |tag: u64, fields: &HashMap<u64, Wire<'_>>| match fields.get(&tag) {
        Some(Wire::Bytes(b)) => utf8(b).map(Some),
        _ => Ok(None),
    };
    let number = |tag: u64, fields: &HashMap<u64, Wire<'_>>| match fields.get(&tag) {
        Some(Wire::Number(n)) => n.cast_signed(),
        _ => 0,
    };
    let read = || -> Result<Option<Value>, ProtobufError> {
        Ok(Some(match name.rsplit('.').next().unwrap_or_default() {
            "Time" | "MicroTime" => match number(1, &fields()?) {
                0 => Value::Null,
                seconds => Timestamp::from_second(seconds).map_or(Value::Null, |t| {
                    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
                }),
            },
            "Quantity" => text(1, &fields()?)?.unwrap_or_else(|| "0".into()).into(),
            "IntOrString" => {
                let fields = fields()?;
                match number(1, &fields) {
                    0 => number(2, &fields).into(),
                    _ => text(3, &fields)?.unwrap_or_default().into(),
                }
            }
            "FieldsV1" | "RawExtension" => match fields()?.get(&1) {
                Some(Wire::Bytes(raw)) => serde_json::from_slice(raw).map_err(|_| ProtobufError::Damaged)?,
                _ => Value::Null,
            },
            _ => return Ok(None),
        }))
    };
    read().transpose()
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::Damaged);
    }
    if let Some(value) = special(name, bytes) {
        return value;
    }
    let fields = TABLE
        .get(name)
        .ok_or_else(|| ProtobufError::UnknownKind(name.to_owned()))?;
    let mut object = Map::new();
    for field in wire(bytes) {
        let (tag, wire_value) = field?;
        // A field newer than the table is none of our kinds' business.
        let Some(field) = fields.get(&tag) else { continue };
        match field.shape {
            Shape::Map => {
                let Wire::Bytes(entry) = wire_value else {
                    return Err(ProtobufError::Damaged);
                };
                let entry: HashMap<u64, Wire<'_>> = wire(entry).collect::<Result<_, _>>()?;
                let key = match entry.get(&1) {
                    Some(Wire::Bytes(key)) => utf8(key)?,
                    _ => String::new(),
                };
                let item = value(
                    field.kind,
                    entry.get(&2).copied().unwrap_or(Wire::Bytes(&[])),
                    depth + 1,
                )?;
                let map = object.entry(field.name).or_insert_with(|| json!({}));
                map[key] = item;
            }
            Shape::List => {
                let item = value(field.kind, wire_value, depth + 1)?;
                if let Some(list) = object
                    .entry(field.name)
                    .or_insert_with(|| json!([]))
                    .as_array_mut()
                {
                    list.push(item);
                }
            }
            Shape::One => {
                let item = value(field.kind, wire_value, depth + 1)?;
                if let (true, Value::Object(inner)) = (INLINE.contains(&field.name), &item) {
                    object.extend(inner.clone());
                } else if !is_unset(field.name, &item) {
                    object.insert(field.name.to_owned(), item);
                }
            }
        }
    }
    Ok(Value::Object(object))
}

/// Whether Go's zero value stands for a field that was not set.
fn is_unset(name: &str, item: &Value) -> bool {
    match item {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty() && name != "emptyDir" && name != "podSelector",
        Value::Bool(false) => ZERO_MEANS_UNSET.contains(&name),
        Value::Number(n) => n.as_i64() == Some(0) && ZERO_MEANS_UNSET.contains(&name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![tag << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend(bytes);
        out
    }

    fn config_map() -> Vec<u8> {
        let head = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
        let metadata = [field(1, b"settings"), field(3, b"chirpy")].concat();
        let entry = [field(1, b"a"), field(2, b"1")].concat();
        let body = [field(1, &metadata), field(2, &entry)].concat();
        [MAGIC.to_vec(), field(1, &head), field(2, &body)].concat()
    }

    #[test]
    fn a_config_map() {
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "chirpy"}, "data": {"a": "1"}});
        assert_eq!(decode(&config_map()).unwrap(), expected);
    }

    #[test]
    fn unknown_kinds_and_damage_are_told() {
        let head = [field(1, b"v9"), field(2, b"Thing")].concat();
        let body = [MAGIC.to_vec(), field(1, &head)].concat();
        assert_eq!(decode(&body), Err(ProtobufError::UnknownKind("v9 Thing".into())));
        let whole = config_map();
        assert_eq!(decode(&whole[..whole.len() - 1]), Err(ProtobufError::Damaged));
    }

    #[test]
    fn every_type_of_the_table_is_known() {
        const PLAIN: [&str; 6] = ["string", "bytes", "bool", "int32", "int64", "double"];
        for (name, fields) in TABLE.iter() {
            for field in fields.values() {
                let known = PLAIN.contains(&field.kind) || TABLE.contains_key(field.kind);
                assert!(known, "{name}: {}", field.kind);
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_a_client_sends_panics(mut noise in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..60) {
            let _ = decode(&noise);
            let mut body = config_map();
            body.truncate(at.min(body.len()));
            body.append(&mut noise);
            let _ = decode(&body);
        }
    }
}
