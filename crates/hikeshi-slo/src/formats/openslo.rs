//! OpenSLO v1 in (and `v1alpha`'s SLO, which Sloth's users have).

use std::collections::BTreeMap;

use hikeshi_scenario::{Dur, Text};

use super::given;
use super::openslo_out::{CUJ, OfCuj, OfSlo, SLO};
use super::openslo_window::{shorthand, window};
use super::reading::Reading;
use crate::cujs::{Cuj, Queries, Sli, Slo};
use crate::period::Period;
use crate::policy::{AlertPolicy, Severity};
use crate::spec::WINDOW;
use hikeshi_scenario::node::{Is, Node};

/// Objects by kind and name.
type Objects<'a> = BTreeMap<(&'a str, &'a str), &'a Node>;

pub(super) fn read(documents: &[Node], reading: &mut Reading) {
    let mut objects = Objects::new();
    let mut slos = Vec::new();
    for document in documents {
        let kind = document.get("kind").and_then(Node::text).unwrap_or_default();
        let version = document
            .get("apiVersion")
            .and_then(Node::text)
            .unwrap_or_default();
        if !["openslo/v1", "openslo/v1alpha"].contains(&version) {
            let at = document.get("apiVersion").map_or(document.at, |node| node.at);
            reading.refuse(at, format!("apiVersion `{version}` is not openslo/v1"));
            continue;
        }
        let Some(name) = document.get("metadata").and_then(|m| m.get("name")?.text()) else {
            reading.refuse(document.at, "metadata.name is missing here".to_owned());
            continue;
        };
        objects.insert((kind, name), document);
        match kind {
            "SLO" => slos.push(document),
            "SLI" | "Service" | "AlertPolicy" | "AlertCondition" => {}
            "DataSource" | "AlertNotificationTarget" => reading.note(
                document.at,
                name,
                format!("{kind} は Prometheus と Alertmanager の設定にあるもののため無視しました"),
                format!("{kind} was ignored: it is what Prometheus and Alertmanager are configured with"),
            ),
            other => reading.refuse(document.at, format!("kind `{other}` is not one of OpenSLO's")),
        }
    }
    for document in slos {
        slo(document, &objects, reading);
    }
}

fn annotation<'a>(document: &'a Node, key: &str) -> Option<&'a str> {
    document.get("metadata")?.get("annotations")?.get(key)?.text()
}

/// What we wrote ourselves on the way out.
fn ours<T: serde::de::DeserializeOwned>(document: &Node, key: &str, reading: &mut Reading) -> Option<T> {
    let text = annotation(document, key)?;
    serde_json::from_str(text)
        .map_err(|error| {
            let at = document.place(&["metadata".into(), "annotations".into(), key.into()]);
            reading.refuse(
                at,
                format!("the annotation {key} is not as Hikeshi writes it: {error}"),
            );
        })
        .ok()
}

fn journey(spec: &Node, about: &str, objects: &Objects<'_>, reading: &mut Reading) -> Option<Cuj> {
    let said = reading.wanted(spec, "service")?;
    let at = spec.get("service").map_or(spec.at, |node| node.at);
    let service = objects.get(&("Service", said));
    let told: Option<OfCuj> = service.and_then(|service| ours(service, CUJ, reading));
    let display = service
        .and_then(|s| s.get("metadata")?.get("displayName")?.text())
        .unwrap_or(said);
    let name = reading.name(at, said);
    let told = told.unwrap_or_else(|| {
        reading.note(
            at,
            about,
            "OpenSLO には担当チームも経路もありません。サービス名を担当とし、経路は空です",
            "OpenSLO knows neither owner nor route: the service's name stands for the owner, the route is empty",
        );
        OfCuj {
            title: Text {
                ja: display.to_owned(),
                en: display.to_owned(),
            },
            owner: said.to_owned(),
            route: String::new(),
            steps: Vec::new(),
        }
    });
    Some(Cuj {
        name,
        title: told.title,
        owner: told.owner,
        route: told.route,
        steps: told.steps,
        slos: Vec::new(),
    })
}

