//! One index: a tantivy index in memory, and what Elasticsearch's API says about it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tantivy::aggregation::agg_req::Aggregations;
use tantivy::aggregation::{AggContextParams, AggregationCollector};
use tantivy::collector::{Count, TopDocs};
use tantivy::indexer::LogMergePolicy;
use tantivy::query::TermQuery;
use tantivy::schema::{IndexRecordOption, Value as _};
use tantivy::{DocAddress, IndexReader, IndexWriter, Order, Searcher, TantivyDocument, Term};

use super::error::Refused;
use super::mapping::{Kind, Mapping};
use super::query;

/// The smallest memory budget tantivy takes, bytes.
const WRITER_MEMORY: usize = 15_000_000;
/// A segment with more documents is merged with no other. Eight of this size merge in about a third of a second of one core;
/// without a limit a merge takes as long as all documents of an hour, and on a small machine everything else waits for it.
const LARGEST_MERGED: usize = 5_000;
/// How long it is known in which version a document was removed, as Elasticsearch's `index.gc_deletes`.
const REMOVED_KEPT: Duration = Duration::from_secs(60);
/// Most documents of one page, as Elasticsearch's `index.max_result_window`.
const MOST: u64 = 10_000;

pub struct Index {
    name: String,
    mapping: Mapping,
    reader: IndexReader,
    writing: Mutex<Writing>,
}

struct Writing {
    writer: IndexWriter,
    /// The versions of all documents.
    versions: HashMap<String, u64>,
    /// The versions in which documents were removed, and when: a write that comes late finds that it is the older one.
    removed: HashMap<String, (u64, Instant)>,
    /// Written and not yet visible: the source by id, none when it was deleted.
    unseen: HashMap<String, Option<Map<String, Value>>>,
}

/// The version that a write gives its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The next one.
    Internal,
    /// This one, and only if that which is there is older.
    External(u64),
}

impl Writing {
    fn next(&self, id: &str, asked: Version) -> Result<u64, Refused> {
        let removed = || self.removed.get(id).map(|(version, _)| version);
        let held = self.versions.get(id).or_else(removed).copied();
        match (asked, held) {
            (Version::Internal, held) => Ok(held.unwrap_or_default().saturating_add(1)),
            (Version::External(version), Some(held)) if held >= version => Err(Refused::new(
                axum::http::StatusCode::CONFLICT,
                "version_conflict_engine_exception",
                format!(
                    "[{id}]: version conflict, current version [{held}] is higher or equal to the one provided [{version}]"
                ),
            )),
            (Version::External(version), _) => Ok(version),
        }
    }
}

