//! The data plane on plain host addresses, without pods, and what can only be measured from close by. `cargo xtask bench
//! proxy` and `bench faults` run it; its output is for them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line's output is its interface"
)]

mod client;
mod faults;
mod idle;
mod proxy;
mod stats;

use std::process::ExitCode;

use hikeshi_proxy::AppProtocol;

const USAGE: &str = "usage: bench proxy UPSTREAM FAULTS.json   serve until the standard input ends; prints the address
       bench relay UPSTREAM FAULTS.json   the same for what is not HTTP
       bench faults UPSTREAM             measure seeds, idle connections, applying and recovering, and a kill -9 of control
       bench delays ADDRESS              excess of a delay of 10 ms: p50, p99, least in ms, for 8 and for 32 clients
       bench shares ADDRESS              how many of 20,000 requests are answered with 503
       bench control DIR UPSTREAM        control of a data plane that breaks every answer
       bench idle ADDRESS PID COUNT      open COUNT connections that ask once; prints kilobytes of PID for each
       bench ping ADDRESS SECONDS        round trips one after the other; prints their median in microseconds";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["proxy", upstream, faults] => proxy::serve(upstream, AppProtocol::Http, faults),
        ["relay", upstream, faults] => proxy::serve(upstream, AppProtocol::Tcp, faults),
        ["idle", address, pid, count] => idle::print(address, pid, count),
        ["dataplane", dir] => hikeshi_proxy::dataplane_main(dir.as_ref()).map_err(Into::into),
        ["faults", upstream] => faults::measure(upstream),
        ["delays", address] => faults::delays(address),
        ["shares", address] => faults::shares(address),
        ["control", dir, upstream] => faults::control(dir, upstream),
        ["ping", address, seconds] => client::ping(address, seconds),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
