//! The CLI's side of `control.sock`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::protocol::{Reply, Request};
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Asks control, passing progress lines on; fails when no control listens.
pub fn ask(paths: &Paths, request: &Request, mut progress: impl FnMut(&str)) -> Result<Value, Failure> {
    let mut stream = connect(paths)?;
    let mut line = serde_json::to_vec(request).component("writing a request")?;
    line.push(b'\n');
    stream.write_all(&line).component("asking control")?;
    for line in BufReader::new(stream).lines() {
        let line = line.component("reading control's answer")?;
        match serde_json::from_str(&line).component("reading control's answer")? {
            Reply::Progress(text) => progress(&text),
            Reply::Done(value) => return Ok(value),
            Reply::Failed(failure) => return Err(failure),
        }
    }
    Err(Failure::component("control ended before it answered")
        .hint(format!("its log is {}", paths.control_log().display())))
}

fn connect(paths: &Paths) -> Result<UnixStream, Failure> {
    // The path may be longer than a socket address: go through a descriptor of its folder.
    let folder = std::fs::File::open(&paths.home).map_err(|_| not_running())?;
    let short = format!(
        "/proc/self/fd/{}/control.sock",
        std::os::fd::AsRawFd::as_raw_fd(&folder)
    );
    UnixStream::connect(short).map_err(|_| not_running())
}

fn not_running() -> Failure {
    Failure::component("hikeshi is not running")
        .hint("start it with `hikeshi up`, or a drill with `hikeshi drill start`")
}
