//! HTTP/1.1 through a data plane, as bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hikeshi_proxy::AppProtocol;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::{PATIENCE, SERVICE, World};
use crate::traffic::{self, Message};

async fn world() -> (World, TcpListener) {
    let mut world = World::new(AppProtocol::Http).await;
    let server = world.take_server();
    world.apply().await;
    (world, server)
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(PATIENCE, stream.read_exact(&mut bytes))
        .await
        .expect("it did not come")
        .unwrap();
    bytes
}

/// Everything until the other end closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("it was not closed")
        .unwrap();
    bytes
}

async fn write_in_pieces(stream: &mut TcpStream, bytes: &[u8], splits: &[usize]) {
    let mut at = 0;
    for split in splits.iter().copied().filter(|split| *split < bytes.len()) {
        stream.write_all(&bytes[at..split.max(at)]).await.unwrap();
        at = split.max(at);
        tokio::task::yield_now().await;
    }
    stream.write_all(&bytes[at..]).await.unwrap();
}

/// Many exchanges on one connection: what was sent is what arrives, byte for byte, however it is cut up.
#[tokio::test]
async fn generated_traffic_passes_byte_for_byte() {
    let (world, server) = world().await;
    let mut client = world.app.dial(SERVICE).await;
    let mut upstream: Option<TcpStream> = None;
    let mut runner = TestRunner::deterministic();
    for _ in 0..150 {
        let mut draw = |strategy: BoxedStrategy<Message>| strategy.new_tree(&mut runner).unwrap().current();
        let question = draw(traffic::request().boxed());
        let answer = draw(traffic::response(false).boxed());
        let splits: Vec<usize> = {
            let strategy = prop::collection::vec(0..200usize, 0..5);
            let mut splits = strategy.new_tree(&mut runner).unwrap().current();
            splits.sort_unstable();
            splits
        };
        write_in_pieces(&mut client, &question.bytes, &splits).await;
        let origin = match &mut upstream {
            Some(open) => open,
            none => none.insert(timeout(PATIENCE, server.accept()).await.unwrap().unwrap().0),
        };
        let got = read(origin, question.bytes.len()).await;
        assert_eq!(
            String::from_utf8_lossy(&got),
            String::from_utf8_lossy(&question.bytes)
        );
        write_in_pieces(origin, &answer.bytes, &splits).await;
        let got = read(&mut client, answer.bytes.len()).await;
        assert_eq!(
            String::from_utf8_lossy(&got),
            String::from_utf8_lossy(&answer.bytes)
        );
    }
    // One client, one connection to the backend.
    let text = world.client.metrics().await.unwrap();
    let opened = r#"hikeshi_edge_connections_total{source="app",destination="db"} 1"#;
    assert!(text.contains(opened), "{text}");
}

/// Every place at which one exchange can be cut in two.
#[tokio::test]
async fn an_exchange_passes_wherever_it_is_split() {
    let (world, server) = world().await;
    let question = b"POST /a HTTP/1.1\r\nHost: db\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    tokio::spawn(async move {
        let mut origin = server.accept().await.unwrap().0;
        for split in 0.. {
            let mut got = vec![0; question.len()];
            if origin.read_exact(&mut got).await.is_err() {
                return;
            }
            assert_eq!(got, question);
            origin.write_all(&answer[..split % answer.len()]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            origin.write_all(&answer[split % answer.len()..]).await.unwrap();
        }
    });
    let mut client = world.app.dial(SERVICE).await;
    for split in 1..question.len() {
        client.write_all(&question[..split]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        client.write_all(&question[split..]).await.unwrap();
        assert_eq!(read(&mut client, answer.len()).await, answer, "split at {split}");
    }
}

