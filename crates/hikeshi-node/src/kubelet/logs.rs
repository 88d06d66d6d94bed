//! Reading a container's log files.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use jiff::Timestamp;

use super::step::one_step;

/// What to read of a container's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRequest {
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// The run before the newest one.
    pub previous: bool,
    pub since: Option<Timestamp>,
    pub tail_lines: Option<u64>,
    /// Put each line's time before it.
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("container {container:?} in pod {pod:?} is waiting to start: {reason}")]
    NotStarted {
        container: String,
        pod: String,
        reason: String,
    },
    #[error("previous terminated container {container:?} in pod {pod:?} not found")]
    NoPrevious { container: String, pod: String },
    #[error("reading the log: {0}")]
    Io(#[from] io::Error),
}

const FOLLOW_LOOK: Duration = Duration::from_millis(100);
/// Most bytes read at once.
const CHUNK: usize = 256 * 1024;

/// The log file of the newest run, or of the one before it.
pub fn file_of(pod_dir: &Path, container: &str, previous: bool) -> Option<(u32, PathBuf)> {
    let folder = pod_dir.join("logs").join(one_step(container).ok()?);
    let entries = fs::read_dir(&folder).ok()?.flatten();
    let mut runs: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    runs.sort_unstable();
    let run = if previous {
        runs.into_iter().rev().nth(1)?
    } else {
        runs.pop()?
    };
    Some((run, folder.join(format!("{run}.log"))))
}

/// A line of the file: time, mark (`F` or `P`), text.
fn parse(line: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, _stream, mark, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((time, *mark.first()?, text))
}

/// Turns lines of the file into what the client sees.
#[derive(Debug)]
struct Formatter {
    since: Option<Timestamp>,
    timestamps: bool,
    /// The last part was `P`: the next continues its line.
    inside: bool,
    skipping: bool,
}

impl Formatter {
    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some((time, mark, text)) = parse(line) else {
            return;
        };
        if !self.inside {
            self.skipping = self.since.is_some_and(|since| {
                std::str::from_utf8(time)
                    .ok()
                    .and_then(|time| time.parse::<Timestamp>().ok())
                    .is_some_and(|time| time < since)
            });
        }
        if !self.skipping {
            if self.timestamps && !self.inside {
                out.extend_from_slice(time);
                out.push(b' ');
            }
            out.extend_from_slice(text);
            if mark == b'F' {
                out.push(b'\n');
            }
        }
        self.inside = mark == b'P';
    }
}

/// Where the last `lines` whole lines of the file begin. Reads backwards.
fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut starts: VecDeque<u64> = VecDeque::new();
    let (mut position, mut found, mut carry) = (end, 0, Vec::new());
    // Finds file lines from the end; `P` lines belong to the `F` line after them.
    while position > 0 {
        let size = position.min(CHUNK as u64);
        position -= size;
        file.seek(SeekFrom::Start(position))?;
        let mut chunk = vec![0; usize::try_from(size).unwrap_or(CHUNK)];
        file.read_exact(&mut chunk)?;
        chunk.append(&mut carry);
        let mut line_end = chunk.len();
        while let Some(newline) = chunk[..line_end.saturating_sub(1)]
            .iter()
            .rposition(|byte| *byte == b'\n')
        {
            let line = &chunk[newline + 1..line_end];
            if parse(line).is_some_and(|(_, mark, _)| mark == b'F') {
                if found == lines {
                    return Ok(starts.pop_front().unwrap_or(end));
                }
                found += 1;
            }
            starts.clear();
            starts.push_back(position + newline as u64 + 1);
            line_end = newline + 1;
        }
        carry = chunk[..line_end].to_vec();
    }
    // The file's first line.
    if found == lines && parse(&carry).is_some_and(|(_, mark, _)| mark == b'F') {
        return Ok(starts.pop_front().unwrap_or(end));
    }
    Ok(0)
}

struct Reader {
    path: PathBuf,
    file: File,
    formatter: Formatter,
    rest: Vec<u8>,
    left: u64,
    follow: bool,
}

impl Reader {
    fn open(path: &Path, request: &LogRequest) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let start = match request.tail_lines {
            Some(lines) => tail_start(&mut file, lines)?,
            None => 0,
        };
        file.seek(SeekFrom::Start(start))?;
        let formatter = Formatter {
            since: request.since,
            timestamps: request.timestamps,
            inside: false,
            skipping: false,
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            formatter,
            rest: Vec::new(),
            left: request.limit_bytes.unwrap_or(u64::MAX),
            follow: request.follow,
        })
    }

    /// Whether the file has been put aside, and another has its name.
    fn is_full(&self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(named) => Ok(named.ino() != self.file.metadata()?.ino()),
            // Between the two.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What has come since; `None` at the present end of the file.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut chunk = vec![0; CHUNK];
        let mut count = self.file.read(&mut chunk)?;
        if count == 0 && self.follow && self.is_full()? {
            // What was written before it was put aside comes first.
            count = self.file.read(&mut chunk)?;
            if count == 0 {
                self.file = File::open(&self.path)?;
                count = self.file.read(&mut chunk)?;
            }
        }
        if count == 0 {
            return Ok(None);
        }
        self.rest.extend_from_slice(&chunk[..count]);
        let mut out = Vec::with_capacity(count);
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|byte| *byte == b'\n') {
            self.formatter.line(&self.rest[start..start + length], &mut out);
            start += length + 1;
        }
        self.rest.drain(..start);
        out.truncate(usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len()));
        self.left -= out.len() as u64;
        Ok(Some(out.into()))
    }
}

