//! A copy of every log line for log-shipper, when there is one. Logging never waits for it.

use std::io::{self, Write};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be sent; while log-shipper cannot be reached, what comes beyond them is on standard output only.
const WAITING: usize = 4096;
/// Most lines of one request.
const TOGETHER: usize = 512;

/// Standard output, and log-shipper.
pub struct Tee(Option<mpsc::Sender<Vec<u8>>>);

/// From `LOG_SHIPPER_URL`, the role's base URL; without it there is only standard output.
pub fn from_env() -> Tee {
    Tee(std::env::var("LOG_SHIPPER_URL")
        .ok()
        .filter(|url| !url.is_empty())
        .map(|url| {
            let (sender, lines) = mpsc::channel(WAITING);
            tokio::spawn(send(url, lines));
            sender
        }))
}

impl<'a> MakeWriter<'a> for Tee {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(None)
    }

    fn make_writer_for(&'a self, about: &tracing::Metadata<'_>) -> Line<'a> {
        // What the HTTP client says of sending a line would be a line to send.
        let own = about.target().starts_with("chirpy");
        Line(self.0.as_ref().filter(|_| own))
    }
}

/// One event's line.
pub struct Line<'a>(Option<&'a mpsc::Sender<Vec<u8>>>);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stdout().write_all(line)?;
        if let Some(sender) = self.0 {
            // A full queue is no reason to wait.
            let _ = sender.try_send(line.to_vec());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

async fn send(url: String, mut lines: mpsc::Receiver<Vec<u8>>) {
    let url = format!("{}/lines", url.trim_end_matches('/'));
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build();
    let Ok(client) = client else {
        return;
    };
    let mut next = vec![];
    while lines.recv_many(&mut next, TOGETHER).await > 0 {
        let body: Vec<u8> = std::mem::take(&mut next).concat();
        // Logged nowhere: it would be a line to send. They are on standard output.
        let _ = client.post(&url).body(body).send().await;
    }
}
