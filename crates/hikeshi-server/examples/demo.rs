//! The war room over a made-up drill, for working on the page: `cargo run -p hikeshi-server --example demo -- running`
//! (or `preparing`, `briefing`, `ended`). Prints the host's link. Nothing here runs a cluster.

#[path = "../tests/it/fake.rs"]
mod fake;
#[path = "../tests/it/made_budgets.rs"]
mod made_budgets;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use fake::{FakeHost, text};
use hikeshi_drill::event::{Actor, EventKind, JourneySample};
use hikeshi_server::api::{DrillState, Journey, JourneyPoint, JourneySeries, Lang, Objective};
use hikeshi_server::web::{Invites, WebConfig, serve};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

fn actor(name: &str, seat: &str, npc: bool) -> Actor {
    Actor {
        name: name.into(),
        seat: seat.into(),
        npc,
    }
}

fn journeys() -> Vec<Journey> {
    let objective = |sli: &str, objective, threshold_seconds| Objective {
        sli: sli.into(),
        objective,
        threshold_seconds,
        window: "30d".into(),
    };
    let journey = |name: &str, title, team: &str, objectives| Journey {
        name: name.into(),
        title,
        team: team.into(),
        objectives,
    };
    vec![
        journey(
            "read-timeline",
            text("タイムラインを読む", "Read the timeline"),
            "timeline",
            vec![
                objective("availability", 0.999, None),
                objective("latency", 0.95, Some(0.3)),
                objective("freshness", 0.99, Some(5.0)),
            ],
        ),
        journey(
            "post-message",
            text("投稿する", "Post a message"),
            "post",
            vec![
                objective("availability", 0.999, None),
                objective("latency", 0.95, Some(0.5)),
            ],
        ),
    ]
}

/// `sick` is 0 for the normal state, towards 1 for the worst.
fn point(at: Timestamp, sick: f64) -> JourneyPoint {
    let noise = |scale: f64| fastrand::f64() * scale;
    let sample = |weight: f64, freshness: bool| JourneySample {
        availability: Some(1.0 - noise(0.0008) - sick * weight * 0.04),
        latency_good: Some(0.99 - noise(0.01) - sick * weight * 0.3),
        p99: Some(0.12 + noise(0.03) + sick * weight * 1.9),
        freshness: freshness.then(|| 0.999 - noise(0.002) - sick * 0.35),
        budget_left: Some((0.94 - sick * weight * 0.75).max(-0.2)),
        requests_per_second: Some(if freshness { 180.0 } else { 18.0 } + noise(6.0)),
    };
    let journeys = BTreeMap::from([
        ("read-timeline".to_owned(), sample(1.0, true)),
        ("post-message".to_owned(), sample(0.15, false)),
    ]);
    JourneyPoint { at, journeys }
}

