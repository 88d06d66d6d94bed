//! The commands of kubectl that a seat may give, with every flag of each that it may use. What is not here is refused:
//! files of the host, other servers and identities have no flag in this file.

/// The words that name a command, `|` between those that mean the same, and its flags in groups: `l|long` stands
/// alone, `long=` takes a value (kubectl then takes the next word, too), `long?` takes one only after `=`.
pub(super) type Command = (&'static str, &'static [&'static str]);

const COMMON: &str = "n|namespace= request-timeout= v|v= h|help";
const ALL: &str = "A|all-namespaces";
const SELECT: &str = "l|selector=";
const PRINT: &str = "o|output= allow-missing-template-keys show-managed-fields";
const DRY: &str = "dry-run?";
const CHANGE: &str = "dry-run? field-manager=";
const MAKE: &str = "dry-run? field-manager= save-config validate?";

const COMMANDS: &[Command] = &[
    (
        "get",
        &[
            ALL,
            SELECT,
            PRINT,
            "w|watch watch-only output-watch-events L|label-columns= show-labels show-kind sort-by= no-headers \
             field-selector= chunk-size= ignore-not-found server-print subresource=",
        ],
    ),
    ("describe", &[ALL, SELECT, "chunk-size= show-events"]),
    (
        "logs",
        &[
            SELECT,
            "f|follow p|previous c|container= all-containers all-pods since= since-time= tail= timestamps prefix \
             limit-bytes= max-log-requests= ignore-errors pod-running-timeout=",
        ],
    ),
    (
        "top pod|pods|po",
        &[
            ALL,
            SELECT,
            "containers sort-by= sum no-headers field-selector= use-protocol-buffers",
        ],
    ),
    (
        "top node|nodes|no",
        &[SELECT, "sort-by= show-capacity no-headers use-protocol-buffers"],
    ),
    (
        "events",
        &[ALL, PRINT, "w|watch for= types= no-headers chunk-size="],
    ),
    ("explain", &["recursive api-version="]),
    (
        "api-resources",
        &["o|output= namespaced verbs= api-group= categories= sort-by= no-headers cached"],
    ),
    ("api-versions", &[]),
    ("auth can-i", &[ALL, "list q|quiet no-headers subresource="]),
    ("auth whoami", &[PRINT]),
    ("version", &["client o|output="]),
    ("cluster-info", &[]),
    ("options", &[]),
    ("help", &[]),
    ("rollout status", &[SELECT, "w|watch timeout= revision="]),
    ("rollout history", &[SELECT, PRINT, "revision="]),
    ("rollout restart", &[SELECT, PRINT, "field-manager="]),
    ("rollout undo", &[SELECT, PRINT, DRY, "to-revision="]),
    ("rollout pause", &[SELECT, PRINT, "field-manager="]),
    ("rollout resume", &[SELECT, PRINT, "field-manager="]),
    (
        "scale",
        &[
            SELECT,
            PRINT,
            DRY,
            "replicas= current-replicas= all resource-version= timeout=",
        ],
    ),
    (
        "set env",
        &[
            SELECT,
            PRINT,
            CHANGE,
            "e|env= c|containers= from= keys= prefix= list resolve overwrite all",
        ],
    ),
    ("set image", &[SELECT, PRINT, CHANGE, "all"]),
    (
        "set resources",
        &[SELECT, PRINT, CHANGE, "c|containers= limits= requests= all"],
    ),
    ("set selector", &[PRINT, CHANGE, "all resource-version="]),
    ("set serviceaccount|sa", &[PRINT, CHANGE, "all"]),
    (
        "set subject",
        &[SELECT, PRINT, CHANGE, "group= serviceaccount= all"],
    ),
    ("patch", &[PRINT, CHANGE, "p|patch= type= subresource="]),
    (
        "label",
        &[
            ALL,
            SELECT,
            PRINT,
            CHANGE,
            "list overwrite all field-selector= resource-version=",
        ],
    ),
    (
        "annotate",
        &[
            ALL,
            SELECT,
            PRINT,
            CHANGE,
            "list overwrite all field-selector= resource-version=",
        ],
    ),
    (
        "delete",
        &[
            ALL,
            SELECT,
            DRY,
            "o|output= all field-selector= grace-period= now force cascade? wait timeout= ignore-not-found",
        ],
    ),
    (
        "expose",
        &[
            PRINT,
            CHANGE,
            "port= target-port= protocol= name= type= selector= l|labels= cluster-ip= external-ip= \
             load-balancer-ip= session-affinity= overrides= override-type= save-config",
        ],
    ),
    (
        "autoscale",
        &[
            PRINT,
            CHANGE,
            "min= max= cpu-percent= cpu= memory= name= save-config",
        ],
    ),
    (
        "run",
        &[
            PRINT,
            CHANGE,
            "image= image-pull-policy= env= port= expose l|labels= annotations= restart= command privileged \
             overrides= override-type= i|stdin t|tty attach rm q|quiet pod-running-timeout= timeout= wait force \
             grace-period= cascade? save-config",
        ],
    ),
    ("cordon", &[SELECT, DRY]),
    ("uncordon", &[SELECT, DRY]),
    (
        "drain",
        &[
            SELECT,
            DRY,
            "ignore-daemonsets delete-emptydir-data force disable-eviction grace-period= pod-selector= timeout= \
             skip-wait-for-delete-timeout= chunk-size=",
        ],
    ),
    ("taint", &[SELECT, PRINT, CHANGE, "overwrite all validate?"]),
    ("wait", &[ALL, SELECT, PRINT, "for= timeout= all field-selector="]),
    (
        "exec",
        &["c|container= i|stdin t|tty q|quiet pod-running-timeout="],
    ),
    (
        "create clusterrole",
        &[
            PRINT,
            MAKE,
            "verb= resource= resource-name= non-resource-url= aggregation-rule=",
        ],
    ),
    (
        "create clusterrolebinding",
        &[PRINT, MAKE, "clusterrole= group= serviceaccount="],
    ),
    ("create configmap|cm", &[PRINT, MAKE, "from-literal= append-hash"]),
    ("create cronjob|cj", &[PRINT, MAKE, "image= schedule= restart="]),
    (
        "create deployment|deploy",
        &[PRINT, MAKE, "image= port= r|replicas="],
    ),
    (
        "create ingress|ing",
        &[PRINT, MAKE, "rule= class= annotation= default-backend="],
    ),
    ("create job", &[PRINT, MAKE, "image= from="]),
    ("create namespace|ns", &[PRINT, MAKE]),
    (
        "create poddisruptionbudget|pdb",
        &[PRINT, MAKE, "selector= min-available= max-unavailable="],
    ),
    (
        "create priorityclass|pc",
        &[
            PRINT,
            MAKE,
            "value= description= global-default preemption-policy=",
        ],
    ),
    ("create quota|resourcequota", &[PRINT, MAKE, "hard= scopes="]),
    ("create role", &[PRINT, MAKE, "verb= resource= resource-name="]),
    (
        "create rolebinding",
        &[PRINT, MAKE, "role= clusterrole= group= serviceaccount="],
    ),
    (
        "create secret generic",
        &[PRINT, MAKE, "from-literal= type= append-hash"],
    ),
    ("create service|svc clusterip", &[PRINT, MAKE, "tcp= clusterip="]),
    (
        "create service|svc externalname",
        &[PRINT, MAKE, "tcp= external-name="],
    ),
    ("create service|svc loadbalancer", &[PRINT, MAKE, "tcp="]),
    ("create service|svc nodeport", &[PRINT, MAKE, "tcp= node-port="]),
    ("create serviceaccount|sa", &[PRINT, MAKE]),
    (
        "create token",
        &[
            PRINT,
            "audience= duration= bound-object-kind= bound-object-name= bound-object-uid=",
        ],
    ),
];

/// What stands after a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Nothing,
    /// A value, after `=` or as the next word.
    Value,
    /// A value after `=`, or nothing. The next word is never its value.
    Perhaps,
}

/// One flag of one command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    pub long: &'static str,
    short: Option<char>,
    pub takes: Takes,
}

