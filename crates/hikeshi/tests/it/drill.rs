//! One drill on a real system: started, joined, worked in with kubectl and console, cut off from control and from its
//! data plane, and ended without a trace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::autoscaler;
use crate::budgets;
use crate::edges;
use crate::events::{self, Events};
use crate::harness::{Home, eventually, gone, kill_9, listen_address, text};
use crate::kubectl::Kubectl;
use crate::left_behind;
use crate::leftovers;
use crate::load_from_pods;
use crate::room::Room;

/// In which a kubectl command is due in the timeline.
const SEEN: Duration = Duration::from_secs(1);
/// For what takes a moment on an idle machine and longer on a busy one.
const SOON: Duration = Duration::from_secs(60);
/// In which traffic is back after the data plane's death.
const BACK: Duration = Duration::from_secs(20);

/// One system for the whole life of a drill: bringing it up is what costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_drill_from_start_to_end() {
    let home = Home::new();
    home.inject_much_later();
    let listen = listen_address();
    let started = home.json(&[
        "drill",
        "start",
        "timelines-stop-updating",
        "--listen",
        &listen,
        "--json",
    ]);
    let drill = started["drill"].as_str().expect("a drill id").to_owned();
    let commander = Room::join(
        started["url"].as_str().expect("the host's link"),
        "pika7",
        "commander",
    )
    .await;
    let invite = started["invite"].as_str().expect("the team's link");
    let _operator = Room::join(invite, "hoge123", "operator").await;
    commander.command(&json!({"command": "begin"})).await;
    let mut events = Events::follow(&commander, &drill).await;
    events
        .wait("the drill begins", SOON, |event| event["kind"] == "system_ready")
        .await;

    let seat = Kubectl::new(home.ok(&["kubeconfig", "--seat", "hoge123"]).trim());
    kubectl_shows_in_the_timeline(&seat, &mut events).await;
    seats_see_what_they_may(&home, &seat).await;
    the_console_streams(&commander, &mut events).await;
    kubectl_works_on_real_pods(&seat).await;
    autoscaler::follows_prometheus(&home).await;
    edges::are_those_of_the_map(&home).await;
    left_behind::is_asked_by_posts(&home).await;
    load_from_pods::is_one_run(&home).await;
    budgets::are_told(&home, &commander, &drill).await;
    control_is_killed(&home, &drill, &commander, &seat).await;
    the_data_plane_is_killed(&home).await;
    the_drill_ends(&home, &drill, &commander).await;
    the_next_drill_begins_from_the_normal_state(&home, &started["invite"]).await;
    data_outlives_the_system(&home).await;
    nothing_is_left(&home);
}

/// What was measured, for whoever runs the tests with `--nocapture`.
#[expect(clippy::print_stdout, reason = "a figure that is worth reading")]
fn figure(text: &str) {
    println!("{text}");
}

