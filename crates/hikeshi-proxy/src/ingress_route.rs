//! The `route` label of ingress requests, as CUJs spell routes (`POST /api/posts`): the method and the first two segments
//! of the path, ids made one, and never too many.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Most different routes; further ones are all [`OTHER`].
const MOST: usize = 64;
const OTHER: &str = "other";

#[derive(Debug, Default)]
pub(crate) struct RouteNames {
    known: Mutex<HashSet<String>>,
}

impl RouteNames {
    pub fn name(&self, method: &str, path: &str) -> String {
        let name = format!("{method} {}", template(path));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&name) {
            return name;
        }
        if known.len() >= MOST {
            return OTHER.to_string();
        }
        known.insert(name.clone());
        name
    }
}

fn template(path: &str) -> String {
    let mut name = String::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()).take(2) {
        name.push('/');
        name.push_str(if is_id(segment) { ":id" } else { segment });
    }
    if name.is_empty() { "/".to_string() } else { name }
}

fn is_id(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    digits == segment.len()
        || segment.len() > 40
        || (digits > 0 && segment.len() >= 16 && segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_one_route() {
        assert_eq!(template("/timeline/42/older"), "/timeline/:id");
        assert_eq!(
            template("/posts/0190b3c4-7d1e-7aaa-8bbb-123456789abc"),
            "/posts/:id"
        );
        assert_eq!(template("/api/v1/posts"), "/api/v1");
        assert_eq!(template("/"), "/");
    }

    #[test]
    fn a_scanner_cannot_grow_the_label_without_bound() {
        let routes = RouteNames::default();
        let names: HashSet<_> = (0..1000)
            .map(|n| routes.name("GET", &format!("/x{n}y")))
            .collect();
        assert_eq!(names.len(), MOST + 1);
    }
}
