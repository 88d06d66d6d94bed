//! Labs on disk: a file for each, written whole after every turn.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hikeshi_lab::Lab;

/// The labs that are over, by id, and where they are.
pub(super) struct Book {
    folder: PathBuf,
    pub over: BTreeMap<String, Lab>,
}

impl Book {
    pub fn open(folder: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let mut over = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            let read = std::fs::read(&path).map(|bytes| serde_json::from_slice::<Lab>(&bytes));
            match read {
                Ok(Ok(mut lab)) => {
                    // Control ended in its midst: what it had put in went with its lease.
                    let why = hikeshi_scenario::Text {
                        ja: "途中で Hikeshi が終了しました".to_owned(),
                        en: "Hikeshi ended in its midst".to_owned(),
                    };
                    let last = lab.people.iter().filter_map(|sitting| sitting.trials.last());
                    let last = last.flat_map(|trial| &trial.shown).map(|shown| shown.from).max();
                    lab.end(why, last.unwrap_or(lab.at));
                    over.insert(lab.id.clone(), lab);
                }
                // One that cannot be read must not keep the others from being seen.
                Ok(Err(error)) => tracing::warn!(%error, path = %path.display(), "a lab cannot be read"),
                Err(error) => tracing::warn!(%error, path = %path.display(), "a lab cannot be read"),
            }
        }
        Ok(Self { folder, over })
    }

    /// Writes a lab whole or not at all.
    pub fn write(&self, lab: &Lab) -> std::io::Result<()> {
        let path = self.folder.join(format!("{}.json", lab.id));
        let part = self.folder.join(format!("{}.part", lab.id));
        std::fs::write(&part, serde_json::to_vec_pretty(lab)?)?;
        std::fs::rename(part, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikeshi_lab::lab::Wish;
    use hikeshi_lab::{Kind, Mode, Normal, Who};

    #[test]
    fn a_lab_that_control_left_in_its_midst_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(folder.path().to_path_buf()).unwrap();
        let wish = Wish {
            journeys: vec!["edit-message".to_owned()],
            kind: Kind::Latency,
            who: Who::Person,
            mode: Mode::Blind,
            levels: Vec::new(),
            trials: 3,
            normal: Normal::default(),
        };
        let at = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let mut lab = Lab::new("one".into(), "chirpy".into(), "ann".into(), wish, 7, at).unwrap();
        lab.sit("ann", at).unwrap();
        lab.next(at).unwrap();
        book.write(&lab).unwrap();
        std::fs::write(folder.path().join("two.json"), "{").unwrap();
        let again = Book::open(folder.path().to_path_buf()).unwrap();
        assert_eq!(again.over.len(), 1);
        let lab = &again.over["one"];
        assert!(lab.ended.is_some() && lab.people[0].trials[0].void.is_some());
    }
}
