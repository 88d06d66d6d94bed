//! What an idle connection costs.

use std::error::Error;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::client::Client;

pub fn print(address: &str, pid: &str, count: &str) -> Result<(), Box<dyn Error>> {
    println!("{:.1}", measure(address, pid.parse()?, count.parse()?)?);
    Ok(())
}

/// How many connections one process may hold both ends of, as this one would.
pub fn most() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Besides, it has a few descriptors of its own.
    Ok(usize::try_from(hard / 2)
        .unwrap_or(usize::MAX)
        .saturating_sub(200))
}

/// Kilobytes of the process `pid` for each of `count` connections that have asked once and stay open.
pub fn measure(address: &str, pid: u32, count: usize) -> Result<f64, Box<dyn Error>> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let before = resident(pid)?;
    let mut clients = Vec::with_capacity(count);
    for place in 0..count {
        let opened = Client::connect(address).and_then(|mut client| {
            client.get()?;
            client.shrink();
            Ok(client)
        });
        clients.push(opened.map_err(|error| format!("connection {place} of {count}: {error}"))?);
    }
    Ok(resident(pid)?.saturating_sub(before) as f64 / count as f64 / 1e3)
}

/// Bytes.
fn resident(pid: u32) -> io::Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.ok_or_else(|| io::Error::other("statm has no second field"))? * 4096)
}
