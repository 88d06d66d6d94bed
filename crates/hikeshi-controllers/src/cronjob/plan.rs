//! The next steps of a CronJob.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;

use crate::object::{controller_reference, created, name_of, time};
use crate::runtime::EventType;
use hikeshi_chaos::cron::{MANY_MISSED, Schedule, ScheduleError};

/// Says for which time a Job was started.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// An event to record about the CronJob: type, reason, message.
pub(super) type News = (EventType, &'static str, String);

#[derive(Debug)]
pub(super) struct Plan {
    /// Ended Jobs beyond the history limits.
    pub forget: Vec<Arc<Job>>,
    /// Running Jobs that the next one replaces.
    pub replace: Vec<Arc<Job>>,
    pub create: Option<Box<Job>>,
    /// As it is before `replace` and `create` are carried out.
    pub status: CronJobStatus,
    pub news: Vec<News>,
    pub recheck: Option<Duration>,
}

/// The condition that ended the Job: `Complete` or `Failed`.
fn ended(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.status == "True" && matches!(&*condition.type_, "Complete" | "Failed"))
        .map(|condition| condition.type_.as_str())
}

/// How the status refers to a Job.
pub(super) fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        field_path: None,
    }
}

/// Brings `status.active` to what the Jobs say, and tells what happened to them.
fn refresh(status: &mut CronJobStatus, jobs: &[Arc<Job>], news: &mut Vec<News>) {
    let mut active = status.active.take().unwrap_or_default();
    for job in jobs {
        let uid = job.metadata.uid.as_ref();
        let listed = active.iter().any(|known| known.uid.as_ref() == uid);
        match ended(job) {
            Some(how) if listed => {
                active.retain(|known| known.uid.as_ref() != uid);
                let message = format!("Saw completed job: {}, condition: {how}", name_of(job.as_ref()));
                news.push((EventType::Normal, "SawCompletedJob", message));
            }
            // Started by a run whose status was not written: it counts like any other.
            None if !listed => active.push(reference(job)),
            _ => {}
        }
        if ended(job) == Some("Complete") {
            let completed = job
                .status
                .as_ref()
                .and_then(|status| status.completion_time.clone());
            if completed.as_ref().map(|time| time.0) > status.last_successful_time.as_ref().map(|time| time.0)
            {
                status.last_successful_time = completed;
            }
        }
    }
    let there: HashSet<_> = jobs.iter().map(|job| job.metadata.uid.as_ref()).collect();
    active.retain(|known| {
        let stays = there.contains(&known.uid.as_ref());
        if !stays {
            let name = known.name.as_deref().unwrap_or_default();
            news.push((
                EventType::Normal,
                "MissingJob",
                format!("Active job went missing: {name}"),
            ));
        }
        stays
    });
    status.active = Some(active).filter(|active| !active.is_empty());
}

/// The ended Jobs that the history limits leave no room for, oldest first.
fn beyond_history(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let of = |how: &str, limit: i32| {
        let mut found: Vec<_> = jobs
            .iter()
            .filter(|job| ended(job) == Some(how))
            .cloned()
            .collect();
        found.sort_by_key(|job| {
            let started = job.status.as_ref().and_then(|status| status.start_time.clone());
            (
                started.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
                job.metadata.name.clone(),
            )
        });
        let keep = usize::try_from(limit).unwrap_or(0);
        found.truncate(found.len().saturating_sub(keep));
        found
    };
    let mut all = of("Complete", spec.successful_jobs_history_limit.unwrap_or(3));
    all.extend(of("Failed", spec.failed_jobs_history_limit.unwrap_or(1)));
    all
}

/// The Job for one scheduled time: the name is the time's minute, so that a time never starts two.
fn job_for(cron: &CronJob, spec: &CronJobSpec, due: Timestamp) -> Job {
    let template = spec.job_template.clone();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(format!("{}-{}", name_of(cron), due.as_second() / 60));
    metadata.generate_name = None;
    metadata.namespace.clone_from(&cron.metadata.namespace);
    metadata.owner_references = Some(vec![controller_reference(cron)]);
    let zone = spec.time_zone.as_deref().unwrap_or("UTC");
    let local = due.in_tz(zone).map_or_else(
        |_| due.to_string(),
        |local| local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    );
    metadata
        .annotations
        .get_or_insert_default()
        .insert(SCHEDULED.to_owned(), local.replace("+00:00", "Z"));
    Job {
        metadata,
        spec: template.spec,
        status: None,
    }
}

