//! The next steps of a Job.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::object::{annotation, count, time};
use crate::pods::{deletion_order, is_active, is_ready, is_terminating, phase};
use crate::runtime::EventType;

/// The annotation and label that carry a pod's completion index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// On a pod that the Job itself stops: it has not failed.
pub(super) const STOPPED: &str = "hikeshi.dev/stopped-by-job";

const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Plan {
    /// One entry per pod to create, with its completion index for an Indexed Job.
    pub create: Vec<Option<i32>>,
    pub delete: Vec<Arc<Pod>>,
    pub status: JobStatus,
    /// `ttlSecondsAfterFinished` is over.
    pub remove_job: bool,
    pub recheck: Option<Duration>,
}

/// Fields of the spec that have no effect here and so forbid running the Job at all.
pub(super) fn unsupported(job: &Job) -> Vec<&'static str> {
    let Some(spec) = job.spec.as_ref() else {
        return Vec::new();
    };
    [
        ("spec.podFailurePolicy", spec.pod_failure_policy.is_some()),
        ("spec.successPolicy", spec.success_policy.is_some()),
        (
            "spec.backoffLimitPerIndex",
            spec.backoff_limit_per_index.is_some(),
        ),
        ("spec.maxFailedIndexes", spec.max_failed_indexes.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, present)| present.then_some(name))
    .collect()
}

fn condition<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == type_ && condition.status == "True")
}

fn finished_at(status: &JobStatus) -> Option<Timestamp> {
    let ended = condition(status, "Complete").or_else(|| condition(status, "Failed"))?;
    ended.last_transition_time.as_ref().map(|time| time.0)
}

fn left(until: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(until.duration_since(now))
        .ok()
        .filter(|left| !left.is_zero())
}

fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses
        .iter()
        .filter_map(|status| {
            status
                .state
                .as_ref()?
                .terminated
                .as_ref()?
                .finished_at
                .as_ref()
                .map(|time| time.0)
        })
        .max()
}

fn index(pod: &Pod) -> Option<i32> {
    annotation(&pod.metadata, INDEX)?.parse().ok()
}

fn set(status: &mut JobStatus, type_: &str, value: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions
        .iter()
        .any(|c| c.type_ == type_ && c.status == value && c.reason.as_deref() == Some(reason))
    {
        return;
    }
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(JobCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(time(now)),
        last_transition_time: Some(time(now)),
    });
}

/// "0-2,5" for {0, 1, 2, 5}.
fn ranges(indexes: &BTreeSet<i32>) -> String {
    let mut spans: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match spans.last_mut() {
            Some((_, end)) if *end + 1 == *index => *end = *index,
            _ => spans.push((*index, *index)),
        }
    }
    let text = |(from, to): (i32, i32)| {
        if from == to {
            from.to_string()
        } else {
            format!("{from}-{to}")
        }
    };
    spans.into_iter().map(text).collect::<Vec<_>>().join(",")
}

/// What [`ranges`] wrote.
fn spans(text: &str) -> BTreeSet<i32> {
    let span = |part: &str| -> Option<std::ops::RangeInclusive<i32>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    text.split(',').filter_map(span).flatten().collect()
}

