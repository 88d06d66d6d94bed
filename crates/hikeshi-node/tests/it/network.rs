use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use hikeshi_node::shim::protocol::Request;

use crate::support::{Pod, World, eventually, within};

/// Answers every request with its own working directory's listing, on all addresses.
const WEB: &[&str] = &["python3", "-m", "http.server", "8080", "--bind", "0.0.0.0"];

fn connect_in(socket: OwnedFd, addr: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::from(socket);
    socket.set_nonblocking(false)?;
    socket.connect(&SocketAddrV4::new(addr, port).into())?;
    Ok(socket.into())
}

async fn connect(pod: &mut Pod, addr: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = pod
        .init
        .command(&Request::Sockets { count: 1 })
        .await
        .unwrap()
        .remove(0);
    connect_in(socket, addr, port)
}

async fn wait_for_port(pod: &mut Pod, port: u16) {
    let sockets = pod.init.command(&Request::Sockets { count: 1 }).await.unwrap();
    assert_eq!(sockets.len(), 1);
    within(async {
        while connect(pod, Ipv4Addr::LOCALHOST, port).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn listen(pod: &mut Pod, addr: Ipv4Addr, port: u16) -> TcpListener {
    let listener: TcpListener = TcpListener::from(
        pod.init
            .command(&Request::Listen { addr, port })
            .await
            .unwrap()
            .remove(0),
    );
    listener.set_nonblocking(false).unwrap();
    listener
}

/// Says "passed" to one connection of the listener.
fn answer_once(listener: TcpListener) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"passed").unwrap();
    })
}

fn first_bytes(mut stream: TcpStream, request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    let mut buffer = [0; 6];
    stream.read_exact(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer).into_owned()
}

const GET: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const SERVICE: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 9);

#[tokio::test]
async fn two_pods_bind_the_same_port() {
    let world = World::new();
    let (mut one, mut two) = (world.pod("one").await, world.pod("two").await);
    one.start("web", WEB).await;
    two.start("web", WEB).await;
    wait_for_port(&mut one, 8080).await;
    wait_for_port(&mut two, 8080).await;
}

#[tokio::test]
async fn a_wildcard_bind_comes_after_the_data_planes_listener() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let listener = listen(&mut pod, SERVICE, 8080).await;
    pod.start("web", WEB).await;
    wait_for_port(&mut pod, 8080).await;
    let server = answer_once(listener);
    assert_eq!(
        first_bytes(connect(&mut pod, SERVICE, 8080).await.unwrap(), b""),
        "passed"
    );
    server.join().unwrap();
    let own = connect(&mut pod, Ipv4Addr::LOCALHOST, 8080).await.unwrap();
    assert_eq!(first_bytes(own, GET), "HTTP/1");
}

#[tokio::test]
async fn a_wildcard_bind_comes_before_the_data_planes_listener() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    pod.start("web", WEB).await;
    wait_for_port(&mut pod, 8080).await;
    let listener = listen(&mut pod, SERVICE, 8080).await;
    let server = answer_once(listener);
    assert_eq!(
        first_bytes(connect(&mut pod, SERVICE, 8080).await.unwrap(), b""),
        "passed"
    );
    server.join().unwrap();
    let own = connect(&mut pod, Ipv4Addr::LOCALHOST, 8080).await.unwrap();
    assert_eq!(first_bytes(own, GET), "HTTP/1");
}

#[tokio::test]
async fn a_dual_stack_bind_from_a_thread_shares_its_port_too() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let listener = listen(&mut pod, SERVICE, 80).await;
    let program = "import socket,threading\n\
        def serve():\n\
        \x20s=socket.socket(socket.AF_INET6); s.bind(('::',80)); s.listen()\n\
        \x20while True: c,_=s.accept(); c.sendall(b'native'); c.close()\n\
        t=threading.Thread(target=serve); t.start(); t.join()";
    pod.start("web", &["python3", "-c", program]).await;
    wait_for_port(&mut pod, 80).await;
    let server = answer_once(listener);
    assert_eq!(
        first_bytes(connect(&mut pod, SERVICE, 80).await.unwrap(), b""),
        "passed"
    );
    server.join().unwrap();
    assert_eq!(
        first_bytes(connect(&mut pod, Ipv4Addr::LOCALHOST, 80).await.unwrap(), b""),
        "native"
    );
}

#[tokio::test]
async fn a_port_taken_by_the_pods_own_program_is_still_in_use() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    pod.start("web", WEB).await;
    wait_for_port(&mut pod, 8080).await;
    let second = "import socket; s=socket.socket(); s.bind(('0.0.0.0',8080)); s.listen()";
    let (code, _, stderr) = pod.run(&["python3", "-c", second]).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("Address already in use"), "{stderr}");
}

#[tokio::test]
async fn names_come_from_the_hosts_file_and_follow_it() {
    let world = World::new();
    let pod = world
        .pod_with(
            &world.spec("one"),
            "127.0.0.1 localhost\n127.96.0.1 web web.chirpy.svc\n",
        )
        .await;
    let (code, out, _) = pod.run(&["getent", "hosts", "web.chirpy.svc"]).await;
    assert_eq!((code, out.split_whitespace().next()), (0, Some("127.96.0.1")));
    // In place: the pod sees the same inode.
    std::fs::write(pod.dir.join("hosts"), "127.96.0.2 web\n").unwrap();
    let (_, out, _) = pod.run(&["getent", "hosts", "web"]).await;
    assert_eq!(out.split_whitespace().next(), Some("127.96.0.2"));
    eventually("hosts is readable", || pod.dir.join("hosts").exists()).await;
}
