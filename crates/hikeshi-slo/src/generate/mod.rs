//! Everything that a production Prometheus, Grafana and the Prometheus operator need of a file of SLOs.

mod grafana;
mod promtool;
mod series;

use hikeshi_scenario::Text;
use serde::Serialize;

pub use promtool::Tested;

use crate::cujs::Cujs;
use crate::rules::{Group, RuleFile, alert_group, budget_group};
use crate::spec::{Spec, specs};

/// Generated files with paths below the folder they are meant for.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    pub files: Vec<File>,
    /// What its user should know, by objective.
    pub notes: Vec<(String, Text)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrometheusRule {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: RuleFile,
}

#[derive(Serialize)]
struct Metadata {
    name: String,
    labels: std::collections::BTreeMap<&'static str, String>,
}

/// `rules/SLO.yaml` and `rules/SLO.budget.yaml` for Prometheus, `kubernetes/JOURNEY.yaml` for its operator, `tests/SLO.yaml` for promtool,
/// `grafana/SYSTEM.json`.
pub fn generate(cujs: &Cujs) -> Generated {
    let all = specs(cujs);
    let mut files = Vec::new();
    let mut notes = Vec::new();
    for cuj in &cujs.cujs {
        let own: Vec<&Spec> = all.iter().filter(|spec| spec.journey == cuj.name).collect();
        if own.is_empty() {
            continue;
        }
        let mut object_groups = Vec::new();
        for spec in own {
            let (alerts, budget) = (alert_group(spec), budget_group(spec));
            // A file each, and budgets apart: promtool evaluates every minute whatever a test loads, and budgets look at whole
            // periods.
            let path = format!("rules/{}.yaml", spec.id);
            let (text, tested) = promtool::tests(spec, &format!("../{path}"));
            notes.extend(note(tested).map(|note| (spec.id.clone(), note)));
            files.push(rule_file(path, alerts.clone()));
            files.push(rule_file(
                format!("rules/{}.budget.yaml", spec.id),
                budget.clone(),
            ));
            files.push(File {
                path: format!("tests/{}.yaml", spec.id),
                text,
            });
            object_groups.extend([alerts, budget]);
        }
        files.push(File {
            path: format!("kubernetes/{}.yaml", cuj.name),
            text: object(
                cujs,
                &cuj.name,
                RuleFile {
                    groups: object_groups,
                },
            ),
        });
    }
    let dashboard = grafana::dashboard(cujs, &all);
    files.push(File {
        path: format!("grafana/{}.json", cujs.system),
        text: serde_json::to_string_pretty(&dashboard).unwrap_or_else(|_| dashboard.to_string()) + "\n",
    });
    Generated { files, notes }
}

fn rule_file(path: String, group: Group) -> File {
    let text = RuleFile { groups: vec![group] }.to_yaml();
    File { path, text }
}

fn note(tested: Tested) -> Option<Text> {
    match tested {
        Tested::Queries => None,
        Tested::Alerts => Some(Text {
            ja: "このクエリに合うカウンターを作れないため、テストは比率からアラートまでを確かめます (クエリ自体は確かめません)".to_owned(),
            en: "no counters could be made up for these queries: the test goes from ratios to alerts and does not exercise the queries".to_owned(),
        }),
        Tested::Nothing => Some(Text {
            ja: "アラートがないため、テストは空です".to_owned(),
            en: "it has no alerts, so its test is empty".to_owned(),
        }),
    }
}

/// A PrometheusRule of the operator's API.
fn object(cujs: &Cujs, journey: &str, spec: RuleFile) -> String {
    let object = PrometheusRule {
        api_version: "monitoring.coreos.com/v1",
        kind: "PrometheusRule",
        metadata: Metadata {
            name: format!("slo-{}-{journey}", cujs.system),
            labels: [
                ("app.kubernetes.io/managed-by", "hikeshi".to_owned()),
                ("app.kubernetes.io/part-of", cujs.system.clone()),
            ]
            .into(),
        },
        spec,
    };
    let json = serde_json::to_string_pretty(&object).unwrap_or_default();
    serde_saphyr::to_string(&object).unwrap_or(json)
}
