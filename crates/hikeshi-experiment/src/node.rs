//! YAML (or JSON) with the place of every key and value: what a manifest's mistakes are pointed at with.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// Line and column, from 1.
pub(crate) type Place = (u64, u64);

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub at: Place,
    pub is: Is,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Is {
    Nothing,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// Key, place of the key, value; in the order of the text.
    Map(Vec<(String, Place, Node)>),
}

impl Node {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// Place of the key, and its value.
    pub fn entry(&self, key: &str) -> Option<(Place, &Node)> {
        match &self.is {
            Is::Map(entries) => entries
                .iter()
                .find(|(name, _, _)| name == key)
                .map(|(_, at, node)| (*at, node)),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.is {
            Is::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is called in a sentence.
    pub fn kind(&self) -> &'static str {
        match self.is {
            Is::Nothing => "nothing",
            Is::Flag(_) => "true or false",
            Is::Number(_) => "a number",
            Is::Text(_) => "a text",
            Is::List(_) => "a list",
            Is::Map(_) => "a mapping",
        }
    }

    /// The same without places.
    pub fn value(&self) -> Value {
        match &self.is {
            Is::Nothing => Value::Null,
            Is::Flag(flag) => Value::Bool(*flag),
            Is::Number(number) => Value::Number(number.clone()),
            Is::Text(text) => Value::String(text.clone()),
            Is::List(list) => list.iter().map(Node::value).collect(),
            Is::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, _, node)| (key.clone(), node.value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

fn place<T>(spanned: &Spanned<T>) -> Place {
    (spanned.referenced.line(), spanned.referenced.column())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Is>::deserialize(deserializer)?;
        Ok(Self {
            at: place(&spanned),
            is: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Is {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Is;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Is, E> {
        Ok(Is::Flag(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Is, E> {
        Ok(Is::Number(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Is, E> {
        Ok(Is::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Is, E> {
        Ok(Number::from_f64(number).map_or(Is::Text(number.to_string()), Is::Number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Is, E> {
        Ok(Is::Text(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Is, E> {
        Ok(Is::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Is, E> {
        Ok(Is::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Is, D::Error> {
        Is::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Is, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Is::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Is, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let at = place(&key);
            entries.push((key.value, at, map.next_value()?));
        }
        Ok(Is::Map(entries))
    }
}

/// Reads one document; the error is a place and a sentence.
pub(crate) fn read(text: &str) -> Result<Node, (Place, String)> {
    serde_saphyr::from_str::<Node>(text).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        let said = error.to_string();
        let first = said.lines().next().unwrap_or_default();
        let cut = first.find(" at line ").unwrap_or(first.len());
        (at, first[..cut].trim_start_matches("error: ").to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_has_its_place() {
        let node = read("a: 1\nb:\n  c: [x, {d: true}]\n  e: \"5\"\n").unwrap();
        let (key, b) = node.entry("b").unwrap();
        assert_eq!(key, (2, 1));
        let c = b.get("c").unwrap();
        assert_eq!(c.at, (3, 6));
        let Is::List(items) = &c.is else { panic!("{c:?}") };
        assert_eq!((items[0].at, items[0].text()), ((3, 7), Some("x")));
        assert_eq!(items[1].entry("d").map(|(at, _)| at), Some((3, 11)));
        assert_eq!(b.get("e").and_then(Node::text), Some("5"));
        assert_eq!(
            node.value(),
            serde_json::json!({"a": 1, "b": {"c": ["x", {"d": true}], "e": "5"}})
        );
    }

    #[test]
    fn what_is_no_yaml_has_a_place_too() {
        let (at, words) = read("a: [1,\nb: 2\n").unwrap_err();
        assert!(at.0 > 0 && !words.is_empty(), "{at:?} {words}");
    }
}