fn slo(document: &Node, objects: &Objects<'_>, reading: &mut Reading) {
    let about = document
        .get("metadata")
        .and_then(|m| m.get("name")?.text())
        .unwrap_or_default()
        .to_owned();
    let Some(spec) = document.get("spec") else {
        reading.refuse(document.at, "key `spec` is missing here".to_owned());
        return;
    };
    let Some(cuj) = journey(spec, &about, objects, reading) else {
        return;
    };
    let told: Option<OfSlo> = ours(document, SLO, reading);
    reading.unknown(
        spec,
        &[
            "description",
            "service",
            "indicator",
            "indicatorRef",
            "timeWindow",
            "timeWindows",
            "budgetingMethod",
            "objectives",
            "alertPolicies",
        ],
        &about,
    );
    if let Some(method) = spec
        .get("budgetingMethod")
        .filter(|m| m.text() != Some("Occurrences"))
    {
        reading.note(
            method.at,
            &about,
            "バジェットは件数で数えます (Occurrences)。時間枠で数える方式は使えません",
            "the budget is counted by events (Occurrences): time slices cannot be counted",
        );
    }
    let window = window(spec, &about, reading);
    let period = window.unwrap_or_default();
    let alerts = match &told {
        Some(told) => told.alerts.clone(),
        None => policies(spec, period, &about, objects, reading),
    };
    let objectives = spec.get("objectives").map_or(&[][..], Node::items);
    if objectives.is_empty() {
        reading.refuse(spec.at, "an SLO needs at least one objective".to_owned());
    }
    let labels = reading.labels(document.get("metadata").and_then(|m| m.get("labels")), &about);
    for (index, objective) in objectives.iter().enumerate() {
        let Some(percent) = target(objective, reading) else {
            continue;
        };
        let Some(queries) = indicator(objective, spec, &about, objects, reading) else {
            continue;
        };
        if let Some(weight) = given(objective.get("compositeWeight")) {
            reading.note(
                weight.at,
                &about,
                "複合 SLO の重みは使えません。目標ごとに別の SLO になりました",
                "weights of a composite SLO cannot be used: each objective has become an SLO of its own",
            );
        }
        let mut name = match about.strip_prefix(&format!("{}-", cuj.name)) {
            Some(short) if told.is_some() => short.to_owned(),
            _ => about.clone(),
        };
        if objectives.len() > 1 {
            name = format!("{name}-{}", index + 1);
        }
        let name = reading.name(document.place(&["metadata".into(), "name".into()]), &name);
        let sli = told.as_ref().map_or(Sli::Custom, |told| told.sli);
        let slo = Slo {
            name: (sli.name() != name).then_some(name),
            sli,
            objective: percent,
            description: spec.get("description").and_then(Node::text).map(str::to_owned),
            window,
            min_events: told.as_ref().map(|told| told.min_events),
            min_failures: told.as_ref().map(|told| told.min_failures),
            alerts: alerts.clone(),
            queries: Some(queries),
            labels: labels.clone(),
            alerting: told.as_ref().and_then(|told| told.alerting.clone()),
            policy: told
                .as_ref()
                .map(|told| told.policy.clone())
                .filter(|p| !p.is_empty()),
        };
        reading.add(document.at, cuj.clone(), slo);
    }
}

/// Percent, without the noise of `0.999 x 100`.
fn target(objective: &Node, reading: &mut Reading) -> Option<f64> {
    let number = |key: &str| objective.get(key).and_then(Node::number);
    let percent = number("targetPercent").or_else(|| number("target").map(|t| (t * 1e12).round() / 1e10));
    match percent {
        Some(percent) if percent > 0.0 && percent < 100.0 => Some(percent),
        Some(percent) => {
            reading.refuse(
                objective.at,
                format!("the target {percent} % is not between 0 and 100"),
            );
            None
        }
        None => {
            reading.refuse(
                objective.at,
                "an objective needs `target` or `targetPercent`".to_owned(),
            );
            None
        }
    }
}

