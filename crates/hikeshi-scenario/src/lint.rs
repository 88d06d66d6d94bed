//! Lint: what a well-formed scenario still gets wrong.

use serde::Serialize;
use serde_json::Value;

use crate::argv::{ALLOWED_PROGRAMS, CommandLine};
use crate::cast::Declare;
use crate::scenario::{Fix, Scenario, Text};

/// How much a finding matters: an error fails `hikeshi scenario lint`, a warning is only said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Warning,
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// Stable name, e.g. `gives-answer-away`.
    pub rule: &'static str,
    pub message: String,
}

/// Words that say what a fault does; in a name that people can see they are the answer.
const TELLING: [&str; 22] = [
    "slow",
    "delay",
    "latency",
    "partition",
    "abort",
    "kill",
    "loss",
    "chaos",
    "fault",
    "inject",
    "maxclients",
    "retry",
    "retries",
    "storm",
    "exhaust",
    "leak",
    "oom",
    "crash",
    "fail",
    "broken",
    "outage",
    "deadlock",
];

/// Judges a scenario with the objects of its fault files. Several objects of one file come as several pairs of the same name.
pub fn lint(scenario: &Scenario, faults: &[(String, Value)]) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut add = |severity, rule, message: String| {
        out.push(Finding {
            severity,
            rule,
            message,
        })
    };

    if scenario.fixes.len() < 2 {
        add(
            Severity::Error,
            "fixes",
            format!(
                "{} real fix(es): at least two, so that the oracle does not know only one way",
                scenario.fixes.len()
            ),
        );
    }
    if scenario.fake_fixes.len() < 3 {
        add(
            Severity::Error,
            "fake-fixes",
            format!(
                "{} fake fix(es): at least three, each with relief and relapse",
                scenario.fake_fixes.len()
            ),
        );
    }
    if scenario.oracle.checks.is_empty() {
        add(
            Severity::Error,
            "oracle-checks",
            "the oracle has no checks besides journeys: a fake fix will look green".to_owned(),
        );
    }
    if scenario.oracle.survives.is_empty() {
        add(
            Severity::Warning,
            "oracle-survives",
            "no `survives`: nothing shows that the fix lasts".to_owned(),
        );
    }
    if scenario.hints.is_empty() {
        add(
            Severity::Warning,
            "hints",
            "no hints: a team that is stuck stays stuck".to_owned(),
        );
    }
    if scenario.seats.get("commander").copied().unwrap_or(0) != 1 {
        add(
            Severity::Error,
            "seats",
            "exactly one commander is wanted".to_owned(),
        );
    }
    for (place, text) in texts(scenario) {
        for (lang, words) in [("ja", &text.ja), ("en", &text.en)] {
            if words.trim().is_empty() {
                add(
                    Severity::Error,
                    "bilingual",
                    format!("{place}: the {lang} text is empty"),
                );
            }
        }
    }
    if scenario.goals.ja.len() != scenario.goals.en.len() || scenario.goals.ja.is_empty() {
        add(
            Severity::Error,
            "bilingual",
            "goals: as many in ja as in en, at least one".to_owned(),
        );
    }
    for (place, command) in commands(scenario) {
        if !ALLOWED_PROGRAMS.contains(&command.program()) {
            add(
                Severity::Error,
                "program",
                format!(
                    "{place}: `{}` is none of {}",
                    command.program(),
                    ALLOWED_PROGRAMS.join(", ")
                ),
            );
        }
    }
    for name in duplicate_names(scenario.fixes.iter().chain(&scenario.fake_fixes)) {
        add(
            Severity::Error,
            "duplicate-name",
            format!("two fixes are named `{name}`: reports could not tell them apart"),
        );
    }
    for file in scenario
        .inject
        .iter()
        .map(|i| &i.apply)
        .chain(scenario.oracle.survives.iter().map(|s| &s.again))
    {
        if !faults.iter().any(|(name, _)| name == file) {
            add(
                Severity::Error,
                "missing-file",
                format!("fault file `{file}` was not found"),
            );
        }
    }
    if let Some(word) = telling(&scenario.metadata.name) {
        add(
            Severity::Error,
            "gives-answer-away",
            format!("the scenario's name `{}` says `{word}`", scenario.metadata.name),
        );
    }
    for (file, object) in faults {
        for (place, words) in visible_words(object) {
            if let Some(word) = telling(&words) {
                add(
                    Severity::Error,
                    "gives-answer-away",
                    format!("{file}: {place} `{words}` says `{word}`: people can see it"),
                );
            }
        }
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
        let is_fault = object
            .get("apiVersion")
            .and_then(Value::as_str)
            .is_some_and(|v| v.starts_with("chaos-mesh.org/"));
        if is_fault && namespace == Some(scenario.system.as_str()) {
            add(
                Severity::Error,
                "gives-answer-away",
                format!("{file}: a fault in the system's own namespace is shown by kubectl get"),
            );
        }
    }
    briefing(scenario, faults, &mut out);
    cast(scenario, &mut out);
    out
}

/// The broken part must not be named before people have found it.
fn briefing(scenario: &Scenario, faults: &[(String, Value)], out: &mut Vec<Finding>) {
    let told = format!(
        "{} {} {} {} {}",
        scenario.metadata.name,
        scenario.title.ja,
        scenario.title.en,
        scenario.briefing.ja,
        scenario.briefing.en
    );
    for (file, object) in faults {
        for target in targets(object) {
            if told.contains(&target) {
                out.push(Finding {
                    severity: Severity::Error,
                    rule: "gives-answer-away",
                    message: format!("title or briefing names `{target}`, the target of {file}"),
                });
            }
        }
    }
}

