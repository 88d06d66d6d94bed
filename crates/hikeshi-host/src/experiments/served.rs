//! What the war room and the command line ask of experiments.

use async_trait::async_trait;
use hikeshi_experiment::api::{BlastRadius, CheckNow, Detail, Phase, Preview, Problem};
use hikeshi_experiment::life::Asked;
use hikeshi_experiment::manifest::{self, Manifest, Reading};
use hikeshi_experiment::{Check, Experiment, Role, api, duration, effect, selector, targets, traffic};
use hikeshi_scenario::Text;
use hikeshi_server::api::{ApiError, ExperimentHost, NotStarted, Wanted};
use jiff::Timestamp;
use serde_json::json;

use super::{Experiments, measure};
use crate::host::Host;
use crate::prometheus::PrometheusError;

#[async_trait]
impl ExperimentHost for Host {
    async fn list(&self) -> api::Experiments {
        self.experiments.book.lock().await.list(self.running().is_none())
    }

    async fn preview(&self, manifest: &str, namespace: Option<&str>) -> Preview {
        self.experiments.preview(manifest, namespace).await
    }

    async fn start(&self, wanted: Wanted<'_>) -> Result<String, NotStarted> {
        self.experiments.start(wanted).await
    }

    async fn targets(&self) -> Result<api::Targets, ApiError> {
        let (prometheus, chaos) = (&self.experiments.prometheus, &self.experiments.chaos);
        let (cluster, routes) = tokio::join!(chaos.cluster(), measure::routes(prometheus));
        let cluster = cluster.map_err(unseen)?;
        let namespace = &self.experiments.namespace;
        Ok(targets::targets(
            &cluster,
            &routes,
            &self.experiments.cujs,
            namespace,
        ))
    }

    async fn show(&self, id: &str) -> Option<Detail> {
        self.shown(id).await.map(|experiment| experiment.detail())
    }

    async fn stop(&self, id: &str, by: &str) -> Result<(), ApiError> {
        if self.shown(id).await.is_none() {
            return Err(ApiError::NotFound(format!("no experiment is called {id}")));
        }
        self.experiments.stop(id, by).await
    }
}

impl Host {
    /// One that may be seen: a drill's own only when no drill is on.
    async fn shown(&self, id: &str) -> Option<Experiment> {
        let book = self.experiments.book.lock().await;
        let found = book.all.get(id)?;
        (!found.drill || self.running().is_none()).then(|| found.clone())
    }
}

impl Experiments {
    fn read(&self, text: &str, namespace: Option<&str>) -> Reading {
        let namespace = namespace.unwrap_or(&self.namespace);
        manifest::read(text, &self.cujs, self.slo_clock, namespace)
    }

