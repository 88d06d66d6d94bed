//! What a seat may ask of kubectl. The API server decides what the seat's identity may do; this only keeps the program
//! from taking another identity, from the host's files, and from waiting for a terminal nobody sits at.

use super::{CommandLineError, ConsoleCommand};
use crate::api::Text;

/// Subcommands of kubectl itself. Others would run a `kubectl-NAME` program of the host.
const SUBCOMMANDS: &[&str] = &[
    "get",
    "describe",
    "logs",
    "top",
    "scale",
    "delete",
    "rollout",
    "apply",
    "set",
    "exec",
    "wait",
    "patch",
    "label",
    "annotate",
    "explain",
    "api-resources",
    "api-versions",
    "cordon",
    "uncordon",
    "drain",
    "taint",
    "create",
    "expose",
    "autoscale",
    "run",
    "auth",
    "events",
    "version",
    "cluster-info",
    "replace",
    "diff",
    "options",
    "help",
];

/// What `create` itself makes; other words would run a `kubectl-create-NAME` program of the host.
const CREATABLE: &[&str] = &[
    "clusterrole",
    "clusterrolebinding",
    "configmap",
    "cm",
    "cronjob",
    "cj",
    "deployment",
    "deploy",
    "ingress",
    "ing",
    "job",
    "namespace",
    "ns",
    "poddisruptionbudget",
    "pdb",
    "priorityclass",
    "pc",
    "quota",
    "resourcequota",
    "role",
    "rolebinding",
    "secret",
    "service",
    "svc",
    "serviceaccount",
    "sa",
    "token",
];

const IDENTITY: &[&str] = &[
    "kubeconfig",
    "as",
    "as-group",
    "as-uid",
    "as-user-extra",
    "server",
    "token",
    "user",
    "username",
    "password",
    "context",
    "cluster",
    "client-certificate",
    "client-key",
    "certificate-authority",
    "insecure-skip-tls-verify",
    "tls-server-name",
    "kuberc",
];

const HOST_FILES: &[&str] = &[
    "filename",
    "kustomize",
    "from-file",
    "from-env-file",
    "env-file",
    "patch-file",
    "output-directory",
    "cache-dir",
    "profile",
    "profile-output",
    "log-file",
    "log-dir",
    "cert",
    "key",
];

/// Long flags whose value is the next word.
const VALUED: &[&str] = &[
    "namespace",
    "request-timeout",
    "selector",
    "output",
    "container",
    "v",
    "vmodule",
];

/// Checks arguments (without `kubectl` itself).
pub(super) fn check(args: Vec<String>) -> Result<ConsoleCommand, CommandLineError> {
    let before = args.iter().position(|a| a == "--").unwrap_or(args.len());
    let (own, inner) = args.split_at(before);
    let positional = positional(own);
    let Some(&verb) = positional.first() else {
        // `kubectl`, `kubectl --help`
        check_flags(own, "help")?;
        return Ok(ConsoleCommand {
            args,
            mutating: false,
            follows: false,
        });
    };
    check_verb(verb, &positional)?;
    check_flags(own, verb)?;
    if verb == "exec" && inner.len() < 2 {
        return Err(refused(
            "kubectl exec: say what to run after --, for example: kubectl exec POD -- ps aux",
            "kubectl exec: 実行するものを -- のあとに書いてください。例: kubectl exec POD -- ps aux",
        ));
    }
    let mutating = mutating(
        verb,
        positional.get(1).copied(),
        own,
        inner.get(1..).unwrap_or_default(),
    );
    let follows = follows(verb, own);
    Ok(ConsoleCommand {
        args,
        mutating,
        follows,
    })
}

fn refused(en: impl Into<String>, ja: impl Into<String>) -> CommandLineError {
    CommandLineError::Refused(Text {
        en: en.into(),
        ja: ja.into(),
    })
}

