//! Nodes that are a few lines of code each, for tests: what a real cluster does only while it fails.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use prometheus_client::metrics::family::Family;
use redis::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::slots::{SLOTS, SlotMap};
use super::{Cluster, Reply, resp};
use crate::retry::Pauses;

/// A node's address; it ends with the test. `answers` is given a command as its words; none: it says nothing, for ever.
pub async fn node(answers: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answers = answers.clone();
            tokio::spawn(async move {
                let mut buffer = BytesMut::new();
                while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
                    while let Ok(Some(Reply::Array(words))) = resp::take(&mut buffer) {
                        let words: Vec<String> = words.iter().map(word).collect();
                        let answer = match words[0].as_str() {
                            "CLIENT" => Some("+OK\r\n".to_owned()),
                            _ => answers(&words),
                        };
                        let Some(answer) = answer else {
                            std::future::pending::<()>().await;
                            return;
                        };
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// Where nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound").to_string()
}

pub fn word(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?} in a command"),
    }
}

/// Answers a command with its key.
pub fn echo(words: &[String]) -> Option<String> {
    let refresh = words[0] == "CLUSTER";
    (!refresh).then(|| format!("${}\r\n{}\r\n", words[1].len(), words[1]))
}

pub fn get(key: &str) -> Vec<u8> {
    redis::cmd("GET").arg(key).get_packed_command()
}

/// A `CLUSTER SLOTS` reply: the slots in as many parts as there are nodes, with the borders that `redis-cli` makes.
fn rows(nodes: &[&str]) -> Vec<(u16, u16, String)> {
    let count = nodes.len();
    let border =
        |part: usize| u16::try_from((2 * usize::from(SLOTS) * part + count) / (2 * count)).expect("a slot");
    let parts = nodes.iter().enumerate();
    parts
        .map(|(part, node)| (border(part), border(part + 1) - 1, (*node).to_owned()))
        .collect()
}

/// The same as a node says it.
pub fn slots_reply(nodes: &[&str]) -> String {
    let rows = rows(nodes);
    let mut text = format!("*{}\r\n", rows.len());
    for (first, last, node) in &rows {
        let (host, port) = node.rsplit_once(':').expect("host:port");
        text.push_str(&format!(
            "*3\r\n:{first}\r\n:{last}\r\n*2\r\n${}\r\n{host}\r\n:{port}\r\n",
            host.len()
        ));
    }
    text
}

/// A cluster of these nodes, each with its part of the slots. It learns another map from what they answer to `CLUSTER SLOTS`.
pub fn cluster(nodes: &[&str]) -> Arc<Cluster> {
    let rows = rows(nodes).into_iter().map(|(first, last, node)| {
        let (host, port) = node.rsplit_once(':').expect("host:port");
        Value::Array(vec![
            Value::Int(first.into()),
            Value::Int(last.into()),
            Value::Array(vec![
                Value::BulkString(host.as_bytes().to_vec()),
                Value::Int(port.parse().expect("a port")),
            ]),
        ])
    });
    let map = SlotMap::parse(&Value::Array(rows.collect()), "").expect("a map");
    Arc::new(Cluster {
        client_name: "test",
        seeds: vec![],
        map: RwLock::new(Arc::new(map)),
        refreshed: tokio::sync::Mutex::default(),
        connect_timeout: Duration::from_secs(1),
        dial_pauses: Pauses {
            base: Duration::from_millis(5),
            max: Duration::ZERO,
        },
        dials: Family::default(),
        dial_errors: Family::default(),
    })
}
