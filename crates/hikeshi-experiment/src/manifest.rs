//! A manifest as people write it: read, checked, with every mistake placed, and made whole.

use hikeshi_chaos::{Part, embedded_field, kinds};
use hikeshi_scenario::Text;
use hikeshi_scenario::problem::nearest;
use hikeshi_slo::Cujs;
use serde_json::{Map, Value, json};

use crate::annotations::{self, Role};
use crate::api::Problem;
use crate::check::Check;
use crate::{duration, place};
use hikeshi_scenario::node::{self, Is, Node, Place};

/// The API group and version of every experiment.
pub const API_VERSION: &str = "chaos-mesh.org/v1alpha1";

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

/// Reads YAML or JSON text of one object. SLOs are those of `cujs`, on a clock that runs `slo_clock` times faster; an
/// object that names no namespace goes to `namespace`, as with kubectl. What a spec may say is [`hikeshi_chaos`]'s to
/// judge, as it is when the object comes by the Kubernetes API.
pub fn read(text: &str, cujs: &Cujs, slo_clock: f64, namespace: &str) -> Reading {
    let mut found = Vec::new();
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
    let (name, namespace) = metadata(&node, namespace, &mut found);
    let annotations = node
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"));
    let checks = annotations
        .map(|annotations| checks(annotations, cujs, slo_clock, &mut found))
        .unwrap_or_default();
    let object = node.value();
    for problem in kind
        .map(|kind| hikeshi_chaos::problems(kind, &object))
        .unwrap_or_default()
    {
        let (line, column) = place::of(&node, &problem.field, problem.part);
        found.push(Problem {
            line,
            column,
            path: problem.field,
            message: text_of(problem.said),
            suggestion: problem.meant,
        });
    }
    let mut problems = found;
    problems.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
    let kind = kind.unwrap_or_default().to_owned();
    let manifest = problems.is_empty().then(|| Manifest {
        kind: kind.clone(),
        name: name.clone(),
        namespace: namespace.clone(),
        object: normalized(&object, &namespace),
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

fn text_of(words: hikeshi_chaos::Words) -> Text {
    Text {
        ja: words.ja,
        en: words.en,
    }
}

fn problem((line, column): Place, path: &str, ja: impl Into<String>, en: impl Into<String>) -> Problem {
    Problem {
        line,
        column,
        path: path.to_owned(),
        message: Text {
            ja: ja.into(),
            en: en.into(),
        },
        suggestion: None,
    }
}

/// The hypotheses and guards of an object that is already in the cluster; those that cannot be read are told.
pub fn checks_of(object: &Value, cujs: &Cujs, slo_clock: f64) -> (Vec<Check>, Vec<Text>) {
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
            Err(error) => misread.push(Text {
                ja: format!("{key}: {}", error.message.ja),
                en: format!("{key}: {}", error.message.en),
            }),
        }
    }
    (checks, misread)
}

/// Line and column of an annotation's value; (0, 0) when it is not there.
pub fn annotation_place(text: &str, key: &str) -> (u64, u64) {
    one_document(text)
        .map(|node| place::of(&node, &annotation_path(key), Part::Value))
        .unwrap_or_default()
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
    kind.and_then(|kind| Some((kind.to_owned(), within.get(embedded_field(kind)?)?.clone())))
        .into_iter()
        .collect()
}

fn one_document(text: &str) -> Result<Node, Problem> {
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
        return Err(problem(
            (second as u64 + 1, 1),
            "",
            "実験は 1 ファイルに 1 つです。組み合わせるなら Workflow にしてください",
            "one experiment per file: what belongs together is a Workflow",
        ));
    }
    let text = &lines.join("\n");
    if text.trim().is_empty() {
        return Err(problem((1, 1), "", "何も書かれていません", "the file is empty"));
    }
    let node = node::read(text)
        .map_err(|(at, words)| problem(at, "", format!("YAML として読めません: {words}"), words))?;
    if matches!(node.is, Is::Map(_)) {
        Ok(node)
    } else {
        Err(problem(
            node.at,
            "",
            "実験はマッピング (apiVersion:、kind:、...) で書きます",
            format!("an experiment is a mapping, not {}", node.kind()),
        ))
    }
}

