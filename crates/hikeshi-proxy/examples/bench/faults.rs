//! How exact the faults are.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hikeshi_proxy::faults::{
    Delay, Fault, FaultKind, HttpAction, HttpFault, HttpMatch, HttpTarget, Percent, PodSet, Replace,
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

fn slow() -> Fault {
    let action = HttpAction {
        delay: Some(Delay::fixed(DELAY)),
        ..Default::default()
    };
    fault(HttpTarget::Request, Percent::ALL, action)
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
    delays(&bench, 8)?;
    delays(&bench, 32)?;
    shares(&bench)?;
    cycles(&bench)?;
    let count = idle::most()?.min(IDLE);
    let idle = idle::measure(&bench.address, bench.dataplane.pid(), count)?;
    println!("{count} idle connections: {idle:.1} KB each");
    Ok(())
}

fn delays(bench: &Bench, clients: usize) -> Result<(), Box<dyn Error>> {
    bench.apply(vec![slow()])?;
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let address = bench.address.clone();
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
    println!(
        "delay of 10 ms, c={clients}: excess p50 {:.2} ms, p99 {:.2} ms, least {:.3} ms",
        excess(quantile(&took, 0.5), DELAY),
        excess(quantile(&took, 0.99), DELAY),
        excess(took[0], DELAY),
    );
    bench.apply(vec![])
}

fn shares(bench: &Bench) -> Result<(), Box<dyn Error>> {
    for seed in [1, 7] {
        bench.apply(vec![broken(Percent { ppm: SHARE, seed })])?;
        let hits = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (address, hits) = (bench.address.clone(), hits.clone());
                std::thread::spawn(move || -> std::io::Result<()> {
                    let mut client = Client::connect(&address)?;
                    for _ in 0..DRAWS / 4 {
                        if client.get()? == 503 {
                            hits.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a client's thread ended early")??;
        }
        println!(
            "1.5 % of {DRAWS} requests, seed {seed}: {} hit",
            hits.load(Ordering::Relaxed)
        );
        bench.apply(vec![])?;
    }
    Ok(())
}

/// Applies and recovers while 8 open connections ask without pause. The effect is timed on one more open connection.
fn cycles(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (address, stop) = (bench.address.clone(), stop.clone());
            std::thread::spawn(move || -> std::io::Result<u64> {
                let (mut client, mut requests) = (Client::connect(&address)?, 0);
                while !stop.load(Ordering::Relaxed) {
                    client.get()?;
                    requests += 1;
                }
                Ok(requests)
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
    let mut requests = 0;
    for thread in threads {
        requests += thread.join().map_err(|_| "a client's thread ended early")??;
    }
    // The same connections that lived through it, and new ones.
    let mut failed = 0;
    for round in 0..1000 {
        if round % 10 == 0 {
            probe = Client::connect(&bench.address)?;
        }
        failed += u64::from(probe.get()? != 200);
    }
    applied.sort_unstable();
    recovered.sort_unstable();
    let millis = |times: &[Duration], share| quantile(times, share).as_secs_f64() * 1e3;
    println!(
        "{CYCLES} cycles under load ({requests} requests): applied and seen p50 {:.2} ms, p99 {:.2} ms; recovered and seen p50 \
         {:.2} ms, p99 {:.2} ms; {failed} of 1000 requests failed afterwards",
        millis(&applied, 0.5),
        millis(&applied, 0.99),
        millis(&recovered, 0.5),
        millis(&recovered, 0.99),
    );
    Ok(())
}
