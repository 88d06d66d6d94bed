//! Chaos Mesh's v1alpha1 specs as tables: which fields there are, what each may hold, which cannot be honoured here.

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Go's duration, not negative.
    Duration,
    /// Go's duration, with a sign.
    Offset,
    Port,
    /// An HTTP status.
    Status,
    /// A whole number, not negative.
    Whole,
    Flag,
    /// A number from 0 to 100 as text, e.g. `"1.5"`.
    Percent,
    /// `1mbps`.
    Rate,
    /// Bytes with a unit, `256MB`, or a percentage.
    Size,
    Texts,
    /// Names to texts.
    TextMap,
    /// Namespaces to lists of pod names.
    PodLists,
    /// Pairs of texts.
    Pairs,
    Expressions,
    /// Kubernetes' own type: its fields are the API server's to check.
    Container,
    Object(&'static [Field]),
    Objects(&'static [Field]),
    /// The spec of another chaos kind, one per field.
    Spec(&'static str),
    /// Known to Chaos Mesh, but not to be had here: why.
    Refused(&'static str),
}

/// A field of a mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub needed: bool,
}

const fn may(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        needed: false,
    }
}

const fn must(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        needed: true,
    }
}

const MODES: &[&str] = &["one", "all", "fixed", "fixed-percent", "random-max-percent"];
const NO_REMOTE: Shape = Shape::Refused("there is one cluster");

const SELECTOR: &[Field] = &[
    may("namespaces", Shape::Texts),
    may("labelSelectors", Shape::TextMap),
    may("expressionSelectors", Shape::Expressions),
    may("annotationSelectors", Shape::TextMap),
    may("fieldSelectors", Shape::TextMap),
    may("nodes", Shape::Texts),
    may("nodeSelectors", Shape::TextMap),
    may("pods", Shape::PodLists),
    may("podPhaseSelectors", Shape::Texts),
];

const TARGET: &[Field] = &[
    must("selector", Shape::Object(SELECTOR)),
    must("mode", Shape::Choice(MODES)),
    may("value", Shape::Text),
];

/// A field of an expression selector.
pub(crate) const EXPRESSION: &[Field] = &[
    must("key", Shape::Text),
    must(
        "operator",
        Shape::Choice(&["In", "NotIn", "Exists", "DoesNotExist"]),
    ),
    may("values", Shape::Texts),
];

const HTTP: &[Field] = &[
    must("selector", Shape::Object(SELECTOR)),
    must("mode", Shape::Choice(MODES)),
    may("value", Shape::Text),
    must("target", Shape::Choice(&["Request", "Response"])),
    must("port", Shape::Port),
    may("path", Shape::Text),
    may("method", Shape::Text),
    may("code", Shape::Status),
    may("request_headers", Shape::TextMap),
    may("response_headers", Shape::TextMap),
    may("abort", Shape::Flag),
    may("delay", Shape::Duration),
    may(
        "replace",
        Shape::Object(&[
            may("path", Shape::Text),
            may("method", Shape::Text),
            may("code", Shape::Status),
            may("body", Shape::Text),
            may("queries", Shape::TextMap),
            may("headers", Shape::TextMap),
        ]),
    ),
    may(
        "patch",
        Shape::Object(&[
            may(
                "body",
                Shape::Object(&[must("type", Shape::Choice(&["JSON"])), must("value", Shape::Text)]),
            ),
            may("queries", Shape::Pairs),
            may("headers", Shape::Pairs),
        ]),
    ),
    may("duration", Shape::Duration),
    may(
        "tls",
        Shape::Refused("traffic between pods is read as plain HTTP here"),
    ),
    may("remoteCluster", NO_REMOTE),
];

