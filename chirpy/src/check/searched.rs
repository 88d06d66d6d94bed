//! Search against the database: what is stored is found with its present text, and what was deleted is not found.

use std::collections::HashMap;
use std::time::Instant;

use serde::Serialize;

use super::{LISTED, LOOK_AGAIN};
use crate::database::Shards;
use crate::database::shards::table;
use crate::search::{Engine, fold};

/// Posts in one request; an engine's page has at most 10,000.
const TOGETHER: usize = 2000;

/// What search says otherwise than the database.
#[derive(Default, Serialize)]
pub struct Verdict {
    search_checked: usize,
    /// Posts that search says something else about than the database.
    search_wrong: usize,
    /// Stored, and not found.
    search_missing: Vec<i64>,
    /// Found with a text that is no longer theirs.
    search_stale: Vec<i64>,
    /// Deleted, and still found.
    search_deleted: Vec<i64>,
    /// Why the engine could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    search_error: Option<String>,
}

impl Verdict {
    pub fn good(&self) -> bool {
        self.search_wrong == 0 && self.search_error.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Missing,
    Stale,
    Deleted,
}

/// What the index has of a post, given the text that the database has (none: deleted).
fn compare(stored: Option<&str>, found: Option<&String>) -> Option<Wrong> {
    match (stored, found) {
        (Some(_), None) => Some(Wrong::Missing),
        (Some(stored), Some(found)) if fold(stored) != *found => Some(Wrong::Stale),
        (None, Some(_)) => Some(Wrong::Deleted),
        _ => None,
    }
}

/// Compares `ids`, looking again until `deadline` at what is wrong. A post that is not in the database is not search's matter.
///
/// # Errors
/// When PostgreSQL does not answer, or `SEARCH_NODES` and its like do not parse.
pub async fn look(shards: &Shards, ids: &[i64], deadline: Instant) -> anyhow::Result<Verdict> {
    let engine = Engine::from_env()?;
    let mut verdict = Verdict {
        search_checked: ids.len(),
        ..Verdict::default()
    };
    let mut open = ids.to_vec();
    loop {
        let looked = compared(shards, &engine, &open).await;
        let error = match looked {
            Ok(wrong) if wrong.is_empty() => return Ok(verdict),
            Ok(wrong) if Instant::now() >= deadline => {
                let of = |kind| -> Vec<i64> {
                    let of = wrong.iter().filter(|(_, wrong)| *wrong == kind);
                    of.map(|(id, _)| *id).take(LISTED).collect()
                };
                verdict.search_wrong = wrong.len();
                verdict.search_missing = of(Wrong::Missing);
                verdict.search_stale = of(Wrong::Stale);
                verdict.search_deleted = of(Wrong::Deleted);
                return Ok(verdict);
            }
            Ok(wrong) => {
                open = wrong.into_iter().map(|(id, _)| id).collect();
                None
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error.filter(|_| Instant::now() >= deadline) {
            verdict.search_error = Some(format!("{error:#}"));
            return Ok(verdict);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn compared(shards: &Shards, engine: &Engine, ids: &[i64]) -> anyhow::Result<Vec<(i64, Wrong)>> {
    let mut wrong = vec![];
    for ids in ids.chunks(TOGETHER) {
        // The index first: a post that is edited in between is seen again as it now reads, and is not called stale for good.
        let found: HashMap<i64, String> = engine.texts(ids).await?;
        for (shard, ids) in shards.by_shard(ids).await? {
            let select = format!(
                "SELECT id, body, deleted FROM {} WHERE id = ANY($1)",
                table(shard)
            );
            for row in shards.database(shard).fresh(&select, &[&ids]).await? {
                let (id, body, deleted): (i64, String, bool) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                let stored = (!deleted).then_some(body.as_str());
                wrong.extend(compare(stored, found.get(&id)).map(|wrong| (id, wrong)));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_compared_as_it_is_indexed() {
        let found = "redis タワー".to_owned();
        assert_eq!(compare(Some("Ｒｅｄｉｓ ﾀﾜｰ"), Some(&found)), None);
        assert_eq!(compare(Some("東京"), Some(&found)), Some(Wrong::Stale));
        assert_eq!(compare(Some("東京"), None), Some(Wrong::Missing));
        assert_eq!(compare(None, Some(&found)), Some(Wrong::Deleted));
        assert_eq!(compare(None, None), None);
    }
}
