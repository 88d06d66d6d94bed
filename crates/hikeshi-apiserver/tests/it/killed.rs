//! The process that serves is killed at random moments under load: what it acknowledged over HTTP is there afterwards, and
//! nothing that it had deleted comes back.
//!
//! The server is this test binary, run again with [`FOLDER`] set. Each writer goes through a fixed list of operations on
//! ConfigMaps of its own, so that what it left is known to within the one operation that was not answered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hikeshi_apiserver::Pki;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::{client_of, serve_forever};

const FOLDER: &str = "HIKESHI_TEST_SERVER";
const WRITERS: usize = 6;
const KEYS: u64 = 5;
const ROUNDS: usize = 8;
/// Most acknowledged writes before the server is killed.
const MOST: usize = 150;

/// Operation `i` of a writer: the name, and the value put there (none: the object is deleted).
fn operation(writer: usize, i: u64) -> (String, Option<u64>) {
    (format!("t{writer}-{}", i * 3 % KEYS), (i % 4 != 3).then_some(i))
}

/// What a writer's objects hold after its first `done` operations.
fn state(writer: usize, done: u64) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for (name, value) in (0..done).map(|i| operation(writer, i)) {
        match value {
            Some(n) => drop(state.insert(name, n.to_string())),
            None => drop(state.remove(&name)),
        }
    }
    state
}

/// The server. In the ordinary run of the tests it has nothing to do.
#[test]
fn server() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    // It ends with the test that runs it, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::abort();
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve_forever(Path::new(&folder), |url| {
        // The test harness has begun a line of its own.
        let line = format!("\nserving {url}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }));
}

struct Served {
    child: Child,
    url: String,
    _lifeline: ChildStdin,
}

impl Served {
    fn start(folder: &Path) -> Served {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::server", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut urls = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("serving ").map(str::to_owned));
        let url = urls.next().expect("the server's address");
        let lifeline = child.stdin.take().unwrap();
        Served {
            child,
            url,
            _lifeline: lifeline,
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Writes from operation `next` on until an answer stays out; how many operations are acknowledged then.
async fn write(maps: Api<ConfigMap>, writer: usize, mut next: u64, acknowledged: Arc<AtomicUsize>) -> u64 {
    let apply = PatchParams::apply("writer").force();
    loop {
        let (name, value) = operation(writer, next);
        let answered = match value {
            Some(n) => {
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                    "data": {"n": n.to_string()}});
                maps.patch(&name, &apply, &Patch::Apply(map)).await.map(drop)
            }
            None => match maps.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                answer => answer.map(drop),
            },
        };
        match answered {
            Ok(()) => {
                next += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(kube::Error::Api(status)) => panic!("{name}: refused: {status:?}"),
            Err(_) => return next,
        }
    }
}

#[test]
fn what_the_server_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(&dir.path().join("pki")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut done = [0u64; WRITERS];
    let mut total = 0;
    for round in 0..ROUNDS {
        let served = Served::start(dir.path());
        let work = async {
            let client = client_of(&pki, &served.url).await;
            if round == 0 {
                let namespace = serde_json::from_value(json!({"metadata": {"name": "chirpy"}})).unwrap();
                let namespaces: Api<Namespace> = Api::all(client.clone());
                namespaces
                    .create(&PostParams::default(), &namespace)
                    .await
                    .unwrap();
            }
            let maps: Api<ConfigMap> = Api::namespaced(client, "chirpy");
            for (writer, done) in done.iter_mut().enumerate() {
                let mine = ListParams::default();
                let found: BTreeMap<String, String> = maps
                    .list(&mine)
                    .await
                    .unwrap()
                    .items
                    .into_iter()
                    .filter(|map| {
                        map.metadata
                            .name
                            .as_ref()
                            .unwrap()
                            .starts_with(&format!("t{writer}-"))
                    })
                    .map(|map| (map.metadata.name.unwrap(), map.data.unwrap().remove("n").unwrap()))
                    .collect();
                // The operation that was under way may have been carried out without an answer.
                if found != state(writer, *done) {
                    *done += 1;
                    assert_eq!(found, state(writer, *done), "round {round}, writer {writer}");
                }
            }
            let acknowledged = Arc::new(AtomicUsize::new(0));
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    tokio::spawn(write(
                        maps.clone(),
                        writer,
                        done[writer],
                        Arc::clone(&acknowledged),
                    ))
                })
                .collect();
            let enough = fastrand::usize(1..MOST);
            while acknowledged.load(Ordering::Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            served.kill();
            for (writer, task) in writers.into_iter().enumerate() {
                done[writer] = task.await.unwrap();
            }
            acknowledged.load(Ordering::Relaxed)
        };
        let limited = async { tokio::time::timeout(Duration::from_secs(60), work).await };
        total += runtime.block_on(limited).expect("done within a minute");
    }
    assert!(total >= ROUNDS, "{total} writes in all: nothing was tried");
}