const NETWORK: &[Field] = &[
    must("selector", Shape::Object(SELECTOR)),
    must("mode", Shape::Choice(MODES)),
    may("value", Shape::Text),
    must(
        "action",
        Shape::Choice(&[
            "netem",
            "delay",
            "loss",
            "duplicate",
            "corrupt",
            "partition",
            "bandwidth",
            "rate",
        ]),
    ),
    may("direction", Shape::Choice(&["to", "from", "both"])),
    may("target", Shape::Object(TARGET)),
    may("externalTargets", Shape::Texts),
    may(
        "delay",
        Shape::Object(&[
            must("latency", Shape::Duration),
            may("jitter", Shape::Duration),
            may("correlation", Shape::Percent),
            may("reorder", Shape::Refused("TCP hides reordering from programs")),
        ]),
    ),
    may(
        "loss",
        Shape::Object(&[must("loss", Shape::Percent), may("correlation", Shape::Percent)]),
    ),
    may(
        "duplicate",
        Shape::Object(&[
            must("duplicate", Shape::Percent),
            may("correlation", Shape::Percent),
        ]),
    ),
    may(
        "corrupt",
        Shape::Object(&[
            must("corrupt", Shape::Percent),
            may("correlation", Shape::Percent),
        ]),
    ),
    may(
        "bandwidth",
        Shape::Object(&[
            must("rate", Shape::Rate),
            may("limit", Shape::Whole),
            may("buffer", Shape::Whole),
            may("peakrate", Shape::Whole),
            may("minburst", Shape::Whole),
        ]),
    ),
    may("rate", Shape::Object(&[must("rate", Shape::Rate)])),
    may("duration", Shape::Duration),
    may("device", Shape::Refused("a pod has one network here")),
    may("targetDevice", Shape::Refused("a pod has one network here")),
    may("remoteCluster", NO_REMOTE),
];

const POD: &[Field] = &[
    must("selector", Shape::Object(SELECTOR)),
    must("mode", Shape::Choice(MODES)),
    may("value", Shape::Text),
    must(
        "action",
        Shape::Choice(&["pod-kill", "pod-failure", "container-kill"]),
    ),
    may("gracePeriod", Shape::Whole),
    may("containerNames", Shape::Texts),
    may("duration", Shape::Duration),
    may("remoteCluster", NO_REMOTE),
];

const STRESS: &[Field] = &[
    must("selector", Shape::Object(SELECTOR)),
    must("mode", Shape::Choice(MODES)),
    may("value", Shape::Text),
    may(
        "stressors",
        Shape::Object(&[
            may(
                "cpu",
                Shape::Object(&[
                    must("workers", Shape::Whole),
                    may("load", Shape::Whole),
                    may(
                        "options",
                        Shape::Refused("the stress is Hikeshi's own, not stress-ng's"),
                    ),
                ]),
            ),
            may(
                "memory",
                Shape::Object(&[
                    must("workers", Shape::Whole),
                    may("size", Shape::Size),
                    may(
                        "oomScoreAdj",
                        Shape::Refused("the pod's own limit decides who is killed"),
                    ),
                    may(
                        "options",
                        Shape::Refused("the stress is Hikeshi's own, not stress-ng's"),
                    ),
                ]),
            ),
        ]),
    ),
    may(
        "stressngStressors",
        Shape::Refused("the stress is Hikeshi's own, not stress-ng's"),
    ),
    may("containerNames", Shape::Texts),
    may("duration", Shape::Duration),
    may("remoteCluster", NO_REMOTE),
];

const TIME: &[Field] = &[
    must("selector", Shape::Object(SELECTOR)),
    must("mode", Shape::Choice(MODES)),
    may("value", Shape::Text),
    must("timeOffset", Shape::Offset),
    may("clockIds", Shape::Texts),
    may("containerNames", Shape::Texts),
    may("duration", Shape::Duration),
    may("remoteCluster", NO_REMOTE),
];

