//! How many pods an update may do without, and how many more than wanted there may be.

use serde_json::Value;

/// Adds what is wrong with a Deployment's `strategy` or a DaemonSet's `updateStrategy`, in Kubernetes' words.
pub(super) fn allowance(kind: &str, spec: &Value, causes: &mut Vec<(String, String)>) {
    let field = match kind {
        "Deployment" => "strategy",
        "DaemonSet" => "updateStrategy",
        _ => return,
    };
    let rolling = &spec[field]["rollingUpdate"];
    if !rolling.is_object() {
        return;
    }
    let at = |name: &str| format!("spec.{field}.rollingUpdate.{name}");
    let mut complete = true;
    for name in ["maxUnavailable", "maxSurge"] {
        let value = &rolling[name];
        let problem = match (value, amount(value)) {
            (Value::Null, _) => continue,
            (_, None) => {
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', or '93%'), \
                 and a count must be greater than or equal to 0"
            }
            // More than all of a Deployment's pods may come at once, but not go.
            (Value::String(_), Some(percent))
                if percent > 100 && (kind, name) != ("Deployment", "maxSurge") =>
            {
                "must not be greater than 100%"
            }
            _ => continue,
        };
        complete = false;
        causes.push((at(name), format!("Invalid value: {value}: {problem}")));
    }
    let is_none = |name: &str| rolling[name].is_null() || amount(&rolling[name]) == Some(0);
    match (complete, kind, is_none("maxUnavailable"), is_none("maxSurge")) {
        (true, "Deployment", true, true) => {
            let problem = format!(
                "Invalid value: {}: may not be 0 when `maxSurge` is 0",
                rolling["maxUnavailable"]
            );
            causes.push((at("maxUnavailable"), problem));
        }
        (true, "DaemonSet", true, true) => {
            let problem = "Required value: cannot be 0 when maxSurge is 0".to_owned();
            causes.push((at("maxUnavailable"), problem));
        }
        (true, "DaemonSet", false, false) => {
            let surge = &rolling["maxSurge"];
            let problem = format!("Invalid value: {surge}: may not be set when maxUnavailable is non-zero");
            causes.push((at("maxSurge"), problem));
        }
        _ => {}
    }
}

/// A count, or the number of a percentage.
fn amount(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%')?;
            let plain = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        }
        value => value.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(kind: &str, rolling: Value) -> Vec<(String, String)> {
        let mut causes = Vec::new();
        let spec =
            json!({"strategy": {"rollingUpdate": rolling}, "updateStrategy": {"rollingUpdate": rolling}});
        allowance(kind, &spec, &mut causes);
        causes
    }

    #[test]
    fn an_update_must_be_able_to_move() {
        for fine in [
            json!({"maxSurge": 0, "maxUnavailable": 1}),
            json!({"maxSurge": "10%", "maxUnavailable": 0}),
            json!({"maxSurge": 1, "maxUnavailable": "0%"}),
        ] {
            assert_eq!(found("DaemonSet", fine.clone()), [], "{fine}");
            assert_eq!(found("Deployment", fine.clone()), [], "{fine}");
        }
        let none = json!({"maxSurge": "0%", "maxUnavailable": 0});
        assert_eq!(
            found("DaemonSet", none.clone()),
            [(
                "spec.updateStrategy.rollingUpdate.maxUnavailable".to_owned(),
                "Required value: cannot be 0 when maxSurge is 0".to_owned()
            )]
        );
        assert_eq!(
            found("Deployment", none),
            [(
                "spec.strategy.rollingUpdate.maxUnavailable".to_owned(),
                "Invalid value: 0: may not be 0 when `maxSurge` is 0".to_owned()
            )]
        );
        let both = json!({"maxSurge": 1, "maxUnavailable": 1});
        assert_eq!(
            found("DaemonSet", both.clone()),
            [(
                "spec.updateStrategy.rollingUpdate.maxSurge".to_owned(),
                "Invalid value: 1: may not be set when maxUnavailable is non-zero".to_owned()
            )]
        );
        assert_eq!(found("Deployment", both), []);
    }

    #[test]
    fn an_amount_is_a_count_or_a_percentage() {
        for wrong in [
            json!("5"),
            json!("-1%"),
            json!("%"),
            json!("+1%"),
            json!(-1),
            json!("101%"),
        ] {
            let rolling = json!({"maxSurge": 0, "maxUnavailable": wrong});
            let causes = found("DaemonSet", rolling);
            assert_eq!(causes.len(), 1, "{causes:?}");
            assert!(causes[0].0.ends_with("maxUnavailable"), "{causes:?}");
        }
        let more = json!({"maxSurge": "200%", "maxUnavailable": 0});
        assert_eq!(found("Deployment", more.clone()), []);
        assert_eq!(found("DaemonSet", more).len(), 1);
    }
}
