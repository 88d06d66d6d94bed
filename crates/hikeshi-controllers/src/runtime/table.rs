//! A cache of every object of one kind, fed by a watch *and* by this process's own writes.
//!
//! Because a write is visible here before the write returns, a reconciler never acts twice on a change of its own:
//! this takes the place of the "expectations" that Kubernetes' controllers keep.

use std::any::TypeId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{Key, Tables};

/// Called with the tables, the object before and the object after a change.
type Listener<K> = Box<dyn Fn(&Tables, Option<&K>, Option<&K>) + Send + Sync>;

struct Entry<K> {
    object: Arc<K>,
    /// Which listing this entry was last seen in, or written during.
    generation: u64,
}

struct Inner<K> {
    objects: HashMap<Key, Entry<K>>,
    /// Objects that are no more: what is said of them later, by the watch or by a write's answer, is old.
    gone: Gone,
    generation: u64,
}

/// How many removed objects are remembered: far more than there can be answers under way.
const REMEMBERED: usize = 4_096;

/// The UIDs of the last removed objects. A UID is never used again.
#[derive(Default)]
struct Gone {
    uids: HashSet<String>,
    order: VecDeque<String>,
}

impl Gone {
    fn insert(&mut self, uid: &str) {
        if !self.uids.insert(uid.to_owned()) {
            return;
        }
        self.order.push_back(uid.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }
}

/// See the module's text.
pub(crate) struct Table<K> {
    inner: RwLock<Inner<K>>,
    listeners: RwLock<Vec<Listener<K>>>,
    synced: watch::Sender<bool>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            inner: RwLock::new(Inner {
                objects: HashMap::new(),
                gone: Gone::default(),
                generation: 0,
            }),
            listeners: RwLock::new(Vec::new()),
            synced: watch::Sender::new(false),
        }
    }
}