const SCHEDULE: &[Field] = &[
    must("schedule", Shape::Text),
    may("startingDeadlineSeconds", Shape::Whole),
    may("concurrencyPolicy", Shape::Choice(&["Forbid", "Allow"])),
    may("historyLimit", Shape::Whole),
    must(
        "type",
        Shape::Choice(&[
            "HTTPChaos",
            "NetworkChaos",
            "PodChaos",
            "StressChaos",
            "TimeChaos",
        ]),
    ),
    may("httpChaos", Shape::Spec("HTTPChaos")),
    may("networkChaos", Shape::Spec("NetworkChaos")),
    may("podChaos", Shape::Spec("PodChaos")),
    may("stressChaos", Shape::Spec("StressChaos")),
    may("timeChaos", Shape::Spec("TimeChaos")),
];

const TEMPLATE: &[Field] = &[
    must("name", Shape::Text),
    must(
        "templateType",
        Shape::Choice(&[
            "Task",
            "Serial",
            "Parallel",
            "Suspend",
            "Schedule",
            "StatusCheck",
            "HTTPChaos",
            "NetworkChaos",
            "PodChaos",
            "StressChaos",
            "TimeChaos",
        ]),
    ),
    may("deadline", Shape::Duration),
    may("children", Shape::Texts),
    may("httpChaos", Shape::Spec("HTTPChaos")),
    may("networkChaos", Shape::Spec("NetworkChaos")),
    may("podChaos", Shape::Spec("PodChaos")),
    may("stressChaos", Shape::Spec("StressChaos")),
    may("timeChaos", Shape::Spec("TimeChaos")),
    may("schedule", Shape::Spec("Schedule")),
    may("abortWithStatusCheck", Shape::Flag),
    may(
        "conditionalBranches",
        Shape::Objects(&[must("target", Shape::Text), may("expression", Shape::Text)]),
    ),
    may("task", Shape::Object(&[must("container", Shape::Container)])),
    may(
        "statusCheck",
        Shape::Object(&[
            may("mode", Shape::Choice(&["Synchronous", "Continuous"])),
            must("type", Shape::Choice(&["HTTP"])),
            may("duration", Shape::Duration),
            may("timeoutSeconds", Shape::Whole),
            may("intervalSeconds", Shape::Whole),
            may("failureThreshold", Shape::Whole),
            may("successThreshold", Shape::Whole),
            may("recordsHistoryLimit", Shape::Whole),
            must(
                "http",
                Shape::Object(&[
                    must("url", Shape::Text),
                    may("method", Shape::Choice(&["GET", "POST"])),
                    may("body", Shape::Text),
                    must("criteria", Shape::Object(&[must("statusCode", Shape::Text)])),
                ]),
            ),
        ]),
    ),
];

const WORKFLOW: &[Field] = &[
    must("entry", Shape::Text),
    must("templates", Shape::Objects(TEMPLATE)),
];

/// The kinds of an experiment, and the fields of their specs.
pub(crate) const KINDS: [(&str, &[Field]); 7] = [
    ("HTTPChaos", HTTP),
    ("NetworkChaos", NETWORK),
    ("PodChaos", POD),
    ("StressChaos", STRESS),
    ("TimeChaos", TIME),
    ("Schedule", SCHEDULE),
    ("Workflow", WORKFLOW),
];

/// The fields of a kind's spec.
pub(crate) fn fields(kind: &str) -> Option<&'static [Field]> {
    KINDS
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, fields)| *fields)
}

/// `HTTPChaos` is embedded as `httpChaos`.
pub(crate) fn embedded(kind: &str) -> Option<&'static str> {
    [
        ("HTTPChaos", "httpChaos"),
        ("NetworkChaos", "networkChaos"),
        ("PodChaos", "podChaos"),
        ("StressChaos", "stressChaos"),
        ("TimeChaos", "timeChaos"),
        ("Schedule", "schedule"),
    ]
    .into_iter()
    .find_map(|(name, field)| (name == kind).then_some(field))
}

/// The plural under which the Kubernetes API serves a kind.
pub fn plural(kind: &str) -> String {
    match kind {
        // Chaos Mesh's plurals are its kinds in small letters, but for these two.
        "Schedule" => "schedules".to_owned(),
        "Workflow" => "workflows".to_owned(),
        chaos => chaos.to_lowercase(),
    }
}
