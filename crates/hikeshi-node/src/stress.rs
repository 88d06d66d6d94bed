//! The stress program of StressChaos: burns CPU and holds memory, for as long as its lease is renewed.
//!
//! Runs inside a pod beside a container, so that its load counts against the container's limits. Its lease is its
//! standard input: a byte now and then renews it; silence for [`LEASE`] or the end of the input ends the program.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Silence after which the program ends by itself.
pub const LEASE: Duration = Duration::from_secs(5);
/// A worker is busy for its share of each period.
const PERIOD: Duration = Duration::from_millis(100);
/// How often held memory is touched, so that it stays in memory.
const TOUCH: Duration = Duration::from_secs(1);
const PAGE: usize = 4096;

/// What to burn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    pub cpu_workers: u32,
    /// Percent of one CPU per worker.
    pub cpu_percent: u32,
    pub memory_workers: u32,
    /// Of all workers together.
    pub memory_bytes: u64,
}

impl Load {
    /// As command-line arguments, which [`Load::parse`] reads.
    pub fn arguments(&self) -> [String; 4] {
        [
            u64::from(self.cpu_workers),
            u64::from(self.cpu_percent),
            u64::from(self.memory_workers),
            self.memory_bytes,
        ]
        .map(|number| number.to_string())
    }

    /// CPU workers, percent of each, memory workers, bytes in all.
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let [cpu_workers, cpu_percent, memory_workers, memory_bytes] = arguments else {
            return None;
        };
        Some(Self {
            cpu_workers: cpu_workers.parse().ok()?,
            cpu_percent: cpu_percent.parse().ok()?,
            memory_workers: memory_workers.parse().ok()?,
            memory_bytes: memory_bytes.parse().ok()?,
        })
    }
}

/// The machine's memory in bytes.
pub fn machine_memory() -> u64 {
    // SAFETY: sysconf only reads constants of the system.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(size).unwrap_or(0)
}

/// Burns until the lease ends. The exit code of the program.
pub fn stress_main(load: Load) -> i32 {
    for _ in 0..load.cpu_workers {
        let busy = PERIOD.mul_f64(f64::from(load.cpu_percent.min(100)) / 100.0);
        std::thread::spawn(move || burn(busy));
    }
    let each = load.memory_bytes / u64::from(load.memory_workers.max(1));
    for _ in 0..load.memory_workers {
        std::thread::spawn(move || hold(usize::try_from(each).unwrap_or(usize::MAX)));
    }
    wait_for_the_end(&io::stdin());
    0
}

/// Threads end with the program.
fn burn(busy: Duration) {
    let mut number = 1u64;
    loop {
        let start = Instant::now();
        while start.elapsed() < busy {
            for _ in 0..1_000 {
                number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
        pause(PERIOD.saturating_sub(start.elapsed()));
    }
}

fn hold(bytes: usize) {
    let mut memory: Vec<u8> = Vec::new();
    // Page by page: as far as the limit lets us, rather than all or nothing.
    if memory.try_reserve_exact(bytes).is_err() {
        return;
    }
    memory.resize(bytes, 1);
    loop {
        for at in (0..memory.len()).step_by(PAGE) {
            memory[at] = memory[at].wrapping_add(1);
        }
        black_box(&mut memory);
        pause(TOUCH);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a worker's thread does nothing else, and there is no runtime in this program"
)]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

fn wait_for_the_end(lease: &impl std::os::fd::AsFd) {
    let wait = PollTimeout::try_from(LEASE).unwrap_or(PollTimeout::MAX);
    let mut buffer = [0u8; 64];
    loop {
        let mut set = [PollFd::new(lease.as_fd(), PollFlags::POLLIN)];
        match poll(&mut set, wait) {
            Ok(0) => return,
            Ok(_) => match nix::unistd::read(lease, &mut buffer) {
                Ok(0) => return,
                Ok(_) | Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
                Err(_) => return,
            },
            Err(nix::Error::EINTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn arguments_are_read_back() {
        let load = Load {
            cpu_workers: 2,
            cpu_percent: 50,
            memory_workers: 1,
            memory_bytes: 1 << 40,
        };
        assert_eq!(Load::parse(&load.arguments()), Some(load));
        assert_eq!(Load::parse(&["1".to_owned()]), None);
    }

    #[test]
    fn the_lease_ends_with_its_holder() {
        let (read, mut write) = io::pipe().unwrap();
        let waiting = std::thread::spawn(move || wait_for_the_end(&read));
        write.write_all(&[0]).unwrap();
        drop(write);
        waiting.join().unwrap();
    }
}
