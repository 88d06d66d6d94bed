//! Workflow: experiments in order and side by side, with pauses, probes and tasks between them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::check::{Check, given, nearest};
use crate::{EXPERIMENTS, embedded_field, experiment, quantity, schedule};

mod expression;

pub use expression::Expression;

/// A Workflow's spec.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Spec {
    /// The template that the workflow begins with.
    pub entry: String,
    pub templates: Vec<Template>,
}

impl Spec {
    pub fn template(&self, name: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.name == name)
    }
}

/// One step, by name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    pub name: String,
    /// Serial, Parallel, Suspend, Task, StatusCheck, Schedule, or an experiment's kind.
    pub template_type: String,
    /// A Go duration after which the step ends. An experiment's own duration.
    pub deadline: Option<String>,
    /// Names of the steps inside a Serial or Parallel.
    pub children: Option<Vec<String>>,
    pub task: Option<Value>,
    pub conditional_branches: Option<Vec<Branch>>,
    pub status_check: Option<StatusCheck>,
    /// The whole workflow ends when this step's StatusCheck fails.
    pub abort_with_status_check: Option<bool>,
    pub schedule: Option<Value>,
    /// The embedded experiments, by field.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// What comes after a Task whose outcome fits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Branch {
    pub target: String,
    /// Always true when empty.
    #[serde(default)]
    pub expression: String,
}

/// A probe by HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusCheck {
    /// Synchronous (until it has succeeded or failed once) or Continuous (until it fails or its time is up).
    #[serde(default)]
    pub mode: Mode,
    #[serde(rename = "type")]
    pub kind: String,
    /// A Go duration; Continuous only.
    pub duration: Option<String>,
    pub timeout_seconds: Option<u64>,
    pub failure_threshold: Option<u64>,
    pub success_threshold: Option<u64>,
    pub interval_seconds: Option<u64>,
    pub http: Option<Http>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Mode {
    #[default]
    Synchronous,
    Continuous,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Http {
    /// `http://SERVICE.NAMESPACE[.svc...]:PORT/PATH` of the cluster.
    pub url: String,
    pub method: Option<String>,
    pub headers: Option<BTreeMap<String, Vec<String>>>,
    pub body: Option<String>,
    pub criteria: Criteria,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Criteria {
    /// `200`, or a range `200-299`.
    pub status_code: String,
}

/// Where a StatusCheck's request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    pub service: String,
    /// `None`: the workflow's own.
    pub namespace: Option<String>,
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Http {
    /// The Service behind the URL.
    pub fn service(&self) -> Result<ServiceUrl, String> {
        let wrong = || format!("{:?} is not like http://SERVICE.NAMESPACE:PORT/PATH", self.url);
        let rest = self
            .url
            .strip_prefix("http://")
            .ok_or_else(|| format!("{}; services are asked over plain HTTP", wrong()))?;
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (name, port) = match host.split_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| wrong())?),
            None => (host, 80),
        };
        let mut parts = name.split('.');
        let service = parts.next().filter(|part| !part.is_empty()).ok_or_else(wrong)?;
        let namespace = parts.next().map(str::to_owned);
        // Beyond the namespace only the cluster's own domain may follow.
        let rest: Vec<&str> = parts.collect();
        let numeric = service.chars().all(|c| c.is_ascii_digit());
        if numeric || !(rest.is_empty() || rest == ["svc"] || rest == ["svc", "cluster", "local"]) {
            return Err(format!(
                "{}; only the cluster's own Services can be asked",
                wrong()
            ));
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(ServiceUrl {
            service: service.to_owned(),
            namespace,
            port,
            path,
        })
    }
}

impl Criteria {
    /// The status codes that are well, both ends included.
    pub fn codes(&self) -> Result<(u16, u16), String> {
        let wrong = || {
            format!(
                "{:?} is neither a status code nor a range such as 200-299",
                self.status_code
            )
        };
        let code = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|code| (100..=999).contains(code))
        };
        let (low, high) = self
            .status_code
            .split_once('-')
            .unwrap_or((&self.status_code, &self.status_code));
        match (code(low), code(high)) {
            (Some(low), Some(high)) if low <= high => Ok((low, high)),
            _ => Err(wrong()),
        }
    }
}

