//! What a running reconciler can do: read the caches, write to the API server, record events.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::events::{EventType, Recorder};
use super::tables::{Cached, chaos_api_resource};
use super::{Error, Key, Tables};

/// The kinds that reconcilers write.
pub(crate) trait Written:
    Cached
    + Resource<Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<K> Written for K where
    K: Cached
        + Resource<Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// See the module's text. Every write lands in the cache before it returns.
#[derive(Clone)]
pub(crate) struct Context {
    pub client: Client,
    pub tables: Arc<Tables>,
    recorder: Arc<Recorder>,
    /// The reconciler's name, the source of its events.
    source: &'static str,
}

impl Context {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            tables: Arc::default(),
            recorder: Arc::default(),
            source: "hikeshi-controllers",
        }
    }

    pub(crate) fn named(&self, source: &'static str) -> Self {
        Self {
            source,
            ..self.clone()
        }
    }

    pub(crate) fn api<K: Written>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates an object; its metadata must carry namespace and name (or generateName).
    pub(crate) async fn create<K: Written>(&self, object: &K) -> Result<K, Error> {
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let created = self
            .api::<K>(&namespace)
            .create(&PostParams::default(), object)
            .await?;
        K::table(&self.tables).answer(&self.tables, created.clone());
        Ok(created)
    }

    /// Replaces an object as a whole; fails with a conflict if it changed since it was read.
    pub(crate) async fn replace<K: Written>(&self, object: &K) -> Result<K, Error> {
        let key = Key::of(object);
        let written = self
            .api::<K>(&key.namespace)
            .replace(&key.name, &PostParams::default(), object)
            .await?;
        K::table(&self.tables).answer(&self.tables, written.clone());
        Ok(written)
    }

    /// Replaces an object's status; fails with a conflict if the object changed since it was read.
    pub(crate) async fn replace_status<K: Written>(&self, object: &K) -> Result<K, Error> {
        let key = Key::of(object);
        let api = self.api::<K>(&key.namespace);
        let written = api
            .replace_status(&key.name, &PostParams::default(), object)
            .await?;
        K::table(&self.tables).answer(&self.tables, written.clone());
        Ok(written)
    }

    /// Merge-patches an object.
    pub(crate) async fn patch<K: Written>(&self, key: &Key, patch: &Value) -> Result<K, Error> {
        let api = self.api::<K>(&key.namespace);
        let written = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        K::table(&self.tables).answer(&self.tables, written.clone());
        Ok(written)
    }

    /// Deletes exactly this object (by uid). Being gone already is success.
    pub(crate) async fn delete<K: Written>(
        &self,
        object: &K,
        grace_seconds: Option<u32>,
    ) -> Result<(), Error> {
        let key = Key::of(object);
        let params = DeleteParams {
            grace_period_seconds: grace_seconds,
            preconditions: Some(Preconditions {
                uid: object.meta().uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        let table = K::table(&self.tables);
        match self.api::<K>(&key.namespace).delete(&key.name, &params).await {
            Ok(reply) => match reply.left() {
                Some(left) if left.meta().deletion_timestamp.is_some() => table.apply(&self.tables, left),
                _ => table.remove(&self.tables, object),
            },
            Err(kube::Error::Api(status)) if status.code == 404 => table.remove(&self.tables, object),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Creates a Chaos Mesh object of `kind`; its metadata must carry namespace and name.
    pub(crate) async fn create_chaos(
        &self,
        kind: &str,
        object: &DynamicObject,
    ) -> Result<DynamicObject, Error> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &chaos_api_resource(kind));
        let created = api.create(&PostParams::default(), object).await?;
        self.tables.chaos(kind).answer(&self.tables, created.clone());
        Ok(created)
    }

    /// Deletes exactly this Chaos Mesh object (by uid). Being gone already is success.
    pub(crate) async fn delete_chaos(&self, kind: &str, object: &DynamicObject) -> Result<(), Error> {
        let key = Key::of(object);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &key.namespace, &chaos_api_resource(kind));
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        let table = self.tables.chaos(kind);
        match api.delete(&key.name, &params).await {
            Ok(reply) => match reply.left() {
                Some(left) if left.metadata.deletion_timestamp.is_some() => table.apply(&self.tables, left),
                _ => table.remove(&self.tables, object),
            },
            Err(kube::Error::Api(status)) if status.code == 404 => table.remove(&self.tables, object),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Merge-patches a Chaos Mesh object, or its status when `subresource` is `Some("status")`.
    pub(crate) async fn patch_chaos(
        &self,
        kind: &str,
        key: &Key,
        subresource: Option<&str>,
        patch: &Value,
    ) -> Result<DynamicObject, Error> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &key.namespace, &chaos_api_resource(kind));
        let params = PatchParams::default();
        let written = match subresource {
            Some(name) => {
                api.patch_subresource(name, &key.name, &params, &Patch::Merge(patch))
                    .await?
            }
            None => api.patch(&key.name, &params, &Patch::Merge(patch)).await?,
        };
        self.tables.chaos(kind).answer(&self.tables, written.clone());
        Ok(written)
    }

    /// Records an event about an object. Losing an event is never a reason to fail a reconciliation.
    pub(crate) async fn event<K>(&self, about: &K, kind: EventType, reason: &str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let meta = about.meta();
        let reference = ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        };
        self.recorder
            .record(&self.client, self.source, reference, kind, reason, message)
            .await;
    }

    /// [`Context::event`] for a Chaos Mesh object.
    pub(crate) async fn event_chaos(
        &self,
        object_kind: &str,
        about: &DynamicObject,
        kind: EventType,
        reason: &str,
        message: &str,
    ) {
        let reference = ObjectReference {
            api_version: Some(chaos_api_resource(object_kind).api_version),
            kind: Some(object_kind.to_owned()),
            name: about.metadata.name.clone(),
            namespace: about.metadata.namespace.clone(),
            uid: about.metadata.uid.clone(),
            resource_version: about.metadata.resource_version.clone(),
            field_path: None,
        };
        self.recorder
            .record(&self.client, self.source, reference, kind, reason, message)
            .await;
    }
}
