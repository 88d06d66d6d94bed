//! HTTPChaos -> a fault on requests.

use hikeshi_chaos::annotations::{Extensions, JITTER, QUANTILES, TO_TOTAL};
use hikeshi_chaos::http::{self, Spec, Target};
use hikeshi_chaos::quantity;
use hikeshi_proxy::faults::delay::DelayLength;
use hikeshi_proxy::faults::percent::WHOLE;
use hikeshi_proxy::faults::{
    Delay, Fault, FaultKind, HttpAction, HttpFault, HttpMatch, HttpTarget, Patch, Percent, PodSet, Replace,
};
use hikeshi_proxy::{AppProtocol, PodLink};
use serde_json::Value;

use super::chaos::{Context, pod_set};

pub(super) fn compile(spec: &Value, context: &Context<'_>) -> Result<Fault, String> {
    let spec: Spec = serde::Deserialize::deserialize(spec).map_err(|error| format!("spec: {error}"))?;
    check_port(spec.port, context)?;
    let action = HttpAction {
        abort: spec.abort.unwrap_or(false),
        delay: delay(&spec, &context.extensions, context.seed("delay"))?,
        replace: spec.replace.as_ref().map(replace).transpose()?,
        patch: spec.patch.as_ref().map(patch).transpose()?,
    };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let http = HttpFault {
        pods: pod_set(&context.selection.selected),
        sources: PodSet::Any,
        port: Some(spec.port),
        target: match spec.target {
            Target::Request => HttpTarget::Request,
            Target::Response => HttpTarget::Response,
        },
        matches: HttpMatch {
            path: given(&spec.path),
            method: given(&spec.method),
            code: spec.code.filter(|code| *code != 0),
            request_headers: spec.request_headers.clone().unwrap_or_default(),
            request_patterns: context.extensions.request_headers.clone(),
            response_headers: spec.response_headers.clone().unwrap_or_default(),
        },
        percent: Percent {
            ppm: context.extensions.ppm.unwrap_or(WHOLE),
            seed: context.seed("percent"),
        },
        action,
    };
    Ok(Fault {
        id: context.id.clone(),
        until: None,
        kind: FaultKind::Http(Box::new(http)),
    })
}

/// A fault on a port whose bytes are not read as HTTP would never hit anything.
fn check_port(port: u16, context: &Context<'_>) -> Result<(), String> {
    let selected = &context.selection.selected;
    if selected.is_empty() || selected.iter().any(|pod| is_http(pod, port)) {
        return Ok(());
    }
    Err(no_http(port, "the selected pods"))
}

/// Why a fault on `port` does not hit `pod`, though it may hit others.
pub(super) fn refusal(port: u16, pod: &PodLink) -> Option<String> {
    let of = || format!("{}/{}", pod.namespace, pod.name);
    (!is_http(pod, port)).then(|| no_http(port, &of()))
}

fn is_http(pod: &PodLink, port: u16) -> bool {
    let mut ports = pod.ports.iter();
    ports.any(|one| one.port == port && one.protocol_hint == AppProtocol::Http)
}

fn no_http(port: u16, of: &str) -> String {
    format!(
        "spec.port: {port} is no HTTP port of {of}; give the containers' port a name that begins with http"
    )
}

fn delay(spec: &Spec, extensions: &Extensions, seed: u64) -> Result<Option<Delay>, String> {
    let text = spec.delay.as_deref().filter(|text| !text.is_empty());
    let fixed = text.map(quantity::micros).transpose();
    let fixed = fixed.map_err(|error| format!("spec.delay: {error}"))?;
    if extensions.to_total && spec.target == Target::Request {
        return Err(format!(
            "annotation {TO_TOTAL}: needs target Response, which knows how long the system took"
        ));
    }
    let length = match (fixed, extensions.quantiles.clone(), extensions.jitter) {
        (None, None, None) if !extensions.to_total => return Ok(None),
        (_, Some(_), Some(_)) => {
            return Err(format!(
                "annotation {JITTER}: {QUANTILES} says the distribution already"
            ));
        }
        (None, None, _) => {
            return Err(format!(
                "spec.delay: is missing; annotations {JITTER} and {TO_TOTAL} need it"
            ));
        }
        (_, Some(points), None) => DelayLength::Quantiles { points },
        (Some(micros), None, Some(jitter)) => DelayLength::Jitter { micros, jitter },
        (Some(micros), None, None) => DelayLength::Fixed { micros },
    };
    Ok(Some(Delay {
        length,
        to_total: extensions.to_total,
        seed,
        correlation: 0,
    }))
}

