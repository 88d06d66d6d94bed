//! The peers: what they are installed from, how they are told to forward, and their processes.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::setup;
use crate::workspace::Workspace;

/// How long a server may take to answer its port.
const START: Duration = Duration::from_secs(20);
/// Every request, in parts per million.
const ALL: u32 = 1_000_000;

/// A running process; ends with this value, and its children with it.
pub struct Server {
    pub name: String,
    pub address: SocketAddr,
    pid: u32,
    child: Child,
}

impl Server {
    /// The process that does the work. Asked for when it is measured: a master may answer before it has a worker.
    pub fn pid(&self) -> u32 {
        worker(self.pid)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input is the lifeline of ours; the others are killed, in the foreground and without children but
        // nginx' worker, which ends with its master.
        drop(self.child.stdin.take());
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) && !self.name.starts_with("hikeshi") {
            // It may have ended meanwhile.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        }
        let _ = self.child.wait();
    }
}

/// Installs what is missing, saying so.
pub fn install(workspace: &Workspace) -> Result<()> {
    install_packages(workspace, &["nginx", "haproxy", "wrk"])?;
    if find(workspace, "envoy").is_none() {
        setup::envoy(workspace)?;
    }
    Ok(())
}

/// Installs those of these programs that are missing; each is in the Debian package of its name.
pub fn install_packages(workspace: &Workspace, programs: &[&str]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| find(workspace, program).is_none())
        .collect();
    setup::packages(workspace, &missing)
}

/// Debian keeps servers in /usr/sbin, which is not on an ordinary user's PATH.
fn find(workspace: &Workspace, program: &str) -> Option<std::path::PathBuf> {
    let sbin = Path::new("/usr/sbin").join(program);
    workspace
        .which(program)
        .or_else(|| sbin.is_file().then_some(sbin))
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// nginx, answering 1 KB to everything.
pub fn upstream(workspace: &Workspace, dir: &Path) -> Result<Server> {
    let address = free_port()?;
    let body = "x".repeat(1024);
    let server = format!("location / {{ default_type text/plain; return 200 \"{body}\"; }}");
    nginx(workspace, dir, "upstream", address, "", &server, false)
}

/// nginx, answering as its `server` block says.
pub fn answering(workspace: &Workspace, dir: &Path, name: &str, server: &str) -> Result<Server> {
    nginx(workspace, dir, name, free_port()?, "", server, false)
}

/// nginx, forwarding on kept connections.
pub fn nginx_proxy(workspace: &Workspace, dir: &Path, upstream: SocketAddr) -> Result<Server> {
    let address = free_port()?;
    let pool = format!("upstream up {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}");
    let server =
        "location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; }";
    nginx(workspace, dir, "nginx", address, &pool, server, true)
}

fn nginx(
    workspace: &Workspace,
    dir: &Path,
    name: &str,
    address: SocketAddr,
    http: &str,
    server: &str,
    pinned: bool,
) -> Result<Server> {
    let own = dir.join(name);
    fs::create_dir_all(&own)?;
    let path = own.display();
    let config = format!(
        "worker_processes 1; pid {path}/pid; error_log {path}/error.log; daemon off; worker_rlimit_nofile 65536;\n\
         events {{ worker_connections 32768; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {path}/b; proxy_temp_path {path}/p;\n\
         fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
         {http}\nserver {{ listen {address} backlog=4096; {server} }} }}\n"
    );
    let file = own.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = program(workspace, "nginx", pinned)?;
    command.arg("-c").arg(&file).arg("-e").arg(own.join("start.log"));
    start(name, address, command)
}

/// `most` is how many connections it must take.
pub fn haproxy(workspace: &Workspace, dir: &Path, upstream: SocketAddr, most: usize) -> Result<Server> {
    let address = free_port()?;
    let config = format!(
        "global\n  maxconn {most}\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  http-reuse always\nlisten bench\n  bind {address}\n  server up {upstream}\n"
    );
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = program(workspace, "haproxy", true)?;
    command.arg("-db").arg("-f").arg(&file);
    start("haproxy", address, command)
}

/// envoy with its fault filter in the chain, at 0 %.
pub fn envoy(workspace: &Workspace, dir: &Path, upstream: SocketAddr) -> Result<Server> {
    let fault = serde_json::json!({"delay": {"fixed_delay": "0.01s", "percentage": {"numerator": 0}}});
    envoy_with(workspace, dir, upstream, ("envoy, fault filter at 0 %", fault))
}

/// envoy, which delays every request by 10 ms.
pub fn envoy_delayed(workspace: &Workspace, dir: &Path, upstream: SocketAddr) -> Result<Server> {
    let fault = serde_json::json!({"delay": {"fixed_delay": "0.01s", "percentage": {"numerator": 100}}});
    envoy_with(workspace, dir, upstream, ("envoy", fault))
}

