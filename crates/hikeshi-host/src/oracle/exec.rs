//! Runs a program inside a pod, as `kubectl exec -i` does.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, AttachParams, ListParams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(15);

/// What it printed on standard output, and whether it said it succeeded.
pub(super) struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub success: bool,
}

/// Runs `argv` in the first running pod of `namespace` with `selector`, giving it `input`.
pub(super) async fn exec(
    client: &kube::Client,
    namespace: &str,
    selector: &str,
    argv: &[&str],
    input: Option<&str>,
) -> Result<Ran, String> {
    let said = |error: kube::Error| format!("running {}: {error}", argv[0]);
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let list = pods
        .list(&ListParams::default().labels(selector))
        .await
        .map_err(said)?;
    let running = |pod: &&Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    let pod = list
        .items
        .iter()
        .find(running)
        .ok_or_else(|| format!("no running pod of {selector} to run {} in", argv[0]))?;
    let params = AttachParams::default()
        .stdin(input.is_some())
        .stdout(true)
        .stderr(true);
    let work = async {
        let mut attached = pods
            .exec(&pod.name_any(), argv.iter().copied(), &params)
            .await
            .map_err(said)?;
        if let (Some(input), Some(mut stdin)) = (input, attached.stdin()) {
            stdin
                .write_all(input.as_bytes())
                .await
                .map_err(|error| format!("writing to {}: {error}", argv[0]))?;
            stdin
                .shutdown()
                .await
                .map_err(|error| format!("writing to {}: {error}", argv[0]))?;
        }
        let (mut out, mut err) = (attached.stdout(), attached.stderr());
        let status = attached.take_status();
        let (stdout, stderr) = tokio::join!(text(out.as_mut()), text(err.as_mut()));
        let success = match status {
            Some(status) => status
                .await
                .is_some_and(|status| status.status.as_deref() == Some("Success")),
            None => false,
        };
        Ok(Ran {
            stdout,
            stderr,
            success,
        })
    };
    tokio::time::timeout(LIMIT, work).await.map_err(|_| {
        format!(
            "{} in {} took longer than {} s",
            argv[0],
            pod.name_any(),
            LIMIT.as_secs()
        )
    })?
}

async fn text(stream: Option<&mut (impl tokio::io::AsyncRead + Unpin)>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // A stream that breaks off has been read as far as it goes.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
