//! Against nodes that are a few lines of code each: what a real cluster does only while it fails.

use redis::Value;
use tokio::net::TcpListener;

use super::super::slots::{SLOTS, SlotMap};
use super::super::*;
use super::*;

/// What a node answers to a command, given as its words; none: nothing, for ever.
type Answers = fn(&[String]) -> Option<String>;

/// A node; it ends with the test.
async fn node(answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
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

fn word(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?} in a command"),
    }
}

/// Halves of the slots, each with its node.
fn map(lower: &str, upper: &str) -> SlotMap {
    let row = |first: u16, last: u16, node: &str| {
        let (host, port) = node.rsplit_once(':').expect("host:port");
        Value::Array(vec![
            Value::Int(first.into()),
            Value::Int(last.into()),
            Value::Array(vec![
                Value::BulkString(host.as_bytes().to_vec()),
                Value::Int(port.parse().expect("a port")),
            ]),
        ])
    };
    let rows = Value::Array(vec![row(0, 8191, lower), row(8192, SLOTS - 1, upper)]);
    SlotMap::parse(&rows, lower).expect("a map")
}

/// A cluster that knows this map and will learn nothing else.
fn cluster(map: SlotMap) -> Arc<Cluster> {
    Arc::new(Cluster {
        client_name: "test",
        seeds: vec![],
        map: std::sync::RwLock::new(Arc::new(map)),
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

fn get(slot: u16, key: &str) -> (u16, Vec<u8>) {
    (slot, redis::cmd("GET").arg(key).get_packed_command())
}

fn echo(words: &[String]) -> Option<String> {
    let refresh = words[0] == "CLUSTER";
    (!refresh).then(|| format!("${}\r\n{}\r\n", words[1].len(), words[1]))
}

#[tokio::test]
async fn commands_for_many_nodes_have_their_own_outcomes_in_order_and_a_silent_node_fails_its_own() {
    let (speaks, silent) = (node(echo).await, node(|_| None).await);
    let shared = Multiplexed::new(cluster(map(&speaks, &silent)));
    let commands = [get(1, "a"), get(9000, "b"), get(8000, "c")];
    let outcomes = shared.run_each(&commands, Duration::from_millis(200)).await;
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(word).map_err(RedisError::reason))
        .collect();
    assert_eq!(told, [Ok("a".to_owned()), Err("timeout"), Ok("c".to_owned())]);
}

#[tokio::test]
async fn an_error_is_the_commands_own_and_a_key_on_its_way_is_asked_for_where_it_is() {
    let there = node(|words| match words[0].as_str() {
        "ASKING" => Some("+OK\r\n".into()),
        _ => echo(words),
    })
    .await;
    // A function has no surroundings: the way there goes by the process' own environment of this test.
    static THERE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    THERE.set(there).expect("once");
    let here = node(|words| match words.get(1).map(String::as_str) {
        Some("moving") => Some(format!("-ASK 1 {}\r\n", THERE.get().expect("set"))),
        Some("wrong") => Some("-WRONGTYPE no string\r\n".into()),
        _ => echo(words),
    })
    .await;
    let shared = Multiplexed::new(cluster(map(&here, &here)));
    let commands = [get(1, "moving"), get(1, "wrong"), get(1, "plain")];
    let outcomes = shared.run_each(&commands, Duration::from_secs(20)).await;
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(word).map_err(RedisError::reason))
        .collect();
    assert_eq!(
        told,
        [Ok("moving".to_owned()), Err("reply"), Ok("plain".to_owned())]
    );
}

#[tokio::test]
async fn a_node_that_is_no_primary_any_more_is_not_dialled_for_ever() {
    // Bound and given up: nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = gone.local_addr().expect("bound").to_string();
    drop(gone);
    let alive = node(echo).await;
    let cluster = cluster(map(&alive, &alive));
    assert!(cluster.dial_while_known(&alive).await.is_some());
    assert!(cluster.dial_while_known(&address).await.is_none());
    let shared = Multiplexed::new(cluster);
    let outcome = shared.call(&address, get(1, "a").1, 1).await;
    assert_eq!(outcome.map_err(|error| error.reason()), Err("broken"));
}

#[tokio::test]
async fn whoever_has_stopped_waiting_is_not_asked_for() {
    static ASKED: Mutex<Vec<String>> = Mutex::new(vec![]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut stream = TcpStream::connect(listener.local_addr().expect("bound"))
        .await
        .expect("connected");
    let (mut server, _) = listener.accept().await.expect("a connection");
    let (sender, mut calls) = mpsc::channel(8);
    let mut answered = vec![];
    for key in ["gone", "waits"] {
        let (answer, receiver) = oneshot::channel();
        let packed = get(1, key).1;
        let call = Call {
            packed,
            replies: 1,
            answer,
        };
        sender.send(call).await.expect("room");
        answered.push(receiver);
    }
    drop(answered.remove(0));
    drop(sender);
    let serve = async {
        let mut buffer = BytesMut::new();
        while let Ok(count) = server.read_buf(&mut buffer).await {
            if let Ok(Some(Reply::Array(words))) = resp::take(&mut buffer) {
                ASKED.lock().expect("whole").push(word(&words[1]));
                server.write_all(b"$1\r\nx\r\n").await.expect("written");
            }
            if count == 0 {
                break;
            }
        }
    };
    let mut asked = VecDeque::new();
    let talk = async {
        // Its channel is closed, so it ends once the calls are taken; what it owes is dropped with it.
        let _ = converse(&mut stream, &mut calls, &mut asked).await;
        let _ = stream.shutdown().await;
    };
    tokio::join!(serve, talk);
    assert_eq!(*ASKED.lock().expect("whole"), ["waits"]);
}
