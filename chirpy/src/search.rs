//! search-service: an in-memory index of bigrams, so that 東京 is found inside a sentence.
//! It is rebuilt from post-service at start and follows its changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::{
    Field, INDEXED, IndexRecordOption, NumericOptions, STORED, Schema, TextFieldIndexing, TextOptions,
    Value as _,
};
use tantivy::tokenizer::{LowerCaser, NgramTokenizer, TextAnalyzer, TokenStream as _};
use tantivy::{Index, IndexReader, IndexWriter, Order, TantivyDocument, Term};
use tokio::sync::watch;

use crate::post::{Change, Post};
use crate::service::{ApiError, Service, parse_env};
use crate::upstream::Upstream;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    pub q: String,
    pub limit: Option<usize>,
}

struct Fields {
    id: Field,
    text: Field,
    body: Field,
}

struct Search {
    fields: Fields,
    reader: IndexReader,
    analyzer: Mutex<TextAnalyzer>,
}

fn analyzer() -> anyhow::Result<TextAnalyzer> {
    let ngrams = NgramTokenizer::new(1, 2, false)?;
    Ok(TextAnalyzer::builder(ngrams).filter(LowerCaser).build())
}

fn index() -> anyhow::Result<(Index, Fields)> {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("bigram")
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let fields = Fields {
        id: schema.add_i64_field("id", NumericOptions::from(INDEXED).set_fast()),
        text: schema.add_text_field("text", TextOptions::default().set_indexing_options(indexing)),
        body: schema.add_text_field("body", STORED),
    };
    let index = Index::create_in_ram(schema.build());
    index.tokenizers().register("bigram", analyzer()?);
    Ok((index, fields))
}

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let service = Service::new("search-service");
    let posts = Upstream::from_env("post-service", "Post Service", 5000)?;
    let interval = Duration::from_millis(parse_env("SEARCH_POLL_INTERVAL_MS", 1000)?);
    let (index, fields) = index()?;
    // The smallest memory budget tantivy takes; merging happens on its own thread.
    let writer = index.writer_with_num_threads(1, 15_000_000)?;
    let reader = index.reader()?;
    let search = Arc::new(Search {
        fields,
        reader,
        analyzer: Mutex::new(analyzer()?),
    });

    let caught_up = watch::Sender::new(false);
    let mut seen = caught_up.subscribe();
    seen.mark_unchanged();
    service.ready_when("the index", move || {
        let mut seen = seen.clone();
        async move {
            seen.wait_for(|caught_up| *caught_up).await?;
            Ok(())
        }
    });
    let routes = Router::new()
        .route("/search", post(query))
        .with_state(search.clone());
    tokio::select! {
        result = service.serve(routes) => result,
        result = follow(&search, writer, &posts, interval, &caught_up) => result.context("following post-service"),
    }
}

/// Keeps the index up to date; never ends but by an error of the index itself.
async fn follow(
    search: &Search,
    mut writer: IndexWriter,
    posts: &Upstream,
    interval: Duration,
    caught_up: &watch::Sender<bool>,
) -> anyhow::Result<()> {
    let mut cursor = (0, 0);
    let mut reported = false;
    loop {
        let path = format!("/changes?transaction={}&id={}", cursor.0, cursor.1);
        match posts.get::<Vec<Change>>(&path).await {
            Ok(changes) if changes.is_empty() => {
                caught_up.send_replace(true);
                tokio::time::sleep(interval).await;
            }
            Ok(changes) => {
                for change in &changes {
                    search.apply(&writer, change)?;
                    cursor = change.cursor;
                }
                writer.commit()?;
                search.reader.reload()?;
                // A short page means we are at the end for now.
                if changes.len() < 100 {
                    tokio::time::sleep(interval).await;
                }
                reported = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut reported, true) {
                    tracing::warn!(%error, "post-service gives no changes; the index waits");
                }
                tokio::time::sleep(interval).await;
            }
        }
    }
}

