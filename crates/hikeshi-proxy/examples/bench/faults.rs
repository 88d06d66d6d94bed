//! How exact the faults are.

use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hikeshi_proxy::faults::{
    Fault, FaultKind, HttpAction, HttpFault, HttpMatch, HttpTarget, Percent, PodSet, Replace,
};
use hikeshi_proxy::{AppProtocol, DataplaneClient};

use crate::client::Client;
use crate::idle;
use crate::proxy::{Dataplane, connect, snapshot};
use crate::stats::{excess, quantile};

const DELAY: Duration = Duration::from_millis(10);
const CYCLES: usize = 1000;
const IDLE: usize = 10_000;
const DRAWS: u64 = 20_000;
/// 1.5 %.
const SHARE: u32 = 15_000;
const HITS: u64 = DRAWS * SHARE as u64 / 1_000_000;
/// Requests after a fault is gone.
const AFTERWARDS: usize = 1000;

fn fault(target: HttpTarget, percent: Percent, action: HttpAction) -> Fault {
    Fault {
        id: "bench".into(),
        until: None,
        kind: FaultKind::Http(Box::new(HttpFault {
            pods: PodSet::Any,
            sources: PodSet::Any,
            port: None,
            target,
            matches: HttpMatch::default(),
            percent,
            action,
        })),
    }
}

fn broken(percent: Percent) -> Fault {
    let action = HttpAction {
        replace: Some(Replace {
            code: Some(503),
            ..Default::default()
        }),
        ..Default::default()
    };
    fault(HttpTarget::Response, percent, action)
}

/// A data plane whose faults can be changed while load runs.
struct Bench {
    client: DataplaneClient,
    upstream: std::net::SocketAddrV4,
    address: String,
    runtime: tokio::runtime::Runtime,
    dataplane: Dataplane,
}

impl Bench {
    fn apply(&self, faults: Vec<Fault>) -> Result<(), Box<dyn Error>> {
        let applied = self.runtime.block_on(self.client.apply(snapshot(
            self.upstream,
            AppProtocol::Http,
            faults,
        )))?;
        match applied.problems.first() {
            Some(problem) => Err(format!("{}: {}", problem.subject, problem.message).into()),
            None => Ok(()),
        }
    }
}

/// What only our data plane can be asked: whether a seed replays, and how faults come and go. Fails if any of it is not exact.
pub fn measure(upstream: &str) -> Result<(), Box<dyn Error>> {
    let dataplane = Dataplane::start(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let client = runtime.block_on(connect(dataplane.dir()))?;
    let upstream = upstream.parse()?;
    let applied = runtime.block_on(client.apply(snapshot(upstream, AppProtocol::Http, vec![])))?;
    let address = applied.bound["bench"].to_string();
    let bench = Bench {
        client,
        upstream,
        address,
        runtime,
        dataplane,
    };
    replays(&bench)?;
    let count = idle::most()?.min(IDLE);
    let idle = idle::measure(&bench.address, bench.dataplane.pid(), count)?;
    println!("{count} idle connections: {idle:.1} KB each");
    cycles(bench)
}

/// Prints the median and the 99th percentile of what a delay of 10 ms takes too long, and the least, in milliseconds: for 8
/// clients, then for 32.
pub fn delays(address: &str) -> Result<(), Box<dyn Error>> {
    for clients in [8, 32] {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                let address = address.to_owned();
                std::thread::spawn(move || -> std::io::Result<Vec<Duration>> {
                    let mut client = Client::connect(&address)?;
                    (0..300).map(|_| Ok(client.timed()?.1)).collect()
                })
            })
            .collect();
        let mut took = Vec::new();
        for thread in threads {
            took.extend(thread.join().map_err(|_| "a client's thread ended early")??);
        }
        took.sort_unstable();
        print!(
            "{:.3} {:.3} {:.3} ",
            excess(quantile(&took, 0.5), DELAY),
            excess(quantile(&took, 0.99), DELAY),
            excess(took[0], DELAY),
        );
    }
    println!();
    Ok(())
}

/// Prints how many of 20,000 requests were answered with 503, over four connections.
pub fn shares(address: &str) -> Result<(), Box<dyn Error>> {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let address = address.to_owned();
            std::thread::spawn(move || -> std::io::Result<u64> {
                let mut client = Client::connect(&address)?;
                let hits = (0..DRAWS / 4).map(|_| Ok(u64::from(client.get()? == 503)));
                hits.sum()
            })
        })
        .collect();
    let mut hits = 0;
    for thread in threads {
        hits += thread.join().map_err(|_| "a client's thread ended early")??;
    }
    println!("{hits}");
    Ok(())
}

