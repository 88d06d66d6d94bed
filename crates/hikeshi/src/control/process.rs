//! Naming a process so that a recycled pid is never mistaken for it.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A process's identity across restarts of control: pid, start time (clock ticks since boot) and boot id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    pub start_time: u64,
    pub boot_id: String,
}

impl ProcessId {
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self {
            pid,
            start_time: start_time(pid)?,
            boot_id: boot_id(),
        })
    }

    pub fn current() -> Option<Self> {
        Self::of(std::process::id().cast_signed())
    }

    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Field 22 of `/proc/PID/stat`, read after the parenthesised name (which may contain spaces). A zombie counts as gone.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let after = &stat[stat.rfind(')')? + 2..];
    let fields: Vec<&str> = after.split(' ').collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_an_older_namesake_is_not() {
        let me = ProcessId::current().unwrap();
        assert!(me.is_alive());
        let namesake = ProcessId {
            start_time: me.start_time - 1,
            ..me
        };
        assert!(!namesake.is_alive());
    }
}
