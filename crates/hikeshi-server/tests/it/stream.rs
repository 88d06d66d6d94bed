use futures::StreamExt;
use hikeshi_drill::event::{Actor, EventKind};
use hikeshi_server::api::DrillState;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use crate::world::{PARTICIPANT, PATIENCE, world};

fn message(text: &str) -> EventKind {
    let actor = Actor {
        name: "sora".into(),
        seat: "stakeholder".into(),
        npc: true,
    };
    EventKind::Message {
        actor,
        text: text.into(),
        text_ja: None,
        cue: None,
    }
}

/// Reads server-sent events one by one: `(event name, id, data)`.
struct Reader {
    body: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    rest: String,
}

impl Reader {
    fn new(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.bytes_stream().boxed(),
            rest: String::new(),
        }
    }

    /// None at the end of the stream.
    async fn next(&mut self) -> Option<(String, String, String)> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| {
                    let prefix = format!("{name}:");
                    let found = block.lines().find_map(|l| l.strip_prefix(&prefix));
                    found.unwrap_or_default().trim().to_owned()
                };
                let found = (field("event"), field("id"), field("data"));
                self.rest = rest.to_owned();
                if !found.2.is_empty() {
                    return Some(found);
                }
            } else {
                let chunk = tokio::time::timeout(PATIENCE, self.body.next())
                    .await
                    .expect("no event came")?;
                self.rest.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
            }
        }
    }

    async fn event(&mut self) -> Value {
        let (_, id, data) = self.next().await.expect("the stream ended");
        let event: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(id, event["seq"].to_string());
        event
    }
}

#[tokio::test]
async fn past_and_coming_events_arrive_once_and_in_order() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let mut reader = Reader::new(pika.get("/api/drills/d1/stream").await);
    assert_eq!(reader.event().await["kind"], "drill_started");
    assert_eq!(reader.event().await["kind"], "seat_taken");
    world.host.add(message("one"));
    assert_eq!(reader.event().await["text"], "one");
    // More than the broadcast keeps: what was missed is read from the log.
    for i in 0..200 {
        world.host.add(message(&format!("m{i}")));
    }
    for i in 0..200 {
        let event = reader.event().await;
        assert_eq!(
            (event["seq"].as_u64().unwrap(), event["text"].as_str().unwrap()),
            (i + 4, format!("m{i}").as_str())
        );
    }
}

#[tokio::test]
async fn a_browser_that_was_away_resumes_after_its_last_event() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    for text in ["a", "b", "c"] {
        world.host.add(message(text));
    }
    let request = pika
        .request(Method::GET, "/api/drills/d1/stream")
        .header("last-event-id", "4");
    let mut reader = Reader::new(request.send().await.unwrap());
    assert_eq!(reader.event().await["text"], "c");
    let mut reader = Reader::new(pika.get("/api/drills/d1/stream?after=3").await);
    assert_eq!(reader.event().await["text"], "b");
    assert_eq!(
        pika.get_json("/api/drills/d1/events?after=4")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        pika.get("/api/drills/none/stream").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_answer_is_hidden_until_the_end() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let mut reader = Reader::new(pika.get("/api/drills/d1/stream?after=2").await);
    world.host.add(EventKind::FaultInjected {
        name: "slow".into(),
        object: "NetworkChaos/slow".into(),
    });
    world.host.add(message("after the fault"));
    assert_eq!(reader.event().await["text"], "after the fault");
    let seen = pika.get("/api/drills/d1/events").await.text().await.unwrap();
    assert!(!seen.contains("NetworkChaos"));
    world.host.state().view.state = DrillState::Ended;
    let seen = pika.get("/api/drills/d1/events").await.text().await.unwrap();
    assert!(seen.contains("NetworkChaos"));
}

#[tokio::test]
async fn the_next_drill_ends_the_stream() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let mut reader = Reader::new(pika.get("/api/drills/d1/stream?after=2").await);
    world.host.add(EventKind::DrillStarted {
        drill: "d2".into(),
        scenario: "x".into(),
        system: "chirpy".into(),
        slo_clock: 1.0,
        rehearsal: false,
        seed: 1,
    });
    assert_eq!(
        reader.next().await,
        Some(("next".into(), String::new(), "d2".into()))
    );
    assert_eq!(reader.next().await, None);
}
