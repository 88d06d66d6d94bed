//! Where lines wait: in memory up to a limit, past which they are dropped, or in files, which outlive the process.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::service::{parse_env, text_env};

/// A file is closed and another begun at this size, bytes; the oldest is what is dropped when there is no more room.
const FILE: u64 = 256 * 1024;

/// Lines on their way: each with an id that it keeps when they are sent again.
pub struct Portion {
    pub lines: Vec<(String, String)>,
    /// The file they are from, and whether they are the last of it.
    file: Option<(PathBuf, bool)>,
}

pub enum Buffer {
    Memory(Memory),
    Disk(Disk),
}

/// Lines that wait, with the number of the first.
pub struct Memory {
    limit: usize,
    bytes: usize,
    lines: VecDeque<String>,
    first: u64,
    /// Tells this process's lines from those of others.
    own: String,
}

pub struct Disk {
    folder: PathBuf,
    limit: u64,
    open: Option<(PathBuf, File, u64)>,
    /// Lines of the oldest file that were delivered.
    done: usize,
    next: u64,
}

impl Buffer {
    /// From `LOG_BUFFER` (`memory` or `disk`), `LOG_BUFFER_BYTES` and, for the disk's, `LOG_BUFFER_FOLDER`.
    ///
    /// # Errors
    /// When a variable does not parse, or the folder cannot be used.
    pub fn from_env() -> anyhow::Result<Self> {
        match text_env("LOG_BUFFER", "memory").as_str() {
            "memory" => Ok(Self::Memory(Memory::new(parse_env(
                "LOG_BUFFER_BYTES",
                64 * 1024,
            )?))),
            "disk" => {
                let folder = PathBuf::from(text_env("LOG_BUFFER_FOLDER", "/var/lib/log-shipper"));
                Disk::open(folder, parse_env("LOG_BUFFER_BYTES", 256 * 1024 * 1024)?).map(Self::Disk)
            }
            other => anyhow::bail!("LOG_BUFFER={other:?}: it is memory or disk"),
        }
    }

    /// Takes a line; how many lines were dropped, this one or older ones.
    pub fn push(&mut self, line: &str) -> usize {
        match self {
            Self::Memory(memory) => memory.push(line),
            Self::Disk(disk) => disk.push(line).unwrap_or_else(|error| {
                tracing::error!(error = %format!("{error:#}"), "A log line could not be written");
                1
            }),
        }
    }

    /// The oldest lines, `most` at most; none when none wait. They stay until they are delivered.
    pub fn portion(&mut self, most: usize) -> Option<Portion> {
        let portion = match self {
            Self::Memory(memory) => memory.portion(most),
            Self::Disk(disk) => disk.portion(most).unwrap_or_else(|error| {
                tracing::error!(error = %format!("{error:#}"), "Log lines could not be read");
                None
            })?,
        };
        (!portion.lines.is_empty() || portion.file.is_some()).then_some(portion)
    }

    /// These lines have arrived.
    pub fn delivered(&mut self, portion: &Portion) {
        match self {
            Self::Memory(memory) => memory.delivered(portion.lines.len()),
            Self::Disk(disk) => disk.delivered(portion),
        }
    }
}

impl Memory {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            lines: VecDeque::new(),
            first: 0,
            own: format!("{:016x}", fastrand::u64(..)),
        }
    }

    fn push(&mut self, line: &str) -> usize {
        if self.bytes + line.len() > self.limit {
            return 1;
        }
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        0
    }

    fn portion(&self, most: usize) -> Portion {
        let lines = self.lines.iter().take(most).zip(self.first..);
        Portion {
            lines: lines
                .map(|(line, number)| (format!("{}-{number}", self.own), line.clone()))
                .collect(),
            file: None,
        }
    }

    fn delivered(&mut self, count: usize) {
        for line in self.lines.drain(..count) {
            self.bytes -= line.len();
            self.first += 1;
        }
    }
}