const TEMPLATE_FIELDS: [&str; 9] = [
    "name",
    "templateType",
    "deadline",
    "children",
    "task",
    "conditionalBranches",
    "statusCheck",
    "abortWithStatusCheck",
    "schedule",
];
const TYPES: [&str; 6] = ["Serial", "Parallel", "Suspend", "Task", "StatusCheck", "Schedule"];

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    check.fields(at, spec, &["entry", "templates"]);
    let Some(read) = check.read::<Spec>(at, spec) else {
        return;
    };
    let names: Vec<&str> = read
        .templates
        .iter()
        .map(|template| template.name.as_str())
        .collect();
    if !names.contains(&read.entry.as_str()) {
        check.add(format!("{at}.entry"), unknown(&read.entry, &names));
    }
    for (index, template) in read.templates.iter().enumerate() {
        let here = format!("{at}.templates[{index}]");
        if template.name.is_empty() || names[..index].contains(&template.name.as_str()) {
            check.add(
                format!("{here}.name"),
                format!("{:?} must be a name of its own", template.name),
            );
        }
        one(check, &here, template, &spec["templates"][index], &names);
    }
    if check.problems.is_empty()
        && let Some(name) = cycle(&read)
    {
        check.add(
            format!("{at}.templates"),
            format!("{name} is inside itself: it would never end"),
        );
    }
}

fn unknown(name: &str, names: &[&str]) -> String {
    let near = nearest(name, names).map(|near| format!(" (did you mean {near}?)"));
    format!("no template is called {name:?}{}", near.unwrap_or_default())
}

fn one(check: &mut Check, at: &str, template: &Template, value: &Value, names: &[&str]) {
    let embedded = EXPERIMENTS.map(|(_, field)| field);
    check.fields(at, value, &[&TEMPLATE_FIELDS[..], &embedded].concat());
    let deadline = check.duration(format!("{at}.deadline"), template.deadline.as_deref());
    let kind = template.template_type.as_str();
    let own = own_field(kind);
    for field in embedded
        .iter()
        .chain(&[
            "children",
            "task",
            "conditionalBranches",
            "statusCheck",
            "schedule",
            "abortWithStatusCheck",
        ])
        .filter(|field| !own.contains(field) && given(&value[**field]))
    {
        check.add(
            format!("{at}.{field}"),
            format!("has no meaning for templateType {kind}"),
        );
    }
    let missing = |check: &mut Check, field: &str| {
        check.add(
            format!("{at}.{field}"),
            format!("is missing; templateType {kind} needs it"),
        );
    };
    match kind {
        "Serial" | "Parallel" => {
            for child in template
                .children
                .iter()
                .flatten()
                .filter(|name| !names.contains(&name.as_str()))
            {
                check.add(format!("{at}.children"), unknown(child, names));
            }
        }
        "Suspend" if deadline.is_none() => missing(check, "deadline"),
        "Suspend" => {}
        "Task" => match &template.task {
            None => missing(check, "task"),
            Some(task) => {
                let here = format!("{at}.task");
                check.fields(&here, task, &["container", "volumes"]);
                for field in ["name", "image"] {
                    if task["container"][field].as_str().is_none_or(str::is_empty) {
                        check.add(format!("{here}.container.{field}"), "is missing");
                    }
                }
                branches(check, at, template, names);
            }
        },
        "StatusCheck" => match &template.status_check {
            None => missing(check, "statusCheck"),
            Some(probe) => probed(check, &format!("{at}.statusCheck"), probe, &value["statusCheck"]),
        },
        "Schedule" => match &template.schedule {
            None => missing(check, "schedule"),
            Some(spec) => schedule::check(check, &format!("{at}.schedule"), spec),
        },
        _ => match embedded_field(kind) {
            Some(field) => match template.rest.get(field).filter(|spec| !spec.is_null()) {
                None => missing(check, field),
                Some(spec) if given(&spec["duration"]) => check.add(
                    format!("{at}.{field}.duration"),
                    "is said twice: in a workflow the template's deadline is the duration",
                ),
                Some(spec) => experiment(check, kind, &format!("{at}.{field}"), spec),
            },
            None => {
                let kinds: Vec<&str> = TYPES
                    .into_iter()
                    .chain(EXPERIMENTS.map(|(kind, _)| kind))
                    .collect();
                let near = nearest(kind, &kinds).map(|near| format!(" (did you mean {near}?)"));
                check.add(
                    format!("{at}.templateType"),
                    format!(
                        "{kind:?} cannot be carried out; it can be {}{}",
                        kinds.join(", "),
                        near.unwrap_or_default()
                    ),
                );
            }
        },
    }
}