/// The log as a stream of whole lines. `running` says whether that run of the container still goes on.
pub fn stream(
    path: &Path,
    request: &LogRequest,
    running: impl Fn() -> bool + Send + 'static,
) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let reader = Reader::open(path, request)?;
    let stream = futures::stream::try_unfold((reader, running), |(mut reader, running)| async move {
        loop {
            if reader.left == 0 {
                return Ok(None);
            }
            // Asked before reading: what was written before the end is then still read.
            let alive = reader.follow && running();
            match reader.next()? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => return Ok(Some((bytes, (reader, running)))),
                None if alive => tokio::time::sleep(FOLLOW_LOOK).await,
                None => return Ok(None),
            }
        }
    });
    Ok(stream.boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            lines.iter().map(|line| format!("{line}\n")).collect::<String>(),
        )
        .unwrap();
        file
    }

    async fn read(file: &tempfile::NamedTempFile, request: LogRequest) -> String {
        let mut stream = stream(file.path(), &request, || false).unwrap();
        let mut text = Vec::new();
        while let Some(bytes) = stream.next().await {
            text.extend_from_slice(&bytes.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    const LINES: &[&str] = &[
        "2026-11-21T10:00:00.000000000Z stdout F one",
        "2026-11-21T10:00:01.000000000Z stdout P tw",
        "2026-11-21T10:00:01.000000001Z stdout F o",
        "2026-11-21T10:00:02.000000000Z stderr F ",
        "2026-11-21T10:00:03.000000000Z stderr F a b  c",
    ];

    #[tokio::test]
    async fn parts_join_and_streams_mix() {
        assert_eq!(
            read(&log(LINES), LogRequest::default()).await,
            "one\ntwo\n\na b  c\n"
        );
    }

    #[tokio::test]
    async fn a_tail_counts_whole_lines() {
        for (lines, text) in [
            (0, ""),
            (1, "a b  c\n"),
            (3, "two\n\na b  c\n"),
            (4, "one\ntwo\n\na b  c\n"),
            (9, "one\ntwo\n\na b  c\n"),
        ] {
            let request = LogRequest {
                tail_lines: Some(lines),
                ..LogRequest::default()
            };
            assert_eq!(read(&log(LINES), request).await, text, "{lines} lines");
        }
    }

    #[tokio::test]
    async fn since_limit_and_times_are_kept() {
        let since = Some("2026-11-21T10:00:02Z".parse().unwrap());
        let request = LogRequest {
            since,
            timestamps: true,
            ..LogRequest::default()
        };
        assert_eq!(
            read(&log(LINES), request).await,
            "2026-11-21T10:00:02.000000000Z \n2026-11-21T10:00:03.000000000Z a b  c\n"
        );
        let request = LogRequest {
            limit_bytes: Some(5),
            ..LogRequest::default()
        };
        assert_eq!(read(&log(LINES), request).await, "one\nt");
    }

    #[tokio::test]
    async fn following_goes_on_in_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let line = |text: &str| format!("2026-11-21T10:00:00.000000000Z stdout F {text}\n");
        fs::write(&path, line("one")).unwrap();
        let request = LogRequest {
            follow: true,
            ..LogRequest::default()
        };
        let (alive, running) = std::sync::mpsc::channel::<()>();
        let ended = move || running.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected);
        let mut stream = stream(&path, &request, ended).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "one\n");
        // The last line of the full file, then the first of the next: the reader has seen neither.
        let mut full = fs::OpenOptions::new().append(true).open(&path).unwrap();
        io::Write::write_all(&mut full, line("two").as_bytes()).unwrap();
        fs::rename(&path, folder.path().join("0.log.1")).unwrap();
        fs::write(&path, line("three")).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "two\n");
        assert_eq!(stream.next().await.unwrap().unwrap(), "three\n");
        drop(alive);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_tail_reaches_over_chunks() {
        let long: Vec<String> = (0..20_000)
            .map(|number| format!("2026-11-21T10:00:00.000000000Z stdout F line {number} of many"))
            .collect();
        let file = log(&long.iter().map(String::as_str).collect::<Vec<_>>());
        let request = LogRequest {
            tail_lines: Some(12_345),
            ..LogRequest::default()
        };
        let text = read(&file, request).await;
        assert_eq!(text.lines().count(), 12_345);
        assert!(text.starts_with("line 7655 of many\n"));
    }
}
