use std::sync::Arc;

use hikeshi_chaos::status::text;
use jiff::SignedDuration;

use super::*;
use crate::object::time;

/// A cluster that does what plans say, at a time that the test moves.
struct World {
    workflow: DynamicObject,
    spec: Spec,
    nodes: Vec<Arc<DynamicObject>>,
    made: Vec<(&'static str, Arc<DynamicObject>)>,
    pods: Vec<Arc<Pod>>,
    now: Timestamp,
    uids: usize,
    /// What a probe answers.
    healthy: bool,
}

impl World {
    fn new(entry: &str, templates: Value) -> Self {
        let workflow = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Workflow",
            "metadata": {"name": "flow", "namespace": "ns", "uid": "w"},
            "spec": {"entry": entry, "templates": templates}});
        assert_eq!(hikeshi_chaos::problems("Workflow", &workflow), []);
        let workflow: DynamicObject = serde_json::from_value(workflow).expect("a workflow");
        Self {
            spec: Spec::deserialize(&workflow.data["spec"]).expect("a spec"),
            workflow,
            nodes: Vec::new(),
            made: Vec::new(),
            pods: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
            uids: 0,
            healthy: true,
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn fresh(&mut self, mut object: DynamicObject) -> Arc<DynamicObject> {
        self.uids += 1;
        object.metadata.uid = Some(format!("u{}", self.uids));
        object.metadata.creation_timestamp = Some(time(self.now));
        Arc::new(object)
    }

    fn set(&mut self, node: &DynamicObject, status: Value) {
        let found = self
            .nodes
            .iter_mut()
            .find(|one| one.metadata.name == node.metadata.name);
        let found = found.expect("a node");
        let mut changed = found.as_ref().clone();
        changed.data["status"] = status;
        *found = Arc::new(changed);
    }

    fn note(&mut self, node: &DynamicObject, field: &str, value: Value) {
        let mut status = node.data["status"].clone();
        status[field] = value;
        self.set(node, status);
    }

    /// Carries plans out until nothing is left to do at this time.
    fn settle(&mut self) -> Option<Duration> {
        for _ in 0..100 {
            let view = View {
                workflow: &self.workflow,
                spec: &self.spec,
                nodes: self.nodes.clone(),
                made: self.made.clone(),
                pods: self.pods.clone(),
                now: self.now,
            };
            let plan = plan::plan(&view);
            let settled = plan.statuses.is_empty()
                && plan.actions.is_empty()
                && self.workflow.data["status"] == plan.workflow;
            if settled {
                return plan.recheck;
            }
            self.workflow.data["status"] = plan.workflow;
            for (node, status) in plan.statuses {
                self.set(&node, status);
            }
            for action in plan.actions {
                match action {
                    Action::Make("WorkflowNode", node) => {
                        let node = self.fresh(*node);
                        assert!(
                            self.nodes
                                .iter()
                                .all(|known| known.metadata.name != node.metadata.name)
                        );
                        self.nodes.push(node);
                    }
                    Action::Make(kind, object) => {
                        let object = self.fresh(*object);
                        self.made.push((kind, object));
                    }
                    Action::MakePod(mut pod) => {
                        pod.metadata.uid = Some("pod".to_owned());
                        self.pods.push(Arc::new(*pod));
                    }
                    Action::Remove(_, object) => self
                        .made
                        .retain(|(_, one)| one.metadata.uid != object.metadata.uid),
                    Action::RemovePod(pod) => self.pods.retain(|one| one.metadata.uid != pod.metadata.uid),
                    Action::Read(node, pod) => {
                        let outcome = json!({"exitCode": node::exit_code(&pod), "stdout": "yes"});
                        let node = self.named(&node);
                        self.note(&node, "task", outcome);
                    }
                    Action::Probe(node) => {
                        let answer = if self.healthy {
                            Ok(200)
                        } else {
                            Err("status code 500".to_owned())
                        };
                        let node = self.named(&node);
                        let counts = node::counted(&node.data["status"]["statusCheck"], &answer, self.now, 2);
                        self.note(&node, "statusCheck", counts);
                    }
                }
            }
        }
        panic!("it never settles");
    }

    fn named(&self, node: &DynamicObject) -> Arc<DynamicObject> {
        let found = self
            .nodes
            .iter()
            .find(|one| one.metadata.name == node.metadata.name);
        found.expect("a node").clone()
    }

    /// How the nodes of a template stand: `-` while they run.
    fn states(&self, template: &str) -> Vec<&str> {
        let of = self
            .nodes
            .iter()
            .filter(|node| text(&node.data["spec"], "templateName") == template);
        let kinds = ["Accomplished", "DeadlineExceed", "Aborted"];
        of.map(|node| {
            let state = kinds
                .into_iter()
                .find(|kind| super::super::lifecycle::holds(node, kind));
            state.unwrap_or("-")
        })
        .collect()
    }

    fn is_over(&self) -> bool {
        super::super::lifecycle::holds(&self.workflow, "Accomplished")
    }
}

fn kill() -> Value {
    json!({"action": "pod-kill", "mode": "one", "selector": {}})
}

fn stress_spec() -> Value {
    json!({"mode": "one", "selector": {}, "stressors": {"cpu": {"workers": 1}}})
}

#[test]
fn steps_follow_each_other_and_run_side_by_side() {
    let mut world = World::new(
        "all",
        json!([
        {"name": "all", "templateType": "Serial", "children": ["wait", "both"]},
        {"name": "wait", "templateType": "Suspend", "deadline": "10s"},
        {"name": "both", "templateType": "Parallel", "children": ["stress", "wait"]},
        {"name": "stress", "templateType": "StressChaos", "deadline": "20s", "stressChaos": stress_spec()}]),
    );
    assert_eq!(world.settle(), Some(Duration::from_secs(10)));
    assert_eq!(world.states("wait"), ["-"]);
    assert!(world.states("both").is_empty(), "one after the other");
    world.pass(10);
    world.settle();
    assert_eq!(
        (world.states("wait"), world.states("both")),
        (vec!["DeadlineExceed", "-"], vec!["-"])
    );
    let (kind, made) = &world.made[0];
    assert_eq!(
        (*kind, &made.data["spec"]["duration"]),
        ("StressChaos", &json!("20s")),
        "it ends without us, too"
    );
    world.pass(10);
    world.settle();
    assert_eq!(world.states("wait"), ["DeadlineExceed", "DeadlineExceed"]);
    assert!(!world.is_over());
    world.pass(10);
    world.settle();
    assert!(world.made.is_empty(), "a step's experiment goes with it");
    assert!(world.is_over());
    assert_eq!(world.workflow.data["status"]["endTime"], "2026-01-01T00:00:30Z");
}

#[test]
fn a_deadline_ends_all_that_is_inside() {
    let mut world = World::new(
        "all",
        json!([
        {"name": "all", "templateType": "Serial", "deadline": "15s", "children": ["stress"]},
        {"name": "stress", "templateType": "StressChaos", "deadline": "60s", "stressChaos": stress_spec()}]),
    );
    world.settle();
    assert_eq!(world.made.len(), 1);
    world.pass(15);
    world.settle();
    assert_eq!(
        (world.states("all"), world.states("stress")),
        (vec!["DeadlineExceed"], vec!["DeadlineExceed"])
    );
    assert!(world.made.is_empty() && world.is_over());
}

#[test]
fn a_tasks_outcome_chooses_what_comes_next() {
    let mut world = World::new(
        "look",
        json!([
        {"name": "look", "templateType": "Task", "task": {"container": {"name": "look", "image": "debian"}},
            "conditionalBranches": [{"target": "yes", "expression": "exitCode == 3 && stdout == 'yes'"},
                {"target": "no", "expression": "exitCode == 0"}]},
        {"name": "yes", "templateType": "Suspend", "deadline": "5s"},
        {"name": "no", "templateType": "Suspend", "deadline": "5s"}]),
    );
    world.settle();
    let mut pod = world.pods[0].as_ref().clone();
    pod.status = serde_json::from_value(
        json!({"phase": "Failed", "containerStatuses": [{"name": "look", "image": "",
        "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 3}}}]}),
    )
    .expect("a status");
    world.pods = vec![Arc::new(pod)];
    world.settle();
    assert_eq!((world.states("yes"), world.states("no")), (vec!["-"], vec![]));
    let told = &world.nodes[0].data["status"]["conditionalBranchesStatus"]["branches"];
    assert_eq!(told[0], json!({"target": "yes", "evaluationResult": "True"}));
    world.pass(5);
    world.settle();
    assert_eq!(world.states("look"), ["Accomplished"]);
    assert!(world.is_over());
}

fn probing(abort: bool) -> World {
    World::new(
        "both",
        json!([
        {"name": "both", "templateType": "Parallel", "children": ["probe", "stress"]},
        {"name": "stress", "templateType": "StressChaos", "deadline": "60s", "stressChaos": stress_spec()},
        {"name": "probe", "templateType": "StatusCheck", "abortWithStatusCheck": abort, "statusCheck": {
            "mode": "Continuous", "type": "HTTP", "duration": "30s", "intervalSeconds": 5, "failureThreshold": 2,
            "http": {"url": "http://web:8080/", "criteria": {"statusCode": "200"}}}}]),
    )
}

#[test]
fn a_failed_probe_takes_the_workflow_with_it_if_asked_to() {
    for (abort, stress, over) in [(true, "Aborted", true), (false, "-", false)] {
        let mut world = probing(abort);
        assert_eq!(world.settle(), Some(Duration::from_secs(5)));
        world.healthy = false;
        for _ in 0..2 {
            world.pass(5);
            world.settle();
        }
        assert_eq!((world.states("stress"), world.is_over()), (vec![stress], over));
        assert_eq!(world.made.is_empty(), over, "no fault outlives its workflow");
    }
}

#[test]
fn a_healthy_probe_ends_with_its_duration() {
    let mut world = probing(true);
    for _ in 0..7 {
        world.settle();
        world.pass(5);
    }
    assert_eq!(
        (world.states("probe"), world.states("stress")),
        (vec!["Accomplished"], vec!["-"])
    );
}

#[test]
fn a_probe_that_is_never_content_ends_with_its_duration_and_may_take_the_workflow_with_it() {
    for (abort, stress, over) in [(true, "Aborted", true), (false, "-", false)] {
        let mut world = World::new(
            "both",
            json!([
            {"name": "both", "templateType": "Parallel", "children": ["probe", "stress"]},
            {"name": "stress", "templateType": "StressChaos", "deadline": "60s", "stressChaos": stress_spec()},
            {"name": "probe", "templateType": "StatusCheck", "abortWithStatusCheck": abort, "statusCheck": {
                "mode": "Synchronous", "type": "HTTP", "duration": "30s", "intervalSeconds": 5, "failureThreshold": 100,
                "recordsHistoryLimit": 2, "http": {"url": "http://web:8080/", "criteria": {"statusCode": "200"}}}}]),
        );
        world.healthy = false;
        for _ in 0..7 {
            world.settle();
            world.pass(5);
        }
        world.settle();
        assert_eq!(world.states("probe"), ["Accomplished"]);
        assert_eq!((world.states("stress"), world.is_over()), (vec![stress], over));
        let probe = world
            .nodes
            .iter()
            .find(|node| text(&node.data["spec"], "templateName") == "probe");
        let counts = &probe.expect("a node").data["status"]["statusCheck"];
        assert_eq!(counts["records"].as_array().map(Vec::len), Some(2), "{counts}");
    }
}

#[test]
fn a_task_that_cannot_be_read_is_told() {
    let mut world = World::new(
        "look",
        json!([{"name": "look", "templateType": "Suspend", "deadline": "5s"}]),
    );
    world.spec.templates[0].template_type = "Task".to_owned();
    world.spec.templates[0].task =
        Some(json!({"container": {"name": "look", "image": "debian", "command": "ls"}}));
    world.settle();
    let view = View {
        workflow: &world.workflow,
        spec: &world.spec,
        nodes: world.nodes.clone(),
        made: Vec::new(),
        pods: Vec::new(),
        now: world.now,
    };
    let troubles = plan::plan(&view).troubles;
    assert!(troubles[0].starts_with("template look: task: "), "{troubles:?}");
}

#[test]
fn what_is_done_at_once_is_accomplished_when_it_is_done() {
    let mut world = World::new(
        "kill",
        json!([
        {"name": "kill", "templateType": "PodChaos", "podChaos": kill()}]),
    );
    world.settle();
    let (kind, made) = world.made[0].clone();
    let mut done = made.as_ref().clone();
    done.data["status"] = json!({"conditions": [{"type": "AllInjected", "status": "True"}]});
    world.made = vec![(kind, Arc::new(done))];
    world.settle();
    assert_eq!(world.states("kill"), ["Accomplished"]);
    assert!(world.is_over());
}
