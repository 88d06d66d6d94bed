//! StressChaos: load inside a container, counted against its limits.

use serde::Deserialize;
use serde_json::Value;

use crate::check::Check;
use crate::quantity::{self, Size};
use crate::selector::{self, COMMON};
use crate::shape::{Field, Fixed, Shape, may, must};
use crate::words::Words;

/// Most workers of one stressor: more would only fight each other.
const MOST_WORKERS: u32 = 256;

/// The part of a StressChaos' spec that says what happens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub stressors: Stressors,
    /// Without it, each pod's first container.
    pub container_names: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Stressors {
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cpu {
    pub workers: u32,
    /// Percent of one CPU that each worker uses; 100 without it.
    pub load: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Memory {
    pub workers: u32,
    /// What all workers hold together.
    pub size: String,
}

impl Memory {
    pub fn size(&self) -> Result<Size, Words> {
        quantity::size(&self.size)
    }
}

const OWN_LOAD: Fixed = (
    "負荷は stress-ng ではなく Hikeshi 自身がかけます。stressors に書いてください",
    "the load is Hikeshi's own, not stress-ng's; say it with stressors",
);

const FIELDS: &[Field] = &[
    must(
        "stressors",
        Shape::Object(&[
            may(
                "cpu",
                Shape::Object(&[
                    must("workers", Shape::Whole(u32::MAX as u64)),
                    may("load", Shape::Whole(u32::MAX as u64)),
                    may("options", Shape::Refused(OWN_LOAD)),
                ]),
            ),
            may(
                "memory",
                Shape::Object(&[
                    must("workers", Shape::Whole(u32::MAX as u64)),
                    must("size", SIZE),
                    may("options", Shape::Refused(OWN_LOAD)),
                    may(
                        "oomScoreAdj",
                        Shape::Refused((
                            "どのプログラムが終わるかは Pod 自身の制限で決まります",
                            "the pod's own limit decides who is killed",
                        )),
                    ),
                ]),
            ),
        ]),
    ),
    may("stressngStressors", Shape::Refused(OWN_LOAD)),
    may("containerNames", Shape::Texts),
];

const SIZE: Shape = Shape::Parsed(
    ("256MB や 50% のような大きさ", "a size such as 256MB or 50%"),
    |text| quantity::size(text).map(drop),
);

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    selector::check(check, at, spec);
    let here = format!("{at}.stressors");
    let Some(spec) = check.read::<Spec>(at, spec, &[FIELDS, COMMON]) else {
        return;
    };
    if spec.stressors.cpu.is_none() && spec.stressors.memory.is_none() {
        let words = ("cpu か memory を書いてください", "says neither cpu nor memory");
        check.add(&here, words);
    }
    let workers = |check: &mut Check, name: &str, workers: u32| {
        if !(1..=MOST_WORKERS).contains(&workers) {
            let words = Words::new(
                format!("{workers} ではなく 1〜{MOST_WORKERS} にしてください"),
                format!("{workers} must be between 1 and {MOST_WORKERS}"),
            );
            check.add(format!("{here}.{name}.workers"), words);
        }
    };
    if let Some(cpu) = &spec.stressors.cpu {
        workers(check, "cpu", cpu.workers);
        if let Some(load) = cpu.load.filter(|load| *load > 100) {
            let words = Words::new(
                format!("{load} ではなく 0〜100 (パーセント) にしてください"),
                format!("{load} must be a percentage, 0 to 100"),
            );
            check.add(format!("{here}.cpu.load"), words);
        }
    }
    if let Some(memory) = &spec.stressors.memory {
        workers(check, "memory", memory.workers);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::problems;

    #[test]
    fn stressors_are_checked() {
        for (spec, words) in [
            (
                json!({"stressors": {"cpu": {"workers": 1, "load": 50}, "memory": {"workers": 2, "size": "50%"}}}),
                "",
            ),
            (
                json!({"stressors": {"cpu": {"workers": 1}}, "containerNames": ["a"]}),
                "",
            ),
            (
                json!({"stressngStressors": "--vm 1", "stressors": {"cpu": {"workers": 1}}}),
                "spec.stressngStressors: ",
            ),
            (json!({"stressors": {}}), "neither cpu nor memory"),
            (
                json!({"stressors": {"cpu": {"workers": 0}}}),
                "spec.stressors.cpu.workers: ",
            ),
            (
                json!({"stressors": {"cpu": {"workers": 1, "load": 101}}}),
                "spec.stressors.cpu.load: ",
            ),
            (
                json!({"stressors": {"cpu": {"workers": 1, "options": ["-x"]}}}),
                "spec.stressors.cpu.options: ",
            ),
            (
                json!({"stressors": {"memory": {"workers": 1, "size": "much"}}}),
                "spec.stressors.memory.size: ",
            ),
            (
                json!({"stressors": {"memory": {"workers": 1}}}),
                "spec.stressors.memory.size: is missing",
            ),
        ] {
            let mut spec = spec;
            spec["selector"] = json!({});
            spec["mode"] = json!("one");
            let found = problems("StressChaos", &json!({"spec": spec}));
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.is_empty(), words.is_empty(), "{spec}: {found:?}");
            assert!(
                found.join("; ").contains(words),
                "{spec}: {found:?} does not say {words}"
            );
        }
    }
}
