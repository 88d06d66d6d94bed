//! CPU seconds by pod, from /proc: every process below a pod's init counts as that pod's.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// CPU seconds by name: pods without their replica's suffix, and the parts of Hikeshi itself.
pub type Usage = BTreeMap<String, f64>;

struct Process {
    parent: u32,
    /// Its own and its ended children's.
    seconds: f64,
    command: String,
}

/// What the system whose state folder is `home` has used so far.
pub fn usage(home: &Path) -> Result<Usage> {
    let processes = processes()?;
    let home_text = home.to_string_lossy();
    let mut usage = Usage::new();
    for (pid, process) in &processes {
        let name = if process.command.contains(" internal pod-init ") {
            process
                .command
                .contains(&*home_text)
                .then(|| "pods' inits".to_owned())
        } else if process.command.contains(&*home_text) || belongs(*pid, &home_text) {
            own_part(&process.command).or_else(|| pod_of(&processes, *pid, home))
        } else {
            pod_of(&processes, *pid, home)
        };
        if let Some(name) = name {
            *usage.entry(name).or_default() += process.seconds;
        }
    }
    Ok(usage)
}

/// The first process of a pod's container: what its init started.
pub fn main_process(home: &Path, pod: &str) -> Result<Option<u32>> {
    let processes = processes()?;
    let is_init = |pid: &u32| {
        let init = processes.get(pid);
        init.is_some_and(|init| init.command.contains(" internal pod-init "))
    };
    let mut own: Vec<u32> = processes
        .iter()
        .filter(|(_, process)| is_init(&process.parent) && !process.command.contains(" internal "))
        .map(|(pid, _)| *pid)
        .filter(|pid| named_pod_of(&processes, *pid, home).as_deref() == Some(pod))
        .collect();
    own.sort_unstable();
    Ok(own.first().copied())
}

fn own_part(command: &str) -> Option<String> {
    [
        (" internal dataplane", "data plane"),
        (" internal control", "control"),
    ]
    .into_iter()
    .find_map(|(word, name)| command.contains(word).then(|| name.to_owned()))
}

/// Whether a process was started for this state folder; control and the data plane know it by their environment.
fn belongs(pid: u32, home: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        String::from_utf8_lossy(&environment).contains(&format!("HIKESHI_HOME={home}\0"))
    })
}

/// The workload of the pod that a process runs in.
fn pod_of(processes: &HashMap<u32, Process>, pid: u32, home: &Path) -> Option<String> {
    Some(workload(&named_pod_of(processes, pid, home)?))
}

/// The pod that a process runs in: that of the init it descends from.
fn named_pod_of(processes: &HashMap<u32, Process>, mut pid: u32, home: &Path) -> Option<String> {
    let pods = format!("{}/pods/", home.display());
    // Deeper than any tree of processes: a pid may be given anew while this looks.
    for _ in 0..64 {
        let process = processes.get(&pid)?;
        if let Some((_, rest)) = process.command.split_once(&pods) {
            let uid = rest.split([' ', '/']).next()?;
            let told: serde_json::Value =
                serde_json::from_slice(&fs::read(home.join("pods").join(uid).join("pod.json")).ok()?).ok()?;
            return Some(told.get("hostname")?.as_str()?.to_owned());
        }
        pid = process.parent;
    }
    None
}

/// `gateway` of `gateway-z2gt6t2m2t-977ps`; StatefulSets' pods keep their number.
fn workload(pod: &str) -> String {
    let words: Vec<&str> = pod.split('-').collect();
    match words.as_slice() {
        [name @ .., hash, random] if random.len() == 5 && hash.len() >= 8 => name.join("-"),
        [name @ .., random] if random.len() == 5 => name.join("-"),
        _ => pod.to_owned(),
    }
}

fn processes() -> Result<HashMap<u32, Process>> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        if let Some(process) = process(&entry.path()) {
            processes.insert(pid, process);
        }
    }
    Ok(processes)
}

fn process(folder: &Path) -> Option<Process> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let command = fs::read(folder.join("cmdline")).ok()?;
    // The program's name may hold anything: count from the last bracket.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    // Linux counts user and system time in hundredths of a second.
    let ticks: u64 = fields
        .get(11..15)?
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        seconds: ticks as f64 / 100.0,
        command: String::from_utf8_lossy(&command).replace('\0', " "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_known_by_their_workload() {
        for (pod, expected) in [
            ("gateway-z2gt6t2m2t-977ps", "gateway"),
            ("timeline-service-r8vxq9qmw2-628xx", "timeline-service"),
            ("redis-cluster-0", "redis-cluster-0"),
            ("chirpy-check-x7k2p", "chirpy-check"),
        ] {
            assert_eq!(workload(pod), expected);
        }
    }
}
