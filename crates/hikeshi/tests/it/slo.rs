//! `hikeshi slo` as people use it, the history in a real Prometheus.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{Home, text};

/// The example of the guide: the share's ancestors do not have it.
const EXAMPLE: &str = include_str!("../../../../docs/examples/cujs.yaml");
const SLOTH: &str = include_str!("../../../hikeshi-slo/tests/formats/sloth.yaml");

const HOUR: i64 = 3_600;

/// A Prometheus with a history of its own; ends with the test.
struct Prometheus {
    child: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Five requests a second to /update for a day, half of them failing for ten minutes, 12 hours ago. Answers when that began.
    fn with_a_history(dir: &Path) -> (Self, i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let now = i64::try_from(now.as_secs()).expect("before the year 292 billion") / 60 * 60;
        let fault = now - 12 * HOUR;
        let (mut good, mut bad) = ((String::new(), 1_000), (String::new(), 1_000));
        for at in (now - 24 * HOUR..=now).step_by(30) {
            let _ = writeln!(
                good.0,
                "http_requests_total{{path=\"/update\",code=\"200\"}} {} {at}",
                good.1
            );
            let _ = writeln!(
                bad.0,
                "http_requests_total{{path=\"/update\",code=\"500\"}} {} {at}",
                bad.1
            );
            let failing = if (fault..fault + 600).contains(&at) { 75 } else { 0 };
            good.1 += 150 - failing;
            bad.1 += failing;
        }
        let history = format!("# TYPE http_requests counter\n{}{}# EOF\n", good.0, bad.0);
        std::fs::write(dir.join("history.om"), history).expect("write");
        let backfilled = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", "history.om", "data"])
            .current_dir(dir)
            .output()
            .expect("promtool starts (Debian: prometheus)");
        assert!(backfilled.status.success(), "{}", text(&backfilled.stderr));
        std::fs::write(dir.join("prometheus.yml"), "global: {scrape_interval: 30s}\n").expect("write");
        let mut child = Command::new("prometheus")
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--web.listen-address=127.0.0.1:0",
            ])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus starts (Debian: prometheus)");
        let mut log = BufReader::new(child.stderr.take().expect("its log"));
        let mut address = None;
        let mut line = String::new();
        // It says where it listens, and later that it is ready.
        while log.read_line(&mut line).expect("its log is text") > 0 {
            if line.contains("Listening on") {
                address = line.trim().rsplit("address=").next().map(str::to_owned);
            }
            if line.contains("ready to receive web requests") {
                break;
            }
            line.clear();
        }
        // Whatever it says further on must not block it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address = address.expect("it listens");
        let url = format!("http://{address}");
        (Self { child, url }, fault)
    }
}

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("write");
    path.display().to_string()
}

