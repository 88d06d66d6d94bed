//! Workflow: experiments in order and side by side, with pauses, probes and tasks between them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Volume};
use serde::Deserialize;
use serde_json::Value;

use crate::check::{Check, given, nearest};
use crate::schedule::needed_by;
use crate::shape::{DURATION, Field, MISSING, Shape, may, must};
use crate::words::Words;
use crate::{EXPERIMENTS, Part, embedded_field, experiment, quantity, schedule};

mod expression;
mod status_check;

pub use expression::Expression;
use status_check::bounds;
pub use status_check::{Criteria, Http, Mode, ServiceUrl, StatusCheck};

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

const FIELDS: &[Field] = &[
    must("entry", Shape::Text),
    must("templates", Shape::Objects(TEMPLATE)),
];

/// What a template may say; the embedded specs are their kinds' to check.
const TEMPLATE: &[Field] = &[
    must("name", Shape::Text),
    must(
        "templateType",
        Shape::Choice(&[
            "Serial",
            "Parallel",
            "Suspend",
            "Task",
            "StatusCheck",
            "Schedule",
            "HTTPChaos",
            "NetworkChaos",
            "PodChaos",
            "StressChaos",
            "TimeChaos",
        ]),
    ),
    may("deadline", DURATION),
    may("children", Shape::Texts),
    may(
        "task",
        Shape::Object(&[must("container", Shape::Any), may("volumes", Shape::Any)]),
    ),
    may(
        "conditionalBranches",
        Shape::Objects(&[must("target", Shape::Text), may("expression", EXPRESSION)]),
    ),
    may("statusCheck", Shape::Object(STATUS_CHECK)),
    may("abortWithStatusCheck", Shape::Flag),
    may("schedule", Shape::Any),
    may("httpChaos", Shape::Any),
    may("networkChaos", Shape::Any),
    may("podChaos", Shape::Any),
    may("stressChaos", Shape::Any),
    may("timeChaos", Shape::Any),
];

const EXPRESSION: Shape = Shape::Parsed(
    ("exitCode == 0 のような式", "an expression such as exitCode == 0"),
    |text| Expression::parse(text).map(drop),
);

const STATUS_CHECK: &[Field] = &[
    may("mode", Shape::Choice(&["Synchronous", "Continuous"])),
    must("type", Shape::Choice(&["HTTP"])),
    may("duration", DURATION),
    may("timeoutSeconds", Shape::Whole(u64::MAX)),
    may("failureThreshold", Shape::Whole(u64::MAX)),
    may("successThreshold", Shape::Whole(u64::MAX)),
    may("intervalSeconds", Shape::Whole(u64::MAX)),
    may("recordsHistoryLimit", Shape::Whole(u64::MAX)),
    must(
        "http",
        Shape::Object(&[
            must("url", Shape::Text),
            may("method", Shape::Choice(&["GET", "POST"])),
            may("headers", Shape::TextsMap),
            may("body", Shape::Text),
            must("criteria", Shape::Object(&[must("statusCode", Shape::Text)])),
        ]),
    ),
];

/// What belongs to some types of templates only, beside the embedded experiments.
const OF_TYPES: [&str; 6] = [
    "children",
    "task",
    "conditionalBranches",
    "statusCheck",
    "schedule",
    "abortWithStatusCheck",
];

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    let templates = spec["templates"].as_array();
    for (index, template) in templates.into_iter().flatten().enumerate() {
        // What is embedded is checked whatever else is wrong: a person mends all at once.
        embedded(check, &format!("{at}.templates[{index}]"), template);
    }
    let Some(read) = check.read::<Spec>(at, spec, &[FIELDS]) else {
        return;
    };
    let names: Vec<&str> = read
        .templates
        .iter()
        .map(|template| template.name.as_str())
        .collect();
    if !names.contains(&read.entry.as_str()) {
        unknown(check, format!("{at}.entry"), &read.entry, &names);
    }
    for (index, template) in read.templates.iter().enumerate() {
        let here = format!("{at}.templates[{index}]");
        if names[..index].contains(&template.name.as_str()) {
            let words = Words::new(
                format!("{:?} という名前はすでに使われています", template.name),
                format!("{:?} must be a name of its own", template.name),
            );
            check.add(format!("{here}.name"), words);
        }
        one(check, &here, template, &spec["templates"][index], &names);
    }
    if check.problems.is_empty()
        && let Some(name) = cycle(&read)
    {
        let words = Words::new(
            format!("{name} の中に {name} 自身があり、終わりません"),
            format!("{name} is inside itself: it would never end"),
        );
        check.add(format!("{at}.templates"), words);
    }
}