    async fn preview(&self, text: &str, namespace: Option<&str>) -> Preview {
        let reading = self.read(text, namespace);
        let Reading {
            mut problems,
            manifest,
            kind,
            name,
            namespace,
        } = reading;
        let Some(manifest) = manifest else {
            let unread = "今のままでは実行できません。";
            return Preview {
                problems,
                kind,
                name,
                namespace,
                duration_s: None,
                blast_radius: BlastRadius::default(),
                hypothesis: Vec::new(),
                guards: Vec::new(),
                effect: Text {
                    ja: unread.to_owned(),
                    en: "It cannot be run as it is.".to_owned(),
                },
                normalized: String::new(),
            };
        };
        let blast_radius = match self.chaos.cluster().await {
            Ok(cluster) => {
                let measured = measure::traffic(&self.prometheus, &cluster).await;
                let object = &manifest.object;
                BlastRadius {
                    traffic: traffic::traffic(object, &namespace, &cluster, &measured, &self.cujs),
                    ..selector::blast_radius(object, &namespace, &cluster)
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the cluster could not be looked at for a preview");
                BlastRadius::default()
            }
        };
        let series = measure::series(&self.prometheus, manifest.checks.iter(), None).await;
        let (mut hypothesis, mut guards) = (Vec::new(), Vec::new());
        for (check, values) in manifest.checks.iter().zip(series) {
            problems.extend(refused(text, check, values.as_ref().err()));
            let values = values.unwrap_or_default();
            let now = CheckNow {
                name: check.name.clone(),
                query: check.said.clone(),
                now: check.is_true(&values),
                value: check.worst(&values),
            };
            match check.role {
                Role::Hypothesis => hypothesis.push(now),
                Role::Guard => guards.push(now),
            }
        }
        Preview {
            kind,
            name,
            namespace,
            duration_s: manifest::duration_of(&manifest.object),
            effect: effect(&manifest.object, &blast_radius),
            blast_radius,
            hypothesis,
            guards,
            normalized: if problems.is_empty() {
                manifest.yaml()
            } else {
                String::new()
            },
            problems,
        }
    }

    async fn start(&self, wanted: Wanted<'_>) -> Result<String, NotStarted> {
        let Wanted {
            manifest: text,
            by,
            seconds,
            namespace,
        } = wanted;
        let reading = self.read(text, namespace);
        let Some(mut manifest) = reading.manifest else {
            return Err(NotStarted::Problems(reading.problems));
        };
        if let Some(seconds) = seconds
            && manifest::takes_duration(&manifest.object)
        {
            manifest.object["spec"]["duration"] = json!(duration::words(seconds));
        }
        self.must_be_new(&manifest)?;
        let series = measure::series(&self.prometheus, manifest.checks.iter(), None).await;
        let problems: Vec<Problem> = manifest
            .checks
            .iter()
            .zip(&series)
            .filter_map(|(check, values)| refused(text, check, values.as_ref().err()))
            .collect();
        if !problems.is_empty() {
            return Err(NotStarted::Problems(problems));
        }
        let values: Vec<_> = series.into_iter().map(Result::ok).collect();
        let cluster = self.chaos.cluster().await.map_err(unseen)?;
        let ready = selector::ready(&manifest.object, &manifest.namespace, &cluster);
        let now = Timestamp::now();
        let mut experiment = Experiment::new(Asked {
            // Known once its place in the book is.
            id: String::new(),
            name: manifest.name.clone(),
            namespace: manifest.namespace.clone(),
            kind: manifest.kind.clone(),
            object: manifest.object.clone(),
            checks: manifest.checks,
            by: by.to_owned(),
            drill: manifest.namespace == super::DRILL_NAMESPACE,
            owned: true,
            limit_s: seconds,
            at: now,
        });
        experiment.workloads = traffic::workloads(&manifest.object, &manifest.namespace, &cluster);
        measure::past(&self.prometheus, &mut experiment, now).await;
        let mut book = self.book.lock().await;
        let id = book.new_id(&manifest.name, now);
        experiment.id.clone_from(&id);
        if !experiment.before(now, &values, Some(ready)) {
            experiment.give_up(now);
            book.put(experiment);
            return Ok(id);
        }
        // On disk before it is in the cluster: whatever happens between, it is found again by its id.
        book.put(experiment.clone());
        drop(book);
        match self.chaos.create(&manifest.object, &id).await {
            Ok(uid) => {
                let mut book = self.book.lock().await;
                if let Some(mut known) = book.all.get(&id).cloned() {
                    known.uid = Some(uid);
                    if known.phase == Phase::Pending {
                        known.phase = Phase::Injecting;
                    }
                    book.put(known);
                }
                self.changed.notify_one();
                Ok(id)
            }
            Err(error) => {
                let words = match &error {
                    kube::Error::Api(status) => status.message.clone(),
                    other => other.to_string(),
                };
                experiment.say(
                    now,
                    Text {
                        ja: format!("作成できませんでした: {words}"),
                        en: format!("it could not be created: {words}"),
                    },
                );
                experiment.verdict = Some(api::Verdict::Void);
                experiment.reason = experiment.events.last().map(|note| note.text.clone());
                experiment.give_up(now);
                self.book.lock().await.put(experiment);
                Err(match error {
                    kube::Error::Api(status) if status.code == 409 => ApiError::Conflict(words),
                    kube::Error::Api(status) if status.code < 500 => ApiError::Invalid(words),
                    _ => ApiError::Unavailable(words),
                }
                .into())
            }
        }
    }

    fn must_be_new(&self, manifest: &Manifest) -> Result<(), ApiError> {
        let (kind, namespace, name) = (&manifest.kind, &manifest.namespace, &manifest.name);
        let taken = self
            .chaos
            .objects()
            .iter()
            .any(|object| super::cluster::names(object) == (kind, namespace, name));
        if taken {
            return Err(ApiError::Conflict(format!(
                "{kind} {namespace}/{name} is there already: stop it, or give this one another name"
            )));
        }
        Ok(())
    }

    async fn stop(&self, id: &str, by: &str) -> Result<(), ApiError> {
        let mut book = self.book.lock().await;
        let Some(mut experiment) = book.all.get(id).cloned() else {
            return Err(ApiError::NotFound(format!("no experiment is called {id}")));
        };
        if experiment.phase == Phase::Ended {
            return Err(ApiError::Conflict(format!("{id} is over already")));
        }
        experiment.stop(Timestamp::now(), by);
        book.put(experiment);
        drop(book);
        self.changed.notify_one();
        Ok(())
    }
}

fn unseen(error: kube::Error) -> ApiError {
    ApiError::Unavailable(format!("the cluster could not be looked at: {error}"))
}

/// Prometheus refused the query: that is a mistake in the manifest. That it is not there is none.
fn refused(text: &str, check: &Check, error: Option<&PrometheusError>) -> Option<Problem> {
    let Some(PrometheusError::Query(words)) = error else {
        return None;
    };
    let key = check.annotation();
    let (line, column) = manifest::annotation_place(text, &key);
    Some(Problem {
        line,
        column,
        path: manifest::annotation_path(&key),
        message: Text {
            ja: format!("Prometheus が受け付けません: {words}"),
            en: format!("Prometheus refuses it: {words}"),
        },
        suggestion: None,
    })
}
