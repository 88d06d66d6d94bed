//! What a program does that is run inside a pod.

/// Whether a program run inside a pod changes something. Unknown programs count as reading: most of what is run in a
/// drill looks, and what changes through the API is seen by the audit anyway.
pub(super) fn inner_mutates(inner: &[String]) -> bool {
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
