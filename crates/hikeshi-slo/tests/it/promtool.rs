use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use hikeshi_slo::{generate_rules, journey_queries};

pub fn promtool(dir: &Path, args: &[&str]) {
    let done = Command::new("promtool")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("promtool starts (Debian: prometheus)");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(done.status.success(), "promtool {args:?}\n{said}");
}

fn folder(slo_clock: f64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary folder");
    std::fs::write(
        dir.path().join("rules.yaml"),
        generate_rules(&super::shipped(), slo_clock),
    )
    .expect("write");
    dir
}

#[test]
fn every_clock_gives_rules_that_prometheus_takes() {
    for clock in [1.0, 60.0, 600.0] {
        promtool(folder(clock).path(), &["check", "rules", "rules.yaml"]);
    }
}

/// Ten reads a second; `stale(t)` of each second's ten are stale.
fn series(seconds: u32, stale: impl Fn(u32) -> u32) -> String {
    let (mut good, mut bad) = (0, 0);
    let mut counts = (String::new(), String::new());
    for t in 0..=seconds {
        let _ = write!(counts.0, "{good} ");
        let _ = write!(counts.1, "{bad} ");
        bad += stale(t);
        good += 10 - stale(t);
    }
    format!(
        "      - series: 'journey_freshness_total{{journey=\"read-timeline\",result=\"fresh\"}}'\n        values: '{}'\n      - series: 'journey_freshness_total{{journey=\"read-timeline\",result=\"stale\"}}'\n        values: '{}'\n",
        counts.0, counts.1
    )
}

fn freshness_alerts(at: u32, windows: &[(&str, &str, &str)]) -> String {
    let mut out = format!(
        "      - eval_time: {at}s\n        alertname: ReadTimelineFreshnessBudgetBurn\n        exp_alerts:\n"
    );
    if windows.is_empty() {
        out = out.replace("exp_alerts:\n", "exp_alerts: []\n");
    }
    for (severity, window, factor) in windows {
        let _ = write!(
            out,
            "          - exp_labels: {{journey: read-timeline, owner: timeline, severity: {severity}, sli: freshness, slo: read-timeline-freshness, window: {window}}}\n            exp_annotations:\n              summary: Timeline freshness is burning its error budget at over {factor}x the sustainable rate\n              description: 'IGNORED'\n",
        );
    }
    out
}

/// promtool compares annotations whole; the description carries a value, so tests look at rules without it.
fn run(seconds: u32, stale: impl Fn(u32) -> u32, tests: &str) {
    let dir = folder(60.0);
    let path = dir.path().join("rules.yaml");
    let rules = std::fs::read_to_string(&path).expect("read");
    let mut plain = String::new();
    for line in rules.lines() {
        if line.trim_start().starts_with("description:") {
            let indent = &line[..line.len() - line.trim_start().len()];
            let _ = writeln!(plain, "{indent}description: IGNORED");
        } else {
            let _ = writeln!(plain, "{line}");
        }
    }
    std::fs::write(&path, plain).expect("write");
    let text = format!(
        "rule_files: [rules.yaml]\nevaluation_interval: 1s\ntests:\n  - interval: 1s\n    input_series:\n{}{tests}",
        series(seconds, stale)
    );
    std::fs::write(dir.path().join("test.yaml"), text).expect("write");
    promtool(dir.path(), &["test", "rules", "test.yaml"]);
}

#[test]
fn quiet_then_fires_then_resets() {
    // Four of ten stale from second 120 on for 40 s. Over a minute's window 14.4 % is reached in 14.4 / 40 x 60 = 21.6 s.
    let stale = |t| if (120..160).contains(&t) { 4 } else { 0 };
    let page = ("page", "1h", "14.4");
    let slow = ("page", "6h", "6");
    let mut tests = "    alert_rule_test:\n".to_owned();
    let fast_only = [("ticket", "3d", "1"), ("ticket", "1d", "3")];
    // Quiet just before anything happens.
    tests += &freshness_alerts(119, &[]);
    // All four burn: the history of this drill is short, so its slow windows fill as well.
    tests += &freshness_alerts(150, &[page, slow, fast_only[1], fast_only[0]]);
    // The short windows empty: five seconds for the fast page, thirty for the slow one.
    tests += &freshness_alerts(170, &[slow, fast_only[1], fast_only[0]]);
    tests += &freshness_alerts(195, &[fast_only[1], fast_only[0]]);
    run(300, stale, &tests);
}

