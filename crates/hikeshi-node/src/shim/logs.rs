//! A container's output on disk, in the CRI format: `TIME STREAM F|P LINE`.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use jiff::Timestamp;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, pipe2, unlinkat};

/// Longest line in bytes; more is written in parts marked `P`.
pub const MAX_LINE: usize = 16 * 1024;

/// What a pipe holds at most, unless root enlarges it.
const LARGEST_PIPE: usize = 1 << 20;

/// A file is as large as this at most, and one full file is kept beside it: what the kubelet does by default is no less.
const LARGEST_FILE: u64 = 10 << 20;

/// `logs/CONTAINER/RUN.log`; a full one becomes `RUN.log.1`.
pub struct LogFile {
    folder: OwnedFd,
    name: String,
    file: File,
    size: u64,
    /// In bytes, of one file.
    most: u64,
}

fn append_to(folder: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o644);
    Ok(File::from(openat(folder, name, flags, mode)?))
}

impl LogFile {
    /// Opens the log of a run below the pod's folder for appending. Of the runs before it only the last is kept.
    pub fn open(pod_folder: BorrowedFd<'_>, container: &str, run: u32) -> io::Result<Self> {
        let folder_mode = Mode::from_bits_truncate(0o755);
        let path = format!("logs/{container}");
        for path in ["logs", &path] {
            match mkdirat(pod_folder, path, folder_mode) {
                Ok(()) | Err(nix::Error::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = openat(pod_folder, path.as_str(), flags, Mode::empty())?;
        if let Some(old) = run.checked_sub(2) {
            for name in [format!("{old}.log"), format!("{old}.log.1")] {
                // Gone already, mostly.
                let _ = unlinkat(&folder, name.as_str(), UnlinkatFlags::NoRemoveDir);
            }
        }
        let name = format!("{run}.log");
        let file = append_to(folder.as_fd(), &name)?;
        Ok(Self {
            size: file.metadata()?.len(),
            folder,
            name,
            file,
            most: LARGEST_FILE,
        })
    }

    /// Whole entries. A full disk must not stop the container: like any runtime, lines are lost then.
    fn write(&mut self, bytes: &[u8]) {
        let length = bytes.len() as u64;
        if self.size > 0 && self.size + length > self.most {
            let full = format!("{}.1", self.name);
            let moved = renameat(&self.folder, self.name.as_str(), &self.folder, full.as_str());
            if let (Ok(()), Ok(file)) = (moved, append_to(self.folder.as_fd(), &self.name)) {
                self.file = file;
            }
            self.size = 0;
        }
        let _ = self.file.write_all(bytes);
        self.size += length;
    }
}

/// One of a container's two output pipes, copied line by line into their log.
pub struct LogPipe {
    pipe: File,
    stream: &'static str,
    partial: Vec<u8>,
    log: Rc<RefCell<LogFile>>,
    /// Who also gets what comes, as it comes.
    watchers: Vec<File>,
    /// A terminal's end of what nobody has watched yet: a prompt is there before who will answer it.
    unseen: Option<Vec<u8>>,
}

impl LogPipe {
    /// `pipe` must be non-blocking.
    pub fn new(pipe: OwnedFd, stream: &'static str, log: Rc<RefCell<LogFile>>) -> Self {
        Self {
            pipe: File::from(pipe),
            stream,
            partial: Vec::new(),
            log,
            watchers: Vec::new(),
            unseen: None,
        }
    }

    /// The master side of a terminal, which must be non-blocking.
    pub fn of_terminal(master: OwnedFd, log: Rc<RefCell<LogFile>>) -> Self {
        Self {
            unseen: Some(Vec::new()),
            ..Self::new(master, "stdout", log)
        }
    }

    /// A pipe of what comes from now on; before it, what nobody has seen, or the unfinished line.
    pub fn watch(&mut self) -> io::Result<OwnedFd> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let mut write = File::from(write);
        write.write_all(self.unseen.as_ref().unwrap_or(&self.partial))?;
        self.unseen = None;
        self.watchers.push(write);
        Ok(read)
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
                // EIO: the last program has left the terminal.
                Err(_) => {
                    self.finish();
                    return false;
                }
            }
        }
        true
    }

