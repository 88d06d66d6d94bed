use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::scripted::{cluster, echo, get, node, slots_reply};
use super::super::{Connection, Multiplexed, Pool, Reply, Store};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Each way in which many callers share connections.
fn stores(cluster: &Arc<Cluster>) -> [Store; 2] {
    [
        Store::Pooled(Pool::new(cluster.clone(), 2, Duration::from_secs(300))),
        Store::Multiplexed(Multiplexed::new(cluster.clone())),
    ]
}

fn told(outcome: Result<Vec<Reply>, RedisError>) -> Result<Vec<String>, String> {
    let text = |reply: &Reply| match reply {
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    };
    match outcome {
        Ok(replies) => Ok(replies.iter().map(text).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// A node that a slot is on its way to: it takes a command for it only right after `ASKING`.
async fn importing() -> String {
    let asking = AtomicBool::new(false);
    node(move |words| {
        if words[0] == "ASKING" {
            asking.store(true, Ordering::Relaxed);
            return Some("+OK\r\n".into());
        }
        if asking.swap(false, Ordering::Relaxed) {
            return Some(format!("${}\r\n{}!\r\n", words[1].len() + 1, words[1]));
        }
        Some("-MOVED 1 127.0.0.1:1\r\n".into())
    })
    .await
}

/// A node that gives slot 1 away to `target`: the keys that begin with m are there already.
async fn migrating(target: String) -> String {
    node(move |words| match words.get(1) {
        Some(key) if key.starts_with('m') => Some(format!("-ASK 1 {target}\r\n")),
        _ => echo(words),
    })
    .await
}

fn packed(keys: &[&str]) -> Vec<u8> {
    keys.iter().flat_map(|key| get(key)).collect()
}

#[tokio::test]
async fn each_key_that_has_gone_ahead_is_asked_for_where_it_is() {
    let here = migrating(importing().await).await;
    for store in stores(&cluster(&[&here])) {
        let outcome = store
            .run(1, packed(&["m1", "stays", "m2", "m3"]), 4, PATIENCE)
            .await;
        let expected = ["m1!", "stays", "m2!", "m3!"].map(str::to_owned);
        assert_eq!(told(outcome), Ok(expected.to_vec()));
    }
    let mut own = Connection::open(&here, "test", PATIENCE).await.expect("opened");
    let answers = own.pipeline(packed(&["stays", "m1"]), 2).await;
    let expected = ["stays", "m1!"].map(|text| redis::Value::BulkString(text.into()));
    assert_eq!(answers.expect("answered"), expected);
}

#[tokio::test]
async fn an_error_of_the_node_that_a_slot_is_on_its_way_to_is_not_the_end() {
    // It is told of the migration a moment after the other, as in `CLUSTER SETSLOT`.
    let times = AtomicUsize::new(0);
    let target = node(move |words| match words[0].as_str() {
        "ASKING" => Some("+OK\r\n".into()),
        _ if times.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
            Some("-MOVED 1 127.0.0.1:1\r\n".into())
        }
        _ => echo(words),
    })
    .await;
    let here = migrating(target).await;
    for store in stores(&cluster(&[&here])) {
        let outcome = store.run(1, packed(&["m1"]), 1, PATIENCE).await;
        assert_eq!(told(outcome), Ok(vec!["m1".to_owned()]));
    }
}

#[tokio::test]
async fn a_slot_that_has_moved_is_found_at_its_new_node() {
    let there = node(echo).await;
    // It is a replica of that one now, as after a failover.
    let target = there.clone();
    let old = node(move |words| match words[0].as_str() {
        "CLUSTER" => Some(slots_reply(&[&target])),
        _ => Some(format!("-MOVED 1 {target}\r\n")),
    })
    .await;
    for place in 0..2 {
        let store = stores(&cluster(&[&old])).into_iter().nth(place).expect("two");
        assert_eq!(
            told(store.run(1, packed(&["a", "b"]), 2, PATIENCE).await),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
    }
}

#[tokio::test]
async fn that_another_slot_has_moved_is_told_at_once_to_whoever_put_it_into_the_call() {
    let here = node(|words| match words.get(1).map(String::as_str) {
        Some("other") => Some("-MOVED 9000 127.0.0.1:1\r\n".into()),
        _ => echo(words),
    })
    .await;
    for store in stores(&cluster(&[&here])) {
        let error = told(store.run(1, packed(&["a", "other"]), 2, PATIENCE).await);
        assert_eq!(error, Err(format!("{here} answered: MOVED 9000 127.0.0.1:1")));
    }
}

#[test]
fn an_ask_names_a_node_or_a_port_of_the_same_host() {
    assert_eq!(target("ASK 1 b:7001", "a:7000").as_deref(), Some("b:7001"));
    assert_eq!(target("ASK 1 :7001", "a:7000").as_deref(), Some("a:7001"));
    assert_eq!(target("MOVED 1 b:7001", "a:7000"), None);
    assert_eq!(target("ASK 1", "a:7000"), None);
}
