//! HTTPChaos -> a fault on requests.

use std::collections::BTreeMap;

use base64::Engine;
use hikeshi_proxy::AppProtocol;
use hikeshi_proxy::faults::delay::DelayLength;
use hikeshi_proxy::faults::percent::WHOLE;
use hikeshi_proxy::faults::{
    Delay, Fault, FaultKind, HttpAction, HttpFault, HttpMatch, HttpTarget, Patch, Percent, PodSet, Replace,
};
use serde::Deserialize;
use serde_json::Value;

use super::chaos::{Context, pod_set};
use super::quantity;

/// Extension: the share of the matching requests, e.g. `"1.5"`.
const PERCENT: &str = "hikeshi.dev/percent";
/// Extension: the delay is uniform within +- this.
const JITTER: &str = "hikeshi.dev/delay-jitter";
/// Extension: the delay's distribution instead of `spec.delay`'s constant, e.g. `"p50=80ms,p99=1s"`.
const QUANTILES: &str = "hikeshi.dev/delay-quantiles";
/// Extension: `"true"` pads the exchange to the delay instead of adding it (`target: Response`).
const TO_TOTAL: &str = "hikeshi.dev/delay-to-total";

#[derive(Debug, Deserialize)]
struct Spec {
    target: HttpTarget,
    port: u16,
    path: Option<String>,
    method: Option<String>,
    code: Option<u16>,
    #[serde(default)]
    request_headers: BTreeMap<String, String>,
    #[serde(default)]
    response_headers: BTreeMap<String, String>,
    #[serde(default)]
    abort: bool,
    delay: Option<String>,
    replace: Option<ReplaceSpec>,
    patch: Option<PatchSpec>,
    tls: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct ReplaceSpec {
    path: Option<String>,
    method: Option<String>,
    code: Option<u16>,
    /// Base64.
    body: Option<String>,
    #[serde(default)]
    queries: BTreeMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct PatchSpec {
    body: Option<PatchBody>,
    #[serde(default)]
    queries: Vec<(String, String)>,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct PatchBody {
    #[serde(rename = "type")]
    kind: String,
    /// JSON text.
    value: String,
}

pub(super) fn compile(spec: Value, context: &Context<'_>) -> Result<Fault, String> {
    let spec: Spec = serde_json::from_value(spec).map_err(|error| format!("spec: {error}"))?;
    if spec.tls.as_ref().is_some_and(|tls| !tls.is_null()) {
        return Err("spec.tls: cannot be honoured here".into());
    }
    check_port(spec.port, context)?;
    let action = HttpAction {
        abort: spec.abort,
        delay: delay(&spec, context)?,
        replace: spec.replace.as_ref().map(replace).transpose()?,
        patch: spec.patch.as_ref().map(patch).transpose()?,
    };
    if action == HttpAction::default() {
        return Err("spec: none of abort, delay, replace and patch is given".into());
    }
    let ppm = annotation(context, PERCENT, quantity::percent)?.unwrap_or(WHOLE);
    let http = HttpFault {
        pods: pod_set(&context.selection.selected),
        sources: PodSet::Any,
        port: Some(spec.port),
        target: spec.target,
        matches: HttpMatch {
            path: spec.path,
            method: spec.method,
            code: spec.code,
            request_headers: spec.request_headers,
            response_headers: spec.response_headers,
        },
        percent: Percent {
            ppm,
            seed: context.seed,
        },
        action,
    };
    Ok(Fault {
        id: context.id.clone(),
        kind: FaultKind::Http(Box::new(http)),
    })
}

fn annotation<T>(
    context: &Context<'_>,
    name: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let text = context.annotations.get(name);
    text.map(|text| read(text).map_err(|error| format!("annotation {name}: {error}")))
        .transpose()
}

/// A fault on a port whose bytes are not read as HTTP would never hit anything.
fn check_port(port: u16, context: &Context<'_>) -> Result<(), String> {
    let selected = &context.selection.selected;
    let speaks = |hint: AppProtocol| hint == AppProtocol::Http;
    let any = selected.iter().any(|pod| {
        pod.ports
            .iter()
            .any(|p| p.port == port && speaks(p.protocol_hint))
    });
    if any || selected.is_empty() {
        return Ok(());
    }
    Err(format!(
        "spec.port: {port} is no HTTP port of the selected pods (a port is one when its name begins with http)"
    ))
}

fn delay(spec: &Spec, context: &Context<'_>) -> Result<Option<Delay>, String> {
    let fixed = spec
        .delay
        .as_deref()
        .filter(|text| !text.is_empty())
        .map(quantity::micros)
        .transpose();
    let fixed = fixed.map_err(|error| format!("spec.delay: {error}"))?;
    let points = annotation(context, QUANTILES, quantiles)?;
    let jitter = annotation(context, JITTER, quantity::micros)?;
    let to_total = context
        .annotations
        .get(TO_TOTAL)
        .is_some_and(|text| text == "true");
    if to_total && spec.target == HttpTarget::Request {
        return Err(format!(
            "annotation {TO_TOTAL}: needs target Response, which knows how long the system took"
        ));
    }
    let length = match (fixed, points, jitter) {
        (_, Some(points), _) => DelayLength::Quantiles { points },
        (Some(micros), None, Some(jitter)) => DelayLength::Jitter { micros, jitter },
        (Some(micros), None, None) => DelayLength::Fixed { micros },
        (None, None, _) => return Ok(None),
    };
    Ok(Some(Delay {
        length,
        to_total,
        seed: context.seed,
    }))
}

fn quantiles(text: &str) -> Result<Vec<(f64, u64)>, String> {
    let wrong = || format!("{text:?} is not like p50=80ms,p99=1s");
    text.split(',')
        .map(|point| {
            let (p, length) = point.trim().split_once('=').ok_or_else(wrong)?;
            let p: f64 = p
                .strip_prefix('p')
                .and_then(|p| p.parse().ok())
                .ok_or_else(wrong)?;
            Ok((p / 100.0, quantity::micros(length)?))
        })
        .collect()
}

fn replace(spec: &ReplaceSpec) -> Result<Replace, String> {
    let decode = |text: &String| base64::engine::general_purpose::STANDARD.decode(text);
    let body = spec.body.as_ref().map(decode).transpose();
    Ok(Replace {
        path: spec.path.clone(),
        method: spec.method.clone(),
        code: spec.code,
        body: body.map_err(|error| format!("spec.replace.body: not base64: {error}"))?,
        queries: spec.queries.clone(),
        headers: spec.headers.clone(),
    })
}

fn patch(spec: &PatchSpec) -> Result<Patch, String> {
    let body = match &spec.body {
        None => None,
        Some(body) if body.kind == "JSON" => Some(
            serde_json::from_str(&body.value)
                .map_err(|error| format!("spec.patch.body.value: not JSON: {error}"))?,
        ),
        Some(body) => {
            return Err(format!(
                "spec.patch.body.type: {:?} is not known, only JSON",
                body.kind
            ));
        }
    };
    Ok(Patch {
        body,
        queries: spec.queries.clone(),
        headers: spec.headers.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::chaos::tests::{experiment, pods};
    use super::super::chaos::{Kind, compile};
    use super::*;

    fn compiled(spec: Value, annotations: &[(&str, &str)]) -> Result<HttpFault, String> {
        let mut object = experiment(Kind::Http, spec, &["web-0"], &[]);
        let annotations = annotations
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        object.metadata.annotations = Some(annotations.collect());
        match compile(Kind::Http, &object, &pods())?.remove(0).kind {
            FaultKind::Http(http) => Ok(*http),
            FaultKind::Network(_) => Err("a network fault".into()),
        }
    }

    #[test]
    fn a_delay_with_everything_that_narrows_it() {
        let spec = json!({"mode": "all", "selector": {}, "target": "Request", "port": 8080, "path": "/api/*",
            "method": "GET", "request_headers": {"x-user": "ann"}, "delay": "1s"});
        let fault = compiled(spec, &[(PERCENT, "1.5")]).unwrap();
        assert_eq!(fault.pods, PodSet::Pods(["uid-web-0".to_string()].into()));
        assert_eq!(fault.port, Some(8080));
        assert_eq!(fault.matches.path.as_deref(), Some("/api/*"));
        assert_eq!(fault.percent.ppm, 15_000);
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
        for (spec, field) in [
            (
                json!({"target": "Request", "port": 8080, "abort": true, "tls": {"secretName": "x"}}),
                "spec.tls",
            ),
            (
                json!({"target": "Request", "port": 6379, "abort": true}),
                "spec.port",
            ),
            (json!({"target": "Request", "port": 8080}), "none of abort"),
            (
                json!({"target": "Request", "port": 8080, "delay": "soon"}),
                "spec.delay",
            ),
            (
                json!({"target": "Request", "port": 8080, "abort": true, "code": 500}),
                "code",
            ),
            (
                json!({"target": "Request", "port": 8080, "replace": {"code": 500}}),
                "replace.code",
            ),
            (
                json!({"target": "Response", "port": 8080, "replace": {"body": "%"}}),
                "spec.replace.body",
            ),
            (json!({"target": "Both", "port": 8080, "abort": true}), "Both"),
        ] {
            let error = compiled(spec, &[]).unwrap_err();
            assert!(error.contains(field), "{error} does not name {field}");
        }
    }
}
