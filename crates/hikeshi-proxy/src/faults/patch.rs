//! Patch: something is added to a request or an answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::HttpTarget;
use super::replace::{check_headers, query_pair, set_uri};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Patch {
    /// RFC 7396 merge patch. A body that is not JSON stays as it is.
    pub body: Option<Value>,
    /// Query parameters to append.
    pub queries: Vec<(String, String)>,
    /// Headers to append.
    pub headers: Vec<(String, String)>,
}

impl Patch {
    pub fn validate(&self, target: HttpTarget) -> Result<(), String> {
        if target == HttpTarget::Response && !self.queries.is_empty() {
            return Err("patch.queries: an answer has none".into());
        }
        check_headers(
            "patch.headers",
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())),
        )
    }

    pub(crate) fn request(&self, parts: &mut http::request::Parts) {
        if !self.queries.is_empty() {
            let mut pairs: Vec<String> = parts.uri.query().map(str::to_string).into_iter().collect();
            pairs.extend(self.queries.iter().map(|(name, value)| query_pair(name, value)));
            let path = parts.uri.path().to_string();
            set_uri(parts, &path, &pairs.join("&"));
        }
        append(&mut parts.headers, &self.headers);
    }

    pub(crate) fn response(&self, parts: &mut http::response::Parts) {
        append(&mut parts.headers, &self.headers);
    }

    /// The patched body, or `None` when it must stay.
    pub(crate) fn merged(&self, body: &[u8]) -> Option<Bytes> {
        let patch = self.body.as_ref()?;
        let mut document: Value = serde_json::from_slice(body).ok()?;
        json_patch::merge(&mut document, patch);
        serde_json::to_vec(&document).ok().map(Bytes::from)
    }
}

fn append(headers: &mut HeaderMap, wanted: &[(String, String)]) {
    for (name, value) in wanted {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_merged_and_anything_else_stays() {
        let patch = Patch {
            body: Some(serde_json::json!({"a": null, "b": 2})),
            ..Default::default()
        };
        assert_eq!(patch.merged(br#"{"a":1,"c":3}"#).unwrap(), r#"{"b":2,"c":3}"#);
        assert_eq!(patch.merged(b"<html>"), None);
    }

    #[test]
    fn queries_and_headers_are_appended() {
        let patch = Patch {
            queries: vec![("a".into(), "2 3".into())],
            headers: vec![("set-cookie".into(), "b=2".into())],
            ..Default::default()
        };
        let request = http::Request::get("/x?a=1")
            .header("set-cookie", "a=1")
            .body(())
            .unwrap();
        let (mut parts, ()) = request.into_parts();
        patch.request(&mut parts);
        assert_eq!(parts.uri, "/x?a=1&a=2%203");
        assert_eq!(parts.headers.get_all("set-cookie").iter().count(), 2);
    }
}
