//! Series that a query's selectors match: what a generated test feeds to the real queries.

use std::collections::BTreeMap;

use regex::Regex;

use crate::spec::{Source, WINDOW};

pub(super) type Labels = BTreeMap<String, String>;

/// Which counters to feed for an objective.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counters {
    /// Series in promtool's notation, with what of the events it counts.
    pub series: Vec<(String, Counts)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    Good,
    Bad,
    All,
}

/// Series for queries of plain shape: a sum of rates of one selector, or the difference of two. None for others.
pub(super) fn counters(source: &Source) -> Option<Counters> {
    let Source::Events { bad, total, .. } = source else {
        return None;
    };
    let total = sum_of(total)?;
    let series = if let Some(bad) = sum_of(bad) {
        narrowed(&total, &bad, Counts::Bad, Counts::Good)?
    } else {
        let (all, good) = difference(bad)?;
        if all != total {
            return None;
        }
        narrowed(&total, &good, Counts::Good, Counts::Bad)?
    };
    Some(Counters { series })
}

/// Series of a part of all events and of the rest, or of the part and of all where another metric counts it.
fn narrowed(
    total: &Selector,
    part: &Selector,
    of_part: Counts,
    of_rest: Counts,
) -> Option<Vec<(String, Counts)>> {
    if total.name != part.name {
        return Some(vec![
            (total.series(&total.matching(&[])?), Counts::All),
            (part.series(&part.matching(&[])?), of_part),
        ]);
    }
    let inside = part.matching(&[total])?;
    let outside = part.missed_by(&inside, total)?;
    Some(vec![
        (part.series(&inside), of_part),
        (part.series(&outside), of_rest),
    ])
}

/// `sum(rate(SELECTOR[{{.window}}]))`, the white space aside; `increase` too.
fn sum_of(query: &str) -> Option<Selector> {
    let mut rest = strip(query);
    rest = after(rest, "sum")?;
    rest = inside(rest)?;
    rest = after(rest, "rate").or_else(|| after(rest, "increase"))?;
    rest = inside(rest)?;
    let range = format!("[{WINDOW}]");
    Selector::read(rest.strip_suffix(range.as_str())?)
}

/// `SUM - SUM`, in brackets or not.
fn difference(query: &str) -> Option<(Selector, Selector)> {
    query.match_indices('-').find_map(|(at, _)| {
        let (left, right) = (&query[..at], &query[at + 1..]);
        Some((sum_of(left)?, sum_of(right)?))
    })
}

/// Without white space and brackets around it.
fn strip(query: &str) -> &str {
    let mut query = query.trim();
    while let Some(within) = query.strip_prefix('(').and_then(|q| q.strip_suffix(')')) {
        query = within.trim();
    }
    query
}

fn after<'a>(query: &'a str, word: &str) -> Option<&'a str> {
    query.strip_prefix(word).map(str::trim)
}

fn inside(query: &str) -> Option<&str> {
    query.strip_prefix('(')?.strip_suffix(')').map(str::trim)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Selector {
    name: String,
    matchers: Vec<(String, Op, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Is,
    IsNot,
    Like,
    Unlike,
}

impl Selector {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, rest) = match text.split_once('{') {
            Some((name, rest)) => (name.trim(), rest.trim_end().strip_suffix('}')?),
            None => (text, ""),
        };
        let plain = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        };
        if !plain(name) {
            return None;
        }
        let mut matchers = Vec::new();
        let mut rest = rest.trim();
        while !rest.is_empty() {
            let at = rest.find(['=', '!'])?;
            let label = rest[..at].trim();
            let (op, after) = [
                ("=~", Op::Like),
                ("!~", Op::Unlike),
                ("!=", Op::IsNot),
                ("=", Op::Is),
            ]
            .into_iter()
            .find_map(|(sign, op)| Some((op, rest[at..].strip_prefix(sign)?)))?;
            let quoted = after.trim_start();
            let quote = quoted.chars().next().filter(|c| "\"'`".contains(*c))?;
            let body = &quoted[1..];
            let end = body.find(quote)?;
            // Escapes would have to be undone; such a query is tested another way.
            if !plain(label) || body[..end].contains('\\') {
                return None;
            }
            matchers.push((label.to_owned(), op, body[..end].to_owned()));
            rest = body[end + 1..].trim_start();
            rest = match rest.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        Some(Self {
            name: name.to_owned(),
            matchers,
        })
    }

    /// Labels that this selector and others of the same metric match.
    fn matching(&self, others: &[&Selector]) -> Option<Labels> {
        let all = || std::iter::once(self).chain(others.iter().copied());
        let mut labels = Labels::new();
        for (label, op, value) in all().flat_map(|s| &s.matchers) {
            let wanted = match op {
                Op::Is => value.clone(),
                Op::Like => sample(value)?,
                Op::IsNot | Op::Unlike => continue,
            };
            labels.entry(label.clone()).or_insert(wanted);
        }
        for (label, op, _) in all().flat_map(|s| &s.matchers) {
            if matches!(op, Op::IsNot | Op::Unlike) && !labels.contains_key(label) {
                let value = OTHERS.iter().find(|other| {
                    let tried = Labels::from([(label.clone(), (**other).to_owned())]);
                    all().all(|s| s.takes(label, &tried))
                })?;
                labels.insert(label.clone(), (*value).to_owned());
            }
        }
        labels.retain(|_, value| !value.is_empty());
        all().all(|s| s.matches(&labels)).then_some(labels)
    }

    /// Labels like `inside` that this selector does not match and the wider one does.
    fn missed_by(&self, inside: &Labels, wider: &Selector) -> Option<Labels> {
        self.matchers.iter().find_map(|(label, _, _)| {
            OTHERS.iter().find_map(|other| {
                let mut labels = inside.clone();
                labels.insert(label.clone(), (*other).to_owned());
                (wider.matches(&labels) && !self.matches(&labels)).then_some(labels)
            })
        })
    }

    fn takes(&self, label: &str, labels: &Labels) -> bool {
        self.matchers
            .iter()
            .filter(|(name, _, _)| name == label)
            .all(|matcher| holds(matcher, labels))
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| holds(matcher, labels))
    }

    fn series(&self, labels: &Labels) -> String {
        let inner: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        format!("{}{{{}}}", self.name, inner.join(","))
    }
}

