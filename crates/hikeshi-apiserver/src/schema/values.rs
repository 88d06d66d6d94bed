//! An object's values against its schema, in kube-apiserver's words.

use regex::Regex;
use serde_json::{Value, json};

use super::{IMPLIED, flag, format};

/// What is wrong, as (field, message) for a 422; empty when all is well.
pub(crate) fn causes(schema: &Value, object: &Value) -> Vec<(String, String)> {
    let mut found = Found::default();
    for (name, value) in object.as_object().into_iter().flatten() {
        if IMPLIED.contains(&name.as_str()) {
            continue;
        }
        if let Some(inner) = schema["properties"].get(name) {
            found.check(name, inner, value);
        }
    }
    found.object("", schema, object, true);
    found.logic("", schema, object);
    found.0
}

#[derive(Default)]
struct Found(Vec<(String, String)>);

/// A path as messages have it; the object itself has none.
fn called(at: &str) -> &str {
    if at.is_empty() { "<nil>" } else { at }
}

impl Found {
    fn say(&mut self, at: &str, message: String) {
        self.0.push((called(at).to_owned(), message));
    }

    /// A value that its schema does not allow.
    fn invalid(&mut self, at: &str, value: &Value, rule: String) {
        self.say(
            at,
            format!("Invalid value: {value}: {} in body {rule}", called(at)),
        );
    }

    fn check(&mut self, at: &str, schema: &Value, value: &Value) {
        if value.is_null() && flag(schema, "nullable") {
            return;
        }
        if let Some(wanted) = wrong_type(schema, value) {
            let is = type_of(value);
            let rule = format!("must be of type {wanted}: \"{is}\"");
            return self.invalid(at, &json!(is), rule);
        }
        if let Some(allowed) = schema["enum"]
            .as_array()
            .filter(|allowed| !allowed.contains(value))
        {
            let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
            let message = format!(
                "Unsupported value: {value}: supported values: {}",
                allowed.join(", ")
            );
            self.say(at, message);
        }
        match value {
            Value::Number(_) => self.number(at, schema, value),
            Value::String(text) => self.text(at, schema, text),
            Value::Array(items) => self.list(at, schema, items),
            Value::Object(map) => {
                for (name, value) in map {
                    let of_all = Some(&schema["additionalProperties"]).filter(|s| s.is_object());
                    if let Some(inner) = schema["properties"].get(name).or(of_all) {
                        self.check(&format!("{at}.{name}"), inner, value);
                    }
                }
                self.object(at, schema, value, flag(schema, "x-kubernetes-embedded-resource"));
            }
            Value::Null | Value::Bool(_) => {}
        }
        self.logic(at, schema, value);
    }