/// `jobs` are those the CronJob controls.
pub(super) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let spec = cron.spec.clone().unwrap_or_default();
    let mut plan = Plan {
        forget: beyond_history(&spec, jobs),
        replace: Vec::new(),
        create: None,
        status: cron.status.clone().unwrap_or_default(),
        news: Vec::new(),
        recheck: None,
    };
    refresh(&mut plan.status, jobs, &mut plan.news);
    if spec.suspend == Some(true) {
        return plan;
    }
    let schedule = match Schedule::parse(&spec.schedule, spec.time_zone.as_deref()) {
        Ok(schedule) => schedule,
        Err(error) => {
            let reason = match error {
                ScheduleError::Unparseable(..) => "UnparseableSchedule",
                ScheduleError::UnknownZone(_) => "UnknownTimeZone",
            };
            plan.news.push((EventType::Warning, reason, error.to_string()));
            return plan;
        }
    };
    plan.recheck = schedule
        .next_after(now)
        .and_then(|next| Duration::try_from(next.duration_since(now)).ok());

    let last = plan.status.last_schedule_time.as_ref().map(|time| time.0);
    let mut since = last.unwrap_or_else(|| created(&cron.metadata));
    let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    if let Some(earliest) = deadline.and_then(|deadline| now.checked_sub(deadline).ok()) {
        since = since.max(earliest);
    }
    let Some(missed) = schedule.missed(since, now) else {
        return plan;
    };
    if missed.count > MANY_MISSED {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.news
            .push((EventType::Warning, "TooManyMissedTimes", message.to_owned()));
    }
    let job = job_for(cron, &spec, missed.last);
    if jobs.iter().any(|known| known.metadata.name == job.metadata.name) {
        // Started already, by a run whose status was not written.
        plan.status.last_schedule_time = Some(time(missed.last));
        return plan;
    }
    let active = plan.status.active.as_ref().map_or(0, Vec::len);
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if active > 0 => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.news
                .push((EventType::Normal, "JobAlreadyActive", message.to_owned()));
            return plan;
        }
        Some("Replace") => {
            plan.replace = jobs.iter().filter(|job| ended(job).is_none()).cloned().collect();
        }
        _ => {}
    }
    plan.create = Some(Box::new(job));
    plan.status.last_schedule_time = Some(time(missed.last));
    plan
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::testing::merge;

    fn cron(spec: &Value, status: &Value) -> CronJob {
        let mut base = json!({
            "metadata": {"namespace": "ns", "name": "tidy", "uid": "cron", "creationTimestamp": "2026-01-01T00:00:30Z"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"metadata": {"labels": {"app": "tidy"}},
                "spec": {"template": {}}}}});
        merge(&mut base["spec"], spec);
        base["status"] = status.clone();
        serde_json::from_value(base).expect("a CronJob")
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().expect("a time")
    }

    /// A Job started at `start`, with the condition that ended it, if any.
    fn job(name: &str, start: &str, end: &str) -> Arc<Job> {
        let mut base = json!({
            "metadata": {"namespace": "ns", "name": name, "uid": format!("uid-{name}")},
            "status": {"startTime": format!("2026-01-01T{start}Z")}});
        if !end.is_empty() {
            base["status"]["conditions"] = json!([{"type": end, "status": "True"}]);
            base["status"]["completionTime"] = json!(format!("2026-01-01T{start}Z"));
        }
        Arc::new(serde_json::from_value(base).expect("a Job"))
    }

    fn reasons(plan: &Plan) -> Vec<&str> {
        plan.news.iter().map(|(_, reason, _)| *reason).collect()
    }

    #[test]
    fn nothing_is_started_before_its_time() {
        let seen = plan(&cron(&json!({}), &json!(null)), &[], at("00:00:45"));
        assert!(seen.create.is_none());
        assert_eq!(seen.recheck, Some(Duration::from_secs(15)));
    }

    #[test]
    fn a_due_time_starts_one_job_named_for_it() {
        let spec = json!({"timeZone": "Asia/Tokyo"});
        let seen = plan(&cron(&spec, &json!(null)), &[], at("00:02:10"));
        let made = seen.create.expect("a Job");
        assert_eq!(made.metadata.name.as_deref(), Some("tidy-29453762"));
        assert_eq!(
            made.metadata.annotations.expect("annotations")[SCHEDULED],
            "2026-01-01T09:02:00+09:00"
        );
        assert_eq!(made.metadata.labels.expect("labels")["app"], "tidy");
        assert_eq!(
            made.metadata.owner_references.expect("an owner")[0].kind,
            "CronJob"
        );
        assert_eq!(
            seen.status.last_schedule_time.expect("a time").0,
            at("00:02:00"),
            "times missed before it are not made up for"
        );
        let status = json!({"lastScheduleTime": "2026-01-01T00:02:00Z"});
        assert!(plan(&cron(&spec, &status), &[], at("00:02:11")).create.is_none());
    }

    #[test]
    fn a_job_whose_status_was_lost_is_not_started_twice() {
        let seen = plan(
            &cron(&json!({}), &json!(null)),
            &[job("tidy-29453762", "00:02:00", "")],
            at("00:02:10"),
        );
        assert!(seen.create.is_none());
        assert_eq!(seen.status.active.expect("adopted").len(), 1);
        assert_eq!(seen.status.last_schedule_time.expect("a time").0, at("00:02:00"));
    }

    #[test]
    fn concurrency_policies() {
        let running = [job("tidy-1", "00:01:00", "")];
        let status = json!({"lastScheduleTime": "2026-01-01T00:01:00Z",
            "active": [{"name": "tidy-1", "uid": "uid-tidy-1"}]});
        let with = |policy: &str| {
            plan(
                &cron(&json!({"concurrencyPolicy": policy}), &status),
                &running,
                at("00:02:00"),
            )
        };
        let allow = with("Allow");
        assert!(allow.create.is_some() && allow.replace.is_empty());
        let forbid = with("Forbid");
        assert!(forbid.create.is_none());
        assert_eq!(reasons(&forbid), ["JobAlreadyActive"]);
        assert_eq!(
            forbid.status.last_schedule_time.expect("a time").0,
            at("00:01:00"),
            "the time is still due when the running one ends"
        );
        let replace = with("Replace");
        assert!(replace.create.is_some());
        assert_eq!(replace.replace.len(), 1);
    }

    #[test]
    fn a_start_too_late_is_missed() {
        let spec = json!({"schedule": "0 0 * * *", "startingDeadlineSeconds": 60});
        let status = json!({"lastScheduleTime": "2025-12-31T00:00:00Z"});
        assert!(plan(&cron(&spec, &status), &[], at("00:00:59")).create.is_some());
        assert!(plan(&cron(&spec, &status), &[], at("00:01:01")).create.is_none());
    }

    #[test]
    fn a_suspended_or_unreadable_one_starts_nothing() {
        let late = at("00:05:00");
        let suspended = plan(&cron(&json!({"suspend": true}), &json!(null)), &[], late);
        assert!(suspended.create.is_none() && suspended.recheck.is_none());
        let unreadable = plan(&cron(&json!({"schedule": "soon"}), &json!(null)), &[], late);
        assert_eq!(reasons(&unreadable), ["UnparseableSchedule"]);
        let nowhere = plan(&cron(&json!({"timeZone": "Mars/Base"}), &json!(null)), &[], late);
        assert_eq!(reasons(&nowhere), ["UnknownTimeZone"]);
    }

    #[test]
    fn active_and_last_success_follow_the_jobs() {
        let status = json!({"lastScheduleTime": "2026-01-01T00:05:00Z", "active": [
            {"name": "a", "uid": "uid-a"}, {"name": "b", "uid": "uid-b"}, {"name": "gone", "uid": "uid-gone"}]});
        let jobs = [job("a", "00:01:00", "Complete"), job("b", "00:02:00", "")];
        let seen = plan(&cron(&json!({}), &status), &jobs, at("00:05:10"));
        let active = seen.status.active.as_ref().expect("one is active");
        assert_eq!((active.len(), active[0].name.as_deref()), (1, Some("b")));
        assert_eq!(reasons(&seen), ["SawCompletedJob", "MissingJob"]);
        assert_eq!(
            seen.status.last_successful_time.as_ref().map(|t| t.0),
            Some(at("00:01:00"))
        );
    }

    #[test]
    fn history_keeps_the_youngest() {
        let jobs: Vec<_> = ["1", "2", "3", "4"]
            .iter()
            .flat_map(|n| {
                let start = format!("00:0{n}:00");
                [
                    job(&format!("ok{n}"), &start, "Complete"),
                    job(&format!("no{n}"), &start, "Failed"),
                ]
            })
            .collect();
        let seen = plan(
            &cron(&json!({"suspend": true}), &json!(null)),
            &jobs,
            at("00:10:00"),
        );
        let gone: Vec<_> = seen.forget.iter().map(|job| name_of(job.as_ref())).collect();
        assert_eq!(gone, ["ok1", "no1", "no2", "no3"]);
        let none = cron(
            &json!({"suspend": true, "successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 9}),
            &json!(null),
        );
        assert_eq!(plan(&none, &jobs, at("00:10:00")).forget.len(), 4);
    }
}