fn own_field(kind: &str) -> Vec<&'static str> {
    match kind {
        "Serial" | "Parallel" => vec!["children"],
        "Task" => vec!["task", "conditionalBranches"],
        "StatusCheck" => vec!["statusCheck", "abortWithStatusCheck"],
        "Schedule" => vec!["schedule"],
        _ => embedded_field(kind).into_iter().collect(),
    }
}

fn branches(check: &mut Check, at: &str, template: &Template, names: &[&str]) {
    for (index, branch) in template.conditional_branches.iter().flatten().enumerate() {
        let here = format!("{at}.conditionalBranches[{index}]");
        if !names.contains(&branch.target.as_str()) {
            check.add(format!("{here}.target"), unknown(&branch.target, names));
        }
        check.take(
            format!("{here}.expression"),
            Expression::parse(&branch.expression),
        );
    }
}

fn probed(check: &mut Check, at: &str, probe: &StatusCheck, value: &Value) {
    check.fields(
        at,
        value,
        &[
            "mode",
            "type",
            "duration",
            "timeoutSeconds",
            "failureThreshold",
            "successThreshold",
            "intervalSeconds",
            "recordsHistoryLimit",
            "http",
        ],
    );
    if probe.kind != "HTTP" {
        check.add(
            format!("{at}.type"),
            format!("{:?} is not known; it can be HTTP", probe.kind),
        );
    }
    check.duration(format!("{at}.duration"), probe.duration.as_deref());
    let Some(http) = &probe.http else {
        check.add(format!("{at}.http"), "is missing");
        return;
    };
    let here = format!("{at}.http");
    check.fields(
        &here,
        &value["http"],
        &["url", "method", "headers", "body", "criteria"],
    );
    check.fields(
        &format!("{here}.criteria"),
        &value["http"]["criteria"],
        &["statusCode"],
    );
    check.take(format!("{here}.url"), http.service());
    check.take(format!("{here}.criteria.statusCode"), http.criteria.codes());
    if let Some(method) = http
        .method
        .as_deref()
        .filter(|method| !matches!(*method, "" | "GET" | "POST"))
    {
        check.add(
            format!("{here}.method"),
            format!("{method:?} must be GET or POST"),
        );
    }
}

/// A template that is reached from itself.
fn cycle(spec: &Spec) -> Option<&str> {
    fn visit<'a>(
        spec: &'a Spec,
        name: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut Vec<&'a str>,
    ) -> Option<&'a str> {
        if path.contains(&name) {
            return Some(name);
        }
        if done.contains(&name) {
            return None;
        }
        path.push(name);
        let template = spec.template(name)?;
        let children = template.children.iter().flatten().map(String::as_str);
        let targets = template
            .conditional_branches
            .iter()
            .flatten()
            .map(|branch| branch.target.as_str());
        for next in children.chain(targets) {
            if let Some(found) = visit(spec, next, path, done) {
                return Some(found);
            }
        }
        path.pop();
        done.push(name);
        None
    }
    let (mut path, mut done) = (Vec::new(), Vec::new());
    spec.templates
        .iter()
        .find_map(|template| visit(spec, &template.name, &mut path, &mut done))
}

/// The deadline of a template, if it has one.
pub fn deadline(template: &Template) -> Option<std::time::Duration> {
    let text = template.deadline.as_deref().filter(|text| !text.is_empty())?;
    quantity::duration(text).ok()
}

#[cfg(test)]
mod tests;
