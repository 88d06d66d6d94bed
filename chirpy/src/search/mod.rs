//! search-service: indexes posts and people in the search engine, and asks it on behalf of clients.

mod engine;
mod indexer;
mod terms;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cached::{Cached, Policy};
use crate::follower::Person;
use crate::post::Post;
use crate::service::{ApiError, Service, parse_env};
use crate::upstream::Upstream;
pub use engine::{Bulk, Engine, LOGS};
use engine::{EngineError, PEOPLE, POSTS};
use indexer::Indexer;
pub use terms::fold;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    pub q: String,
    pub limit: Option<usize>,
}

/// Longest query, characters: each of its pairs is looked up.
const MAX_QUERY: usize = 200;

impl Asked {
    fn words(&self) -> Result<&str, ApiError> {
        let length = self.q.chars().count();
        if length > MAX_QUERY {
            let message = format!("a search has at most {MAX_QUERY} characters, not {length}");
            return Err(ApiError::bad_request(message));
        }
        Ok(&self.q)
    }
}

/// A term more people use than before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trend {
    pub term: String,
    /// Posts with it in the last window (an hour).
    pub posts: u64,
    /// Posts with it in a window before, on average.
    pub before: f64,
    /// How unusual that is: the excess over what was to be expected, in standard deviations of a Poisson process.
    pub score: f64,
}

struct Search {
    engine: Arc<Engine>,
    trends: Trends,
}

/// How trends are found.
struct Trends {
    window_ms: i64,
    /// A term in fewer posts than this is no trend.
    least: u64,
    kept: Arc<Cached<Vec<Trend>>>,
}

/// Windows before the last one that say what was to be expected.
const WINDOWS_BEFORE: i64 = 6;
/// Terms of a window that are looked at.
const CANDIDATES: u64 = 500;

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let service = Service::new("search-service");
    let engine = Arc::new(Engine::from_env()?);
    let indexer = Indexer {
        engine: engine.clone(),
        posts: Upstream::from_env("post-service", "Post Service", 5000)?,
        accounts: Upstream::from_env("auth-service", "Auth Service", 5000)?,
        interval: Duration::from_millis(parse_env("SEARCH_POLL_INTERVAL_MS", 1000)?),
    };
    let caught_up = watch::Sender::new(false);
    let seen = caught_up.subscribe();
    service.ready_when("the index", move || {
        let mut seen = seen.clone();
        async move {
            seen.wait_for(|caught_up| *caught_up).await?;
            Ok(())
        }
    });
    tokio::spawn(indexer.follow(caught_up));
    let search = Arc::new(Search {
        engine,
        trends: Trends {
            window_ms: parse_env::<i64>("TRENDS_WINDOW_S", 3600)?.max(1) * 1000,
            least: parse_env("TRENDS_LEAST_POSTS", 3)?,
            kept: Arc::new(Cached::new(Policy {
                keep: Duration::from_millis(parse_env("TRENDS_CACHE_MS", 10_000)?),
                single_flight: parse_env("TRENDS_SINGLE_FLIGHT", true)?,
                stale: Duration::from_millis(parse_env("TRENDS_STALE_MS", 60_000)?),
                jitter: 0.1,
            })),
        },
    });
    let routes = Router::new()
        .route("/search", post(posts))
        .route("/people", post(people))
        .route("/trends", get(trends))
        .with_state(search);
    service.serve(routes).await
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        tracing::error!(%error, "The search engine failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "search does not answer just now")
    }
}

/// A query for all words, each with all its pairs of characters.
fn all_words(field: &str, words: &[&str]) -> Value {
    let matches = words
        .iter()
        .map(|word| json!({ "match": { field: { "query": word, "operator": "and" } } }));
    json!({ "bool": { "filter": matches.collect::<Vec<_>>() } })
}

fn sources(answer: &mut Value) -> Vec<Value> {
    let hits = answer["hits"]["hits"].as_array_mut().map(std::mem::take);
    let sources = hits.into_iter().flatten().map(|mut hit| hit["_source"].take());
    sources.collect()
}

/// The newest posts that hold every word of the query.
async fn posts(
    State(search): State<Arc<Search>>,
    Json(asked): Json<Asked>,
) -> Result<Json<Vec<Post>>, ApiError> {
    let limit = asked.limit.unwrap_or(20).clamp(1, 100);
    let query = fold(asked.words()?);
    let words: Vec<&str> = query.split_whitespace().collect();
    if words.is_empty() {
        return Ok(Json(vec![]));
    }
    let body = json!({
        "size": limit * 4,
        "query": all_words("text", &words),
        "sort": [{ "id": "desc" }],
    });
    let mut answer = search.engine.search(POSTS, &body).await?;
    let mut found = vec![];
    for mut source in sources(&mut answer) {
        // Pairs may stand apart in the text; the words themselves may not.
        let text = source["text"].as_str().unwrap_or_default();
        if words.iter().all(|word| text.contains(word)) {
            let post: Post = serde_json::from_value(source["post"].take()).map_err(anyhow::Error::from)?;
            found.push(post);
        }
    }
    found.truncate(limit);
    Ok(Json(found))
}