fn fill(host: &FakeHost, state: DrillState) {
    let now = Timestamp::now();
    let ago = |seconds: i64| now - SignedDuration::from_secs(seconds);
    let running = matches!(state, DrillState::Running | DrillState::Ended);
    {
        let mut s = host.state();
        s.view.state = state;
        s.view.started_at = running.then(|| ago(512));
        s.view.ended_at = (state == DrillState::Ended).then_some(now);
        s.view.briefing = text(
            "あなたたちは Chirpy の当番です。Chirpy は短いメッセージを投稿し、フォローした人のタイムラインを読むサービスです。\
             今日は利用者が多く、広報からは「最近タイムラインの反応が遅いときがある」と聞いています。",
            "You are on call for Chirpy, where people post short messages and read the timelines of those they follow. \
             Traffic is high today, and support has heard that timelines are slow at times.",
        );
        s.view.goals = vec![
            text(
                "症状（CPU）と原因を見分ける",
                "Tell a symptom (CPU) from its cause",
            ),
            text("若手 2 人と一緒に指揮を執る", "Command with two juniors"),
            text(
                "暫定復旧と根本対応を分けて考える",
                "Keep mitigation and the real fix apart",
            ),
        ];
        if state == DrillState::Preparing {
            s.view.progress = text("31 個の Pod のうち 24 個が Ready です", "24 of 31 pods are ready");
        }
        s.view.people = vec![
            actor("pika7", "commander", false),
            actor("mame3", "operator", false),
            actor("sora22", "stakeholder", true),
            actor("cs1", "stakeholder", true),
        ];
        s.view.suggestions = [
            "kubectl get pods",
            "kubectl top pods",
            "kubectl logs -l app=timeline-service --since=5m",
            "redis-cli cluster info",
        ]
        .map(str::to_owned)
        .to_vec();
        s.outputs.insert("get pods".into(), PODS.into());
        s.series = JourneySeries {
            journeys: journeys(),
            points: (0..300)
                .map(|i| {
                    let back = 600 - i * 2;
                    let sick = if running {
                        ((i - 150) as f64 / 60.0).clamp(0.0, 1.0)
                    } else {
                        0.0
                    };
                    point(ago(back), sick)
                })
                .collect(),
        };
        s.budgets = Some(Arc::new(made_budgets::budgets(now)));
        s.score = Some(serde_json::json!({
            "points": 35, "of": 60,
            "lines": [
                {"name": "acknowledge", "points": 15, "of": 20, "seqs": [],
                 "reason_en": "Acknowledged 42 s after the alert.", "reason_ja": "発報から 42 秒で検知しました。"},
                {"name": "commander", "points": 20, "of": 20, "seqs": [],
                 "reason_en": "Commander named 65 s after the alert.", "reason_ja": "発報から 65 秒で指揮官が決まりました。"},
                {"name": "hypothesis", "points": 0, "of": 20, "seqs": [],
                 "reason_en": "The deployment was scaled before any hypothesis was checked.",
                 "reason_ja": "仮説を確かめる前に Deployment を増やしました。"}
            ]
        }));
        s.documents = Some("# ポストモーテム: 一部のタイムラインが更新されない\n\n## サマリ\n\n…\n".into());
    }
    host.add_at(
        ago(560),
        EventKind::SystemReady {
            pods: 31,
            seconds: 21.0,
        },
    );
    if !running {
        return;
    }
    let pika = || actor("pika7", "commander", false);
    let mame = || actor("mame3", "operator", false);
    let say = |at, actor, text: &str| {
        host.add_at(
            ago(at),
            EventKind::Message {
                actor,
                text: text.into(),
                text_ja: None,
                cue: None,
            },
        );
    };
    host.add_at(ago(500), EventKind::SeatTaken { actor: pika() });
    host.add_at(
        ago(490),
        EventKind::FaultInjected {
            name: "slow-shard".into(),
            object: "NetworkChaos/slow-shard".into(),
        },
    );
    say(
        470,
        pika(),
        "よろしくお願いします！平常時の p99 は 120ms くらいですね",
    );
    host.add_at(
        ago(300),
        EventKind::AlertFired {
            fingerprint: "a1".into(),
            name: "ReadTimelineFreshnessBudgetBurn".into(),
            severity: "critical".into(),
            summary: "Timelines are not fresh: 34% of reads older than 5s, burning budget 34x".into(),
            labels: BTreeMap::new(),
        },
    );
    host.add_at(
        ago(285),
        EventKind::AlertFired {
            fingerprint: "a2".into(),
            name: "ReadTimelineLatencyBudgetBurn".into(),
            severity: "warning".into(),
            summary: "Read the timeline: 69% within 300ms (objective 95%)".into(),
            labels: BTreeMap::new(),
        },
    );
    host.add_at(
        ago(258),
        EventKind::Acknowledged {
            actor: mame(),
            fingerprint: Some("a1".into()),
        },
    );
    host.add_at(
        ago(235),
        EventKind::CommanderAssigned {
            by: pika(),
            name: "pika7".into(),
        },
    );
    host.add_at(
        ago(230),
        EventKind::TaskAssigned {
            by: pika(),
            name: "mame3".into(),
            text: "timeline-service のログを見てもらえますか".into(),
            text_ja: None,
        },
    );
    host.add_at(
        ago(200),
        EventKind::Message {
            actor: actor("sora22", "stakeholder", true),
            text: "Users say their timelines are stuck. What is going on?".into(),
            text_ja: Some("「タイムラインが止まってる」って声が来てます。いま何が起きてますか？".into()),
            cue: Some("sora22/0".into()),
        },
    );
    host.add_at(
        ago(180),
        EventKind::ImpactStated {
            actor: pika(),
            text: "約 3 割の利用者で新しい投稿がタイムラインに出ていません。投稿自体はできています".into(),
            text_ja: None,
        },
    );
    host.add_at(
        ago(150),
        EventKind::CommandRun {
            actor: mame(),
            command: "kubectl top pods -l app=timeline-service".into(),
            mutating: false,
            source: "console".into(),
            exit_code: Some(0),
            output: "NAME                                CPU(cores)   MEMORY(bytes)\ntimeline-service-6c9d7f8b4-abcde    912m         143Mi\n".into(),
            seconds: 0.2,
            step: None,
        },
    );
    host.add_at(
        ago(140),
        EventKind::HypothesisProposed {
            actor: mame(),
            text: "timeline-service の CPU 不足。replicas を増やして p99 が戻るか見る".into(),
            text_ja: None,
        },
    );
    host.add_at(
        ago(120),
        EventKind::CommandRun {
            actor: mame(),
            command: "kubectl scale deployment timeline-service --replicas=10".into(),
            mutating: true,
            source: "audit".into(),
            exit_code: Some(0),
            output: String::new(),
            seconds: 0.2,
            step: None,
        },
    );
    host.add_at(
        ago(90),
        EventKind::StatusPosted {
            actor: pika(),
            text: "タイムラインの更新が一部止まっています。原因を調査中です".into(),
            text_ja: None,
            eta_minutes: Some(10),
        },
    );
    host.add_at(
        ago(60),
        EventKind::HintGiven {
            number: 1,
            text: "Who does timeline-service wait for?".into(),
            text_ja: "timeline-service は、誰を待っているのでしょう？".into(),
        },
    );
    if state == DrillState::Ended {
        host.add_at(
            ago(40),
            EventKind::MitigationDeclared {
                actor: pika(),
                text: "リトライに上限を設け、接続を絞りました".into(),
                text_ja: None,
            },
        );
        host.add_at(
            ago(20),
            EventKind::AlertResolved {
                fingerprint: "a1".into(),
                name: "ReadTimelineFreshnessBudgetBurn".into(),
                summary: "Timelines are fresh again".into(),
            },
        );
        host.add_at(
            ago(10),
            EventKind::ResolvedDeclared {
                actor: pika(),
                text: "同じ遅延を再現しても接続が溢れないことを確認しました".into(),
                text_ja: None,
            },
        );
        host.add_at(
            ago(5),
            EventKind::OracleChecked {
                green: true,
                reasons: vec!["all journeys within SLO for 60s".into()],
            },
        );
        host.add_at(
            ago(1),
            EventKind::DrillEnded {
                reason: "resolved".into(),
            },
        );
    }
}

