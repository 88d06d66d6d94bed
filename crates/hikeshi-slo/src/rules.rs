//! The Prometheus rule file.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cujs::{Cuj, Cujs, Slo};
use crate::queries::{error_ratio, number, total};
use crate::windows::{ALERTS, BurnAlert, Window, all, compressed};

#[derive(Serialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    name: String,
    interval: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Rule {
    Record {
        record: String,
        expr: String,
        labels: BTreeMap<&'static str, String>,
    },
    Alert {
        alert: String,
        expr: String,
        labels: BTreeMap<&'static str, String>,
        annotations: BTreeMap<&'static str, String>,
    },
}

/// The rule file for a clock (60: an hour's window is a minute long). Names keep the uncompressed windows, as on a production Prometheus.
///
/// All rules are one group: within it they are evaluated in order, so an alert sees the ratios of its own second.
pub fn generate_rules(cujs: &Cujs, slo_clock: f64) -> String {
    let mut rules = Vec::new();
    for cuj in &cujs.cujs {
        for slo in &cuj.slos {
            record(cuj, slo, slo_clock, &mut rules);
        }
    }
    for cuj in &cujs.cujs {
        for slo in &cuj.slos {
            // An alert that cannot fire is left out; `lint` says so.
            rules.extend(
                ALERTS
                    .iter()
                    .filter(|a| a.factor * slo.budget() < 1.0)
                    .map(|a| alert(cujs, cuj, slo, a)),
            );
        }
    }
    let file = File {
        groups: vec![Group {
            name: format!("slo-{}", cujs.system),
            interval: "1s",
            rules,
        }],
    };
    // JSON is YAML: this cannot fail for these types, and the text is for Prometheus, not for people.
    let json = serde_json::to_string_pretty(&file).unwrap_or_default();
    serde_saphyr::to_string(&file).unwrap_or(json)
}

fn labels(cuj: &Cuj, slo: &Slo) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("slo", slo_name(cuj, slo)),
        ("journey", cuj.name.clone()),
        ("sli", slo.sli.name().to_owned()),
        ("owner", cuj.owner.clone()),
    ])
}

fn slo_name(cuj: &Cuj, slo: &Slo) -> String {
    format!("{}-{}", cuj.name, slo.sli.name())
}

fn record(cuj: &Cuj, slo: &Slo, slo_clock: f64, rules: &mut Vec<Rule>) {
    let range = |w: Window| format!("{}s", compressed(w, slo_clock));
    let mut add = |record: String, expr: String| {
        rules.push(Rule::Record {
            record,
            expr,
            labels: labels(cuj, slo),
        })
    };
    add(
        "slo:objective:ratio".to_owned(),
        format!("vector({})", number(1.0 - slo.budget())),
    );
    for window in all() {
        add(
            format!("slo:sli_error:ratio_rate{}", window.name),
            error_ratio(&cuj.name, slo.sli, &range(window)),
        );
    }
    for alert in ALERTS {
        let expr = format!(
            "sum(increase({}[{}]))",
            total(&cuj.name, slo.sli),
            range(alert.long)
        );
        add(format!("slo:sli_events:increase{}", alert.long.name), expr);
    }
}

fn alert(cujs: &Cujs, cuj: &Cuj, slo: &Slo, alert: &BurnAlert) -> Rule {
    let name = slo_name(cuj, slo);
    let burn = |w: Window| {
        format!(
            "slo:sli_error:ratio_rate{}{{slo=\"{name}\"}} / {} > {}",
            w.name,
            number(slo.budget()),
            alert.factor
        )
    };
    let gate = format!(
        "slo:sli_events:increase{}{{slo=\"{name}\"}} >= {}",
        alert.long.name, cujs.min_events
    );
    let mut labels = labels(cuj, slo);
    labels.insert("severity", alert.severity.to_owned());
    labels.insert("window", alert.long.name.to_owned());
    let what = format!("{} {}", sentence(&cuj.title.en), slo.sli.name());
    let annotations = BTreeMap::from([
        (
            "summary",
            format!("{what} is burning its error budget {}x too fast", alert.factor),
        ),
        (
            "description",
            format!(
                "{what} ({} % over 30d) burned its budget {{{{ $value | printf \"%.1f\" }}}}x too fast over the last {} and still does over {}. Owner: {}. Route: {}.",
                slo.objective, alert.long.name, alert.short.name, cuj.owner, cuj.route
            ),
        ),
    ]);
    Rule::Alert {
        alert: alert_name(cuj, slo),
        expr: format!("{} and {} and {gate}", burn(alert.long), burn(alert.short)),
        labels,
        annotations,
    }
}

/// `ReadTimelineFreshnessBudgetBurn`.
fn alert_name(cuj: &Cuj, slo: &Slo) -> String {
    let words = cuj.name.split('-').chain([slo.sli.name()]);
    words.map(sentence).collect::<String>() + "BudgetBurn"
}

/// The first letter large.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().collect::<String>() + chars.as_str())
        .unwrap_or_default()
}