    /// Copies what is left after the container has ended: no more than a pipe holds, for a process that got away may go on
    /// writing for ever.
    pub fn drain(&mut self) {
        let mut buffer = [0u8; 64 * 1024];
        let mut left = LARGEST_PIPE;
        while left > 0 {
            match self.pipe.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    self.write(&buffer[..count]);
                    left = left.saturating_sub(count);
                }
                _ => return,
            }
        }
    }

    /// Writes what is left without a newline.
    pub fn finish(&mut self) {
        if !self.partial.is_empty() {
            let mut out = Vec::with_capacity(self.partial.len() + 64);
            entry(&mut out, Timestamp::now(), self.stream, 'F', &self.partial);
            self.partial.clear();
            self.log.borrow_mut().write(&out);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let now = Timestamp::now();
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 2);
        split(&mut self.partial, bytes, |mark, line| {
            entry(&mut out, now, self.stream, mark, line)
        });
        self.log.borrow_mut().write(&out);
        if let Some(unseen) = &mut self.unseen {
            unseen.extend_from_slice(bytes);
            unseen.drain(..unseen.len().saturating_sub(MAX_LINE));
        }
        // The container waits for nobody: who has gone is forgotten, who is behind misses something.
        self.watchers.retain_mut(|watcher| match watcher.write(bytes) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
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

    fn in_folder(folder: &std::path::Path, run: u32) -> LogFile {
        LogFile::open(File::open(folder).unwrap().as_fd(), "main", run).unwrap()
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder.join("logs/main")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_writer_that_never_stops_does_not_hold_the_init() {
        let root = tempfile::tempdir().unwrap();
        let log = Rc::new(RefCell::new(in_folder(root.path(), 0)));
        let endless = File::open("/dev/zero").unwrap().into();
        LogPipe::new(endless, "stdout", log).drain();
        assert_eq!(names(root.path()), ["0.log"]);
    }

    #[test]
    fn a_full_file_makes_room_for_the_next_and_takes_the_place_of_the_last() {
        let root = tempfile::tempdir().unwrap();
        let mut log = in_folder(root.path(), 0);
        log.most = 10;
        let read = |name: &str| std::fs::read_to_string(root.path().join("logs/main").join(name)).unwrap();
        for line in ["one\n", "two\n", "three\n", "longer than a file\n", "five\n"] {
            log.write(line.as_bytes());
        }
        assert_eq!(names(root.path()), ["0.log", "0.log.1"]);
        assert_eq!(
            (read("0.log"), read("0.log.1")),
            ("five\n".into(), "longer than a file\n".into())
        );
    }

    #[test]
    fn who_watches_sees_an_unfinished_line_and_whatever_comes() {
        let root = tempfile::tempdir().unwrap();
        let log = Rc::new(RefCell::new(in_folder(root.path(), 0)));
        let (read, mut write) = io::pipe().unwrap();
        let mut pipe = LogPipe::new(read.into(), "stdout", log);
        let mut through = |pipe: &mut LogPipe, text: &str| {
            write.write_all(text.as_bytes()).unwrap();
            let mut buffer = [0; 64];
            let count = pipe.pipe.read(&mut buffer).unwrap();
            pipe.write(&buffer[..count]);
        };
        through(&mut pipe, "old\n$ ");
        let mut seen = File::from(pipe.watch().unwrap());
        drop(pipe.watch().unwrap());
        through(&mut pipe, "ls");
        assert_eq!(pipe.watchers.len(), 1, "who has gone is forgotten");
        drop(pipe);
        let mut text = String::new();
        seen.read_to_string(&mut text).unwrap();
        assert_eq!(text, "$ ls");
    }

    #[test]
    fn the_first_to_look_at_a_terminal_sees_the_end_of_what_it_has_shown() {
        let root = tempfile::tempdir().unwrap();
        let log = Rc::new(RefCell::new(in_folder(root.path(), 0)));
        let mut pipe = LogPipe::of_terminal(File::open("/dev/null").unwrap().into(), log);
        pipe.write(&[b'.'; MAX_LINE]);
        pipe.write(b"motd\n$ ");
        let (mut first, mut second) = (pipe.watch().unwrap(), pipe.watch().unwrap());
        drop(pipe);
        let text = |end: &mut OwnedFd| {
            let mut text = String::new();
            File::from(end.try_clone().unwrap())
                .read_to_string(&mut text)
                .unwrap();
            text
        };
        let seen = text(&mut first);
        assert!(
            seen.len() == MAX_LINE && seen.ends_with("motd\n$ "),
            "{}",
            seen.len()
        );
        assert_eq!(text(&mut second), "$ ");
    }

    #[test]
    fn only_the_last_run_is_kept_beside_the_present_one() {
        let root = tempfile::tempdir().unwrap();
        for run in 0..4 {
            let mut log = in_folder(root.path(), run);
            log.most = 1;
            log.write(b"a");
            log.write(b"b");
        }
        assert_eq!(names(root.path()), ["2.log", "2.log.1", "3.log", "3.log.1"]);
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
