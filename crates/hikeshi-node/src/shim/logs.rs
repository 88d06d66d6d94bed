//! A container's output on disk, in the CRI format: `TIME STREAM F|P LINE`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use jiff::Timestamp;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

/// Longest line in bytes; more is written in parts marked `P`.
pub const MAX_LINE: usize = 16 * 1024;

/// One of a container's two output pipes, copied line by line into its log file.
pub struct LogPipe {
    pipe: File,
    stream: &'static str,
    partial: Vec<u8>,
    file: File,
}

/// Opens `logs/CONTAINER/RESTART.log` below the pod's folder for appending.
pub fn open_log(pod_folder: BorrowedFd<'_>, container: &str, restart: u32) -> io::Result<File> {
    let folder_mode = Mode::from_bits_truncate(0o755);
    for path in ["logs".to_owned(), format!("logs/{container}")] {
        match mkdirat(pod_folder, path.as_str(), folder_mode) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_CLOEXEC;
    let path = format!("logs/{container}/{restart}.log");
    Ok(File::from(openat(
        pod_folder,
        path.as_str(),
        flags,
        Mode::from_bits_truncate(0o644),
    )?))
}

impl LogPipe {
    /// `pipe` must be non-blocking.
    pub fn new(pipe: OwnedFd, stream: &'static str, file: File) -> Self {
        Self {
            pipe: File::from(pipe),
            stream,
            partial: Vec::new(),
            file,
        }
    }

    pub fn raw(&self) -> RawFd {
        self.pipe.as_fd().as_raw_fd()
    }

    /// Copies what is there. `false` once the writers have closed the pipe.
    pub fn pump(&mut self) -> bool {
        let mut buffer = [0u8; 64 * 1024];
        // Bounded, so that a container that floods its log cannot keep the init from its other duties.
        for _ in 0..4 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => {
                    self.finish();
                    return false;
                }
                Ok(count) => self.write(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Copies one buffer's worth after the container has ended. `false`: nothing was there.
    pub fn drain_some(&mut self) -> bool {
        let mut buffer = [0u8; 64 * 1024];
        match self.pipe.read(&mut buffer) {
            Ok(count) if count > 0 => {
                self.write(&buffer[..count]);
                true
            }
            _ => false,
        }
    }

    /// Writes what is left without a newline.
    pub fn finish(&mut self) {
        if !self.partial.is_empty() {
            let mut out = Vec::with_capacity(self.partial.len() + 64);
            entry(&mut out, Timestamp::now(), self.stream, 'F', &self.partial);
            self.partial.clear();
            let _ = self.file.write_all(&out);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let now = Timestamp::now();
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 2);
        split(&mut self.partial, bytes, |mark, line| {
            entry(&mut out, now, self.stream, mark, line)
        });
        // A full disk must not stop the container: like any runtime, lines are lost then.
        let _ = self.file.write_all(&out);
    }
}

/// Calls `emit` with each finished line (`F`) or full part (`P`); what is unfinished stays in `partial`.
fn split(partial: &mut Vec<u8>, bytes: &[u8], mut emit: impl FnMut(char, &[u8])) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let newline = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..newline.unwrap_or(rest.len())];
        let room = MAX_LINE - partial.len();
        if line.len() > room {
            partial.extend_from_slice(&rest[..room]);
            emit('P', partial);
            partial.clear();
            rest = &rest[room..];
            continue;
        }
        match newline {
            Some(at) if partial.is_empty() => {
                emit('F', line);
                rest = &rest[at + 1..];
            }
            Some(at) => {
                partial.extend_from_slice(line);
                emit('F', partial);
                partial.clear();
                rest = &rest[at + 1..];
            }
            None => {
                partial.extend_from_slice(line);
                rest = &[];
            }
        }
    }
}

fn entry(out: &mut Vec<u8>, now: Timestamp, stream: &str, mark: char, line: &[u8]) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{now:.9} {stream} {mark} ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> (Vec<(char, Vec<u8>)>, Vec<u8>) {
        let (mut partial, mut seen) = (Vec::new(), Vec::new());
        for chunk in chunks {
            split(&mut partial, chunk, |mark, line| seen.push((mark, line.to_vec())));
        }
        (seen, partial)
    }

    #[test]
    fn lines_survive_any_chunking() {
        let (seen, partial) = lines(&[b"one\ntw", b"o\n\nthr", b"ee"]);
        let text: Vec<_> = seen
            .iter()
            .map(|(_, line)| String::from_utf8_lossy(line).into_owned())
            .collect();
        assert_eq!(text, ["one", "two", ""]);
        assert_eq!(partial, b"three");
    }

    #[test]
    fn a_long_line_is_cut_into_parts_that_join_to_it() {
        let long: Vec<u8> = (0..MAX_LINE * 2 + 7)
            .map(|index| b'a' + (index % 26) as u8)
            .collect();
        let mut whole = long.clone();
        whole.push(b'\n');
        for size in [1, 1000, 20_000, whole.len()] {
            let chunks: Vec<&[u8]> = whole.chunks(size).collect();
            let (seen, partial) = lines(&chunks);
            assert!(partial.is_empty());
            assert_eq!(seen.iter().map(|(mark, _)| *mark).collect::<String>(), "PPF");
            assert_eq!(
                seen.into_iter().flat_map(|(_, part)| part).collect::<Vec<_>>(),
                long
            );
        }
    }

    #[test]
    fn a_log_line_carries_nanoseconds_stream_and_mark() {
        let mut out = Vec::new();
        entry(
            &mut out,
            "2026-11-21T10:00:00.1234Z".parse().unwrap(),
            "stdout",
            'F',
            b"hello",
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2026-11-21T10:00:00.123400000Z stdout F hello\n"
        );
    }
}
