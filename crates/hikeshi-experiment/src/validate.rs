//! A spec against its table, every mistake with its place.

use hikeshi_scenario::problem::nearest;

use crate::api::Problem;
use crate::duration;
use crate::node::{Is, Node, Place};
use crate::schema::{EXPRESSION, Field, Shape, embedded, fields};

/// Gathers what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub Vec<Problem>);

impl Findings {
    pub fn say(&mut self, at: Place, path: &str, message: impl Into<String>) {
        self.suggest(at, path, message, None);
    }

    pub fn suggest(&mut self, at: Place, path: &str, message: impl Into<String>, meant: Option<&str>) {
        self.0.push(Problem {
            line: at.0,
            column: at.1,
            path: path.to_owned(),
            message: message.into(),
            suggestion: meant.map(str::to_owned),
        });
    }
}

/// Checks the spec of `kind` at `path`.
pub(crate) fn spec(kind: &str, node: &Node, path: &str, found: &mut Findings) {
    let Some(table) = fields(kind) else { return };
    object(table, node, path, found);
    match kind {
        "HTTPChaos" => http(node, path, found),
        "NetworkChaos" => network(node, path, found),
        "PodChaos" => pod(node, path, found),
        "StressChaos" => stress(node, path, found),
        "Schedule" => schedule(node, path, found),
        "Workflow" => workflow(node, path, found),
        _ => {}
    }
    modes(node, path, found);
    if let Some(target) = node.get("target").filter(|_| kind == "NetworkChaos") {
        modes(target, &format!("{path}.target"), found);
    }
}

fn object(table: &[Field], node: &Node, path: &str, found: &mut Findings) {
    let Is::Map(entries) = &node.is else {
        return found.say(node.at, path, format!("must be a mapping, not {}", node.kind()));
    };
    for (key, at, value) in entries {
        let here = format!("{path}.{key}");
        match table.iter().find(|field| field.name == key) {
            None => {
                let names = table.iter().map(|field| field.name);
                found.suggest(*at, &here, format!("unknown field `{key}`"), nearest(key, names));
            }
            // A null or an empty text is Go's zero value: a field that was not given.
            Some(_) if value.is == Is::Nothing => {}
            Some(field) => shape(field.shape, value, *at, &here, found),
        }
    }
    for field in table.iter().filter(|field| field.needed) {
        if entries
            .iter()
            .all(|(key, _, value)| key != field.name || value.is == Is::Nothing)
        {
            found.say(
                node.at,
                &format!("{path}.{}", field.name),
                format!("`{}` is missing here", field.name),
            );
        }
    }
}

fn shape(shape: Shape, node: &Node, key: Place, path: &str, found: &mut Findings) {
    let mut wrong = |must: &str| found.say(node.at, path, format!("must be {must}, not {}", told(node)));
    let text = node.text();
    match shape {
        Shape::Refused(why) => found.say(key, path, format!("cannot be honoured here: {why}")),
        Shape::Text if text.is_none() => wrong(match node.is {
            Is::Number(_) | Is::Flag(_) => "a text: put it in quotes",
            _ => "a text",
        }),
        Shape::Choice(words) => match text {
            Some(text) if words.contains(&text) || text.is_empty() => {}
            Some(text) => {
                let message = format!("must be one of {}, not `{text}`", words.join(", "));
                found.suggest(node.at, path, message, nearest(text, words.iter().copied()));
            }
            None => wrong(&format!("one of {}", words.join(", "))),
        },
        Shape::Duration
            if !text.is_some_and(|t| t.is_empty() || duration::seconds(t).is_some_and(|s| s >= 0.0)) =>
        {
            wrong("a duration such as 300ms, 40s or 1h30m");
        }
        Shape::Offset if text.is_none_or(|t| duration::seconds(t).is_none()) => {
            wrong("an offset such as -10m or 1h30m");
        }
        Shape::Port if !whole(node).is_some_and(|n| (1..=65_535).contains(&n)) => wrong("a port, 1 to 65535"),
        Shape::Status if !whole(node).is_some_and(|n| (100..=599).contains(&n)) => {
            wrong("an HTTP status, 100 to 599")
        }
        Shape::Whole if whole(node).is_none() => wrong("a whole number that is not negative"),
        Shape::Flag if !matches!(node.is, Is::Flag(_)) => wrong("true or false"),
        Shape::Percent
            if !text.is_some_and(|t| t.parse::<f64>().is_ok_and(|n| (0.0..=100.0).contains(&n))) =>
        {
            wrong("a percentage as text, \"0\" to \"100\"");
        }
        Shape::Rate if !text.is_some_and(is_rate) => wrong("a rate such as 1mbps or 512kbit"),
        Shape::Size if !text.is_some_and(is_size) => wrong("a size such as 256MB or 50%"),
        Shape::Texts => texts(node, path, found),
        Shape::TextMap => map(node, path, found, |value, path, found| {
            if value.text().is_none() {
                found.say(
                    value.at,
                    path,
                    format!("must be a text: put it in quotes, not {}", told(value)),
                );
            }
        }),
        Shape::PodLists => map(node, path, found, texts),
        Shape::Pairs => list(node, path, found, |value, path, found| {
            let two = matches!(&value.is, Is::List(pair) if pair.len() == 2 && pair.iter().all(|n| n.text().is_some()));
            if !two {
                found.say(value.at, path, "must be a pair of texts: [name, value]");
            }
        }),
        Shape::Expressions => list(node, path, found, |value, path, found| {
            object(EXPRESSION, value, path, found)
        }),
        Shape::Container if !matches!(node.is, Is::Map(_)) => wrong("a container: name, image, command"),
        Shape::Object(table) => object(table, node, path, found),
        Shape::Objects(table) => list(node, path, found, |value, path, found| {
            object(table, value, path, found)
        }),
        Shape::Spec(kind) => spec(kind, node, path, found),
        _ => {}
    }
}

