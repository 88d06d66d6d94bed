//! The caches shared by all reconcilers: each kind is watched once.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolumeClaim, Pod, Secret, Service,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject, ObjectMeta};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;

use super::{Key, Table};

/// A kind known to [`Tables`]: how to find its table.
pub(crate) trait Cached: Resource<DynamicType = ()> + Sized {
    fn table(tables: &Tables) -> &Table<Self>;
}

/// One object as the garbage collector sees it.
pub(crate) struct Metadata {
    pub resource: ApiResource,
    pub meta: ObjectMeta,
}

/// The API resource of a kind that is known at compile time.
pub(crate) fn api_resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// The API resource of a Chaos Mesh kind.
fn chaos_resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("chaos-mesh.org", "v1alpha1", kind), plural)
}

macro_rules! tables {
    ($($field:ident: $kind:ty),* $(,)?) => {
        /// See the module's text.
        #[derive(Default)]
        pub(crate) struct Tables {
            $(pub $field: Table<$kind>,)*
            /// In the order of [`CHAOS_KINDS`].
            chaos: [Table<DynamicObject>; CHAOS_KINDS.len()],
        }

        $(impl Cached for $kind {
            fn table(tables: &Tables) -> &Table<Self> {
                &tables.$field
            }
        })*

        impl Tables {
            /// The metadata of every cached object.
            pub(crate) fn metadata(&self) -> Vec<Metadata> {
                let mut found = Vec::new();
                $(found.extend(self.$field.all().into_iter().map(|object| Metadata {
                    resource: api_resource::<$kind>(),
                    meta: object.metadata.clone(),
                }));)*
                for (kind, _) in CHAOS_KINDS {
                    found.extend(self.chaos(kind).all().into_iter().map(|object| Metadata {
                        resource: chaos_api_resource(kind),
                        meta: object.metadata.clone(),
                    }));
                }
                found
            }

            /// The cached object of that kind, namespace and name.
            pub(crate) fn find(&self, kind: &str, key: &Key) -> Option<Metadata> {
                $(if kind == <$kind as Resource>::kind(&()) {
                    return self.$field.get(key).map(|object| Metadata {
                        resource: api_resource::<$kind>(),
                        meta: object.metadata.clone(),
                    });
                })*
                let (kind, _) = CHAOS_KINDS.iter().find(|(known, _)| *known == kind)?;
                self.chaos(kind).get(key).map(|object| Metadata {
                    resource: chaos_api_resource(kind),
                    meta: object.metadata.clone(),
                })
            }

            /// Calls `changed(kind, old, new)` on every change of a cached object.
            pub(crate) fn listen_metadata(
                &self,
                changed: impl Fn(&Tables, &str, Option<&ObjectMeta>, Option<&ObjectMeta>) + Send + Sync + Clone + 'static,
            ) -> Vec<tokio::sync::watch::Receiver<bool>> {
                $({
                    let changed = changed.clone();
                    self.$field.listen(Box::new(move |tables, old, new| {
                        changed(tables, &<$kind as Resource>::kind(&()), old.map(|o| &o.metadata), new.map(|o| &o.metadata));
                    }));
                })*
                let mut synced = vec![$(self.$field.synced()),*];
                for (kind, _) in CHAOS_KINDS {
                    let changed = changed.clone();
                    let table = self.chaos(kind);
                    table.listen(Box::new(move |tables, old, new| {
                        changed(tables, kind, old.map(|o| &o.metadata), new.map(|o| &o.metadata));
                    }));
                    synced.push(table.synced());
                }
                synced
            }

            /// Starts the watches.
            pub(crate) fn follow(
                self: &Arc<Self>,
                client: &Client,
                tasks: &mut tokio::task::JoinSet<()>,
                shutdown: &CancellationToken,
            ) {
                $({
                    let (tables, api, shutdown) = (self.clone(), Api::all(client.clone()), shutdown.clone());
                    tasks.spawn(async move {
                        shutdown.run_until_cancelled(tables.$field.follow(&tables, api)).await;
                    });
                })*
                for (kind, plural) in CHAOS_KINDS {
                    let api = Api::all_with(client.clone(), &chaos_resource(kind, plural));
                    let (tables, shutdown) = (self.clone(), shutdown.clone());
                    tasks.spawn(async move {
                        shutdown.run_until_cancelled(tables.chaos(kind).follow(&tables, api)).await;
                    });
                }
            }
        }
    };
}

/// Kind and plural of the Chaos Mesh kinds that have a reconciler here.
const CHAOS_KINDS: [(&str, &str); 8] = [
    ("HTTPChaos", "httpchaos"),
    ("NetworkChaos", "networkchaos"),
    ("PodChaos", "podchaos"),
    ("Schedule", "schedules"),
    ("StressChaos", "stresschaos"),
    ("TimeChaos", "timechaos"),
    ("Workflow", "workflows"),
    ("WorkflowNode", "workflownodes"),
];

tables! {
    pods: Pod,
    nodes: Node,
    leases: Lease,
    namespaces: Namespace,
    services: Service,
    endpoints: Endpoints,
    endpoint_slices: EndpointSlice,
    claims: PersistentVolumeClaim,
    config_maps: ConfigMap,
    secrets: Secret,
    deployments: Deployment,
    replica_sets: ReplicaSet,
    stateful_sets: StatefulSet,
    daemon_sets: DaemonSet,
    revisions: ControllerRevision,
    jobs: Job,
    cron_jobs: CronJob,
    budgets: PodDisruptionBudget,
    autoscalers: HorizontalPodAutoscaler,
}

impl Tables {
    /// The table of one of [`CHAOS_KINDS`]; the first for a name that is none of them.
    pub(crate) fn chaos(&self, kind: &str) -> &Table<DynamicObject> {
        let at = CHAOS_KINDS.iter().position(|(known, _)| *known == kind);
        &self.chaos[at.unwrap_or(0)]
    }
}

/// The API resource of one of [`CHAOS_KINDS`].
pub(crate) fn chaos_api_resource(kind: &str) -> ApiResource {
    let plural = CHAOS_KINDS.iter().find(|(known, _)| *known == kind);
    chaos_resource(kind, plural.map_or("", |(_, plural)| plural))
}
