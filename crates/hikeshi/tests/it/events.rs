//! The drill's event stream, as the page follows it.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tokio::sync::watch;

use crate::room::Room;

/// Every event so far, kept up to date in the background until dropped.
pub struct Events {
    seen: watch::Receiver<Vec<Value>>,
    task: tokio::task::JoinHandle<()>,
}

impl Events {
    /// Follows from the drill's beginning.
    pub async fn follow(room: &Room, drill: &str) -> Self {
        let request = room
            .request(&format!("/api/drills/{drill}/stream"))
            .timeout(Duration::from_secs(3600));
        let answer = request.send().await.expect("the stream opens");
        assert!(answer.status().is_success(), "the stream: {}", answer.status());
        let (tell, seen) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let (mut bytes, mut rest) = (answer.bytes_stream(), Vec::new());
            // The stream ends when control does.
            while let Some(Ok(piece)) = bytes.next().await {
                rest.extend_from_slice(&piece);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    if let Some(event) = line
                        .strip_prefix(b"data:")
                        .and_then(|data| serde_json::from_slice(data).ok())
                    {
                        tell.send_modify(|events| events.push(event));
                    }
                }
            }
        });
        Self { seen, task }
    }

    /// The first event, now or later, for which `so` holds.
    pub async fn wait(&mut self, what: &str, limit: Duration, so: impl Fn(&Value) -> bool) -> Value {
        let waited = tokio::time::timeout(limit, self.seen.wait_for(|events| events.iter().any(&so))).await;
        // What was found is copied at once: a borrowed value keeps the follower from writing.
        let found = waited
            .ok()
            .and_then(Result::ok)
            .and_then(|events| events.iter().find(|event| so(event)).cloned());
        found.unwrap_or_else(|| {
            let events = self.seen.borrow();
            let told = events.iter().filter(|event| event["kind"] != "sample");
            let last: Vec<&Value> = told.rev().take(5).collect();
            panic!("{what}: no such event within {limit:?}; the newest are {last:#?}")
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every event that is on disk, in order.
pub fn on_disk(home: &std::path::Path, drill: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(home.join("drills").join(drill).join("events.jsonl"))
        .expect("the drill's log");
    // A line that is being written has no end yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).expect("a whole event"))
        .collect()
}

pub fn assert_gapless(events: &[Value]) {
    for (index, event) in events.iter().enumerate() {
        assert_eq!(
            event["seq"].as_u64(),
            Some(index as u64 + 1),
            "a gap before {event}"
        );
    }
}

pub fn is_command(event: &Value, by: &str, part: &str) -> bool {
    event["kind"] == "command_run"
        && event["actor"]["name"] == by
        && event["command"]
            .as_str()
            .is_some_and(|command| command.contains(part))
}
