//! Experiments on a small real system: two nginx pods, measured by a real Prometheus that scrapes them through the data
//! plane, hit with the talk's manifest.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Home, eventually, kill_9, text};
use crate::ingress;
use crate::kubectl::Kubectl;

/// For what takes a moment on an idle machine and longer on a busy one.
const SOON: Duration = Duration::from_secs(90);

const SYSTEM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: Namespace
metadata: {name: chirpy}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nginx, namespace: default}
data:
  nginx.conf: |
    user root;
    pid /tmp/nginx.pid;
    error_log stderr;
    events {}
    http {
      access_log off;
      client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
      uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
      server { listen 80; default_type text/plain; location / { return 200 "nginx_serves 1\n"; } }
    }
---
apiVersion: v1
kind: Service
metadata: {name: nginx, namespace: default}
spec: {selector: {app: nginx-app}, ports: [{name: http, port: 80, targetPort: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nginx, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: nginx-app}}
  template:
    metadata: {labels: {app: nginx-app}}
    spec:
      containers:
        - name: nginx
          image: nginx
          command: [nginx, -c, /etc/app/nginx.conf, -g, 'daemon off;']
          ports: [{name: http, containerPort: 80}]
          readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
          volumeMounts: [{name: conf, mountPath: /etc/app}]
      volumes: [{name: conf, configMap: {name: nginx}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prometheus, namespace: monitoring}
data:
  prometheus.yml: |
    scrape_configs:
      - job_name: nginx
        scrape_interval: 3s
        scrape_timeout: 3s
        metrics_path: /test/metrics
        static_configs: [{targets: ['nginx.default.svc.cluster.local:80']}]
      - job_name: edges
        scrape_interval: 1s
        scrape_timeout: 1s
        static_configs: [{targets: ['edges.hikeshi-system.svc.cluster.local:80']}]
---
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: default}
spec:
  containers:
    - name: caller
      image: debian
      command: [python3, -u, -c]
      args:
        - |
          import time, urllib.request
          while True:
              try:
                  urllib.request.urlopen("http://nginx/test/page", timeout=5).read()
              except OSError:
                  pass
              time.sleep(0.1)
---
apiVersion: v1
kind: Service
metadata: {name: prometheus, namespace: monitoring}
spec: {selector: {app: prometheus}, ports: [{name: http, port: 9090, targetPort: 9090}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: prometheus, namespace: monitoring}
spec:
  replicas: 1
  selector: {matchLabels: {app: prometheus}}
  template:
    metadata: {labels: {app: prometheus}}
    spec:
      containers:
        - name: prometheus
          image: prom/prometheus:v2.42.0
          args: [--config.file=/etc/prometheus/config/prometheus.yml, --storage.tsdb.path=/prometheus, --web.external-url=/prometheus/]
          ports: [{name: http, containerPort: 9090}]
          readinessProbe: {httpGet: {path: /prometheus/-/ready, port: 9090}, periodSeconds: 1}
          volumeMounts: [{name: config, mountPath: /etc/prometheus/config}, {name: data, mountPath: /prometheus}]
      volumes: [{name: config, configMap: {name: prometheus}}, {name: data, emptyDir: {}}]
"#;

/// The talk's manifest as printed, under a name of its own, with annotations and what follows its spec.
fn talk(name: &str, annotations: &[(&str, &str)], more: &str) -> String {
    let mut lines = String::new();
    for (key, value) in annotations {
        lines.push_str(&format!("    hikeshi.dev/{key}: '{value}'\n"));
    }
    let annotations = if lines.is_empty() {
        String::new()
    } else {
        format!("  annotations:\n{lines}")
    };
    format!(
        "kind: HTTPChaos\napiVersion: chaos-mesh.org/v1alpha1\nmetadata:\n  name: {name}\n{annotations}spec:\n  selector:\n    \
         namespaces:\n      - default\n    labelSelectors:\n      app: nginx-app\n  mode: all\n  target: Response\n  \
         port: 80\n  path: '/test*'\n  delay: 1s\n  replace:\n    code: 500\n    headers:\n      server: nginx-test\n{more}"
    )
}

/// Puts the small system in the place of the shipped one; its journeys stay.
fn small_system(home: &Home) {
    let folder = home.share().join("systems/chirpy");
    for entry in std::fs::read_dir(&folder)
        .expect("the shipped system")
        .map(|entry| entry.expect("an entry").path())
    {
        if entry.is_file() && entry.file_name().is_some_and(|name| name != "cujs.yaml") {
            std::fs::remove_file(&entry).expect("removing a manifest");
        }
    }
    std::fs::write(folder.join("00-all.yaml"), SYSTEM).expect("writing the system");
}

/// `kubectl apply -n default -f -`: the kubeconfig's own namespace is another.
async fn apply(admin: &Kubectl, manifest: &str) {
    let output = admin
        .words(&["apply", "-n", "default", "-f", "-"], manifest)
        .await;
    assert!(output.status.success(), "kubectl apply: {}", text(&output.stderr));
}

fn file(home: &Home, name: &str, text: &str) -> PathBuf {
    let path = home.share().join(name);
    std::fs::write(&path, text).expect("writing a manifest");
    path
}

/// `hikeshi experiment run FILE --json`: exit code and what came out.
fn run(home: &Home, name: &str, manifest: &str) -> (i32, Value) {
    let path = file(home, name, manifest);
    let output = home.run(&[
        "experiment",
        "run",
        path.to_str().expect("a plain path"),
        "--json",
    ]);
    let detail = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}{}", text(&output.stdout), text(&output.stderr)));
    (output.status.code().expect("an exit code"), detail)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn experiments_from_hypothesis_to_history() {
    let home = Home::new();
    small_system(&home);
    home.ok(&["up"]);
    let admin = Kubectl::new(home.path().join("kubeconfig"));
    a_slip_is_refused_at_its_place(&home);
    the_steady_state_is_measured(&home).await;
    ingress::shares_requests_exactly(&home, &admin).await;
    the_traffic_that_would_be_hit_is_told_before_it_starts(&home);
    it_is_refuted_with_figures_and_recovery(&home, &admin).await;
    it_holds(&home);
    ctrl_c_ends_it(&home, &admin).await;
    a_guard_ends_what_kubectl_applied(&home, &admin).await;
    a_killed_control_finds_it_again(&home, &admin).await;
}

fn a_slip_is_refused_at_its_place(home: &Home) {
    let path = file(
        home,
        "slip.yaml",
        &talk("slip", &[], "").replace("mode: all", "mode: al"),
    );
    let output = home.run(&["experiment", "run", path.to_str().expect("a plain path")]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("slip.yaml:11:9: spec.mode") && said.contains("did you mean `all`"),
        "{said}"
    );
    let path = path.to_str().expect("a plain path");
    let said = text(&home.run(&["experiment", "run", path, "--lang", "ja"]).stderr);
    assert!(
        said.contains("slip.yaml:11:9: spec.mode") && said.contains("のどれかにしてください"),
        "{said}"
    );
}

const P: &str = r#"scrape_duration_seconds{job="nginx"}"#;

/// Prometheus has scraped nginx at least once.
async fn the_steady_state_is_measured(home: &Home) {
    let prometheus = home.record()["hosts"]["prometheus"]
        .as_str()
        .expect("Prometheus' address")
        .to_owned();
    let url = format!("http://{prometheus}/prometheus/api/v1/query");
    for (what, query) in [
        ("Prometheus scrapes nginx", r#"up{job="nginx"} == 1"#),
        (
            "Prometheus scrapes who calls nginx from the data plane",
            r#"rate(hikeshi_edge_requests_total{source="caller",destination="nginx"}[20s]) > 2"#,
        ),
    ] {
        eventually(what, SOON, async || {
            let asked = reqwest::Client::new().get(&url).query(&[("query", query)]);
            let answer: Value = asked.send().await.ok()?.json().await.ok()?;
            (!answer["data"]["result"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }
}

fn the_traffic_that_would_be_hit_is_told_before_it_starts(home: &Home) {
    let requests = regex::Regex::new(r"requests: ([0-9.]+)(?: - ([0-9.]+))? of ([0-9.]+) per second")
        .expect("an expression");
    let told = |name: &str, manifest: String| {
        let path = file(home, name, &manifest);
        let said = home.ok(&[
            "experiment",
            "run",
            path.to_str().expect("a plain path"),
            "--lang",
            "en",
        ]);
        let found = requests
            .captures(&said)
            .unwrap_or_else(|| panic!("no figure in {said}"));
        let number = |at: usize| {
            found
                .get(at)
                .map(|text| text.as_str().parse::<f64>().expect("a number"))
        };
        (number(1), number(2), number(3), said)
    };
    let all = talk("all", &[("percent", "50")], "  duration: 2s\n").replace("  path: '/test*'\n", "");
    let (least, most, of, said) = told("all.yaml", all);
    let (least, of) = (least.expect("a figure"), of.expect("a figure"));
    assert!(
        most.is_none() && of > 1.0 && (least - of / 2.0).abs() < 0.1,
        "{said}"
    );
    // Between pods no path is counted: a range, and why.
    let (least, most, _, said) = told("path.yaml", talk("path", &[], "  duration: 2s\n"));
    assert!(
        least == Some(0.0) && most.is_some_and(|most| most > 1.0),
        "{said}"
    );
    assert!(said.contains("counted without path"), "{said}");
}

async fn it_is_refuted_with_figures_and_recovery(home: &Home, admin: &Kubectl) {
    let hypothesis = format!("{P} < 0.9");
    let manifest = talk("http-delay", &[("hypothesis", &hypothesis)], "  duration: 12s\n");
    let (code, detail) = run(home, "refuted.yaml", &manifest);
    assert_eq!(
        (code, detail["verdict"].as_str()),
        (1, Some("refuted")),
        "{detail:#}"
    );
    // Where kubectl would put it: the kubeconfig's own namespace.
    assert_eq!(detail["namespace"], "chirpy");
    assert_eq!(
        (detail["hit"].as_u64(), detail["phase"].as_str()),
        (Some(2), Some("ended"))
    );
    let check = &detail["checks"][0];
    let figure = |name: &str| {
        check[name]
            .as_f64()
            .unwrap_or_else(|| panic!("no {name}: {check}"))
    };
    assert!(
        figure("before") < 0.9 && figure("during") >= 1.0 && figure("after") < 0.9,
        "{check}"
    );
    assert_eq!(check["holds"], false);
    the_edges_tell_of_it(&detail);
    assert_eq!(detail["recovery"]["verified"], true);
    for record in detail["records"].as_array().expect("records") {
        assert!(
            record["injected_at"].is_string() && record["recovered_at"].is_string(),
            "{record}"
        );
    }
    let left = admin.ok("get httpchaos -A -o name").await;
    assert_eq!(left, "", "nothing is left in the cluster");
}

/// The caller's requests before, during and after, and the figure's points from before the start.
fn the_edges_tell_of_it(detail: &Value) {
    let edges = detail["edges"].as_array().expect("edges");
    let edge = edges
        .iter()
        .find(|edge| edge["source"] == "caller" && edge["destination"] == "nginx")
        .unwrap_or_else(|| panic!("no edge from the caller: {edges:?}"));
    let of = |phase: &str, figure: &str| {
        edge[phase][figure]
            .as_f64()
            .unwrap_or_else(|| panic!("no {figure} {phase}: {edge}"))
    };
    assert!(
        of("before", "p50_s") < 0.5 && of("during", "p50_s") >= 1.0,
        "{edge}"
    );
    assert!(
        of("during", "error_share") > 0.9 && of("during", "p99_s") >= 1.0,
        "{edge}"
    );
    let rates = ["before", "during", "after"].map(|phase| of(phase, "requests_per_second"));
    assert!(rates[1] < 2.0 && rates[2] > rates[1], "{edge}");
    let started: jiff::Timestamp = detail["started_at"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("a time");
    let first = detail["figures"][0]["points"][0][0].as_f64().expect("a point");
    assert!(
        first < started.as_duration().as_secs_f64() - 5.0,
        "{}",
        detail["figures"]
    );
}

fn it_holds(home: &Home) {
    let hypothesis = format!("{P} < 2.9");
    let manifest = talk("still-fine", &[("hypothesis", &hypothesis)], "  duration: 5s\n");
    let (code, detail) = run(home, "held.yaml", &manifest);
    assert_eq!(
        (code, detail["verdict"].as_str()),
        (0, Some("held")),
        "{detail:#}"
    );
    let list = home.json(&["experiment", "list", "--json"]);
    let verdicts: Vec<_> = list["history"]
        .as_array()
        .expect("a history")
        .iter()
        .map(|one| one["verdict"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(verdicts, ["held", "refuted", "", ""], "newest first");
    let shown = home.ok(&["experiment", "show", "last", "--lang", "ja"]);
    assert!(
        shown.contains("復旧: 確認済み") && shown.contains("成立"),
        "{shown}"
    );
}

async fn ctrl_c_ends_it(home: &Home, admin: &Kubectl) {
    let path = file(
        home,
        "interrupted.yaml",
        &talk("interrupted", &[], "  duration: 10m\n"),
    );
    let path = path.to_str().expect("a plain path");
    let child = home
        .hikeshi(&["experiment", "run", path, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hikeshi starts");
    let injected = "wait --for=condition=AllInjected httpchaos/interrupted --timeout=1s";
    eventually("the fault is in", SOON, async || {
        admin.run(injected).await.status.success().then_some(())
    })
    .await;
    let pid = i32::try_from(child.id()).expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT)
        .expect("a process to interrupt");
    let output = child.wait_with_output().expect("it ends");
    let detail: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}{}", text(&output.stdout), text(&output.stderr)));
    assert_eq!(
        (&detail["phase"], &detail["recovery"]["verified"]),
        (&Value::from("ended"), &Value::from(true)),
        "{detail:#}"
    );
    assert!(
        admin
            .refused("get httpchaos interrupted")
            .await
            .contains("not found")
    );
}

async fn a_guard_ends_what_kubectl_applied(home: &Home, admin: &Kubectl) {
    let guard = format!("max({P}) > 0.9");
    apply(
        admin,
        &talk("guarded", &[("guard.latency", &guard)], "  duration: 10m\n"),
    )
    .await;
    let one = eventually("the guard ends the experiment", SOON, async || {
        let list = home.json(&["experiment", "list", "--json"]);
        list["history"]
            .as_array()?
            .iter()
            .find(|one| one["name"] == "guarded")
            .cloned()
    })
    .await;
    assert_eq!(
        (one["verdict"].as_str(), one["by"].as_str()),
        (Some("stopped"), Some("admin")),
        "{one}"
    );
    assert!(
        one["sentence"]["en"]
            .as_str()
            .is_some_and(|said| said.contains("guard latency tripped")),
        "{one}"
    );
    let events = admin.ok("get events -n default").await;
    assert!(
        events.contains("GuardTripped") && events.contains("httpchaos/guarded"),
        "{events}"
    );
    assert!(
        admin
            .refused("get httpchaos guarded -n default")
            .await
            .contains("not found")
    );
}

async fn a_killed_control_finds_it_again(home: &Home, admin: &Kubectl) {
    let hypothesis = format!("{P} < 2.9");
    apply(admin, &talk("endless", &[("hypothesis", &hypothesis)], "")).await;
    let running = async || {
        let list = home.run(&["experiment", "list", "--json"]);
        let list: Value = serde_json::from_slice(&list.stdout).ok()?;
        let one = list["running"]
            .as_array()?
            .iter()
            .find(|one| one["name"] == "endless")?
            .clone();
        (one["phase"] == "running").then_some(one)
    };
    let before = eventually("the fault is in", SOON, running).await;
    let lease = admin
        .ok("get httpchaos endless -n default -o jsonpath={.metadata.annotations}")
        .await;
    assert!(lease.contains("hikeshi.dev/lease-until"), "{lease}");
    kill_9(home.control_pid()).await;
    home.ok(&["up"]);
    let after = eventually("control finds the experiment again", SOON, running).await;
    assert_eq!(
        (&before["id"], &before["started_at"]),
        (&after["id"], &after["started_at"])
    );
    let id = before["id"].as_str().expect("an id");
    let stopped: Value = home.json(&["experiment", "stop", id, "--json"]);
    assert_eq!(
        (&stopped["phase"], &stopped["recovery"]["verified"]),
        (&Value::from("ended"), &Value::from(true)),
        "{stopped:#}"
    );
    assert!(
        admin
            .refused("get httpchaos endless -n default")
            .await
            .contains("not found")
    );
}