const PODS: &str = "\
NAME                                READY   STATUS    RESTARTS   AGE
auth-service-7d4b9c6f5-2xkqp        1/1     Running   0          9m
chirpy-server-5f6d8b7c9-4mznt       1/1     Running   0          9m
redis-cluster-0                     1/1     Running   0          9m
redis-cluster-1                     1/1     Running   0          9m
redis-cluster-2                     1/1     Running   0          9m
timeline-service-6c9d7f8b4-abcde    1/1     Running   0          9m
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let state = match std::env::args().nth(1).as_deref() {
        Some("preparing") => DrillState::Preparing,
        Some("briefing") => DrillState::Briefing,
        Some("ended") => DrillState::Ended,
        _ => DrillState::Running,
    };
    let host = Arc::new(FakeHost::new("demo"));
    fill(&host, state);
    let (alerts, mut received) = tokio::sync::mpsc::unbounded_channel();
    let config = WebConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        tls: None,
        invites: Invites {
            participant: "guest".into(),
            host: "host".into(),
        },
        cookie_key: [1; 32],
        alert_token: "alerts".into(),
        alerts,
        lang_default: Lang::En,
    };
    let shutdown = CancellationToken::new();
    let handle = serve(config, Arc::clone(&host) as _, shutdown.clone()).await?;
    writeln!(std::io::stdout(), "{}", handle.join_url("host"))?;
    let mut tick = tokio::time::interval(Duration::from_secs(2));
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let sick = if matches!(host.state().view.state, DrillState::Running) { 0.9 } else { 0.0 };
                host.state().series.points.push(point(Timestamp::now(), sick));
                host.state().budgets = Some(Arc::new(made_budgets::budgets(Timestamp::now())));
            }
            Some(alert) = received.recv() => {
                let kind = if alert.firing {
                    EventKind::AlertFired {
                        fingerprint: alert.fingerprint,
                        name: alert.name,
                        severity: alert.severity,
                        summary: alert.summary,
                        labels: alert.labels,
                    }
                } else {
                    EventKind::AlertResolved { fingerprint: alert.fingerprint, name: alert.name, summary: alert.summary }
                };
                host.add(kind);
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    shutdown.cancel();
    handle.task.await?;
    Ok(())
}
