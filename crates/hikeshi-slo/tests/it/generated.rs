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
