//! What an index is made of: analyzers and mappings, read from the body that creates it.

use std::collections::HashMap;

use serde_json::Value;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, NumericOptions, STORED, STRING, Schema, TextFieldIndexing,
    TextOptions,
};
use tantivy::tokenizer::{LowerCaser, NgramTokenizer, SimpleTokenizer, TextAnalyzer};

use super::error::Refused;

/// How a field is indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Analysed by the analyzer of this name.
    Text(String),
    Keyword,
    Long,
}

/// The fields of an index.
pub struct Mapping {
    pub schema: Schema,
    pub id: Field,
    pub source: Field,
    /// Those that are indexed, by name; all others are only in the source.
    pub fields: HashMap<String, (Field, Kind)>,
    pub analyzers: HashMap<String, TextAnalyzer>,
}

impl Mapping {
    /// Reads `{"settings": {"analysis": ...}, "mappings": {"properties": ...}}`.
    ///
    /// # Errors
    /// 400 for an analyzer or type this node does not have.
    pub fn parse(body: &Value) -> Result<Self, Refused> {
        let analyzers = analyzers(&body["settings"]["analysis"])?;
        let mut schema = Schema::builder();
        let id = schema.add_text_field("_id", STRING | STORED);
        let source = schema.add_text_field("_source", STORED);
        let mut fields = HashMap::new();
        let properties = body["mappings"]["properties"].as_object();
        for (name, property) in properties.into_iter().flatten() {
            let kind = match property["type"].as_str().unwrap_or("object") {
                "text" => {
                    let analyzer = property["analyzer"].as_str().unwrap_or("standard");
                    if !analyzers.contains_key(analyzer) {
                        return Err(Refused::argument(format!(
                            "analyzer [{analyzer}] of field [{name}] has not been configured in mappings"
                        )));
                    }
                    Kind::Text(analyzer.to_owned())
                }
                "keyword" => Kind::Keyword,
                "long" | "integer" => Kind::Long,
                // Kept in the source and nowhere else.
                "object" if property["enabled"] == Value::Bool(false) => continue,
                other => {
                    return Err(Refused::argument(format!(
                        "no handler for type [{other}] declared on field [{name}]: this node knows text, keyword, long, \
                         integer and objects with enabled false"
                    )));
                }
            };
            let field = match &kind {
                Kind::Text(analyzer) => {
                    let indexing = TextFieldIndexing::default()
                        .set_tokenizer(analyzer)
                        .set_index_option(IndexRecordOption::Basic)
                        .set_fieldnorms(false);
                    schema.add_text_field(name, TextOptions::default().set_indexing_options(indexing))
                }
                Kind::Keyword => schema.add_text_field(name, STRING | FAST),
                Kind::Long => schema.add_i64_field(name, NumericOptions::from(INDEXED).set_fast()),
            };
            fields.insert(name.clone(), (field, kind));
        }
        Ok(Self {
            schema: schema.build(),
            id,
            source,
            fields,
            analyzers,
        })
    }
}

fn analyzers(analysis: &Value) -> Result<HashMap<String, TextAnalyzer>, Refused> {
    let standard = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(LowerCaser)
        .build();
    let mut known = HashMap::from([("standard".to_owned(), standard)]);
    for (name, analyzer) in analysis["analyzer"].as_object().into_iter().flatten() {
        let tokenizer = analyzer["tokenizer"].as_str().unwrap_or_default();
        let definition = &analysis["tokenizer"][tokenizer];
        if definition["type"] != "ngram" {
            return Err(Refused::argument(format!(
                "analyzer [{name}]: this node has tokenizers of type [ngram], not [{tokenizer}]"
            )));
        }
        let size = |key: &str, default: u64| {
            let size = definition[key].as_u64().unwrap_or(default);
            usize::try_from(size).map_err(|_| Refused::argument(format!("{key} [{size}] is too large")))
        };
        let grams = NgramTokenizer::new(size("min_gram", 1)?, size("max_gram", 2)?, false)
            .map_err(|error| Refused::argument(format!("tokenizer [{tokenizer}]: {error}")))?;
        let filters: Vec<&str> = analyzer["filter"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let built = match filters.as_slice() {
            [] => TextAnalyzer::builder(grams).build(),
            ["lowercase"] => TextAnalyzer::builder(grams).filter(LowerCaser).build(),
            other => {
                return Err(Refused::argument(format!(
                    "analyzer [{name}]: this node has the filter [lowercase], not {other:?}"
                )));
            }
        };
        known.insert(name.clone(), built);
    }
    Ok(known)
}
