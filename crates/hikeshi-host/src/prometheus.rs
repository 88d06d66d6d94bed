//! Asking Prometheus: the only way anything measures.

use std::time::Duration;

use serde_json::Value;

/// Talks to Prometheus's HTTP API at a base URL that may change (the data plane may come back on another port).
#[derive(Clone)]
pub struct Prometheus {
    http: reqwest::Client,
    base: std::sync::Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    #[error("Prometheus is not up yet")]
    NotUp,
    #[error("Prometheus did not answer: {0}")]
    Http(#[from] reqwest::Error),
    /// Prometheus's own words, e.g. a parse error.
    #[error("Prometheus refused the query: {0}")]
    Query(String),
}

/// One sample of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: serde_json::Map<String, Value>,
    pub value: f64,
}

impl Prometheus {
    /// `base` answers e.g. `http://127.0.0.1:7790/prometheus`.
    pub fn new(base: std::sync::Arc<dyn Fn() -> Option<String> + Send + Sync>) -> Self {
        Self::patient(base, Duration::from_secs(5))
    }

    /// One that may take longer for an answer: a month's history of somebody's production.
    pub fn patient(base: std::sync::Arc<dyn Fn() -> Option<String> + Send + Sync>, limit: Duration) -> Self {
        let http = reqwest::Client::builder()
            .timeout(limit)
            .build()
            .unwrap_or_default();
        Self { http, base }
    }

    /// An instant query; a scalar is a vector of one.
    ///
    /// # Errors
    /// See [`PrometheusError`].
    pub async fn query(&self, promql: &str) -> Result<Vec<Sample>, PrometheusError> {
        self.query_at(promql, None).await
    }

    /// The same at a moment of the past; none is now.
    ///
    /// # Errors
    /// See [`PrometheusError`].
    pub async fn query_at(
        &self,
        promql: &str,
        at: Option<jiff::Timestamp>,
    ) -> Result<Vec<Sample>, PrometheusError> {
        let mut asked = vec![("query", promql.to_owned())];
        asked.extend(at.map(|at| ("time", at.to_string())));
        Ok(samples(&self.ask("query", &asked).await?))
    }

    /// A range query: each series' points (Unix seconds and value) from `start` to `end`, `step` seconds apart.
    ///
    /// # Errors
    /// See [`PrometheusError`].
    pub async fn query_range(
        &self,
        promql: &str,
        start: f64,
        end: f64,
        step: f64,
    ) -> Result<Vec<Vec<(f64, f64)>>, PrometheusError> {
        let asked = [
            ("query", promql.to_owned()),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("step", step.to_string()),
        ];
        Ok(points(&self.ask("query_range", &asked).await?))
    }

    /// The data of an answer.
    async fn ask(&self, what: &str, asked: &[(&str, String)]) -> Result<Value, PrometheusError> {
        let base = (self.base)().ok_or(PrometheusError::NotUp)?;
        // By POST: a query that people wrote may be longer than a URL may be.
        let answer: Value = self
            .http
            .post(format!("{base}/api/v1/{what}"))
            .form(asked)
            .send()
            .await?
            .json()
            .await?;
        if answer["status"] != "success" {
            let reason = answer["error"].as_str().unwrap_or("no reason given");
            return Err(PrometheusError::Query(reason.to_owned()));
        }
        Ok(answer["data"].clone())
    }

    /// The first finite value of an instant query; none when there is no data.
    ///
    /// # Errors
    /// See [`PrometheusError`].
    pub async fn value(&self, promql: &str) -> Result<Option<f64>, PrometheusError> {
        Ok(self
            .query(promql)
            .await?
            .into_iter()
            .map(|sample| sample.value)
            .find(|value| value.is_finite()))
    }
}

fn points(data: &Value) -> Vec<Vec<(f64, f64)>> {
    let point = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
    let series = data["result"].as_array().into_iter().flatten();
    series
        .map(|one| {
            one["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(point)
                .collect()
        })
        .collect()
}

fn samples(data: &Value) -> Vec<Sample> {
    let value = |pair: &Value| pair[1].as_str().and_then(|text| text.parse().ok());
    match data["resultType"].as_str() {
        Some("scalar") => value(&data["result"])
            .map(|value| Sample {
                labels: serde_json::Map::new(),
                value,
            })
            .into_iter()
            .collect(),
        Some("vector") => data["result"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|sample| {
                let labels = sample["metric"].as_object().cloned().unwrap_or_default();
                Some(Sample {
                    labels,
                    value: value(&sample["value"])?,
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_vectors_and_scalars() {
        let vector =
            json!({"resultType": "vector", "result": [{"metric": {"app": "x"}, "value": [1.5, "0.25"]}]});
        let found = samples(&vector);
        assert_eq!(
            (found[0].value, found[0].labels["app"].as_str()),
            (0.25, Some("x"))
        );
        let matrix =
            json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[1.5, "7"], [3.5, "NaN"]]}]});
        let read = points(&matrix);
        assert_eq!(read[0][0], (1.5, 7.0));
        assert!(read[0][1].1.is_nan());
        assert_eq!(
            samples(&json!({"resultType": "scalar", "result": [1.5, "7"]}))[0].value,
            7.0
        );
    }
}
