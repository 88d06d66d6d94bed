//! Everything `generate` writes, judged by the real promtool.

use std::path::Path;

use hikeshi_slo::generate::generate;
use hikeshi_slo::{Cujs, parse};

use crate::promtool::promtool;

pub fn write(cujs: &Cujs, dir: &Path) -> Vec<String> {
    let generated = generate(cujs);
    for file in &generated.files {
        let path = dir.join(&file.path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        std::fs::write(path, &file.text).expect("write");
    }
    generated.notes.into_iter().map(|(slo, _)| slo).collect()
}

/// `check rules` and `test rules` over everything.
pub fn judge(cujs: &Cujs) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let notes = write(cujs, dir.path());
    let all = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(dir.path().join(folder)).expect(folder);
        let mut names: Vec<String> = entries
            .map(|e| format!("{folder}/{}", e.expect("entry").file_name().to_string_lossy()))
            .collect();
        names.sort();
        names
    };
    let (rules, tests) = (all("rules"), all("tests"));
    let with = |first: &[&str], rest: &[String]| -> Vec<String> {
        first
            .iter()
            .map(|&f| f.to_owned())
            .chain(rest.iter().cloned())
            .collect()
    };
    let run = |args: &[String]| promtool(dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>());
    run(&with(&["check", "rules"], &rules));
    run(&with(&["test", "rules"], &tests));
    (dir, notes)
}

/// The talk's own table, quarters, a week, metrics of one's own, tight gates and raw ratios.
const TALK: &str = include_str!("../../../../docs/examples/cujs.yaml");

const ODD: &str = r#"apiVersion: hikeshi.dev/v1
kind: CUJs
system: odd
minFailures: 3
alerts:
  - {severity: page, budget: 4, long: 2h, short: 10m}
  - {severity: ticket, budget: 20, long: 2d}
cujs:
  - name: buy
    title: {ja: 買う, en: Buying}
    owner: shop
    route: POST /buy
    slos:
      - {sli: custom, name: week, objective: 99.5, window: 7d, queries: {good: 'sum(rate(r_total{job="shop",code!~"5.."}[{{.window}}]))', total: 'sum(rate(r_total{job="shop"}[{{.window}}]))'}}
      - {sli: custom, name: ratio, objective: 95, queries: {errorRatio: '1 - avg_over_time(satisfaction[{{.window}}])'}}
      - {sli: custom, name: by-cluster, objective: 99, queries: {bad: 'sum by (cluster) (increase(r_total{code="500"}[{{.window}}]))', total: 'sum by (cluster) (increase(r_total[{{.window}}]))'}}
      - {sli: custom, name: silent, objective: 99, alerting: {page: {disabled: true}, ticket: {disabled: true}}, queries: {bad: 'sum(rate(b[{{.window}}]))', total: 'sum(rate(t[{{.window}}]))'}}
      - {sli: custom, name: four-nines, objective: 99.99, queries: {bad: 'sum(rate(b[{{.window}}]))', total: 'sum(rate(c[{{.window}}]))'}}
      - {sli: custom, name: nearly-always, objective: 90, window: {calendar: month, utcOffset: "-03:30"}, queries: {bad: 'sum(rate(b[{{.window}}]))', total: 'sum(rate(t[{{.window}}]))'}}
"#;

#[test]
fn the_shipped_file_generates_what_promtool_takes() {
    let (dir, notes) = judge(&super::shipped());
    assert_eq!(notes, Vec::<String>::new());
    let rule: serde_json::Value = serde_saphyr::from_str(
        &std::fs::read_to_string(dir.path().join("kubernetes/read-timeline.yaml")).expect("object"),
    )
    .expect("YAML");
    assert_eq!(rule["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(rule["spec"]["groups"].as_array().map(Vec::len), Some(6));
    let dashboard: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(dir.path().join("grafana/chirpy.json")).expect("dashboard"),
    )
    .expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    // Budgets, a row for each journey, three for each objective; no two in one place.
    assert_eq!(panels.len(), 1 + 2 + 3 * 5);
    let mut places: Vec<String> = panels.iter().map(|p| p["gridPos"].to_string()).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), panels.len());
}

#[test]
fn the_talks_table_generates_what_promtool_takes() {
    let mut talk = parse("docs/examples/cujs.yaml", TALK).expect("the example is right");
    assert_eq!(hikeshi_slo::lint("f", TALK), Ok(Vec::new()));
    // Those between have the same shape, and promtool takes its time.
    talk.cujs
        .retain(|cuj| ["update-message", "delete-task"].contains(&cuj.name.as_str()));
    assert_eq!(judge(&talk).1, Vec::<String>::new());
}

#[test]
fn odd_periods_policies_and_queries_do_too() {
    let notes = judge(&parse("odd.yaml", ODD).expect("right")).1;
    assert_eq!(notes, ["buy-ratio", "buy-by-cluster", "buy-silent"]);
}

