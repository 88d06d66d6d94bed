//! Starts watches and reconcilers, and runs each reconciler's queue.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Client, Resource};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::tables::Cached;
use super::{Context, Key, Outcome, Queue, Table, Tables};
use crate::ControllerError;

/// Brings the world to what one object asks for.
pub(crate) trait Reconciler: Send + Sync + 'static {
    /// For logs and as the source of events, e.g. `deployment-controller`.
    fn name(&self) -> &'static str;

    /// How many different objects may be reconciled at once.
    fn concurrency(&self) -> usize {
        4
    }

    /// Says which changes call for a run of which key.
    fn wire(&self, wiring: &mut Wiring<'_>);

    /// One run. Whatever it needs is in the caches; what it returns is when to look again unless something changes.
    fn reconcile(&self, context: &Context, key: &Key) -> impl Future<Output = Outcome> + Send;
}

/// Connects changes in tables to one reconciler's queue.
pub(crate) struct Wiring<'a> {
    tables: &'a Tables,
    queue: &'a Arc<Queue>,
    synced: Vec<watch::Receiver<bool>>,
}

impl Wiring<'_> {
    /// A change of an object of kind `K` asks for a run of that object.
    pub(crate) fn own<K>(&mut self)
    where
        K: Cached + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        self.mapped::<K>(|_, object| vec![Key::of(object)]);
    }

    /// A change of an object of kind `K` asks for a run of its controller, if that is an `owner_kind`.
    pub(crate) fn owned<K>(&mut self, owner_kind: &'static str)
    where
        K: Cached + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        self.mapped::<K>(move |_, object| {
            controller_of(object)
                .filter(|owner| owner.kind == owner_kind)
                .map(|owner| Key::new(object.meta().namespace.clone().unwrap_or_default(), &owner.name))
                .into_iter()
                .collect()
        });
    }

    /// A change of an object of kind `K` asks for runs of the keys that `map` names for its old and new form.
    pub(crate) fn mapped<K>(&mut self, map: impl Fn(&Tables, &K) -> Vec<Key> + Send + Sync + 'static)
    where
        K: Cached + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        let queue = self.queue.clone();
        K::table(self.tables).listen(Box::new(move |tables, old, new| {
            for object in [old, new].into_iter().flatten() {
                for key in map(tables, object) {
                    queue.add(key);
                }
            }
        }));
        self.needs(K::table(self.tables));
    }

    /// A change of a Chaos Mesh object of `kind` asks for a run of that object.
    pub(crate) fn own_chaos(&mut self, kind: &'static str) {
        let queue = self.queue.clone();
        let table = self.tables.chaos(kind);
        table.listen(Box::new(move |_, old, new| {
            if let Some(object) = new.or(old) {
                queue.add(Key::of(object));
            }
        }));
        self.needs::<DynamicObject>(table);
    }

    /// A change of a Chaos Mesh object of `kind` asks for a run of its controller, if that is an `owner_kind`.
    pub(crate) fn owned_chaos(&mut self, kind: &'static str, owner_kind: &'static str) {
        let queue = self.queue.clone();
        let table = self.tables.chaos(kind);
        table.listen(Box::new(move |_, old, new| {
            let object = new.or(old);
            if let Some((object, owner)) = object.and_then(|object| Some((object, controller_of(object)?)))
                && owner.kind == owner_kind
            {
                let namespace = object.metadata.namespace.clone().unwrap_or_default();
                queue.add(Key::new(namespace, &owner.name));
            }
        }));
        self.needs::<DynamicObject>(table);
    }

    /// The reconciler reads this table: it does not start before the table is complete.
    pub(crate) fn needs<K>(&mut self, table: &Table<K>)
    where
        K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        self.synced.push(table.synced());
    }

    /// For a reconciler that listens in its own way.
    pub(crate) fn custom(&mut self, listen: impl FnOnce(&Tables, &Arc<Queue>) -> Vec<watch::Receiver<bool>>) {
        self.synced.extend(listen(self.tables, self.queue));
    }
}

fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object
        .meta()
        .owner_references
        .as_ref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// See the module's text.
