//! The objects: in memory, with an append-only log on disk and a history for watches.
//!
//! Every change is one line, written with one `write(2)` before it is acknowledged. The page cache outlives a killed
//! process, so nothing acknowledged is lost to `kill -9`; a machine that loses power may lose the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};
use tokio::sync::watch;

/// Changes kept for watches that resume.
const HISTORY: usize = 20_000;
/// Events kept; older ones go first.
const MAX_EVENTS: usize = 1_000;
/// A log longer than this is rewritten with the living objects only, once most of it is stale.
const COMPACT_AT: u64 = 64 << 20;

/// Where definitions of custom kinds are stored.
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: line {line} is damaged: {message}", path.display())]
    Damaged {
        path: PathBuf,
        line: usize,
        message: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One write. Revisions have no gaps, so the history is indexed by them.
#[derive(Debug)]
pub(crate) struct Change {
    pub kind: ChangeKind,
    pub resource: String,
    pub namespace: String,
    /// The object after the change (for a deletion: at its last moment, with the deletion's revision).
    pub object: Arc<Value>,
    /// The object before, for watches whose selector it may have left.
    pub previous: Option<Arc<Value>>,
}

type Objects = BTreeMap<(String, String), Arc<Value>>;

/// The store's contents under its lock.
pub(crate) struct View {
    objects: BTreeMap<String, Objects>,
    revision: u64,
    history: VecDeque<Arc<Change>>,
    /// Event names, oldest first.
    events: VecDeque<(String, String)>,
    /// The revision of the last change to a role or a binding.
    rbac: u64,
    /// The revision of the last change to a CustomResourceDefinition.
    definitions: u64,
    log: fs::File,
    log_len: u64,
    path: PathBuf,
}

pub(crate) struct Store {
    view: RwLock<View>,
    latest: watch::Sender<u64>,
}

impl View {
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects
            .get(resource)?
            .get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Objects of a resource, ordered by namespace and name.
    pub fn list<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let from = (namespace.unwrap_or_default().to_owned(), String::new());
        let range = self
            .objects
            .get(resource)
            .map(|objects| objects.range(from..))
            .into_iter()
            .flatten();
        range
            .take_while(move |((ns, _), _)| namespace.is_none_or(|n| n == ns))
            .map(|(_, object)| object)
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision of the last change to a role or a binding: a policy read since then still holds.
    pub fn rbac_revision(&self) -> u64 {
        self.rbac
    }

    /// The revision of the last change to a definition: a list of kinds read since then still holds.
    pub fn definitions_revision(&self) -> u64 {
        self.definitions
    }

    /// Every object of a namespace, as (resource, name, object).
    pub fn in_namespace(&self, namespace: &str) -> Vec<(String, String, Arc<Value>)> {
        let mut found = Vec::new();
        for (resource, objects) in &self.objects {
            for ((ns, name), object) in objects.range((namespace.to_owned(), String::new())..) {
                if ns != namespace {
                    break;
                }
                found.push((resource.clone(), name.clone(), Arc::clone(object)));
            }
        }
        found
    }

    /// Stores an object under the next revision.
    pub fn put(
        &mut self,
        resource: &str,
        namespace: &str,
        name: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, StoreError> {
        object["metadata"]["resourceVersion"] = Value::from((self.revision + 1).to_string());
        let object = Arc::new(object);
        let line = json!({"rv": self.revision + 1, "key": [resource, namespace, name], "object": &*object});
        self.append(&line)?;
        self.revision += 1;
        let key = (namespace.to_owned(), name.to_owned());
        let previous = self
            .objects
            .entry(resource.to_owned())
            .or_default()
            .insert(key.clone(), Arc::clone(&object));
        let kind = if previous.is_some() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        let new_event = resource == "events" && previous.is_none();
        self.remember(kind, resource, namespace, Arc::clone(&object), previous);
        if new_event {
            self.events.push_back(key);
            while self.events.len() > MAX_EVENTS
                && let Some((namespace, name)) = self.events.pop_front()
            {
                self.delete("events", &namespace, &name)?;
            }
        }
        Ok(object)
    }

    /// Removes an object; `None` when there was none.
    pub fn delete(
        &mut self,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, StoreError> {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(previous) = self.objects.get(resource).and_then(|o| o.get(&key)).cloned() else {
            return Ok(None);
        };
        self.append(&json!({"rv": self.revision + 1, "key": [resource, namespace, name]}))?;
        self.revision += 1;
        if let Some(objects) = self.objects.get_mut(resource) {
            objects.remove(&key);
        }
        let mut last = (*previous).clone();
        last["metadata"]["resourceVersion"] = Value::from(self.revision.to_string());
        let last = Arc::new(last);
        self.remember(
            ChangeKind::Deleted,
            resource,
            namespace,
            Arc::clone(&last),
            Some(previous),
        );
        Ok(Some(last))
    }

    fn remember(
        &mut self,
        kind: ChangeKind,
        resource: &str,
        namespace: &str,
        object: Arc<Value>,
        previous: Option<Arc<Value>>,
    ) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        if resource.ends_with(crate::rbac::GROUP) {
            self.rbac = self.revision;
        }
        if resource == DEFINITIONS {
            self.definitions = self.revision;
        }
        let (resource, namespace) = (resource.to_owned(), namespace.to_owned());
        self.history.push_back(Arc::new(Change {
            kind,
            resource,
            namespace,
            object,
            previous,
        }));
    }

    /// See [`Store::since`].
    fn changes_since(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Arc<Change>>, u64> {
        let oldest = self.revision - self.history.len() as u64;
        if revision < oldest || revision > self.revision {
            return Err(oldest);
        }
        Ok(self.history.range((revision - oldest) as usize..))
    }

    fn append(&mut self, line: &Value) -> Result<(), StoreError> {
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        let io = |path: &Path, source| StoreError::Io {
            path: path.to_owned(),
            source,
        };
        if self.log_len > COMPACT_AT && self.log_len > 4 * self.live_bytes() {
            (self.log, self.log_len) = rewrite(&self.path, self.revision, &self.objects)?;
        }
        if let Err(source) = self.log.write_all(&bytes) {
            // A full disk may have taken half a line; the next write must not continue it.
            self.log.set_len(self.log_len).map_err(|e| io(&self.path, e))?;
            return Err(io(&self.path, source));
        }
        self.log_len += bytes.len() as u64;
        Ok(())
    }

    fn live_bytes(&self) -> u64 {
        // An estimate is enough: a typical object is two kilobytes.
        self.objects.values().map(|o| o.len() as u64 * 2048).sum()
    }
}

impl Store {
    /// Reads the log in `dir` (made when missing), drops a torn last line, and compacts it.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        fs::create_dir_all(dir).map_err(|source| StoreError::Io {
            path: dir.to_owned(),
            source,
        })?;
        let path = dir.join("objects.jsonl");
        let (revision, objects) = read_log(&path)?;
        let (log, log_len) = rewrite(&path, revision, &objects)?;
        let mut events: Vec<(u64, (String, String))> = objects
            .get("events")
            .into_iter()
            .flatten()
            .map(|(key, object)| (revision_of(object), key.clone()))
            .collect();
        events.sort_unstable();
        let events = events.into_iter().map(|(_, key)| key).collect();
        let view = View {
            objects,
            revision,
            history: VecDeque::new(),
            events,
            rbac: revision,
            definitions: revision,
            log,
            log_len,
            path,
        };
        Ok(Store {
            view: RwLock::new(view),
            latest: watch::Sender::new(revision),
        })
    }

    /// Looks at the store; the closure must be short.
    pub fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the store; all changes of the closure become visible at once.
    pub fn write<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let before = view.revision;
        let result = change(&mut view);
        let news = view.history.len().min((view.revision - before) as usize);
        let news: Vec<Arc<Change>> = view.history.range(view.history.len() - news..).cloned().collect();
        if let Err(error) = crate::admission::quota::settle(&mut view, &news) {
            // The write itself is stored and acknowledged; the next one counts anew.
            tracing::warn!(%error, "the use of quotas could not be written");
        }
        let revision = view.revision;
        drop(view);
        self.latest.send_if_modified(|latest| {
            let newer = revision > *latest;
            *latest = revision.max(*latest);
            newer
        });
        result
    }

    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.read(|view| view.get(resource, namespace, name).cloned())
    }

    /// Objects with the revision of the snapshot.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Vec<Arc<Value>>) {
        self.read(|view| (view.revision, view.list(resource, namespace).cloned().collect()))
    }

    /// Objects as they were at `revision`, or the oldest revision still known when that is too long ago.
    pub fn list_at(
        &self,
        revision: u64,
        resource: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Value>>, u64> {
        self.read(|view| {
            let mut objects: BTreeMap<(&str, &str), &Arc<Value>> = view
                .list(resource, namespace)
                .map(|object| (key_of(object), object))
                .collect();
            // What happened since is undone, the latest first.
            let since = view.changes_since(revision)?;
            for change in since.rev().filter(|change| change.resource == resource) {
                if namespace.is_some_and(|namespace| namespace != change.namespace) {
                    continue;
                }
                let key = key_of(&change.object);
                match &change.previous {
                    Some(previous) => drop(objects.insert(key, previous)),
                    None => drop(objects.remove(&key)),
                }
            }
            Ok(objects.into_values().cloned().collect())
        })
    }

    /// Announces new revisions.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// Changes after `revision`, or the oldest revision one may resume from when they are gone
    /// (or `revision` lies in the future: a client that outlived a lost store).
    pub fn since(&self, revision: u64) -> Result<Vec<Arc<Change>>, u64> {
        self.read(|view| Ok(view.changes_since(revision)?.cloned().collect()))
    }

    /// Deletes events last seen before `cutoff` (RFC 3339, UTC, compared as text).
    pub fn expire_events(&self, cutoff: &str) -> Result<usize, StoreError> {
        self.write(|view| {
            let old: Vec<(String, String)> = view
                .events
                .iter()
                .filter(|(ns, name)| {
                    view.get("events", ns, name).is_none_or(|event| {
                        let seen = event["lastTimestamp"].as_str();
                        let made = event["metadata"]["creationTimestamp"].as_str();
                        seen.or(made).unwrap_or_default() < cutoff
                    })
                })
                .cloned()
                .collect();
            for (namespace, name) in &old {
                view.delete("events", namespace, name)?;
            }
            let gone: std::collections::HashSet<_> = old.iter().collect();
            view.events.retain(|key| !gone.contains(key));
            Ok(old.len())
        })
    }
}

