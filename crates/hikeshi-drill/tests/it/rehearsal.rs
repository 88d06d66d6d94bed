use hikeshi_drill::rehearsal::{Action, Rehearsal};
use hikeshi_drill::{Command, EventKind};

use crate::engine::{Drill, alert};

/// What the real system would print. `full`: the shard is refusing.
fn output(line: &str, full: bool) -> String {
    match line {
        // More lines than a story quotes: it has to choose.
        l if l.contains("chirpy-server") => "{\"msg\":\"GET /api/timeline\"}\n{\"msg\":\"Request to Timeline Service timed out: url=http://timeline-service/home\"}\n".repeat(10),
        l if l.contains("top pods") => "NAME CPU(cores) MEMORY(bytes)\ntimeline-service-5d8-x2 480m 34Mi\n".into(),
        l if l.contains("get pods") => "redis-cluster-2   1/1     Running   0          9m\n".into(),
        l if l.contains("CLUSTER INFO") => "cluster_state:ok\r\ncluster_slots_ok:16384\r\n".into(),
        l if l.contains("app=timeline-service --since") => {
            "{\"msg\":\"Fan-out failed, trying again\",\"attempts\":41,\"error\":\"timed out after 2s\",\"post\":9,\"shard\":2}\n".into()
        }
        l if l.contains("redis-cli INFO") && full => "ERR max number of clients + cluster connections reached\n".into(),
        l if l.contains("redis-cli INFO") => "connected_clients:31\r\n".into(),
        l if l.contains("scale") => "deployment.apps/timeline-service scaled\n".into(),
        l if l.contains("delete pod") => "pod \"redis-cluster-2\" deleted\n".into(),
        l if l.contains("patch") => "configmap/timeline-service-config patched\n".into(),
        l if l.contains("rollout restart") => "deployment.apps/timeline-service restarted\n".into(),
        l if l.contains("rollout status") => "deployment \"timeline-service\" successfully rolled out\n".into(),
        _ => String::new(),
    }
}

/// Plays the shipped cast; `until` stops it early. Returns the commands and the last action.
pub fn play(drill: &mut Drill, breaks: Option<&str>) -> (Vec<String>, Action) {
    let start = Command::Start {
        drill: "d".into(),
        scenario: "s".into(),
        system: "chirpy".into(),
        slo_clock: 60.0,
        rehearsal: true,
        seed: 1,
    };
    drill.give(start).expect("starts");
    drill
        .give(Command::SystemReady {
            pods: 20,
            seconds: 9.0,
        })
        .expect("ready");
    let cast = drill.scenario.cast.clone().expect("a cast");
    let mut rehearsal = Rehearsal::new(10.0);
    let mut lines = Vec::new();
    let mut full = false;
    for _ in 0..5_000 {
        let injected = drill
            .state
            .reached(hikeshi_scenario::Milestone::Injected)
            .is_some();
        if !injected
            && drill
                .state
                .reached(hikeshi_scenario::Milestone::Ready)
                .is_some_and(|r| drill.now.duration_since(r).as_secs() >= 120)
        {
            drill
                .give(Command::FaultInjected {
                    name: "faults/slow-shard.yaml".into(),
                    object: "o".into(),
                })
                .expect("injected");
            drill.give(alert("f")).expect("fires");
            full = true;
        }
        drill.give(Command::Tick).expect("tick");
        let action = rehearsal.next(&drill.state, &cast, drill.now);
        match action {
            Action::Command(command) => {
                drill
                    .give(command.clone())
                    .unwrap_or_else(|code| panic!("{code}: {command:?}"));
            }
            Action::Run { by, command, step } => {
                let line = command.to_string();
                if line.contains("rollout status") {
                    full = false;
                    drill
                        .give(Command::AlertResolved {
                            fingerprint: "f".into(),
                        })
                        .expect("resolves");
                }
                let printed = if breaks.is_some_and(|b| line.contains(b)) {
                    String::new()
                } else {
                    output(&line, full)
                };
                let run = Command::CommandRun {
                    by,
                    command: line.clone(),
                    mutating: false,
                    source: "rehearsal".into(),
                    exit_code: Some(0),
                    output: printed.clone(),
                    seconds: 0.1,
                    step: Some(step),
                };
                drill.give(run).expect("recorded");
                lines.push(line);
                drill.wait(1);
                rehearsal.ran(&cast, &printed, drill.now);
            }
            Action::Query { by, query, step } => {
                let (value, baseline) = (if full { 1.2 } else { 0.12 }, Some(0.11));
                let seen = Command::MetricSeen {
                    by,
                    query: query.promql,
                    value,
                    baseline,
                    unit: query.unit,
                    step: Some(step),
                };
                drill.give(seen).expect("recorded");
                rehearsal.measured(&cast, Some(value), baseline, drill.now);
            }
            Action::Wait { .. } => drill.wait(1),
            Action::Failed { .. } | Action::Done => return (lines, action),
        }
    }
    panic!("the script never ended; at step {}", rehearsal.step());
}

#[test]
fn the_shipped_cast_plays_to_its_end() {
    let mut drill = Drill::new();
    let (lines, last) = play(&mut drill, None);
    assert_eq!(last, Action::Done);
    // The commands, exactly, in its order.
    let wanted = [
        "kubectl logs -l app=chirpy-server --since=5m",
        "kubectl top pods -l app=timeline-service",
        "kubectl scale deployment timeline-service --replicas=10",
        "kubectl logs -l app=redis-cluster --since=10m",
        "kubectl delete pod redis-cluster-2",
        "kubectl get pods -l app=redis-cluster",
    ];
    let mut rest = lines.iter();
    for line in wanted {
        assert!(
            rest.any(|l| l == line),
            "{line} is missing or out of order in {lines:#?}"
        );
    }
    let chat = hikeshi_drill::chat::chat(&drill.events);
    let said = |who: &str, words: &str| chat.iter().any(|l| l.name == who && l.text_ja.contains(words));
    assert!(
        said("fizz456", "1.20 s") && said("fizz456", "11 倍"),
        "figures are those that were seen"
    );
    assert!(said("cs0haru", "サポートです") && said("mina3pm", "状況どう"));
    assert!(said("hoge123", "@cs0haru") && chat.iter().any(|l| l.text_ja.contains("@mina3pm 影響は")));
    assert!(said("alert-bot", "[FIRING:page]") && said("alert-bot", "[RESOLVED]"));
    let cast = drill.scenario.cast.as_ref().expect("a cast");
    let by_script = |e: &&hikeshi_drill::Event| matches!(e.kind, EventKind::CommandRun { .. });
    for event in drill.events.iter().filter(by_script) {
        let step = event.kind.step().expect("the script's own");
        let step = &cast.steps[usize::try_from(step).expect("small")];
        let line = step.run.as_ref().expect("a command").to_string();
        assert!(
            matches!(&event.kind, EventKind::CommandRun { command, .. } if *command == line),
            "{line} is not {event:?}"
        );
    }
    let m = hikeshi_drill::metrics::metrics(&drill.events, &drill.scenario);
    assert!(
        m.resolved.is_some() && m.relapsed_mitigations.len() == 1,
        "{m:#?}"
    );
}

#[test]
fn a_script_that_the_system_contradicts_fails_with_the_reason() {
    let mut drill = Drill::new();
    let (_, last) = play(&mut drill, Some("CLUSTER INFO"));
    assert!(
        matches!(&last, Action::Failed { reason, .. } if reason.contains("cluster_state:ok")),
        "{last:?}"
    );
}
