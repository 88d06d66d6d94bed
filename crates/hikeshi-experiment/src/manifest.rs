//! A manifest as people write it: read, checked, with every mistake placed, and made whole.

use hikeshi_scenario::problem::nearest;
use hikeshi_slo::Cujs;
use serde_json::{Map, Value, json};

use crate::annotations::{self, Role};
use crate::api::Problem;
use crate::check::Check;
use crate::duration;
use crate::node::{self, Is, Node};
use crate::schema::{KINDS, embedded};
use crate::validate::{self, Findings};

/// The API group and version of every experiment.
pub const API_VERSION: &str = "chaos-mesh.org/v1alpha1";
/// Where an object goes that names no namespace.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A manifest that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub kind: String,
    pub name: String,
    pub namespace: String,
    /// Without status and what only a server writes; with its namespace.
    pub object: Value,
    pub checks: Vec<Check>,
}

/// What is known of a manifest besides what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    pub problems: Vec<Problem>,
    /// None when it cannot be run as it is.
    pub manifest: Option<Manifest>,
    /// As far as they could be read, empty otherwise.
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

/// Reads YAML or JSON text of one object. SLOs are those of `cujs`, on a clock that runs `slo_clock` times faster.
pub fn read(text: &str, cujs: &Cujs, slo_clock: f64) -> Reading {
    let mut found = Findings::default();
    let node = match one_document(text) {
        Ok(node) => node,
        Err(problem) => {
            return Reading {
                problems: vec![problem],
                ..Reading::default()
            };
        }
    };
    let kind = kind(&node, &mut found);
    let (name, namespace) = metadata(&node, &mut found);
    let checks = node
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"))
        .map(|annotations| checks(annotations, kind, cujs, slo_clock, &mut found))
        .unwrap_or_default();
    if let Is::Map(entries) = &node.is {
        for (key, at, _) in entries {
            let known = ["apiVersion", "kind", "metadata", "spec", "status"];
            if !known.contains(&key.as_str()) {
                let meant = nearest(key, known[..4].iter().copied());
                found.suggest(*at, key, format!("unknown field `{key}`"), meant);
            }
        }
    }
    match (node.get("spec"), kind) {
        (Some(spec), Some(kind)) => validate::spec(kind, spec, "spec", &mut found),
        (None, Some(_)) => found.say(node.at, "spec", "`spec` is missing"),
        (_, None) => {}
    }
    let mut problems = found.0;
    problems.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
    let kind = kind.unwrap_or_default().to_owned();
    let manifest = problems.is_empty().then(|| Manifest {
        kind: kind.clone(),
        name: name.clone(),
        namespace: namespace.clone(),
        object: normalized(&node.value(), &namespace),
        checks,
    });
    Reading {
        problems,
        manifest,
        kind,
        name,
        namespace,
    }
}

/// The hypotheses and guards of an object that is already in the cluster; those that cannot be read are told.
pub fn checks_of(object: &Value, cujs: &Cujs, slo_clock: f64) -> (Vec<Check>, Vec<String>) {
    let (mut checks, mut misread) = (Vec::new(), Vec::new());
    for (key, said) in object["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let Some((role, name)) = annotations::role(key) else {
            continue;
        };
        match Check::parse(role, name, said.as_str().unwrap_or_default(), cujs, slo_clock) {
            Ok(check) => checks.push(check),
            Err(error) => misread.push(format!("{key} {}", error.message)),
        }
    }
    (checks, misread)
}

/// Line and column of an annotation's value; (0, 0) when it is not there.
pub fn annotation_place(text: &str, key: &str) -> (u64, u64) {
    let place = |node: Node| Some(node.get("metadata")?.get("annotations")?.get(key)?.at);
    one_document(text).ok().and_then(place).unwrap_or_default()
}

/// Seconds until the fault ends by itself; none: when it is deleted. A Workflow's is its entry's deadline.
pub fn duration_of(object: &Value) -> Option<f64> {
    let spec = &object["spec"];
    let text = match object["kind"].as_str() {
        Some("Workflow") => spec["templates"]
            .as_array()?
            .iter()
            .find(|template| template["name"] == spec["entry"])?["deadline"]
            .as_str(),
        _ => spec["duration"].as_str(),
    };
    text.filter(|text| !text.is_empty()).and_then(duration::seconds)
}