pub(crate) struct Manager {
    context: Context,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Manager {
    pub(crate) fn new(client: Client, shutdown: CancellationToken) -> Self {
        // A child: when a task dies, the rest must stop without cancelling the caller's token.
        let shutdown = shutdown.child_token();
        Self {
            context: Context::new(client),
            tasks: JoinSet::new(),
            shutdown,
        }
    }

    /// Registers a reconciler; it starts once its tables are complete.
    pub(crate) fn add<R: Reconciler>(&mut self, reconciler: R) {
        let queue = Arc::new(Queue::default());
        let mut wiring = Wiring {
            tables: &self.context.tables,
            queue: &queue,
            synced: Vec::new(),
        };
        reconciler.wire(&mut wiring);
        let synced = wiring.synced;
        let (context, shutdown) = (self.context.named(reconciler.name()), self.shutdown.clone());
        self.tasks.spawn(async move {
            shutdown
                .run_until_cancelled(work(Arc::new(reconciler), context, queue, synced))
                .await;
        });
    }

    /// Starts the watches and waits for the end.
    pub(crate) async fn run(mut self) -> Result<(), ControllerError> {
        // After every listener is registered, so that none misses an event.
        self.context
            .tables
            .follow(&self.context.client, &mut self.tasks, &self.shutdown);
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                self.shutdown.cancel();
                result = Err(ControllerError::TaskDied(error));
            }
        }
        result
    }
}

async fn work<R: Reconciler>(
    reconciler: Arc<R>,
    context: Context,
    queue: Arc<Queue>,
    synced: Vec<watch::Receiver<bool>>,
) {
    for mut table in synced {
        if table.wait_for(|synced| *synced).await.is_err() {
            return;
        }
    }
    tracing::debug!(controller = reconciler.name(), "started");
    let mut running: JoinSet<(Key, std::thread::Result<Outcome>)> = JoinSet::new();
    loop {
        tokio::select! {
            key = queue.next(), if running.len() < reconciler.concurrency() => {
                let (reconciler, context) = (reconciler.clone(), context.clone());
                running.spawn(async move {
                    // A run holds no lock over its end: what it has written is whole, and the next run begins anew.
                    let run = AssertUnwindSafe(reconciler.reconcile(&context, &key));
                    let outcome = run.catch_unwind().await;
                    (key, outcome)
                });
            }
            Some(ended) = running.join_next() => match ended {
                Ok((key, Ok(outcome))) => settle(reconciler.name(), &queue, key, outcome),
                // A bug of ours that one object brings to light must not end the work on all others.
                Ok((key, Err(panic))) => {
                    let delay = queue.retry(key.clone());
                    let message = words(panic.as_ref());
                    tracing::error!(controller = reconciler.name(), %key, message, ?delay, "reconciling panicked; retrying");
                    queue.done(&key);
                }
                Err(_) => return,
            }
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}

fn settle(controller: &str, queue: &Queue, key: Key, outcome: Outcome) {
    match outcome {
        Ok(again) => {
            queue.forget(&key);
            if let Some(delay) = again {
                // Not below a millisecond: a plan that asks for "now" must not spin.
                queue.add_after(key.clone(), delay.max(Duration::from_millis(1)));
            }
        }
        Err(error) => {
            let conflict = error.is_conflict();
            let delay = queue.retry(key.clone());
            if conflict {
                tracing::debug!(controller, %key, %error, ?delay, "somebody wrote first; retrying");
            } else {
                tracing::warn!(controller, %key, %error, ?delay, "reconciling failed; retrying");
            }
        }
    }
    queue.done(&key);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;

    /// Panics at one key, and notes every other.
    struct Fragile {
        done: Arc<Mutex<BTreeSet<String>>>,
        tries: Arc<Mutex<usize>>,
    }

    impl Reconciler for Fragile {
        fn name(&self) -> &'static str {
            "fragile"
        }

        fn wire(&self, _: &mut Wiring<'_>) {}

        async fn reconcile(&self, _: &Context, key: &Key) -> Outcome {
            if key.name == "bad" {
                *self.tries.lock().expect("a lock") += 1;
                panic!("a bug");
            }
            self.done.lock().expect("a lock").insert(key.name.clone());
            Ok(None)
        }
    }

    #[tokio::test]
    async fn an_object_that_brings_a_panic_is_tried_again_and_the_others_go_on() {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        let context = Context::new(Client::new(service, "ns"));
        let (done, tries) = (Arc::default(), Arc::default());
        let fragile = Fragile {
            done: Arc::clone(&done),
            tries: Arc::clone(&tries),
        };
        let queue = Arc::new(Queue::default());
        let working = tokio::spawn(work(Arc::new(fragile), context, queue.clone(), Vec::new()));
        queue.add(Key::new("ns", "bad"));
        queue.add(Key::new("ns", "good"));
        let both = async {
            while *tries.lock().expect("a lock") < 3 || done.lock().expect("a lock").is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), both)
            .await
            .expect("both run");
        assert!(!working.is_finished());
        working.abort();
    }
}
