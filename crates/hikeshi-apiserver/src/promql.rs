//! From a metric's name in the Kubernetes API to a PromQL query. Pure.
//!
//! METRIC is the name of a series, with one ending of its own meaning: `X_per_second` is the rate over a minute of the
//! counter `X_total`. Only series of the namespace asked for count.
//!
//! | API | METRIC | query |
//! |---|---|---|
//! | custom (pods) | `X_per_second` | `sum by (pod) (rate(X_total{namespace="NS"}[1m]))` |
//! | custom (pods) | other | `sum by (pod) (METRIC{namespace="NS"})` |
//! | external | `X_per_second` | `rate(X_total{namespace="NS"}[1m])` |
//! | external | other | `METRIC{namespace="NS"}` |

use std::fmt::Write;

use crate::selector::LabelTerm;

/// The window of a rate, in seconds: the answer's `windowSeconds`.
pub(crate) const RATE_WINDOW: u64 = 60;

/// What to ask, and over how many seconds the answer is measured (none: one moment).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MetricQuery {
    pub promql: String,
    pub window_seconds: Option<u64>,
}

/// Whose values the answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One value per pod.
    Pods,
    /// One value per series.
    Series,
}

/// Builds the query, or says what of the request is no Prometheus name.
pub(crate) fn metric_query(
    shape: Shape,
    metric: &str,
    namespace: &str,
    matchers: &[LabelTerm],
) -> Result<MetricQuery, String> {
    let (series, rate) = match metric.strip_suffix("_per_second") {
        Some(counter) => (format!("{counter}_total"), true),
        None => (metric.to_owned(), false),
    };
    if !is_name(&series, true) {
        return Err(format!(
            "metric {metric:?}: not the name of a Prometheus series (letters, digits, _ and :)"
        ));
    }
    let mut inside = format!("namespace={}", quoted(namespace));
    for term in matchers {
        inside.push(',');
        matcher(&mut inside, term)?;
    }
    let mut promql = format!("{series}{{{inside}}}");
    if rate {
        promql = format!("rate({promql}[{RATE_WINDOW}s])");
    }
    if shape == Shape::Pods {
        promql = format!("sum by (pod) ({promql})");
    }
    Ok(MetricQuery {
        promql,
        window_seconds: rate.then_some(RATE_WINDOW),
    })
}

fn is_name(text: &str, colon: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    text.chars()
        .next()
        .is_some_and(|c| fits(c) && !c.is_ascii_digit())
        && text.chars().all(fits)
}

fn matcher(out: &mut String, term: &LabelTerm) -> Result<(), String> {
    let (label, operator, value) = match term {
        LabelTerm::In(label, values) => (label, "=~", alternatives(values)),
        LabelTerm::NotIn(label, values) => (label, "!~", alternatives(values)),
        LabelTerm::Exists(label) => (label, "!=", String::new()),
        LabelTerm::Absent(label) => (label, "=", String::new()),
    };
    if !is_name(label, false) {
        return Err(format!(
            "label {label:?}: not the name of a Prometheus label (letters, digits and _)"
        ));
    }
    if label == "namespace" {
        return Err("label \"namespace\": the namespace is the request's own".to_owned());
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "{label}{operator}{}", quoted(&value));
    Ok(())
}

/// A regular expression for exactly these values; Prometheus anchors it at both ends.
fn alternatives(values: &[String]) -> String {
    let escape = |value: &String| -> String {
        let mut out = String::new();
        for c in value.chars() {
            if !c.is_ascii_alphanumeric() && c != '_' && c.is_ascii() {
                out.push('\\');
            }
            out.push(c);
        }
        out
    };
    values.iter().map(escape).collect::<Vec<_>>().join("|")
}

/// A PromQL string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value as a Kubernetes quantity, exact to a thousandth. `None` for what is no number.
pub(crate) fn quantity(value: f64) -> Option<String> {
    let milli = (value * 1000.0).round();
    // Kubernetes' quantities end at 2^63.
    if !milli.is_finite() || milli.abs() >= 9.2e18 {
        return None;
    }
    let milli = milli as i64;
    Some(if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(shape: Shape, metric: &str, matchers: &[LabelTerm]) -> Result<String, String> {
        metric_query(shape, metric, "chirpy", matchers).map(|q| q.promql)
    }

    #[test]
    fn the_documented_mapping() {
        assert_eq!(
            ask(Shape::Pods, "http_requests_per_second", &[]).unwrap(),
            "sum by (pod) (rate(http_requests_total{namespace=\"chirpy\"}[60s]))"
        );
        assert_eq!(
            ask(Shape::Pods, "queue_depth", &[]).unwrap(),
            "sum by (pod) (queue_depth{namespace=\"chirpy\"})"
        );
        let queue = [LabelTerm::In("queue".into(), vec!["a.b".into(), "c".into()])];
        assert_eq!(
            ask(Shape::Series, "depth", &queue).unwrap(),
            "depth{namespace=\"chirpy\",queue=~\"a\\\\.b|c\"}"
        );
        let rate = metric_query(Shape::Series, "x_per_second", "n", &[]).unwrap();
        assert_eq!(rate.window_seconds, Some(60));
    }

    #[test]
    fn what_is_no_name_is_refused_by_name() {
        for bad in ["", "a-b", "1a", "a{}", "a b", "a)or(b"] {
            assert!(ask(Shape::Pods, bad, &[]).unwrap_err().contains(bad));
        }
        let dotted = [LabelTerm::Exists("app.kubernetes.io/name".into())];
        assert!(
            ask(Shape::Pods, "a", &dotted)
                .unwrap_err()
                .contains("app.kubernetes.io/name")
        );
        let other = [LabelTerm::In("namespace".into(), vec!["hikeshi-system".into()])];
        assert!(ask(Shape::Pods, "a", &other).is_err());
    }

    #[test]
    fn quantities() {
        assert_eq!(quantity(3.0).as_deref(), Some("3"));
        assert_eq!(quantity(0.25).as_deref(), Some("250m"));
        assert_eq!(quantity(-1.5).as_deref(), Some("-1500m"));
        assert_eq!(quantity(f64::NAN), None);
        assert_eq!(quantity(f64::INFINITY), None);
        assert_eq!(quantity(1e17), None);
    }

    proptest! {
        /// No label value escapes its string: outside strings the query has only our own text.
        #[test]
        fn values_stay_in_their_string(value in any::<String>()) {
            let terms = [LabelTerm::In("a".into(), vec![value])];
            let promql = ask(Shape::Series, "m", &terms).unwrap();
            let (mut outside, mut inside, mut escaped) = (String::new(), false, false);
            for c in promql.chars() {
                match (inside, escaped, c) {
                    (true, true, _) => escaped = false,
                    (true, false, '\\') => escaped = true,
                    (_, false, '"') => inside = !inside,
                    (false, _, c) => outside.push(c),
                    (true, false, _) => {}
                }
            }
            prop_assert!(!inside);
            prop_assert_eq!(outside, "m{namespace=,a=~}");
        }
    }
}