const SCRATCH: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: scratch, namespace: chirpy, labels: {app: scratch}}
spec:
  replicas: 1
  # A rollout lasts at least this long, so that it can be watched.
  minReadySeconds: 3
  selector: {matchLabels: {app: scratch}}
  template:
    metadata: {labels: {app: scratch}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: debian
          env: [{name: GREETING, value: hello}]
          command: [sh, -c, 'trap \"exit 0\" TERM; echo greeting $GREETING; while :; do sleep 1 & wait; done']
          resources: {requests: {cpu: 10m, memory: 8Mi}}
";

async fn kubectl_shows_in_the_timeline(seat: &Kubectl, events: &mut Events) {
    let listed = seat.ok("get pods").await;
    let since = Instant::now();
    assert!(
        listed.contains("redis-cluster-0") && listed.contains("Running"),
        "{listed}"
    );
    let event = events
        .wait("kubectl get pods", SEEN, |event| {
            events::is_command(event, "hoge123", "kubectl get pods")
        })
        .await;
    figure(&format!(
        "`kubectl get pods` was in the timeline {:?} after it had ended",
        since.elapsed()
    ));
    assert_eq!(
        (&event["mutating"], &event["actor"]["seat"]),
        (&json!(false), &json!("operator"))
    );

    seat.apply(SCRATCH).await;
    seat.ok("scale deployment scratch --replicas=2").await;
    let since = Instant::now();
    let line = "kubectl scale deployment scratch --replicas=2";
    let event = events
        .wait(line, SEEN, |event| events::is_command(event, "hoge123", line))
        .await;
    figure(&format!(
        "`{line}` was in the timeline {:?} after it had ended",
        since.elapsed()
    ));
    assert_eq!(
        (&event["mutating"], &event["exit_code"]),
        (&json!(true), &json!(0))
    );
}

async fn seats_see_what_they_may(home: &Home, seat: &Kubectl) {
    for kind in ["networkchaos", "httpchaos", "podchaos"] {
        let said = seat.refused(&format!("get {kind} -A")).await;
        assert!(said.contains("Forbidden") && said.contains("hoge123"), "{said}");
    }
    let observer = home.ok(&["kubeconfig", "--seat", "mita1", "--role", "observer"]);
    let observer = Kubectl::new(observer.trim());
    assert!(observer.ok("get deployments").await.contains("timeline-service"));
    for line in [
        "get secrets",
        "delete pod redis-cluster-0",
        "scale deployment scratch --replicas=3",
    ] {
        let said = observer.refused(line).await;
        assert!(
            said.contains("Forbidden") && said.contains("mita1"),
            "{line}: {said}"
        );
    }
}

async fn the_console_streams(room: &Room, events: &mut Events) {
    let restarted = room.console("kubectl rollout restart deployment scratch").await;
    assert_eq!(
        (restarted.exit, restarted.pieces.concat().trim()),
        (0, "deployment.apps/scratch restarted")
    );
    // It prints as it goes: what is to come is not known when the first piece is sent.
    let watched = room.console("kubectl rollout status deployment scratch").await;
    assert_eq!(watched.exit, 0);
    assert!(watched.pieces.len() > 1, "{:?}", watched.pieces);
    assert!(
        watched.pieces.concat().contains("successfully rolled out"),
        "{:?}",
        watched.pieces
    );
    let line = "kubectl rollout restart deployment scratch";
    let event = events
        .wait(line, SEEN, |event| events::is_command(event, "pika7", line))
        .await;
    assert_eq!(
        (&event["source"], &event["exit_code"]),
        (&json!("console"), &json!(0))
    );
    let missing = room.console("kubectl get pod no-such-pod").await;
    assert_eq!(missing.exit, 1);
    assert!(
        missing.pieces.concat().contains("NotFound"),
        "{:?}",
        missing.pieces
    );
}

async fn kubectl_works_on_real_pods(seat: &Kubectl) {
    seat.ok("scale deployment scratch --replicas=1").await;
    seat.ok("set env deployment/scratch GREETING=good-morning").await;
    let said = seat.ok("rollout status deployment scratch --timeout=60s").await;
    assert!(said.contains("successfully rolled out"), "{said}");
    seat.ok("wait --for=condition=Available deployment/scratch --timeout=60s")
        .await;
    let pod = only_pod(seat, None).await;

    let logs = eventually("the new greeting", SOON, async || {
        Some(seat.ok(&format!("logs {pod}")).await).filter(|logs| logs.contains("greeting"))
    })
    .await;
    assert_eq!(logs.trim(), "greeting good-morning");
    assert!(
        seat.ok("logs -l app=scratch --since=5m")
            .await
            .contains("good-morning")
    );
    let described = seat.ok(&format!("describe pod {pod}")).await;
    for part in ["GREETING:", "good-morning", "Running", "Events:", "Started"] {
        assert!(described.contains(part), "{part} is not in {described}");
    }
    let usage = eventually("the pod's usage", SOON, async || {
        let output = seat.run("top pods -l app=scratch").await;
        Some(text(&output.stdout)).filter(|usage| usage.contains(&pod))
    })
    .await;
    assert!(usage.contains("CPU(cores)") && usage.contains("Mi"), "{usage}");

    assert_eq!(seat.ok(&format!("exec {pod} -- hostname")).await.trim(), pod);
    let output = seat
        .words(
            &["exec", &pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7"],
            "",
        )
        .await;
    assert_eq!(
        (output.status.code(), text(&output.stdout).trim()),
        (Some(7), "out")
    );
    assert!(text(&output.stderr).contains("err"), "{}", text(&output.stderr));
    let output = seat
        .words(&["exec", "-i", &pod, "--", "cat"], "through and back")
        .await;
    assert_eq!(text(&output.stdout), "through and back");

    seat.ok(&format!("delete pod {pod}")).await;
    let next = only_pod(seat, Some(&pod)).await;
    assert_ne!(next, pod);
    seat.ok("delete deployment scratch").await;
    seat.ok(&format!("wait --for=delete pod/{next} --timeout=60s"))
        .await;
    assert_eq!(seat.ok("get pods -l app=scratch -o name").await, "");
}

/// The one ready pod of the scratch deployment, once there is no other and it is not `before`.
async fn only_pod(seat: &Kubectl, before: Option<&str>) -> String {
    eventually("one scratch pod", SOON, async || {
        let list: Value =
            serde_json::from_str(&seat.ok("get pods -l app=scratch -o json").await).expect("JSON");
        let [pod] = list["items"].as_array()?.as_slice() else {
            return None;
        };
        let ready = pod["status"]["containerStatuses"][0]["ready"] == true
            && pod["metadata"]["deletionTimestamp"].is_null();
        let name = pod["metadata"]["name"].as_str()?;
        (ready && Some(name) != before).then(|| name.to_owned())
    })
    .await
}

/// What must be the same before and after: pods by name with their UID and restarts.
async fn pods(admin: &Kubectl) -> BTreeMap<String, (String, i64)> {
    let list: Value = serde_json::from_str(&admin.ok("get pods -A -o json").await).expect("JSON");
    let pods = list["items"].as_array().expect("pods");
    let each = pods.iter().map(|pod| {
        let field = |name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
        let statuses = pod["status"]["containerStatuses"].as_array();
        let restarts = statuses
            .into_iter()
            .flatten()
            .filter_map(|status| status["restartCount"].as_i64())
            .sum();
        (field("name"), (field("uid"), restarts))
    });
    each.collect()
}

/// Requests of the load so far: served and failed, by its own counters.
async fn load(home: &Home) -> Option<(f64, f64)> {
    let body = fetch(home, "load", "/metrics").await?.1;
    let sum = |result: &str| {
        let part = format!("result=\"{result}\"");
        let lines = body
            .lines()
            .filter(|line| line.starts_with("journey_requests_total{") && line.contains(&part));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    Some((sum("ok"), sum("error")))
}

/// Through a host listener: how long it took, and what came.
async fn fetch(home: &Home, listener: &str, path: &str) -> Option<(Duration, String)> {
    let address = home.record()["hosts"][listener].as_str()?.to_owned();
    let since = Instant::now();
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .ok()?;
    let answer = http.get(format!("http://{address}{path}")).send().await.ok()?;
    let body = answer.error_for_status().ok()?.text().await.ok()?;
    Some((since.elapsed(), body))
}

/// A fault that harms nobody: only this test asks for that page.
const FAULT: &str = "
apiVersion: chaos-mesh.org/v1alpha1
kind: HTTPChaos
metadata: {name: slow-page, namespace: hikeshi-faults}
spec:
  mode: all
  selector: {namespaces: [monitoring], labelSelectors: {app: alertmanager}}
  target: Request
  port: 9093
  path: /alertmanager/-/healthy
  delay: 2s
";
const FAULT_DELAY: Duration = Duration::from_secs(2);

async fn fault_is(home: &Home, in_force: bool) {
    eventually(
        if in_force {
            "the fault is in force"
        } else {
            "the fault is lifted"
        },
        SOON,
        async || {
            let (took, _) = fetch(home, "alertmanager", "/alertmanager/-/healthy").await?;
            ((took >= FAULT_DELAY) == in_force).then_some(())
        },
    )
    .await;
}

async fn control_is_killed(home: &Home, drill: &str, room: &Room, seat: &Kubectl) {
    let admin = Kubectl::new(home.path().join("kubeconfig"));
    admin.apply(FAULT).await;
    fault_is(home, true).await;
    let pods_before = pods(&admin).await;
    let (control, dataplane) = (home.control_pid(), home.dataplane_pid());
    let (served_before, failed_before) = load(home).await.expect("the load's counters");

    kill_9(control).await;
    // What was written is on disk now; nobody is left to write more.
    let events_before = events::on_disk(&home.path(), drill);
    fault_is(home, false).await;
    let served = eventually("requests are served without control", SOON, async || {
        load(home)
            .await
            .map(|(served, _)| served)
            .filter(|served| *served > served_before + 50.0)
    })
    .await;
    assert!(!gone(dataplane), "the data plane lives on");

    let again = home.json(&["up", "--json"]);
    assert_eq!(again["drill"]["id"], json!(drill), "the same drill");
    assert_ne!(home.control_pid(), control);
    assert_eq!(home.dataplane_pid(), dataplane, "the same data plane");
    assert_eq!(pods(&admin).await, pods_before, "the same pods, none restarted");
    // At the address of `--listen`, though `up` was not told it again.
    let session = room.get("/api/session").await;
    assert_eq!(
        session["viewer"]["name"], "pika7",
        "people stay seated: {session}"
    );

    // The seat's old kubeconfig, and its commands in the timeline of the same drill.
    let mut events = Events::follow(room, drill).await;
    let listed = seat.ok("get deployments").await;
    assert!(listed.contains("timeline-service"), "{listed}");
    let line = "kubectl get deployments";
    events
        .wait(line, SEEN, |event| events::is_command(event, "hoge123", line))
        .await;
    let events_after = events::on_disk(&home.path(), drill);
    assert!(
        events_after.starts_with(&events_before),
        "no event is lost or changed"
    );
    assert!(events_after.len() > events_before.len());
    events::assert_gapless(&events_after);

    // The object is still there, so its fault is again; it goes when the object goes.
    fault_is(home, true).await;
    admin
        .ok("delete httpchaos slow-page -n hikeshi-faults --timeout=30s")
        .await;
    fault_is(home, false).await;
    let (served_after, failed_after) = load(home).await.expect("the load's counters");
    assert!(served_after > served, "the load goes on");
    assert!(
        (failed_after - failed_before).abs() < 0.5,
        "{} requests failed",
        failed_after - failed_before
    );
}

async fn the_data_plane_is_killed(home: &Home) {
    let dataplane = home.dataplane_pid();
    let hosts = home.record()["hosts"].clone();
    kill_9(dataplane).await;
    let since = Instant::now();
    eventually("another data plane", BACK, async || {
        let pid = home.dataplane_pid();
        (pid != dataplane && !gone(pid)).then_some(())
    })
    .await;
    let (served, _) = eventually("the load can be reached again", BACK, async || load(home).await).await;
    eventually("traffic is back", BACK, async || {
        load(home).await.filter(|(now, _)| *now > served + 100.0)
    })
    .await;
    figure(&format!(
        "traffic was back {:?} after the data plane's death",
        since.elapsed()
    ));
    assert_eq!(home.record()["hosts"], hosts, "at the addresses that people know");
}

async fn the_drill_ends(home: &Home, drill: &str, room: &Room) {
    let ended = home.json(&["drill", "end", drill, "--json"]);
    assert_eq!(ended["drill"], json!(drill));
    let score = room.get(&format!("/api/drills/{drill}/score")).await;
    assert!(
        score["points"].is_number() && score["lines"].is_array(),
        "{score}"
    );
    let listed = home.json(&["drill", "list", "--json"]);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["ended"]),
        (&json!(drill), &json!(true))
    );
}

const FANOUT: &str =
    "get configmap timeline-service-config -n chirpy -o jsonpath={.data.FANOUT_MAX_INFLIGHT}";

async fn the_next_drill_begins_from_the_normal_state(home: &Home, invite: &Value) {
    let admin = Kubectl::new(home.path().join("kubeconfig"));
    let normal = admin.ok(FANOUT).await;
    let patch = r#"patch configmap timeline-service-config -n chirpy --type=merge -p {"data":{"FANOUT_MAX_INFLIGHT":"64"}}"#;
    admin.ok(patch).await;
    assert_ne!(admin.ok(FANOUT).await, normal);
    let again = home.json(&["drill", "start", "timelines-stop-updating", "--json"]);
    assert_eq!(again["invite"], *invite, "the team's link still holds");
    assert_eq!(
        admin.ok(FANOUT).await,
        normal,
        "what the last drill changed is gone"
    );
    let refused = home.run(&["drill", "start", "timelines-stop-updating"]);
    assert_eq!(
        refused.status.code(),
        Some(1),
        "a drill that is on is not swept away"
    );
    home.ok(&["drill", "end"]);
}

/// All six Redis nodes come back with their data and with new addresses: they must find one another again.
async fn data_outlives_the_system(home: &Home) {
    home.ok(&["down", "--keep-volumes"]);
    home.ok(&["up"]);
    let admin = Kubectl::new(home.path().join("kubeconfig"));
    for node in 0..6 {
        let line = format!("exec redis-cluster-{node} -n chirpy -- redis-cli cluster nodes");
        let nodes = admin.ok(&line).await;
        let connected = nodes.lines().filter(|line| line.contains(" connected")).count();
        assert_eq!(connected, 6, "as redis-cluster-{node} sees it:\n{nodes}");
    }
}

fn nothing_is_left(home: &Home) {
    assert!(
        !leftovers::processes(home.mark()).is_empty(),
        "the search finds what runs"
    );
    assert_eq!(home.ok(&["down"]).trim(), "everything has ended");
    assert_eq!(
        leftovers::processes(home.mark()),
        Vec::<String>::new(),
        "processes"
    );
    assert_eq!(leftovers::mounts(home.mark()), Vec::<String>::new(), "mounts");
    assert_eq!(
        leftovers::sockets_and_locks(&home.path()),
        Vec::<String>::new(),
        "sockets and locks"
    );
    assert_eq!(home.ok(&["down"]).trim(), "nothing is running");
}
