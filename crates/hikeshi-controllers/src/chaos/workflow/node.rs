//! The next step of one node of a workflow.

use std::sync::Arc;

use hikeshi_chaos::embedded_field;
use hikeshi_chaos::status::{set_condition, text};
use hikeshi_chaos::workflow::{Expression, Mode, Spec, StatusCheck, Template, deadline};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::super::lifecycle::{condition, holds, is_one_shot, is_over};
use super::made;
use super::plan::{Action, Plan, View, has_ended};
use crate::object::{label, name_of};
use crate::pods::phase;

/// What a node's step is made of: the status as it will be, and whether and why the node ends.
struct Step<'a, 'b> {
    view: &'a View<'b>,
    node: &'a Arc<DynamicObject>,
    template: &'a Template,
    status: Value,
    accomplished: Option<&'static str>,
}

fn time_of(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn names(nodes: &[&Arc<DynamicObject>]) -> Value {
    nodes
        .iter()
        .map(|node| json!({"name": node.metadata.name}))
        .collect()
}

/// Why a StatusCheck ends whose time is up.
const DURATION_EXCEED: &str = "StatusCheckDurationExceed";

/// A StatusCheck that takes its workflow with it: as in Chaos Mesh, one that is over without the successes it asks for.
pub(super) fn aborts(spec: &Spec, node: &DynamicObject) -> bool {
    let template = spec.template(node.data["spec"]["templateName"].as_str().unwrap_or_default());
    let Some(template) = template.filter(|template| template.abort_with_status_check == Some(true)) else {
        return false;
    };
    let counts = &node.data["status"]["statusCheck"];
    let up = text(condition(node, "Accomplished"), "reason") == DURATION_EXCEED;
    template.status_check.as_ref().is_some_and(|check| {
        has_failed(check, counts) || up && number(counts, "successes") < wanted_successes(check)
    })
}

fn wanted_successes(check: &StatusCheck) -> u64 {
    check.success_threshold.unwrap_or(1).max(1)
}

pub(super) fn step(view: &View<'_>, node: &Arc<DynamicObject>, aborted: bool, plan: &mut Plan) {
    let name = node.data["spec"]["templateName"].as_str().unwrap_or_default();
    let Some(template) = view.spec.template(name) else {
        return;
    };
    let before = &node.data["status"];
    let mut step = Step {
        view,
        node,
        template,
        status: if before.is_object() {
            before.clone()
        } else {
            json!({})
        },
        accomplished: None,
    };
    let mut conditions = before["conditions"].as_array().cloned().unwrap_or_default();
    let ended = has_ended(node);
    let until = time_of(&node.data["spec"]["deadline"]);
    let parent = label(node.meta(), super::CONTROLLED_BY);
    let parent = view
        .nodes
        .iter()
        .find(|one| Some(name_of(one.as_ref())) == parent);
    if !ended {
        if aborted {
            set_condition(&mut conditions, "Aborted", true, "WorkflowAborted");
        } else if parent.is_some_and(|parent| has_ended(parent)) {
            set_condition(
                &mut conditions,
                "DeadlineExceed",
                true,
                "ParentNodeDeadlineExceed",
            );
        } else if until.is_some_and(|until| until <= view.now) {
            set_condition(&mut conditions, "DeadlineExceed", true, "NodeDeadlineExceed");
        } else {
            step.go_on(plan);
            let reason = if until.is_some() {
                "NodeDeadlineNotExceed"
            } else {
                "NodeDeadlineOmitted"
            };
            set_condition(&mut conditions, "DeadlineExceed", false, reason);
            if let Some(until) = until {
                plan.look_at(until, view.now);
            }
        }
        let reason = step.accomplished.unwrap_or_default();
        set_condition(
            &mut conditions,
            "Accomplished",
            step.accomplished.is_some(),
            reason,
        );
    }
    let made = view.made_by(node);
    if let Some((kind, object)) = made {
        let injected = holds(object, "AllInjected");
        set_condition(&mut conditions, "ChaosInjected", injected, "");
        step.status["chaosResource"] =
            json!({"apiGroup": "chaos-mesh.org", "kind": kind, "name": object.metadata.name});
        if ended && object.metadata.deletion_timestamp.is_none() {
            plan.actions.push(Action::Remove(kind, object.clone()));
        }
    }
    if let Some(pod) = view.task_of(node).filter(|pod| {
        ended && pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Succeeded" | "Failed")
    }) {
        plan.actions.push(Action::RemovePod(pod.clone()));
    }
    let children = view.children(name_of(node.as_ref()));
    let (finished, active): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| has_ended(child));
    step.status["activeChildren"] = names(&active);
    step.status["finishedChildren"] = names(&finished);
    step.status["conditions"] = Value::Array(conditions);
    if step.status != *before {
        plan.statuses.push((node.clone(), step.status));
    }
}

