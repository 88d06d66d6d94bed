//! A Deployment's status and conditions.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};

use super::plan::Observed;
use super::sets::{allowance, available, replicas, split, wanted};
use crate::object::{name_of, time};

const PROGRESSING: &str = "Progressing";

/// The status as observed, and when to look again for the progress deadline.
pub(super) fn status(observed: &Observed) -> Result<(DeploymentStatus, Option<Duration>), serde_json::Error> {
    let deployment = observed.deployment.as_ref();
    let before = deployment.status.clone().unwrap_or_default();
    let (new, old) = split(deployment, &observed.sets)?;
    let all = || old.iter().chain(&new);
    let sum = |field: fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> i32| -> i32 {
        all().filter_map(|set| set.status.as_ref()).map(field).sum()
    };
    let asked: i32 = all().map(|set| replicas(set)).sum();
    let running = sum(|status| status.replicas);
    let ready = sum(|status| status.ready_replicas.unwrap_or(0));
    let up: i32 = all().map(|set| available(set)).sum();
    let updated = new
        .as_ref()
        .and_then(|set| set.status.as_ref())
        .map_or(0, |status| status.replicas);
    let some = |n: i32| Some(n).filter(|n| *n > 0);
    let mut after = DeploymentStatus {
        replicas: some(running),
        updated_replicas: some(updated),
        ready_replicas: some(ready),
        available_replicas: some(up),
        unavailable_replicas: some(asked - up),
        terminating_replicas: some(sum(|status| status.terminating_replicas.unwrap_or(0))),
        observed_generation: deployment.metadata.generation,
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    let conditions = after.conditions.get_or_insert_default();
    let now = observed.now;
    let desired = wanted(deployment);
    let (available, reason, message) = if up >= desired - allowance(deployment).max_unavailable {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    set_condition(conditions, "Available", available, reason, message, now);

    let spec = deployment.spec.as_ref();
    if spec.and_then(|spec| spec.paused) == Some(true) {
        set_condition(
            conditions,
            PROGRESSING,
            "Unknown",
            "DeploymentPaused",
            "Deployment is paused",
            now,
        );
        return Ok((after, None));
    }
    let who = new.as_ref().map_or_else(
        || format!("Deployment {:?}", name_of(deployment)),
        |set| format!("ReplicaSet {:?}", name_of(set.as_ref())),
    );
    let current = conditions
        .iter()
        .find(|condition| condition.type_ == PROGRESSING)
        .cloned();
    let reason = current
        .as_ref()
        .and_then(|condition| condition.reason.as_deref())
        .unwrap_or_default();
    // A rollout that has ended does not begin again because a pod is lost later.
    let ended = running == updated
        && reason == "NewReplicaSetAvailable"
        && before.observed_generation == after.observed_generation;
    let complete = updated == desired && running == desired && up >= desired;
    let number = |n: Option<i32>| n.unwrap_or(0);
    let progressed = current.is_none()
        || updated > number(before.updated_replicas)
        || running - updated < number(before.replicas) - number(before.updated_replicas)
        || ready > number(before.ready_replicas)
        || up > number(before.available_replicas);
    let deadline = SignedDuration::from_secs(
        spec.and_then(|spec| spec.progress_deadline_seconds)
            .unwrap_or(600)
            .into(),
    );
    let mut recheck = None;
    if complete {
        let message = format!("{who} has successfully progressed.");
        set_condition(
            conditions,
            PROGRESSING,
            "True",
            "NewReplicaSetAvailable",
            &message,
            now,
        );
    } else if ended {
        // Nothing to say.
    } else if progressed || reason == "NewReplicaSetAvailable" || reason == "DeploymentPaused" {
        let message = format!("{who} is progressing.");
        conditions
            .iter_mut()
            .filter(|c| c.type_ == PROGRESSING)
            .for_each(|c| c.last_update_time = Some(time(now)));
        set_condition(
            conditions,
            PROGRESSING,
            "True",
            "ReplicaSetUpdated",
            &message,
            now,
        );
        recheck = Duration::try_from(deadline).ok();
    } else if reason != "ProgressDeadlineExceeded" {
        let since = current
            .and_then(|condition| condition.last_update_time)
            .map_or(now, |time| time.0);
        let waited = now.duration_since(since);
        if waited >= deadline {
            let message = format!("{who} has timed out progressing.");
            set_condition(
                conditions,
                PROGRESSING,
                "False",
                "ProgressDeadlineExceeded",
                &message,
                now,
            );
        } else {
            recheck = Duration::try_from(deadline - waited).ok();
        }
    }
    Ok((after, recheck.map(|wait| wait + Duration::from_millis(50))))
}

/// Sets a condition; the transition time changes only with the status, and nothing changes when nothing is new.
fn set_condition(
    conditions: &mut Vec<DeploymentCondition>,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let at = conditions.iter().position(|condition| condition.type_ == type_);
    let former = at.map(|at| conditions.remove(at));
    let next = match former {
        Some(same) if same.status == status && same.reason.as_deref() == Some(reason) => {
            DeploymentCondition {
                message: Some(message.to_owned()),
                ..same
            }
        }
        former => DeploymentCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(time(now)),
            last_transition_time: former
                .filter(|former| former.status == status)
                .and_then(|former| former.last_transition_time)
                .or_else(|| Some(time(now))),
        },
    };
    conditions.insert(at.unwrap_or(conditions.len()).min(conditions.len()), next);
}
