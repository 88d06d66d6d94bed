//! The real kubectl with somebody's kubeconfig.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::text;

#[derive(Clone)]
pub struct Kubectl {
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
        }
    }

    /// `kubectl LINE`, words parted by spaces.
    pub async fn run(&self, line: &str) -> Output {
        self.words(&line.split(' ').collect::<Vec<_>>(), "").await
    }

    /// Standard output of what must succeed.
    pub async fn ok(&self, line: &str) -> String {
        let output = self.run(line).await;
        assert!(
            output.status.success(),
            "kubectl {line}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Standard error of what must be refused.
    pub async fn refused(&self, line: &str) -> String {
        let output = self.run(line).await;
        assert!(
            !output.status.success(),
            "kubectl {line} should be refused: {}",
            text(&output.stdout)
        );
        text(&output.stderr)
    }

    /// `kubectl apply -f -`.
    pub async fn apply(&self, manifest: &str) -> String {
        let output = self.words(&["apply", "-f", "-"], manifest).await;
        assert!(output.status.success(), "kubectl apply: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Arguments as they are, and what kubectl reads.
    pub async fn words(&self, words: &[&str], input: &str) -> Output {
        let mut child = Command::new("kubectl")
            .args(words)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", "/nonexistent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("its input");
        stdin
            .write_all(input.as_bytes())
            .await
            .expect("writing to kubectl");
        drop(stdin);
        child.wait_with_output().await.expect("kubectl ends")
    }
}