fn told(node: &Node) -> String {
    match &node.is {
        Is::Text(text) => format!("`{text}`"),
        Is::Number(number) => format!("the number {number}"),
        Is::Flag(flag) => flag.to_string(),
        _ => node.kind().to_owned(),
    }
}

fn whole(node: &Node) -> Option<u64> {
    match &node.is {
        Is::Number(number) => number.as_u64(),
        _ => None,
    }
}

fn is_rate(text: &str) -> bool {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let units = [
        "bit", "kbit", "mbit", "gbit", "tbit", "bps", "kbps", "mbps", "gbps", "tbps",
    ];
    text[..end].parse::<f64>().is_ok() && units.contains(&text[end..].to_ascii_lowercase().trim())
}

fn is_size(text: &str) -> bool {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let unit = text[end..].trim().to_ascii_uppercase();
    let units = ["", "B", "K", "KB", "KIB", "M", "MB", "MIB", "G", "GB", "GIB", "%"];
    text[..end].parse::<f64>().is_ok() && units.contains(&unit.as_str())
}

fn texts(node: &Node, path: &str, found: &mut Findings) {
    list(node, path, found, |value, path, found| {
        if value.text().is_none() {
            found.say(value.at, path, format!("must be a text, not {}", told(value)));
        }
    });
}

fn list(node: &Node, path: &str, found: &mut Findings, each: impl Fn(&Node, &str, &mut Findings)) {
    match &node.is {
        Is::List(items) => {
            for (index, item) in items.iter().enumerate() {
                each(item, &format!("{path}[{index}]"), found);
            }
        }
        _ => found.say(node.at, path, format!("must be a list, not {}", told(node))),
    }
}

fn map(node: &Node, path: &str, found: &mut Findings, each: impl Fn(&Node, &str, &mut Findings)) {
    match &node.is {
        Is::Map(entries) => {
            for (key, _, value) in entries {
                each(value, &format!("{path}.{key}"), found);
            }
        }
        _ => found.say(node.at, path, format!("must be a mapping, not {}", told(node))),
    }
}

fn given(node: &Node, name: &str) -> bool {
    node.get(name)
        .is_some_and(|value| !matches!(&value.is, Is::Nothing | Is::Flag(false)) && value.text() != Some(""))
}

/// `value` belongs to the modes that count.
fn modes(node: &Node, path: &str, found: &mut Findings) {
    let Some(mode) = node.get("mode").and_then(Node::text) else {
        return;
    };
    let value = node.get("value").filter(|_| given(node, "value"));
    let number = value
        .and_then(Node::text)
        .and_then(|text| text.parse::<u32>().ok());
    let (at, here) = (value.map_or(node.at, |value| value.at), format!("{path}.value"));
    match mode {
        "fixed" if number.is_none() => {
            found.say(at, &here, "mode `fixed` needs `value`: how many pods, e.g. \"2\"")
        }
        "fixed-percent" | "random-max-percent" if number.is_none_or(|n| n > 100) => {
            found.say(
                at,
                &here,
                format!("mode `{mode}` needs `value`: a percentage, e.g. \"50\""),
            );
        }
        "one" | "all" if value.is_some() => found.say(
            at,
            &here,
            format!("mode `{mode}` takes no `value`: leave it out, or use `fixed` or `fixed-percent`"),
        ),
        _ => {}
    }
}

