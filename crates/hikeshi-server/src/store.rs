//! The event log on disk: one folder per drill, `drills/ID/events.jsonl`, appended to and never rewritten.
//!
//! An append is one `write` and one `fdatasync`. A process killed at any byte leaves whole lines and at most one torn
//! end, which the next `open` cuts off: what was acknowledged is always whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hikeshi_drill::event::{Event, EventKind, LOG_VERSION};
use serde::Deserialize;

const LOG_FILE: &str = "events.jsonl";
const LOCK_FILE: &str = "lock";

/// Why a log could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("drill id {0:?} is not made of 1 to 64 small letters, digits and dashes")]
    BadId(String),
    #[error("no drill {id} in {}", dir.display())]
    NoSuchDrill { id: String, dir: PathBuf },
    #[error("drill {0} exists already")]
    Exists(String),
    #[error("drill {0} is open in another process; end that one first")]
    Locked(String),
    #[error("{}:{line}: the log is damaged here, before its end: {reason}", path.display())]
    Damaged {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("{}:{line}: log version {found} is newer than this program's {LOG_VERSION}; use a newer hikeshi", path.display())]
    Newer { path: PathBuf, line: usize, found: u64 },
    #[error("event {found} does not follow: the log's next is {expected}")]
    Gap { expected: u64, found: u64 },
    #[error("event {seq} cannot be written as JSON: {reason}")]
    Unwritable { seq: u64, reason: String },
    #[error(
        "{}: no space left on the disk; nothing is lost so far: free some space and what is waiting is written",
        path.display()
    )]
    DiskFull { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A drill's log, open for appending and locked against every other process.
#[derive(Debug, Clone)]
pub struct DrillLog {
    id: String,
    writer: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    /// Length of the whole lines; anything after it is the rest of a failed write.
    len: u64,
    /// Bytes may lie beyond `len`.
    dirty: bool,
    next_seq: u64,
    /// Held for its lock, released by the system when the process dies.
    _lock: File,
}

impl DrillLog {
    /// Makes the folder and an empty log for a new drill.
    ///
    /// # Errors
    /// `BadId`, `Exists`, `Locked` or `Io`.
    pub fn create(drills: &Path, id: &str) -> Result<Self, StoreError> {
        let folder = folder_of(drills, id)?;
        fs::create_dir_all(&folder).map_err(|e| io_error(&folder, e))?;
        let lock = lock(&folder, id)?;
        let path = folder.join(LOG_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| {
                if e.kind() == io::ErrorKind::AlreadyExists {
                    StoreError::Exists(id.to_owned())
                } else {
                    io_error(&path, e)
                }
            })?;
        // The names must survive a power cut too, not only the bytes.
        for dir in [folder.as_path(), drills] {
            File::open(dir)
                .and_then(|d| d.sync_all())
                .map_err(|e| io_error(dir, e))?;
        }
        let writer = Writer {
            path,
            file,
            len: 0,
            dirty: false,
            next_seq: 1,
            _lock: lock,
        };
        Ok(Self {
            id: id.to_owned(),
            writer: Arc::new(Mutex::new(writer)),
        })
    }

    /// Opens an existing log for appending, cuts off a torn end, and answers what it holds.
    ///
    /// # Errors
    /// `NoSuchDrill`, `Locked`, `Damaged` (a bad line that is not the torn end), `Newer` or `Io`.
    pub fn open(drills: &Path, id: &str) -> Result<(Self, Vec<Event>), StoreError> {
        let folder = folder_of(drills, id)?;
        let path = folder.join(LOG_FILE);
        if !path.is_file() {
            return Err(StoreError::NoSuchDrill {
                id: id.to_owned(),
                dir: drills.to_owned(),
            });
        }
        let lock = lock(&folder, id)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| io_error(&path, e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| io_error(&path, e))?;
        let (events, len) = parse(&path, &bytes)?;
        if len < bytes.len() {
            tracing::warn!(
                drill = id,
                bytes = bytes.len() - len,
                "cutting off the torn end of the event log"
            );
            file.set_len(len as u64)
                .and_then(|()| file.sync_all())
                .map_err(|e| io_error(&path, e))?;
        }
        let next_seq = events.last().map_or(1, |e| e.seq + 1);
        let writer = Writer {
            path,
            file,
            len: len as u64,
            dirty: false,
            next_seq,
            _lock: lock,
        };
        Ok((
            Self {
                id: id.to_owned(),
                writer: Arc::new(Mutex::new(writer)),
            },
            events,
        ))
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Writes events and waits until they are on disk. All or nothing: after an error none of them counts as
    /// written, the caller still has them and may call again. A call that is dropped half-way may still write.
    ///
    /// # Errors
    /// `Gap` when a sequence number does not follow, `DiskFull`, or `Io`.
    pub async fn append(&self, events: &[Event]) -> Result<(), StoreError> {
        let Some(first) = events.first() else {
            return Ok(());
        };
        let (first, count) = (first.seq, events.len() as u64);
        let bytes = encode(events)?;
        let writer = Arc::clone(&self.writer);
        let done = tokio::task::spawn_blocking(move || {
            writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(first, count, &bytes)
        });
        match done.await {
            Ok(result) => result,
            Err(e) => Err(io_error(Path::new(LOG_FILE), io::Error::other(e))),
        }
    }
}

impl Writer {
    fn append(&mut self, first: u64, count: u64, bytes: &[u8]) -> Result<(), StoreError> {
        if first != self.next_seq {
            return Err(StoreError::Gap {
                expected: self.next_seq,
                found: first,
            });
        }
        self.write(bytes).map_err(|e| io_error(&self.path, e))?;
        self.len += bytes.len() as u64;
        self.next_seq += count;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(self.len)?;
        }
        self.dirty = true;
        self.file.seek(SeekFrom::Start(self.len))?;
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Take back the part that did get written; if even that fails, the next append tries again.
            self.dirty = self.file.set_len(self.len).is_err();
        } else {
            self.dirty = false;
        }
        written
    }
}