fn indicator(
    objective: &Node,
    spec: &Node,
    about: &str,
    objects: &Objects<'_>,
    reading: &mut Reading,
) -> Option<Queries> {
    // v1alpha has the metric in the objective.
    if let Some(metric) = given(objective.get("ratioMetrics")) {
        return ratio(metric, about, reading);
    }
    let find = |from: &Node| -> Option<Node> {
        if let Some(inline) = given(from.get("indicator")) {
            return inline.get("spec").cloned();
        }
        let name = from.get("indicatorRef")?.text()?;
        objects.get(&("SLI", name))?.get("spec").cloned()
    };
    let Some(found) = find(objective).or_else(|| find(spec)) else {
        let at = spec.get("indicatorRef").map_or(spec.at, |node| node.at);
        reading.refuse(
            at,
            "there is no `indicator` here, and no SLI that `indicatorRef` names".to_owned(),
        );
        return None;
    };
    if let Some(threshold) = given(found.get("thresholdMetric")) {
        reading.note(
            threshold.at,
            about,
            "thresholdMetric は値を比べるもので、良い件数と悪い件数がありません。この SLO は読み込めませんでした",
            "a thresholdMetric compares values and counts neither good nor bad events: this SLO was left out",
        );
        return None;
    }
    match given(found.get("ratioMetric")) {
        Some(metric) => ratio(metric, about, reading),
        None => {
            reading.refuse(
                found.at,
                "an SLI is a `ratioMetric` or a `thresholdMetric`".to_owned(),
            );
            None
        }
    }
}

fn ratio(metric: &Node, about: &str, reading: &mut Reading) -> Option<Queries> {
    let mut query = |key: &str| -> Option<Option<String>> {
        let Some(node) = given(metric.get(key)) else {
            return Some(None);
        };
        let place = node
            .get("metricSource")
            .and_then(|source| source.get("spec")?.get("query"))
            .or_else(|| node.get("query"));
        let Some(text) = place.and_then(Node::text) else {
            reading.refuse(node.at, format!("`{key}` has no metricSource.spec.query"));
            return None;
        };
        windowed(text.trim(), place.map_or(node.at, |n| n.at), about, reading).map(Some)
    };
    let (good, bad, total, raw) = (query("good")?, query("bad")?, query("total")?, query("raw")?);
    if let Some(raw) = raw {
        let success = metric.get("rawType").and_then(Node::text) == Some("success");
        return Some(Queries {
            error_ratio: Some(if success { format!("1 - ({raw})") } else { raw }),
            ..Queries::default()
        });
    }
    if total.is_none() || good.is_some() == bad.is_some() {
        reading.refuse(
            metric.at,
            "a ratioMetric is `total` with either `good` or `bad`, or `raw`".to_owned(),
        );
        return None;
    }
    Some(Queries {
        bad,
        good,
        total,
        error_ratio: None,
    })
}

/// A query with a place for the range. OpenSLO has none of its own: a counter's selector is made a rate.
fn windowed(query: &str, at: (u64, u64), about: &str, reading: &mut Reading) -> Option<String> {
    if query.contains(WINDOW) {
        return Some(query.to_owned());
    }
    let inner = query
        .strip_prefix("sum(")
        .and_then(|q| q.strip_suffix(')'))
        .unwrap_or(query)
        .trim();
    let name = inner.split('{').next().unwrap_or_default();
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let whole = inner == name || (inner.ends_with('}') && inner.matches('}').count() == 1);
    if plain && whole {
        let rate = format!("sum(rate({inner}[{WINDOW}]))");
        reading.note(
            at,
            about,
            format!("カウンター `{query}` は `{rate}` になりました"),
            format!("the counter `{query}` has become `{rate}`"),
        );
        return Some(rate);
    }
    reading.note(
        at,
        about,
        format!(
            "クエリに {WINDOW} がなく、どこに範囲を置くか分からないため、この SLO は読み込めませんでした"
        ),
        format!(
            "the query has no {WINDOW}, and where a range belongs in it cannot be told: this SLO was left out"
        ),
    );
    None
}

