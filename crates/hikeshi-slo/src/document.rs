//! YAML with the place of every key and value: what findings, refusals and notes are pointed at with.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::Spanned;

/// Line and column, from 1; (0, 0) where nothing is known.
pub type Place = (u64, u64);

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

/// One step of a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
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
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|(name, _, _)| name == key)
            .map(|(_, _, node)| node)
    }

    pub fn text(&self) -> Option<&str> {
        match &self.is {
            Is::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<f64> {
        match &self.is {
            Is::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.is {
            Is::List(items) => items,
            _ => &[],
        }
    }

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

/// Reads every document of a text (`---` between them, empty ones left out); the error is a place and a sentence.
pub(crate) fn read_all(text: &str) -> Result<Vec<Node>, (Place, String)> {
    let documents: Vec<Node> = serde_saphyr::from_multiple(text).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        let said = error.to_string();
        let first = said.lines().next().unwrap_or_default();
        let cut = first.find(" at line ").unwrap_or(first.len());
        (at, first[..cut].trim_start_matches("error: ").to_owned())
    })?;
    Ok(documents
        .into_iter()
        .filter(|node| node.is != Is::Nothing)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (at, words) = read_all("a: [1,\nb: 2\n").unwrap_err();
        assert!(at.0 > 0 && !words.is_empty(), "{at:?} {words}");
    }
}
