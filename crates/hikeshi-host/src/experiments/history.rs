//! Experiments on disk: `experiments.jsonl`, one line per turn in an experiment's life, the last line of an id being what
//! holds. A line is one write and one `fdatasync`; a torn end (control killed at any byte) is cut off when it is opened.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hikeshi_experiment::Experiment;

/// The history, open for appending.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
    /// Length of the whole lines.
    len: u64,
}

/// Which file, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct HistoryError {
    path: PathBuf,
    source: io::Error,
}

impl History {
    /// Opens (or makes) the history in `folder` and answers what it holds, by id.
    ///
    /// # Errors
    /// When the file cannot be made, read or mended.
    pub fn open(folder: &Path) -> Result<(Self, BTreeMap<String, Experiment>), HistoryError> {
        let path = folder.join("experiments.jsonl");
        let failed = |source| HistoryError {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (experiments, len) = parse(&bytes, &path);
        file.set_len(len).map_err(failed)?;
        Ok((Self { path, file, len }, experiments))
    }

    /// Writes an experiment as it is now and waits until it is on disk.
    ///
    /// # Errors
    /// When it could not be written; then nothing of it is there.
    pub fn append(&mut self, experiment: &Experiment) -> Result<(), HistoryError> {
        let written = serde_json::to_vec(experiment)
            .map_err(io::Error::other)
            .and_then(|mut line| {
                line.push(b'\n');
                self.file.set_len(self.len)?;
                self.file.seek(SeekFrom::Start(self.len))?;
                self.file.write_all(&line)?;
                self.file.sync_data()?;
                Ok(line.len() as u64)
            });
        match written {
            Ok(more) => {
                self.len += more;
                Ok(())
            }
            Err(source) => Err(HistoryError {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

/// The whole lines, and their length.
fn parse(bytes: &[u8], path: &Path) -> (BTreeMap<String, Experiment>, u64) {
    let mut experiments = BTreeMap::new();
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    for line in bytes[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match serde_json::from_slice::<Experiment>(line) {
            Ok(experiment) => {
                experiments.insert(experiment.id.clone(), experiment);
            }
            // One line that cannot be read takes no other experiment away.
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "an experiment in the history cannot be read")
            }
        }
    }
    (experiments, whole as u64)
}

#[cfg(test)]
mod tests {
    use hikeshi_experiment::Asked;
    use serde_json::json;

    use super::*;

    fn experiment(id: &str) -> Experiment {
        Experiment::new(Asked {
            id: id.into(),
            name: "x".into(),
            namespace: "default".into(),
            kind: "HTTPChaos".into(),
            object: json!({"kind": "HTTPChaos"}),
            checks: Vec::new(),
            by: "pika7".into(),
            drill: false,
            owned: true,
            limit_s: None,
            at: jiff::Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn the_last_line_of_an_id_holds_and_a_torn_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let (mut history, none) = History::open(folder.path()).unwrap();
        assert!(none.is_empty());
        let (mut a, b) = (experiment("a"), experiment("b"));
        history.append(&a).unwrap();
        history.append(&b).unwrap();
        a.by = "hoge123".into();
        history.append(&a).unwrap();
        drop(history);
        let path = folder.path().join("experiments.jsonl");
        let whole = fs::read(&path).unwrap();
        // Killed at any byte of the last line: the lines before are there, and the next one is written whole.
        let last = whole[..whole.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap()
            + 1;
        for end in [last, last + 1, whole.len() - 1, whole.len()] {
            fs::write(&path, &whole[..end]).unwrap();
            let (mut history, found) = History::open(folder.path()).unwrap();
            let by = if end == whole.len() { "hoge123" } else { "pika7" };
            assert_eq!((found.len(), found["a"].by.as_str()), (2, by), "cut at {end}");
            history.append(&a).unwrap();
            let (_, found) = History::open(folder.path()).unwrap();
            assert_eq!(found["a"].by, "hoge123");
        }
    }
}