impl Flag {
    fn read(written: &'static str) -> Self {
        let (names, takes) = if let Some(names) = written.strip_suffix('=') {
            (names, Takes::Value)
        } else if let Some(names) = written.strip_suffix('?') {
            (names, Takes::Perhaps)
        } else {
            (written, Takes::Nothing)
        };
        match names.split_once('|') {
            Some((short, long)) => Self {
                long,
                short: short.chars().next(),
                takes,
            },
            None => Self {
                long: names,
                short: None,
                takes,
            },
        }
    }
}

/// Every flag of a command.
pub(super) fn flags(command: &Command) -> impl Iterator<Item = Flag> + use<> {
    let groups: &'static [&'static str] = command.1;
    groups
        .iter()
        .copied()
        .chain([COMMON])
        .flat_map(str::split_whitespace)
        .map(Flag::read)
}

pub(super) fn long(command: &Command, name: &str) -> Option<Flag> {
    flags(command).find(|flag| flag.long == name)
}

pub(super) fn short(command: &Command, letter: char) -> Option<Flag> {
    flags(command).find(|flag| flag.short == Some(letter))
}

/// How many of the first words are those of this path.
fn agrees(path: &str, line: &[String]) -> usize {
    path.split(' ')
        .zip(line)
        .take_while(|(names, word)| names.split('|').any(|name| name == word.as_str()))
        .count()
}

/// The command that a line begins with, and how many words name it. All of them come first, and together.
pub(super) fn find(line: &[String]) -> Option<(&'static Command, usize)> {
    COMMANDS
        .iter()
        .map(|command| (command, command.0.split(' ').count()))
        .find(|(command, words)| agrees(command.0, line) == *words)
}

/// For a line that names no command: how many of its first words begin one, and what may stand after those.
pub(super) fn beginning(line: &[String]) -> (usize, Vec<&'static str>) {
    let depth = COMMANDS
        .iter()
        .map(|(path, _)| agrees(path, line))
        .max()
        .unwrap_or_default();
    let mut next: Vec<&'static str> = COMMANDS
        .iter()
        .filter(|(path, _)| agrees(path, line) == depth)
        .filter_map(|(path, _)| path.split(' ').nth(depth)?.split('|').next())
        .collect();
    next.dedup();
    (depth, next)
}
