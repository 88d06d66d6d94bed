//! The service map: what a system's `map.yaml` says, with what the data plane counts on each dependency now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hikeshi_drill::map::SystemMap;
use hikeshi_server::api::{MapEdge, MapFlow, MapRole, ServiceMap, Text};
use tokio::sync::Mutex;

use crate::prometheus::{Prometheus, PrometheusError, Sample};

/// Over how long rates are counted: long enough to be calm, short enough to show an incident's first minute.
const RECENT: &str = "20s";
/// However many people look, Prometheus is asked once in this time.
const EVERY: Duration = Duration::from_secs(2);

/// The last answer.
#[derive(Default)]
pub(crate) struct Flows {
    last: Mutex<Option<(Instant, Arc<Measured>)>>,
}

/// What goes from whom to whom; none while Prometheus does not answer.
type Measured = Option<BTreeMap<Pair, MapFlow>>;
type Pair = (String, String);

impl Flows {
    /// At most [`EVERY`] old. Who comes while it is being asked waits for that answer.
    async fn now(&self, prometheus: &Prometheus) -> Arc<Measured> {
        let mut last = self.last.lock().await;
        if let Some((_, flows)) = last.as_ref().filter(|(at, _)| at.elapsed() < EVERY) {
            return flows.clone();
        }
        let flows = measured(prometheus).await;
        if let Err(error) = &flows {
            tracing::debug!(%error, "the service map has no figures");
        }
        let flows = Arc::new(flows.ok());
        *last = Some((Instant::now(), flows.clone()));
        flows
    }

    /// A map with its figures.
    pub(crate) async fn on(&self, map: SystemMap, prometheus: &Prometheus) -> ServiceMap {
        joined(map, self.now(prometheus).await.as_ref().as_ref())
    }
}

fn joined(map: SystemMap, flows: Option<&BTreeMap<Pair, MapFlow>>) -> ServiceMap {
    let text = |text: hikeshi_scenario::Text| Text {
        ja: text.ja,
        en: text.en,
    };
    let role = |role: hikeshi_drill::map::Role| MapRole {
        name: role.name,
        does: text(role.does),
    };
    let edge = |one: hikeshi_drill::map::Dependency| {
        let pair = (one.from, one.to);
        let flow = flows
            .and_then(|flows| flows.get(&pair))
            .copied()
            .unwrap_or_default();
        MapEdge {
            from: pair.0,
            to: pair.1,
            why: text(one.why),
            without: one.without.map(text),
            seldom: one.seldom,
            flow,
        }
    };
    ServiceMap {
        roles: map.roles.into_iter().map(role).collect(),
        edges: map.depends.into_iter().map(edge).collect(),
        measured: flows.is_some(),
    }
}

async fn measured(prometheus: &Prometheus) -> Result<BTreeMap<Pair, MapFlow>, PrometheusError> {
    let rate = |metric: &str, only: &str| {
        format!("sum by (source, destination) (rate(hikeshi_edge_{metric}{only}[{RECENT}]))")
    };
    let p99 = |metric: &str| {
        format!(
            "histogram_quantile(0.99, sum by (source, destination, le) (rate(hikeshi_edge_{metric}_bucket[{RECENT}])))"
        )
    };
    let asked = [
        rate("requests_total", ""),
        rate("requests_total", "{code=~\"5..|0\"}"),
        rate("command_duration_seconds_count", ""),
        rate("bytes_total", ""),
        p99("request_duration_seconds"),
        p99("command_duration_seconds"),
    ];
    let [requests, errors, commands, bytes, p99, command_p99] = &asked;
    let (requests, errors, commands, bytes, p99, command_p99) = tokio::try_join!(
        prometheus.query(requests),
        prometheus.query(errors),
        prometheus.query(commands),
        prometheus.query(bytes),
        prometheus.query(p99),
        prometheus.query(command_p99),
    )?;
    Ok(flows(&Answers {
        requests,
        errors,
        commands,
        bytes,
        p99,
        command_p99,
    }))
}

/// One sample for each pair that has any.
#[derive(Default)]
struct Answers {
    requests: Vec<Sample>,
    errors: Vec<Sample>,
    commands: Vec<Sample>,
    bytes: Vec<Sample>,
    p99: Vec<Sample>,
    command_p99: Vec<Sample>,
}