/// Half the traffic's errors at night, when hardly anybody is there, must not cost as much as at noon.
#[test]
fn the_periods_budget_is_weighted_by_requests_and_survives_nan() {
    let text = r#"apiVersion: hikeshi.dev/v1
kind: CUJs
system: shop
window: 12h
cujs:
  - name: buy
    title: {ja: 買う, en: Buying}
    owner: shop
    route: POST /buy
    slos:
      - {sli: custom, name: rolling, objective: 90, queries: {bad: 'sum(rate(b[{{.window}}]))', total: 'sum(rate(t[{{.window}}]))'}}
      - {sli: custom, name: month, objective: 90, window: {calendar: month}, queries: {bad: 'sum(rate(b[{{.window}}]))', total: 'sum(rate(t[{{.window}}]))'}}
      - {sli: custom, name: nan, objective: 90, queries: {bad: 'sum(rate(b[{{.window}}])) / sum(rate(t[{{.window}}])) * sum(rate(t[{{.window}}]))', total: 'sum(rate(t[{{.window}}]))'}}
"#;
    let dir = tempfile::tempdir().expect("temporary folder");
    write(&parse("f.yaml", text).expect("right"), dir.path());
    // Two hours at 100 a minute without errors, an hour of silence (0 / 0), two hours at 1 a minute, all bad. promtool's time
    // begins with 1970: all of it is one month.
    let test = r#"rule_files: ["rules/*.yaml"]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 't', values: '1000+100x120 13000x60 13001+1x119'}
      - {series: 'b', values: '1000x120 1000x60 1001+1x119'}
    promql_expr_test:
      - expr: 'round(slo:period_error:ratio, 0.001)'
        eval_time: 305m
        exp_samples:
          - {labels: 'slo:period_error:ratio{slo="buy-rolling"}', value: 0.01}
"#
    .replace(
        "          - {labels: 'slo:period_error:ratio{slo=\"buy-rolling\"}', value: 0.01}\n",
        &["rolling", "month", "nan"]
            .map(|sli| {
                format!("          - {{labels: '{{journey=\"buy\",owner=\"shop\",sli=\"{sli}\",slo=\"buy-{sli}\"}}', value: 0.01}}\n")
            })
            .concat(),
    );
    std::fs::write(dir.path().join("test.yaml"), test).expect("write");
    promtool(dir.path(), &["test", "rules", "test.yaml"]);
}

/// An answer with less in it is no failure, and yet not what was promised.
#[test]
fn quality_counts_answers_that_were_degraded() {
    let text = r#"apiVersion: hikeshi.dev/v1
kind: CUJs
system: shop
metrics: {requests: 'r_total{path="$path"}', errors: 'r_total{path="$path",code=~"5.."}', degraded: 'r_degraded_total{path="$path"}'}
cujs:
  - name: search
    title: {ja: 探す, en: Searching}
    owner: shop
    route: GET /search
    slos: [{sli: quality, objective: 99.5}]
"#;
    assert_eq!(
        judge(&parse("f.yaml", text).expect("right")).1,
        Vec::<String>::new()
    );
}

fn yaml(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).expect("YAML")
}

/// What is applied to a cluster is what promtool has judged.
#[test]
fn prometheus_rule_objects_hold_the_rule_files_groups() {
    let dir = tempfile::tempdir().expect("temporary folder");
    write(&super::shipped(), dir.path());
    for cuj in &super::shipped().cujs {
        let object = yaml(&dir.path().join(format!("kubernetes/{}.yaml", cuj.name)));
        assert_eq!(object["kind"], "PrometheusRule");
        let groups = object["spec"]["groups"].as_array().expect("groups");
        let mut files = Vec::new();
        for slo in &cuj.slos {
            for part in ["", ".budget"] {
                let file = yaml(
                    &dir.path()
                        .join(format!("rules/{}-{}{part}.yaml", cuj.name, slo.label())),
                );
                files.extend(file["groups"].as_array().expect("groups").clone());
            }
        }
        assert_eq!(groups.len(), files.len());
        for group in &files {
            assert!(groups.contains(group), "{} is not in {}", group["name"], cuj.name);
        }
    }
}

/// Every panel asks what Prometheus understands, about series that the rules record.
#[test]
fn the_dashboards_queries_are_promql_over_what_is_recorded() {
    let dir = tempfile::tempdir().expect("temporary folder");
    write(&super::shipped(), dir.path());
    let dashboard = yaml(&dir.path().join("grafana/chirpy.json"));
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let asked: Vec<String> = panels
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
        .filter_map(|target| target["expr"].as_str().map(str::to_owned))
        .collect();
    assert!(asked.len() > 15, "{} queries", asked.len());
    let rules: Vec<serde_json::Value> = asked
        .iter()
        .enumerate()
        .map(|(n, expr)| serde_json::json!({"record": format!("asked:{n}"), "expr": expr}))
        .collect();
    let file = serde_json::json!({"groups": [{"name": "asked", "rules": rules}]});
    std::fs::write(dir.path().join("asked.yaml"), file.to_string()).expect("write");
    promtool(dir.path(), &["check", "rules", "asked.yaml"]);
    let mut recorded = vec!["ALERTS".to_owned()];
    for entry in std::fs::read_dir(dir.path().join("rules")).expect("rules") {
        let file = yaml(&entry.expect("entry").path());
        for group in file["groups"].as_array().expect("groups") {
            let rules = group["rules"].as_array().expect("rules").iter();
            recorded.extend(rules.filter_map(|rule| rule["record"].as_str().map(str::to_owned)));
        }
    }
    for expr in &asked {
        let names = expr.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
        let ours: Vec<&str> = names
            .filter(|name| name.starts_with("slo:") || *name == "ALERTS")
            .collect();
        assert!(!ours.is_empty(), "{expr} asks about nothing of ours");
        for name in ours {
            assert!(
                recorded.iter().any(|other| other == name),
                "nothing records {name}, asked by {expr}"
            );
        }
    }
}
