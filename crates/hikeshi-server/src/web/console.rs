//! Console commands: one JSON object per line as output arrives, the last one says how it ended.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::App;
use super::session::Session;
use crate::api::{ApiError, ConsoleChunk};

/// Longest a command may run; a followed log is looked at for a while, not kept.
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// Most a command may print, bytes.
const OUTPUT_LIMIT: usize = 2 * 1024 * 1024;
const LINE_LIMIT: usize = 4096;

#[derive(Deserialize)]
pub(super) struct Line {
    line: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Part {
    Output(ConsoleChunk),
    /// The program ended by itself.
    Exit {
        exit: i32,
    },
    /// It was not run, or could not be.
    Error {
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_ja: Option<String>,
    },
    /// It was stopped here; the words say by which limit.
    Stopped {
        stopped: &'static str,
        stopped_ja: &'static str,
    },
}

impl From<ApiError> for Part {
    fn from(error: ApiError) -> Self {
        Self::Error {
            error: error.to_string(),
            error_ja: match error {
                ApiError::Refused { words, .. } => Some(words.ja),
                _ => None,
            },
        }
    }
}

const WENT_AWAY: [&str; 2] = ["the browser went away", "ブラウザが離れました"];
const TOO_MUCH: [&str; 2] = [
    "too much output: narrow it with -l, --tail or --since",
    "出力が多すぎます。-l、--tail、--since で絞ってください",
];
const TOO_LONG: [&str; 2] = [
    "the time limit of a console command, 5 minutes",
    "コンソールのコマンドの時間制限 (5 分) で止めました",
];
const ENDING: [&str; 2] = ["the server is stopping", "サーバーが終了します"];

pub(super) async fn run(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Json(Line { line }): Json<Line>,
) -> Result<Response, ApiError> {
    if line.len() > LINE_LIMIT {
        return Err(ApiError::Invalid(format!(
            "the line is longer than {LINE_LIMIT} bytes"
        )));
    }
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(64);
    tokio::spawn(async move { drive(app, &viewer, &line, sender).await });
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    Ok((
        [
            (header::CONTENT_TYPE, "application/x-ndjson"),
            (header::CACHE_CONTROL, "no-store"),
        ],
        body,
    )
        .into_response())
}

/// Passes output on until the program ends, the browser goes away or a limit is reached. Closing `chunks` is how the
/// host learns that it should stop the program; it is waited for, so that the command's record is complete.
async fn drive(
    app: Arc<App>,
    viewer: &crate::api::Viewer,
    line: &str,
    sender: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
) {
    if let Err(refused) = app.host.programs().resolve(line) {
        send(&sender, &ApiError::from(refused).into()).await;
        return;
    }
    let (out, mut chunks) = mpsc::channel(64);
    let mut running = std::pin::pin!(app.host.console(viewer, line, out));
    let deadline = tokio::time::sleep(RUN_LIMIT);
    let mut deadline = std::pin::pin!(deadline);
    let mut printed = 0;
    let mut result = None;
    let stopped = loop {
        tokio::select! {
            // Output first: what was printed before the end comes before the end.
            biased;
            chunk = chunks.recv() => match chunk {
                Some(chunk) => {
                    printed += chunk.text.len();
                    if !send(&sender, &Part::Output(chunk)).await {
                        break Some(WENT_AWAY);
                    }
                    if printed > OUTPUT_LIMIT {
                        break Some(TOO_MUCH);
                    }
                }
                // The host has let go of its end, and may still be writing the record.
                None => break None,
            },
            ended = &mut running, if result.is_none() => result = Some(ended),
            () = &mut deadline => break Some(TOO_LONG),
            () = sender.closed() => break Some(WENT_AWAY),
            () = app.shutdown.cancelled() => break Some(ENDING),
        }
    };
    drop(chunks);
    let result = match result {
        Some(result) => result,
        None => running.await,
    };
    let last = match (stopped, result) {
        (Some([stopped, stopped_ja]), _) => Part::Stopped { stopped, stopped_ja },
        (None, Ok(exit)) => Part::Exit { exit },
        (None, Err(error)) => error.into(),
    };
    send(&sender, &last).await;
}

async fn send(sender: &mpsc::Sender<Result<Bytes, std::convert::Infallible>>, part: &Part) -> bool {
    let mut line = match serde_json::to_vec(part) {
        Ok(line) => line,
        Err(error) => {
            tracing::error!(%error, "console output cannot be written as JSON");
            return false;
        }
    };
    line.push(b'\n');
    sender.send(Ok(line.into())).await.is_ok()
}
