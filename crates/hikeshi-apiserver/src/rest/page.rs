//! Lists in pieces (`limit` and `continue`): every piece shows the same moment, that of the first.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::request::Params;
use crate::status::{ApiError, ApiResult};
use crate::store::{Store, key_of};

/// Which piece of a list is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    limit: Option<usize>,
    after: Option<Place>,
    /// The moment to show; `None`: now.
    revision: Option<u64>,
}

/// Where a piece ended, as the next one's `continue` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    namespace: String,
    name: String,
}

/// A list's objects of one moment, and what of them one answer holds.
pub(super) struct Piece {
    pub objects: Vec<Arc<Value>>,
    /// The list's metadata.
    pub metadata: Value,
}

impl Page {
    pub fn of(params: &Params) -> ApiResult<Page> {
        let limit = params.number("limit")?.filter(|limit| *limit > 0);
        let mut page = Page {
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            ..Page::default()
        };
        let (token, revision) = (params.get("continue"), params.get("resourceVersion"));
        let exact = match params.get("resourceVersionMatch") {
            "" | "NotOlderThan" => false,
            "Exact" => true,
            other => {
                let message =
                    format!("invalid resourceVersionMatch {other:?}: must be Exact or NotOlderThan");
                return Err(ApiError::bad_request(message));
            }
        };
        if !token.is_empty() {
            if !matches!(revision, "" | "0") {
                let message = "specifying resource version is not allowed when using continue";
                return Err(ApiError::bad_request(message));
            }
            let (place, at) = read(token)
                .ok_or_else(|| ApiError::bad_request(format!("continue key is not valid: {token:?}")))?;
            (page.after, page.revision) = (Some(place), at);
        } else if exact {
            let message = || format!("resourceVersion: {revision:?} is not a revision to match exactly");
            let at = revision.parse().ok().filter(|at| *at > 0);
            page.revision = Some(at.ok_or_else(|| ApiError::bad_request(message()))?);
        }
        Ok(page)
    }

    /// Takes this piece from a store. `of` gives an object as it is listed, or `None` when it is not.
    pub fn take(
        &self,
        store: &Store,
        key: &str,
        namespace: Option<&str>,
        counted: bool,
        of: impl Fn(&Arc<Value>) -> Option<Arc<Value>>,
    ) -> ApiResult<Piece> {
        let (revision, stored) = match self.revision {
            None => store.list(key, namespace),
            Some(at) => match store.list_at(at, key, namespace) {
                Ok(objects) => (at, objects),
                Err(oldest) => return Err(self.expired(at, oldest)),
            },
        };
        let is_left = |object: &&Arc<Value>| {
            let after = self.after.as_ref();
            after.is_none_or(|place| key_of(object) > (place.namespace.as_str(), place.name.as_str()))
        };
        let mut left = stored.iter().filter(is_left).filter_map(of);
        let objects: Vec<Arc<Value>> = left.by_ref().take(self.limit.unwrap_or(usize::MAX)).collect();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        let remaining = left.count();
        if let Some(last) = objects.last().filter(|_| remaining > 0) {
            let (namespace, name) = key_of(last);
            metadata["continue"] = write(namespace, name, Some(revision)).into();
            if counted {
                metadata["remainingItemCount"] = remaining.into();
            }
        }
        Ok(Piece { objects, metadata })
    }

    /// The moment is gone. Who goes on gets the rest as it is now, by the token in the refusal.
    fn expired(&self, at: u64, oldest: u64) -> ApiError {
        let Some(place) = &self.after else {
            return ApiError::expired(at, oldest);
        };
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
            list without the continue parameter, or use the continue token in this response to retrieve the remainder of \
            the results. Continuing with the provided token results in an inconsistent list - objects that were created, \
            modified, or deleted between the time the first chunk was returned and now may show up in the list.";
        let mut error = ApiError::new(410, "Expired", message);
        error.metadata = json!({"continue": write(&place.namespace, &place.name, None)});
        error
    }
}

fn write(namespace: &str, name: &str, revision: Option<u64>) -> String {
    URL_SAFE_NO_PAD.encode(json!([revision, namespace, name]).to_string())
}

fn read(token: &str) -> Option<(Place, Option<u64>)> {
    let text = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (revision, namespace, name) = serde_json::from_slice(&text).ok()?;
    Some((Place { namespace, name }, revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    fn piece(store: &Store, query: &str) -> ApiResult<(String, Value)> {
        let piece = Page::of(&params(query))?.take(store, "pods", None, true, |o| Some(Arc::clone(o)))?;
        let names: Vec<&str> = piece.objects.iter().map(|object| key_of(object).1).collect();
        Ok((names.concat(), piece.metadata))
    }

    fn put(store: &Store, namespace: &str, name: &str) {
        let object = json!({"metadata": {"namespace": namespace, "name": name}});
        store
            .write(|view| view.put("pods", namespace, name, object))
            .unwrap();
    }

    #[test]
    fn pieces_show_one_moment_whatever_happens_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for (namespace, name) in [("x", "b"), ("x", "d"), ("y", "a"), ("y", "e")] {
            put(&store, namespace, name);
        }
        let (names, metadata) = piece(&store, "limit=2").unwrap();
        assert_eq!(
            (names.as_str(), &metadata["remainingItemCount"]),
            ("bd", &json!(2))
        );
        let (first, token) = (
            metadata["resourceVersion"].clone(),
            metadata["continue"].as_str().unwrap(),
        );
        put(&store, "y", "0");
        put(&store, "y", "a");
        store.write(|view| view.delete("pods", "y", "e")).unwrap();
        let (names, metadata) = piece(&store, &format!("limit=2&continue={token}")).unwrap();
        assert_eq!((names.as_str(), &metadata["resourceVersion"]), ("ae", &first));
        assert_eq!(metadata.get("continue"), None);
        assert_eq!(piece(&store, "").unwrap().0, "bd0a");
        let exact = format!(
            "resourceVersionMatch=Exact&resourceVersion={}",
            first.as_str().unwrap()
        );
        assert_eq!(piece(&store, &exact).unwrap().0, "bdae");
    }

    #[test]
    fn a_moment_that_is_gone_is_expired_and_says_how_to_go_on() {
        let dir = tempfile::tempdir().unwrap();
        put(&Store::open(dir.path()).unwrap(), "x", "a");
        // Opened again, the store knows the present only.
        let store = Store::open(dir.path()).unwrap();
        put(&store, "x", "b");
        let token = write("x", "a", Some(1));
        let error = piece(&store, &format!("continue={token}")).err().unwrap();
        assert_eq!((error.code, error.reason.as_str()), (410, "Expired"));
        let status = error.status();
        let token = status["metadata"]["continue"].as_str().unwrap();
        assert_eq!(piece(&store, &format!("continue={token}")).unwrap().0, "b");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for query in [
            "continue=%21",
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=x",
            "limit=x",
        ] {
            assert_eq!(Page::of(&params(query)).unwrap_err().code, 400, "{query}");
        }
        let token = write("x", "a", Some(1));
        let both = format!("continue={token}&resourceVersion=7");
        assert_eq!(Page::of(&params(&both)).unwrap_err().code, 400);
    }
}
