//! The shard map: which database holds which logical shards. Pure.

use anyhow::{Context as _, bail, ensure};

/// Databases and the shards they hold; every shard is in exactly one.
#[derive(Debug, PartialEq, Eq)]
pub struct Map {
    pub shards: u16,
    pub databases: Vec<Database>,
    /// Of each shard, its database's place in `databases`.
    pub places: Vec<usize>,
}

/// Where a database is.
#[derive(Debug, PartialEq, Eq)]
pub struct Database {
    pub primary: String,
    /// Empty: it has no replica.
    pub replica: String,
}

impl Map {
    /// Every shard in one database.
    pub fn single(shards: u16, primary: &str, replica: &str) -> Self {
        let database = Database {
            primary: primary.to_owned(),
            replica: replica.to_owned(),
        };
        Self {
            shards,
            databases: vec![database],
            places: vec![0; usize::from(shards)],
        }
    }

    /// From `SHARDS=URL[ REPLICA_URL]` for each database, separated by `;` or line ends, where SHARDS is `3`, `0-3` or
    /// `0-3,6`: `0-3=postgres://a/chirpy; 4-7=postgres://b/chirpy postgres://b-replica/chirpy`.
    ///
    /// # Errors
    /// When it cannot be read, or a shard is in no database or in two. No URL is repeated: it may hold a password.
    pub fn parse(text: &str, shards: u16) -> anyhow::Result<Self> {
        let mut places: Vec<Option<usize>> = vec![None; usize::from(shards)];
        let mut databases: Vec<Database> = vec![];
        let entries = text
            .split([';', '\n'])
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        for (place, entry) in entries.enumerate() {
            let number = place + 1;
            let (ranges, urls) = entry.split_once('=').with_context(|| {
                format!("POST_SHARD_MAP, entry {number}: it has no `=` between its shards and its URL")
            })?;
            for range in ranges.split(',') {
                let (first, last) = range.trim().split_once('-').unwrap_or((range, range));
                let parse = |text: &str| text.trim().parse::<u16>();
                let (Ok(first), Ok(last)) = (parse(first), parse(last)) else {
                    bail!("POST_SHARD_MAP, entry {number}: {range:?} is no shard and no range like 0-3");
                };
                ensure!(
                    first <= last && last < shards,
                    "POST_SHARD_MAP, entry {number}: {range}: shards are 0 to {} (POST_SHARDS), the lower one first",
                    shards - 1
                );
                for shard in first..=last {
                    let held = places
                        .get_mut(usize::from(shard))
                        .and_then(|held| held.replace(place));
                    ensure!(
                        held.is_none(),
                        "POST_SHARD_MAP: shard {shard} is in two databases"
                    );
                }
            }
            let mut urls = urls.split_whitespace().map(str::to_owned);
            let primary = urls
                .next()
                .with_context(|| format!("POST_SHARD_MAP, entry {number}: it has no URL"))?;
            let replica = urls.next().unwrap_or_default();
            ensure!(
                urls.next().is_none(),
                "POST_SHARD_MAP, entry {number}: a database has two URLs at most, its primary's and its replica's"
            );
            databases.push(Database { primary, replica });
        }
        let places = places.into_iter().enumerate().map(|(shard, place)| {
            place.with_context(|| format!("POST_SHARD_MAP: shard {shard} of {shards} is in no database"))
        });
        Ok(Self {
            shards,
            places: places.collect::<anyhow::Result<_>>()?,
            databases,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_in_one_database() {
        let map =
            Map::parse("0-1,3 = postgres://a/x ;\n 2=postgres://b/x postgres://c/x\n", 4).expect("a map");
        assert_eq!(map.places, [0, 0, 1, 0]);
        assert_eq!(map.databases[1].replica, "postgres://c/x");
        assert_eq!(Map::single(2, "u", "").places, [0, 0]);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, word) in [
            ("postgres://u:hush@a/x", "no `=`"),
            ("0-2=postgres://u:hush@a/x", "shard 3 of 4 is in no database"),
            ("0-3=postgres://u:hush@a/x;3=postgres://b/x", "shard 3 is in two"),
            ("0-4=postgres://u:hush@a/x", "shards are 0 to 3"),
            ("3-0=postgres://u:hush@a/x", "the lower one first"),
            ("all=postgres://u:hush@a/x", "\"all\" is no shard"),
            ("0-3=", "no URL"),
            ("0-3=a b c", "two URLs at most"),
        ] {
            let error = Map::parse(text, 4).expect_err(text).to_string();
            assert!(error.contains(word) && !error.contains("hush"), "{text}: {error}");
        }
    }
}