fn replace(spec: &http::Replace) -> Result<Replace, String> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Ok(Replace {
        path: given(&spec.path),
        method: given(&spec.method),
        code: spec.code.filter(|code| *code != 0),
        body: spec
            .body()
            .map_err(|error| format!("spec.replace.body: {error}"))?,
        queries: spec.queries.clone().unwrap_or_default(),
        headers: spec.headers.clone().unwrap_or_default(),
    })
}

fn patch(spec: &http::Patch) -> Result<Patch, String> {
    let body = spec.body.as_ref().map(http::PatchBody::merge).transpose();
    Ok(Patch {
        body: body.map_err(|error| format!("spec.patch.body.value: {error}"))?,
        queries: spec.queries.clone().unwrap_or_default(),
        headers: spec.headers.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use hikeshi_chaos::annotations::{PERCENT, REQUEST_HEADERS};
    use serde_json::json;

    use super::super::chaos::tests::{experiment, pods};
    use super::super::chaos::{Kind, compile};
    use super::super::names::Names;
    use super::*;

    fn compiled(spec: Value, annotations: &[(&str, &str)]) -> Result<HttpFault, String> {
        let mut object = experiment(Kind::Http, spec, &["web-0"], &[]);
        object.data["spec"]["selector"] = json!({});
        object.data["spec"]["mode"] = json!("all");
        let annotations = annotations
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        object.metadata.annotations = Some(annotations.collect());
        match compile(Kind::Http, &object, &pods(), &Names::default())?
            .remove(0)
            .kind
        {
            FaultKind::Http(http) => Ok(*http),
            FaultKind::Network(_) => Err("a network fault".into()),
        }
    }

    #[test]
    fn a_delay_with_everything_that_narrows_it() {
        let spec = json!({"mode": "all", "selector": {}, "target": "Request", "port": 8080, "path": "/api/*",
            "method": "GET", "request_headers": {"x-user": "ann"}, "delay": "1s"});
        let fault = compiled(spec, &[(PERCENT, "1.5"), (REQUEST_HEADERS, "cookie=*user=ann*")]).unwrap();
        assert_eq!(fault.pods, PodSet::Pods(["uid-web-0".to_string()].into()));
        assert_eq!(fault.port, Some(8080));
        assert_eq!(fault.matches.path.as_deref(), Some("/api/*"));
        assert_eq!(fault.percent.ppm, 15_000);
        assert_eq!(fault.matches.request_patterns["cookie"], "*user=ann*");
        assert_eq!(
            fault.action.delay.unwrap().sample(0),
            std::time::Duration::from_secs(1)
        );
    }

    #[test]
    fn replace_and_patch_of_answers() {
        let spec = json!({"target": "Response", "port": 8080,
            "replace": {"code": 503, "body": "b29wcw==", "headers": {"x-a": "b"}},
            "patch": {"body": {"type": "JSON", "value": "{\"a\": 1}"}, "headers": [["set-cookie", "c=1"]]}});
        let action = compiled(spec, &[]).unwrap().action;
        assert_eq!(action.replace.unwrap().body.as_deref(), Some(b"oops".as_slice()));
        assert_eq!(action.patch.unwrap().body, Some(json!({"a": 1})));
    }

    #[test]
    fn a_distribution_comes_from_an_annotation() {
        let spec = json!({"target": "Response", "port": 8080, "delay": "1s"});
        let fault = compiled(spec, &[(QUANTILES, "p50=80ms,p99=1s"), (TO_TOTAL, "true")]).unwrap();
        let delay = fault.action.delay.unwrap();
        assert!(delay.to_total);
        assert_eq!(
            delay.length,
            DelayLength::Quantiles {
                points: vec![(0.5, 80_000), (0.99, 1_000_000)]
            }
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (spec, annotations, field) in [
            (
                json!({"target": "Request", "port": 6379, "abort": true}),
                &[][..],
                "spec.port",
            ),
            (
                json!({"target": "Request", "port": 8080, "delay": "soon"}),
                &[],
                "spec.delay",
            ),
            (
                json!({"target": "Request", "port": 8080, "delay": "1s"}),
                &[(TO_TOTAL, "true")],
                TO_TOTAL,
            ),
            (
                json!({"target": "Request", "port": 8080, "abort": true}),
                &[(JITTER, "1ms")],
                "spec.delay",
            ),
            (
                json!({"target": "Both", "port": 8080, "abort": true}),
                &[],
                "spec.target",
            ),
        ] {
            let error = compiled(spec, annotations).unwrap_err();
            assert!(error.contains(field), "{error} does not name {field}");
        }
    }
}
