//! Specs as tables: which fields there are, what each may hold, which of Chaos Mesh's cannot be honoured here. One
//! grammar for whoever reads a manifest; what fields mean together is each kind's own file.

use serde_json::{Map, Value};

use crate::check::{Check, given, nearest};
use crate::words::Words;
use crate::{Part, quantity};

/// Words that never change: Japanese, English.
pub(crate) type Fixed = (&'static str, &'static str);

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    /// A text that this can read; what it must be, for a value that is no text.
    Parsed(Fixed, fn(&str) -> Result<(), Words>),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The same, and words that Chaos Mesh knows but nobody here can honour.
    ChoiceBut(&'static [&'static str], &'static [(&'static str, Fixed)]),
    Port,
    /// An HTTP status; 0 is one that was not given.
    Status,
    /// A whole number from 0 to this.
    Whole(u64),
    Flag,
    Texts,
    /// Names to texts.
    TextMap,
    /// Names to lists of texts.
    TextsMap,
    /// Pairs of texts.
    Pairs,
    Object(&'static [Field]),
    Objects(&'static [Field]),
    /// Checked by whoever knows what it is.
    Any,
    /// Known to Chaos Mesh, but not to be had here: why.
    Refused(Fixed),
}

/// A field of a mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub needed: bool,
}

pub(crate) const fn may(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        needed: false,
    }
}

pub(crate) const fn must(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        needed: true,
    }
}

/// A Go duration, not negative.
pub(crate) const DURATION: Shape = Shape::Parsed(
    (
        "300ms、40s、1h30m のような時間",
        "a duration such as 300ms, 40s or 1h30m",
    ),
    |text| quantity::duration(text).map(drop),
);

/// A percentage as text.
pub(crate) const PERCENT: Shape = Shape::Parsed(
    (
        "引用符付きのパーセント (\"0\"〜\"100\")",
        "a percentage as text, \"0\" to \"100\"",
    ),
    |text| quantity::percent(text).map(drop),
);

impl Check {
    /// Checks a mapping against the fields of `tables`.
    pub fn object(&mut self, at: &str, value: &Value, tables: &[&[Field]]) {
        let Value::Object(entries) = value else {
            return self.must(at, ("マッピング", "a mapping"), value);
        };
        let fields = || tables.iter().flat_map(|table| table.iter());
        for (name, value) in entries {
            let here = format!("{at}.{name}");
            match fields().find(|field| field.name == name) {
                None => {
                    let names: Vec<&str> = fields()
                        .filter(|field| !matches!(field.shape, Shape::Refused(_)))
                        .map(|field| field.name)
                        .collect();
                    let words = Words::new("このフィールドはありません", "is not supported");
                    self.suggest(here, Part::Key, words, nearest(name, &names));
                }
                // Null and an empty text are Go's zero values: a field that was not given.
                Some(_) if !given(value) => {}
                Some(field) => self.shape(&here, value, field.shape),
            }
        }
        for field in fields().filter(|field| field.needed && !entries.get(field.name).is_some_and(given)) {
            self.add(format!("{at}.{}", field.name), MISSING);
        }
    }

    fn shape(&mut self, at: &str, value: &Value, shape: Shape) {
        let text = value.as_str();
        let whole = value.as_u64();
        match shape {
            Shape::Refused(why) => {
                if *value != Value::Array(Vec::new()) {
                    self.refuse(at, why);
                }
            }
            Shape::Text => {
                if text.is_none() {
                    self.must(at, TEXT, value);
                }
            }
            Shape::Parsed(what, read) => match text {
                Some(text) => drop(self.take(at, read(text))),
                None => self.must(at, what, value),
            },
            Shape::Choice(words) => self.choice(at, value, words),
            Shape::ChoiceBut(words, refused) => match refused.iter().find(|(word, _)| text == Some(word)) {
                Some((_, why)) => self.add(at, cannot(*why)),
                None => self.choice(at, value, words),
            },
            Shape::Port if !whole.is_some_and(|n| (1..=65_535).contains(&n)) => {
                self.must(at, ("ポート番号 (1〜65535)", "a port, 1 to 65535"), value);
            }
            Shape::Status if !whole.is_some_and(|n| n == 0 || (100..=999).contains(&n)) => {
                self.must(
                    at,
                    ("HTTP ステータス (100〜999)", "an HTTP status, 100 to 999"),
                    value,
                );
            }
            Shape::Whole(most) if whole.is_none_or(|n| n > most) => {
                self.must(at, ("0 以上の整数", "a whole number that is not negative"), value);
            }
            Shape::Flag if !value.is_boolean() => self.must(at, ("true か false", "true or false"), value),
            Shape::Texts => self.texts(at, value),
            Shape::TextMap => self.map(at, value, |check, at, value| {
                if !value.is_string() {
                    check.must(at, TEXT, value);
                }
            }),
            Shape::TextsMap => self.map(at, value, Check::texts),
            Shape::Pairs => self.list(at, value, |check, at, value| {
                let pair = value.as_array().filter(|pair| pair.len() == 2);
                if !pair.is_some_and(|pair| pair.iter().all(Value::is_string)) {
                    check.must(
                        at,
                        ("[名前, 値] の文字列の組", "a pair of texts: [name, value]"),
                        value,
                    );
                }
            }),
            Shape::Object(table) => self.object(at, value, &[table]),
            Shape::Objects(table) => {
                self.list(at, value, |check, at, value| check.object(at, value, &[table]));
            }
            Shape::Port | Shape::Status | Shape::Whole(_) | Shape::Flag | Shape::Any => {}
        }
    }

