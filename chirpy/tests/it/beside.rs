//! Processes beside the stand's own roles.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::stand::{DEADLINE, Stand, logs};

impl Stand {
    /// Starts a process of its own, with these variables too; its log has this name. For [`Stand::ended`] and [`Stand::end`].
    pub fn beside(&mut self, arguments: &[&str], variables: &[(&str, &str)], log: &str) -> usize {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chirpy"));
        command
            .args(arguments)
            .envs(self.environment.clone())
            .envs(variables.iter().copied());
        self.spawn(&mut command, log);
        self.children.len() - 1
    }

    /// Waits until a started process has ended: whether it ended well.
    pub async fn ended(&mut self, process: usize) -> bool {
        let start = Instant::now();
        loop {
            if let Some(status) = self.children[process].try_wait().expect("a child") {
                return status.success();
            }
            assert!(start.elapsed() < DEADLINE, "{}", logs(self.folder.path()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills a started process.
    pub fn end(&mut self, process: usize) {
        let child = &mut self.children[process];
        child.kill().and_then(|()| child.wait()).expect("it ends");
    }

    /// What a process has written.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
    }
}