/// Resource versions of one API server are numbers that grow (Kubernetes guarantees it since 1.35).
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Table<K> {
    fn read(&self) -> RwLockReadGuard<'_, Inner<K>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner<K>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().objects.get(key).map(|entry| entry.object.clone())
    }

    /// Every object, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read()
            .objects
            .values()
            .map(|entry| entry.object.clone())
            .collect()
    }

    /// The objects of one namespace, by name.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let mut found: Vec<_> = self
            .read()
            .objects
            .iter()
            .filter(|(key, _)| key.namespace == namespace)
            .map(|(_, entry)| entry.object.clone())
            .collect();
        found.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
        found
    }

    pub(crate) fn listen(&self, listener: Listener<K>) {
        self.listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }

    /// Turns true when the first listing is complete.
    pub(crate) fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    fn announce(&self, tables: &Tables, old: Option<&K>, new: Option<&K>) {
        for listener in self
            .listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            listener(tables, old, new);
        }
    }

    /// Takes in the answer to a write, which may have been the object's last: the API server removes what is to go and
    /// has no finalizer left; pods have time to end.
    pub(crate) fn answer(&self, tables: &Tables, object: K) {
        let meta = object.meta();
        let is_pod = TypeId::of::<K>() == TypeId::of::<Pod>();
        let ended = !is_pod || meta.deletion_grace_period_seconds == Some(0);
        let held = meta.finalizers.as_ref().is_some_and(|names| !names.is_empty());
        if meta.deletion_timestamp.is_some() && !held && ended {
            self.remove(tables, &object);
        } else {
            self.apply(tables, object);
        }
    }

    /// Takes in an object as the API server returned it. Older versions than the known one are ignored.
    pub(crate) fn apply(&self, tables: &Tables, object: K) {
        let key = Key::of(&object);
        let new = Arc::new(object);
        let old = {
            let mut inner = self.write();
            if new
                .meta()
                .uid
                .as_ref()
                .is_some_and(|uid| inner.gone.uids.contains(uid))
            {
                return;
            }
            let generation = inner.generation;
            if let Some(known) = inner.objects.get_mut(&key)
                && let (Some(have), Some(got)) = (version(known.object.as_ref()), version(new.as_ref()))
                && got <= have
            {
                known.generation = generation;
                return;
            }
            inner
                .objects
                .insert(
                    key,
                    Entry {
                        object: new.clone(),
                        generation,
                    },
                )
                .map(|entry| entry.object)
        };
        self.announce(tables, old.as_deref(), Some(&new));
    }

    /// Takes in that an object (this very uid) is no more.
    pub(crate) fn remove(&self, tables: &Tables, object: &K) {
        self.forget(tables, object.meta());
    }

    fn forget(&self, tables: &Tables, meta: &ObjectMeta) {
        let key = Key::of_meta(meta);
        let old = {
            let mut inner = self.write();
            if let Some(uid) = &meta.uid {
                inner.gone.insert(uid);
            }
            match inner.objects.get(&key) {
                Some(known) if known.object.meta().uid == meta.uid => inner.objects.remove(&key),
                _ => None,
            }
        };
        if let Some(entry) = old {
            self.announce(tables, Some(&entry.object), None);
        }
    }

    /// Passes over an object that cannot be read: one such must not hide all others of its kind. What was known of it
    /// before stays.
    fn pass_over(&self, broken: &InvalidObject) {
        let key = Key::of_meta(&broken.metadata);
        let kind = std::any::type_name::<K>();
        tracing::error!(%key, kind, error = broken.error, "an object cannot be read and is passed over");
        let mut inner = self.write();
        let generation = inner.generation;
        if let Some(known) = inner.objects.get_mut(&key)
            && known.object.meta().uid == broken.metadata.uid
        {
            known.generation = generation;
        }
    }

    fn finish_listing(&self, tables: &Tables) {
        let vanished: Vec<Arc<K>> = {
            let mut inner = self.write();
            let generation = inner.generation;
            let vanished: Vec<Arc<K>> = inner
                .objects
                .extract_if(|_, entry| entry.generation != generation)
                .map(|(_, e)| e.object)
                .collect();
            for uid in vanished.iter().filter_map(|object| object.meta().uid.as_ref()) {
                inner.gone.insert(uid);
            }
            vanished
        };
        for object in vanished {
            self.announce(tables, Some(&object), None);
        }
        self.synced.send_replace(true);
    }

    /// Follows the API server forever.
    pub(crate) async fn follow(&self, tables: &Tables, api: Api<DeserializeGuard<K>>) {
        let mut stream = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut failing = false;
        while let Some(event) = stream.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, kind = std::any::type_name::<K>(), "watch failed; retrying");
                    }
                    failing = true;
                    continue;
                }
            };
            failing = false;
            self.take_in(tables, event);
        }
    }

    fn take_in(&self, tables: &Tables, event: watcher::Event<DeserializeGuard<K>>) {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        match event {
            Init => self.write().generation += 1,
            InitApply(DeserializeGuard(read)) | Apply(DeserializeGuard(read)) => match read {
                Ok(object) => self.apply(tables, object),
                Err(broken) => self.pass_over(&broken),
            },
            InitDone => self.finish_listing(tables),
            Delete(object) => self.forget(tables, object.meta()),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn object(name: &str, uid: &str, version: u64) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {
            "namespace": "ns", "name": name, "uid": uid, "resourceVersion": version.to_string()}}))
        .expect("a ConfigMap")
    }

    fn held(table: &Table<ConfigMap>, name: &str) -> Option<String> {
        table
            .get(&Key::new("ns", name))
            .and_then(|o| o.metadata.resource_version.clone())
    }

    #[test]
    fn late_news_does_not_undo_what_we_wrote() {
        let (tables, table) = (Tables::default(), Table::default());
        table.apply(&tables, object("a", "1", 7));
        table.apply(&tables, object("a", "1", 5));
        assert_eq!(held(&table, "a").as_deref(), Some("7"));
        table.remove(&tables, &object("a", "1", 7));
        table.apply(&tables, object("a", "1", 8));
        assert_eq!(
            held(&table, "a"),
            None,
            "an event from before our delete must not revive the object"
        );
        table.apply(&tables, object("a", "2", 10));
        table.remove(&tables, &object("a", "1", 9));
        assert_eq!(
            held(&table, "a").as_deref(),
            Some("10"),
            "the end of the former object is not the end of this"
        );
    }

    #[test]
    fn an_object_that_cannot_be_read_hides_no_other() {
        let (tables, table) = (Tables::default(), Table::<ConfigMap>::default());
        let broken = |name: &str| -> DeserializeGuard<ConfigMap> {
            let ill = json!({"metadata": {"namespace": "ns", "name": name, "uid": "1", "resourceVersion": "9"},
                "data": {"a": 1}});
            serde_json::from_value(ill).expect("its metadata can be read")
        };
        table.take_in(
            &tables,
            watcher::Event::Apply(DeserializeGuard(Ok(object("a", "1", 7)))),
        );
        table.take_in(&tables, watcher::Event::Init);
        table.take_in(&tables, watcher::Event::InitApply(broken("a")));
        table.take_in(&tables, watcher::Event::InitApply(broken("b")));
        let whole = DeserializeGuard(Ok(object("c", "3", 8)));
        table.take_in(&tables, watcher::Event::InitApply(whole));
        table.take_in(&tables, watcher::Event::InitDone);
        assert!(*table.synced().borrow());
        assert_eq!(held(&table, "c").as_deref(), Some("8"));
        assert_eq!(
            held(&table, "a").as_deref(),
            Some("7"),
            "what was known of it stays"
        );
        assert_eq!(held(&table, "b"), None);
        table.take_in(&tables, watcher::Event::Delete(broken("a")));
        assert_eq!(held(&table, "a"), None);
    }

    #[test]
    fn an_answer_that_comes_after_the_end_makes_no_ghost() {
        let (tables, table) = (Tables::default(), Table::default());
        table.apply(&tables, object("a", "1", 7));
        table.remove(&tables, &object("a", "1", 9));
        table.answer(&tables, object("a", "1", 8));
        assert_eq!(held(&table, "a"), None, "the watch was faster than the answer");

        for (uid, finalizers) in [("2", json!(["x"])), ("3", json!([]))] {
            let meta = json!({"namespace": "ns", "name": uid, "uid": uid, "resourceVersion": "5",
                "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30, "finalizers": finalizers});
            let both = json!({"metadata": meta});
            table.answer(
                &tables,
                serde_json::from_value(both.clone()).expect("a ConfigMap"),
            );
            assert_eq!(
                held(&table, uid).is_some(),
                finalizers != json!([]),
                "{finalizers}"
            );
            let pods: Table<Pod> = Table::default();
            pods.answer(&tables, serde_json::from_value(both).expect("a pod"));
            assert!(pods.get(&Key::new("ns", uid)).is_some(), "it has time to end");
        }
    }

    #[test]
    fn only_so_many_removed_objects_are_remembered() {
        let mut gone = Gone::default();
        for uid in 0..REMEMBERED * 2 {
            gone.insert(&uid.to_string());
        }
        assert_eq!((gone.uids.len(), gone.order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn a_new_listing_drops_what_it_does_not_name_but_keeps_what_was_written_meanwhile() {
        let (tables, table) = (Tables::default(), Table::default());
        table.apply(&tables, object("old", "1", 1));
        table.apply(&tables, object("kept", "2", 2));
        table.write().generation += 1;
        table.apply(&tables, object("kept", "2", 2));
        table.apply(&tables, object("ours", "3", 9));
        table.finish_listing(&tables);
        assert_eq!(held(&table, "old"), None);
        assert!(held(&table, "kept").is_some() && held(&table, "ours").is_some());
        assert!(*table.synced().borrow());
    }
}