    fn choice(&mut self, at: &str, value: &Value, words: &[&str]) {
        let text = value.as_str();
        if text.is_some_and(|text| words.contains(&text)) {
            return;
        }
        let (ja, en) = (words.join("、"), words.join(", "));
        let said = must_be((&format!("{ja} のどれか"), &format!("one of {en}")), value);
        self.suggest(at, Part::Value, said, text.and_then(|text| nearest(text, words)));
    }

    fn texts(&mut self, at: &str, value: &Value) {
        self.list(at, value, |check, at, value| {
            if !value.is_string() {
                check.must(at, TEXT, value);
            }
        });
    }

    fn list(&mut self, at: &str, value: &Value, each: impl Fn(&mut Self, &str, &Value)) {
        match value.as_array() {
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    each(self, &format!("{at}[{index}]"), item);
                }
            }
            None => self.must(at, ("リスト", "a list"), value),
        }
    }

    fn map(&mut self, at: &str, value: &Value, each: impl Fn(&mut Self, &str, &Value)) {
        match value.as_object() {
            Some(entries) => {
                for (key, value) in entries {
                    each(self, &format!("{at}[{key}]"), value);
                }
            }
            None => self.must(at, ("マッピング", "a mapping"), value),
        }
    }

    fn must(&mut self, at: &str, what: Fixed, value: &Value) {
        self.add(at, must_be(what, value));
    }

    fn refuse(&mut self, at: &str, why: Fixed) {
        self.suggest(at, Part::Key, cannot(why), None);
    }
}

/// Of a field that must be there.
pub(crate) const MISSING: Fixed = ("必要ですが、ありません", "is missing");

const TEXT: Fixed = ("文字列 (引用符で囲む)", "a text: put it in quotes");

/// `cannot be honoured: WHY`.
pub(crate) fn cannot((ja, en): Fixed) -> Words {
    Words::new(
        format!("ここでは実現できません: {ja}"),
        format!("cannot be honoured: {en}"),
    )
}

fn must_be((ja, en): (&str, &str), value: &Value) -> Words {
    let (told_ja, told_en) = match value {
        Value::String(text) => (format!(" `{text}` "), format!("`{text}`")),
        Value::Number(number) => (format!("数値の {number} "), format!("the number {number}")),
        Value::Bool(flag) => (format!(" {flag} "), flag.to_string()),
        Value::Array(_) => ("リスト".to_owned(), "a list".to_owned()),
        Value::Object(_) => ("マッピング".to_owned(), "a mapping".to_owned()),
        Value::Null => ("空".to_owned(), "nothing".to_owned()),
    };
    // Between Japanese and Latin letters stands a space.
    let gap = if ja.ends_with(|c: char| c.is_ascii()) {
        " "
    } else {
        ""
    };
    Words::new(
        format!("{ja}{gap}にしてください (今は{told_ja}です)"),
        format!("must be {en}, not {told_en}"),
    )
}

/// The value without the words that were not given: an enum has no empty one.
pub(crate) fn without_blanks(value: &Value, tables: &[&[Field]]) -> Value {
    let Value::Object(entries) = value else {
        return value.clone();
    };
    let mut kept = Map::new();
    for (name, value) in entries {
        let field = tables
            .iter()
            .flat_map(|table| table.iter())
            .find(|field| field.name == name);
        let value = match field.map(|field| field.shape) {
            Some(Shape::Choice(_) | Shape::ChoiceBut(..)) if !given(value) => continue,
            Some(Shape::Object(table)) => without_blanks(value, &[table]),
            Some(Shape::Objects(table)) => {
                let items = value.as_array().into_iter().flatten();
                match value {
                    Value::Array(_) => items.map(|item| without_blanks(item, &[table])).collect(),
                    other => other.clone(),
                }
            }
            _ => value.clone(),
        };
        kept.insert(name.clone(), value);
    }
    Value::Object(kept)
}
