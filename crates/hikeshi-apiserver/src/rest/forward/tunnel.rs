//! kubectl's form. Per connection the client opens two SPDY streams with the same `requestid`: an error stream, whose half
//! it closes at once, and a data stream. A failure is a text on the error stream; the error stream's end says that the
//! connection is over.
//!
//! The bytes come inside a websocket (kubectl 1.31 and newer) or as they are, after an upgrade to `SPDY/3.1` (1.30).
//! Flow control is the connection's: neither kubectl nor the kubelet honours SPDY's windows, so a WINDOW_UPDATE says nothing.

use std::collections::HashMap;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt, future};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::codec::{BytesCodec, Framed};

use super::Dial;
use crate::spdy::{
    Decoder, Encoder, Frame, HeaderList, INVALID_STREAM, PROTOCOL_ERROR, REFUSED_STREAM, SpdyError,
};

/// Data is passed on in pieces of this size.
const CHUNK: usize = 32 << 10;
/// Connections open at once through one tunnel.
const MAX_STREAMS: usize = 2048;

/// Carries connections until the client closes the websocket.
pub(super) async fn in_websocket(socket: WebSocket, dial: Dial) {
    let (send, receive) = socket.split();
    let bytes = receive
        .take_while(|message| future::ready(!matches!(message, Err(_) | Ok(Message::Close(_)))))
        .filter_map(|message| {
            future::ready(match message {
                Ok(Message::Binary(bytes)) => Some(bytes),
                _ => None,
            })
        });
    let frames = send.with(|bytes| future::ok::<_, axum::Error>(Message::Binary(bytes)));
    serve(bytes, frames, dial).await;
}

/// Carries connections until the client closes the connection.
pub(super) async fn bare(connection: impl AsyncRead + AsyncWrite + Unpin, dial: Dial) {
    let (send, receive) = Framed::new(connection, BytesCodec::new()).split();
    let bytes = receive
        .take_while(|read| future::ready(read.is_ok()))
        .filter_map(|read| future::ready(read.ok().map(Into::into)));
    serve(bytes, send, dial).await;
}

