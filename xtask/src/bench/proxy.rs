//! `cargo xtask bench proxy` and `bench faults`: the data plane alone, without pods.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::peers::{self, Server};
use super::table::{self, Round, Row};
use crate::workspace::{self, Workspace};

/// Rounds unless told otherwise: an odd number has a median.
const ROUNDS: usize = 5;
const CONNECTIONS: &str = "32";
/// Seconds of load, and of one client alone, per candidate and round.
const LOAD: &str = "4";
const ALONE: &str = "1.5";
/// Connections that are open and say nothing, where so many descriptors may be open.
const IDLE: usize = 10_000;
/// What a process has open besides.
const OTHER_DESCRIPTORS: usize = 200;

pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let rounds = match args {
        [] => ROUNDS,
        [rounds] => rounds
            .parse()
            .with_context(|| format!("{rounds} is no number of rounds"))?,
        _ => bail!("bench proxy takes one argument: the number of rounds"),
    };
    peers::install(workspace)?;
    let bench = build(workspace)?;
    let dir = scratch(workspace)?;
    // Two descriptors for each connection: a proxy has both ends.
    let idle = IDLE.min((descriptors(workspace)? / 2).saturating_sub(OTHER_DESCRIPTORS));
    let upstream = peers::upstream(workspace, &dir)?;
    let proxies = [
        peers::nginx_proxy(workspace, &dir, upstream.address)?,
        peers::haproxy(workspace, &dir, upstream.address, idle + OTHER_DESCRIPTORS / 2)?,
        peers::envoy(workspace, &dir, upstream.address)?,
        peers::ours(&bench, &dir, upstream.address)?,
    ];
    let mut rows = vec![Row::new("direct")];
    rows.extend(proxies.iter().map(|proxy| Row::new(&proxy.name)));
    for round in 1..=rounds {
        println!("bench: round {round} of {rounds}");
        rows[0]
            .rounds
            .push(measure(workspace, &bench, &upstream, &upstream)?);
        for (row, proxy) in rows[1..].iter_mut().zip(&proxies) {
            row.rounds.push(measure(workspace, &bench, proxy, &upstream)?);
        }
    }
    for (row, proxy) in rows[1..].iter_mut().zip(&proxies) {
        let (address, pid) = (proxy.address.to_string(), proxy.pid().to_string());
        let figure = figure(
            workspace
                .command(&bench)
                .args(["idle", &address, &pid, &idle.to_string()]),
        );
        row.idle = Some(figure.with_context(|| format!("{}: idle connections", proxy.name))?);
    }
    table::print(&rows, "nginx");
    println!("KB idle: of {idle} connections");
    Ok(())
}

/// Delays and shares beside envoy in alternating rounds, then what only our data plane can be asked.
pub fn faults(workspace: &Workspace) -> Result<()> {
    peers::install(workspace)?;
    let bench = build(workspace)?;
    let dir = scratch(workspace)?;
    let upstream = peers::upstream(workspace, &dir)?;
    let delayed = [
        peers::envoy_delayed(workspace, &dir, upstream.address)?,
        peers::delayed(&bench, &dir, upstream.address)?,
    ];
    let mut rounds = vec![Vec::new(); delayed.len()];
    for _ in 0..ROUNDS {
        for (server, rounds) in delayed.iter().zip(&mut rounds) {
            rounds.push(figures(
                workspace
                    .command(&bench)
                    .args(["delays", &server.address.to_string()]),
            )?);
        }
    }
    println!(
        "| delay of 10 ms, excess in ms | c=8 p50 | c=8 p99 | c=8 least | c=32 p50 | c=32 p99 | c=32 least |"
    );
    println!("|---|---|---|---|---|---|---|");
    let medians: Vec<_> = rounds.iter().map(|rounds| table::medians(rounds)).collect();
    for (server, medians) in delayed.iter().zip(&medians) {
        let cells: Vec<_> = medians.iter().map(|figure| format!("{figure:.2}")).collect();
        println!("| {} | {} |", server.name, cells.join(" | "));
    }
    let ratios: Vec<_> = [0, 1, 3, 4]
        .iter()
        .map(|at| format!("{:.2}", medians[1][*at] / medians[0][*at]))
        .collect();
    println!("hikeshi / envoy: x {} (p50 and p99 of each)", ratios.join(", "));
    // Never early: what a delay says is what it holds, in every round.
    let early = rounds[1].iter().flat_map(|round| [round[2], round[5]]);
    if early.into_iter().any(|least| least < 0.0) {
        bail!("a delay was over before its time");
    }
    let slow = &delayed[1];
    let (before, _) = usage(slow.pid())?;
    let load = wrk(workspace, slow.address, "1000", "5")?;
    let (after, resident) = usage(slow.pid())?;
    println!(
        "1,000 delayed connections: {:.0} req/s, p50 {:.2} ms, p99 {:.2} ms, CPU {:.2} s/100k, {:.1} KB each",
        load.requests_per_second,
        load.p50_micros / 1e3,
        load.p99_micros / 1e3,
        (after - before) / load.requests * 1e5,
        // All that the process holds, its programs's own pages included.
        resident * 1e3 / 1000.0,
    );
    let peer = &delayed[0];
    let load = wrk(workspace, peer.address, "1000", "5")?;
    println!(
        "the same through {}: {:.0} req/s, p50 {:.2} ms, p99 {:.2} ms",
        peer.name,
        load.requests_per_second,
        load.p50_micros / 1e3,
        load.p99_micros / 1e3,
    );
    drop(delayed);
    for server in [
        peers::envoy_broken(workspace, &dir, upstream.address)?,
        peers::broken(&bench, &dir, upstream.address)?,
    ] {
        let address = server.address.to_string();
        let hits = figure(workspace.command(&bench).args(["shares", &address]))?;
        println!("1.5 % of 20,000 requests through {}: {hits} hit", server.name);
    }
    let mut command = workspace.command(&bench);
    workspace::run(
        "bench faults",
        command.args(["faults", &upstream.address.to_string()]),
    )
}

