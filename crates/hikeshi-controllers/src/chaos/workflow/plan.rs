//! The next steps of a workflow as a whole.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_chaos::annotations::ABORT;
use hikeshi_chaos::status::set_condition;
use hikeshi_chaos::workflow::{Spec, Template, deadline};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::super::lifecycle::holds;
use super::{CONTROLLED_BY, WORKFLOW, node};
use crate::object::{NAME_LETTERS, annotation, created, is_controlled_by, label, name_of};

/// All that a workflow's plan is made from.
pub(super) struct View<'a> {
    pub workflow: &'a DynamicObject,
    pub spec: &'a Spec,
    pub nodes: Vec<Arc<DynamicObject>>,
    /// Experiments and schedules that nodes have made.
    pub made: Vec<(&'static str, Arc<DynamicObject>)>,
    /// Tasks.
    pub pods: Vec<Arc<Pod>>,
    pub now: Timestamp,
}

#[derive(Debug)]
pub(super) enum Action {
    Make(&'static str, Box<DynamicObject>),
    MakePod(Box<Pod>),
    Remove(&'static str, Arc<DynamicObject>),
    RemovePod(Arc<Pod>),
    /// Reads an ended task's outcome into its node's status.
    Read(Arc<DynamicObject>, Arc<Pod>),
    /// Asks once, and counts the answer in the node's status.
    Probe(Arc<DynamicObject>),
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes' statuses that have changed.
    pub statuses: Vec<(Arc<DynamicObject>, Value)>,
    pub actions: Vec<Action>,
    /// The workflow's status.
    pub workflow: Value,
    pub news: Vec<(&'static str, String)>,
    /// What cannot be done, and why.
    pub troubles: Vec<String>,
    pub recheck: Option<Duration>,
}

impl Plan {
    /// Asks for another look at `at`, unless an earlier one is asked for.
    pub fn look_at(&mut self, at: Timestamp, now: Timestamp) {
        let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
        self.recheck = Some(self.recheck.map_or(wait, |known| known.min(wait)));
    }
}

/// Whether a node has ended, one way or another.
pub(super) fn has_ended(node: &DynamicObject) -> bool {
    ["Accomplished", "DeadlineExceed", "Aborted"]
        .iter()
        .any(|kind| holds(node, kind))
}

impl View<'_> {
    /// The nodes that `parent` has begun, in the order of their beginning.
    pub fn children(&self, parent: &str) -> Vec<&Arc<DynamicObject>> {
        let mine = self
            .nodes
            .iter()
            .filter(|node| label(&node.metadata, CONTROLLED_BY) == Some(parent));
        let mut mine: Vec<_> = mine.collect();
        mine.sort_by_key(|node| (created(&node.metadata), place(node)));
        mine
    }

    /// What a node has made.
    pub fn made_by(&self, node: &DynamicObject) -> Option<&(&'static str, Arc<DynamicObject>)> {
        let uid = node.metadata.uid.as_ref();
        self.made
            .iter()
            .find(|(_, object)| is_controlled_by(&object.metadata, uid))
    }

    pub fn task_of(&self, node: &DynamicObject) -> Option<&Arc<Pod>> {
        let uid = node.metadata.uid.as_ref();
        self.pods.iter().find(|pod| is_controlled_by(&pod.metadata, uid))
    }

    fn namespace(&self) -> &str {
        self.workflow.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Metadata of something that `owner` makes.
    pub fn metadata(&self, name: &str, owner: &DynamicObject, owner_kind: &str) -> Value {
        json!({"name": name, "namespace": self.namespace(),
            "labels": {WORKFLOW: name_of(self.workflow), CONTROLLED_BY: name_of(owner)},
            "ownerReferences": [{"apiVersion": "chaos-mesh.org/v1alpha1", "kind": owner_kind, "name": name_of(owner),
                "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true}]})
    }

    /// The node that begins `template` as number `at` of `parent`.
    pub fn begin(
        &self,
        template: &Template,
        parent: &DynamicObject,
        parent_kind: &str,
        at: usize,
    ) -> Option<Action> {
        let uid = parent.metadata.uid.as_deref().unwrap_or_default();
        let name = format!("{}-{}", template.name, suffix(&format!("{uid}/{at}")));
        let until = deadline(template)
            .and_then(|limit| SignedDuration::try_from(limit).ok())
            .and_then(|limit| self.now.checked_add(limit).ok());
        let whole = self.workflow.data["spec"]["templates"].as_array()?;
        let mut spec = whole
            .iter()
            .find(|one| one["name"] == template.name.as_str())?
            .clone();
        let fields = spec.as_object_mut()?;
        for field in ["name", "templateType", "deadline"] {
            fields.remove(field);
        }
        spec["templateName"] = json!(template.name);
        spec["workflowName"] = json!(name_of(self.workflow));
        spec["type"] = json!(template.template_type);
        // To the millisecond: a deadline counts from here.
        spec["startTime"] = json!(format!("{:.3}", self.now));
        if let Some(until) = until {
            spec["deadline"] = json!(format!("{until:.3}"));
        }
        let mut metadata = self.metadata(&name, parent, parent_kind);
        metadata["annotations"] = json!({PLACE: at.to_string()});
        let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "WorkflowNode",
            "metadata": metadata, "spec": spec});
        Some(Action::Make(
            "WorkflowNode",
            Box::new(serde_json::from_value(object).ok()?),
        ))
    }
}

/// Which of its parent's children a node is: nodes of one second would have no order.
const PLACE: &str = "workflow.hikeshi.dev/place";

fn place(node: &DynamicObject) -> usize {
    let text = annotation(&node.metadata, PLACE);
    text.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
}

/// Five letters that depend on the text only, so that the same step is never begun twice.
fn suffix(text: &str) -> String {
    let mut number = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let base = NAME_LETTERS.len() as u64;
    let letters = (0..5).map(|_| {
        let letter = NAME_LETTERS[usize::try_from(number % base).unwrap_or(0)];
        number /= base;
        char::from(letter)
    });
    letters.collect()
}

pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let before = &view.workflow.data["status"];
    let mut status = if before.is_object() {
        before.clone()
    } else {
        json!({})
    };
    let entry = view
        .children(name_of(view.workflow))
        .into_iter()
        .find(|node| is_controlled_by(&node.metadata, view.workflow.metadata.uid.as_ref()));
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    match entry {
        None => {
            let template = view.spec.template(&view.spec.entry);
            let begun = template.and_then(|template| view.begin(template, view.workflow, "Workflow", 0));
            plan.actions.extend(begun);
            set_condition(&mut conditions, "Scheduled", false, "");
            set_condition(&mut conditions, "Accomplished", false, "");
        }
        Some(entry) => {
            if status["entryNode"].is_null() {
                plan.news.push((
                    "EntryCreated",
                    format!("entry node {} is created", name_of(entry.as_ref())),
                ));
            }
            status["entryNode"] = json!(name_of(entry.as_ref()));
            status["startTime"] = entry.data["spec"]["startTime"].clone();
            set_condition(&mut conditions, "Scheduled", true, "EntryCreated");
            let over = has_ended(entry);
            if over && status["endTime"].is_null() {
                status["endTime"] = json!(format!("{:.0}", view.now));
                plan.news
                    .push(("WorkflowAccomplished", "the workflow has ended".to_owned()));
            }
            let reason = match over {
                true if holds(entry, "Aborted") => "WorkflowAborted",
                true => "WorkflowAccomplished",
                false => "",
            };
            set_condition(&mut conditions, "Accomplished", over, reason);
        }
    }
    status["conditions"] = Value::Array(conditions);
    plan.workflow = status;
    let aborted = annotation(view.workflow.meta(), ABORT) == Some("true")
        || view.nodes.iter().any(|one| node::aborts(view.spec, one));
    for one in &view.nodes {
        node::step(view, one, aborted, &mut plan);
    }
    plan
}
