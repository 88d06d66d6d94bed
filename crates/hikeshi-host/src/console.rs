//! Runs one kubectl with a seat's identity: no shell, no other program.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hikeshi_server::api::{ConsoleChunk, ConsoleStream};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::mpsc;

/// Bytes of a command's output that the drill's log keeps (its end: that is what people saw last).
const KEPT: usize = 4096;

/// Answers the kubeconfig of a person in a seat: `(name, seat) -> path`.
pub type KubeconfigOf = Arc<dyn Fn(&str, &str) -> Result<PathBuf, String> + Send + Sync>;

/// Runs commands for seats.
#[derive(Clone)]
pub struct Shell {
    pub kubectl: PathBuf,
    pub kubeconfig_of: KubeconfigOf,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// 128 + signal when it was stopped.
    pub exit_code: i32,
    /// The end of standard output and standard error in the order in which they came.
    pub output: String,
    pub seconds: f64,
}

impl Shell {
    /// Runs `kubectl ARGS`, sending output as it comes. A closed `out` or the passing of `limit` stops the command.
    ///
    /// # Errors
    /// A sentence, when kubectl cannot be started or the seat has no identity.
    pub async fn run(
        &self,
        name: &str,
        seat: &str,
        args: &[String],
        limit: Duration,
        out: Option<mpsc::Sender<ConsoleChunk>>,
    ) -> Result<Finished, String> {
        let kubeconfig = (self.kubeconfig_of)(name, seat)?;
        let started = Instant::now();
        let mut child = Command::new(&self.kubectl)
            .args(args)
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", "/nonexistent")
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", self.kubectl.display()))?;
        let (lines, mut heard) = mpsc::channel::<ConsoleChunk>(64);
        let readers = [
            child
                .stdout
                .take()
                .map(|pipe| tokio::spawn(pump(pipe, ConsoleStream::Stdout, lines.clone()))),
            child
                .stderr
                .take()
                .map(|pipe| tokio::spawn(pump(pipe, ConsoleStream::Stderr, lines.clone()))),
        ];
        drop(lines);
        let mut output = String::new();
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                chunk = heard.recv() => {
                    let Some(chunk) = chunk else { break };
                    output.push_str(&chunk.text);
                    keep_end(&mut output, 4 * KEPT);
                    if let Some(out) = &out && out.send(chunk).await.is_err() {
                        break;
                    }
                }
                () = &mut deadline => break,
                () = closed(out.as_ref()) => break,
            }
        }
        // Both pipes closed by itself, or it is stopped here; either way it is reaped.
        let ended = tokio::time::timeout(Duration::from_millis(500), child.wait()).await;
        let status = match ended {
            Ok(status) => status,
            Err(_) => {
                let _ = child.start_kill();
                child.wait().await
            }
        };
        for reader in readers.into_iter().flatten() {
            reader.abort();
        }
        keep_end(&mut output, KEPT);
        Ok(Finished {
            exit_code: exit_code(status),
            output,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

async fn closed(out: Option<&mpsc::Sender<ConsoleChunk>>) {
    match out {
        Some(out) => out.closed().await,
        None => std::future::pending().await,
    }
}

async fn pump(
    mut pipe: impl tokio::io::AsyncRead + Unpin,
    stream: ConsoleStream,
    out: mpsc::Sender<ConsoleChunk>,
) {
    let mut bytes = vec![0; 8192];
    let mut rest = Vec::new();
    while let Ok(count) = pipe.read(&mut bytes).await {
        if count == 0 {
            break;
        }
        rest.extend_from_slice(&bytes[..count]);
        // A character may be cut by the pipe: its first half waits for the next read.
        let whole = match std::str::from_utf8(&rest) {
            Ok(_) => rest.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => rest.len(),
        };
        let text = String::from_utf8_lossy(&rest[..whole]).into_owned();
        rest.drain(..whole);
        if !text.is_empty() && out.send(ConsoleChunk { stream, text }).await.is_err() {
            break;
        }
    }
}

fn keep_end(text: &mut String, most: usize) {
    if text.len() <= most {
        return;
    }
    let mut from = text.len() - most;
    // Begin with a whole line where there is one.
    from = text[ceil_boundary(text, from)..]
        .find('\n')
        .map_or(ceil_boundary(text, from), |at| ceil_boundary(text, from) + at + 1);
    text.drain(..from);
}

fn ceil_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

fn exit_code(status: std::io::Result<std::process::ExitStatus>) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(1),
        Err(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept_in_whole_lines() {
        let mut text = "最初の行\nsecond\nthird\n".to_owned();
        keep_end(&mut text, 10);
        assert_eq!(text, "third\n");
    }

    #[tokio::test]
    async fn a_stopped_command_is_reaped_and_says_so() {
        let shell = Shell {
            kubectl: "/bin/sleep".into(),
            kubeconfig_of: Arc::new(|_, _| Ok("/nonexistent".into())),
        };
        let finished = shell
            .run(
                "pika7",
                "operator",
                &["600".into()],
                Duration::from_millis(50),
                None,
            )
            .await
            .unwrap();
        assert_eq!(finished.exit_code, 128 + 9);
    }
}