fn check_verb(verb: &str, positional: &[&str]) -> Result<(), CommandLineError> {
    match verb {
        "edit" => Err(refused(
            "kubectl edit opens an editor, and there is no terminal here: use kubectl set or kubectl patch.",
            "kubectl edit はエディタを開きますが、ここに端末はありません。kubectl set か kubectl patch を使ってください。",
        )),
        "cp" => Err(refused(
            "kubectl cp reads and writes files of the host: use kubectl exec POD -- cat FILE to read one.",
            "kubectl cp はホストのファイルを読み書きします。読むだけなら kubectl exec POD -- cat FILE を使ってください。",
        )),
        "proxy" | "port-forward" => Err(refused(
            format!(
                "kubectl {verb} opens a port on the host: use kubectl exec POD -- curl URL, or the tabs for \
                 Prometheus, Alertmanager and the app."
            ),
            format!(
                "kubectl {verb} はホストのポートを開きます。kubectl exec POD -- curl URL か、Prometheus、Alertmanager、\
                 アプリのタブを使ってください。"
            ),
        )),
        "attach" | "debug" => Err(refused(
            format!("kubectl {verb} needs a terminal: use kubectl exec POD -- PROGRAM."),
            format!("kubectl {verb} には端末が必要です。kubectl exec POD -- プログラム を使ってください。"),
        )),
        "config" => Err(refused(
            "kubectl config changes who you are; in the console you are your seat.",
            "kubectl config は身元を変えます。コンソールでは、あなたは自分の役割のままです。",
        )),
        "create" => match positional.get(1) {
            Some(what) if !CREATABLE.contains(what) => Err(refused(
                format!("kubectl create {what}: there is no such thing to create here."),
                format!("kubectl create {what}: そのようなものは作れません。"),
            )),
            _ => Ok(()),
        },
        verb if SUBCOMMANDS.contains(&verb) => Ok(()),
        verb => Err(refused(
            format!("kubectl {verb}: no such command here (plugins are not run)."),
            format!("kubectl {verb}: そのようなコマンドはありません（プラグインは実行しません）。"),
        )),
    }
}

fn check_flags(own: &[String], verb: &str) -> Result<(), CommandLineError> {
    for arg in own {
        if let Some(long) = arg.strip_prefix("--") {
            let name = long.split('=').next().unwrap_or(long).replace('_', "-");
            check_long(&name)?;
        } else if let Some(short) = arg.strip_prefix('-') {
            check_short(short, verb)?;
        }
        if arg.contains("-file=")
            && ["go-template", "jsonpath", "custom-columns"]
                .iter()
                .any(|f| arg.contains(f))
        {
            return Err(host_file(arg));
        }
    }
    Ok(())
}

fn check_long(name: &str) -> Result<(), CommandLineError> {
    if IDENTITY.contains(&name) {
        return Err(own_seat(&format!("--{name}")));
    }
    if HOST_FILES.contains(&name) {
        return Err(host_file(&format!("--{name}")));
    }
    if name == "edit" {
        return Err(refused(
            "--edit opens an editor, and there is no terminal here: use kubectl set or kubectl patch.",
            "--edit はエディタを開きますが、ここに端末はありません。kubectl set か kubectl patch を使ってください。",
        ));
    }
    Ok(())
}

fn own_seat(flag: &str) -> CommandLineError {
    refused(
        format!("{flag} is refused: in the console every command runs as your own seat."),
        format!("{flag} は使えません。コンソールのコマンドは、すべて自分の役割の権限で実行されます。"),
    )
}

fn host_file(flag: &str) -> CommandLineError {
    refused(
        format!(
            "{flag} is refused: the console has no files of its own. Use kubectl set, scale or patch -p, or your own \
             terminal with your seat's kubeconfig."
        ),
        format!(
            "{flag} は使えません。コンソールにはファイルがありません。kubectl set、scale、patch -p を使うか、\
             自分の端末で役割の kubeconfig を使ってください。"
        ),
    )
}