/// People whose name holds the query: exactly that name first, then those that begin with it.
async fn people(
    State(search): State<Arc<Search>>,
    Json(asked): Json<Asked>,
) -> Result<Json<Vec<Person>>, ApiError> {
    let limit = asked.limit.unwrap_or(20).clamp(1, 100);
    let name = fold(asked.words()?.trim().trim_start_matches(['@', '＠']));
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Ok(Json(vec![]));
    }
    let body = json!({
        "size": 200,
        "query": all_words("name", &[&name]),
        "sort": [{ "id": "asc" }],
    });
    let mut answer = search.engine.search(PEOPLE, &body).await?;
    let mut found = vec![];
    for source in sources(&mut answer) {
        let person: Person = serde_json::from_value(source).map_err(anyhow::Error::from)?;
        if person.name.contains(&name) {
            found.push(person);
        }
    }
    found.sort_by_key(|person| (person.name != name, !person.name.starts_with(&name), person.id));
    found.truncate(limit);
    Ok(Json(found))
}

#[derive(Deserialize)]
struct Few {
    limit: Option<usize>,
}

async fn trends(
    State(search): State<Arc<Search>>,
    Query(few): Query<Few>,
) -> Result<Json<Vec<Trend>>, ApiError> {
    let own = search.clone();
    let rising = search
        .trends
        .kept
        .get(move || async move { own.rising().await })
        .await?;
    let limit = few.limit.unwrap_or(10).clamp(1, 50);
    Ok(Json(rising.into_iter().take(limit).collect()))
}

impl Search {
    /// In how many posts of a span each term is.
    async fn counts(&self, from: i64, to: i64) -> Result<Vec<(String, u64)>, EngineError> {
        let body = json!({
            "size": 0,
            "query": { "range": { "created_ms": { "gte": from, "lt": to } } },
            "aggs": { "terms": { "terms": { "field": "terms", "size": CANDIDATES } } },
        });
        let answer = self.engine.search(POSTS, &body).await?;
        let buckets = answer["aggregations"]["terms"]["buckets"].as_array();
        let counts = buckets
            .into_iter()
            .flatten()
            .filter_map(|bucket| Some((bucket["key"].as_str()?.to_owned(), bucket["doc_count"].as_u64()?)));
        Ok(counts.collect())
    }

    async fn rising(&self) -> Result<Vec<Trend>, EngineError> {
        let window = self.trends.window_ms;
        let now = jiff::Timestamp::now().as_millisecond();
        let last = self.counts(now - window, now + 1).await?;
        let before = self
            .counts(now - window * (WINDOWS_BEFORE + 1), now - window)
            .await?;
        Ok(rank(last, before.into_iter().collect(), self.trends.least))
    }
}

/// The terms in more posts than was to be expected, the most unusual first.
fn rank(last: Vec<(String, u64)>, before: std::collections::HashMap<String, u64>, least: u64) -> Vec<Trend> {
    let mut trends: Vec<Trend> = last
        .into_iter()
        .filter(|(_, posts)| *posts >= least)
        .map(|(term, posts)| {
            let earlier = before.get(&term).copied().unwrap_or_default();
            let expected = earlier as f64 / WINDOWS_BEFORE as f64;
            Trend {
                // One more post than was seen may always have been there: no division by nothing.
                score: (posts as f64 - expected) / (expected + 1.0).sqrt(),
                before: expected,
                posts,
                term,
            }
        })
        .filter(|trend| trend.score > 0.0)
        .collect();
    trends.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.term.cmp(&b.term)));
    trends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rises_is_before_what_is_many() {
        let last = [("東京", 100), ("地震", 30), ("猫", 40), ("珍", 2)];
        let last = last.map(|(term, posts)| (term.to_owned(), posts)).to_vec();
        let before = [("東京", 594), ("猫", 360)].map(|(term, posts)| (term.to_owned(), posts));
        let trends = rank(last, before.into_iter().collect(), 3);
        let terms: Vec<&str> = trends.iter().map(|trend| trend.term.as_str()).collect();
        assert_eq!(
            terms,
            ["地震", "東京"],
            "猫 is talked about less than before, 珍 hardly at all"
        );
    }

    #[test]
    fn every_word_is_asked_for() {
        let query = all_words("text", &["東京", "タワー"]);
        assert_eq!(query["bool"]["filter"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_search_has_an_end() {
        let asked = |length| {
            let q = "火".repeat(length);
            Asked { q, limit: None }
        };
        assert!(asked(MAX_QUERY).words().is_ok());
        let refused = asked(MAX_QUERY + 1).words().expect_err("too long");
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }
}
