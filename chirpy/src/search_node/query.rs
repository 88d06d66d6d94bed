//! Elasticsearch's query language, as far as this node speaks it: match_all, match, term, terms, range and bool.

use std::ops::Bound;

use serde_json::Value;
use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, Occur, Query, RangeQuery, TermQuery, TermSetQuery};
use tantivy::schema::{Field, IndexRecordOption};

use super::error::Refused;
use super::mapping::{Kind, Mapping};

type Built = Result<Box<dyn Query>, Refused>;

/// The query of a search; without one, everything.
///
/// # Errors
/// 400 for a query this node does not know.
pub fn parse(mapping: &Mapping, query: &Value) -> Built {
    if query.is_null() {
        return Ok(Box::new(AllQuery));
    }
    let (name, body) = single(query, "query")?;
    match name {
        "match_all" => Ok(Box::new(AllQuery)),
        "match" => matching(mapping, body),
        "term" => {
            let (field, value) = single(body, "term")?;
            let value = value.get("value").unwrap_or(value);
            exact(mapping, field, std::slice::from_ref(value))
        }
        "terms" => {
            let (field, values) = single(body, "terms")?;
            let values = values.as_array().map(Vec::as_slice);
            exact(
                mapping,
                field,
                values.ok_or_else(|| Refused::parsing("[terms] takes an array of values"))?,
            )
        }
        "range" => range(mapping, body),
        "bool" => boolean(mapping, body),
        other => Err(Refused::parsing(format!("unknown query [{other}]"))),
    }
}

fn single<'a>(value: &'a Value, what: &str) -> Result<(&'a str, &'a Value), Refused> {
    let mut entries = value.as_object().into_iter().flatten();
    match (entries.next(), entries.next()) {
        (Some((name, body)), None) => Ok((name.as_str(), body)),
        _ => Err(Refused::parsing(format!("[{what}] is an object with one entry"))),
    }
}

fn term(query: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(query, IndexRecordOption::Basic))
}

fn matching(mapping: &Mapping, body: &Value) -> Built {
    let (field, asked) = single(body, "match")?;
    let text = asked.get("query").unwrap_or(asked);
    let Some((own, Kind::Text(analyzer))) = mapping.fields.get(field) else {
        return exact(mapping, field, std::slice::from_ref(text));
    };
    let text = text
        .as_str()
        .ok_or_else(|| Refused::parsing("[match] of a text field takes a string"))?;
    let occur = match asked["operator"].as_str().unwrap_or("or") {
        "and" | "AND" => Occur::Must,
        "or" | "OR" => Occur::Should,
        other => {
            return Err(Refused::parsing(format!(
                "operator [{other}] is neither and nor or"
            )));
        }
    };
    let mut analyzer = mapping.analyzers.get(analyzer).cloned().unwrap_or_default();
    let mut tokens: Vec<String> = vec![];
    analyzer
        .token_stream(text)
        .process(&mut |token| tokens.push(token.text.clone()));
    tokens.sort_unstable();
    tokens.dedup();
    if tokens.is_empty() {
        return Ok(Box::new(EmptyQuery));
    }
    let clauses = tokens
        .iter()
        .map(|token| (occur, term(Term::from_field_text(*own, token))));
    Ok(Box::new(BooleanQuery::new(clauses.collect())))
}

fn value_term(field: Field, kind: &Kind, value: &Value) -> Result<Term, Refused> {
    match (kind, value) {
        (Kind::Long, _) => {
            let number = value.as_i64().ok_or_else(|| {
                Refused::new(
                    axum::http::StatusCode::BAD_REQUEST,
                    "number_format_exception",
                    format!("for input {value}"),
                )
            })?;
            Ok(Term::from_field_i64(field, number))
        }
        (_, Value::String(text)) => Ok(Term::from_field_text(field, text)),
        (_, other) => Ok(Term::from_field_text(field, &other.to_string())),
    }
}

/// A value as it stands. A field that is not mapped holds nothing.
fn exact(mapping: &Mapping, field: &str, values: &[Value]) -> Built {
    if field == "_id" {
        let terms = values.iter().filter_map(Value::as_str);
        let terms = terms.map(|id| Term::from_field_text(mapping.id, id));
        return Ok(Box::new(TermSetQuery::new(terms)));
    }
    let Some((own, kind)) = mapping.fields.get(field) else {
        return Ok(Box::new(EmptyQuery));
    };
    let terms = values.iter().map(|value| value_term(*own, kind, value));
    // One pass over the dictionary, however many there are.
    Ok(Box::new(TermSetQuery::new(terms.collect::<Result<Vec<_>, _>>()?)))
}

fn range(mapping: &Mapping, body: &Value) -> Built {
    let (field, limits) = single(body, "range")?;
    let Some((own, kind)) = mapping.fields.get(field) else {
        return Ok(Box::new(EmptyQuery));
    };
    let (mut lower, mut upper) = (Bound::Unbounded, Bound::Unbounded);
    for (name, value) in limits.as_object().into_iter().flatten() {
        let term = value_term(*own, kind, value)?;
        match name.as_str() {
            "gte" => lower = Bound::Included(term),
            "gt" => lower = Bound::Excluded(term),
            "lte" => upper = Bound::Included(term),
            "lt" => upper = Bound::Excluded(term),
            other => {
                return Err(Refused::parsing(format!(
                    "[range] query does not support [{other}]"
                )));
            }
        }
    }
    if matches!((&lower, &upper), (Bound::Unbounded, Bound::Unbounded)) {
        return Ok(Box::new(AllQuery));
    }
    Ok(Box::new(RangeQuery::new(lower, upper)))
}

fn boolean(mapping: &Mapping, body: &Value) -> Built {
    let mut clauses: Vec<(Occur, Box<dyn Query>)> = vec![];
    for (name, part) in body.as_object().into_iter().flatten() {
        let occur = match name.as_str() {
            "must" | "filter" => Occur::Must,
            "should" => Occur::Should,
            "must_not" => Occur::MustNot,
            other => {
                return Err(Refused::parsing(format!(
                    "[bool] query does not support [{other}]"
                )));
            }
        };
        let parts = part.as_array().map_or(std::slice::from_ref(part), Vec::as_slice);
        for part in parts {
            clauses.push((occur, parse(mapping, part)?));
        }
    }
    // A bool of nothing, or of what must not be only, starts from everything.
    if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
        clauses.push((Occur::Must, Box::new(AllQuery)));
    }
    Ok(Box::new(BooleanQuery::new(clauses)))
}