#[test]
fn files_are_checked_generated_and_converted() {
    let home = Home::new();
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(
        home.ok(&["slo", "lint"])
            .contains("5 SLO(s) checked, nothing wrong")
    );
    let example = write(dir.path(), "cujs.yaml", EXAMPLE);
    home.ok(&["slo", "lint", &example]);

    let unreachable = write(
        dir.path(),
        "low.yaml",
        &EXAMPLE.replacen("objective: 99.9}", "objective: 80}", 1),
    );
    let found = home.run(&["slo", "lint", &unreachable, "--lang", "ja"]);
    assert_eq!(found.status.code(), Some(1));
    let said = text(&found.stdout);
    assert!(
        said.contains("low.yaml:31:") && said.contains("決して鳴りません"),
        "{said}"
    );

    let misspelt = write(
        dir.path(),
        "slip.yaml",
        &EXAMPLE.replacen("objective:", "objektive:", 1),
    );
    let refused = home.run(&["slo", "lint", &misspelt]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(
        said.contains("slip.yaml:31:") && said.contains("did you mean `objective`?"),
        "{said}"
    );

    let out = dir.path().join("out").display().to_string();
    let generated = home.json(&["slo", "generate", &example, "--out", &out, "--json"]);
    assert_eq!(generated["files"].as_array().map(Vec::len), Some(10 * 3 + 5 + 1));
    assert_eq!(generated["notes"], serde_json::json!([]));

    // What an import cannot say does not get into the file.
    let sloth = write(dir.path(), "sloth.yaml", SLOTH);
    let imported = home.run(&["slo", "import", &sloth]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    assert!(text(&imported.stderr).contains("sloth.yaml:31:15: bakery-by-plugin: an SLI plugin"));
    let own = write(dir.path(), "own.yaml", &text(&imported.stdout));
    home.ok(&["slo", "generate", &own, "--out", &out]);
    let openslo = dir.path().join("openslo.yaml").display().to_string();
    home.ok(&["slo", "export", &own, "--out", &openslo]);
    let again = home.json(&["slo", "import", &openslo, "--json"]);
    assert!(
        again["text"].as_str().is_some_and(|text| text.contains("orders")),
        "{again}"
    );

    let schema: Value = serde_json::from_str(&home.ok(&["slo", "schema"])).expect("JSON");
    assert_eq!(schema["title"], "Cujs");
}

#[test]
fn an_objective_changes_with_a_reason() {
    let home = Home::new();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = write(dir.path(), "cujs.yaml", EXAMPLE);
    let set = |objective: &str, why: &str| {
        home.run(&[
            "slo",
            "set",
            "add-task",
            "latency",
            "--objective",
            objective,
            "--why",
            why,
            "--file",
            &file,
        ])
    };
    assert_eq!(set("98.5", " ").status.code(), Some(2));
    assert_eq!(set("100", "perfection").status.code(), Some(2));
    assert!(set("98.5", "felt in the lab").status.success());
    assert_eq!(set("98.5", "again").status.code(), Some(1));
    let text_now = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(text_now.lines().count(), EXAMPLE.lines().count());
    let edited = text_now.replacen("objective: 98.5", "objective: 98", 1);
    std::fs::write(&file, edited).expect("write");
    let history = home.json(&["slo", "history", &file, "--json"]);
    let history = history.as_array().expect("a list");
    assert_eq!(history.len(), 12, "{history:#?}");
    assert_eq!(history[10]["why"], "felt in the lab");
    assert_eq!(history[10]["from"], "99 % within 500ms over 30d");
    assert_eq!(
        (&history[11]["who"], &history[11]["why"]),
        (&"?".into(), &"edited by hand".into())
    );

    let misspelt = home.run(&[
        "slo",
        "set",
        "add-taks",
        "latency",
        "--objective",
        "98",
        "--why",
        "x",
        "--file",
        &file,
    ]);
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(
        text(&misspelt.stderr).contains("did you mean `add-task`?"),
        "{}",
        text(&misspelt.stderr)
    );
}

#[test]
fn budgets_and_backtests_read_a_real_prometheus() {
    let home = Home::new();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (prometheus, fault) = Prometheus::with_a_history(dir.path());
    let file = write(
        dir.path(),
        "cujs.yaml",
        r#"apiVersion: hikeshi.dev/v1
kind: CUJs
system: chat
window: 7d
metrics: {requests: 'http_requests_total{path="$path"}', errors: 'http_requests_total{path="$path",code=~"5.."}'}
policy: [{action: {ja: 信頼性を先に, en: Reliability first}, spent: 10}]
cujs:
  - name: update-message
    title: {ja: 更新, en: Update}
    owner: messages
    route: POST /update
    slos: [{sli: availability, objective: 99}, {sli: availability, name: tight, objective: 99.9}]
"#,
    );
    let marks = write(
        dir.path(),
        "marks.yaml",
        &format!(
            "- {{name: outage, from: {}, to: {}}}\n- {{name: unnoticed, from: {}, to: {}}}\n",
            time(fault),
            time(fault + 600),
            time(fault + 6 * HOUR),
            time(fault + 7 * HOUR)
        ),
    );
    let asked = ["--prometheus", prometheus.url.as_str(), "--marks", marks.as_str()];

    let mut args = vec!["slo", "budget", file.as_str(), "--json"];
    args.extend(asked);
    let output = home.run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let budgets: Value = serde_json::from_str(&text(&output.stdout)).expect("JSON");
    let of = |index: usize, key: &str| budgets[index][key].as_f64().expect("a number");
    // 300 s of outage of 6,048 s: the day that is seen counts for its seventh.
    let spent = of(0, "spent");
    assert!((spent - 300.0 / 6_048.0).abs() < 0.005, "{spent}");
    assert!((of(1, "spent") - 10.0 * spent).abs() < 0.01, "{budgets:#}");
    // Twelve hours ago is long over; and what is not there is not said to be whole.
    assert_eq!(
        (&budgets[0]["burn"], &budgets[0]["exhausted_in"]),
        (&0.0.into(), &Value::Null)
    );
    let outage = &budgets[0]["spenders"][0];
    assert!(
        (outage["bad"].as_f64().expect("a number") - 1_500.0).abs() < 80.0,
        "{outage}"
    );
    assert_eq!(budgets[1]["actions"][0]["action"]["en"], "Reliability first");
    assert_eq!(budgets[0]["actions"], serde_json::json!([]));

    let mut args = vec!["slo", "backtest", file.as_str(), "--json", "--from", "23h"];
    args.extend(asked);
    let output = home.run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_str(&text(&output.stdout)).expect("JSON");
    let first = &told["objectives"][1]["firings"][0];
    let after = first["from"].as_i64().expect("a time") - fault;
    assert!((0..=180).contains(&after), "{first}");
    let page = &told["quality"][0];
    assert_eq!(
        (&page["recall"], &page["precision"]),
        (&0.5.into(), &1.0.into()),
        "{page}"
    );
    assert_eq!(page["missed"], serde_json::json!(["unnoticed"]));

    // What is not there is said, not told as perfect.
    let gone = home.run(&["slo", "backtest", "--prometheus", &prometheus.url, "--from", "1h"]);
    assert_eq!(gone.status.code(), Some(3));
    assert!(text(&gone.stderr).contains("no counts"), "{}", text(&gone.stderr));
    let nobody = home.run(&["slo", "budget", &file, "--prometheus", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(3));
    let none_up = home.run(&["slo", "budget"]);
    assert_eq!(none_up.status.code(), Some(2));
    assert!(
        text(&none_up.stderr).contains("no system is up"),
        "{}",
        text(&none_up.stderr)
    );
}

/// RFC 3339 of Unix seconds.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).expect("a time").to_string()
}
