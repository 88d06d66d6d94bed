//! What `chirpy check` says of acknowledged posts.

use std::fmt;

use serde_json::Value;

/// A verdict of `chirpy check`, counted. A post is lost as soon as one of the places that should show it does not.
pub struct Lost {
    acknowledged: u64,
    in_database: u64,
    missing: usize,
    timelines_checked: u64,
    timelines_missing: u64,
    timelines_excused: u64,
    search_checked: u64,
    search_wrong: u64,
    /// Why the search engine could not be asked.
    search_error: Option<String>,
}

impl Lost {
    pub fn of(verdict: &Value) -> Self {
        let count = |field: &str| verdict.get(field).and_then(Value::as_u64).unwrap_or_default();
        let missing = verdict.get("missing").and_then(Value::as_array);
        let error = verdict.get("search_error").and_then(Value::as_str);
        Self {
            acknowledged: count("acknowledged"),
            in_database: count("in_database"),
            missing: missing.map_or(0, Vec::len),
            timelines_checked: count("timelines_checked"),
            timelines_missing: count("timelines_missing"),
            timelines_excused: count("timelines_excused"),
            search_checked: count("search_checked"),
            search_wrong: count("search_wrong"),
            search_error: error.map(str::to_owned),
        }
    }

    /// Posts that are not where they should be, whatever the place; one for an engine that could not be asked.
    pub fn all(&self) -> usize {
        let shown = usize::try_from(self.timelines_missing + self.search_wrong).unwrap_or(usize::MAX);
        self.missing
            .saturating_add(shown)
            .saturating_add(usize::from(self.search_error.is_some()))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "acknowledged posts: {}, in the database: {}, lost: {}; timelines looked at: {}, without the post: {} (excused as \
             older than the follow: {}); looked for by search: {}, not found as they read: {}",
            self.acknowledged,
            self.in_database,
            self.missing,
            self.timelines_checked,
            self.timelines_missing,
            self.timelines_excused,
            self.search_checked,
            self.search_wrong,
        )?;
        match &self.search_error {
            Some(error) => write!(out, "; search could not be asked: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_post_is_lost_wherever_it_is_missing() {
        let verdict = json!({
            "acknowledged": 9, "in_database": 8, "missing": [4], "timelines_checked": 30, "timelines_missing": 2,
            "timelines_excused": 1, "search_checked": 8, "search_wrong": 3,
        });
        let lost = Lost::of(&verdict);
        assert_eq!(lost.all(), 6);
        assert_eq!(
            lost.to_string(),
            "acknowledged posts: 9, in the database: 8, lost: 1; timelines looked at: 30, without the post: 2 (excused as older \
             than the follow: 1); looked for by search: 8, not found as they read: 3"
        );
        let whole = json!({ "acknowledged": 9, "in_database": 9, "missing": [] });
        assert_eq!(Lost::of(&whole).all(), 0);
        let mute = Lost::of(&json!({ "missing": [], "search_error": "refused" }));
        assert_eq!(mute.all(), 1);
        assert!(mute.to_string().ends_with("; search could not be asked: refused"));
    }
}
