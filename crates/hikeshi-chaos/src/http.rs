//! HTTPChaos: what happens to requests that a pod receives, or to its answers.

use std::collections::BTreeMap;

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

use crate::check::Check;
use crate::selector::{self, COMMON};
use crate::shape::{DURATION, Field, Fixed, Shape, cannot, may, must};
use crate::words::Words;

/// Which half of an exchange is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Target {
    Request,
    Response,
}

/// The part of an HTTPChaos' spec that says what happens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Spec {
    pub target: Target,
    pub port: u16,
    /// `*` is any number of characters, `?` exactly one.
    pub path: Option<String>,
    pub method: Option<String>,
    pub code: Option<u16>,
    pub request_headers: Option<BTreeMap<String, String>>,
    pub response_headers: Option<BTreeMap<String, String>>,
    pub abort: Option<bool>,
    pub delay: Option<String>,
    pub replace: Option<Replace>,
    pub patch: Option<Patch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Replace {
    pub path: Option<String>,
    pub method: Option<String>,
    pub code: Option<u16>,
    /// Base64.
    pub body: Option<String>,
    pub queries: Option<BTreeMap<String, String>>,
    pub headers: Option<BTreeMap<String, String>>,
}

impl Replace {
    /// The new body's bytes.
    pub fn body(&self) -> Result<Option<Vec<u8>>, Words> {
        let decode = |text: &String| base64::engine::general_purpose::STANDARD.decode(text);
        let body = self.body.as_ref().map(decode).transpose();
        body.map_err(|error| {
            Words::new(
                format!("base64 ではありません: {error}"),
                format!("is not base64: {error}"),
            )
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Patch {
    pub body: Option<PatchBody>,
    pub queries: Option<Vec<(String, String)>>,
    pub headers: Option<Vec<(String, String)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PatchBody {
    #[serde(rename = "type")]
    pub kind: String,
    /// JSON text.
    pub value: String,
}

impl PatchBody {
    /// The merge patch (RFC 7396).
    pub fn merge(&self) -> Result<Value, Words> {
        serde_json::from_str(&self.value).map_err(|error| {
            Words::new(
                format!("JSON ではありません: {error}"),
                format!("is not JSON: {error}"),
            )
        })
    }
}

const FIELDS: &[Field] = &[
    must("target", Shape::Choice(&["Request", "Response"])),
    must("port", Shape::Port),
    may("path", Shape::Text),
    may("method", Shape::Text),
    may("code", Shape::Status),
    may("request_headers", Shape::TextMap),
    may("response_headers", Shape::TextMap),
    may("abort", Shape::Flag),
    may("delay", DURATION),
    may("replace", Shape::Object(REPLACE)),
    may("patch", Shape::Object(PATCH)),
    may(
        "tls",
        Shape::Refused((
            "Pod 同士は平文の HTTP で話し、TLS の中は見ません",
            "pods speak plain HTTP to each other; TLS is not taken apart",
        )),
    ),
];

const REPLACE: &[Field] = &[
    may("path", Shape::Text),
    may("method", Shape::Text),
    may("code", Shape::Status),
    may("body", Shape::Text),
    may("queries", Shape::TextMap),
    may("headers", Shape::TextMap),
];

const PATCH: &[Field] = &[
    may(
        "body",
        Shape::Object(&[must("type", Shape::Choice(&["JSON"])), must("value", Shape::Text)]),
    ),
    may("queries", Shape::Pairs),
    may("headers", Shape::Pairs),
];

/// Headers that frame a message: changing them would break it for everybody on the way.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "connection"];

const OF_REQUESTS: Fixed = (
    "レスポンスにはありません。target を Request にしてください",
    "an answer has none; this needs target Request",
);

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    selector::check(check, at, spec);
    if let Some(spec) = check.read::<Spec>(at, spec, &[FIELDS, COMMON]) {
        values(check, at, &spec);
    }
}

fn values(check: &mut Check, at: &str, spec: &Spec) {
    let on_request = spec.target == Target::Request;
    if on_request {
        let unknown_yet = (
            "リクエストの時点ではレスポンスが分かりません。target を Response にしてください",
            "needs target Response: a fault on requests cannot know the answer",
        );
        if spec.code.is_some_and(|code| code != 0) {
            check.add(format!("{at}.code"), unknown_yet);
        }
        if spec
            .response_headers
            .as_ref()
            .is_some_and(|headers| !headers.is_empty())
        {
            check.add(format!("{at}.response_headers"), unknown_yet);
        }
    }
    let delays = spec.delay.as_ref().is_some_and(|text| !text.is_empty());
    if !spec.abort.unwrap_or(false) && !delays && spec.replace.is_none() && spec.patch.is_none() {
        let words = (
            "これでは何も起こりません。abort、delay、replace、patch のどれかを書いてください",
            "does nothing: give it one of abort, delay, replace and patch",
        );
        check.add(at, words);
    }
    if let Some(replace) = &spec.replace {
        replaced(check, &format!("{at}.replace"), replace, on_request);
    }
    if let Some(patch) = &spec.patch {
        patched(check, &format!("{at}.patch"), patch, on_request);
    }
}

fn replaced(check: &mut Check, at: &str, replace: &Replace, on_request: bool) {
    match replace.code {
        Some(code) if on_request && code != 0 => {
            let words = Words::new(
                format!("{code}: リクエストにステータスはありません。target を Response にしてください"),
                format!("{code}: a request has no status code; this needs target Response"),
            );
            check.add(format!("{at}.code"), words);
        }
        Some(code) if code != 0 && !(200..=999).contains(&code) => {
            let words = Words::new(
                format!("{code} は最終のステータス (200〜999) ではありません"),
                format!("{code} is no final status code, 200 to 999"),
            );
            check.add(format!("{at}.code"), words);
        }
        _ => {}
    }
    let of_requests = [
        ("path", replace.path.is_some()),
        ("method", replace.method.is_some()),
        (
            "queries",
            replace
                .queries
                .as_ref()
                .is_some_and(|queries| !queries.is_empty()),
        ),
    ];
    for (name, _) in of_requests.iter().filter(|(_, said)| *said && !on_request) {
        check.add(format!("{at}.{name}"), OF_REQUESTS);
    }
    if let Some(path) = replace
        .path
        .as_deref()
        .filter(|path| !path.is_empty() && !path.starts_with('/'))
    {
        let words = Words::new(
            format!("{path:?} は / で始めてください"),
            format!("{path:?} must begin with /"),
        );
        check.add(format!("{at}.path"), words);
    }
    check.take(format!("{at}.body"), replace.body());
    framing(check, at, replace.headers.iter().flatten().map(|(name, _)| name));
}

fn patched(check: &mut Check, at: &str, patch: &Patch, on_request: bool) {
    if !on_request && patch.queries.as_ref().is_some_and(|queries| !queries.is_empty()) {
        check.add(format!("{at}.queries"), OF_REQUESTS);
    }
    if let Some(body) = &patch.body {
        check.take(format!("{at}.body.value"), body.merge());
    }
    framing(check, at, patch.headers.iter().flatten().map(|(name, _)| name));
}

fn framing<'a>(check: &mut Check, at: &str, names: impl Iterator<Item = &'a String>) {
    for name in names.filter(|name| FRAMING.contains(&name.to_ascii_lowercase().as_str())) {
        let why = ("メッセージの区切りを決めるヘッダーです", "it frames the message");
        check.add(format!("{at}.headers[{name}]"), cannot(why));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::problems;

    fn found(spec: serde_json::Value) -> Vec<String> {
        let mut spec = spec;
        for (name, value) in [("selector", json!({})), ("mode", json!("all"))] {
            if spec.get(name).is_none() {
                spec[name] = value;
            }
        }
        let found = problems("HTTPChaos", &json!({"spec": spec}));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_spec_has_no_problems() {
        let spec = json!({"target": "Request", "port": 80, "delay": "1s", "duration": "40s", "method": null, "value": "",
            "replace": {"path": "/x", "queries": {"a": "b"}, "body": "b29wcw=="},
            "patch": {"body": {"type": "JSON", "value": "{}"}, "queries": [["a", "b"]], "headers": [["a", "b"]]}});
        assert_eq!(found(spec), Vec::<String>::new());
    }

    #[test]
    fn every_field_that_is_not_honoured_is_named() {
        for (spec, words) in [
            (
                json!({"target": "Both", "port": 80, "abort": true}),
                "spec.target: ",
            ),
            (
                json!({"target": "Request", "port": 70000, "abort": true}),
                "spec.port: ",
            ),
            (
                json!({"target": "Request", "port": 80, "abort": true, "tls": {"secretName": "x"}}),
                "spec.tls: ",
            ),
            (json!({"target": "Request", "port": 80}), "one of abort"),
            (
                json!({"target": "Request", "port": 80, "delay": "soon"}),
                "spec.delay: \"soon\"",
            ),
            (
                json!({"target": "Request", "port": 80, "abort": true, "code": 500}),
                "spec.code: ",
            ),
            (
                json!({"target": "Request", "port": 80, "replace": {"code": 500}}),
                "spec.replace.code: ",
            ),
            (
                json!({"target": "Response", "port": 80, "replace": {"body": "%"}}),
                "spec.replace.body: ",
            ),
            (
                json!({"target": "Response", "port": 80, "replace": {"bdy": "x"}}),
                "did you mean body?",
            ),
            (
                json!({"target": "Response", "port": 80, "replace": {"path": "/"}}),
                "spec.replace.path: ",
            ),
            (
                json!({"target": "Response", "port": 80, "patch": {"queries": [["a", "b"]]}}),
                "spec.patch.queries",
            ),
            (
                json!({"target": "Response", "port": 80, "patch": {"body": {"type": "XML", "value": ""}}}),
                "patch.body.type",
            ),
            (
                json!({"target": "Response", "port": 80, "patch": {"headers": [["Content-Length", "1"]]}}),
                "[Content-Length]",
            ),
            (
                json!({"target": "Request", "port": 80, "abort": true, "selector": {"nods": []}}),
                "did you mean nodes?",
            ),
            (
                json!({"target": "Request", "port": 80, "abort": true, "mode": "some"}),
                "spec.mode: ",
            ),
            (
                json!({"target": "Request", "port": 80, "abort": true, "duration": 5}),
                "spec.duration: ",
            ),
        ] {
            let found = found(spec.clone()).join("; ");
            assert!(found.contains(words), "{spec}: {found} does not say {words}");
        }
    }
}