impl Disk {
    /// # Errors
    /// When the folder cannot be made or read.
    fn open(folder: PathBuf, limit: u64) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mut disk = Self {
            folder,
            limit,
            open: None,
            done: 0,
            next: 0,
        };
        let last = disk.files()?.pop();
        let number = last.as_ref().and_then(|(path, _)| {
            let name = path.file_stem()?.to_str()?;
            name.split_once('-')?.1.parse::<u64>().ok()
        });
        disk.next = number.map_or(0, |number| number + 1);
        Ok(disk)
    }

    /// Oldest first, with their sizes.
    fn files(&self) -> anyhow::Result<Vec<(PathBuf, u64)>> {
        let mut files = vec![];
        for entry in fs::read_dir(&self.folder).with_context(|| self.folder.display().to_string())? {
            let entry = entry?;
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "log")
            {
                files.push((entry.path(), entry.metadata()?.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn push(&mut self, line: &str) -> anyhow::Result<usize> {
        let length = u64::try_from(line.len())? + 1;
        let full = self.open.as_ref().is_none_or(|(.., size)| size + length > FILE);
        let mut dropped = 0;
        if full {
            dropped = self.make_room()?;
            // In the order of their names over restarts, too: the number goes on, and the time tells two folders apart.
            let name = format!(
                "{:013}-{:08}.log",
                jiff::Timestamp::now().as_millisecond(),
                self.next
            );
            self.next += 1;
            let path = self.folder.join(name);
            let file = File::options().create_new(true).append(true).open(&path)?;
            self.open = Some((path, file, 0));
        }
        if let Some((_, file, size)) = &mut self.open {
            file.write_all(format!("{line}\n").as_bytes())?;
            *size += length;
        }
        Ok(dropped)
    }

    /// Removes the oldest files until another fits: how many undelivered lines that cost.
    fn make_room(&mut self) -> anyhow::Result<usize> {
        let mut files = VecDeque::from(self.files()?);
        let mut dropped = 0;
        while files.iter().map(|(_, size)| size).sum::<u64>() + FILE > self.limit {
            let Some((oldest, _)) = files.pop_front() else {
                break;
            };
            dropped += lines(&oldest)?
                .len()
                .saturating_sub(std::mem::take(&mut self.done));
            fs::remove_file(oldest)?;
        }
        Ok(dropped)
    }

    fn portion(&mut self, most: usize) -> anyhow::Result<Option<Portion>> {
        let Some((oldest, _)) = self.files()?.into_iter().next() else {
            return Ok(None);
        };
        // What is being delivered is no longer written to.
        if self.open.as_ref().is_some_and(|(path, ..)| *path == oldest) {
            self.open = None;
        }
        let name = oldest
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let all = lines(&oldest)?;
        let last = self.done + most >= all.len();
        let lines = all.into_iter().enumerate().skip(self.done).take(most);
        Ok(Some(Portion {
            lines: lines
                .map(|(number, line)| (format!("{name}-{number}"), line))
                .collect(),
            file: Some((oldest, last)),
        }))
    }

    fn delivered(&mut self, portion: &Portion) {
        match &portion.file {
            // Gone already when there was no room for it meanwhile.
            Some((path, _)) if !path.exists() => {}
            Some((path, true)) => {
                self.done = 0;
                if let Err(error) = fs::remove_file(path) {
                    tracing::error!(%error, "A delivered file could not be removed");
                }
            }
            _ => self.done += portion.lines.len(),
        }
    }
}

/// The whole lines of a file: a process that was killed may have left half of one.
fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    Ok(whole.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes numbered lines of 100 bytes: how many were dropped.
    fn fill(buffer: &mut Buffer, numbers: std::ops::Range<u32>) -> usize {
        numbers.map(|number| buffer.push(&format!("{number:0100}"))).sum()
    }

    /// Delivers everything: the numbers that arrive, each once.
    fn drain(buffer: &mut Buffer) -> Vec<u32> {
        let mut arrived = std::collections::BTreeMap::new();
        while let Some(portion) = buffer.portion(70) {
            for (id, line) in &portion.lines {
                let before = arrived.insert(id.clone(), line.parse().expect("a number"));
                assert_eq!(before, None, "{id} came twice");
            }
            buffer.delivered(&portion);
        }
        let mut numbers: Vec<u32> = arrived.into_values().collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn a_small_memory_loses_what_comes_while_the_engine_is_slow() {
        let mut buffer = Buffer::Memory(Memory::new(64 * 1024));
        assert_eq!(fill(&mut buffer, 0..1000), 1000 - 655);
        assert_eq!(drain(&mut buffer), Vec::from_iter(0..655), "the newest are lost");
        assert_eq!(
            fill(&mut buffer, 0..10),
            0,
            "and then nobody sees that it happened"
        );
    }

    #[test]
    fn a_file_keeps_them_over_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let open =
            || Buffer::Disk(Disk::open(folder.path().join("buffer"), 16 * 1024 * 1024).expect("a buffer"));
        let mut buffer = open();
        assert_eq!(fill(&mut buffer, 0..8000), 0);
        let portion = buffer.portion(500).expect("lines");
        buffer.delivered(&portion);
        // Sent and not known to have arrived: sent again with the same ids.
        let ids = |buffer: &mut Buffer| {
            let portion = buffer.portion(500).expect("lines");
            portion.lines.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&mut buffer), ids(&mut buffer));
        drop(buffer);
        let mut buffer = open();
        assert_eq!(fill(&mut buffer, 8000..9000), 0);
        let arrived = drain(&mut buffer);
        assert_eq!(
            arrived,
            Vec::from_iter(0..9000),
            "what was delivered is at most sent again"
        );
        assert!(buffer.portion(1).is_none());
    }

    #[test]
    fn a_full_disk_gives_up_the_oldest_and_counts_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path().to_path_buf(), 2 * FILE).expect("a buffer");
        let mut buffer = Buffer::Disk(disk);
        let dropped = fill(&mut buffer, 0..10_000);
        let arrived = drain(&mut buffer);
        assert_eq!(arrived.len() + dropped, 10_000);
        assert_eq!(arrived.last(), Some(&9999), "the newest are there");
        let bytes = u64::try_from(arrived.len() * 101).expect("few");
        assert!(dropped > 0 && bytes <= 2 * FILE, "{dropped} {bytes}");
    }
}