/// An object's namespace (empty: none) and name, by which a resource's objects are ordered.
pub(crate) fn key_of(object: &Value) -> (&str, &str) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

/// The revision in an object's metadata; 0 when it has none.
pub(crate) fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|rv| rv.parse().ok())
        .unwrap_or(0)
}

fn read_log(path: &Path) -> Result<(u64, BTreeMap<String, Objects>), StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => {
            return Err(StoreError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let mut objects: BTreeMap<String, Objects> = BTreeMap::new();
    let mut revision = 1;
    for (number, line) in bytes[..whole]
        .split(|b| *b == b'\n')
        .enumerate()
        .filter(|(_, l)| !l.is_empty())
    {
        let damaged = |message: String| StoreError::Damaged {
            path: path.to_owned(),
            line: number + 1,
            message,
        };
        let mut line: Value = serde_json::from_slice(line).map_err(|e| damaged(e.to_string()))?;
        revision = line["rv"]
            .as_u64()
            .ok_or_else(|| damaged("no rv".into()))?
            .max(revision);
        let key = line["key"].take();
        let text = |i: usize| key[i].as_str().map(str::to_owned);
        let (Some(resource), Some(namespace), Some(name)) = (text(0), text(1), text(2)) else {
            continue; // the head line carries only the revision
        };
        let objects = objects.entry(resource).or_default();
        match line["object"].take() {
            Value::Null => drop(objects.remove(&(namespace, name))),
            object => drop(objects.insert((namespace, name), Arc::new(object))),
        }
    }
    Ok((revision, objects))
}

/// Writes a log with the living objects only, and swaps it in.
fn rewrite(
    path: &Path,
    revision: u64,
    objects: &BTreeMap<String, Objects>,
) -> Result<(fs::File, u64), StoreError> {
    let write = || -> io::Result<(fs::File, u64)> {
        let new = path.with_extension("new");
        let mut bytes = format!("{}\n", json!({"rv": revision})).into_bytes();
        for (resource, objects) in objects {
            for ((namespace, name), object) in objects {
                let rv = revision_of(object);
                serde_json::to_writer(
                    &mut bytes,
                    &json!({"rv": rv, "key": [resource, namespace, name], "object": &**object}),
                )?;
                bytes.push(b'\n');
            }
        }
        fs::write(&new, &bytes)?;
        let file = fs::OpenOptions::new().append(true).open(&new)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        Ok((file, bytes.len() as u64))
    };
    write().map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod killed;
#[cfg(test)]
mod tests;