/// Policies with their conditions; none where the SLO has none, which means the usual ones.
fn policies(
    spec: &Node,
    period: Period,
    about: &str,
    objects: &Objects<'_>,
    reading: &mut Reading,
) -> Option<Vec<AlertPolicy>> {
    let mut alerts = Vec::new();
    for item in spec.get("alertPolicies").map_or(&[][..], Node::items) {
        let name = item
            .get("alertPolicyRef")
            .and_then(Node::text)
            .or_else(|| item.text());
        let policy = match name {
            Some(name) => objects.get(&("AlertPolicy", name)).copied(),
            None => Some(item),
        };
        let Some(policy) = policy.and_then(|p| p.get("spec")) else {
            reading.refuse(
                item.at,
                format!("there is no AlertPolicy `{}`", name.unwrap_or_default()),
            );
            continue;
        };
        for key in ["alertWhenNoData", "alertWhenResolved"] {
            if let Some(node) = policy.get(key).filter(|node| node.is == Is::Flag(true)) {
                reading.note(
                    node.at,
                    about,
                    format!("{key} は Alertmanager の設定です。無視しました"),
                    format!("{key} was ignored: it is Alertmanager's to configure"),
                );
            }
        }
        for condition in policy.get("conditions").map_or(&[][..], Node::items) {
            let named = condition.get("conditionRef").and_then(Node::text);
            let found = match named {
                Some(name) => objects.get(&("AlertCondition", name)).copied(),
                None => Some(condition),
            };
            let Some(found) = found.and_then(|c| c.get("spec")) else {
                let name = named.unwrap_or_default();
                reading.refuse(condition.at, format!("there is no AlertCondition `{name}`"));
                continue;
            };
            alerts.extend(burning(found, period, about, reading));
        }
    }
    (!alerts.is_empty()).then_some(alerts)
}

fn burning(spec: &Node, period: Period, about: &str, reading: &mut Reading) -> Option<AlertPolicy> {
    let condition = spec.get("condition")?;
    let threshold = condition.get("threshold").and_then(Node::number);
    let lookback = condition
        .get("lookbackWindow")
        .and_then(Node::text)
        .and_then(shorthand);
    let (Some(threshold), Some((long, _))) = (threshold, lookback) else {
        reading.refuse(
            condition.at,
            "a burn rate condition needs `threshold` and `lookbackWindow`".to_owned(),
        );
        return None;
    };
    let severity = spec
        .get("severity")
        .and_then(Node::text)
        .unwrap_or_default()
        .to_lowercase();
    let page = ["page", "critical", "high", "sev1", "p1"]
        .iter()
        .any(|word| severity.contains(word));
    if let Some(after) = given(condition.get("alertAfter")) {
        reading.note(
            after.at,
            about,
            "alertAfter は使いません。短い窓が同じ役目をします",
            "alertAfter is not used: the short window does its work",
        );
    }
    reading.note(
        condition.at,
        about,
        "OpenSLO の条件は窓が 1 つです。長い窓の 12 分の 1 の短い窓を足しました",
        "an OpenSLO condition has one window: a short one of a twelfth is added",
    );
    #[expect(clippy::cast_precision_loss, reason = "seconds of windows")]
    let share = threshold * long as f64 / period.seconds() as f64 * 100.0;
    Some(AlertPolicy {
        severity: if page { Severity::Page } else { Severity::Ticket },
        budget: share,
        long: Dur::secs(long),
        short: None,
    })
}