impl Step<'_, '_> {
    fn go_on(&mut self, plan: &mut Plan) {
        match self.template.template_type.as_str() {
            "Serial" => self.in_order(plan),
            "Parallel" => {
                let names: Vec<String> = self.template.children.clone().unwrap_or_default();
                self.side_by_side(&names, plan);
            }
            // Ends by its deadline.
            "Suspend" => {}
            "Task" => self.task(plan),
            "StatusCheck" => self.probe(plan),
            kind => self.experiment(kind, plan),
        }
    }

    fn begin(&self, name: &str, at: usize, plan: &mut Plan) {
        let template = self.view.spec.template(name);
        let begun = template.and_then(|template| self.view.begin(template, self.node, "WorkflowNode", at));
        plan.actions.extend(begun);
    }

    fn in_order(&mut self, plan: &mut Plan) {
        let names = self.template.children.iter().flatten().collect::<Vec<_>>();
        let children = self.view.children(name_of(self.node.as_ref()));
        if children.iter().any(|child| !has_ended(child)) {
            return;
        }
        match names.get(children.len()) {
            Some(next) => self.begin(next, children.len(), plan),
            None => self.accomplished = Some("NodeAccomplished"),
        }
    }

    fn side_by_side(&mut self, names: &[String], plan: &mut Plan) {
        let children = self.view.children(name_of(self.node.as_ref()));
        for (at, name) in names.iter().enumerate() {
            let there = |child: &&&Arc<DynamicObject>| child.data["spec"]["templateName"] == name.as_str();
            // A template may be named twice: the second is begun beside the first.
            let before = names[..at].iter().filter(|other| *other == name).count();
            if children.iter().filter(there).count() <= before {
                self.begin(name, at, plan);
            }
        }
        if children.len() >= names.len() && children.iter().all(|child| has_ended(child)) {
            self.accomplished = Some("NodeAccomplished");
        }
    }

    fn task(&mut self, plan: &mut Plan) {
        let Some(pod) = self.view.task_of(self.node) else {
            let task = self.template.task.clone().unwrap_or_default();
            let metadata = self
                .view
                .metadata(name_of(self.node.as_ref()), self.node, "WorkflowNode");
            let pod = json!({"metadata": metadata, "spec": {"restartPolicy": "Never",
                "containers": [task["container"]], "volumes": task["volumes"]}});
            match serde_json::from_value(pod) {
                Ok(pod) => plan.actions.push(Action::MakePod(Box::new(pod))),
                Err(error) => {
                    let name = &self.template.name;
                    plan.troubles.push(format!("template {name}: task: {error}"));
                }
            }
            return;
        };
        if !matches!(phase(pod), "Succeeded" | "Failed") {
            return;
        }
        let branches = self.template.conditional_branches.clone().unwrap_or_default();
        if branches.is_empty() {
            self.accomplished = Some("NodeAccomplished");
            return;
        }
        let outcome = &self.node.data["status"]["task"];
        let Some(code) = outcome["exitCode"].as_i64() else {
            plan.actions.push(Action::Read(self.node.clone(), pod.clone()));
            return;
        };
        let stdout = outcome["stdout"].as_str().unwrap_or_default();
        let (mut targets, mut told) = (Vec::new(), Vec::new());
        for branch in branches {
            let holds = Expression::parse(&branch.expression).is_ok_and(|one| one.holds(code, stdout));
            told.push(
                json!({"target": branch.target, "evaluationResult": if holds { "True" } else { "False" }}),
            );
            if holds {
                targets.push(branch.target);
            }
        }
        self.status["conditionalBranchesStatus"] = json!({"branches": told,
            "context": [format!("exitCode: {code}"), format!("stdout: {stdout}")]});
        self.side_by_side(&targets, plan);
    }

