//! The channel form: port `i` has data on channel `2i` and errors on `2i + 1`. Each channel's first message holds only
//! the port (two bytes, little endian). There is no half-close: the end of the websocket is the end of every connection.

use axum::extract::ws::{Message, WebSocket};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Dial;

const CHUNK: usize = 32 << 10;

pub(super) async fn serve(socket: WebSocket, dial: Dial, ports: Vec<u16>) {
    let (mut send, mut receive) = socket.split();
    let (out, mut frames) = mpsc::channel::<Bytes>(64);
    let mut inputs = Vec::new();
    let mut connections = JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        let data = 2 * u8::try_from(index).unwrap_or(u8::MAX / 2);
        let (input, bytes) = mpsc::channel(16);
        inputs.push(Some(input));
        connections.spawn(one(dial.clone(), port, data, bytes, out.clone()));
    }
    drop(out);
    let reading = async {
        while let Some(Ok(message)) = receive.next().await {
            let Message::Binary(bytes) = message else { continue };
            let Some(channel) = bytes.first() else { continue };
            let Some(slot) = inputs.get_mut(usize::from(channel / 2)) else {
                continue;
            };
            // Nothing is expected on the error channels.
            if channel % 2 == 0
                && let Some(input) = slot
                && input.send(bytes.slice(1..)).await.is_err()
            {
                *slot = None;
            }
        }
    };
    let writing = async {
        while let Some(frame) = frames.recv().await {
            if send.send(Message::Binary(frame)).await.is_err() {
                return;
            }
        }
        // Every connection has ended. A client that has gone already needs no goodbye.
        let _ = send.send(Message::Close(None)).await;
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

fn frame(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.put_slice(bytes);
    message.freeze()
}

/// One connection; it ends when the pod has said all it wants to.
async fn one(dial: Dial, port: u16, data: u8, mut input: mpsc::Receiver<Bytes>, out: mpsc::Sender<Bytes>) {
    let error = data + 1;
    for channel in [data, error] {
        if out.send(frame(channel, &port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    let stream = match dial.open(port).await {
        Ok(stream) => stream,
        Err(message) => {
            // The client may have gone meanwhile.
            let _ = out.send(frame(error, message.as_bytes())).await;
            return;
        }
    };
    let (mut from_pod, mut to_pod) = stream.into_split();
    let writing = async {
        while let Some(bytes) = input.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from_pod.read(&mut buffer).await {
            if out.send(frame(data, &buffer[..count])).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
