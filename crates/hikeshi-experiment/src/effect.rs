//! One sentence in plain words of what an experiment will do.

use hikeshi_scenario::Text;
use serde_json::Value;

use crate::api::BlastRadius;
use crate::duration::{words, words_ja};
use crate::manifest::{chaos_specs, duration_of};

/// What will happen to whom, and for how long.
pub fn effect(object: &Value, blast: &BlastRadius) -> Text {
    let specs = chaos_specs(object);
    let deeds: Vec<Text> = specs
        .iter()
        .map(|(kind, spec)| deed(kind, spec, object))
        .collect();
    let join = |pick: fn(&Text) -> &str, by: &str| deeds.iter().map(pick).collect::<Vec<_>>().join(by);
    let (ja, en) = (join(|t| &t.ja, "、続いて"), join(|t| &t.en, "; then "));
    let (who_ja, who_en) = whom(blast);
    let spec = &object["spec"];
    match object["kind"].as_str() {
        Some("Schedule") => {
            let when = spec["schedule"].as_str().unwrap_or_default();
            Text {
                ja: format!("スケジュール `{when}` のたびに、{who_ja}{ja}。"),
                en: format!("Each time `{when}` comes round, {en}, {who_en}."),
            }
        }
        Some("Workflow") => Text {
            ja: format!("ワークフローの順に、{who_ja}{ja}。"),
            en: format!("As the workflow goes: {en}, {who_en}."),
        },
        Some("PodChaos") if spec["action"] != "pod-failure" => Text {
            ja: format!("{who_ja}{ja}。"),
            en: format!("{}, {who_en}, once.", capital(&en)),
        },
        _ => {
            let (ja_time, en_time) = match duration_of(object) {
                Some(seconds) => (
                    format!("{}間、", words_ja(seconds)),
                    format!(" for {}", words(seconds)),
                ),
                None => ("停止されるまで、".to_owned(), " until it is stopped".to_owned()),
            };
            Text {
                ja: format!("{ja_time}{who_ja}{ja}。"),
                en: format!("{}, {who_en}{en_time}.", capital(&en)),
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

fn whom(blast: &BlastRadius) -> (String, String) {
    let mut workloads: Vec<&str> = blast.pods.iter().map(|pod| pod.workload.as_str()).collect();
    workloads.dedup();
    workloads.sort_unstable();
    workloads.dedup();
    let shown = workloads.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    let more = if workloads.len() > 3 { ", ..." } else { "" };
    let (selected, of) = (blast.selected, blast.of);
    match of {
        0 => (
            "(今は該当する Pod がない) ".to_owned(),
            "on no pod at present".to_owned(),
        ),
        1 => (
            format!("{shown} の Pod (1 つだけ) で"),
            format!("on the only pod of {shown}"),
        ),
        _ if selected == of => (
            format!("{shown}{more} の {of} つの Pod すべてで"),
            format!("on all {of} pods of {shown}{more}"),
        ),
        _ => (
            format!("{shown}{more} の {of} つの Pod のうち {selected} つで"),
            format!("on {selected} of {of} pods of {shown}{more}"),
        ),
    }
}

fn deed(kind: &str, spec: &Value, object: &Value) -> Text {
    let (ja, en) = match kind {
        "HTTPChaos" => http(spec, &object["metadata"]["annotations"]),
        "NetworkChaos" => network(spec),
        "PodChaos" => match spec["action"].as_str() {
            Some("pod-failure") => (
                "Pod を応答しない状態にする".into(),
                "pods are made to fail".into(),
            ),
            Some("container-kill") => {
                let names = list(&spec["containerNames"]);
                (
                    format!("コンテナ {names} を強制終了する"),
                    format!("containers {names} are killed"),
                )
            }
            _ => ("Pod を強制終了する".into(), "pods are killed".into()),
        },
        "StressChaos" => stress(&spec["stressors"]),
        "TimeChaos" => {
            let offset = spec["timeOffset"].as_str().unwrap_or_default();
            (
                format!("時計を {offset} ずらす"),
                format!("clocks are set off by {offset}"),
            )
        }
        other => (other.to_owned(), other.to_owned()),
    };
    Text { ja, en }
}

fn list(values: &Value) -> String {
    let texts: Vec<&str> = values
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    texts.join(", ")
}

fn http(spec: &Value, annotations: &Value) -> (String, String) {
    let word = |field: &str| spec[field].as_str().filter(|text| !text.is_empty());
    let (mut ja, mut en) = (Vec::new(), Vec::new());
    if spec["abort"] == true {
        ja.push("接続を切る".to_owned());
        en.push("is cut off".to_owned());
    }
    if let Some(delay) = word("delay") {
        let total = annotations["hikeshi.dev/delay-to-total"] == "true";
        ja.push(if total {
            format!("合計 {delay} になるまで遅らせる")
        } else {
            format!("{delay} 遅らせる")
        });
        en.push(if total {
            format!("takes {delay} in all")
        } else {
            format!("is delayed by {delay}")
        });
    }
    match spec["replace"]["code"].as_u64() {
        Some(code) => {
            ja.push(format!("ステータスを {code} に置き換える"));
            en.push(format!("is answered {code}"));
        }
        None if spec["replace"].is_object() => {
            ja.push("内容を置き換える".to_owned());
            en.push("has its content replaced".to_owned());
        }
        None => {}
    }
    if spec["patch"].is_object() {
        ja.push("内容を書き足す".to_owned());
        en.push("is patched".to_owned());
    }
    let share = annotations["hikeshi.dev/percent"].as_str();
    let place = |path: &str| {
        if path == "*" {
            String::new()
        } else {
            format!(" {path}")
        }
    };
    let path = word("path").map(place).unwrap_or_default();
    let method = word("method")
        .map(|method| format!(" {method}"))
        .unwrap_or_default();
    let (what_ja, what_en) = match spec["target"].as_str() {
        Some("Request") => ("リクエスト", "request"),
        _ => ("レスポンス", "response"),
    };
    let port = &spec["port"];
    let (share_ja, share_en) = match share {
        Some(percent) => (
            format!("の {percent} % "),
            format!("{percent} % of{method}{path} {what_en}s on port {port}: each"),
        ),
        None => (
            String::new(),
            format!("every{method}{path} {what_en} on port {port}"),
        ),
    };
    (
        format!(
            "ポート {port} の{}{what_ja}{share_ja}について、{}",
            match format!("{method}{path}") {
                none if none.is_empty() => none,
                request => format!("{request} の"),
            },
            ja.join("・")
        ),
        format!("{share_en} {}", en.join(" and ")),
    )
}

fn network(spec: &Value) -> (String, String) {
    let value = |pointer: &str| {
        spec.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let part = |name: &str| match name {
        "delay" => (
            format!("通信を {} 遅らせる", value("/delay/latency")),
            format!("traffic is delayed by {}", value("/delay/latency")),
        ),
        "loss" => (
            format!("通信の {} % を失わせる", value("/loss/loss")),
            format!("{} % of traffic is lost", value("/loss/loss")),
        ),
        "corrupt" => (
            format!("通信の {} % を壊す", value("/corrupt/corrupt")),
            format!("{} % of traffic is corrupted", value("/corrupt/corrupt")),
        ),
        "duplicate" => (
            format!("通信の {} % を重複させる", value("/duplicate/duplicate")),
            format!("{} % of traffic is duplicated", value("/duplicate/duplicate")),
        ),
        "partition" => ("通信を遮断する".to_owned(), "traffic is cut".to_owned()),
        rate => {
            let rate = value(&format!("/{rate}/rate"));
            (
                format!("帯域を {rate} に絞る"),
                format!("bandwidth is held to {rate}"),
            )
        }
    };
    let parts: Vec<(String, String)> = match spec["action"].as_str() {
        Some(action @ ("netem" | "delay" | "loss" | "corrupt" | "duplicate")) => {
            ["delay", "loss", "corrupt", "duplicate", "bandwidth", "rate"]
                .into_iter()
                .filter(|name| *name == action || spec[*name].is_object())
                .map(part)
                .collect()
        }
        action => vec![part(action.unwrap_or_default())],
    };
    let (ja, en): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let (way_ja, way_en) = match spec["direction"].as_str() {
        Some("from") => ("入る", " coming in"),
        Some("both") => ("出入りする", " both ways"),
        _ => ("出る", " going out"),
    };
    let aim = if names_others(spec) || spec["target"].is_object() {
        (" (対象の相手との間だけ) ", " toward the target")
    } else {
        ("", "")
    };
    (
        format!("Pod から{way_ja}{}{}", aim.0, ja.join("・"))
            .replace("から入る", "に入る")
            .replace("から出入りする", "に出入りする"),
        format!("{}{way_en}{}", en.join(" and "), aim.1),
    )
}

/// Whether a NetworkChaos names its other end by address or name.
pub(crate) fn names_others(spec: &Value) -> bool {
    spec["externalTargets"]
        .as_array()
        .is_some_and(|named| !named.is_empty())
}

fn stress(stressors: &Value) -> (String, String) {
    let (mut ja, mut en) = (Vec::new(), Vec::new());
    let cpu = &stressors["cpu"];
    if cpu.is_object() {
        let load = cpu["load"].as_u64().filter(|load| *load > 0).unwrap_or(100);
        let workers = cpu["workers"].as_u64().unwrap_or(1);
        ja.push(format!("CPU に負荷をかける ({workers} ワーカー、{load} %)"));
        en.push(format!("the CPU is loaded ({workers} workers at {load} %)"));
    }
    let memory = &stressors["memory"];
    if memory.is_object() {
        let size = memory["size"].as_str().unwrap_or("all that is free");
        ja.push(format!("メモリを占有する ({size})"));
        en.push(format!("memory is taken ({size})"));
    }
    (ja.join("・"), en.join(" and "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::TargetPod;

    #[test]
    fn an_effect_reads_like_a_sentence_in_both_languages() {
        let object = json!({"kind": "HTTPChaos", "metadata": {"annotations": {"hikeshi.dev/percent": "1.5"}},
            "spec": {"selector": {}, "mode": "all", "target": "Response", "port": 80, "path": "/update",
                "replace": {"code": 500}, "duration": "90s"}});
        let pod = |name: &str| TargetPod {
            namespace: "default".into(),
            name: name.into(),
            node: "n".into(),
            workload: "Deployment/nginx".into(),
        };
        let blast = BlastRadius {
            pods: vec![pod("a"), pod("b")],
            selected: 2,
            of: 2,
            ..BlastRadius::default()
        };
        let text = effect(&object, &blast);
        assert_eq!(
            text.en,
            "1.5 % of /update responses on port 80: each is answered 500, on all 2 pods of Deployment/nginx for 1m30s."
        );
        assert!(
            text.ja
                .contains("1 分 30 秒間、Deployment/nginx の 2 つの Pod すべてで"),
            "{}",
            text.ja
        );
        let cut = json!({"kind": "NetworkChaos", "spec": {"action": "partition", "direction": "both"}});
        assert_eq!(
            effect(&cut, &BlastRadius::default()).en,
            "Traffic is cut both ways, on no pod at present until it is stopped."
        );
        let slow = json!({"kind": "NetworkChaos", "spec": {"action": "delay", "delay": {"latency": "1s"},
            "loss": {"loss": "5"}}});
        let text = effect(&slow, &blast).en;
        assert!(text.contains("1s") && text.contains("5 % of traffic"), "{text}");
        let kill = json!({"kind": "PodChaos", "spec": {"action": "pod-kill"}});
        assert!(
            effect(&kill, &blast)
                .en
                .starts_with("Pods are killed, on all 2 pods")
        );
    }
}