#[test]
fn the_fast_page_comes_when_the_arithmetic_says() {
    let stale = |t| if t >= 120 { 4 } else { 0 };
    let mut tests = "    promql_expr_test:\n".to_owned();
    for (at, firing) in [(140, false), (144, true)] {
        let _ = write!(
            tests,
            "      - expr: count(ALERTS{{slo=\"read-timeline-freshness\",window=\"1h\",severity=\"page\"}})\n        eval_time: {at}s\n        exp_samples: {}\n",
            if firing {
                "[{labels: '{}', value: 1}]"
            } else {
                "[]"
            }
        );
    }
    run(200, stale, &tests);
}

#[test]
fn no_traffic_is_no_data_and_few_events_are_no_alert() {
    // Three stale reads, all there ever were: 100 % bad, and yet three events are below the gate.
    let dir = folder(60.0);
    let queries = journey_queries(&super::shipped(), 60.0);
    let read = queries
        .iter()
        .find(|q| q.journey == "read-timeline")
        .expect("read-timeline");
    let mut text = "rule_files: [rules.yaml]\nevaluation_interval: 1s\ntests:\n  - interval: 1s\n    input_series:\n      - series: 'journey_freshness_total{journey=\"read-timeline\",result=\"stale\"}'\n        values: '0 1 2 3x60'\n    alert_rule_test:\n      - {eval_time: 10s, alertname: ReadTimelineFreshnessBudgetBurn, exp_alerts: []}\n    promql_expr_test:\n".to_owned();
    let quiet = [
        "slo:sli_error:ratio_rate1h{slo=\"read-timeline-availability\"}",
        read.availability.as_str(),
        read.p99.as_str(),
        read.rps.as_str(),
        read.latency_good.as_deref().expect("latency is promised"),
    ];
    for expr in quiet {
        let _ = writeln!(
            text,
            "      - {{expr: '{expr}', eval_time: 10s, exp_samples: []}}"
        );
    }
    let _ = writeln!(
        text,
        "      - {{expr: '{}', eval_time: 5s, exp_samples: [{{labels: '{{}}', value: 0}}]}}",
        read.freshness.as_deref().expect("freshness is promised")
    );
    // An hour's worth of the clock later nothing is known any more, and it is not NaN.
    let _ = writeln!(
        text,
        "      - {{expr: 'slo:sli_error:ratio_rate5m{{slo=\"read-timeline-freshness\"}}', eval_time: 60s, exp_samples: []}}"
    );
    std::fs::write(dir.path().join("test.yaml"), text).expect("write");
    promtool(dir.path(), &["test", "rules", "test.yaml"]);
}

#[test]
fn the_budget_counts_events_against_the_whole_period() {
    // Ten events a second, half of them stale in the last ten of 100 s: 50 bad of a budget of 1 % of 10/s x 12 h.
    let dir = folder(60.0);
    let queries = journey_queries(&super::shipped(), 60.0);
    let read = queries
        .iter()
        .find(|q| q.journey == "read-timeline")
        .expect("read-timeline");
    let spent = |query: &str| format!("(1 - ({query})) > bool 0.008 and (1 - ({query})) < bool 0.020");
    let text = format!(
        "rule_files: [rules.yaml]\nevaluation_interval: 1s\ntests:\n  - interval: 1s\n    input_series:\n{}    promql_expr_test:\n      - {{expr: '{}', eval_time: 360s, exp_samples: [{{labels: '{{}}', value: 1}}]}}\n",
        series(360, |t| if (340..350).contains(&t) { 5 } else { 0 }),
        spent(&read.budget_left)
    );
    std::fs::write(dir.path().join("test.yaml"), text).expect("write");
    promtool(dir.path(), &["test", "rules", "test.yaml"]);
}
