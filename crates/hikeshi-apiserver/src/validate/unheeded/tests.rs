use serde_json::json;

use super::*;
use crate::registry::find;

fn resource(plural: &str) -> std::sync::Arc<Resource> {
    ["", "apps", "batch"]
        .into_iter()
        .find_map(|group| find(group, "v1", plural))
        .unwrap()
}

fn refusals(plural: &str, object: &Value) -> Causes {
    let mut causes = Causes::new();
    refused(&resource(plural), object, &mut causes);
    causes
}

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

#[test]
fn what_would_change_a_manifests_meaning_is_refused_by_its_field() {
    let container = |extra: Value| pod(json!({"containers": [{"name": "a"}, extra]}));
    let cases = [
        ("pods", pod(json!({"hostNetwork": true})), "spec.hostNetwork"),
        ("pods", pod(json!({"hostPID": true})), "spec.hostPID"),
        (
            "pods",
            pod(json!({"runtimeClassName": "gvisor"})),
            "spec.runtimeClassName",
        ),
        (
            "pods",
            pod(
                json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {"medium": "HugePages-2Mi"}}]}),
            ),
            "spec.volumes[1].emptyDir.medium",
        ),
        (
            "pods",
            container(json!({"ports": [{"containerPort": 1}, {"containerPort": 80, "hostPort": 80}]})),
            "spec.containers[1].ports[1].hostPort",
        ),
        (
            "pods",
            pod(json!({"initContainers": [{"securityContext": {"privileged": true}}]})),
            "spec.initContainers[0].securityContext.privileged",
        ),
        (
            "deployments",
            json!({"spec": {"template": {"spec": {"hostIPC": true}}}}),
            "spec.template.spec.hostIPC",
        ),
        (
            "services",
            json!({"spec": {"sessionAffinity": "ClientIP"}}),
            "spec.sessionAffinity",
        ),
        (
            "services",
            json!({"spec": {"internalTrafficPolicy": "Local"}}),
            "spec.internalTrafficPolicy",
        ),
        (
            "services",
            json!({"spec": {"externalIPs": ["1.2.3.4"]}}),
            "spec.externalIPs",
        ),
        (
            "jobs",
            json!({"spec": {"podFailurePolicy": {"rules": []}}}),
            "spec.podFailurePolicy",
        ),
        (
            "jobs",
            json!({"spec": {"successPolicy": {"rules": []}}}),
            "spec.successPolicy",
        ),
        (
            "jobs",
            json!({"spec": {"backoffLimitPerIndex": 0}}),
            "spec.backoffLimitPerIndex",
        ),
        (
            "cronjobs",
            json!({"spec": {"jobTemplate": {"spec": {"maxFailedIndexes": 1}}}}),
            "spec.jobTemplate.spec.maxFailedIndexes",
        ),
    ];
    for (plural, object, field) in cases {
        let causes = refusals(plural, &object);
        let [(named, problem)] = causes.as_slice() else {
            panic!("{field}: {causes:?}");
        };
        assert_eq!(named, field);
        assert!(
            problem.starts_with("Forbidden: not supported here: "),
            "{problem}"
        );
        assert_eq!(warnings(&resource(plural), &object), [""; 0], "{field}");
    }
}

#[test]
fn what_changes_little_is_taken_with_a_warning_that_names_it() {
    let containers = |contexts: [Value; 2]| {
        let [a, b] = contexts.map(|context| json!({"name": "x", "securityContext": context}));
        pod(json!({"containers": [a, b]}))
    };
    let cases = [
        (
            "pods",
            pod(json!({"securityContext": {"fsGroup": 0}})),
            "spec.securityContext.fsGroup: ",
        ),
        (
            "pods",
            pod(json!({"dnsConfig": {"options": []}})),
            "spec.dnsConfig: ",
        ),
        (
            "pods",
            pod(json!({"priorityClassName": "high"})),
            "spec.priorityClassName: ",
        ),
        (
            "statefulsets",
            json!({"spec": {"template": {"spec": {"volumes": [{"emptyDir": {"medium": "Memory"}}]}}}}),
            "spec.template.spec.volumes[0].emptyDir.medium: ",
        ),
        (
            "pods",
            containers([
                json!({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "SYS_TIME"]}}),
                json!({}),
            ]),
            "spec.containers[0].securityContext.capabilities.add[1]: ",
        ),
        (
            "pods",
            containers([json!({}), json!({"readOnlyRootFilesystem": true})]),
            "spec.containers[1].securityContext.readOnlyRootFilesystem: ",
        ),
        (
            "pods",
            containers([json!({"runAsUser": 1}), json!({"runAsUser": 2})]),
            "spec.containers[1].securityContext.runAsUser: ",
        ),
        (
            "services",
            json!({"spec": {"type": "NodePort"}}),
            "spec.type: a port is assigned",
        ),
        (
            "services",
            json!({"spec": {"type": "LoadBalancer"}}),
            "spec.type: there is no load balancer",
        ),
        (
            "services",
            json!({"spec": {"type": "ExternalName"}}),
            "spec.type: pods resolve",
        ),
    ];
    for (plural, object, begin) in cases {
        let said = warnings(&resource(plural), &object);
        assert!(
            matches!(said.as_slice(), [one] if one.starts_with(begin)),
            "{begin}: {said:?}"
        );
        assert!(refusals(plural, &object).is_empty(), "{begin}");
    }
}

#[test]
fn what_is_heeded_is_not_spoken_of() {
    let hardened = json!({"runAsNonRoot": true, "runAsUser": 1, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"], "add": ["CAP_CHOWN"]},
        "seccompProfile": {"type": "RuntimeDefault"}});
    let object = pod(
        json!({"hostNetwork": false, "shareProcessNamespace": true, "priorityClassName": "system-node-critical",
        "hostAliases": [{"ip": "127.64.0.9", "hostnames": ["a"]}], "volumes": [{"emptyDir": {"medium": ""}}],
        "containers": [{"ports": [{"containerPort": 1, "hostPort": 0}], "securityContext": hardened}],
        "initContainers": [{"securityContext": hardened}]}),
    );
    assert!(refusals("pods", &object).is_empty());
    assert_eq!(warnings(&resource("pods"), &object), [""; 0]);
    let service =
        json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}});
    assert!(refusals("services", &service).is_empty());
    assert_eq!(warnings(&resource("services"), &service), [""; 0]);
}
