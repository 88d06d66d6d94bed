//! OpenSLO v1 out. What it cannot say goes into annotations of ours, and is said.

use hikeshi_scenario::Text;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Note;
use super::openslo_window::ZONES;
use crate::cujs::{Action, Alerting, Cujs, Sli, Slo};
use crate::period::{Period, Unit};
use crate::policy::{AlertPolicy, Span};
use crate::spec::{Own, Source, Spec, specs};

/// Annotation of a Service: what of a journey OpenSLO has no word for.
pub(super) const CUJ: &str = "hikeshi.dev/cuj";
/// Annotation of an SLO: the same of an objective.
pub(super) const SLO: &str = "hikeshi.dev/slo";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfCuj {
    pub title: Text,
    pub owner: String,
    pub route: String,
    #[serde(default)]
    pub steps: Vec<Text>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OfSlo {
    pub sli: Sli,
    pub min_events: u32,
    pub min_failures: u32,
    #[serde(default)]
    pub alerts: Option<Vec<AlertPolicy>>,
    #[serde(default)]
    pub alerting: Option<Alerting>,
    #[serde(default)]
    pub policy: Vec<Action>,
}

/// The documents of a file, and what OpenSLO cannot say.
pub fn export(cujs: &Cujs) -> (String, Vec<Note>) {
    let mut documents = Vec::new();
    let mut notes = Vec::new();
    let all = specs(cujs);
    let mut specs = all.iter();
    for cuj in &cujs.cujs {
        let told = OfCuj {
            title: cuj.title.clone(),
            owner: cuj.owner.clone(),
            route: cuj.route.clone(),
            steps: cuj.steps.clone(),
        };
        documents.push(json!({
            "apiVersion": "openslo/v1", "kind": "Service",
            "metadata": {"name": cuj.name, "displayName": cuj.title.en, "annotations": {CUJ: annotation(&told)}},
            "spec": {"description": cuj.route},
        }));
        for (slo, spec) in cuj.slos.iter().zip(specs.by_ref()) {
            documents.push(object(cujs, slo, spec, &mut notes));
        }
    }
    for severity in ["page", "ticket"] {
        documents.push(json!({
            "apiVersion": "openslo/v1", "kind": "AlertNotificationTarget",
            "metadata": {"name": severity}, "spec": {"target": severity},
        }));
    }
    if !all.is_empty() {
        let all = |notes: &mut Vec<Note>, ja: &str, en: &str| note(notes, &cujs.system, ja, en);
        all(
            &mut notes,
            "OpenSLO には担当、経路、手順がありません。アノテーション hikeshi.dev/cuj に書きました",
            "OpenSLO has no owner, route or steps: they are in the annotation hikeshi.dev/cuj",
        );
        all(
            &mut notes,
            "AlertPolicy の条件は 1 つだけのため、2 つの窓を言えません。長い窓を条件に、全体をアノテーション hikeshi.dev/slo に書きました",
            "an AlertPolicy has one condition and cannot say two windows: the long one is the condition, the whole is in the annotation hikeshi.dev/slo",
        );
        all(
            &mut notes,
            "件数の下限とバジェットを使い切ったときの約束も hikeshi.dev/slo にあり、ほかのツールは読みません",
            "low-traffic gates and what is done when a budget is spent are in hikeshi.dev/slo, too; other tools do not read them",
        );
    }
    let text: Vec<String> = documents
        .iter()
        .map(|document| serde_saphyr::to_string(document).unwrap_or_else(|_| document.to_string()))
        .collect();
    (text.join("---\n"), notes)
}

fn annotation(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn note(notes: &mut Vec<Note>, about: &str, ja: &str, en: &str) {
    notes.push(Note {
        line: 0,
        column: 0,
        about: about.to_owned(),
        text: Text {
            ja: ja.to_owned(),
            en: en.to_owned(),
        },
    });
}

fn object(cujs: &Cujs, slo: &Slo, spec: &Spec, notes: &mut Vec<Note>) -> Value {
    let told = OfSlo {
        sli: slo.sli,
        min_events: spec.min_events,
        min_failures: spec.min_failures,
        alerts: slo.alerts.clone().or_else(|| cujs.alerts.clone()),
        alerting: slo.alerting.clone(),
        policy: spec.policy.clone(),
    };
    let mut metadata = json!({"name": spec.id, "displayName": format!("{} {}", spec.title.en, spec.sli),
        "annotations": {SLO: annotation(&told)}});
    if !spec.labels.is_empty() {
        metadata["labels"] = json!(spec.labels);
    }
    let mut body = json!({
        "service": spec.journey,
        "indicator": {"metadata": {"name": spec.id}, "spec": {"ratioMetric": metric(spec, notes)}},
        "timeWindow": [window(spec, notes)],
        "budgetingMethod": "Occurrences",
        "objectives": [{"displayName": spec.sli, "targetPercent": spec.objective}],
        "alertPolicies": policies(spec),
    });
    if let Some(description) = &spec.description {
        body["description"] = json!(description);
    }
    json!({"apiVersion": "openslo/v1", "kind": "SLO", "metadata": metadata, "spec": body})
}

fn metric(spec: &Spec, notes: &mut Vec<Note>) -> Value {
    let source = |query: &str| json!({"metricSource": {"type": "Prometheus", "spec": {"query": query}}});
    match &spec.source {
        Source::Ratio { error } => json!({"rawType": "failure", "raw": source(error)}),
        Source::Events { bad, total, own } => {
            if *own == Own::Counts {
                note(
                    notes,
                    &spec.id,
                    "クエリは秒あたりではなく件数です",
                    "the queries count events in the range, not per second",
                );
            }
            // The queries already hold a rate over `{{.window}}`.
            json!({"counter": false, "bad": source(bad), "total": source(total)})
        }
    }
}

fn window(spec: &Spec, notes: &mut Vec<Note>) -> Value {
    let calendar = match spec.period {
        Period::Rolling(length) => {
            // OpenSLO has no seconds.
            let seconds = length.get().as_secs();
            let text = if seconds.is_multiple_of(60) {
                Span { seconds }.name()
            } else {
                note(
                    notes,
                    &spec.id,
                    "OpenSLO の期間に秒はありません。分に切り上げました",
                    "OpenSLO's durations have no seconds: rounded up to minutes",
                );
                Span {
                    seconds: seconds.div_ceil(60) * 60,
                }
                .name()
            };
            return json!({"duration": text, "isRolling": true});
        }
        Period::Calendar(calendar) => calendar,
    };
    let duration = match calendar.calendar {
        Unit::Month => "1M",
        Unit::Quarter => "1Q",
    };
    let minutes = calendar.utc_offset.0;
    let zone = ZONES
        .iter()
        .find(|(_, offset)| *offset == minutes)
        .map(|(zone, _)| (*zone).to_owned())
        .or_else(|| (minutes % 60 == 0).then(|| format!("Etc/GMT{:+}", -minutes / 60)));
    let zone = zone.unwrap_or_else(|| {
        note(
            notes,
            &spec.id,
            "この時差のタイムゾーン名がないため UTC と書きました",
            "no time zone has this offset: UTC is written",
        );
        "UTC".to_owned()
    });
    json!({"duration": duration, "calendar": {"startTime": "2020-01-01 00:00:00", "timeZone": zone}, "isRolling": false})
}

fn policies(spec: &Spec) -> Vec<Value> {
    spec.alerts()
        .map(|burn| {
            let (severity, long) = (burn.severity.name(), burn.long.name());
            let name = format!("{}-{severity}-{long}", spec.id);
            json!({"kind": "AlertPolicy", "metadata": {"name": name}, "spec": {
                "alertWhenBreaching": true, "alertWhenResolved": false, "alertWhenNoData": false,
                "conditions": [{"kind": "AlertCondition", "metadata": {"name": format!("{severity}-{long}")}, "spec": {
                    "severity": severity,
                    "condition": {"kind": "burnrate", "op": "gt", "threshold": burn.factor, "lookbackWindow": long, "alertAfter": "0m"},
                }}],
                "notificationTargets": [{"targetRef": severity}],
            }})
        })
        .collect()
}