/// envoy, which answers 1.5 % of all requests with 503.
pub fn envoy_broken(workspace: &Workspace, dir: &Path, upstream: SocketAddr) -> Result<Server> {
    let percentage = serde_json::json!({"numerator": 150, "denominator": "TEN_THOUSAND"});
    let fault = serde_json::json!({"abort": {"http_status": 503, "percentage": percentage}});
    envoy_with(workspace, dir, upstream, ("envoy", fault))
}

fn envoy_with(
    workspace: &Workspace,
    dir: &Path,
    upstream: SocketAddr,
    (name, mut fault): (&str, serde_json::Value),
) -> Result<Server> {
    let address = free_port()?;
    let endpoint = |at: SocketAddr| serde_json::json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    fault["@type"] = kind("http.fault.v3.HTTPFault").into();
    let manager = serde_json::json!({
        "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "generate_request_id": false,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]},
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": fault},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": kind("http.router.v3.Router")}},
        ],
    });
    let config = serde_json::json!({"static_resources": {
        "listeners": [{"address": endpoint(address), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": [{"name": "up", "type": "STATIC", "load_assignment": {"cluster_name": "up",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint(upstream)}}]}]}}],
    }});
    let file = dir.join("envoy.json");
    fs::write(&file, config.to_string())?;
    let mut command = program(workspace, "envoy", true)?;
    command
        .args([
            "--concurrency",
            "1",
            "--log-level",
            "error",
            "--disable-hot-restart",
            "-c",
        ])
        .arg(&file);
    start(name, address, command)
}

/// The data plane, a rule armed that matches nothing.
pub fn ours(bench: &Path, dir: &Path, upstream: SocketAddr) -> Result<Server> {
    let action = serde_json::json!({"abort": true, "delay": null, "replace": null, "patch": null});
    dataplane(
        bench,
        dir,
        upstream,
        ("hikeshi, rule armed", "Request", ("/never/*", ALL), action),
    )
}

/// The data plane, which answers 1.5 % of all requests with 503.
pub fn broken(bench: &Path, dir: &Path, upstream: SocketAddr) -> Result<Server> {
    let replace = serde_json::json!({"code": 503});
    let action = serde_json::json!({"abort": false, "delay": null, "replace": replace, "patch": null});
    dataplane(
        bench,
        dir,
        upstream,
        ("hikeshi", "Response", ("*", 15_000), action),
    )
}

/// The data plane, which delays every request by 10 ms.
pub fn delayed(bench: &Path, dir: &Path, upstream: SocketAddr) -> Result<Server> {
    let delay = serde_json::json!({"length": {"fixed": {"micros": 10_000}}, "to_total": false, "seed": 0});
    let action = serde_json::json!({"abort": false, "delay": delay, "replace": null, "patch": null});
    dataplane(bench, dir, upstream, ("hikeshi", "Request", ("*", ALL), action))
}

/// It pins its own process.
fn dataplane(
    bench: &Path,
    dir: &Path,
    upstream: SocketAddr,
    (name, target, (path, ppm), action): (&str, &str, (&str, u32), serde_json::Value),
) -> Result<Server> {
    use std::io::{BufRead, BufReader};
    let rule = serde_json::json!([{"id": "bench", "kind": {"http": {
        "pods": "any", "sources": "any", "port": null, "target": target,
        "matches": {"path": path}, "percent": {"ppm": ppm, "seed": 0}, "action": action}}}]);
    let file = dir.join("rule.json");
    fs::write(&file, rule.to_string())?;
    let mut child = Command::new(bench)
        .args(["proxy", &upstream.to_string()])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", bench.display()))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let (pid, address) = line
        .trim()
        .split_once(' ')
        .context("the data plane did not start")?;
    Ok(Server {
        name: name.into(),
        address: address.parse()?,
        pid: pid.parse()?,
        child,
    })
}

/// `taskset -c 0` in front of what is measured.
fn program(workspace: &Workspace, name: &str, pinned: bool) -> Result<Command> {
    let path = find(workspace, name).with_context(|| format!("{name} is not there"))?;
    if !pinned {
        return Ok(workspace.command(path));
    }
    let mut command = workspace.command("taskset");
    command.args(["-c", "0"]).arg(path);
    Ok(command)
}

fn start(name: &str, address: SocketAddr, mut command: Command) -> Result<Server> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut server = Server {
        name: name.into(),
        address,
        pid: child.id(),
        child,
    };
    let deadline = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = server.child.try_wait()? {
            bail!("{name} ended ({status}) before it served");
        }
        if Instant::now() > deadline {
            bail!("{name} did not answer at {address}");
        }
        std::thread::yield_now();
    }
    Ok(server)
}

/// The last child of a process that only keeps a worker (nginx), else the process itself.
fn worker(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .next_back()
        .and_then(|child| child.parse().ok())
        .unwrap_or(pid)
}