/// Reads a log without locking it, for the documents made from it. A torn end is left out, and left alone.
///
/// # Errors
/// `NoSuchDrill`, `Damaged`, `Newer` or `Io`.
pub fn read(drills: &Path, id: &str) -> Result<Vec<Event>, StoreError> {
    let path = folder_of(drills, id)?.join(LOG_FILE);
    let bytes = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::NoSuchDrill {
                id: id.to_owned(),
                dir: drills.to_owned(),
            });
        }
        other => other.map_err(|e| io_error(&path, e))?,
    };
    Ok(parse(&path, &bytes)?.0)
}

/// What the first and last lines of a log say.
#[derive(Debug, Clone, PartialEq)]
pub struct DrillEntry {
    pub id: String,
    pub scenario: String,
    pub system: String,
    pub rehearsal: bool,
    pub started_at: jiff::Timestamp,
    pub ended: bool,
}

/// The drills on disk, newest first. One that cannot be read is logged and left out; a missing folder is no drills.
///
/// # Errors
/// `Io` when the folder itself cannot be listed.
pub fn list(drills: &Path) -> Result<Vec<DrillEntry>, StoreError> {
    let entries = match fs::read_dir(drills) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| io_error(drills, e))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| io_error(drills, e))?;
        let Ok(id) = entry.file_name().into_string() else {
            continue;
        };
        match read(drills, &id) {
            Ok(events) => found.extend(summarize(id, &events)),
            Err(StoreError::NoSuchDrill { .. } | StoreError::BadId(_)) => {}
            Err(e) => tracing::warn!(drill = id, error = %e, "this drill's log cannot be read"),
        }
    }
    found.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
    Ok(found)
}

fn summarize(id: String, events: &[Event]) -> Option<DrillEntry> {
    let first = events.first()?;
    let EventKind::DrillStarted {
        scenario,
        system,
        rehearsal,
        ..
    } = &first.kind
    else {
        return None;
    };
    let ended = events
        .iter()
        .rev()
        .any(|e| matches!(e.kind, EventKind::DrillEnded { .. }));
    Some(DrillEntry {
        id,
        scenario: scenario.clone(),
        system: system.clone(),
        rehearsal: *rehearsal,
        started_at: first.at,
        ended,
    })
}

fn encode(events: &[Event]) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let first = events.first().map_or(1, |e| e.seq);
    for (expected, event) in (first..).zip(events) {
        if event.seq != expected {
            return Err(StoreError::Gap {
                expected,
                found: event.seq,
            });
        }
        serde_json::to_writer(&mut bytes, event).map_err(|e| StoreError::Unwritable {
            seq: event.seq,
            reason: e.to_string(),
        })?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// What every version of the log has in a line.
#[derive(Deserialize)]
struct Header {
    v: u64,
    seq: u64,
}

/// The events of a log and the length of its whole part.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Event>, usize), StoreError> {
    let damaged = |line, reason: String| StoreError::Damaged {
        path: path.to_owned(),
        line,
        reason,
    };
    let mut events: Vec<Event> = Vec::new();
    let mut len = 0;
    let mut torn: Option<(usize, String)> = None;
    for (index, chunk) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let line = index + 1;
        if !chunk.ends_with(b"\n") {
            break; // torn: a whole line ends with a newline, and the newline is written last
        }
        // After a power cut the unacknowledged end may also hold whole lines of garbage, but nothing good after them.
        let header: Header = match serde_json::from_slice(chunk) {
            Ok(header) => header,
            Err(e) => {
                torn.get_or_insert_with(|| (line, e.to_string()));
                continue;
            }
        };
        if let Some((line, reason)) = torn {
            return Err(damaged(line, reason));
        }
        if header.v > u64::from(LOG_VERSION) {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                line,
                found: header.v,
            });
        }
        let event: Event = serde_json::from_slice(chunk).map_err(|e| damaged(line, e.to_string()))?;
        let expected = events.last().map_or(1, |e| e.seq + 1);
        if header.seq != expected {
            return Err(damaged(
                line,
                format!("event {} where {expected} should be", header.seq),
            ));
        }
        events.push(event);
        len += chunk.len();
    }
    Ok((events, len))
}

fn folder_of(drills: &Path, id: &str) -> Result<PathBuf, StoreError> {
    let fits = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(drills.join(id))
    } else {
        Err(StoreError::BadId(id.to_owned()))
    }
}

fn lock(folder: &Path, id: &str) -> Result<File, StoreError> {
    let path = folder.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| io_error(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(id.to_owned())),
        Err(fs::TryLockError::Error(e)) => Err(io_error(&path, e)),
    }
}

fn io_error(path: &Path, source: io::Error) -> StoreError {
    if matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        StoreError::DiskFull {
            path: path.to_owned(),
        }
    } else {
        StoreError::Io {
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