/// The same seed hits the same requests, another one others.
fn replays(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let mut draws = Vec::new();
    for seed in [1, 1, 7] {
        // Another fault in between: a rule that stays goes on where it was.
        bench.apply(vec![])?;
        bench.apply(vec![broken(Percent { ppm: SHARE, seed })])?;
        let mut client = Client::connect(&bench.address)?;
        let hits: Vec<bool> = (0..DRAWS)
            .map(|_| Ok(client.get()? == 503))
            .collect::<std::io::Result<_>>()?;
        draws.push(hits);
    }
    bench.apply(vec![])?;
    let counts: Vec<_> = draws
        .iter()
        .map(|hits| hits.iter().filter(|hit| **hit).count())
        .collect();
    println!(
        "1.5 % of {DRAWS} requests, seeds 1, 1 and 7: {counts:?} hit; the same requests with the same seed: {}",
        draws[0] == draws[1]
    );
    match draws[0] == draws[1] && draws[0] != draws[2] && counts.iter().all(|count| *count as u64 == HITS) {
        true => Ok(()),
        false => Err("the share is not exact, or a seed does not replay".into()),
    }
}

/// Whoever asked through all cycles: the connection, and what it was answered besides 200 and 503.
type Asker = std::thread::JoinHandle<std::io::Result<(Client, u64, u64)>>;

/// Applies and recovers while 8 open connections ask without pause. The effect is timed on one more open connection.
fn cycles(bench: Bench) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let askers: Vec<Asker> = (0..8)
        .map(|_| {
            let (address, stop) = (bench.address.clone(), stop.clone());
            std::thread::spawn(move || {
                let (mut client, mut requests, mut strange) = (Client::connect(&address)?, 0, 0);
                while !stop.load(Ordering::Relaxed) {
                    strange += u64::from(!matches!(client.get()?, 200 | 503));
                    requests += 1;
                }
                Ok((client, requests, strange))
            })
        })
        .collect();
    let mut probe = Client::connect(&bench.address)?;
    let (mut applied, mut recovered) = (Vec::new(), Vec::new());
    for _ in 0..CYCLES {
        for (faults, wanted, times) in [
            (vec![broken(Percent::ALL)], 503, &mut applied),
            (vec![], 200, &mut recovered),
        ] {
            let begun = Instant::now();
            bench.apply(faults)?;
            while probe.get()? != wanted {}
            times.push(begun.elapsed());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (mut old, mut requests, mut strange) = (vec![probe], 0, 0);
    for asker in askers {
        let (client, asked, odd) = asker.join().map_err(|_| "a client's thread ended early")??;
        old.push(client);
        requests += asked;
        strange += odd;
    }
    let failed = failures(&mut old, &bench.address)?;
    applied.sort_unstable();
    recovered.sort_unstable();
    let millis = |times: &[Duration], share| quantile(times, share).as_secs_f64() * 1e3;
    println!(
        "{CYCLES} cycles under load ({requests} requests, {strange} answered otherwise): applied and seen p50 {:.2} ms, p99 \
         {:.2} ms; recovered and seen p50 {:.2} ms, p99 {:.2} ms; {failed} of {AFTERWARDS} requests failed afterwards",
        millis(&applied, 0.5),
        millis(&applied, 0.99),
        millis(&recovered, 0.5),
        millis(&recovered, 0.99),
    );
    let failed = failed + strange + killed(bench, &mut old)?;
    if failed > 0 {
        return Err(format!("{failed} requests failed that no fault was about").into());
    }
    Ok(())
}

/// How many of [`AFTERWARDS`] requests fail: half of them on the connections that lived through it, half on new ones.
fn failures(old: &mut [Client], address: &str) -> std::io::Result<u64> {
    let (mut failed, count) = (0, old.len());
    for round in 0..AFTERWARDS / 2 {
        failed += u64::from(old[round % count].get().ok() != Some(200));
        failed += u64::from(Client::connect(address)?.get().ok() != Some(200));
    }
    Ok(failed)
}

/// Another process takes control, breaks everything, and is killed with -9. Returns how many requests failed after the
/// first good one.
fn killed(bench: Bench, old: &mut [Client]) -> Result<u64, Box<dyn Error>> {
    let Bench {
        client,
        upstream,
        address,
        runtime,
        dataplane,
    } = bench;
    drop(client);
    drop(runtime);
    let mut control = Command::new(std::env::current_exe()?)
        .arg("control")
        .arg(dataplane.dir())
        .arg(upstream.to_string())
        .stdin(Stdio::piped())
        .spawn()?;
    while old[0].get()? != 503 {}
    let begun = Instant::now();
    control.kill()?;
    while old[0].get()? != 200 {}
    let took = begun.elapsed();
    control.wait()?;
    let failed = failures(old, &address)?;
    println!(
        "kill -9 of control: back to normal after {:.1} ms; {failed} of {AFTERWARDS} requests failed afterwards",
        took.as_secs_f64() * 1e3
    );
    Ok(failed)
}

/// Control, as [`killed`] wants it: breaks every answer for as long as it lives.
pub fn control(dir: &str, upstream: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = connect(dir.as_ref()).await?;
        let faults = vec![broken(Percent::ALL)];
        client
            .apply(snapshot(upstream.parse()?, AppProtocol::Http, faults))
            .await?;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.heartbeat().await?;
        }
    })
}
