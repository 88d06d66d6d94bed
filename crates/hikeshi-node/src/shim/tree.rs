//! Which processes belong to which container, and what they use.

use std::collections::HashMap;
use std::fs;

/// One process, as the last scan found it.
#[derive(Debug, Clone)]
struct Entry {
    /// Clock ticks since boot: tells a reused pid.
    start_time: u64,
    container: usize,
    cpu_nanos: u64,
    private_bytes: u64,
    shared_bytes: u64,
}

/// The pod's processes. Containers are numbered by their owner.
#[derive(Debug, Default)]
pub struct Tree {
    processes: HashMap<i32, Entry>,
    /// CPU time of processes that have ended, by container.
    ended_nanos: HashMap<usize, u64>,
    /// Containers' names by number.
    names: Vec<String>,
}

/// In the environment of every process that the init starts: tells whose an orphan is that no scan has seen with
/// its parent.
pub const OWNER_VARIABLE: &str = "HIKESHI_CONTAINER";

/// The fields of `/proc/PID/stat` that tell where a process belongs.
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    pub state: char,
    pub parent: i32,
    pub session: i32,
    pub start_time: u64,
}

/// Reads `/proc/PID/stat`; the name in parentheses may contain anything.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        session: fields.nth(1)?.parse().ok()?,
        start_time: fields.nth(15)?.parse().ok()?,
    })
}

/// CPU time of a process with all its threads, in nanoseconds; one system call.
fn cpu_nanos(pid: i32) -> Option<u64> {
    let clock = ((!pid) << 3) | 2;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (result == 0).then(|| time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

impl Tree {
    /// Gives a container its number: the next free one.
    pub fn name(&mut self, container: usize, name: &str) {
        if container == self.names.len() {
            self.names.push(name.to_owned());
        }
    }

    fn owner_by_environment(&self, pid: i32) -> Option<usize> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let owner = variables.find_map(|variable| {
            std::str::from_utf8(variable)
                .ok()?
                .strip_prefix(OWNER_VARIABLE)?
                .strip_prefix('=')
        })?;
        self.names.iter().position(|name| name == owner)
    }

    /// The first process of a container: its descendants belong to it too.
    pub fn adopt(&mut self, pid: i32, container: usize) {
        let start_time = stat_of(pid).map_or(0, |stat| stat.start_time);
        let entry = Entry {
            start_time,
            container,
            cpu_nanos: 0,
            private_bytes: 0,
            shared_bytes: 0,
        };
        self.processes.insert(pid, entry);
    }

    /// Looks at `/proc` again: new processes join the container of their parent or session leader (also when
    /// that has just ended), ended ones leave their CPU time behind.
    pub fn scan(&mut self) {
        let mut alive = HashMap::new();
        let mut fresh = Vec::new();
        for (pid, stat) in stats().filter(|(pid, _)| *pid != 1) {
            match self.processes.get(&pid) {
                Some(known) if known.start_time == stat.start_time || known.start_time == 0 => {
                    alive.insert(pid, known.clone());
                }
                _ => fresh.push((pid, stat)),
            }
        }
        // Older processes first, so that a parent is placed before its children.
        fresh.sort_by_key(|(pid, stat)| (stat.start_time, *pid));
        for (pid, stat) in fresh {
            let of = |pid: &i32| {
                alive
                    .get(pid)
                    .or_else(|| self.processes.get(pid))
                    .map(|entry| entry.container)
            };
            if let Some(container) = of(&stat.parent)
                .or_else(|| of(&stat.session))
                .or_else(|| self.owner_by_environment(pid))
            {
                let start_time = stat.start_time;
                alive.insert(
                    pid,
                    Entry {
                        start_time,
                        container,
                        cpu_nanos: 0,
                        private_bytes: 0,
                        shared_bytes: 0,
                    },
                );
            }
        }
        for (pid, entry) in &self.processes {
            if alive
                .get(pid)
                .is_none_or(|now| now.start_time != entry.start_time)
            {
                *self.ended_nanos.entry(entry.container).or_default() += entry.cpu_nanos;
            }
        }
        self.processes = alive;
        self.measure(true);
    }

    /// Reads the CPU clocks, and with `memory` also the memory of the processes that have run since.
    pub fn measure(&mut self, memory: bool) {
        for (pid, entry) in &mut self.processes {
            let Some(now) = cpu_nanos(*pid) else { continue };
            let ran = now != entry.cpu_nanos;
            entry.cpu_nanos = entry.cpu_nanos.max(now);
            if memory && (ran || entry.private_bytes == 0) {
                let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
                (entry.private_bytes, entry.shared_bytes) = parse_statm(&statm).unwrap_or_default();
            }
        }
    }

    pub fn pids(&self, container: usize) -> Vec<i32> {
        self.processes
            .iter()
            .filter(|(_, entry)| entry.container == container)
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// CPU time in nanoseconds since the container's first process; never falls.
    pub fn container_cpu(&self, container: usize) -> u64 {
        let ended = self.ended_nanos.get(&container).copied().unwrap_or_default();
        let running: u64 = self
            .processes
            .values()
            .filter(|entry| entry.container == container)
            .map(|entry| entry.cpu_nanos)
            .sum();
        ended + running
    }

    /// Private memory of each process plus shared memory, counted once: PostgreSQL's processes share their
    /// buffers. File pages of one process stand for those of its siblings.
    pub fn container_memory(&self, container: usize) -> u64 {
        let mine = self
            .processes
            .values()
            .filter(|entry| entry.container == container);
        let (private, shared) = mine.fold((0, 0), |(private, shared), entry| {
            (private + entry.private_bytes, entry.shared_bytes.max(shared))
        });
        private + shared
    }
}

/// Every process that can be read.
pub fn stats() -> impl Iterator<Item = (i32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, stat_of(pid)?)))
}

fn stat_of(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Private and shared resident bytes from `/proc/PID/statm`.
fn parse_statm(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    // SAFETY: sysconf only reads a constant of the system.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    Some((resident.saturating_sub(shared) * page, shared * page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_contain_parentheses_and_spaces() {
        let text = "42 (a) b (c) S 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2 3";
        assert_eq!(
            parse_stat(text),
            Some(Stat {
                state: 'S',
                parent: 7,
                session: 40,
                start_time: 987_654
            })
        );
    }

    #[test]
    fn own_cpu_clock_advances() {
        let pid = std::process::id().cast_signed();
        let first = cpu_nanos(pid).unwrap();
        let mut sum = 0u64;
        while cpu_nanos(pid).unwrap() == first {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_nanos(pid).unwrap() > first);
    }

    #[test]
    fn resident_memory_is_split_into_private_and_shared() {
        let (private, shared) = parse_statm("1000 300 100 1 0 200 0\n").unwrap();
        assert_eq!(private, shared * 2);
    }
}