/// One group of short flags: those before the first that takes a value, and that one.
fn check_short(group: &str, verb: &str) -> Result<(), CommandLineError> {
    for c in group.chars() {
        match c {
            's' => {
                return Err(own_seat("-s"));
            }
            'k' => return Err(host_file("-k")),
            'f' if verb != "logs" => return Err(host_file("-f")),
            // Take the rest of the group, or the next word, as their value. `-p` takes one only in patch.
            'n' | 'l' | 'o' | 'c' | 'v' | 'L' | 'e' => return Ok(()),
            'p' if verb == "patch" => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// Words that are neither flags nor values of the flags that may come before the subcommand.
fn positional(own: &[String]) -> Vec<&str> {
    let mut found = Vec::new();
    let mut skip = false;
    for arg in own {
        if std::mem::take(&mut skip) {
            continue;
        }
        if let Some(long) = arg.strip_prefix("--") {
            skip = VALUED.contains(&long) || IDENTITY.contains(&long) && long != "insecure-skip-tls-verify";
        } else if let Some(short) = arg.strip_prefix('-') {
            skip = matches!(short, "n" | "l" | "o" | "c" | "v" | "L" | "s");
        } else {
            found.push(arg.as_str());
        }
    }
    found
}

fn follows(verb: &str, own: &[String]) -> bool {
    own.iter().any(|a| {
        matches!(
            a.as_str(),
            "--watch" | "--watch=true" | "--watch-only" | "--follow" | "--follow=true"
        ) || (a.starts_with('-') && !a.starts_with("--") && {
            let letters = a[1..].split(['n', 'l', 'o', 'c', 'v']).next().unwrap_or_default();
            letters.contains('w') || (verb == "logs" && letters.contains('f'))
        })
    })
}

fn mutating(verb: &str, object: Option<&str>, own: &[String], inner: &[String]) -> bool {
    if own
        .iter()
        .any(|a| a.starts_with("--dry-run") && a != "--dry-run=none")
    {
        return false;
    }
    match verb {
        "scale" | "delete" | "apply" | "patch" | "label" | "annotate" | "cordon" | "uncordon" | "drain"
        | "taint" | "create" | "expose" | "autoscale" | "run" | "replace" => true,
        "set" => !own.iter().any(|a| a == "--list"),
        "rollout" => matches!(object, Some("restart" | "undo" | "pause" | "resume")),
        "exec" => inner_mutates(inner),
        _ => false,
    }
}

/// Whether a program run inside a pod changes something. Unknown programs count as reading: most of what is run in a
/// drill looks, and what changes through the API is seen by the audit anyway.
fn inner_mutates(inner: &[String]) -> bool {
    let words: Vec<String> = inner.iter().map(|w| w.to_ascii_lowercase()).collect();
    let program = words.first().map_or("", |w| w.rsplit('/').next().unwrap_or(w));
    let has = |list: &[&str]| words.iter().skip(1).any(|w| list.contains(&w.as_str()));
    match program {
        "redis-cli" => {
            has(&[
                "set",
                "del",
                "unlink",
                "flushall",
                "flushdb",
                "expire",
                "rename",
                "lpush",
                "rpush",
                "ltrim",
                "sadd",
                "zadd",
                "hset",
                "shutdown",
                "kill",
                "failover",
                "setslot",
                "addslots",
                "delslots",
                "meet",
                "forget",
                "reset",
                "replicate",
                "replicaof",
                "debug",
                "rewrite",
                "fix",
                "rebalance",
                "reshard",
            ]) && !has(&["info"])
        }
        "psql" => words.iter().any(|w| {
            w.split(|c: char| !c.is_ascii_alphabetic() && c != '_').any(|t| {
                matches!(
                    t,
                    "insert"
                        | "update"
                        | "delete"
                        | "drop"
                        | "alter"
                        | "create"
                        | "truncate"
                        | "vacuum"
                        | "reindex"
                        | "pg_terminate_backend"
                        | "pg_cancel_backend"
                        | "pg_reload_conf"
                        | "pg_promote"
                )
            })
        }),
        "kill" | "pkill" | "killall" | "rm" | "mv" | "cp" | "touch" | "chmod" | "chown" | "renice" => true,
        "curl" => {
            words.windows(2).any(|w| {
                matches!(w[0].as_str(), "-x" | "--request")
                    && matches!(w[1].as_str(), "post" | "put" | "patch" | "delete")
            }) || has(&["-d", "--data", "--data-raw", "--json"])
        }
        _ => false,
    }
}
