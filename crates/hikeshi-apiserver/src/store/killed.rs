//! The store's process is killed at random moments while it writes; nothing that it acknowledged may be lost.
//!
//! The writer is this test binary, run again with [`FOLDER`] set: threads that go through a fixed list of operations on
//! keys of their own and print each acknowledgement. So the state that each thread left is known to within one operation.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::*;

const FOLDER: &str = "HIKESHI_TEST_STORE";
const STARTS: &str = "HIKESHI_TEST_STARTS";
const THREADS: usize = 4;
const KEYS: u64 = 7;
const ROUNDS: usize = 30;

/// Operation `i` of a thread: the key, and the value put there (none: the key is deleted).
fn operation(thread: usize, i: u64) -> (String, Option<u64>) {
    (format!("t{thread}-{}", i * 5 % KEYS), (i % 4 != 3).then_some(i))
}

fn write_one(store: &Store, thread: usize, i: u64) -> u64 {
    let (key, value) = operation(thread, i);
    store.write(|view| {
        match value {
            Some(n) => drop(
                view.put("things", "a", &key, json!({"metadata": {"name": key}, "n": n}))
                    .unwrap(),
            ),
            None => drop(view.delete("things", "a", &key).unwrap()),
        }
        view.revision()
    })
}

/// The writer. In the ordinary run of the tests it has nothing to do.
#[test]
fn writer() {
    let (Some(folder), Ok(starts)) = (std::env::var_os(FOLDER), std::env::var(STARTS)) else {
        return;
    };
    let store = Arc::new(Store::open(Path::new(&folder)).unwrap());
    let starts = starts.split(',').map(|text| text.parse::<u64>().unwrap());
    // The test harness has begun a line of its own.
    io::stdout().write_all(b"\n").unwrap();
    let threads: Vec<_> = starts
        .enumerate()
        .map(|(thread, start)| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for i in start.. {
                    let revision = write_one(&store, thread, i);
                    // One write(2), so that lines of threads do not mix.
                    let line = format!("ack {thread} {i} {revision}\n");
                    if io::stdout()
                        .write_all(line.as_bytes())
                        .and_then(|()| io::stdout().flush())
                        .is_err()
                    {
                        return;
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// What a thread's keys hold after its first `done` operations.
fn state(thread: usize, done: u64) -> BTreeMap<String, u64> {
    let mut state = BTreeMap::new();
    for (key, value) in (0..done).map(|i| operation(thread, i)) {
        match value {
            Some(n) => drop(state.insert(key, n)),
            None => drop(state.remove(&key)),
        }
    }
    state
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut done = [0u64; THREADS];
    let (mut newest, mut acknowledged) = (0, 0);
    for round in 0..ROUNDS {
        let starts = done.map(|n| n.to_string()).join(",");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::killed::writer",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(FOLDER, dir.path())
            .env(STARTS, starts)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        // Some die while they read and rewrite the log, most in the middle of writing, with other threads ahead of what
        // they have told.
        let enough = fastrand::usize(0..400);
        let (heard, hear) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut lines = Vec::new();
            for line in out.lines().map_while(Result::ok) {
                lines.push(line);
                if lines.len() == enough {
                    // Nobody waits any more when the writer was too slow.
                    let _ = heard.send(());
                }
            }
            lines
        });
        if enough > 0 {
            hear.recv_timeout(Duration::from_secs(30))
                .expect("the writer writes");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut acks = done;
        for line in reader.join().unwrap() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["ack", thread, i, revision] = words.as_slice() {
                acks[thread.parse::<usize>().unwrap()] = i.parse::<u64>().unwrap() + 1;
                newest = newest.max(revision.parse().unwrap());
                acknowledged += 1;
            }
        }
        if round % 3 == 0 {
            // A write that the machine's death cut short.
            let path = dir.path().join("objects.jsonl");
            if let Ok(mut log) = fs::OpenOptions::new().append(true).open(path) {
                log.write_all(br#"{"rv":999999999,"key":["things","a","torn"],"object":{"n""#)
                    .unwrap();
            }
        }
        let store = Store::open(dir.path()).unwrap();
        let revision = store.read(View::revision);
        assert!(
            revision >= newest,
            "round {round}: revision {revision} after {newest} was acknowledged"
        );
        newest = revision;
        let found: BTreeMap<String, u64> = store
            .list("things", None)
            .1
            .iter()
            .map(|o| {
                (
                    o["metadata"]["name"].as_str().unwrap().to_owned(),
                    o["n"].as_u64().unwrap(),
                )
            })
            .collect();
        for (thread, done) in done.iter_mut().enumerate() {
            let prefix = format!("t{thread}-");
            let mine: BTreeMap<_, _> = found
                .iter()
                .filter(|(k, _)| k.starts_with(&prefix))
                .map(|(k, n)| (k.clone(), *n))
                .collect();
            // Acknowledged, and perhaps the one after it, written but not yet told.
            let next = (acks[thread]..=acks[thread] + 1).find(|n| state(thread, *n) == mine);
            *done = next.unwrap_or_else(|| {
                panic!(
                    "round {round}, thread {thread}: {mine:?} is not the state after {} operations",
                    acks[thread]
                )
            });
        }
        assert!(
            found.keys().all(|key| key.starts_with('t') && key.contains('-')),
            "{found:?}"
        );
    }
    assert!(
        acknowledged > 100,
        "the writers wrote too little to prove anything: {acknowledged}"
    );
}
