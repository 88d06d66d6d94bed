//! log-shipper: takes the services' log lines and brings them to the search engine's `chirpy-logs` index, a portion at a time.
//! What comes faster than that waits in a buffer, whose kind and size decide what is lost.

mod buffer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::{Value, json};

use crate::search::{Bulk, Engine, LOGS};
use crate::service::{Labels, Service, parse_env};
use buffer::{Buffer, Portion};

struct Shipper {
    buffer: Mutex<Buffer>,
    lines: Family<Labels, Counter>,
}

impl Shipper {
    fn count(&self, outcome: &str, lines: usize) {
        let labels = vec![("outcome", outcome.to_owned())];
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        self.lines.get_or_create(&labels).inc_by(lines);
    }

    fn buffer(&self) -> std::sync::MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the role.
///
/// # Errors
/// Wrong configuration, a buffer's folder that cannot be used, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let mut service = Service::new("log-shipper");
    let shipper = Arc::new(Shipper {
        buffer: Mutex::new(Buffer::from_env()?),
        lines: service.counter("lines", "Log lines by what became of them"),
    });
    // Zeros are said too: who looks for what is lost must find the name.
    for outcome in ["received", "shipped", "dropped"] {
        shipper.count(outcome, 0);
    }
    let every = Duration::from_millis(parse_env("LOG_SHIP_INTERVAL_MS", 1000)?);
    let portion = parse_env("LOG_SHIP_LINES", 500)?;
    tokio::spawn(ship(shipper.clone(), Engine::from_env()?, every, portion));
    service.ready_now();
    let routes = Router::new().route("/lines", post(take)).with_state(shipper);
    service.serve(routes).await
}

/// Lines of JSON, accepted whatever becomes of them.
async fn take(State(shipper): State<Arc<Shipper>>, lines: String) -> StatusCode {
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    let (mut received, mut dropped) = (0, 0);
    let mut buffer = shipper.buffer();
    for line in lines {
        received += 1;
        dropped += buffer.push(line);
    }
    drop(buffer);
    shipper.count("received", received);
    shipper.count("dropped", dropped);
    StatusCode::ACCEPTED
}

/// A portion at a time, for as long as the process lives.
async fn ship(shipper: Arc<Shipper>, engine: Engine, every: Duration, most: usize) {
    let mut failing = false;
    loop {
        tokio::time::sleep(every).await;
        let Some(portion) = shipper.buffer().portion(most) else {
            continue;
        };
        match deliver(&engine, &portion).await {
            Ok(()) => {
                failing = false;
                shipper.count("shipped", portion.lines.len());
                shipper.buffer().delivered(&portion);
            }
            // At debug, as the program that this one stands for has it: nobody saw it lose lines for a week.
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::debug!(error = %format!("{error:#}"), "Log lines wait");
            }
            Err(_) => {}
        }
    }
}

/// Each line has an id of its own, so that a portion that is sent twice is stored once.
async fn deliver(engine: &Engine, portion: &Portion) -> anyhow::Result<()> {
    engine.create_logs().await?;
    let mut bulk = Bulk::default();
    for (id, line) in &portion.lines {
        // What is no JSON is a message.
        let document = serde_json::from_str(line).ok().filter(Value::is_object);
        bulk.index(LOGS, id, &document.unwrap_or_else(|| json!({ "msg": line })));
    }
    Ok(engine.bulk(&bulk).await?)
}
