//! Looks at every experiment once a second, and does what the state machine asks for.

use std::time::Duration;

use futures::future::join_all;
use hikeshi_experiment::api::Phase;
use hikeshi_experiment::life::{Action, Asked, Seen, step};
use hikeshi_experiment::manifest::checks_of;
use hikeshi_experiment::selector::{self, Cluster};
use hikeshi_experiment::{Experiment, annotations, traffic};
use jiff::Timestamp;
use serde_json::Value;

use super::{DRILL_NAMESPACE, Experiments, cluster, measure};

/// How often guards and hypotheses are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long what was created a moment ago may take to be seen.
const ARRIVES: Duration = Duration::from_secs(10);
/// How long the creation of an object may take: one that is found later is ended.
const UNBORN: Duration = Duration::from_secs(60);
/// Figures of before are read so long before the object appeared.
const BEFORE: Duration = Duration::from_secs(1);

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl Experiments {
    /// Watches over experiments for ever.
    pub async fn run(&self) {
        self.chaos.ready().await;
        loop {
            let objects = self.chaos.objects();
            self.adopt(&objects).await;
            let live = self.book.lock().await.live();
            if live.is_empty() {
                // Nothing to look at until something changes in the cluster, or is begun.
                self.changed.notified().await;
                continue;
            }
            let cluster = self.chaos.cluster().await;
            if let Err(error) = &cluster {
                tracing::warn!(%error, "the cluster could not be looked at for the experiments");
            }
            for id in live {
                self.look(&id, &objects, cluster.as_ref().ok()).await;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Takes up what others created.
    async fn adopt(&self, objects: &[Value]) {
        for object in objects {
            let uid = text(object, "/metadata/uid");
            let (kind, namespace, name) = cluster::names(object);
            let leaving = !object["metadata"]["deletionTimestamp"].is_null();
            let mut book = self.book.lock().await;
            if !book.met.insert(uid.to_owned()) || book.by_uid(uid).is_some() || leaving || is_part(object) {
                continue;
            }
            let ours = object["metadata"]["annotations"][annotations::EXPERIMENT].as_str();
            // One that has its uid is another object: this is an exported copy of it, applied again.
            let unborn = |known: &&Experiment| known.uid.is_none();
            if let Some(mut known) = ours.and_then(|id| book.all.get(id)).filter(unborn).cloned() {
                // Control died between creating it and writing its uid down.
                known.uid = Some(uid.to_owned());
                if known.phase == Phase::Ended {
                    known.phase = Phase::Recovering;
                    known.stop(Timestamp::now(), "hikeshi");
                }
                book.put(known);
                continue;
            }
            let now = Timestamp::now();
            let id = book.new_id(name, now);
            drop(book);
            let created: Timestamp = text(object, "/metadata/creationTimestamp").parse().unwrap_or(now);
            let (checks, misread) = checks_of(object, &self.cujs, self.slo_clock);
            let drill =
                namespace == DRILL_NAMESPACE || object["metadata"]["labels"][crate::faults::LABEL] == "true";
            let mut experiment = Experiment::new(Asked {
                id,
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                kind: kind.to_owned(),
                object: plain(object),
                checks,
                by: self.creator(kind, namespace, name).unwrap_or_default(),
                drill,
                owned: false,
                limit_s: None,
                at: created,
            });
            experiment.uid = Some(uid.to_owned());
            for words in misread {
                experiment.say(now, words);
            }
            let before = created.checked_sub(BEFORE).unwrap_or(created);
            let checks = experiment.measured.iter().map(|measured| &measured.check);
            let values = measure::values(&self.prometheus, checks, Some(before)).await;
            let cluster = self.chaos.cluster().await.ok();
            let ready = cluster
                .as_ref()
                .map(|cluster| selector::ready(object, namespace, cluster));
            if let Some(cluster) = &cluster {
                experiment.workloads = traffic::workloads(object, namespace, cluster);
            }
            measure::past(&self.prometheus, &mut experiment, before).await;
            experiment.ending = !experiment.before(before, &values, ready);
            self.book.lock().await.put(experiment);
        }
    }

    /// One look at one experiment.
    async fn look(&self, id: &str, objects: &[Value], cluster: Option<&Cluster>) {
        let (uid, kind, checks, created, met, edges) = {
            let mut book = self.book.lock().await;
            let Some(experiment) = book.all.get(id) else {
                return;
            };
            let Some(uid) = experiment.uid.clone() else {
                // Control died before it was created, or the creation never came to an end.
                let old = Timestamp::now()
                    .duration_since(experiment.created_at)
                    .unsigned_abs()
                    > UNBORN;
                if old && self.chaos.is_complete(&experiment.kind) {
                    let mut experiment = experiment.clone();
                    experiment.never_created(Timestamp::now());
                    book.put(experiment);
                }
                return;
            };
            let checks: Vec<_> = experiment.measured.iter().map(|m| m.check.clone()).collect();
            let met = book.met.contains(&uid);
            let edges = (
                experiment.workloads.clone(),
                experiment.touches_sources(),
                experiment.windows(Timestamp::now()),
            );
            (
                uid,
                experiment.kind.clone(),
                checks,
                experiment.created_at,
                met,
                edges,
            )
        };
        let object = objects.iter().find(|object| text(object, "/metadata/uid") == uid);
        let young = Timestamp::now().duration_since(created).unsigned_abs() < ARRIVES;
        if object.is_none() && (!self.chaos.is_complete(&kind) || (!met && young)) {
            return;
        }
        let (workloads, sources_too, windows) = edges;
        let flows = join_all(windows.into_iter().map(async |window| {
            let (seconds, until) = (window.seconds, window.until);
            let flows = measure::edges(&self.prometheus, &workloads, sources_too, seconds, until).await;
            (window.side, flows)
        }));
        let (values, edges) = tokio::join!(measure::values(&self.prometheus, checks.iter(), None), flows);
        let mut book = self.book.lock().await;
        let Some(mut experiment) = book.all.get(id).cloned() else {
            return;
        };
        if experiment.by.is_empty()
            && let Some(by) = self.creator(&experiment.kind, &experiment.namespace, &experiment.name)
        {
            experiment.by = by;
        }
        let seen = Seen {
            now: Timestamp::now(),
            object: object.cloned(),
            children: children(&uid, objects),
            values,
            edges,
            ready: cluster.map(|cluster| selector::ready(&experiment.object, &experiment.namespace, cluster)),
        };
        let actions = step(&mut experiment, &seen);
        let (object, owned) = (named(&experiment), experiment.owned);
        if actions.contains(&Action::Save) {
            book.put(experiment);
        } else {
            book.all.insert(id.to_owned(), experiment);
        }
        drop(book);
        for action in actions {
            let done = match &action {
                Action::End => self.chaos.end(&object, owned).await,
                Action::Renew(until) => self.chaos.lease(&object, *until).await,
                Action::Tell(reason, message) => self.chaos.tell(&object, &uid, reason, message).await,
                Action::Save => Ok(()),
            };
            if let Err(error) = done {
                tracing::error!(id, ?action, %error, "something could not be done for an experiment; it is tried again");
            }
        }
    }
}

/// Whether a Schedule or a Workflow made it: then it is a part of that one.
fn is_part(object: &Value) -> bool {
    object["kind"] == "WorkflowNode"
        || object["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|owner| {
                ["Schedule", "Workflow", "WorkflowNode"]
                    .iter()
                    .any(|kind| owner["kind"] == *kind)
            })
}

/// What an object made, and what that made.
fn children(uid: &str, objects: &[Value]) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    let mut owners = vec![uid.to_owned()];
    while let Some(owner) = owners.pop() {
        for object in objects {
            let owned = object["metadata"]["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|reference| reference["uid"] == owner.as_str());
            let own = text(object, "/metadata/uid");
            if owned && found.iter().all(|known| text(known, "/metadata/uid") != own) {
                owners.push(own.to_owned());
                found.push(object.clone());
            }
        }
    }
    found
}

/// The object without its status and what only a server writes.
fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(top) = object.as_object_mut() {
        top.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    object
}

/// The experiment's object as far as calls about it need it.
fn named(experiment: &Experiment) -> Value {
    serde_json::json!({"kind": experiment.kind,
        "metadata": {"namespace": experiment.namespace, "name": experiment.name},
        "spec": {"type": experiment.object["spec"]["type"]}})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_of_a_workflow_belong_to_it_to_any_depth() {
        let object = |kind: &str, uid: &str, owner: Option<(&str, &str)>| {
            let owners: Vec<Value> = owner
                .into_iter()
                .map(|(kind, uid)| json!({"kind": kind, "uid": uid}))
                .collect();
            json!({"kind": kind, "metadata": {"uid": uid, "ownerReferences": owners}})
        };
        let all = [
            object("Workflow", "w", None),
            object("WorkflowNode", "n", Some(("Workflow", "w"))),
            object("HTTPChaos", "c", Some(("WorkflowNode", "n"))),
            object("HTTPChaos", "other", None),
        ];
        let found = children("w", &all);
        let uids: Vec<_> = found.iter().map(|object| text(object, "/metadata/uid")).collect();
        assert_eq!(uids, ["n", "c"]);
        assert!(is_part(&all[1]) && is_part(&all[2]) && !is_part(&all[0]) && !is_part(&all[3]));
    }

    #[test]
    fn what_a_server_wrote_is_not_kept_as_asked_for() {
        let object = json!({"kind": "HTTPChaos", "metadata": {"name": "a", "uid": "u", "managedFields": [],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "hikeshi.dev/guard": "x > 1"}},
            "spec": {}, "status": {}});
        let expected = json!({"kind": "HTTPChaos", "metadata": {"name": "a",
            "annotations": {"hikeshi.dev/guard": "x > 1"}}, "spec": {}});
        assert_eq!(plain(&object), expected);
    }
}