/// How many descriptors a process started from here may have open: more than before, if we may ask for more.
fn descriptors(workspace: &Workspace) -> Result<usize> {
    let pid = std::process::id().to_string();
    // Root may; for others the limit stays as it is.
    let _ = workspace
        .command("prlimit")
        .args(["--pid", &pid, "--nofile=65536:65536"])
        .output();
    let limits = fs::read_to_string("/proc/self/limits")?;
    let hard = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(4)?.parse().ok());
    hard.context("/proc/self/limits does not say how many files may be open")
}

/// Only the small harness, not the whole program.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let args = ["build", "--release", "-p", "hikeshi-proxy", "--example", "bench"];
    workspace::run("cargo build", workspace.cargo().args(args))?;
    Ok(workspace.built("release/examples", "bench"))
}

fn scratch(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.state()?.join("bench");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// `upstream` is where the proxies forward to.
fn measure(workspace: &Workspace, bench: &Path, server: &Server, upstream: &Server) -> Result<Round> {
    let (before, _) = usage(server.pid())?;
    let load = wrk(workspace, server.address, CONNECTIONS, LOAD)?;
    let (after, resident) = usage(server.pid())?;
    // All three on one core: what is measured is the proxy's work, not how fast another core wakes up.
    let cores = pin(workspace, upstream.pid(), "0")?;
    let mut ping = workspace.command("taskset");
    ping.args(["-c", "0"])
        .arg(bench)
        .args(["ping", &server.address.to_string(), ALONE]);
    let alone = figure(&mut ping).with_context(|| server.name.clone());
    pin(workspace, upstream.pid(), &cores)?;
    Ok(Round {
        requests_per_second: load.requests_per_second,
        p50_micros: load.p50_micros,
        p99_micros: load.p99_micros,
        cpu: (after - before) / load.requests * 1e5,
        resident,
        alone: alone?,
    })
}

/// Keeps a process to `cores` (as taskset writes them); returns those it had.
fn pin(workspace: &Workspace, pid: u32, cores: &str) -> Result<String> {
    let pid = pid.to_string();
    let before = workspace.command("taskset").args(["-cp", &pid]).output()?;
    let before = String::from_utf8_lossy(&before.stdout);
    let list = before.rsplit(": ").next().unwrap_or_default().trim().to_string();
    let set = workspace.command("taskset").args(["-cp", cores, &pid]).output()?;
    if !set.status.success() {
        bail!("taskset: {}", String::from_utf8_lossy(&set.stderr));
    }
    Ok(list)
}

/// The one number that a command prints.
fn figure(command: &mut std::process::Command) -> Result<f64> {
    let figures = figures(command)?;
    figures.first().copied().context("it printed no figure")
}

/// The numbers that a command prints.
fn figures(command: &mut std::process::Command) -> Result<Vec<f64>> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().map(|word| Ok(word.parse()?)).collect()
}

/// What wrk says.
pub(super) struct Load {
    pub(super) requests: f64,
    pub(super) requests_per_second: f64,
    p50_micros: f64,
    p99_micros: f64,
}

pub(super) fn wrk(
    workspace: &Workspace,
    address: SocketAddr,
    connections: &str,
    seconds: &str,
) -> Result<Load> {
    let output = workspace
        .command("wrk")
        .args(["-t1", "-c", connections, "-d", seconds, "--latency"])
        .arg(format!("http://{address}/"))
        .output()
        .context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!(
            "wrk at {address}:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    parse(&text).with_context(|| format!("wrk said\n{text}"))
}

fn parse(text: &str) -> Option<Load> {
    let field = |word: &str, place: usize| {
        let words = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        // As a word of its own: other lines hold percentages too, such as 87.50%.
        words
            .into_iter()
            .find(|words| words.contains(&word))?
            .get(place)
            .copied()
    };
    Some(Load {
        requests: field("requests", 0)?.parse().ok()?,
        requests_per_second: field("Requests/sec:", 1)?.parse().ok()?,
        p50_micros: micros(field("50%", 1)?)?,
        p99_micros: micros(field("99%", 1)?)?,
    })
}

/// `817.00us`, `1.16ms`, `1.02s`.
fn micros(text: &str) -> Option<f64> {
    [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .into_iter()
        .find_map(|(unit, factor)| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(number * factor)
        })
}

/// CPU seconds so far, and resident megabytes.
fn usage(pid: u32) -> Result<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name may hold anything: count from the last bracket.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |place: usize| -> Result<f64> { Ok(fields.get(place).context("a short stat")?.parse()?) };
    // Linux counts user and system time in hundredths of a second, memory in pages of 4 KiB.
    Ok(((number(11)? + number(12)?) / 100.0, number(21)? * 4096.0 / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_words_are_understood() {
        let text = "    Req/Sec    36.14k     5.55k   59.42k    87.50%\n  Latency Distribution\n     50%  817.00us\n     75%    1.10ms\n     90%    2.00ms\n     99%   10.47ms\n  \
                    81313 requests in 3.00s, 89.23MB read\nRequests/sec:  27103.53\nTransfer/sec:     29.74MB\n";
        let load = parse(text).unwrap();
        assert_eq!((load.requests, load.requests_per_second), (81313.0, 27103.53));
        assert_eq!((load.p50_micros, load.p99_micros), (817.0, 10_470.0));
    }
}
