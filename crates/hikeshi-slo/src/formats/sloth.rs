//! Sloth: `prometheus/v1` files, the operator's PrometheusServiceLevel, and AlertWindows.

use hikeshi_scenario::{Dur, Text};

use super::given;
use super::reading::Reading;
use crate::cujs::{Alerting, Channel, Cuj, Queries, Sli, Slo};
use crate::period::Period;
use crate::policy::{AlertPolicy, Severity};
use hikeshi_scenario::node::Node;

pub(super) fn read(documents: &[Node], reading: &mut Reading) {
    for document in documents {
        let kind = document.get("kind").and_then(Node::text);
        match (document.get("apiVersion").and_then(Node::text), kind) {
            // The second is the first for Google's managed Prometheus.
            (Some("sloth.slok.dev/v1"), Some("PrometheusServiceLevel" | "ManagedPrometheusServiceLevel")) => {
                match document.get("spec") {
                    Some(spec) => service(spec, reading),
                    None => reading.refuse(document.at, "key `spec` is missing here".to_owned()),
                }
            }
            (Some("sloth.slok.dev/v1"), Some("AlertWindows")) => windows(document, reading),
            (Some(other), _) => {
                let at = document.get("apiVersion").map_or(document.at, |node| node.at);
                reading.refuse(
                    at,
                    format!("`{other}` is not sloth.slok.dev/v1 with a kind that Sloth knows"),
                );
            }
            (None, _) => {
                match document.get("version").and_then(Node::text) {
                    Some("prometheus/v1") => {}
                    version => {
                        let at = document.get("version").map_or(document.at, |node| node.at);
                        let version = version.unwrap_or_default();
                        reading.refuse(at, format!("version `{version}` is not prometheus/v1"));
                        continue;
                    }
                }
                service(document, reading);
            }
        }
    }
}

/// A key in the file's manner (`error_query`) or the operator's (`errorQuery`).
fn either<'a>(node: &'a Node, snake: &str) -> Option<&'a Node> {
    let mut camel = String::new();
    let mut large = false;
    for c in snake.chars() {
        match c {
            '_' => large = true,
            c if large => {
                camel.extend(c.to_uppercase());
                large = false;
            }
            c => camel.push(c),
        }
    }
    given(node.get(snake)).or_else(|| given(node.get(&camel)))
}

fn service(node: &Node, reading: &mut Reading) {
    let Some(said) = reading.wanted(node, "service") else {
        return;
    };
    let at = node.get("service").map_or(node.at, |node| node.at);
    let name = reading.name(at, said);
    reading.unknown(
        node,
        &[
            "version",
            "service",
            "labels",
            "slos",
            "slo_plugins",
            "sloPlugins",
        ],
        said,
    );
    if let Some(plugins) = either(node, "slo_plugins") {
        plugins_are_lost(plugins, said, reading);
    }
    let owner = ["owner", "team"].iter().find_map(|key| {
        let labels = node.get("labels")?;
        labels.get(key)?.scalar()
    });
    if owner.is_none() {
        reading.note(
            at,
            said,
            "Sloth には担当チームがありません。サービス名を入れました",
            "Sloth knows no owner: the service's name stands for it",
        );
    }
    reading.note(
        at,
        said,
        "Sloth には件数の下限がないため、同じ動きになるよう minEvents は 0 です",
        "Sloth has no low-traffic gate: minEvents is 0, so that alerts fire as they did",
    );
    let cuj = Cuj {
        name,
        title: Text {
            ja: said.to_owned(),
            en: said.to_owned(),
        },
        owner: owner.unwrap_or_else(|| said.to_owned()),
        route: String::new(),
        steps: Vec::new(),
        slos: Vec::new(),
    };
    let slos = node.get("slos").map_or(&[][..], Node::items);
    if slos.is_empty() {
        reading.refuse(
            node.get("slos").map_or(node.at, |n| n.at),
            "a service needs at least one SLO".to_owned(),
        );
    }
    for slo in slos {
        objective(node, slo, &cuj, reading);
    }
}

fn plugins_are_lost(node: &Node, about: &str, reading: &mut Reading) {
    reading.note(
        node.at,
        about,
        "SLO プラグインは Sloth の中で動くプログラムのため無視しました",
        "SLO plugins are programs inside Sloth and were ignored",
    );
}

fn objective(service: &Node, node: &Node, cuj: &Cuj, reading: &mut Reading) {
    let Some(said) = reading.wanted(node, "name") else {
        return;
    };
    let about = format!("{}-{said}", cuj.name);
    reading.unknown(
        node,
        &[
            "name",
            "description",
            "objective",
            "labels",
            "sli",
            "alerting",
            "plugins",
        ],
        &about,
    );
    let Some(percent) = node.get("objective").and_then(Node::number) else {
        let at = node.get("objective").map_or(node.at, |node| node.at);
        reading.refuse(at, "key `objective` is missing here or is no number".to_owned());
        return;
    };
    if !(percent > 0.0 && percent < 100.0) {
        let at = node.get("objective").map_or(node.at, |node| node.at);
        reading.refuse(
            at,
            format!("objective {percent} is not between 0 and 100 percent"),
        );
    }
    if let Some(plugins) = given(node.get("plugins")) {
        plugins_are_lost(plugins, &about, reading);
    }
    let Some(queries) = sli(node, &about, reading) else {
        return;
    };
    let name = reading.name(node.get("name").map_or(node.at, |node| node.at), said);
    let mut labels = reading.labels(without_owner(service.get("labels")).as_ref(), &about);
    labels.extend(reading.labels(without_owner(node.get("labels")).as_ref(), &about));
    let slo = Slo {
        name: Some(name),
        sli: Sli::Custom,
        objective: percent,
        description: node.get("description").and_then(Node::text).map(str::to_owned),
        queries: Some(queries),
        labels,
        alerting: alerting(node.get("alerting"), &about, reading),
        ..Slo::default()
    };
    reading.add(node.at, cuj.clone(), slo);
}