fn cast(scenario: &Scenario, out: &mut Vec<Finding>) {
    let Some(cast) = &scenario.cast else { return };
    let mut error = |rule, message| {
        out.push(Finding {
            severity: Severity::Error,
            rule,
            message,
        })
    };
    let known = |name: &str| cast.engineers.iter().any(|e| e.name == name);
    for (number, step) in cast.steps.iter().enumerate() {
        let place = format!("cast.steps[{number}]");
        if !known(&step.who) {
            error("cast", format!("{place}: `{}` is not in the cast", step.who));
        }
        if step.run.is_some() && step.query.is_some() {
            error("cast", format!("{place}: one of run and query"));
        }
        if let Some(expect) = &step.expect {
            if step.run.is_none() {
                error("cast", format!("{place}: expect without run"));
            }
            if let Err(e) = regex::Regex::new(&expect.matches) {
                error("cast", format!("{place}: expect.matches: {e}"));
            }
        }
        if let Some(crate::cast::When::Alert(pattern)) = &step.when
            && let Err(e) = regex::Regex::new(pattern)
        {
            error("cast", format!("{place}: when.alert: {e}"));
        }
    }
    for reply in &cast.replies {
        if !known(&reply.who) {
            error("cast", format!("replies: `{}` is not in the cast", reply.who));
        }
        if !scenario.people.iter().any(|p| p.name == reply.to) {
            error("cast", format!("replies: `{}` is nobody of `people`", reply.to));
        }
    }
    let seen = &mut std::collections::BTreeSet::new();
    for name in scenario
        .people
        .iter()
        .map(|p| &p.name)
        .chain(cast.engineers.iter().map(|e| &e.name))
    {
        if !seen.insert(name) {
            error("duplicate-name", format!("two people are called `{name}`"));
        }
    }
}

fn telling(words: &str) -> Option<&'static str> {
    let words = words.to_lowercase();
    TELLING.into_iter().find(|t| {
        words
            .split(|c: char| !c.is_alphanumeric())
            .any(|w| w == *t || w.strip_suffix('s') == Some(t))
    })
}

/// Names, labels and annotations of an object.
fn visible_words(object: &Value) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    if let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str) {
        out.push(("name", name.to_owned()));
    }
    for (place, pointer) in [
        ("label", "/metadata/labels"),
        ("annotation", "/metadata/annotations"),
    ] {
        for (key, value) in object
            .pointer(pointer)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            out.push((place, format!("{key}={}", value.as_str().unwrap_or_default())));
        }
    }
    out
}

/// Pods a Chaos Mesh object names outright.
fn targets(object: &Value) -> Vec<String> {
    let pods = object.pointer("/spec/selector/pods").and_then(Value::as_object);
    pods.into_iter()
        .flat_map(|p| p.values())
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn commands(scenario: &Scenario) -> Vec<(String, &CommandLine)> {
    let fixes = scenario.fixes.iter().chain(&scenario.fake_fixes);
    let steps = scenario.cast.iter().flat_map(|c| c.steps.iter().enumerate());
    fixes
        .flat_map(|f| f.run.iter().map(move |c| (format!("fix `{}`", f.name), c)))
        .chain(steps.filter_map(|(i, s)| Some((format!("cast.steps[{i}]"), s.run.as_ref()?))))
        .collect()
}

fn duplicate_names<'a>(fixes: impl Iterator<Item = &'a Fix>) -> Vec<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    fixes
        .map(|f| f.name.as_str())
        .filter(|n| !seen.insert(*n))
        .collect()
}

fn texts(scenario: &Scenario) -> Vec<(String, &Text)> {
    let mut out = vec![
        ("title".to_owned(), &scenario.title),
        ("briefing".to_owned(), &scenario.briefing),
    ];
    for person in &scenario.people {
        out.push((format!("people.{}.role", person.name), &person.role));
        out.extend(
            person
                .say
                .iter()
                .enumerate()
                .map(|(i, s)| (format!("people.{}.say[{i}]", person.name), &s.text)),
        );
    }
    out.extend(
        scenario
            .hints
            .iter()
            .enumerate()
            .map(|(i, h)| (format!("hints[{i}]"), &h.text)),
    );
    out.extend(
        scenario
            .fixes
            .iter()
            .chain(&scenario.fake_fixes)
            .map(|f| (format!("fix {}", f.name), &f.title)),
    );
    for (i, item) in scenario.action_items.iter().enumerate() {
        out.extend([&item.text, &item.done_when].map(|t| (format!("action_items[{i}]"), t)));
    }
    for (i, step) in scenario.cast.iter().flat_map(|c| c.steps.iter().enumerate()) {
        let place = format!("cast.steps[{i}]");
        out.extend(
            step.say
                .iter()
                .chain(&step.then)
                .chain(&step.why)
                .map(|t| (place.clone(), t)),
        );
        match &step.declare {
            Some(
                Declare::Impact(t) | Declare::Hypothesis(t) | Declare::Mitigated(t) | Declare::Resolved(t),
            ) => out.push((place, t)),
            Some(Declare::Task(task)) => out.push((place, &task.text)),
            Some(Declare::Status(status)) => out.push((place, &status.text)),
            Some(Declare::Ack | Declare::Commander) | None => {}
        }
    }
    out
}