/// Whether the kind can be given a `spec.duration`: kills happen once, schedules and workflows have their own times.
pub fn takes_duration(object: &Value) -> bool {
    match object["kind"].as_str() {
        Some("Schedule" | "Workflow") => false,
        Some("PodChaos") => object["spec"]["action"] == "pod-failure",
        _ => true,
    }
}

/// The spec that says who is hit: the object's own, or (Schedule, Workflow) every embedded one.
pub fn chaos_specs(object: &Value) -> Vec<(String, Value)> {
    let spec = &object["spec"];
    match object["kind"].as_str().unwrap_or_default() {
        "Schedule" => embedded_spec(spec, spec["type"].as_str()),
        "Workflow" => spec["templates"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|template| match template["templateType"].as_str() {
                Some("Schedule") => {
                    embedded_spec(&template["schedule"], template["schedule"]["type"].as_str())
                }
                kind => embedded_spec(template, kind),
            })
            .collect(),
        kind => vec![(kind.to_owned(), spec.clone())],
    }
}

fn embedded_spec(within: &Value, kind: Option<&str>) -> Vec<(String, Value)> {
    kind.and_then(|kind| Some((kind.to_owned(), within.get(embedded(kind)?)?.clone())))
        .into_iter()
        .collect()
}

fn one_document(text: &str) -> Result<Node, Problem> {
    let problem = |line, column, message: String| Problem {
        line,
        column,
        path: String::new(),
        message,
        suggestion: None,
    };
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let mut lines: Vec<&str> = text.lines().collect();
    // A mark with nothing after it ends a document and begins none.
    while let Some(last) = lines
        .iter()
        .rposition(says)
        .filter(|last| lines[*last].trim_end() == "---")
    {
        lines.truncate(last);
    }
    let first = lines
        .iter()
        .position(|line| says(line) && line.trim_end() != "---");
    let second = lines.iter().rposition(|line| line.trim_end() == "---");
    if let (Some(first), Some(second)) = (first, second)
        && first < second
    {
        let message = "one experiment per file: what belongs together is a Workflow";
        return Err(problem(second as u64 + 1, 1, message.to_owned()));
    }
    let text = &lines.join("\n");
    if text.trim().is_empty() {
        return Err(problem(1, 1, "the file is empty".to_owned()));
    }
    let node = node::read(text).map_err(|((line, column), message)| problem(line, column, message))?;
    if matches!(node.is, Is::Map(_)) {
        Ok(node)
    } else {
        let (line, column) = node.at;
        Err(problem(
            line,
            column,
            format!("an experiment is a mapping, not {}", node.kind()),
        ))
    }
}

fn kind(node: &Node, found: &mut Findings) -> Option<&'static str> {
    match node.get("apiVersion") {
        None => found.say(
            node.at,
            "apiVersion",
            format!("`apiVersion: {API_VERSION}` is missing"),
        ),
        Some(version) if version.text() != Some(API_VERSION) => {
            found.suggest(
                version.at,
                "apiVersion",
                "an experiment is an object of Chaos Mesh",
                Some(API_VERSION),
            );
        }
        Some(_) => {}
    }
    let names = KINDS.map(|(name, _)| name);
    let Some(kind) = node.get("kind") else {
        found.say(
            node.at,
            "kind",
            format!("`kind` is missing: one of {}", names.join(", ")),
        );
        return None;
    };
    let said = kind.text().unwrap_or_default();
    let known = names.into_iter().find(|name| *name == said);
    if known.is_none() {
        let meant = names
            .into_iter()
            .find(|name| name.eq_ignore_ascii_case(said))
            .or_else(|| nearest(said, names));
        found.suggest(
            kind.at,
            "kind",
            format!("`{said}` is no experiment; there are {}", names.join(", ")),
            meant,
        );
    }
    known
}

