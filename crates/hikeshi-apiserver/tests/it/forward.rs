//! port-forward and proxy, by kubectl and by raw HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Child;
use std::thread;

use serde_json::json;

use crate::support::{Cluster, Kubectl, text, until};

/// A program in the pretended pod: for each connection reads to its end, then answers with what it read, reversed.
fn reverser() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                all.reverse();
                let _ = stream.write_all(&all);
            });
        }
    });
    port
}

/// A small HTTP program that tells what it was asked.
fn web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let (mut first, mut length, mut credential) = (String::new(), 0, false);
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let line = line.trim().to_ascii_lowercase();
                    if line.is_empty() {
                        break;
                    }
                    credential |= line.starts_with("authorization:");
                    if let Some(n) = line.strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let said = format!("{} body={} credential={credential}\n", first.trim(), text(&body));
                let code = if first.contains("/teapot") {
                    "418 I'm a teapot"
                } else {
                    "200 OK"
                };
                let answer = format!("HTTP/1.1 {code}\r\nContent-Length: {}\r\n\r\n{said}", said.len());
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            });
        }
    });
    port
}

/// A port nothing listens on (it was free a moment ago, and is held by nobody else in these tests).
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

struct Forward {
    child: Child,
    port: u16,
    stderr: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Forward {
    fn start(k: &Kubectl, target: &str, port: u16) -> Forward {
        let mut child = k.spawn(&mut k.command(&["port-forward", target, &format!(":{port}")]));
        let stderr = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (into, from) = (stderr.clone(), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                into.lock().unwrap().push_str(&line);
            }
        });
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        // The rest is "Handling connection for ...": it must not fill the pipe.
        thread::spawn(move || out.lines().for_each(drop));
        let local = line
            .strip_prefix("Forwarding from 127.0.0.1:")
            .unwrap_or_else(|| {
                panic!("kubectl says {line:?} {}", stderr.lock().unwrap());
            });
        let port = local.split(' ').next().unwrap().parse().unwrap();
        Forward { child, port, stderr }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends, closes its half, and reads the answer.
fn exchange(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut half = stream.try_clone().unwrap();
    let sent = bytes.to_vec();
    let writer = thread::spawn(move || {
        half.write_all(&sent).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    writer.join().unwrap();
    answer
}

#[test]
fn kubectl_forwards_many_connections_at_once_and_halves() {
    let cluster = Cluster::start();
    cluster.running_pod("web-1", &["web"]);
    let forward = Forward::start(&cluster.admin(), "pod/web-1", reverser());
    assert_eq!(exchange(forward.connect(), b"abc"), b"cba");
    // One that stays open and silent does not hold up the others.
    let mut waiting = forward.connect();
    waiting.write_all(b"la").unwrap();
    let clients: Vec<_> = (0..12u8)
        .map(|n| {
            let stream = forward.connect();
            thread::spawn(move || {
                let bytes: Vec<u8> = (0..200_000u32).map(|i| (i as u8).wrapping_mul(n)).collect();
                let mut answer = exchange(stream, &bytes);
                answer.reverse();
                assert!(
                    answer == bytes,
                    "connection {n}: {} bytes came back",
                    answer.len()
                );
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
    waiting.write_all(b"st").unwrap();
    assert_eq!(exchange(waiting, b"!"), b"!tsal");
    // And after all that the tunnel still takes new ones.
    assert_eq!(exchange(forward.connect(), b"xyz"), b"zyx");
}

#[test]
fn a_refused_port_is_told_on_the_error_stream() {
    let cluster = Cluster::start();
    cluster.running_pod("web-1", &["web"]);
    let forward = Forward::start(&cluster.admin(), "pod/web-1", closed_port());
    assert_eq!(exchange(forward.connect(), b"x"), b"");
    until("kubectl's words", || {
        let said = forward.stderr.lock().unwrap();
        (said.contains("error forwarding port") && said.contains("web-1, uid") && said.contains("refused"))
            .then_some(())
    });
    let k = cluster.admin();
    assert!(k.fails(&["port-forward", "gone", ":80"]).contains("not found"));
    let scribe = cluster.user("mo3", &["hikeshi:scribe"]);
    assert!(
        scribe
            .fails(&["port-forward", "web-1", ":80"])
            .contains("portforward")
    );
}

#[test]
fn http_reaches_pods_and_services_through_the_server() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("web-1", &["web"]);
    let port = web();
    let base = "/api/v1/namespaces/chirpy";
    let pod = format!("{base}/pods/web-1:{port}/proxy");
    assert_eq!(
        k.ok(&["get", "--raw", &format!("{pod}/a/b?q=1&r=2")]),
        "GET /a/b?q=1&r=2 HTTP/1.1 body= credential=false\n"
    );
    let out = k.with_input(&["create", "--raw", &format!("{pod}/made"), "-f", "-"], "hello");
    assert_eq!(
        text(&out.stdout),
        "POST /made HTTP/1.1 body=hello credential=false\n"
    );
    // A folder's own path, with the slash added on the way.
    assert!(k.ok(&["get", "--raw", &pod]).starts_with("GET / HTTP/1.1"));
    k.fails(&["get", "--raw", &format!("{pod}/teapot")]);

    k.apply(
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "chirpy"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": port}]}}),
    );
    let none = k.fails(&["get", "--raw", &format!("{base}/services/web:80/proxy/x")]);
    assert!(none.contains("no endpoints available"), "{none}");
    let slice = |address: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "chirpy", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]})
    };
    k.apply(&slice("127.64.0.9"));
    for name in ["web", "web:80", "web:http", "http:web:80"] {
        let said = k.ok(&["get", "--raw", &format!("{base}/services/{name}/proxy/x")]);
        assert!(said.starts_with("GET /x HTTP/1.1"), "{name}: {said}");
    }
    let unknown = k.fails(&["get", "--raw", &format!("{base}/services/web:81/proxy/x")]);
    assert!(unknown.contains("no service port"), "{unknown}");
    let closed = k.fails(&[
        "get",
        "--raw",
        &format!("{base}/pods/web-1:{}/proxy/", closed_port()),
    ]);
    assert!(closed.contains("error trying to reach service"), "{closed}");

    // Seats: who may exec may proxy; nobody reaches the machine through an address of their own choice.
    let path = format!("{base}/services/web:80/proxy/x");
    let operator = cluster.user("pika7", &["hikeshi:operator"]);
    assert!(operator.ok(&["get", "--raw", &path]).starts_with("GET /x"));
    let observer = cluster.user("mo3", &["hikeshi:observer"]);
    assert!(
        observer
            .fails(&["get", "--raw", &path])
            .contains("services/proxy")
    );
    k.apply(&slice("127.0.0.1"));
    assert!(k.ok(&["get", "--raw", &path]).starts_with("GET /x"));
    assert!(
        operator
            .fails(&["get", "--raw", &path])
            .contains("no endpoints available")
    );
}
