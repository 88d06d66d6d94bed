//! The command line that makes such a request, as well as it can be known.

use hikeshi_scenario::argv::quote;
use serde_json::Value;

use super::AuditRecord;

/// A request that shows what the person wanted; discovery does not.
pub(super) fn tells(record: &AuditRecord) -> bool {
    !record.resource.is_empty()
}

pub(super) fn is_exec(record: &AuditRecord) -> bool {
    matches!(record.subresource.as_deref(), Some("exec" | "attach")) || record.verb == "exec"
}

/// Programs run in a pod that change its state, by their own words.
pub(super) fn exec_changes(record: &AuditRecord) -> bool {
    let words: Vec<String> = parameters(&record.query, "command");
    let line = words.join(" ").to_lowercase();
    let redis = [
        "config set",
        "config rewrite",
        "flushall",
        "flushdb",
        "cluster failover",
        "cluster reset",
        "client kill",
        " del ",
        " set ",
        "shutdown",
        "debug ",
    ];
    let sql = [
        "insert ",
        "update ",
        "delete ",
        "drop ",
        "alter ",
        "truncate ",
        "create ",
        "pg_terminate",
    ];
    let shell = ["rm ", "kill ", "pkill ", "tc ", "iptables "];
    match words.first().map(String::as_str) {
        Some(program) if program.ends_with("redis-cli") => redis.iter().any(|w| line.contains(w)),
        Some(program) if program.ends_with("psql") => sql.iter().any(|w| line.contains(w)),
        Some(_) => shell
            .iter()
            .any(|w| line.starts_with(w) || line.contains(&format!(" {w}"))),
        None => false,
    }
}

/// The line for the request that matters, with its companions for what they add.
pub(super) fn command_line(main: &AuditRecord, all: &[AuditRecord]) -> String {
    let said = main
        .kubectl_command
        .as_deref()
        .and_then(|c| c.strip_prefix("kubectl "))
        .unwrap_or_default();
    let mut words = vec!["kubectl".to_owned()];
    let object = || {
        format!(
            "{} {}",
            singular(&main.resource),
            main.name.as_deref().unwrap_or_default()
        )
        .trim_end()
        .to_owned()
    };
    match (said, main.subresource.as_deref()) {
        (_, Some("log")) | ("logs", _) => logs(&mut words, main, all),
        _ if is_exec(main) => {
            words.extend([
                "exec".to_owned(),
                main.name.clone().unwrap_or_default(),
                "--".to_owned(),
            ]);
            words.extend(parameters(&main.query, "command").iter().map(|w| quote(w)));
        }
        ("top pods" | "top pod" | "top nodes" | "top node", _) => {
            words.extend(["top".to_owned(), main.resource.clone()]);
            words.extend(main.name.clone());
            selector(&mut words, main);
        }
        (_, Some("scale")) => {
            words.extend(["scale".to_owned(), object()]);
            let replicas = main
                .request_body
                .as_ref()
                .and_then(|b| b.pointer("/spec/replicas"))
                .and_then(Value::as_i64);
            words.extend(replicas.map(|n| format!("--replicas={n}")));
        }
        (_, Some("eviction")) => words.extend(["drain: evict".to_owned(), object()]),
        ("rollout restart", _) => words.extend(["rollout restart".to_owned(), object()]),
        _ if main.verb == "patch" && restarts(main) => words.extend(["rollout restart".to_owned(), object()]),
        ("set env", _) => {
            words.extend(["set env".to_owned(), object()]);
            words.extend(environment(main));
        }
        ("describe", _) => described(&mut words, all, main),
        ("get", _) => got(&mut words, all, main),
        ("apply" | "create" | "replace" | "edit", _) => {
            words.extend([said.to_owned(), object()]);
            // The file's name never leaves the person's machine; what it said does.
            words.extend(change(main).map(|c| format!("# {c}")));
        }
        ("patch", _) | ("", _) if main.verb == "patch" => {
            words.extend(["patch".to_owned(), object()]);
            words.extend(
                main.request_body
                    .as_ref()
                    .map(|b| format!("-p {}", quote(&b.to_string()))),
            );
        }
        ("", _) => {
            let verb = if main.verb == "deletecollection" {
                "delete"
            } else if main.verb == "list" {
                "get"
            } else {
                &main.verb
            };
            words.extend([verb.to_owned(), object()]);
            selector(&mut words, main);
        }
        (said, _) => {
            words.push(said.to_owned());
            words.push(if main.name.is_some() {
                object()
            } else {
                main.resource.clone()
            });
            selector(&mut words, main);
        }
    }
    words.join(" ")
}

