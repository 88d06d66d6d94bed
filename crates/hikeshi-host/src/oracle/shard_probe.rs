//! A write and a read on every shard of the Redis Cluster, on new connections: a shard that is "ok" and refuses
//! clients fails here and nowhere else.

use super::exec::exec;

/// One key on each shard: the slots of `{b}`, `{c}`, `{a}` are 3300, 7365 and 15495 (CRC16 mod 16384).
const KEYS: [&str; 3] = ["hikeshi-probe:{b}", "hikeshi-probe:{c}", "hikeshi-probe:{a}"];

pub(super) async fn write_and_read(client: &kube::Client) -> Result<(), String> {
    let mark = format!("m{:016x}", fastrand::u64(..));
    let mut input = String::new();
    for key in KEYS {
        input.push_str(&format!("SET {key} {mark} EX 60\nGET {key}\n"));
    }
    // From a pod that is no Redis node, so that every connection is a new client's.
    let ran = exec(
        client,
        "chirpy",
        "app=postgres",
        &[
            "redis-cli",
            "-c",
            "-h",
            "redis-cluster-0.redis-cluster.chirpy.svc.cluster.local",
        ],
        Some(&input),
    )
    .await?;
    judge(&ran.stdout, &mark, &ran.stderr)
}

fn judge(stdout: &str, mark: &str, stderr: &str) -> Result<(), String> {
    let read = stdout.lines().filter(|line| line.contains(mark)).count();
    if read == KEYS.len() {
        return Ok(());
    }
    let said = stdout
        .lines()
        .chain(stderr.lines())
        .find(|line| line.contains("ERR") || line.contains("Error") || line.contains("rror:"));
    Err(format!(
        "write and read on each shard: {read} of {} shards answered{}",
        KEYS.len(),
        said.map_or_else(String::new, |said| format!(" ({})", said.trim()))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusing_shard_is_named_by_its_own_words() {
        let out = "OK\nm1\n-> Redirected\nOK\nm1\nERR max number of clients + cluster connections reached\n";
        let reason = judge(out, "m1", "").unwrap_err();
        assert!(
            reason.contains("2 of 3") && reason.contains("max number of clients"),
            "{reason}"
        );
        assert_eq!(judge("OK\nm1\nOK\nm1\nOK\nm1\n", "m1", ""), Ok(()));
    }
}
