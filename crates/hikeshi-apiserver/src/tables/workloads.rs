//! Tables of what makes pods.

use serde_json::Value;

use super::cell::{Cell, passed};
use super::{Narrow, Printer, Wide, age_of, int, items, join, name, selector_text, text_or};
use crate::registry::Resource;

static DEPLOYMENTS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Ready", Narrow),
        ("Up-to-date", Narrow),
        ("Available", Narrow),
        ("Age", Narrow),
        ("Containers", Wide),
        ("Images", Wide),
        ("Selector", Wide),
    ],
    cells: |o| {
        let status = &o["status"];
        vec![
            name(o),
            ready(o).into(),
            int(&status["updatedReplicas"]).into(),
            int(&status["availableReplicas"]).into(),
            age_of(o),
            containers(o).into(),
            images(o).into(),
            selector_text(&o["spec"]["selector"]).into(),
        ]
    },
};
static REPLICA_SETS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Desired", Narrow),
        ("Current", Narrow),
        ("Ready", Narrow),
        ("Age", Narrow),
        ("Containers", Wide),
        ("Images", Wide),
        ("Selector", Wide),
    ],
    cells: |o| {
        let status = &o["status"];
        vec![
            name(o),
            int(&o["spec"]["replicas"]).into(),
            int(&status["replicas"]).into(),
            int(&status["readyReplicas"]).into(),
            age_of(o),
            containers(o).into(),
            images(o).into(),
            selector_text(&o["spec"]["selector"]).into(),
        ]
    },
};
static STATEFUL_SETS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Ready", Narrow),
        ("Age", Narrow),
        ("Containers", Wide),
        ("Images", Wide),
    ],
    cells: |o| {
        vec![
            name(o),
            ready(o).into(),
            age_of(o),
            containers(o).into(),
            images(o).into(),
        ]
    },
};
static DAEMON_SETS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Desired", Narrow),
        ("Current", Narrow),
        ("Ready", Narrow),
        ("Up-to-date", Narrow),
        ("Available", Narrow),
        ("Node Selector", Narrow),
        ("Age", Narrow),
        ("Containers", Wide),
        ("Images", Wide),
        ("Selector", Wide),
    ],
    cells: |o| {
        let n = |key: &str| Cell::from(int(&o["status"][key]));
        vec![
            name(o),
            n("desiredNumberScheduled"),
            n("currentNumberScheduled"),
            n("numberReady"),
            n("updatedNumberScheduled"),
            n("numberAvailable"),
            super::pairs(&o["spec"]["template"]["spec"]["nodeSelector"]).into(),
            age_of(o),
            containers(o).into(),
            images(o).into(),
            selector_text(&o["spec"]["selector"]).into(),
        ]
    },
};
static JOBS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Status", Narrow),
        ("Completions", Narrow),
        ("Duration", Narrow),
        ("Age", Narrow),
        ("Containers", Wide),
        ("Images", Wide),
        ("Selector", Wide),
    ],
    cells: |o| {
        let status = &o["status"];
        let holds =
            |kind: &str| items(&status["conditions"]).any(|c| c["type"] == kind && c["status"] == "True");
        let state = if holds("Complete") {
            "Complete"
        } else if holds("Failed") {
            "Failed"
        } else if o["metadata"]["deletionTimestamp"].is_string() {
            "Terminating"
        } else if holds("Suspended") {
            "Suspended"
        } else {
            "Running"
        };
        let time = |of: &Value| of.as_str().and_then(|time| time.parse().ok());
        let duration = match (time(&status["startTime"]), time(&status["completionTime"])) {
            (None, _) => "".into(),
            (Some(start), Some(end)) => passed(start, end).into(),
            (Some(start), None) => Cell::Since(start),
        };
        let wanted = o["spec"]["completions"].as_i64().unwrap_or(1);
        vec![
            name(o),
            state.into(),
            format!("{}/{wanted}", int(&status["succeeded"])).into(),
            duration,
            age_of(o),
            containers(o).into(),
            images(o).into(),
            selector_text(&o["spec"]["selector"]).into(),
        ]
    },
};
static CRON_JOBS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Schedule", Narrow),
        ("Timezone", Narrow),
        ("Suspend", Narrow),
        ("Active", Narrow),
        ("Last Schedule", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let last = &o["status"]["lastScheduleTime"];
        let suspend = if o["spec"]["suspend"] == true {
            "True"
        } else {
            "False"
        };
        vec![
            name(o),
            text_or(&o["spec"]["schedule"], "").into(),
            text_or(&o["spec"]["timeZone"], "<none>").into(),
            suspend.into(),
            items(&o["status"]["active"]).count().to_string().into(),
            if last.is_string() {
                Cell::since(last)
            } else {
                "<none>".into()
            },
            age_of(o),
        ]
    },
};
static REVISIONS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Controller", Narrow),
        ("Revision", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let owner = items(&o["metadata"]["ownerReferences"]).find(|r| r["controller"] == true);
        let owner = owner.map_or_else(
            || "<none>".to_owned(),
            |r| {
                let group = text_or(&r["apiVersion"], "")
                    .split_once('/')
                    .map_or("", |(g, _)| g);
                format!(
                    "{}.{group}/{}",
                    text_or(&r["kind"], "").to_lowercase(),
                    text_or(&r["name"], "")
                )
            },
        );
        vec![
            name(o),
            owner.into(),
            int(&o["revision"]).to_string().into(),
            age_of(o),
        ]
    },
};

pub(super) fn printer(resource: &Resource) -> Option<&'static Printer> {
    Some(match (&*resource.group, &*resource.kind) {
        ("apps", "Deployment") => &DEPLOYMENTS,
        ("apps", "ReplicaSet") => &REPLICA_SETS,
        ("apps", "StatefulSet") => &STATEFUL_SETS,
        ("apps", "DaemonSet") => &DAEMON_SETS,
        ("apps", "ControllerRevision") => &REVISIONS,
        ("batch", "Job") => &JOBS,
        ("batch", "CronJob") => &CRON_JOBS,
        _ => return None,
    })
}

fn ready(o: &Value) -> String {
    format!(
        "{}/{}",
        int(&o["status"]["readyReplicas"]),
        int(&o["spec"]["replicas"])
    )
}

fn containers(o: &Value) -> String {
    join(items(&o["spec"]["template"]["spec"]["containers"]).map(|c| &c["name"]))
}

fn images(o: &Value) -> String {
    join(items(&o["spec"]["template"]["spec"]["containers"]).map(|c| &c["image"]))
}
