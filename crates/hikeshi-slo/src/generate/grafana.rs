//! A dashboard: budgets on top, then for each journey what its users get and how fast that spends the budget.

use serde_json::{Value, json};

use crate::cujs::Cujs;
use crate::queries::number;
use crate::spec::Spec;

/// The version of Grafana's dashboard model that these panels are written in (Grafana 11 and later read it as it is).
const SCHEMA_VERSION: u32 = 39;
const DATASOURCE: &str = "${datasource}";

/// A dashboard's JSON model, as Grafana imports it from a file.
pub(super) fn dashboard(cujs: &Cujs, specs: &[Spec]) -> Value {
    let mut panels = Panels::default();
    panels.add(24, 8, |id, pos| budgets(id, &pos));
    for cuj in &cujs.cujs {
        let own: Vec<&Spec> = specs.iter().filter(|spec| spec.journey == cuj.name).collect();
        if own.is_empty() {
            continue;
        }
        let title = format!("{} / {} ({})", cuj.title.ja, cuj.title.en, cuj.owner);
        panels.add(24, 1, |id, pos| {
            json!({"id": id, "type": "row", "title": title, "collapsed": false, "gridPos": pos, "panels": []})
        });
        for spec in own {
            panels.add(6, 7, |id, pos| remaining(id, &pos, spec));
            panels.add(9, 7, |id, pos| ratio(id, &pos, spec));
            panels.add(9, 7, |id, pos| burning(id, &pos, spec));
        }
    }
    let uid: String = format!("slo-{}", cujs.system).chars().take(40).collect();
    json!({
        "uid": uid,
        "title": format!("SLO: {}", cujs.system),
        "tags": ["slo", "hikeshi"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [{
            "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus",
            "hide": 0, "includeAll": false, "multi": false, "refresh": 1, "regex": ""
        }]},
        "annotations": {"list": [{
            "name": "Burn alerts", "enable": true, "iconColor": "red", "datasource": source(),
            "expr": "count by (alertname, window) (ALERTS{alertstate=\"firing\",slo!=\"\"})",
            "titleFormat": "{{alertname}} {{window}}"
        }]},
        "panels": panels.all,
    })
}

#[derive(Default)]
struct Panels {
    all: Vec<Value>,
    x: u32,
    y: u32,
    row: u32,
}

impl Panels {
    /// Puts a panel beside the last one, or below where there is no room.
    fn add(&mut self, w: u32, h: u32, panel: impl FnOnce(usize, Value) -> Value) {
        if self.x + w > 24 {
            (self.x, self.y, self.row) = (0, self.y + self.row, 0);
        }
        let pos = json!({"x": self.x, "y": self.y, "w": w, "h": h});
        self.all.push(panel(self.all.len() + 1, pos));
        self.x += w;
        self.row = self.row.max(h);
    }
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": DATASOURCE})
}

fn target(reference: &str, expr: &str, legend: &str) -> Value {
    json!({"refId": reference, "datasource": source(), "expr": expr, "legendFormat": legend, "editorMode": "code", "range": true})
}

fn now(reference: &str, expr: &str, legend: &str) -> Value {
    json!({"refId": reference, "datasource": source(), "expr": expr, "legendFormat": legend, "editorMode": "code", "instant": true, "range": false})
}

/// Green while much is left, red once it is spent.
fn thresholds() -> Value {
    json!({"mode": "absolute", "steps": [
        {"color": "red", "value": null}, {"color": "orange", "value": 0}, {"color": "green", "value": 0.25}
    ]})
}

fn budgets(id: usize, pos: &Value) -> Value {
    json!({
        "id": id, "type": "bargauge", "title": "エラーバジェット残 / Error budget left", "gridPos": pos, "datasource": source(),
        "targets": [now("A", "sort(slo:period_error_budget_remaining:ratio)", "{{slo}} ({{owner}})")],
        "fieldConfig": {"defaults": {"unit": "percentunit", "min": -0.25, "max": 1, "decimals": 1, "thresholds": thresholds()}, "overrides": []},
        "options": {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}}
    })
}

fn remaining(id: usize, pos: &Value, spec: &Spec) -> Value {
    json!({
        "id": id, "type": "stat", "gridPos": pos, "datasource": source(),
        "title": format!("{}: {} % / {}", spec.sli, spec.objective, spec.period),
        "targets": [target("A", &format!("slo:period_error_budget_remaining:ratio{{slo=\"{}\"}}", spec.id), "budget left")],
        "fieldConfig": {"defaults": {"unit": "percentunit", "decimals": 1, "thresholds": thresholds()}, "overrides": []},
        "options": {"colorMode": "value", "graphMode": "area", "textMode": "auto", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}}
    })
}

fn ratio(id: usize, pos: &Value, spec: &Spec) -> Value {
    json!({
        "id": id, "type": "timeseries", "gridPos": pos, "datasource": source(),
        "title": format!("{}: good events", spec.sli),
        "targets": [
            target("A", &format!("1 - slo:sli_error:ratio_rate5m{{slo=\"{}\"}}", spec.id), "5m"),
            target("B", &format!("slo:objective:ratio{{slo=\"{}\"}}", spec.id), "objective")
        ],
        "fieldConfig": {"defaults": {"unit": "percentunit", "max": 1, "custom": {"lineWidth": 1, "fillOpacity": 5, "spanNulls": false}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": {"mode": "multi", "sort": "none"}}
    })
}

fn burning(id: usize, pos: &Value, spec: &Spec) -> Value {
    let mut windows: Vec<_> = spec.alerts().map(|burn| burn.long).collect();
    windows.sort();
    windows.dedup();
    let targets: Vec<Value> = windows
        .iter()
        .zip('A'..='Z')
        .map(|(window, reference)| {
            let expr = format!(
                "slo:sli_error:ratio_rate{}{{slo=\"{}\"}} / {}",
                window.name(),
                spec.id,
                number(spec.budget)
            );
            target(&reference.to_string(), &expr, &window.name())
        })
        .collect();
    let mut steps = vec![json!({"color": "transparent", "value": null})];
    let slowest_page = spec
        .alerts()
        .map(|burn| burn.factor)
        .fold(f64::INFINITY, f64::min);
    if slowest_page.is_finite() {
        steps.push(json!({"color": "red", "value": slowest_page}));
    }
    json!({
        "id": id, "type": "timeseries", "gridPos": pos, "datasource": source(),
        "title": format!("{}: burn rate", spec.sli),
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": "none", "min": 0, "decimals": 1,
            "custom": {"lineWidth": 1, "thresholdsStyle": {"mode": "line"}},
            "thresholds": {"mode": "absolute", "steps": steps}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": {"mode": "multi", "sort": "desc"}}
    })
}