    fn probe(&mut self, plan: &mut Plan) {
        let Some(check) = &self.template.status_check else {
            return;
        };
        let counts = &self.node.data["status"]["statusCheck"];
        let started = time_of(&self.node.data["spec"]["startTime"]);
        let (view, now) = (self.view, self.view.now);
        if has_failed(check, counts) {
            self.accomplished = Some("StatusCheckFailureThresholdExceed");
            return;
        }
        if check.mode == Mode::Synchronous && number(counts, "successes") >= wanted_successes(check) {
            self.accomplished = Some("StatusCheckSuccessThresholdExceed");
            return;
        }
        let limit = check.duration.as_deref().filter(|text| !text.is_empty());
        let limit = limit.and_then(|text| hikeshi_chaos::quantity::duration(text).ok());
        let end = limit.and_then(|limit| started?.checked_add(SignedDuration::try_from(limit).ok()?).ok());
        if let Some(end) = end {
            if end <= now {
                self.accomplished = Some(DURATION_EXCEED);
                return;
            }
            plan.look_at(end, view.now);
        }
        let Some(last) = time_of(&counts["lastProbeTime"]) else {
            plan.actions.push(Action::Probe(self.node.clone()));
            return;
        };
        let interval = i64::try_from(check.interval_seconds.unwrap_or(10).max(1)).unwrap_or(i64::MAX);
        match last.checked_add(SignedDuration::from_secs(interval)) {
            Ok(next) if next > now => plan.look_at(next, now),
            Ok(_) => plan.actions.push(Action::Probe(self.node.clone())),
            // Beyond the end of the calendar.
            Err(_) => {}
        }
    }

    fn experiment(&mut self, kind: &str, plan: &mut Plan) {
        let Some(kind) = made().find(|known| *known == kind) else {
            return;
        };
        if let Some((_, object)) = self.view.made_by(self.node) {
            let once = is_one_shot(kind, &object.data["spec"]) && self.template.deadline.is_none();
            if once && is_over(kind, object, self.view.now) {
                self.accomplished = Some("NodeAccomplished");
            }
            return;
        }
        let spec = match embedded_field(kind) {
            Some(field) => self.template.rest.get(field),
            None => self.template.schedule.as_ref(),
        };
        let Some(mut spec) = spec.cloned() else { return };
        // Also without us the fault ends by itself.
        if kind != "Schedule" && deadline(self.template).is_some() {
            spec["duration"] = json!(self.template.deadline);
        }
        let metadata = self
            .view
            .metadata(name_of(self.node.as_ref()), self.node, "WorkflowNode");
        let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        if let Ok(object) = serde_json::from_value(object) {
            plan.actions.push(Action::Make(kind, Box::new(object)));
        }
    }
}

fn number(counts: &Value, field: &str) -> u64 {
    counts[field].as_u64().unwrap_or(0)
}

fn has_failed(check: &StatusCheck, counts: &Value) -> bool {
    number(counts, "failures") >= check.failure_threshold.unwrap_or(3).max(1)
}

/// The counts of a StatusCheck after another answer, and the last `keep` answers. Successes and failures are counted in a
/// row.
pub(super) fn counted(before: &Value, answer: &Result<u16, String>, now: Timestamp, keep: usize) -> Value {
    let after = |field: &str, grows: bool| if grows { number(before, field) + 1 } else { 0 };
    let mut records = before["records"].as_array().cloned().unwrap_or_default();
    let outcome = if answer.is_ok() { "Success" } else { "Failure" };
    records.push(json!({"startTime": format!("{now:.0}"), "outcome": outcome}));
    let records = records.split_off(records.len().saturating_sub(keep));
    json!({
        "count": number(before, "count") + 1,
        "successes": after("successes", answer.is_ok()),
        "failures": after("failures", answer.is_err()),
        "lastProbeTime": format!("{now:.3}"),
        "message": answer.as_ref().map_or_else(Clone::clone, |code| format!("status code {code}")),
        "records": records,
    })
}

/// The exit code of a task's container; -1 when it never ran.
pub(super) fn exit_code(pod: &Pod) -> i64 {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let ended = statuses
        .filter_map(|status| status.state.as_ref()?.terminated.as_ref())
        .next();
    ended.map_or(-1, |ended| i64::from(ended.exit_code))
}
