//! TimeChaos: a container's programs see another time of day.

use serde::Deserialize;
use serde_json::Value;

use crate::check::Check;
use crate::quantity;
use crate::selector::{self, COMMON};
use crate::shape::{Field, Shape, may, must};
use crate::words::Words;

/// The part of a TimeChaos' spec that says what happens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// A Go duration, perhaps negative.
    pub time_offset: String,
    /// Without it, `CLOCK_REALTIME`.
    pub clock_ids: Option<Vec<String>>,
    /// Without it, each pod's first container.
    pub container_names: Option<Vec<String>>,
}

impl Spec {
    /// Nanoseconds.
    pub fn offset(&self) -> Result<i64, Words> {
        quantity::signed_nanos(&self.time_offset)
    }
}

const REALTIME: &str = "CLOCK_REALTIME";

const FIELDS: &[Field] = &[
    must(
        "timeOffset",
        Shape::Parsed(
            ("-10m や 1h30m のようなずれ", "an offset such as -10m or 1h30m"),
            |text| quantity::signed_nanos(text).map(drop),
        ),
    ),
    may("clockIds", Shape::Texts),
    may("containerNames", Shape::Texts),
];

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    selector::check(check, at, spec);
    let Some(spec) = check.read::<Spec>(at, spec, &[FIELDS, COMMON]) else {
        return;
    };
    for clock in spec.clock_ids.iter().flatten().filter(|clock| *clock != REALTIME) {
        let words = Words::new(
            format!("{clock} はここでは実現できません: タイマーが壊れます。使えるのは {REALTIME} です"),
            format!("{clock} cannot be honoured: timers would break with it; it can be {REALTIME}"),
        );
        check.add(format!("{at}.clockIds"), words);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::problems;

    #[test]
    fn only_the_time_of_day_can_be_moved() {
        for (spec, words) in [
            (
                json!({"timeOffset": "-10m", "clockIds": ["CLOCK_REALTIME"], "containerNames": ["a"]}),
                "",
            ),
            (json!({"timeOffset": "1h30m"}), ""),
            (json!({"timeOffset": "soon"}), "spec.timeOffset: "),
            (
                json!({"timeOffset": "1h", "clockIds": ["CLOCK_MONOTONIC"]}),
                "CLOCK_MONOTONIC cannot be honoured",
            ),
            (json!({}), "spec.timeOffset: is missing"),
        ] {
            let mut spec = spec;
            spec["selector"] = json!({});
            spec["mode"] = json!("one");
            let found = problems("TimeChaos", &json!({"spec": spec}));
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.is_empty(), words.is_empty(), "{spec}: {found:?}");
            assert!(
                found.join("; ").contains(words),
                "{spec}: {found:?} does not say {words}"
            );
        }
    }
}
