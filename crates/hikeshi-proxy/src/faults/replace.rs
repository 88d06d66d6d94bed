//! Replace: parts of a request or an answer become something else.

use std::collections::BTreeMap;

use bytes::Bytes;
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
        set_headers(&mut parts.headers, &self.headers);
        self.body.clone().map(Bytes::from)
    }

    pub(crate) fn response(&self, parts: &mut http::response::Parts) -> Option<Bytes> {
        if let Some(status) = self.code.and_then(|code| StatusCode::from_u16(code).ok()) {
            parts.status = status;
        }
        set_headers(&mut parts.headers, &self.headers);
        self.body.clone().map(Bytes::from)
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

fn set_headers(headers: &mut HeaderMap, wanted: &BTreeMap<String, String>) {
    for (name, value) in wanted {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
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
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name))
        .map(str::to_string)
        .collect();
    pairs.push(format!("{name}={value}"));
    pairs.join("&")
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
