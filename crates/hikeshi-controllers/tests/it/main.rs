//! The controllers, all together, against an API server in memory.

mod api;
mod real;

use api::Api;
use serde_json::{Value, json};

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
        {"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}})
}

fn deployment(image: &str, replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "ns", "name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)}})
}

fn stateful_set(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"namespace": "ns", "name": "db"},
        "spec": {"replicas": replicas, "serviceName": "db", "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "web"}}, "template": template("db:1"),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}})
}

fn progressing(api: &Api) -> Value {
    let conditions = api.get("deployments", "web")["status"]["conditions"].clone();
    let found = conditions
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Progressing");
    found.map(|c| c["reason"].clone()).unwrap_or_default()
}

fn settled(api: &Api, image: &str, replicas: usize) -> bool {
    let pods = api.list("pods");
    let deployment = api.get("deployments", "web");
    pods.len() == replicas
        && pods
            .iter()
            .all(|pod| pod["spec"]["containers"][0]["image"] == image)
        && deployment["status"]["availableReplicas"].as_u64().unwrap_or(0) == replicas as u64
        && deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        && progressing(api) == "NewReplicaSetAvailable"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_is_undone_scales_and_goes() {
    let (api, _guard) = Api::start();
    api.put(
        "services",
        json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": {"selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": "http"}]}}),
    );
    api.put("deployments", deployment("web:1", 3));
    api.until("three pods run", |api| settled(api, "web:1", 3)).await;
    api.until("the service has three endpoints", |api| {
        let slice = api.get("endpointslices", "web");
        slice["endpoints"]
            .as_array()
            .is_some_and(|e| e.len() == 3 && e.iter().all(|e| e["conditions"]["ready"] == true))
            && slice["ports"][0]["port"] == 8080
    })
    .await;
    let nodes: std::collections::BTreeSet<_> = api
        .list("pods")
        .iter()
        .map(|p| p["spec"]["nodeName"].to_string())
        .collect();
    assert_eq!(nodes.len(), 3, "spread over the nodes");

    api.put("deployments", deployment("web:2", 3));
    api.until("all pods are new", |api| settled(api, "web:2", 3))
        .await;
    api.put("deployments", deployment("web:1", 3));
    api.until("all pods are old again", |api| settled(api, "web:1", 3))
        .await;
    let sets = api.list("replicasets");
    assert_eq!(sets.len(), 2, "undo finds the former ReplicaSet");
    let mut revisions: Vec<_> = sets
        .iter()
        .map(|s| s["metadata"]["annotations"]["deployment.kubernetes.io/revision"].to_string())
        .collect();
    revisions.sort();
    assert_eq!(revisions, ["\"2\"", "\"3\""]);

    api.put("deployments", deployment("web:1", 10));
    api.until("ten pods run", |api| settled(api, "web:1", 10)).await;
    api.put("deployments", deployment("web:1", 1));
    api.until("one pod is left", |api| settled(api, "web:1", 1)).await;
    api.delete("deployments", "web");
    api.until("all is collected", |api| {
        api.list("pods").is_empty() && api.list("replicasets").is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_pod_comes_back_under_its_name() {
    let (api, _guard) = Api::start();
    api.put("statefulsets", stateful_set(3));
    let up = |api: &Api| api.get("statefulsets", "db")["status"]["readyReplicas"] == 3;
    api.until("three pods run", up).await;
    assert_eq!(api.list("persistentvolumeclaims").len(), 3);
    let before = api.get("pods", "db-1");
    assert_eq!(before["spec"]["hostname"], "db-1");
    api.delete("pods", "db-1");
    api.until("db-1 is another pod of the same name", |api| {
        let now = api.get("pods", "db-1");
        now.is_object()
            && now["metadata"]["uid"] != before["metadata"]["uid"]
            && now["status"]["phase"] == "Running"
    })
    .await;
    api.until("three pods run again", up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes() {
    let (api, _guard) = Api::start();
    let mut template = template("job:1");
    template["spec"]["restartPolicy"] = json!("Never");
    api.put(
        "jobs",
        json!({"metadata": {"namespace": "ns", "name": "j"},
        "spec": {"completions": 3, "parallelism": 2, "template": template}}),
    );
    api.until("the job is complete", |api| {
        let status = api.get("jobs", "j")["status"].clone();
        status["succeeded"] == 3
            && status["conditions"]
                .as_array()
                .is_some_and(|c| c.iter().any(|c| c["type"] == "Complete"))
    })
    .await;
    assert_eq!(api.list("pods").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_experiment_selects_and_lets_go() {
    let (api, _guard) = Api::start();
    api.put("statefulsets", stateful_set(2));
    api.until("two pods run", |api| {
        api.get("statefulsets", "db")["status"]["readyReplicas"] == 2
    })
    .await;
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "metadata": {"namespace": "ns", "name": name}, "spec": spec});
    let selector = json!({"labelSelectors": {"app": "web"}});
    api.put(
        "networkchaos",
        object(
            "NetworkChaos",
            "slow",
            json!({"action": "delay", "mode": "all", "selector": selector,
        "delay": {"latency": "100ms"}}),
        ),
    );
    api.until("the experiment runs on both pods", |api| {
        let experiment = api.get("networkchaos", "slow")["status"]["experiment"].clone();
        experiment["desiredPhase"] == "Run"
            && experiment["containerRecords"]
                .as_array()
                .is_some_and(|r| r.len() == 2)
    })
    .await;
    api.delete("networkchaos", "slow");
    api.until("the experiment is gone", |api| {
        api.list("networkchaos").is_empty()
    })
    .await;

    let before: Vec<Value> = api
        .list("pods")
        .iter()
        .map(|pod| pod["metadata"]["uid"].clone())
        .collect();
    api.put(
        "podchaos",
        object(
            "PodChaos",
            "kill",
            json!({"action": "pod-kill", "mode": "all", "selector": selector}),
        ),
    );
    api.until("both pods were replaced", |api| {
        let pods = api.list("pods");
        pods.len() == 2 && pods.iter().all(|pod| !before.contains(&pod["metadata"]["uid"]))
    })
    .await;
    api.put(
        "httpchaos",
        object(
            "HTTPChaos",
            "wrong",
            json!({"mode": "one", "selector": selector, "target": "Request",
        "port": 80, "delay": "1s", "tls": {}}),
        ),
    );
    api.until("what cannot be done is said", |api| {
        let status = api.get("httpchaos", "wrong")["status"].clone();
        status["experiment"]["desiredPhase"] == "Stop"
            && status["conditions"].as_array().is_some_and(|c| {
                c.iter().any(|c| {
                    c["reason"]
                        .as_str()
                        .is_some_and(|why| why.starts_with("spec.tls: "))
                })
            })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_and_a_workflow_make_experiments_and_leave_none() {
    let (api, _guard) = Api::start();
    api.put("deployments", deployment("web:1", 1));
    api.until("a pod runs", |api| settled(api, "web:1", 1)).await;
    let spec = json!({"mode": "all", "selector": {"labelSelectors": {"app": "web"}}, "target": "Request", "port": 80,
        "delay": "1s"});
    let meta = |name: &str| json!({"namespace": "ns", "name": name});
    let mut scheduled = spec.clone();
    scheduled["duration"] = json!("1h");
    api.put(
        "schedules",
        json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Schedule", "metadata": meta("often"),
            "spec": {"schedule": "@every 1s", "type": "HTTPChaos", "httpChaos": scheduled}}),
    );
    api.until("the schedule's child selects the pod", |api| {
        let children = api.list("httpchaos");
        children.iter().any(|child| {
            let name = child["metadata"]["name"].as_str().unwrap_or_default();
            name.starts_with("often-") && child["status"]["experiment"]["desiredPhase"] == "Run"
        }) && api.get("schedules", "often")["status"]["active"][0]["kind"] == "HTTPChaos"
    })
    .await;
    assert_eq!(api.list("httpchaos").len(), 1, "Forbid is the default");
    let pause = |paused: &str| {
        let mut schedule = api.get("schedules", "often");
        schedule["metadata"]["annotations"]["experiment.chaos-mesh.org/pause"] = json!(paused);
        api.put("schedules", schedule);
    };
    for (paused, phase) in [("true", "Stop"), ("false", "Run")] {
        pause(paused);
        api.until("the child does as its schedule", |api| {
            api.list("httpchaos")[0]["status"]["experiment"]["desiredPhase"] == phase
        })
        .await;
    }
    api.put(
        "workflows",
        json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Workflow", "metadata": meta("flow"), "spec": {
            "entry": "all", "templates": [
                {"name": "all", "templateType": "Serial", "children": ["wait", "slow"]},
                {"name": "wait", "templateType": "Suspend", "deadline": "100ms"},
                {"name": "slow", "templateType": "HTTPChaos", "deadline": "1s", "httpChaos": spec}]}}),
    );
    api.until("the workflow's experiment is there", |api| {
        api.list("httpchaos")
            .iter()
            .any(|one| one["metadata"]["labels"]["chaos-mesh.org/workflow"] == "flow")
    })
    .await;
    api.until("the workflow is over and its experiment is gone", |api| {
        let status = api.get("workflows", "flow")["status"].clone();
        let accomplished = status["conditions"].as_array().into_iter().flatten();
        accomplished
            .into_iter()
            .any(|one| one["type"] == "Accomplished" && one["status"] == "True")
            && api.list("httpchaos").len() == 1
    })
    .await;
    let nodes = api.list("workflownodes");
    assert_eq!(nodes.len(), 3, "{nodes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why_and_is_placed_when_there_is_room() {
    let (api, _guard) = Api::start();
    api.put(
        "pods",
        json!({"metadata": {"namespace": "ns", "name": "big"}, "spec": {"containers": [
        {"name": "c", "resources": {"requests": {"cpu": "16"}}}]}}),
    );
    api.until("the pod is unschedulable", |api| {
        api.get("pods", "big")["status"]["conditions"][0]["message"]
            == "0/3 nodes are available: 3 Insufficient cpu."
    })
    .await;
    api.put(
        "nodes",
        json!({"metadata": {"name": "n4"}, "status": {"allocatable": {"cpu": "32"},
        "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    api.until("the pod runs on the new node", |api| {
        api.get("pods", "big")["spec"]["nodeName"] == "n4"
    })
    .await;
}
