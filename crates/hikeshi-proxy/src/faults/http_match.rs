//! Which requests an HTTP fault is about.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::HttpTarget;

/// All that is given must match. An empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpMatch {
    /// `*` is any number of characters (slashes too), `?` exactly one. The query is not looked at.
    pub path: Option<String>,
    pub method: Option<String>,
    /// Status code of the answer.
    pub code: Option<u16>,
    pub request_headers: BTreeMap<String, String>,
    /// As `request_headers`, with `*` and `?` in the values: one person by her session's cookie.
    pub request_patterns: BTreeMap<String, String>,
    pub response_headers: BTreeMap<String, String>,
}

impl HttpMatch {
    pub fn validate(&self, target: HttpTarget) -> Result<(), String> {
        if target == HttpTarget::Request && (self.code.is_some() || !self.response_headers.is_empty()) {
            return Err("code and response_headers: a fault on requests cannot know the answer".into());
        }
        Ok(())
    }

    /// Whether it asks for a request's headers.
    pub(crate) fn reads_headers(&self) -> bool {
        !self.request_headers.is_empty() || !self.request_patterns.is_empty()
    }

    /// Whether a request could match, as far as its first line says. Costs no header map.
    pub(crate) fn may(&self, method: &str, path: &str) -> bool {
        self.method
            .as_ref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_ref().is_none_or(|pattern| wildcard(pattern, path))
    }

    pub(crate) fn request(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        self.method
            .as_ref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method.as_str()))
            && self.path.as_ref().is_none_or(|pattern| wildcard(pattern, path))
            && has_all(headers, &self.request_headers)
            && fits_all(headers, &self.request_patterns)
    }

    pub(crate) fn response(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.code.is_none_or(|code| code == status.as_u16()) && has_all(headers, &self.response_headers)
    }
}

fn has_all(headers: &HeaderMap, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| {
        headers
            .get_all(name.as_str())
            .iter()
            .any(|got| got.as_bytes() == value.as_bytes())
    })
}

fn fits_all(headers: &HeaderMap, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, pattern)| {
        let values = headers.get_all(name.as_str()).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .any(|value| wildcard(pattern, value))
    })
}

/// Whether `text` fits `pattern`, in time proportional to their product at worst.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    // For `?` a character is one unit: bytes will do where all are ASCII, and need no memory.
    if pattern.is_ascii() && text.is_ascii() {
        return fits(pattern.as_bytes(), text.as_bytes(), b'*', b'?');
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    fits(&pattern, &text, '*', '?')
}

fn fits<T: PartialEq>(pattern: &[T], text: &[T], any: T, one: T) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how far it has been made to reach.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == any {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == one || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, reach)) = star {
            star = Some((at, reach + 1));
            p = at + 1;
            t = reach + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|rest| *rest == any)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, fits) in [
            ("*", "/anything/at/all", true),
            ("/api/*", "/api/v1/posts", true),
            ("/api/*", "/apis", false),
            ("/posts/?", "/posts/7", true),
            ("/posts/?", "/posts/77", false),
            ("*/timeline/*", "/api/timeline/home", true),
            ("/a*b*c", "/aXbYbZc", true),
            ("", "", true),
            ("", "/", false),
        ] {
            assert_eq!(wildcard(pattern, text), fits, "{pattern} on {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_fits_itself_and_any_prefix_star(text in "[a-z/]{0,20}", cut in 0usize..20) {
            prop_assert!(wildcard(&text, &text));
            let cut = cut.min(text.len());
            let pattern = format!("{}*", &text[..cut]);
            prop_assert!(wildcard(&pattern, &text));
        }

        #[test]
        fn wildcards_agree_with_a_plain_definition(pattern in "[ab*?]{0,6}", text in "[ab]{0,6}") {
            fn plain(p: &[u8], t: &[u8]) -> bool {
                match (p.first(), t.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => plain(&p[1..], t) || (!t.is_empty() && plain(p, &t[1..])),
                    (Some(b'?'), Some(_)) => plain(&p[1..], &t[1..]),
                    (Some(a), Some(b)) => a == b && plain(&p[1..], &t[1..]),
                    _ => false,
                }
            }
            prop_assert_eq!(wildcard(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn a_header_must_be_there_with_its_value() {
        let wanted = HttpMatch {
            request_headers: [("x-user".into(), "ann".into())].into(),
            ..Default::default()
        };
        let mut headers = HeaderMap::new();
        assert!(!wanted.request(&Method::GET, "/", &headers));
        headers.append("X-User", "bob".parse().unwrap());
        assert!(!wanted.request(&Method::GET, "/", &headers));
        headers.append("X-User", "ann".parse().unwrap());
        assert!(wanted.request(&Method::GET, "/", &headers));
    }

    #[test]
    fn one_person_is_known_by_a_part_of_a_header() {
        let wanted = HttpMatch {
            request_patterns: [("cookie".into(), "*session=ann;*".into())].into(),
            ..Default::default()
        };
        let of = |cookie: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append("Cookie", http::HeaderValue::from_static(cookie));
            wanted.request(&Method::GET, "/", &headers)
        };
        assert!(of("theme=dark; session=ann; lang=ja"));
        assert!(!of("theme=dark; session=bob; lang=ja"));
        assert!(!wanted.request(&Method::GET, "/", &HeaderMap::new()));
    }
}