fn flows(answers: &Answers) -> BTreeMap<Pair, MapFlow> {
    let mut flows: BTreeMap<Pair, MapFlow> = BTreeMap::new();
    let mut add = |samples: &[Sample], put: fn(&mut MapFlow, f64)| {
        // A quantile of nothing is NaN: not known.
        for sample in samples.iter().filter(|sample| sample.value.is_finite()) {
            put(flows.entry(pair(sample)).or_default(), sample.value);
        }
    };
    add(&answers.requests, |flow, value| {
        flow.requests_per_second = Some(value)
    });
    add(&answers.commands, |flow, value| {
        flow.commands_per_second = Some(value)
    });
    add(&answers.bytes, |flow, value| flow.bytes_per_second = Some(value));
    add(&answers.command_p99, |flow, value| flow.p99_s = Some(value));
    add(&answers.p99, |flow, value| flow.p99_s = Some(value));
    // No series of errors yet is no error; their share of no requests is nothing.
    let errors: BTreeMap<Pair, f64> = answers
        .errors
        .iter()
        .map(|sample| (pair(sample), sample.value))
        .collect();
    for (pair, flow) in &mut flows {
        flow.error_share = flow
            .requests_per_second
            .filter(|rate| *rate > 0.0)
            .map(|rate| (errors.get(pair).copied().unwrap_or_default() / rate).clamp(0.0, 1.0));
    }
    flows
}

fn pair(sample: &Sample) -> Pair {
    let label = |name: &str| {
        let value = sample.labels.get(name).and_then(|value| value.as_str());
        value.unwrap_or_default().to_owned()
    };
    (label("source"), label("destination"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: &str, destination: &str, value: f64) -> Sample {
        let labels = [("source", source), ("destination", destination)];
        Sample {
            labels: labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
            value,
        }
    }

    fn map() -> SystemMap {
        let text = "name: X
about: {ja: a, en: a}
roles:
  - {name: app, does: {ja: アプリ, en: the app}}
  - {name: db, does: {ja: a, en: a}}
  - {name: idle, does: {ja: a, en: a}}
depends:
  - {from: app, to: db, why: {ja: a, en: data}, without: {ja: a, en: all fails}}
  - {from: app, to: idle, why: {ja: a, en: a}, seldom: true}
  - {from: idle, to: app, why: {ja: a, en: a}}
";
        SystemMap::parse("map.yaml", text).expect("it is right")
    }

    #[test]
    fn each_dependency_has_its_own_figures_and_nobody_elses() {
        let answers = Answers {
            requests: vec![
                sample("idle", "app", 8.0),
                sample("ingress", "app", 90.0),
                sample("app", "idle", 0.0),
            ],
            errors: vec![sample("idle", "app", 2.0), sample("ingress", "app", 9.0)],
            commands: vec![sample("app", "db", 40.0)],
            bytes: vec![sample("app", "db", 2048.0)],
            p99: vec![sample("idle", "app", 0.2), sample("app", "idle", f64::NAN)],
            command_p99: vec![sample("app", "db", 0.003)],
        };
        let map = joined(map(), Some(&flows(&answers)));
        let [db, idle, app] = map.edges.as_slice() else {
            panic!("three dependencies: {:?}", map.edges)
        };
        let counted = MapFlow {
            commands_per_second: Some(40.0),
            bytes_per_second: Some(2048.0),
            p99_s: Some(0.003),
            ..MapFlow::default()
        };
        assert_eq!(
            (db.flow, db.without.as_ref().map(|t| t.en.as_str())),
            (counted, Some("all fails"))
        );
        let nothing = MapFlow {
            requests_per_second: Some(0.0),
            ..MapFlow::default()
        };
        assert_eq!(
            (idle.flow, idle.seldom),
            (nothing, true),
            "nothing has no errors and no quantile"
        );
        assert_eq!((app.flow.error_share, app.flow.p99_s), (Some(0.25), Some(0.2)));
        assert_eq!(map.roles[0].does.ja, "アプリ");
        assert!(map.measured);
    }

    #[tokio::test]
    async fn without_prometheus_the_map_is_there_without_figures() {
        let prometheus = Prometheus::new(Arc::new(|| None));
        let map = Flows::default().on(map(), &prometheus).await;
        assert!(!map.measured);
        assert!(map.edges.iter().all(|edge| edge.flow == MapFlow::default()));
    }
}
