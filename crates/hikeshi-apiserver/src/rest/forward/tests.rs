//! SPDY without a websocket, as kubectl 1.30 speaks it: what it asks for, and what passes.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::kubelet::{ExecIo, ExecOptions, KubeletError, LogOptions, NodeUsage, PodUsage, TerminalIo};
use crate::spdy::{Decoder, Encoder, Frame, HeaderList};

/// It only connects, to this machine's ports.
struct Ports;

#[async_trait]
impl Kubelet for Ports {
    async fn logs(
        &self,
        _: &Value,
        _: LogOptions,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, KubeletError> {
        unreachable!("no logs are asked for")
    }

    async fn exec(&self, _: &Value, _: ExecOptions, _: ExecIo) -> Result<i32, KubeletError> {
        unreachable!("nothing is run")
    }

    async fn attach(&self, _: &Value, _: &str, _: mpsc::Receiver<Bytes>) -> Result<(), KubeletError> {
        unreachable!("nobody attaches")
    }

    async fn attach_terminal(&self, _: &Value, _: &str, _: TerminalIo) -> Result<(), KubeletError> {
        unreachable!("nobody attaches")
    }

    async fn connect(&self, _: &Value, port: u16) -> Result<TcpStream, KubeletError> {
        let connected = TcpStream::connect(("127.0.0.1", port)).await;
        connected.map_err(|error| KubeletError {
            code: 500,
            reason: "InternalError".into(),
            message: error.to_string(),
        })
    }

    async fn pod_usage(&self) -> Vec<PodUsage> {
        Vec::new()
    }

    async fn node_usage(&self) -> Vec<NodeUsage> {
        Vec::new()
    }
}

struct Client {
    connection: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
}

impl Client {
    fn new() -> Client {
        // Small, so that frames arrive in pieces.
        let (connection, served) = tokio::io::duplex(64);
        let dial = Dial {
            kubelet: Arc::new(Ports),
            pod: Arc::new(json!({"metadata": {"name": "web", "uid": "u"}})),
        };
        tokio::spawn(tunnel::bare(served, dial));
        Client {
            connection,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
        }
    }

    async fn send(&mut self, frame: Frame) {
        let bytes = self.encoder.encode(&frame).unwrap();
        self.connection.write_all(&bytes).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return frame;
            }
            let mut piece = [0; 32];
            let read = self.connection.read(&mut piece).await.unwrap();
            assert_ne!(read, 0, "the connection ended");
            self.decoder.push(&piece[..read]);
        }
    }

    async fn open(&mut self, stream: u32, kind: &str, port: u16) {
        let headers: HeaderList = [
            ("streamtype", kind.to_owned()),
            ("port", port.to_string()),
            ("requestid", "0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        self.send(Frame::SynStream {
            stream,
            fin: kind == "error",
            headers,
        })
        .await;
        assert_eq!(
            self.next().await,
            Frame::SynReply {
                stream,
                fin: false,
                headers: Vec::new()
            }
        );
    }

    /// What comes on a stream until its end.
    async fn rest(&mut self, wanted: u32) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            if let Frame::Data { stream, fin, data } = self.next().await
                && stream == wanted
            {
                all.extend_from_slice(&data);
                if fin {
                    return all;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_connection_passes_through_bare_spdy_with_both_its_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        stream.write_all(&heard.repeat(2)).await.unwrap();
    });
    let mut client = Client::new();
    client.open(1, "error", port).await;
    client.open(3, "data", port).await;
    client.send(Frame::Ping { id: 1 }).await;
    assert_eq!(client.next().await, Frame::Ping { id: 1 });
    let said = Bytes::from_static(b"hello");
    for (fin, data) in [(false, said), (true, Bytes::new())] {
        client.send(Frame::Data { stream: 3, fin, data }).await;
    }
    assert_eq!(client.rest(3).await, b"hellohello");
    assert_eq!(client.rest(1).await, b"");
}

#[tokio::test]
async fn a_closed_port_is_told_on_the_error_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut client = Client::new();
    client.open(1, "error", port).await;
    client.open(3, "data", port).await;
    let said = String::from_utf8(client.rest(1).await).unwrap();
    assert!(
        said.contains("error forwarding port") && said.contains("to pod web, uid u"),
        "{said}"
    );
}

#[test]
fn an_upgrade_is_asked_for_in_full() {
    let refused = |headers: &[(&str, &str)]| {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        spdy(&mut parts).map(drop).unwrap_err().message
    };
    assert!(refused(&[]).contains("Connection: Upgrade"));
    let upgrade = ("connection", "keep-alive, Upgrade");
    assert!(refused(&[upgrade, ("x-stream-protocol-version", "v4")]).contains("portforward.k8s.io"));
    // HTTP/2 has no connection to give away.
    let whole = refused(&[upgrade, ("x-stream-protocol-version", "portforward.k8s.io")]);
    assert!(whole.contains("HTTP/1.1"), "{whole}");
}