#[tokio::test]
async fn what_could_be_smuggled_is_refused_and_nothing_of_it_arrives() {
    let (world, server) = world().await;
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = arrived.clone();
    tokio::spawn(async move {
        while let Ok((mut origin, _)) = server.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(got) = origin.read(&mut bytes).await
                    && got > 0
                {
                    count.fetch_add(got, Ordering::Relaxed);
                }
            });
        }
    });
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    for (status, request) in [
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        ),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        ),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nabcde",
        ),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nabcde",
        ),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n"),
        ("400", "GET / HTTP/1.1\nHost: a\n\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("400", "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
        ("431", &long),
    ] {
        let mut client = world.app.dial(SERVICE).await;
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {text}"
        );
        assert!(text.contains("connection: close"), "{text}");
        assert_eq!(text.matches("HTTP/1.1 4").count(), 1, "{text}");
    }
    assert_eq!(arrived.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_connection_before_it_is_forwarded() {
    let (world, server) = world().await;
    for bad in [
        "x\r\n",
        "1\nA\r\n",
        "fffffffffffffffff\r\n",
        "1\r\nAB\r\n",
        "0\r\nX : 1\r\n\r\n",
    ] {
        let mut client = world.app.dial(SERVICE).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client
            .write_all(format!("{head}{bad}GET /x HTTP/1.1\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let (mut origin, _) = timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{bad:?}");
        let mut arrived = Vec::new();
        // A reset will do as well as an end.
        let _ = timeout(PATIENCE, origin.read_to_end(&mut arrived))
            .await
            .expect("it was not closed");
        assert!(!String::from_utf8_lossy(&arrived).contains("/x"), "{bad:?}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (world, server) = world().await;
    tokio::spawn(async move {
        let mut origin = server.accept().await.unwrap().0;
        for n in 0.. {
            let request = format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut got = vec![0; request.len()];
            if origin.read_exact(&mut got).await.is_err() {
                return;
            }
            assert_eq!(got, request.as_bytes());
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}");
            origin.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let mut client = world.app.dial(SERVICE).await;
    let all: String = (0..5)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    client.write_all(all.as_bytes()).await.unwrap();
    for n in 0..5 {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}");
        assert_eq!(read(&mut client, answer.len()).await, answer.as_bytes());
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_and_one_without_a_length_ends_with_its_connection() {
    let (world, server) = world().await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let endless = b"HTTP/1.1 200 OK\r\n\r\nuntil the end";
    tokio::spawn(async move {
        let mut origin = server.accept().await.unwrap().0;
        read(&mut origin, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".len()).await;
        origin.write_all(head).await.unwrap();
        read(&mut origin, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".len()).await;
        origin.write_all(endless).await.unwrap();
    });
    let mut client = world.app.dial(SERVICE).await;
    client
        .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read(&mut client, head.len()).await, head);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(rest(&mut client).await, endless);
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_its_body_is_answered_by_the_backend() {
    let (world, server) = world().await;
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    tokio::spawn(async move {
        let mut origin = server.accept().await.unwrap().0;
        read(&mut origin, head.len()).await;
        origin.write_all(interim).await.unwrap();
        assert_eq!(read(&mut origin, 4).await, b"body");
        origin.write_all(answer).await.unwrap();
    });
    let mut client = world.app.dial(SERVICE).await;
    client.write_all(head).await.unwrap();
    assert_eq!(read(&mut client, interim.len()).await, interim);
    client.write_all(b"body").await.unwrap();
    assert_eq!(read(&mut client, answer.len()).await, answer);
}

/// The backend closes its idle connection; the next request goes on another one, unnoticed.
#[tokio::test]
async fn a_backend_that_closes_an_idle_connection_is_connected_to_again() {
    let (world, server) = world().await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let question = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    tokio::spawn(async move {
        loop {
            let mut origin = server.accept().await.unwrap().0;
            read(&mut origin, question.len()).await;
            origin.write_all(answer).await.unwrap();
        }
    });
    let mut client = world.app.dial(SERVICE).await;
    for _ in 0..50 {
        client.write_all(question).await.unwrap();
        assert_eq!(read(&mut client, answer.len()).await, answer);
    }
}

/// Half an answer must not look like a whole one.
#[tokio::test]
async fn an_answer_that_breaks_off_breaks_the_clients_connection() {
    let (world, server) = world().await;
    tokio::spawn(async move {
        let mut origin = server.accept().await.unwrap().0;
        read(&mut origin, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".len()).await;
        origin
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            .await
            .unwrap();
    });
    let mut client = world.app.dial(SERVICE).await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let ended = timeout(PATIENCE, client.read_to_end(&mut bytes)).await.unwrap();
    assert!(ended.is_err(), "{}", String::from_utf8_lossy(&bytes));
}