fn unknown(check: &mut Check, at: String, name: &str, names: &[&str]) {
    let words = Words::new(
        format!("{name:?} というテンプレートはありません"),
        format!("no template is called {name:?}"),
    );
    check.suggest(at, Part::Value, words, nearest(name, names));
}

/// The experiment or Schedule inside a template.
fn embedded(check: &mut Check, at: &str, template: &Value) {
    let kind = template["templateType"].as_str().unwrap_or_default();
    let field = if kind == "Schedule" {
        "schedule"
    } else if let Some(field) = embedded_field(kind) {
        field
    } else {
        return;
    };
    let here = format!("{at}.{field}");
    match &template[field] {
        Value::Null => check.add(here, needed_by(("templateType", "templateType"), kind)),
        spec if kind == "Schedule" => schedule::check(check, &here, spec),
        spec => {
            if given(&spec["duration"]) {
                let words = (
                    "二重に書かれています。ワークフローではテンプレートの deadline が時間です",
                    "is said twice: in a workflow the template's deadline is the duration",
                );
                check.add(format!("{here}.duration"), words);
            }
            experiment(check, kind, &here, spec);
        }
    }
}

fn one(check: &mut Check, at: &str, template: &Template, value: &Value, names: &[&str]) {
    let kind = template.template_type.as_str();
    let own = own_field(kind);
    for field in EXPERIMENTS
        .iter()
        .map(|(_, field)| *field)
        .chain(OF_TYPES)
        .filter(|field| !own.contains(field) && given(&value[*field]))
    {
        let words = Words::new(
            format!("templateType {kind} では使われません"),
            format!("has no meaning for templateType {kind}"),
        );
        check.add(format!("{at}.{field}"), words);
    }
    let missing = |check: &mut Check, field: &str| {
        let words = needed_by(("templateType", "templateType"), kind);
        check.add(format!("{at}.{field}"), words);
    };
    match kind {
        "Serial" | "Parallel" => {
            let children = template.children.iter().flatten();
            for child in children.filter(|name| !names.contains(&name.as_str())) {
                unknown(check, format!("{at}.children"), child, names);
            }
        }
        "Suspend" if !given(&value["deadline"]) => missing(check, "deadline"),
        "Task" => match &template.task {
            None => missing(check, "task"),
            Some(task) => {
                for field in ["name", "image"] {
                    if task["container"][field].as_str().is_none_or(str::is_empty) {
                        check.add(format!("{at}.task.container.{field}"), MISSING);
                    }
                }
                typed::<Container>(check, &format!("{at}.task.container"), &task["container"]);
                typed::<Option<Vec<Volume>>>(check, &format!("{at}.task.volumes"), &task["volumes"]);
                let branches = template.conditional_branches.iter().flatten();
                for (index, branch) in branches.enumerate() {
                    if !names.contains(&branch.target.as_str()) {
                        let here = format!("{at}.conditionalBranches[{index}].target");
                        unknown(check, here, &branch.target, names);
                    }
                }
            }
        },
        "StatusCheck" => match &template.status_check {
            None => missing(check, "statusCheck"),
            Some(probe) => {
                bounds(check, &format!("{at}.statusCheck"), probe);
                let here = format!("{at}.statusCheck.http");
                if let Some(http) = &probe.http {
                    check.take(format!("{here}.url"), http.service());
                    check.take(format!("{here}.criteria.statusCode"), http.criteria.codes());
                }
            }
        },
        _ => {}
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

/// A part of Kubernetes' own that must be of its type: what cannot be read would never be carried out.
fn typed<T: serde::de::DeserializeOwned>(check: &mut Check, at: &str, value: &Value) {
    if let Err(error) = serde_path_to_error::deserialize::<_, T>(value) {
        check.misread(at, error);
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