    fn object(&mut self, at: &str, schema: &Value, value: &Value, resource: bool) {
        let dot = if at.is_empty() { "" } else { "." };
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if value.get(name).is_none() {
                self.say(&format!("{at}{dot}{name}"), "Required value".into());
            }
        }
        if resource && !at.is_empty() {
            for name in ["apiVersion", "kind"] {
                if value[name].as_str().is_none_or(str::is_empty) {
                    self.say(
                        &format!("{at}{dot}{name}"),
                        "Required value: must not be empty".into(),
                    );
                }
            }
        }
        let number = value.as_object().map_or(0, serde_json::Map::len) as u64;
        if schema["maxProperties"].as_u64().is_some_and(|most| number > most) {
            let most = &schema["maxProperties"];
            self.say(at, format!("Too many: {number}: must have at most {most} items"));
        }
        if schema["minProperties"]
            .as_u64()
            .is_some_and(|least| number < least)
        {
            let rule = format!("should have at least {} properties", schema["minProperties"]);
            self.invalid(at, &json!(number), rule);
        }
    }

    fn number(&mut self, at: &str, schema: &Value, value: &Value) {
        let Some(number) = value.as_f64() else { return };
        let bound = |name: &str| schema[name].as_f64();
        if let Some(least) = bound("minimum") {
            let exclusive = flag(schema, "exclusiveMinimum");
            if number < least || exclusive && number <= least {
                let than = if exclusive {
                    "greater than"
                } else {
                    "greater than or equal to"
                };
                self.invalid(at, value, format!("should be {than} {}", schema["minimum"]));
            }
        }
        if let Some(most) = bound("maximum") {
            let exclusive = flag(schema, "exclusiveMaximum");
            if number > most || exclusive && number >= most {
                let than = if exclusive {
                    "less than"
                } else {
                    "less than or equal to"
                };
                self.invalid(at, value, format!("should be {than} {}", schema["maximum"]));
            }
        }
        if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0) {
            let times = number / step;
            if (times - times.round()).abs() > 1e-9 * times.abs().max(1.0) {
                self.invalid(
                    at,
                    value,
                    format!("should be a multiple of {}", schema["multipleOf"]),
                );
            }
        }
        let within = match schema["format"].as_str() {
            Some("int32") => (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number),
            _ => true,
        };
        if !within {
            self.invalid(at, value, "must be of type int32".to_owned());
        }
    }

    fn text(&mut self, at: &str, schema: &Value, text: &str) {
        let (value, length) = (json!(text), text.chars().count() as u64);
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            self.invalid(at, &value, format!("should be at least {least} chars long"));
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            self.say(at, format!("Too long: may not be more than {most} bytes"));
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            // A definition whose pattern is none was refused; one from before that lets everything pass.
            if Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text)) {
                self.invalid(at, &value, format!("should match '{pattern}'"));
            }
        }
        if let Some(format) = schema["format"].as_str()
            && !format::fits(format, text)
        {
            self.invalid(at, &value, format!("must be of type {format}: {value}"));
        }
    }

    fn list(&mut self, at: &str, schema: &Value, items: &[Value]) {
        let number = items.len() as u64;
        if let Some(least) = schema["minItems"].as_u64().filter(|least| number < *least) {
            self.invalid(at, &json!(number), format!("should have at least {least} items"));
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| number > *most) {
            self.say(at, format!("Too many: {number}: must have at most {most} items"));
        }
        if schema["items"].is_object() {
            for (index, item) in items.iter().enumerate() {
                self.check(&format!("{at}[{index}]"), &schema["items"], item);
            }
        }
        let id = |item: &Value| match schema["x-kubernetes-list-type"].as_str()? {
            "set" => Some(item.clone()),
            "map" => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
                let keys = keys.iter().filter_map(Value::as_str);
                Some(keys.map(|key| (key.to_owned(), item[key].clone())).collect())
            }
            _ => None,
        };
        let ids: Vec<Option<Value>> = items.iter().map(id).collect();
        for (index, id) in ids.iter().enumerate() {
            if let Some(id) = id
                && ids[..index].iter().flatten().any(|known| known == id)
            {
                self.say(&format!("{at}[{index}]"), format!("Duplicate value: {id}"));
            }
        }
    }

    /// `allOf`, `anyOf`, `oneOf`, `not`.
    fn logic(&mut self, at: &str, schema: &Value, value: &Value) {
        let fits = |schema: &Value| {
            let mut found = Found::default();
            found.check(at, schema, value);
            found
        };
        let schemas = |name: &str| schema[name].as_array().filter(|list| !list.is_empty());
        let mut wrong = |rule: &str| {
            let place = called(at);
            self.say(at, format!("Invalid value: \"\": \"{place}\" must {rule}"));
        };
        if let Some(any) = schemas("anyOf")
            && !flag(schema, "x-kubernetes-int-or-string")
            && !any.iter().any(|schema| fits(schema).0.is_empty())
        {
            wrong("validate at least one schema (anyOf)");
        }
        if let Some(one) = schemas("oneOf") {
            match one.iter().filter(|schema| fits(schema).0.is_empty()).count() {
                1 => {}
                0 => wrong("validate one and only one schema (oneOf). Found none valid"),
                n => wrong(&format!(
                    "validate one and only one schema (oneOf). Found {n} valid alternatives"
                )),
            }
        }
        if schema["not"].is_object() && fits(&schema["not"]).0.is_empty() {
            wrong("not validate the schema (not)");
        }
        let all: Vec<_> = schemas("allOf")
            .into_iter()
            .flatten()
            .flat_map(|s| fits(s).0)
            .collect();
        if !all.is_empty() {
            wrong("validate all the schemas (allOf)");
            self.0.extend(all);
        }
    }
}

/// The type that the schema wants, where the value is of another.
fn wrong_type<'a>(schema: &'a Value, value: &Value) -> Option<&'a str> {
    if flag(schema, "x-kubernetes-int-or-string") {
        return (!(value.is_string() || is_whole(value))).then_some("integer,string");
    }
    let wanted = schema["type"].as_str()?;
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => is_whole(value),
        "number" => value.is_number(),
        _ => true,
    };
    (!fits).then_some(wanted)
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
