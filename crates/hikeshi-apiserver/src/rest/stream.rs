//! log, exec and attach: streams from the kubelet.
//!
//! exec and attach speak Kubernetes' websocket protocol (`v5.channel.k8s.io`, `v4.channel.k8s.io`): the first byte of a
//! message is its channel; v5 adds channel 255, which closes the channel named by the next byte. v4 has no such thing: here
//! an empty message on channel 0 ends standard input, so that `cat` and `tar` behind a v4 client can come to their end.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::app::App;
use crate::kubelet::{ExecIo, ExecOptions, KubeletError, LogOptions, TerminalIo};
use crate::request::Call;
use crate::status::{ApiError, ApiResult};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

const V4: &str = "v4.channel.k8s.io";

pub(super) fn pod(app: &App, call: &Call) -> ApiResult<Arc<Value>> {
    app.store
        .get("pods", call.ns(), call.name())
        .ok_or_else(|| ApiError::not_found(&call.resource, call.name()))
}

/// The container meant: the one named, kubectl's default annotation, or the only one.
fn container(pod: &Value, asked: &str) -> ApiResult<String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers
            .filter_map(|c| c["name"].as_str().map(str::to_owned))
            .collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    if !asked.is_empty() {
        let known = main.iter().chain(&init).any(|c| c == asked);
        let refuse = || ApiError::bad_request(format!("container {asked} is not valid for pod {name}"));
        return if known {
            Ok(asked.to_owned())
        } else {
            Err(refuse())
        };
    }
    match main.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            main.join(" ")
        ))),
    }
}

pub(super) async fn log(app: &App, call: &Call) -> ApiResult<Response> {
    let pod = pod(app, call)?;
    let params = &call.params;
    let ago = params
        .number("sinceSeconds")?
        .map(|s| SignedDuration::from_secs(s.min(1 << 40).cast_signed()));
    let since = match (ago, params.get("sinceTime")) {
        (Some(ago), _) => Some(Timestamp::now().saturating_sub(ago).unwrap_or(Timestamp::MIN)),
        (None, "") => None,
        (None, time) => Some(
            time.parse()
                .map_err(|e| ApiError::bad_request(format!("sinceTime: {e}")))?,
        ),
    };
    let options = LogOptions {
        container: container(&pod, params.get("container"))?,
        follow: params.flag("follow"),
        previous: params.flag("previous"),
        since,
        tail_lines: params.number("tailLines")?,
        timestamps: params.flag("timestamps"),
        limit_bytes: params.number("limitBytes")?,
    };
    let stream = app.kubelet.logs(&pod, options).await?;
    let body = Body::from_stream(stream.take_until(app.shutdown.clone().cancelled_owned()));
    Ok(([(http::header::CONTENT_TYPE, "text/plain")], body).into_response())
}