/// The owner has a key of its own.
fn without_owner(labels: Option<&Node>) -> Option<Node> {
    let mut labels = labels?.clone();
    if let hikeshi_scenario::node::Is::Map(entries) = &mut labels.is {
        entries.retain(|(key, _, _)| key != "owner");
    }
    Some(labels)
}

fn sli(node: &Node, about: &str, reading: &mut Reading) -> Option<Queries> {
    let Some(sli) = node.get("sli") else {
        reading.refuse(node.at, "key `sli` is missing here".to_owned());
        return None;
    };
    if let Some(plugin) = given(sli.get("plugin")) {
        reading.note(
            plugin.at,
            about,
            "SLI プラグインは Sloth の中で動くプログラムのため、この SLO は読み込めませんでした。生成されたクエリを events に書いてください",
            "an SLI plugin is a program inside Sloth: this SLO was left out; write the query it makes under `events`",
        );
        return None;
    }
    let text = |from: &Node, key: &str, reading: &mut Reading| {
        let query = either(from, key)
            .and_then(Node::text)
            .map(|q| q.trim().to_owned());
        match &query {
            None => reading.refuse(from.at, format!("key `{key}` is missing here or is no text")),
            Some(query) if !query.contains(crate::spec::WINDOW) => {
                let at = either(from, key).map_or(from.at, |node| node.at);
                reading.refuse(at, format!("`{key}` has no {{{{.window}}}}"));
            }
            Some(_) => {}
        }
        query
    };
    if let Some(raw) = given(sli.get("raw")) {
        return Some(Queries {
            error_ratio: text(raw, "error_ratio_query", reading),
            ..Queries::default()
        });
    }
    if let Some(events) = given(sli.get("events")) {
        return Some(Queries {
            bad: text(events, "error_query", reading),
            total: text(events, "total_query", reading),
            ..Queries::default()
        });
    }
    reading.refuse(sli.at, "an SLI is `events`, `raw` or `plugin`".to_owned());
    None
}

fn alerting(node: Option<&Node>, about: &str, reading: &mut Reading) -> Option<Alerting> {
    let node = given(node)?;
    reading.unknown(
        node,
        &[
            "name",
            "labels",
            "annotations",
            "page_alert",
            "ticket_alert",
            "pageAlert",
            "ticketAlert",
        ],
        about,
    );
    let mut channel = |key: &str| {
        let channel = either(node, key)?;
        if let Some(wait) = channel.get("for") {
            reading.note(
                wait.at,
                about,
                "`for` は使いません。短い窓がその役目をするため、アラートはその分だけ早く鳴ります",
                "`for` is not waited for: the short window does what it is for, and the alert fires so much earlier",
            );
        }
        reading.unknown(channel, &["disable", "labels", "annotations", "for"], about);
        Some(Channel {
            disabled: channel
                .get("disable")
                .is_some_and(|node| node.is == hikeshi_scenario::node::Is::Flag(true)),
            labels: reading.labels(channel.get("labels"), about),
            annotations: reading.texts(channel.get("annotations"), about),
        })
    };
    let (page, ticket) = (channel("page_alert"), channel("ticket_alert"));
    Some(Alerting {
        name: node.get("name").and_then(Node::text).map(str::to_owned),
        labels: reading.labels(node.get("labels"), about),
        annotations: reading.texts(node.get("annotations"), about),
        page,
        ticket,
    })
}

/// Sloth's own windows for another period: they become the file's policy.
fn windows(document: &Node, reading: &mut Reading) {
    let Some(spec) = document.get("spec") else {
        reading.refuse(document.at, "key `spec` is missing here".to_owned());
        return;
    };
    let length = |node: Option<&Node>| node.and_then(Node::text).and_then(|text| Dur::parse(text).ok());
    match length(spec.get("sloPeriod")) {
        Some(period) => reading.cujs.window = Some(Period::Rolling(period)),
        None => reading.refuse(
            spec.at,
            "`sloPeriod` is missing here or is no duration".to_owned(),
        ),
    }
    let mut alerts = Vec::new();
    for (severity, key) in [(Severity::Page, "page"), (Severity::Ticket, "ticket")] {
        for speed in ["quick", "slow"] {
            let Some(node) = spec.get(key).and_then(|node| node.get(speed)) else {
                continue;
            };
            let budget = node.get("errorBudgetPercent").and_then(Node::number);
            match (budget, length(node.get("longWindow"))) {
                (Some(budget), Some(long)) => alerts.push(AlertPolicy {
                    severity,
                    budget,
                    long,
                    short: length(node.get("shortWindow")),
                }),
                _ => reading.refuse(
                    node.at,
                    "a window is errorBudgetPercent, longWindow and shortWindow".to_owned(),
                ),
            }
        }
    }
    reading.cujs.alerts = Some(alerts);
}
