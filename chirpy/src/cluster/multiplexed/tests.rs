//! Against nodes that are a few lines of code each: what a real cluster does only while it fails.

use tokio::net::TcpListener;

use super::super::scripted::{cluster, echo, nobody, node, word};
use super::*;

fn get(slot: u16, key: &str) -> (u16, Vec<u8>) {
    (slot, super::super::scripted::get(key))
}

#[tokio::test]
async fn commands_for_many_nodes_have_their_own_outcomes_in_order_and_a_silent_node_fails_its_own() {
    let (speaks, silent) = (node(echo).await, node(|_| None).await);
    let shared = Multiplexed::new(cluster(&[&speaks, &silent]));
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
    let here = node(move |words| match words.get(1).map(String::as_str) {
        Some("moving") => Some(format!("-ASK 1 {there}\r\n")),
        Some("wrong") => Some("-WRONGTYPE no string\r\n".into()),
        _ => echo(words),
    })
    .await;
    let shared = Multiplexed::new(cluster(&[&here]));
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
    let (address, alive) = (nobody().await, node(echo).await);
    let cluster = cluster(&[&alive]);
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