impl Search {
    fn apply(&self, writer: &IndexWriter, change: &Change) -> anyhow::Result<()> {
        writer.delete_term(Term::from_field_i64(self.fields.id, change.id));
        if let Some(post) = &change.post {
            let mut document = TantivyDocument::default();
            document.add_i64(self.fields.id, post.id);
            document.add_text(self.fields.text, &post.text);
            document.add_text(self.fields.body, serde_json::to_string(post)?);
            writer.add_document(document)?;
        }
        Ok(())
    }

    /// The terms a document must hold: bigrams, or the one character of a one-character query.
    fn terms(&self, query: &str) -> Vec<Term> {
        let mut analyzer = self.analyzer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut grams = HashMap::new();
        for word in query.split_whitespace() {
            let size = word.chars().count().min(2);
            let mut stream = analyzer.token_stream(word);
            while let Some(token) = stream.next() {
                if token.text.chars().count() == size {
                    grams.insert(
                        token.text.clone(),
                        Term::from_field_text(self.fields.text, &token.text),
                    );
                }
            }
        }
        grams.into_values().collect()
    }

    /// The newest posts that hold every word of `query`.
    fn find(&self, query: &str, limit: usize) -> anyhow::Result<Vec<Post>> {
        let terms = self.terms(query);
        if terms.is_empty() {
            return Ok(vec![]);
        }
        let all = terms
            .into_iter()
            .map(|term| Box::new(TermQuery::new(term, IndexRecordOption::Basic)) as Box<dyn Query>)
            .collect();
        let searcher = self.reader.searcher();
        let newest = TopDocs::with_limit(limit * 4).order_by_fast_field::<i64>("id", Order::Desc);
        let mut posts = vec![];
        for (_, address) in searcher.search(&BooleanQuery::intersection(all), &newest)? {
            let document: TantivyDocument = searcher.doc(address)?;
            let body = document
                .get_first(self.fields.body)
                .and_then(|value| value.as_str().map(str::to_owned));
            let post: Post = serde_json::from_str(&body.context("a document without a body")?)?;
            // Bigrams may stand apart in the text; the words themselves may not.
            let text = post.text.to_lowercase();
            if query
                .to_lowercase()
                .split_whitespace()
                .all(|word| text.contains(word))
            {
                posts.push(post);
            }
        }
        posts.truncate(limit);
        Ok(posts)
    }
}

async fn query(
    State(search): State<Arc<Search>>,
    Json(asked): Json<Asked>,
) -> Result<Json<Vec<Post>>, ApiError> {
    let limit = asked.limit.unwrap_or(20).clamp(1, 100);
    Ok(Json(search.find(&asked.q, limit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: i64, text: Option<&str>) -> Change {
        let post = text.map(|text| Post {
            id,
            author_id: 1,
            author: "ai".into(),
            text: text.into(),
            created_at: String::new(),
            edited_at: None,
        });
        Change {
            cursor: (id, id),
            id,
            post,
        }
    }

    #[test]
    fn words_are_found_inside_sentences() {
        let (index, fields) = index().expect("an index");
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).expect("a writer");
        let reader = index.reader().expect("a reader");
        let search = Search {
            fields,
            reader,
            analyzer: Mutex::new(analyzer().expect("an analyzer")),
        };
        for (id, text) in [
            (1, "明日の東京は晴れ"),
            (2, "京都の東"),
            (3, "Tokyo Tower"),
            (4, "東京タワー"),
        ] {
            search.apply(&writer, &change(id, Some(text))).expect("added");
        }
        search.apply(&writer, &change(4, None)).expect("deleted");
        writer.commit().expect("committed");
        search.reader.reload().expect("reloaded");
        let found = |query: &str| -> Vec<i64> {
            search
                .find(query, 10)
                .expect("found")
                .iter()
                .map(|post| post.id)
                .collect()
        };
        assert_eq!(found("東京"), [1]);
        assert_eq!(found("京"), [2, 1]);
        assert_eq!(found("tower tokyo"), [3]);
        assert_eq!(found("大阪"), Vec::<i64>::new());
        assert_eq!(found("  "), Vec::<i64>::new());
    }
}
