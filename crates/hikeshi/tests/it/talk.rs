//! The manifest of the talk, as printed on its slide, on a real nginx in a real cluster; and control killed in its midst.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::Home;
use crate::kubectl::Kubectl;

/// Slide 42, letter by letter; only its comments are left out.
const MANIFEST: &str = include_str!("../../../hikeshi-experiment/tests/talk.yaml");

/// nginx as people write it, with a port that has no name, and a client with one connection that it keeps.
const SYSTEM: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: nginx, namespace: default}
spec:
  selector: {matchLabels: {app: nginx-app}}
  template:
    metadata: {labels: {app: nginx-app}}
    spec:
      containers: [{name: nginx, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: nginx, namespace: default}
spec: {selector: {app: nginx-app}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  containers:
  - name: client
    image: debian
    command: [python3, -u, -c]
    args:
    - |
      import http.client, time
      connections = 0
      while True:
          try:
              connection = http.client.HTTPConnection("nginx", timeout=30)
              connection.connect()
              connections += 1
              while True:
                  begun = time.monotonic()
                  connection.request("GET", "/test/page")
                  answer = connection.getresponse()
                  answer.read()
                  took = int((time.monotonic() - begun) * 1000)
                  print(connections, answer.status, answer.getheader("server"), took)
                  time.sleep(0.05)
          except OSError as error:
              print("failed", error)
              time.sleep(0.2)
"#;

/// The client's lines so far: number of its connection, status, server, milliseconds.
struct Client {
    log: PathBuf,
}

type Line = (u32, u16, String, u64);

impl Client {
    fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let read = text.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(3);
            let (connection, status) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some((
                connection,
                status,
                words.next()?.to_owned(),
                words.next()?.parse().ok()?,
            ))
        });
        read.collect()
    }

    /// Waits for a line, after those that are there now, that fits.
    async fn until(&self, what: &str, fits: impl Fn(&Line) -> bool) -> Line {
        let seen = self.lines().len();
        let begun = Instant::now();
        loop {
            if let Some(line) = self.lines().into_iter().skip(seen).find(&fits) {
                return line;
            }
            let last = self.lines().pop();
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "never: {what}; last {last:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn is_hit((_, status, server, took): &Line) -> bool {
    *status == 500 && server == "nginx-test" && *took >= 1_000
}

fn is_well((_, status, server, took): &Line) -> bool {
    *status != 500 && server != "nginx-test" && *took < 500
}

#[tokio::test]
async fn the_talks_manifest_applies_as_printed_and_its_traps_are_none() {
    let home = Home::new();
    let system = home.share().join("systems/talk");
    std::fs::create_dir_all(&system).expect("a system's folder");
    std::fs::write(system.join("10-nginx.yaml"), SYSTEM).expect("its objects");
    for name in ["cujs.yaml", "map.yaml"] {
        let of_chirpy = home.share().join("systems/chirpy").join(name);
        std::fs::copy(of_chirpy, system.join(name)).expect("what every system has");
    }
    home.ok(&["up", "talk"]);
    let kubectl = Kubectl::new(home.path().join("kubeconfig"));
    let uid = kubectl
        .ok("get pod client -n default -o jsonpath={.metadata.uid}")
        .await;
    let client = Client {
        log: home.path().join(format!("pods/{}/logs/client/0.log", uid.trim())),
    };
    let (connection, ..) = client.until("nginx answers", is_well).await;

    let applied = kubectl
        .words(&["apply", "-n", "default", "-f", "-"], MANIFEST)
        .await;
    assert!(applied.status.success(), "{applied:?}");
    let hit = client.until("the experiment hits", is_hit).await;
    assert_eq!(hit.0, connection, "on the connection that was open before");
    kubectl.ok("delete httpchaos http-delay -n default").await;
    let well = client.until("the experiment is over", is_well).await;
    assert_eq!(well.0, connection, "which it survived");

    let misspelt = MANIFEST.replace("delay: 1s", "dealy: 1s");
    let refused = kubectl
        .words(&["apply", "-n", "default", "-f", "-"], &misspelt)
        .await;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        words.contains("spec.dealy: is not supported (did you mean delay?)"),
        "{words}"
    );

    kubectl
        .words(&["apply", "-n", "default", "-f", "-"], MANIFEST)
        .await;
    client.until("it hits again", is_hit).await;
    let control = nix::unistd::Pid::from_raw(home.control_pid());
    nix::sys::signal::kill(control, nix::sys::signal::Signal::SIGKILL).expect("control is killed");
    let well = client
        .until("the fault is lifted with nobody to lift it", is_well)
        .await;
    assert_eq!(
        well.0, connection,
        "still the first connection, and no pod was restarted"
    );
}