async fn serve(
    mut receive: impl Stream<Item = Bytes> + Unpin,
    mut send: impl Sink<Bytes> + Unpin,
    dial: Dial,
) {
    let (out, mut frames) = mpsc::channel::<Frame>(64);
    let mut session = Session {
        dial,
        out,
        streams: HashMap::new(),
        errors: HashMap::new(),
    };
    let reading = async {
        let mut decoder = Decoder::new();
        while let Some(bytes) = receive.next().await {
            decoder.push(&bytes);
            while let Some(frame) = decoder.next()? {
                if !session.take(frame).await {
                    return Ok(());
                }
            }
        }
        Ok::<(), SpdyError>(())
    };
    let writing = async {
        let mut encoder = Encoder::new();
        while let Some(frame) = frames.recv().await {
            let Ok(bytes) = encoder.encode(&frame) else { return };
            if send.send(bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        ended = reading => if let Err(error) = ended {
            tracing::debug!(%error, "a port-forward tunnel broke its protocol");
        },
        () = writing => {}
    }
    session.end();
}

/// An open data stream.
struct Connection {
    /// `None` once the client has closed its half.
    to_pod: Option<mpsc::Sender<Bytes>>,
    error_stream: u32,
    task: JoinHandle<()>,
}

struct Session {
    dial: Dial,
    out: mpsc::Sender<Frame>,
    streams: HashMap<u32, Connection>,
    /// Error streams that wait for their data stream, by `requestid`.
    errors: HashMap<String, u32>,
}

fn header<'a>(headers: &'a HeaderList, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

impl Session {
    /// Acts on one frame; `false` when the client has gone.
    async fn take(&mut self, frame: Frame) -> bool {
        match frame {
            Frame::SynStream { stream, headers, .. } => self.open(stream, &headers).await,
            Frame::Data { stream, fin, data } => self.data(stream, fin, data).await,
            Frame::RstStream { stream, .. } => self.reset(stream).await,
            // Odd numbers are the client's questions; even ones would answer ours, and we ask none.
            Frame::Ping { id } if id % 2 == 1 => self.send(Frame::Ping { id }).await,
            Frame::Headers {
                stream, fin: true, ..
            } => self.data(stream, true, Bytes::new()).await,
            // The client opens nothing more, but what is open goes on.
            Frame::GoAway { .. } => true,
            Frame::Ping { .. }
            | Frame::Headers { .. }
            | Frame::SynReply { .. }
            | Frame::WindowUpdate { .. }
            | Frame::Other { .. } => true,
        }
    }

    async fn send(&self, frame: Frame) -> bool {
        self.out.send(frame).await.is_ok()
    }

    async fn open(&mut self, stream: u32, headers: &HeaderList) -> bool {
        self.streams
            .retain(|_, connection| !connection.task.is_finished());
        let full = self.streams.len() + self.errors.len() >= MAX_STREAMS;
        let kind = header(headers, "streamtype");
        let port: Option<u16> = header(headers, "port")
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0);
        let request = header(headers, "requestid").unwrap_or_default().to_owned();
        let refuse = |status| Frame::RstStream { stream, status };
        let (Some(kind @ ("error" | "data")), Some(port)) = (kind, port) else {
            return self.send(refuse(PROTOCOL_ERROR)).await;
        };
        if full || self.streams.contains_key(&stream) {
            return self.send(refuse(REFUSED_STREAM)).await;
        }
        if kind == "error" {
            self.errors.insert(request, stream);
        } else {
            let Some(error_stream) = self.errors.remove(&request) else {
                return self.send(refuse(PROTOCOL_ERROR)).await;
            };
            let (to_pod, input) = mpsc::channel(16);
            let connection = carry(
                self.dial.clone(),
                port,
                stream,
                error_stream,
                input,
                self.out.clone(),
            );
            self.streams.insert(
                stream,
                Connection {
                    to_pod: Some(to_pod),
                    error_stream,
                    task: tokio::spawn(connection),
                },
            );
        }
        self.send(Frame::SynReply {
            stream,
            fin: false,
            headers: Vec::new(),
        })
        .await
    }

    async fn data(&mut self, stream: u32, fin: bool, data: Bytes) -> bool {
        let Some(connection) = self.streams.get_mut(&stream) else {
            let is_error = self.errors.values().any(|open| *open == stream);
            // The closed half of an error stream, whose connection may be over by now.
            return is_error
                || fin
                || self
                    .send(Frame::RstStream {
                        stream,
                        status: INVALID_STREAM,
                    })
                    .await;
        };
        if let Some(to_pod) = &connection.to_pod
            && !data.is_empty()
            && to_pod.send(data).await.is_err()
        {
            connection.to_pod = None;
        }
        if fin {
            connection.to_pod = None;
        }
        true
    }

    /// The client wants nothing more of a connection: it waits only for the error stream's end.
    async fn reset(&mut self, stream: u32) -> bool {
        self.errors.retain(|_, open| *open != stream);
        let Some(connection) = self.streams.remove(&stream) else {
            return true;
        };
        let over = connection.task.is_finished();
        connection.task.abort();
        over || self.send(end(connection.error_stream, Bytes::new())).await
    }

    fn end(self) {
        for connection in self.streams.into_values() {
            connection.task.abort();
        }
    }
}

fn end(stream: u32, data: Bytes) -> Frame {
    Frame::Data {
        stream,
        fin: true,
        data,
    }
}

/// One connection from its opening to its end, each direction closed by itself.
async fn carry(
    dial: Dial,
    port: u16,
    stream: u32,
    error_stream: u32,
    mut input: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Frame>,
) {
    let connection = match dial.open(port).await {
        Ok(connection) => connection,
        Err(message) => {
            // Sending fails only when the client has gone.
            let _ = out.send(end(error_stream, message.into())).await;
            let _ = out.send(end(stream, Bytes::new())).await;
            return;
        }
    };
    let (mut from_pod, mut to_pod) = connection.into_split();
    let writing = async {
        while let Some(bytes) = input.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The pod learns that the client has said all; it may have closed before.
        let _ = to_pod.shutdown().await;
    };
    let reading = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from_pod.read(&mut buffer).await {
            let data = Bytes::copy_from_slice(&buffer[..count]);
            let frame = Frame::Data {
                stream,
                fin: false,
                data,
            };
            if out.send(frame).await.is_err() {
                return;
            }
        }
        let _ = out.send(end(stream, Bytes::new())).await;
    };
    // A pod that has closed its side is done: what the client still says has no reader.
    tokio::select! {
        () = async { tokio::join!(writing, std::future::pending::<()>()); } => {}
        () = reading => {}
    }
    let _ = out.send(end(error_stream, Bytes::new())).await;
}