impl Index {
    /// An empty index.
    ///
    /// # Errors
    /// 400 for a body with something this node does not have.
    pub fn create(name: &str, body: &Value) -> Result<Self, Refused> {
        let mapping = Mapping::parse(body)?;
        let index = tantivy::Index::create_in_ram(mapping.schema.clone());
        for (name, analyzer) in &mapping.analyzers {
            index.tokenizers().register(name, analyzer.clone());
        }
        let writer: IndexWriter = index.writer_with_num_threads(1, WRITER_MEMORY)?;
        let mut merging = LogMergePolicy::default();
        merging.set_max_docs_before_merge(LARGEST_MERGED);
        writer.set_merge_policy(Box::new(merging));
        Ok(Self {
            name: name.to_owned(),
            mapping,
            reader: index.reader()?,
            writing: Mutex::new(Writing {
                writer,
                versions: HashMap::new(),
                removed: HashMap::new(),
                unseen: HashMap::new(),
            }),
        })
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Documents written, visible or not.
    pub fn count(&self) -> usize {
        self.writing().versions.len()
    }

    fn document(&self, id: &str, source: &Map<String, Value>) -> Result<TantivyDocument, Refused> {
        let mut document = TantivyDocument::default();
        document.add_text(self.mapping.id, id);
        document.add_text(self.mapping.source, Value::Object(source.clone()).to_string());
        for (name, (field, kind)) in &self.mapping.fields {
            let values = match source.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(values)) => values.as_slice(),
                Some(value) => std::slice::from_ref(value),
            };
            for value in values {
                match (kind, value) {
                    (Kind::Long, Value::Number(number)) if number.is_i64() => {
                        document.add_i64(*field, number.as_i64().unwrap_or_default());
                    }
                    (Kind::Text(_) | Kind::Keyword, Value::String(text)) => document.add_text(*field, text),
                    (kind, value) => {
                        return Err(Refused::new(
                            axum::http::StatusCode::BAD_REQUEST,
                            "mapper_parsing_exception",
                            format!("failed to parse field [{name}] of type [{kind:?}]: {value}"),
                        ));
                    }
                }
            }
        }
        Ok(document)
    }

    /// Puts a document in the place of the one with its id; whether there was none, and its version.
    ///
    /// # Errors
    /// 400 for a value that does not fit its field, 409 when the version is not above that which is there.
    pub fn put(&self, id: &str, source: &Map<String, Value>, asked: Version) -> Result<(bool, u64), Refused> {
        let document = self.document(id, source)?;
        let mut writing = self.writing();
        let version = writing.next(id, asked)?;
        writing
            .writer
            .delete_term(Term::from_field_text(self.mapping.id, id));
        writing.writer.add_document(document)?;
        writing.unseen.insert(id.to_owned(), Some(source.clone()));
        writing.removed.remove(id);
        let new = writing.versions.insert(id.to_owned(), version).is_none();
        Ok((new, version))
    }

    /// Removes a document; whether there was one, and the version of its removal.
    ///
    /// # Errors
    /// 409 when the version is not above that which is there.
    pub fn delete(&self, id: &str, asked: Version) -> Result<(bool, u64), Refused> {
        let mut writing = self.writing();
        let version = writing.next(id, asked)?;
        writing
            .writer
            .delete_term(Term::from_field_text(self.mapping.id, id));
        writing.unseen.insert(id.to_owned(), None);
        writing.removed.insert(id.to_owned(), (version, Instant::now()));
        Ok((writing.versions.remove(id).is_some(), version))
    }

    /// Makes what was written visible.
    ///
    /// # Errors
    /// When the index fails.
    pub fn refresh(&self) -> Result<(), Refused> {
        let mut writing = self.writing();
        if !writing.unseen.is_empty() {
            writing.writer.commit()?;
            self.reader.reload()?;
            writing.unseen.clear();
            writing.removed.retain(|_, (_, at)| at.elapsed() < REMOVED_KEPT);
        }
        Ok(())
    }

    /// A document's source as it was last written, visible or not.
    ///
    /// # Errors
    /// When the index fails.
    pub fn get(&self, id: &str) -> Result<Option<Value>, Refused> {
        let searcher = {
            let writing = self.writing();
            if let Some(source) = writing.unseen.get(id) {
                return Ok(source.clone().map(Value::Object));
            }
            self.reader.searcher()
        };
        let query = TermQuery::new(
            Term::from_field_text(self.mapping.id, id),
            IndexRecordOption::Basic,
        );
        let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
        found
            .first()
            .map(|(_, address)| self.stored(&searcher, *address).map(|(_, source)| source))
            .transpose()
    }

    fn stored(&self, searcher: &Searcher, address: DocAddress) -> Result<(String, Value), Refused> {
        let document: TantivyDocument = searcher.doc(address)?;
        let text = |field| {
            let value = document.get_first(field);
            value
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        let source = serde_json::from_str(&text(self.mapping.source)).unwrap_or_default();
        Ok((text(self.mapping.id), source))
    }

    /// Answers a `_search` body: query, from, size, sort by one field, aggregations.
    ///
    /// # Errors
    /// 400 for what this node does not know.
    pub fn search(&self, body: &Value) -> Result<Value, Refused> {
        let started = Instant::now();
        for key in body
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
        {
            if ![
                "query",
                "from",
                "size",
                "sort",
                "aggs",
                "aggregations",
                "_source",
                "track_total_hits",
            ]
            .contains(&key)
            {
                return Err(Refused::parsing(format!(
                    "unknown key [{key}] in a search: this node does not have it"
                )));
            }
        }
        let query = query::parse(&self.mapping, &body["query"])?;
        let (from, size) = (
            body["from"].as_u64().unwrap_or(0),
            body["size"].as_u64().unwrap_or(10),
        );
        if from.saturating_add(size) > MOST {
            return Err(Refused::argument(format!(
                "result window is too large: from + size must be at most {MOST}"
            )));
        }
        let wanted = Wanted::parse(&body["_source"])?;
        let searcher = self.reader.searcher();
        let total = searcher.search(&query, &Count)?;
        let mut hits = vec![];
        if size > 0 {
            let page = (
                usize::try_from(from).unwrap_or(0),
                usize::try_from(size).unwrap_or(0),
            );
            for (score, sort, address) in self.top(&searcher, &*query, page, &body["sort"])? {
                let (id, source) = self.stored(&searcher, address)?;
                let mut hit = json!({ "_index": self.name, "_id": id, "_score": score });
                if let Some(source) = wanted.of(source) {
                    hit["_source"] = source;
                }
                if !sort.is_null() {
                    hit["sort"] = json!([sort]);
                }
                hits.push(hit);
            }
        }
        let mut answer = json!({
            "took": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "timed_out": false,
            "_shards": { "total": 1, "successful": 1, "skipped": 0, "failed": 0 },
            "hits": { "total": { "value": total, "relation": "eq" }, "max_score": null, "hits": hits },
        });
        let aggregations = body.get("aggs").or_else(|| body.get("aggregations"));
        if let Some(asked) = aggregations {
            let asked: Aggregations = serde_json::from_value(asked.clone())
                .map_err(|error| Refused::parsing(format!("aggregations: {error}")))?;
            let context = AggContextParams::new(Default::default(), searcher.index().tokenizers().clone());
            let collector = AggregationCollector::from_aggs(asked, context);
            let found = searcher.search(&query, &collector)?;
            answer["aggregations"] = serde_json::to_value(found).unwrap_or_default();
        }
        Ok(answer)
    }

    /// A page of documents: each with its score or the value it was sorted by.
    fn top(
        &self,
        searcher: &Searcher,
        query: &dyn tantivy::query::Query,
        (from, size): (usize, usize),
        sort: &Value,
    ) -> Result<Vec<(Value, Value, DocAddress)>, Refused> {
        let top = TopDocs::with_limit(size).and_offset(from);
        let Some((field, order)) = order(sort)? else {
            let found = searcher.search(query, &top.order_by_score())?;
            let page = found
                .into_iter()
                .map(|(score, address)| (json!(score), Value::Null, address));
            return Ok(page.collect());
        };
        match self.mapping.fields.get(&field) {
            Some((_, Kind::Long)) => {
                let found = searcher.search(query, &top.order_by_fast_field::<i64>(&field, order))?;
                let page = found
                    .into_iter()
                    .map(|(value, address)| (Value::Null, json!(value), address));
                Ok(page.collect())
            }
            _ => Err(Refused::argument(format!(
                "no mapping found for [{field}] in order to sort on: this node sorts by numbers"
            ))),
        }
    }
}