fn http(node: &Node, path: &str, found: &mut Findings) {
    if !["abort", "delay", "replace", "patch"]
        .iter()
        .any(|name| given(node, name))
    {
        found.say(
            node.at,
            path,
            "does nothing: give it one of abort, delay, replace, patch",
        );
    }
}

fn network(node: &Node, path: &str, found: &mut Findings) {
    let Some(action) = node.get("action").and_then(Node::text) else {
        return;
    };
    let own = ["delay", "loss", "duplicate", "corrupt", "bandwidth", "rate"];
    if own.contains(&action) && !given(node, action) {
        found.say(
            node.at,
            &format!("{path}.{action}"),
            format!("action `{action}` needs `{action}`"),
        );
    }
    if action == "netem" && !own.iter().any(|name| given(node, name)) {
        found.say(
            node.at,
            path,
            format!("action `netem` needs one of {}", own.join(", ")),
        );
    }
    for name in own
        .iter()
        .filter(|name| action != "netem" && **name != action && given(node, name))
    {
        let at = node.entry(name).map_or(node.at, |(at, _)| at);
        found.say(
            at,
            &format!("{path}.{name}"),
            format!("is not read with action `{action}`: use `netem`"),
        );
    }
}

fn pod(node: &Node, path: &str, found: &mut Findings) {
    let action = node.get("action").and_then(Node::text);
    let names = node
        .entry("containerNames")
        .filter(|_| given(node, "containerNames"));
    match (action, names) {
        (Some("container-kill"), None) => found.say(
            node.at,
            &format!("{path}.containerNames"),
            "action `container-kill` needs `containerNames`",
        ),
        (Some("pod-kill"), Some((at, _))) => found.say(
            at,
            &format!("{path}.containerNames"),
            "is not read with action `pod-kill`: use `container-kill`",
        ),
        _ => {}
    }
}

fn stress(node: &Node, path: &str, found: &mut Findings) {
    let stressors = node.get("stressors");
    if !stressors.is_some_and(|it| given(it, "cpu") || given(it, "memory"))
        && !given(node, "stressngStressors")
    {
        found.say(node.at, &format!("{path}.stressors"), "give it `cpu` or `memory`");
    }
}

fn schedule(node: &Node, path: &str, found: &mut Findings) {
    embeds(node, "type", path, found);
    if let Some(cron) = node.get("schedule")
        && let Some(text) = cron.text()
        && !is_cron(text)
    {
        found.say(
            cron.at,
            &format!("{path}.schedule"),
            format!("must be a cron line such as `*/5 * * * *` or `@every 90s`, not `{text}`"),
        );
    }
}

fn is_cron(text: &str) -> bool {
    if let Some(every) = text.strip_prefix("@every ") {
        return duration::seconds(every.trim()).is_some_and(|seconds| seconds > 0.0);
    }
    if text.starts_with('@') {
        return [
            "@yearly",
            "@annually",
            "@monthly",
            "@weekly",
            "@daily",
            "@midnight",
            "@hourly",
        ]
        .contains(&text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let plain = |field: &&str| {
        field
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "*/,-?".contains(c))
    };
    fields.len() == 5 && fields.iter().all(plain)
}

/// The spec of the kind that `said` names must be there.
fn embeds(node: &Node, said: &str, path: &str, found: &mut Findings) {
    let kind = node.get(said).and_then(Node::text).unwrap_or_default();
    if let Some(field) = embedded(kind)
        && !given(node, field)
    {
        found.say(
            node.at,
            &format!("{path}.{field}"),
            format!("{said} `{kind}` needs `{field}`"),
        );
    }
}

fn workflow(node: &Node, path: &str, found: &mut Findings) {
    let Some(Is::List(templates)) = node.get("templates").map(|templates| &templates.is) else {
        return;
    };
    let names: Vec<&str> = templates.iter().filter_map(|t| t.get("name")?.text()).collect();
    let known = |name: &Node, path: &str, found: &mut Findings| {
        if let Some(text) = name.text().filter(|text| !names.contains(text)) {
            let meant = nearest(text, names.iter().copied());
            found.suggest(name.at, path, format!("no template is called `{text}`"), meant);
        }
    };
    if let Some(entry) = node.get("entry") {
        known(entry, &format!("{path}.entry"), found);
    }
    for (index, template) in templates.iter().enumerate() {
        let here = format!("{path}.templates[{index}]");
        embeds(template, "templateType", &here, found);
        if let Some(Is::List(children)) = template.get("children").map(|children| &children.is) {
            for (child, node) in children.iter().enumerate() {
                known(node, &format!("{here}.children[{child}]"), found);
            }
        }
    }
}
