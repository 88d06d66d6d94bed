//! Edge metrics: who calls whom, how often, how long, with what answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds, dense where latency objectives usually lie.
const BUCKETS: [f64; 22] = [
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0,
    1.5, 2.0, 3.0, 5.0, 10.0,
];

/// Upper bounds in seconds for commands of databases, most of which take less than a millisecond.
const COMMAND_BUCKETS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Code of a request that was closed without an answer.
pub(crate) const CODE_NONE: u16 = 0;
/// Code of a request whose client went away first (nginx' custom).
pub(crate) const CODE_CLIENT_CLOSED: u16 = 499;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EdgeLabels {
    pub source: String,
    pub destination: String,
    /// Ingress only: see `ingress_route`.
    pub route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    source: String,
    destination: String,
    route: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    source: String,
    destination: String,
    protocol: &'static str,
    command: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    source: String,
    destination: String,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PairLabels {
    source: String,
    destination: String,
}

/// All families, and a handle per edge so that a request costs no label formatting.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<CodeLabels, Counter>,
    durations: Family<EdgeLabels, Histogram, fn() -> Histogram>,
    commands: Family<CommandLabels, Histogram, fn() -> Histogram>,
    bytes: Family<DirectionLabels, Counter>,
    opened: Family<PairLabels, Counter>,
    open: Family<PairLabels, Gauge>,
    edges: RwLock<HashMap<EdgeLabels, Arc<EdgeMetrics>>>,
}

/// One edge's own counters.
#[derive(Debug)]
pub(crate) struct EdgeMetrics {
    labels: EdgeLabels,
    requests: Family<CodeLabels, Counter>,
    codes: Mutex<Vec<(u16, Counter)>>,
    durations: Family<EdgeLabels, Histogram, fn() -> Histogram>,
    duration: std::sync::OnceLock<Histogram>,
    commands: Family<CommandLabels, Histogram, fn() -> Histogram>,
    /// Bytes from source to destination.
    pub sent: Counter,
    /// Bytes from destination to source.
    pub received: Counter,
    pub opened: Counter,
    pub open: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hikeshi_edge");
        let requests = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let commands =
            Family::new_with_constructor((|| Histogram::new(COMMAND_BUCKETS)) as fn() -> Histogram);
        let (bytes, opened, open) = (Family::default(), Family::default(), Family::default());
        registry.register(
            "requests",
            "HTTP requests; code 0 is closed without an answer, 499 is a client that left first",
            requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From a request's arrival to the last byte of its answer (event streams: the first)",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register_with_unit(
            "command_duration",
            "From a command (of Redis or PostgreSQL) to the end of its answer",
            Unit::Seconds,
            commands.clone(),
        );
        registry.register(
            "bytes",
            "Payload carried, by direction (sent, received) as the source sees it",
            bytes.clone(),
        );
        registry.register(
            "connections",
            "Connections opened to the destination",
            opened.clone(),
        );
        registry.register(
            "open_connections",
            "Connections open to the destination now",
            open.clone(),
        );
        Self {
            registry,
            requests,
            durations,
            commands,
            bytes,
            opened,
            open,
            edges: RwLock::default(),
        }
    }

    /// The counters of an edge; `route` is empty except at the ingress.
    pub fn edge(&self, source: &str, destination: &str, route: String) -> Arc<EdgeMetrics> {
        let labels = EdgeLabels {
            source: source.into(),
            destination: destination.into(),
            route,
        };
        if let Some(edge) = self
            .edges
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&labels)
        {
            return edge.clone();
        }
        let mut edges = self.edges.write().unwrap_or_else(PoisonError::into_inner);
        edges
            .entry(labels.clone())
            .or_insert_with(|| Arc::new(self.new_edge(labels)))
            .clone()
    }

    fn new_edge(&self, labels: EdgeLabels) -> EdgeMetrics {
        let pair = PairLabels {
            source: labels.source.clone(),
            destination: labels.destination.clone(),
        };
        let direction = |direction| DirectionLabels {
            source: labels.source.clone(),
            destination: labels.destination.clone(),
            direction,
        };
        EdgeMetrics {
            sent: self.bytes.get_or_create_owned(&direction("sent")),
            received: self.bytes.get_or_create_owned(&direction("received")),
            opened: self.opened.get_or_create_owned(&pair),
            open: self.open.get_or_create_owned(&pair),
            requests: self.requests.clone(),
            durations: self.durations.clone(),
            duration: std::sync::OnceLock::new(),
            commands: self.commands.clone(),
            codes: Mutex::default(),
            labels,
        }
    }

    /// Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl EdgeMetrics {
    /// The durations of one command of a database's protocol; both names are of fixed sets.
    pub fn command(&self, protocol: &'static str, command: &'static str) -> Histogram {
        let EdgeLabels {
            source, destination, ..
        } = self.labels.clone();
        self.commands.get_or_create_owned(&CommandLabels {
            source,
            destination,
            protocol,
            command,
        })
    }

    /// Counts one request.
    pub fn request(&self, code: u16, took: Duration) {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        match codes.iter().find(|(known, _)| *known == code) {
            Some((_, counter)) => {
                counter.inc();
            }
            None => {
                let EdgeLabels {
                    source,
                    destination,
                    route,
                } = self.labels.clone();
                let counter = self.requests.get_or_create_owned(&CodeLabels {
                    source,
                    destination,
                    route,
                    code,
                });
                counter.inc();
                codes.push((code, counter));
            }
        }
        drop(codes);
        self.duration
            .get_or_init(|| self.durations.get_or_create_owned(&self.labels))
            .observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_rules_and_dashboards_use() {
        let metrics = Metrics::new();
        let edge = metrics.edge("ingress", "gateway", "/timeline/home".into());
        edge.request(200, Duration::from_millis(3));
        edge.request(200, Duration::from_millis(3));
        edge.sent.inc_by(10);
        let text = metrics.text();
        for line in [
            r#"hikeshi_edge_requests_total{source="ingress",destination="gateway",route="/timeline/home",code="200"} 2"#,
            r#"hikeshi_edge_request_duration_seconds_count{source="ingress",destination="gateway",route="/timeline/home"} 2"#,
            r#"hikeshi_edge_bytes_total{source="ingress",destination="gateway",direction="sent"} 10"#,
            r#"hikeshi_edge_connections_total{source="ingress",destination="gateway"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