/// `pods` are those the Job controls. Ended pods stay until the Job goes, so counting them is counting attempts.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let mut status = job.status.clone().unwrap_or_default();
    let mut plan = Plan {
        create: Vec::new(),
        delete: Vec::new(),
        status: status.clone(),
        remove_job: false,
        recheck: None,
    };
    let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();

    if let Some(ended) = finished_at(&status) {
        plan.delete = active;
        if let Some(ttl) = spec.ttl_seconds_after_finished {
            let due = ended
                .saturating_add(SignedDuration::from_secs(ttl.into()))
                .unwrap_or(now);
            plan.recheck = left(due, now);
            plan.remove_job = plan.recheck.is_none();
        }
        return plan;
    }

    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    // What was counted once stays counted: somebody may have deleted ended pods.
    let mut done: BTreeSet<i32> = spans(status.completed_indexes.as_deref().unwrap_or_default());
    done.extend(
        pods.iter()
            .filter(|pod| phase(pod) == "Succeeded")
            .filter_map(|pod| index(pod)),
    );
    let succeeded = if indexed {
        done.len()
    } else {
        let counted = usize::try_from(status.succeeded.unwrap_or(0)).unwrap_or(0);
        pods.iter()
            .filter(|pod| phase(pod) == "Succeeded")
            .count()
            .max(counted)
    };
    // A pod that somebody stops before it ends counts as failed, as in Kubernetes; one that the Job stops does not.
    let failed = pods
        .iter()
        .filter(|pod| annotation(&pod.metadata, STOPPED).is_none())
        .filter(|pod| phase(pod) == "Failed" || is_terminating(pod) && phase(pod) != "Succeeded")
        .count();
    let restarts: i32 = active
        .iter()
        .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref())
        .flatten()
        .map(|status| status.restart_count)
        .sum();
    let some = |n: usize| Some(count(n)).filter(|n| *n > 0);
    status.succeeded = some(succeeded);
    status.failed = Some(count(failed).max(status.failed.unwrap_or(0))).filter(|n| *n > 0);
    status.completed_indexes = indexed.then(|| ranges(&done));
    status.terminating = Some(count(pods.iter().filter(|pod| is_terminating(pod)).count()));
    let suspended = spec.suspend == Some(true);
    if status.start_time.is_none() && !suspended {
        status.start_time = Some(time(now));
    }

    let completions = spec.completions;
    let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let wanted = completions.map(|n| usize::try_from(n).unwrap_or(0));
    let complete = match wanted {
        Some(wanted) => succeeded >= wanted,
        // A work queue: done when one has succeeded and none runs any more.
        None => succeeded > 0 && active.is_empty(),
    };
    let backoff_limit = spec.backoff_limit.unwrap_or(6);
    let deadline = spec
        .active_deadline_seconds
        .zip(status.start_time.clone())
        .map(|(seconds, start)| {
            start
                .0
                .saturating_add(SignedDuration::from_secs(seconds))
                .unwrap_or(now)
        });
    let failure = if deadline.is_some_and(|deadline| deadline <= now) && !suspended {
        Some((
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        ))
    } else if status.failed.unwrap_or(0).saturating_add(restarts) > backoff_limit {
        Some((
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        ))
    } else {
        None
    };
    if complete {
        set(
            &mut status,
            "SuccessCriteriaMet",
            "True",
            "CompletionsReached",
            "Reached expected number of succeeded pods",
            now,
        );
        set(
            &mut status,
            "Complete",
            "True",
            "CompletionsReached",
            "Reached expected number of succeeded pods",
            now,
        );
        status.completion_time = Some(time(now));
        plan.delete.clone_from(&active);
    } else if let Some((reason, message)) = failure {
        set(&mut status, "FailureTarget", "True", reason, message, now);
        set(&mut status, "Failed", "True", reason, message, now);
        plan.delete.clone_from(&active);
    } else if suspended {
        set(
            &mut status,
            "Suspended",
            "True",
            "JobSuspended",
            "Job suspended",
            now,
        );
        status.start_time = None;
        plan.delete.clone_from(&active);
    } else {
        if condition(&status, "Suspended").is_some() {
            set(
                &mut status,
                "Suspended",
                "False",
                "JobResumed",
                "Job resumed",
                now,
            );
        }
        plan.recheck = deadline.and_then(|deadline| left(deadline, now));
        let open = match wanted {
            Some(wanted) => wanted.saturating_sub(succeeded).min(parallelism),
            None if succeeded > 0 => active.len().min(parallelism),
            None => parallelism,
        };
        if active.len() > open {
            let mut surplus = active.clone();
            surplus.sort_by(|a, b| deletion_order(a, b, |_| 0));
            surplus.truncate(active.len() - open);
            plan.delete = surplus;
        } else if active.len() < open {
            match backoff(pods, failed, now) {
                Some(wait) => plan.recheck = Some(plan.recheck.map_or(wait, |other| other.min(wait))),
                None => plan.create = names(&active, &done, indexed, completions, open - active.len()),
            }
        }
    }
    let going = plan.delete.len();
    let stays = active.len() - going;
    status.active = some(stays);
    status.ready = Some(count(active.iter().filter(|pod| is_ready(pod)).count()));
    plan.status = status;
    plan
}

/// How long to wait before the next attempt: 10 s after the first failure, doubled each time, up to 10 minutes.
fn backoff(pods: &[Arc<Pod>], failed: usize, now: Timestamp) -> Option<Duration> {
    let last = pods
        .iter()
        .filter(|pod| phase(pod) == "Failed")
        .filter_map(|pod| ended_at(pod))
        .max()?;
    let exponent = u32::try_from(failed.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(16);
    let wait = FIRST_BACKOFF.saturating_mul(1 << exponent).min(LONGEST_BACKOFF);
    left(
        last.saturating_add(SignedDuration::try_from(wait).ok()?).ok()?,
        now,
    )
}

fn names(
    active: &[Arc<Pod>],
    done: &BTreeSet<i32>,
    indexed: bool,
    completions: Option<i32>,
    lacking: usize,
) -> Vec<Option<i32>> {
    if !indexed {
        return vec![None; lacking];
    }
    let taken: BTreeSet<i32> = active.iter().filter_map(|pod| index(pod)).collect();
    (0..completions.unwrap_or(0))
        .filter(|index| !done.contains(index) && !taken.contains(index))
        .take(lacking)
        .map(Some)
        .collect()
}

/// The event that a new condition deserves.
pub(super) fn news(before: &Job, after: &JobStatus) -> Option<(EventType, String, String)> {
    let known = |type_: &str| {
        before
            .status
            .as_ref()
            .and_then(|status| condition(status, type_))
            .is_some()
    };
    if condition(after, "Complete").is_some() && !known("Complete") {
        return Some((
            EventType::Normal,
            "Completed".to_owned(),
            "Job completed".to_owned(),
        ));
    }
    let failed = condition(after, "Failed").filter(|_| !known("Failed"))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some((EventType::Warning, text(&failed.reason), text(&failed.message)))
}

#[cfg(test)]
mod tests;