async fn upgrade(parts: Parts) -> ApiResult<WebSocketUpgrade> {
    let mut parts = parts;
    let asks = parts
        .headers
        .get(http::header::UPGRADE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    if !asks.eq_ignore_ascii_case("websocket") {
        let message = "unable to upgrade: only websocket (v5.channel.k8s.io, v4.channel.k8s.io) is served; \
             use kubectl 1.30 or newer";
        return Err(ApiError::bad_request(message));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|e| ApiError::bad_request(format!("unable to upgrade: {e}")))?
        .protocols(["v5.channel.k8s.io", V4]);
    if upgrade.selected_protocol().is_none() {
        return Err(ApiError::bad_request(
            "unable to upgrade: v5.channel.k8s.io or v4.channel.k8s.io is needed",
        ));
    }
    Ok(upgrade)
}

fn is_v4(upgrade: &WebSocketUpgrade) -> bool {
    upgrade.selected_protocol().is_some_and(|protocol| protocol == V4)
}

pub(super) async fn exec(app: &App, call: &Call, parts: Parts) -> ApiResult<Response> {
    let pod = pod(app, call)?;
    let params = &call.params;
    let options = ExecOptions {
        container: container(&pod, params.get("container"))?,
        command: params.all("command"),
        tty: params.flag("tty"),
    };
    if options.command.is_empty() {
        return Err(ApiError::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    let wants_stdin = params.flag("stdin");
    let upgrade = upgrade(parts).await?;
    let empty_ends = is_v4(&upgrade);
    let (kubelet, shutdown) = (Arc::clone(&app.kubelet), app.shutdown.clone());
    Ok(upgrade.on_upgrade(move |socket| async move {
        let tty = options.tty;
        let (stdin_send, stdin) = mpsc::channel(64);
        let (resize_send, resize) = mpsc::channel(8);
        let (stdout, stdout_receive) = mpsc::channel(64);
        let (stderr, stderr_receive) = mpsc::channel(64);
        let io = ExecIo {
            stdin: wants_stdin.then_some(stdin),
            stdout,
            stderr,
            resize: tty.then_some(resize),
        };
        let run = async move { kubelet.exec(&pod, options, io).await };
        let input = Input {
            stdin: wants_stdin.then_some(stdin_send),
            empty_ends,
            resize: tty.then_some(resize_send),
        };
        tokio::select! {
            () = converse(socket, run, input, stdout_receive, stderr_receive) => {}
            () = shutdown.cancelled() => {}
        }
    }))
}

/// Where the client's bytes go.
struct Input {
    stdin: Option<mpsc::Sender<Bytes>>,
    /// The client has no other way to end its standard input (v4).
    empty_ends: bool,
    resize: Option<mpsc::Sender<(u16, u16)>>,
}

/// Carries the streams until the command ends and its output is through, or the client goes away.
async fn converse(
    socket: WebSocket,
    run: impl Future<Output = Result<i32, KubeletError>>,
    mut input: Input,
    mut stdout: mpsc::Receiver<Bytes>,
    mut stderr: mpsc::Receiver<Bytes>,
) {
    let (mut send, mut receive) = socket.split();
    let reading = async {
        while let Some(Ok(message)) = receive.next().await {
            if let Message::Binary(bytes) = message {
                feed(&mut input, bytes).await;
            }
        }
    };
    let writing = async {
        let mut run = std::pin::pin!(run);
        let mut result = None;
        let (mut out_open, mut err_open) = (true, true);
        while result.is_none() || out_open || err_open {
            let sent = tokio::select! {
                ended = &mut run, if result.is_none() => {
                    result = Some(ended);
                    Ok(())
                }
                chunk = stdout.recv(), if out_open => match chunk {
                    Some(bytes) => frame(&mut send, STDOUT, &bytes).await,
                    None => { out_open = false; Ok(()) }
                },
                chunk = stderr.recv(), if err_open => match chunk {
                    Some(bytes) => frame(&mut send, STDERR, &bytes).await,
                    None => { err_open = false; Ok(()) }
                },
            };
            if sent.is_err() {
                return;
            }
        }
        if let Some(result) = result {
            let status = outcome(result).to_string();
            // A client that has gone cannot be told; nothing else depends on it.
            let _ = frame(&mut send, ERROR, status.as_bytes()).await;
            let end = CloseFrame {
                code: close_code::NORMAL,
                reason: Utf8Bytes::default(),
            };
            let _ = send.send(Message::Close(Some(end))).await;
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}

async fn feed(input: &mut Input, bytes: Bytes) {
    let Some((channel, data)) = bytes.split_first() else {
        return;
    };
    match *channel {
        STDIN => {
            if data.is_empty() {
                if input.empty_ends {
                    input.stdin = None;
                }
                return;
            }
            if let Some(stdin) = &input.stdin
                && stdin.send(bytes.slice(1..)).await.is_err()
            {
                input.stdin = None;
            }
        }
        RESIZE => {
            let size: Option<Value> = serde_json::from_slice(data).ok();
            let side = |key: &str| {
                size.as_ref()
                    .and_then(|s| s[key].as_u64())
                    .and_then(|n| u16::try_from(n).ok())
            };
            if let (Some(columns), Some(rows), Some(resize)) = (side("Width"), side("Height"), &input.resize)
            {
                // A window that changes faster than the program looks loses steps in between.
                let _ = resize.try_send((columns, rows));
            }
        }
        CLOSE if data.first() == Some(&STDIN) => input.stdin = None,
        _ => {}
    }
}

async fn frame(
    send: &mut SplitSink<WebSocket, Message>,
    channel: u8,
    bytes: &[u8],
) -> Result<(), axum::Error> {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.put_slice(bytes);
    send.send(Message::Binary(message.freeze())).await
}

/// The Status on the error channel.
fn outcome(result: Result<i32, KubeletError>) -> Value {
    match result {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(error) => ApiError::from(error).status(),
    }
}

/// What a container's spec says of its streams.
struct Spoken {
    stdin: bool,
    /// The first to attach is the last.
    once: bool,
    tty: bool,
}

fn spoken(pod: &Value, container: &str) -> Spoken {
    let spec = &pod["spec"];
    let lists = ["containers", "initContainers"].map(|list| spec[list].as_array().into_iter().flatten());
    let found = lists.into_iter().flatten().find(|c| c["name"] == container);
    let flag = |name: &str| found.is_some_and(|c| c[name] == true);
    Spoken {
        stdin: flag("stdin"),
        once: flag("stdinOnce"),
        tty: flag("tty"),
    }
}

/// Attaches to a container: its output from now on, and its standard input where it has one.
pub(super) async fn attach(app: &App, call: &Call, parts: Parts) -> ApiResult<Response> {
    let pod = pod(app, call)?;
    let container = container(&pod, call.params.get("container"))?;
    let wants_stdin = call.params.flag("stdin");
    let spoken = spoken(&pod, &container);
    if wants_stdin && !spoken.stdin {
        return Err(ApiError::bad_request(format!(
            "container {container} did not allocate a standard input: its spec does not say stdin: true"
        )));
    }
    if call.params.flag("tty") && !spoken.tty {
        return Err(ApiError::bad_request(format!(
            "container {container} did not allocate a terminal: its spec does not say tty: true"
        )));
    }
    let upgrade = upgrade(parts).await?;
    let empty_ends = is_v4(&upgrade);
    let (kubelet, shutdown) = (Arc::clone(&app.kubelet), app.shutdown.clone());
    Ok(upgrade.on_upgrade(move |socket| async move {
        let (stdin_send, stdin) = mpsc::channel(64);
        let (resize_send, resize) = mpsc::channel(8);
        let (stdout, stdout_receive) = mpsc::channel(64);
        let (stderr, stderr_receive) = mpsc::channel::<Bytes>(1);
        drop(stderr);
        let run = async move {
            if spoken.tty {
                let io = TerminalIo {
                    stdin: wants_stdin.then_some(stdin),
                    stdout,
                    resize: Some(resize),
                };
                return kubelet.attach_terminal(&pod, &container, io).await.map(|()| 0);
            }
            let options = LogOptions {
                container: container.clone(),
                follow: true,
                // A container made for one person (`kubectl run -i`) waits for them: they see it from its beginning.
                tail_lines: (!(wants_stdin && spoken.once)).then_some(0),
                ..LogOptions::default()
            };
            let mut lines = kubelet.logs(&pod, options).await?;
            if wants_stdin {
                kubelet.attach(&pod, &container, stdin).await?;
            }
            while let Some(Ok(bytes)) = lines.next().await {
                if stdout.send(bytes).await.is_err() {
                    break;
                }
            }
            Ok(0)
        };
        let input = Input {
            stdin: wants_stdin.then_some(stdin_send),
            empty_ends,
            resize: spoken.tty.then_some(resize_send),
        };
        tokio::select! {
            () = converse(socket, run, input, stdout_receive, stderr_receive) => {}
            () = shutdown.cancelled() => {}
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_must_be_named_when_there_are_two() {
        let pod = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|n| json!({"name": n})).collect();
            json!({"metadata": {"name": "x"}, "spec": {"containers": list}})
        };
        assert_eq!(container(&pod(&["a"]), "").unwrap(), "a");
        assert!(
            container(&pod(&["a", "b"]), "")
                .unwrap_err()
                .message
                .contains("choose one of: [a b]")
        );
        assert!(container(&pod(&["a"]), "z").is_err());
    }

    #[tokio::test]
    async fn an_empty_message_ends_the_input_of_a_client_that_has_no_other_way() {
        for (empty_ends, end) in [(true, &[STDIN][..]), (false, &[CLOSE, STDIN][..])] {
            let (send, mut stdin) = mpsc::channel(8);
            let mut input = Input {
                stdin: Some(send),
                empty_ends,
                resize: None,
            };
            feed(&mut input, Bytes::from_static(b"\0typed")).await;
            if !empty_ends {
                feed(&mut input, Bytes::from_static(&[STDIN])).await;
                assert!(input.stdin.is_some());
            }
            feed(&mut input, Bytes::copy_from_slice(end)).await;
            assert_eq!(stdin.recv().await.as_deref(), Some(&b"typed"[..]));
            assert_eq!(stdin.recv().await, None, "{end:?}");
        }
    }

    #[test]
    fn exit_codes_travel_in_a_cause() {
        assert_eq!(outcome(Ok(7))["details"]["causes"][0]["message"], "7");
        assert_eq!(outcome(Ok(0))["status"], "Success");
    }
}