fn kind(node: &Node, found: &mut Vec<Problem>) -> Option<&'static str> {
    match node.get("apiVersion") {
        None => found.push(problem(
            node.at,
            "apiVersion",
            format!("`apiVersion: {API_VERSION}` がありません"),
            format!("`apiVersion: {API_VERSION}` is missing"),
        )),
        Some(version) if version.text() != Some(API_VERSION) => found.push(Problem {
            suggestion: Some(API_VERSION.to_owned()),
            ..problem(
                version.at,
                "apiVersion",
                "実験は Chaos Mesh のオブジェクトです",
                "an experiment is an object of Chaos Mesh",
            )
        }),
        Some(_) => {}
    }
    let names: Vec<&str> = kinds().collect();
    let listed = (names.join("、"), names.join(", "));
    let Some(kind) = node.get("kind") else {
        found.push(problem(
            node.at,
            "kind",
            format!("`kind` がありません。{} のどれかです", listed.0),
            format!("`kind` is missing: one of {}", listed.1),
        ));
        return None;
    };
    let said = kind.text().unwrap_or_default();
    let known = kinds().find(|name| *name == said);
    if known.is_none() {
        let meant = kinds()
            .find(|name| name.eq_ignore_ascii_case(said))
            .or_else(|| nearest(said, kinds()));
        found.push(Problem {
            suggestion: meant.map(str::to_owned),
            ..problem(
                kind.at,
                "kind",
                format!("`{said}` という実験はありません。あるのは {} です", listed.0),
                format!("`{said}` is no experiment; there are {}", listed.1),
            )
        });
    }
    known
}

/// Name and namespace. What a name may be is Kubernetes' to say, in its own words.
fn metadata(node: &Node, usual: &str, found: &mut Vec<Problem>) -> (String, String) {
    let metadata = node.get("metadata");
    let name = metadata.and_then(|metadata| metadata.get("name"));
    let said = name.and_then(Node::text).unwrap_or_default();
    let at = name.or(metadata).unwrap_or(node).at;
    if said.is_empty() {
        found.push(problem(
            at,
            "metadata.name",
            "`metadata.name` がありません",
            "Required value: name or generateName is required",
        ));
    } else if !is_subdomain(said) {
        found.push(problem(
            at,
            "metadata.name",
            format!("`{said}` は名前に使えません。小文字の英数字と - . だけで、英数字で始まり英数字で終わること"),
            format!(
                "Invalid value: \"{said}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                 characters, '-' or '.', and must start and end with an alphanumeric character"
            ),
        ));
    }
    let namespace = metadata.and_then(|metadata| metadata.get("namespace"));
    let place = namespace.and_then(Node::text).filter(|text| !text.is_empty());
    if let Some(wrong) = namespace.filter(|it| it.is != Is::Nothing && !it.text().is_some_and(is_namespace)) {
        found.push(problem(
            wrong.at,
            "metadata.namespace",
            "namespace の名前ではありません",
            "is no namespace's name",
        ));
    }
    (said.to_owned(), place.unwrap_or(usual).to_owned())
}

fn is_subdomain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text.chars().all(|c| plain(c) || c == '-' || c == '.')
        && text.starts_with(plain)
        && text.ends_with(plain)
}

fn is_namespace(text: &str) -> bool {
    text.is_empty() || (is_subdomain(text) && text.len() <= 63 && !text.contains('.'))
}

fn checks(annotations: &Node, cujs: &Cujs, slo_clock: f64, found: &mut Vec<Problem>) -> Vec<Check> {
    let mut checks = Vec::new();
    let Is::Map(entries) = &annotations.is else {
        return checks;
    };
    for (key, _, value) in entries {
        // Whatever else is wrong with an annotation is told with the rest of the object.
        let (Some((role, name)), Some(said)) = (annotations::role(key), value.text()) else {
            continue;
        };
        match Check::parse(role, name, said, cujs, slo_clock) {
            Ok(check) => checks.push(check),
            Err(error) => found.push(Problem {
                line: value.at.0,
                column: value.at.1,
                path: annotation_path(key),
                message: error.message,
                suggestion: error.suggestion,
            }),
        }
    }
    checks.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
    checks
}

/// An annotation's field, as problems name it.
pub fn annotation_path(key: &str) -> String {
    format!("metadata.annotations[{key}]")
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