/// Values of a label that hardly any query of errors asks for.
const OTHERS: [&str; 5] = ["ok", "200", "500", "other", "1"];

fn holds((label, op, value): &(String, Op, String), labels: &Labels) -> bool {
    let is = labels.get(label).map_or("", String::as_str);
    let like = || Regex::new(&format!("^(?:{value})$")).is_ok_and(|regex| regex.is_match(is));
    match op {
        Op::Is => is == value,
        Op::IsNot => is != value,
        Op::Like => like(),
        Op::Unlike => !like(),
    }
}

/// A text that a simple pattern matches: alternatives, groups, dots, classes of a few characters.
fn sample(pattern: &str) -> Option<String> {
    let regex = Regex::new(&format!("^(?:{pattern})$")).ok()?;
    let first = pattern.split('|').next()?.replace(['(', ')', '^', '$'], "");
    let simple = first
        .replace("?:", "")
        .replace(".*", "")
        .replace(".+", "x")
        .replace("[0-9]", "0")
        .replace("\\d", "0");
    // A dot is any character: in codes a digit is the likely one.
    [simple.replace('.', "0"), simple.clone(), "x".to_owned()]
        .into_iter()
        .find(|text| regex.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Own;

    fn of(bad: &str, total: &str) -> Option<Vec<(String, Counts)>> {
        let source = Source::Events {
            bad: bad.to_owned(),
            total: total.to_owned(),
            own: Own::Rates,
        };
        counters(&source).map(|c| c.series)
    }

    #[test]
    fn plain_queries_have_series() {
        let total = "sum(rate(requests_total{job=\"shop\"}[{{.window}}]))";
        assert_eq!(
            of(
                "sum(rate(requests_total{job=\"shop\",code=~\"(5..|429)\"}[{{.window}}]))",
                total
            ),
            Some(vec![
                (
                    "requests_total{code=\"500\",job=\"shop\"}".to_owned(),
                    Counts::Bad
                ),
                (
                    "requests_total{code=\"ok\",job=\"shop\"}".to_owned(),
                    Counts::Good
                ),
            ])
        );
        // Good events, by what they are not.
        let good =
            format!("({total}) - (sum(rate(requests_total{{job=\"shop\",code!~\"5..\"}}[{{{{.window}}}}])))");
        assert_eq!(
            of(&good, total),
            Some(vec![
                (
                    "requests_total{code=\"ok\",job=\"shop\"}".to_owned(),
                    Counts::Good
                ),
                (
                    "requests_total{code=\"500\",job=\"shop\"}".to_owned(),
                    Counts::Bad
                ),
            ])
        );
        assert_eq!(
            of(
                "sum(rate(d_count[{{.window}}])) - sum(rate(d_bucket{le=~\"1|1.0\"}[{{.window}}]))",
                "sum(rate(d_count[{{.window}}]))"
            ),
            Some(vec![
                ("d_count{}".to_owned(), Counts::All),
                ("d_bucket{le=\"1\"}".to_owned(), Counts::Good),
            ])
        );
    }

    #[test]
    fn others_have_none() {
        let total = "sum(rate(t[{{.window}}]))";
        for bad in [
            "sum by (job) (rate(t{a=\"b\"}[{{.window}}]))",
            "1 - histogram_share(0.2, sum(rate(t[{{.window}}])))",
            "sum(rate(t{a=\"\\\\b\"}[{{.window}}]))",
            "sum(rate(t[{{.window}}])) * 0.5",
        ] {
            assert_eq!(of(bad, total), None, "{bad}");
        }
    }
}