fn metadata(node: &Node, found: &mut Findings) -> (String, String) {
    let Some(metadata) = node.get("metadata") else {
        found.say(node.at, "metadata", "`metadata` with a `name` is missing");
        return (String::new(), DEFAULT_NAMESPACE.to_owned());
    };
    let name = metadata.get("name");
    let said = name.and_then(Node::text).unwrap_or_default();
    if !is_label(said) {
        let at = name.map_or(metadata.at, |name| name.at);
        let message = if said.is_empty() {
            "`metadata.name` is missing".to_owned()
        } else {
            format!("`{said}` is no name: small letters, digits and dashes, at most 63")
        };
        found.say(at, "metadata.name", message);
    }
    let namespace = metadata.get("namespace");
    let place = namespace.and_then(Node::text).filter(|text| !text.is_empty());
    if let Some(wrong) = namespace.filter(|_| !place.is_none_or(is_label)) {
        found.say(wrong.at, "metadata.namespace", "is no namespace's name");
    }
    (said.to_owned(), place.unwrap_or(DEFAULT_NAMESPACE).to_owned())
}

fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| plain(c) || c == '-')
        && text.starts_with(plain)
        && text.ends_with(plain)
}

fn checks(
    annotations: &Node,
    kind: Option<&str>,
    cujs: &Cujs,
    slo_clock: f64,
    found: &mut Findings,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let Is::Map(entries) = &annotations.is else {
        return checks;
    };
    for (key, at, value) in entries {
        let path = format!("metadata.annotations.{key}");
        let Some(said) = value.text() else {
            found.say(value.at, &path, "must be a text: put it in quotes");
            continue;
        };
        if let Some((role, name)) = annotations::role(key) {
            match Check::parse(role, name, said, cujs, slo_clock) {
                Ok(check) => checks.push(check),
                Err(error) => found.suggest(value.at, &path, error.message, error.suggestion.as_deref()),
            }
        } else if key.starts_with("hikeshi.dev/") && !annotations::ANNOTATIONS.contains(&key.as_str()) {
            let known = annotations::SHAPING.contains(&key.as_str());
            if !known {
                let names = [annotations::HYPOTHESIS, annotations::GUARD]
                    .into_iter()
                    .chain(annotations::SHAPING);
                found.suggest(
                    *at,
                    &path,
                    format!("unknown annotation `{key}`"),
                    nearest(key, names),
                );
            } else if kind == Some("Workflow") {
                found.say(
                    *at,
                    &path,
                    "shapes one fault: a Workflow has several, and does not pass it on",
                );
            }
        }
    }
    checks.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
    checks
}

/// The object as it would be created.
fn normalized(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    let Some(top) = object.as_object_mut() else {
        return object;
    };
    top.remove("status");
    if let Some(metadata) = top.get_mut("metadata").and_then(Value::as_object_mut) {
        let keep = ["name", "labels", "annotations"];
        let mut kept: Map<String, Value> = Map::new();
        for key in keep {
            if let Some(value) = metadata.remove(key).filter(|value| !value.is_null()) {
                kept.insert(key.to_owned(), value);
            }
        }
        kept.insert("namespace".to_owned(), json!(namespace));
        if let Some(annotations) = kept.get_mut("annotations").and_then(Value::as_object_mut) {
            let applied = "kubectl.kubernetes.io/last-applied-configuration";
            annotations.retain(|key, _| {
                key != applied && key != annotations::LEASE_UNTIL && key != annotations::EXPERIMENT
            });
        }
        *metadata = kept;
    }
    object
}

impl Manifest {
    /// The hypotheses, then the guards.
    pub fn by_role(&self, role: Role) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.role == role)
    }

    /// As YAML.
    pub fn yaml(&self) -> String {
        yaml(&self.object)
    }
}

/// An object as YAML.
pub fn yaml(object: &Value) -> String {
    // A JSON value is always YAML; JSON itself is, should the writer disagree.
    serde_saphyr::to_string(object).unwrap_or_else(|_| object.to_string())
}

#[cfg(test)]
mod tests;
