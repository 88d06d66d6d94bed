//! Workflows: experiments in order and side by side, with pauses, probes and tasks between them.
//!
//! As in Chaos Mesh, every step that has begun is a WorkflowNode. The plan is made for a workflow as a whole, from all of
//! its nodes; each write asks for another run, until nothing is left to do.

mod node;
mod plan;
mod probe;

use std::time::Duration;

use hikeshi_chaos::EXPERIMENTS;
use hikeshi_chaos::workflow::Spec;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, LogParams};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::object::{label, name_of};
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Tables, Wiring};
use plan::{Action, View};
use probe::Probes;

/// On everything that a workflow makes: its name.
const WORKFLOW: &str = "chaos-mesh.org/workflow";
/// The name of the node (or workflow) that began a node.
const CONTROLLED_BY: &str = "chaos-mesh.org/controlled-by";

/// What a node may make, besides pods.
fn made() -> impl Iterator<Item = &'static str> {
    EXPERIMENTS.into_iter().map(|(kind, _)| kind).chain(["Schedule"])
}

/// Most of a task's output that is kept, in bytes.
const MOST_OUTPUT: i64 = 16 * 1024;
/// What failed is tried again after this. Not later: the deadlines of the other nodes are kept by the same runs.
const AGAIN: Duration = Duration::from_secs(5);
/// While a probe is under way, in case its answer is never written.
const WATCH: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Workflows {
    probes: Probes,
}

impl Reconciler for Workflows {
    fn name(&self) -> &'static str {
        "workflow-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own_chaos("Workflow");
        wiring.mapped::<Pod>(|_, pod| workflow_of(&pod.metadata).into_iter().collect());
        for kind in made().chain(["WorkflowNode"]) {
            wiring.custom(|tables, queue| {
                let queue = queue.clone();
                let table = tables.chaos(kind);
                table.listen(Box::new(move |_, old, new| {
                    if let Some(key) = new.or(old).and_then(|object| workflow_of(&object.metadata)) {
                        queue.add(key);
                    }
                }));
                vec![table.synced()]
            });
        }
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(workflow) = context.tables.chaos("Workflow").get(key) else {
            return Ok(None);
        };
        if workflow.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let spec = match Spec::deserialize(&workflow.data["spec"]) {
            Ok(spec) => spec,
            Err(error) => {
                let message = format!("spec: {error}");
                context
                    .event_chaos("Workflow", &workflow, EventType::Warning, "Failed", &message)
                    .await;
                return Ok(None);
            }
        };
        let view = view(&context.tables, &workflow, &spec);
        let plan = plan::plan(&view);
        // One node's failure must not keep another's fault from ending.
        let mut failures = Vec::new();
        for (node, status) in &plan.statuses {
            failures.extend(write_status(context, "WorkflowNode", node, status).await.err());
        }
        let mut recheck = plan.recheck;
        let mut soon = |wait: Duration| recheck = Some(recheck.map_or(wait, |known| known.min(wait)));
        for action in plan.actions {
            if let Action::Probe(node) = &action {
                self.probes.begin(context, &spec, node);
                soon(WATCH);
            } else {
                failures.extend(carry_out(context, action).await.err());
            }
        }
        if workflow.data["status"] != plan.workflow {
            write_status(context, "Workflow", &workflow, &plan.workflow).await?;
            for (reason, message) in &plan.news {
                context
                    .event_chaos("Workflow", &workflow, EventType::Normal, reason, message)
                    .await;
            }
        }
        let mut conflict = None;
        let mut troubles = plan.troubles;
        for error in failures {
            if error.is_conflict() {
                conflict = Some(error);
            } else {
                tracing::warn!(%key, %error, "a step of a workflow failed; retrying");
                troubles.push(error.to_string());
            }
        }
        for trouble in troubles {
            context
                .event_chaos("Workflow", &workflow, EventType::Warning, "Failed", &trouble)
                .await;
            soon(AGAIN);
        }
        conflict.map_or(Ok(recheck), Err)
    }
}

fn workflow_of(meta: &kube::api::ObjectMeta) -> Option<Key> {
    let namespace = meta.namespace.clone().unwrap_or_default();
    Some(Key::new(namespace, label(meta, WORKFLOW)?))
}

fn view<'a>(tables: &Tables, workflow: &'a DynamicObject, spec: &'a Spec) -> View<'a> {
    let namespace = workflow.metadata.namespace.as_deref().unwrap_or_default();
    let ours = |meta: &kube::api::ObjectMeta| label(meta, WORKFLOW) == Some(name_of(workflow));
    let of = |kind: &'static str| {
        let mut found = tables.chaos(kind).in_namespace(namespace);
        found.retain(|object| ours(&object.metadata));
        found
    };
    let mut pods = tables.pods.in_namespace(namespace);
    pods.retain(|pod| ours(&pod.metadata));
    View {
        workflow,
        spec,
        nodes: of("WorkflowNode"),
        made: made()
            .flat_map(|kind| of(kind).into_iter().map(move |object| (kind, object)))
            .collect(),
        pods,
        now: Timestamp::now(),
    }
}

async fn write_status(
    context: &Context,
    kind: &'static str,
    object: &DynamicObject,
    status: &Value,
) -> Result<(), Error> {
    let patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": status});
    let written = context
        .patch_chaos(kind, &Key::of(object), Some("status"), &patch)
        .await;
    match written {
        // Deleted meanwhile.
        Err(Error::Api(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}

/// Made already, by a run whose status was not written.
fn unless_there<T>(made: Result<T, Error>) -> Result<(), Error> {
    match made {
        Err(Error::Api(kube::Error::Api(status))) if status.code == 409 => Ok(()),
        result => result.map(drop),
    }
}

async fn carry_out(context: &Context, action: Action) -> Result<(), Error> {
    match action {
        Action::Make(kind, object) => unless_there(context.create_chaos(kind, &object).await),
        Action::MakePod(pod) => unless_there(context.create(pod.as_ref()).await),
        Action::Remove(kind, object) => context.delete_chaos(kind, &object).await,
        Action::RemovePod(pod) => context.delete(pod.as_ref(), None).await,
        Action::Read(node, pod) => {
            let outcome = read_outcome(context, &pod).await?;
            note(context, &node, "task", outcome).await
        }
        // Begun beside the run.
        Action::Probe(_) => Ok(()),
    }
}

/// Writes one field of a node's status, which nobody else writes.
async fn note(context: &Context, node: &DynamicObject, field: &str, value: Value) -> Result<(), Error> {
    let patch = json!({"metadata": {"uid": node.metadata.uid}, "status": {field: value}});
    let written = context
        .patch_chaos("WorkflowNode", &Key::of(node), Some("status"), &patch)
        .await;
    match written {
        // Deleted meanwhile.
        Err(Error::Api(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}

async fn read_outcome(context: &Context, pod: &Pod) -> Result<Value, Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let params = LogParams {
        limit_bytes: Some(MOST_OUTPUT),
        ..LogParams::default()
    };
    let output = match context.api::<Pod>(namespace).logs(name_of(pod), &params).await {
        Ok(text) => text,
        // It never ran: there is no output.
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(json!({"exitCode": node::exit_code(pod), "stdout": output.trim_end()}))
}

#[cfg(test)]
mod tests;
