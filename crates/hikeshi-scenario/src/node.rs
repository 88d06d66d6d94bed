//! YAML (or JSON) with the place of every key and value: what findings, mistakes and notes are pointed at with.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// Line and column, from 1; (0, 0) where nothing is known.
pub type Place = (u64, u64);

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Place,
    pub is: Is,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Is {
    Nothing,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// Key, place of the key, value; in the order of the text.
    Map(Vec<(String, Place, Node)>),
}

/// One step of a path.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::Item(index)
    }
}

impl Node {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// Place of the key, and its value.
    pub fn entry(&self, key: &str) -> Option<(Place, &Node)> {
        self.entries()
            .iter()
            .find(|(name, _, _)| name == key)
            .map(|(_, at, node)| (*at, node))
    }

    /// Its text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.is {
            Is::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match &self.is {
            Is::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// Its items; none where it is no list.
    pub fn items(&self) -> &[Node] {
        match &self.is {
            Is::List(items) => items,
            _ => &[],
        }
    }

    /// Its keys with their places, and values; none where it is no mapping.
    pub fn entries(&self) -> &[(String, Place, Node)] {
        match &self.is {
            Is::Map(entries) => entries,
            _ => &[],
        }
    }

    /// A scalar as text: what a label's value may be written as.
    pub fn scalar(&self) -> Option<String> {
        match &self.is {
            Is::Text(text) => Some(text.clone()),
            Is::Number(number) => Some(number.to_string()),
            Is::Flag(flag) => Some(flag.to_string()),
            Is::Nothing | Is::List(_) | Is::Map(_) => None,
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

    /// The place of the value at a path; of what is missing, the place of what it is missing from.
    pub fn place(&self, path: &[Step<'_>]) -> Place {
        let mut node = self;
        for step in path {
            let below = match step {
                Step::Key(key) => node.get(key),
                Step::Item(index) => node.items().get(*index),
            };
            match below {
                Some(below) => node = below,
                None => break,
            }
        }
        node.at
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

/// Reads one document.
///
/// # Errors
/// A place and a sentence.
pub fn read(text: &str) -> Result<Node, (Place, String)> {
    serde_saphyr::from_str(text).map_err(refused)
}

/// Reads every document of a text (`---` between them, empty ones left out).
///
/// # Errors
/// A place and a sentence.
pub fn read_all(text: &str) -> Result<Vec<Node>, (Place, String)> {
    let documents: Vec<Node> = serde_saphyr::from_multiple(text).map_err(refused)?;
    Ok(documents
        .into_iter()
        .filter(|node| node.is != Is::Nothing)
        .collect())
}

fn refused(error: serde_saphyr::Error) -> (Place, String) {
    let error = error.without_snippet();
    let at = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let said = error.to_string();
    let first = said.lines().next().unwrap_or_default();
    let cut = first.find(" at line ").unwrap_or(first.len());
    (at, first[..cut].trim_start_matches("error: ").to_owned())
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
    fn places_of_several_documents_are_the_files() {
        let all = read_all("a: 1\nb: {c: [x, {d: true}]}\n---\ne: 2\n---\n").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0].place(&["b".into(), "c".into(), 1.into(), "d".into()]),
            (2, 16)
        );
        assert_eq!(all[0].place(&["b".into(), "z".into()]), (2, 4));
        assert_eq!(all[1].place(&["e".into()]), (4, 4));
    }

    #[test]
    fn what_is_no_yaml_has_a_place() {
        let text = "a: [1,\nb: 2\n";
        for (at, words) in [read(text).unwrap_err(), read_all(text).unwrap_err()] {
            assert!(at.0 > 0 && !words.is_empty(), "{at:?} {words}");
        }
    }
}
