//! Replace: parts of a request or an answer become something else.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::HttpTarget;

/// What to put in place of what is there; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Replace {
    pub path: Option<String>,
    pub method: Option<String>,
    pub code: Option<u16>,
    /// Raw bytes of the new body.
    pub body: Option<Vec<u8>>,
    /// Query parameters to set; others stay.
    pub queries: BTreeMap<String, String>,
    /// Headers to set; others stay.
    pub headers: BTreeMap<String, String>,
}

impl Replace {
    pub fn validate(&self, target: HttpTarget) -> Result<(), String> {
        match target {
            HttpTarget::Request if self.code.is_some() => {
                Err("replace.code: a request has no status code".into())
            }
            HttpTarget::Response
                if self.path.is_some() || self.method.is_some() || !self.queries.is_empty() =>
            {
                Err("replace.path, method and queries: an answer has none of them".into())
            }
            _ => {
                if let Some(code) = self.code {
                    StatusCode::from_u16(code)
                        .map_err(|_| format!("replace.code: {code} is no status code"))?;
                    if code < 200 {
                        return Err(format!("replace.code: {code} does not end an exchange"));
                    }
                }
                if let Some(method) = &self.method {
                    Method::from_bytes(method.as_bytes())
                        .map_err(|_| format!("replace.method: {method} is no method"))?;
                }
                if let Some(path) = &self.path
                    && (!path.starts_with('/') || path.parse::<PathAndQuery>().is_err())
                {
                    return Err(format!("replace.path: {path} is no path"));
                }
                check_headers(
                    "replace.headers",
                    self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())),
                )
            }
        }
    }

    pub(crate) fn request(&self, parts: &mut http::request::Parts) -> Option<Bytes> {
        if let Some(method) = self
            .method
            .as_ref()
            .and_then(|m| Method::from_bytes(m.as_bytes()).ok())
        {
            parts.method = method;
        }
        let path = self.path.as_deref().unwrap_or(parts.uri.path()).to_string();
        let mut query = parts.uri.query().unwrap_or_default().to_string();
        for (name, value) in &self.queries {
            query = set_query(&query, name, value);
        }
        set_uri(parts, &path, &query);
        self.set_headers(&mut parts.headers);
        self.body.clone().map(Bytes::from)
    }

    pub(crate) fn response(&self, parts: &mut http::response::Parts) -> Option<Bytes> {
        if let Some(status) = self.code.and_then(|code| StatusCode::from_u16(code).ok()) {
            parts.status = status;
        }
        self.set_headers(&mut parts.headers);
        self.body.clone().map(Bytes::from)
    }
}

impl Replace {
    fn set_headers(&self, headers: &mut HeaderMap) {
        if self.body.is_some() {
            // The old body's, which would make the new one unreadable.
            headers.remove(CONTENT_ENCODING);
        }
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                headers.insert(name, value);
            }
        }
    }
}

pub(super) fn check_headers<'a>(
    field: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    for (name, value) in headers {
        if name.parse::<HeaderName>().is_err() || value.parse::<HeaderValue>().is_err() {
            return Err(format!("{field}: {name} is no header"));
        }
        if ["content-length", "transfer-encoding", "connection"].contains(&name.to_ascii_lowercase().as_str())
        {
            return Err(format!(
                "{field}: {name} frames the message and cannot be changed"
            ));
        }
    }
    Ok(())
}

pub(super) fn set_uri(parts: &mut http::request::Parts, path: &str, query: &str) {
    let text = if query.is_empty() {
        path.to_string()
    } else {
        format!("{path}?{query}")
    };
    let Ok(path_and_query) = text.parse::<PathAndQuery>() else {
        return;
    };
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(path_and_query);
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
}

fn set_query(query: &str, name: &str, value: &str) -> String {
    let new = query_pair(name, value);
    let of = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let mut pairs: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && of(pair) != of(&new))
        .collect();
    pairs.push(&new);
    pairs.join("&")
}

/// `name=value` as a query may hold it (RFC 3986): what would end or divide it is escaped, what is escaped already stays.
pub(super) fn query_pair(name: &str, value: &str) -> String {
    let escape = |text: &str, and: &[u8]| {
        let mut escaped = String::with_capacity(text.len());
        for byte in text.bytes() {
            let stays = byte.is_ascii_graphic() && !br##""#&<>"##.contains(&byte) && !and.contains(&byte);
            if stays {
                escaped.push(char::from(byte));
            } else {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        }
        escaped
    };
    format!("{}={}", escape(name, b"="), escape(value, b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_its_new_parts_and_keeps_the_others() {
        let replace = Replace {
            path: Some("/new".into()),
            queries: [("a".into(), "2".into())].into(),
            headers: [("x-a".into(), "b".into())].into(),
            ..Default::default()
        };
        let request = http::Request::get("/old?a=1&b=1")
            .header("x-a", "a")
            .header("x-b", "b")
            .body(())
            .unwrap();
        let (mut parts, ()) = request.into_parts();
        assert_eq!(replace.request(&mut parts), None);
        assert_eq!(parts.uri, "/new?b=1&a=2");
        assert_eq!(parts.headers["x-a"], "b");
        assert_eq!(parts.headers["x-b"], "b");
    }

    #[test]
    fn a_query_may_say_anything() {
        let replace = Replace {
            queries: [("a".into(), "x y&b=#\u{e9}".into()), ("c".into(), "1=%20".into())].into(),
            ..Default::default()
        };
        let request = http::Request::get("/?a=1&d=2").body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        replace.request(&mut parts);
        assert_eq!(parts.uri, "/?d=2&a=x%20y%26b=%23%C3%A9&c=1=%20");
    }

    #[test]
    fn a_new_body_is_not_encoded_as_the_old_one_was() {
        let answer = || {
            let answer = http::Response::builder().header("content-encoding", "gzip");
            answer.body(()).unwrap().into_parts().0
        };
        let mut replace = Replace {
            body: Some(b"oops".to_vec()),
            ..Default::default()
        };
        let mut parts = answer();
        replace.response(&mut parts);
        assert!(!parts.headers.contains_key("content-encoding"));
        replace.headers.insert("Content-Encoding".into(), "br".into());
        let mut parts = answer();
        replace.response(&mut parts);
        assert_eq!(parts.headers["content-encoding"], "br");
        replace.body = None;
        replace.headers.clear();
        let mut parts = answer();
        replace.response(&mut parts);
        assert_eq!(parts.headers["content-encoding"], "gzip");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let code = Replace {
            code: Some(503),
            ..Default::default()
        };
        assert!(code.validate(HttpTarget::Request).is_err());
        assert!(code.validate(HttpTarget::Response).is_ok());
        let framing = Replace {
            headers: [("Content-Length".into(), "1".into())].into(),
            ..Default::default()
        };
        assert!(
            framing
                .validate(HttpTarget::Response)
                .unwrap_err()
                .contains("Content-Length")
        );
    }
}