/// `kubectl logs -l app=x --since=5m`: the list carries the selector, the log requests carry the rest.
fn logs(words: &mut Vec<String>, main: &AuditRecord, all: &[AuditRecord]) {
    words.push("logs".to_owned());
    let list = all.iter().find(|r| r.resource == "pods" && r.verb == "list");
    match list.and_then(|r| parameter(&r.query, "labelSelector")) {
        Some(label) => words.extend(["-l".to_owned(), quote(&label)]),
        None => words.extend(main.name.clone()),
    }
    let log = all
        .iter()
        .find(|r| r.subresource.as_deref() == Some("log"))
        .unwrap_or(main);
    if let Some(container) = parameter(&log.query, "container").filter(|_| list.is_none()) {
        words.extend(["-c".to_owned(), quote(&container)]);
    }
    if let Some(seconds) = parameter(&log.query, "sinceSeconds").and_then(|s| s.parse().ok()) {
        words.push(format!("--since={}", hikeshi_scenario::Dur::secs(seconds)));
    }
    // kubectl itself asks for ten lines when it selects by label.
    if let Some(lines) = parameter(&log.query, "tailLines").filter(|n| n != "10" || list.is_none()) {
        words.push(format!("--tail={lines}"));
    }
    for (key, flag) in [
        ("previous", "--previous"),
        ("follow", "-f"),
        ("timestamps", "--timestamps"),
    ] {
        if parameter(&log.query, key).as_deref() == Some("true") {
            words.push(flag.to_owned());
        }
    }
}

/// Describe ends with the object's events; the object comes first.
fn described(words: &mut Vec<String>, all: &[AuditRecord], main: &AuditRecord) {
    let record = all
        .iter()
        .find(|r| tells(r) && r.resource != "events")
        .unwrap_or(main);
    words.extend(["describe".to_owned(), singular(&record.resource)]);
    match &record.name {
        Some(name) => words.push(name.clone()),
        None => selector(words, record),
    }
}

/// `kubectl get a,b` lists each kind, `kubectl get KIND A B` reads each object: one request for each.
fn got(words: &mut Vec<String>, all: &[AuditRecord], main: &AuditRecord) {
    words.push("get".to_owned());
    let mut asked: Vec<(&str, Option<&str>)> = Vec::new();
    for record in all.iter().filter(|r| tells(r)) {
        let one = (record.resource.as_str(), record.name.as_deref());
        if !asked.contains(&one) {
            asked.push(one);
        }
    }
    let named = asked.iter().map(|&(resource, name)| Some((resource, name?)));
    match named.collect::<Option<Vec<_>>>() {
        Some(objects) if objects.iter().all(|(resource, _)| *resource == main.resource) => {
            words.push(singular(&main.resource));
            words.extend(objects.iter().map(|(_, name)| (*name).to_owned()));
        }
        Some(objects) => words.extend(
            objects
                .iter()
                .map(|(resource, name)| format!("{}/{name}", singular(resource))),
        ),
        None => {
            let mut kinds: Vec<&str> = asked.iter().map(|(resource, _)| *resource).collect();
            kinds.dedup();
            words.push(kinds.join(","));
        }
    }
    selector(words, main);
}

fn selector(words: &mut Vec<String>, record: &AuditRecord) {
    if let Some(label) = parameter(&record.query, "labelSelector") {
        words.extend(["-l".to_owned(), quote(&label)]);
    }
    // `get NAME` is a list with a field selector when it watches.
    if let Some(name) = parameter(&record.query, "fieldSelector")
        .and_then(|f| f.strip_prefix("metadata.name=").map(str::to_owned))
    {
        words.push(name);
    }
    if parameter(&record.query, "watch").is_some_and(|w| w == "true" || w == "1") {
        words.push("-w".to_owned());
    }
}

fn restarts(record: &AuditRecord) -> bool {
    let annotations = record
        .request_body
        .as_ref()
        .and_then(|b| b.pointer("/spec/template/metadata/annotations"));
    annotations
        .and_then(|a| a.get("kubectl.kubernetes.io/restartedAt"))
        .is_some()
}

/// `NAME=value` of a patch made by `kubectl set env`.
fn environment(record: &AuditRecord) -> Vec<String> {
    let containers = record
        .request_body
        .as_ref()
        .and_then(|b| b.pointer("/spec/template/spec/containers"))
        .and_then(Value::as_array);
    let variables = containers
        .into_iter()
        .flatten()
        .filter_map(|c| c.get("env")?.as_array())
        .flatten();
    variables
        .filter_map(|v| {
            let name = v.get("name")?.as_str()?;
            let removed = v.get("$patch").and_then(Value::as_str) == Some("delete");
            Some(if removed {
                format!("{name}-")
            } else {
                quote(&format!("{name}={}", v.get("value")?.as_str()?))
            })
        })
        .collect()
}

/// What an applied or edited object changes, when the body is a small patch.
fn change(record: &AuditRecord) -> Option<String> {
    let body = record.request_body.as_ref()?;
    let part = if record.resource == "configmaps" {
        body.get("data")?
    } else {
        body.get("spec")?
    };
    let text = part.to_string();
    (text.len() <= 300).then_some(text)
}

/// `deployments` as people type it with a name.
fn singular(resource: &str) -> String {
    match resource {
        "endpoints" | "ingress" => resource.to_owned(),
        other if other.ends_with("sses") => other.trim_end_matches("es").to_owned(),
        other if other.ends_with("ies") => format!("{}y", other.trim_end_matches("ies")),
        other => other.strip_suffix('s').unwrap_or(other).to_owned(),
    }
}

/// First value of a key in a query string, decoded.
pub(super) fn parameter(query: &str, key: &str) -> Option<String> {
    parameters(query, key).into_iter().next()
}

fn parameters(query: &str, key: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(k, _)| *k == key)
        .map(|(_, v)| decoded(v))
        .collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