/// What of a document's source a search gives: `true`, `false`, or the names of its fields.
enum Wanted {
    All,
    Nothing,
    Fields(HashSet<String>),
}

impl Wanted {
    fn parse(asked: &Value) -> Result<Self, Refused> {
        let plain = |name: &Value| {
            let name = name.as_str().filter(|name| !name.contains(['*', '.']));
            name.map(str::to_owned).ok_or_else(|| {
                Refused::parsing(
                    "[_source] is true, false or names of fields, without wildcards or paths, on this node",
                )
            })
        };
        match asked {
            Value::Null | Value::Bool(true) => Ok(Self::All),
            Value::Bool(false) => Ok(Self::Nothing),
            Value::Array(names) => Ok(Self::Fields(names.iter().map(plain).collect::<Result<_, _>>()?)),
            one => Ok(Self::Fields(HashSet::from([plain(one)?]))),
        }
    }

    fn of(&self, source: Value) -> Option<Value> {
        match (self, source) {
            (Self::Nothing, _) => None,
            (Self::Fields(names), Value::Object(mut source)) => {
                source.retain(|name, _| names.contains(name));
                Some(Value::Object(source))
            }
            (_, source) => Some(source),
        }
    }
}

/// `[{"id": "desc"}]`, `[{"id": {"order": "desc"}}]` or `["id"]`; one field.
fn order(sort: &Value) -> Result<Option<(String, Order)>, Refused> {
    let keys = match sort {
        Value::Null => return Ok(None),
        Value::Array(keys) => keys.as_slice(),
        one => std::slice::from_ref(one),
    };
    let [key] = keys else {
        return Err(Refused::argument("this node sorts by one field"));
    };
    let (field, direction) = match key {
        Value::String(field) => (field.clone(), "asc"),
        Value::Object(entry) => {
            let (field, how) = entry
                .iter()
                .next()
                .ok_or_else(|| Refused::parsing("[sort] names no field"))?;
            (
                field.clone(),
                how.as_str().or_else(|| how["order"].as_str()).unwrap_or("asc"),
            )
        }
        _ => return Err(Refused::parsing("[sort] is a list of fields")),
    };
    match direction {
        "asc" => Ok(Some((field, Order::Asc))),
        "desc" => Ok(Some((field, Order::Desc))),
        other => Err(Refused::parsing(format!(
            "sort order [{other}] is neither asc nor desc"
        ))),
    }
}
