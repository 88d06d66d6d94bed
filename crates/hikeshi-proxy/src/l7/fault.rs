//! HTTP faults on one exchange.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, request, response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use tokio::time::Instant;

use crate::faults::{Aborted, ActiveFault, FaultBoard, HttpFault, HttpTarget, Patch};
use crate::timer::exact_sleep_until;

/// Bodies longer than this in bytes are not read into memory to be patched; they pass as they are.
const MOST_TO_PATCH: usize = 8 * 1024 * 1024;

/// The faults that hit one exchange, chosen by its request.
pub(super) struct Exchange {
    board: Arc<FaultBoard>,
    arrival: Instant,
    on_request: Vec<Arc<ActiveFault>>,
    on_response: Vec<Arc<ActiveFault>>,
}

/// What becomes of a body.
pub(super) enum NewBody<B> {
    Kept(B),
    Made(Bytes),
}

impl Exchange {
    /// Whether any of the faults could be about a request, as far as its first line says.
    pub fn may_hit(faults: &[Arc<ActiveFault>], method: &str, path: &str) -> bool {
        faults
            .iter()
            .any(|fault| fault.http().is_some_and(|http| http.matches.may(method, path)))
    }

    /// `faults` are those on this edge. Answers' faults are drawn when the answer is known.
    pub fn of(
        board: Arc<FaultBoard>,
        faults: &[Arc<ActiveFault>],
        parts: &request::Parts,
        arrival: Instant,
    ) -> Self {
        let matches = |fault: &&Arc<ActiveFault>| {
            fault.http().is_some_and(|http| {
                http.matches
                    .request(&parts.method, parts.uri.path(), &parts.headers)
            })
        };
        let matching = faults.iter().filter(matches).map(Arc::clone);
        let (on_request, on_response): (Vec<_>, Vec<_>) = matching.partition(|fault| {
            fault
                .http()
                .is_some_and(|http| http.target == HttpTarget::Request)
        });
        let on_request = on_request.into_iter().filter(|fault| drawn(fault)).collect();
        Self {
            board,
            arrival,
            on_request,
            on_response,
        }
    }

    pub fn touches_request(&self) -> bool {
        !self.on_request.is_empty()
    }

    pub fn touches_response(&self) -> bool {
        !self.on_response.is_empty()
    }

    /// Whether the request's own bytes change.
    pub fn edits_request(&self) -> bool {
        edits(&self.on_request)
    }

    pub async fn request<B>(&self, parts: &mut request::Parts, body: B) -> Result<NewBody<B>, Aborted>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let faults = || self.on_request.iter().filter_map(|fault| fault.http());
        check_abort(faults())?;
        let due = self.arrival + delay_sum(&self.on_request);
        hold(&self.board, &self.on_request, due).await;
        let mut body = NewBody::Kept(body);
        for action in faults().map(|fault| &fault.action) {
            if let Some(replace) = &action.replace
                && let Some(bytes) = replace.request(parts)
            {
                body = made(&mut parts.headers, bytes);
            }
            if let Some(patch) = &action.patch {
                patch.request(parts);
                body = patched(patch, &mut parts.headers, body).await?;
            }
        }
        Ok(body)
    }

    /// Besides the body, whether the answer's own bytes changed.
    pub async fn response<B>(
        self,
        method: &Method,
        parts: &mut response::Parts,
        body: B,
    ) -> Result<(NewBody<B>, bool), Aborted>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let came = Instant::now();
        let mut hit = self.on_response;
        hit.retain(|fault| {
            fault
                .http()
                .is_some_and(|http| http.matches.response(parts.status, &parts.headers))
                && drawn(fault)
        });
        let faults = || hit.iter().filter_map(|fault| fault.http());
        check_abort(faults())?;
        let due = (came + delay_sum(&hit)).max(self.arrival + total(&hit));
        hold(&self.board, &hit, due).await;
        let mut body = NewBody::Kept(body);
        for action in faults().map(|fault| &fault.action) {
            if let Some(replace) = &action.replace
                && let Some(bytes) = replace.response(parts)
            {
                body = made(&mut parts.headers, bytes);
            }
            if let Some(patch) = &action.patch {
                patch.response(parts);
                // An answer to HEAD has the length of a body that is not there.
                if method != Method::HEAD {
                    body = patched(patch, &mut parts.headers, body).await?;
                }
            }
        }
        Ok((body, edits(&hit)))
    }
}

fn edits(faults: &[Arc<ActiveFault>]) -> bool {
    faults.iter().any(|fault| {
        fault
            .http()
            .is_some_and(|http| http.action.replace.is_some() || http.action.patch.is_some())
    })
}

/// One draw per exchange, and only of exchanges that match: the share is exact among those.
fn drawn(fault: &ActiveFault) -> bool {
    fault.http().is_some_and(|http| http.percent.hits(fault.draw()))
}

/// Waits until `due`, or until the last of `faults` is lifted: a delay must not outlive what asked for it.
async fn hold(board: &FaultBoard, faults: &[Arc<ActiveFault>], due: Instant) {
    if due <= Instant::now() {
        return;
    }
    let mut due = exact_sleep_until(due);
    loop {
        // Before the look: a change in between is not missed.
        let change = board.change();
        if !is_posted(board, faults) {
            return;
        }
        tokio::select! {
            biased;
            () = &mut due => return,
            () = change => {}
        }
    }
}

/// Whether any of the faults is still in force.
fn is_posted(board: &FaultBoard, faults: &[Arc<ActiveFault>]) -> bool {
    let posted = board.current();
    faults
        .iter()
        .any(|fault| posted.iter().any(|other| Arc::ptr_eq(fault, other)))
}

fn check_abort<'a>(mut faults: impl Iterator<Item = &'a HttpFault>) -> Result<(), Aborted> {
    if faults.any(|fault| fault.action.abort) {
        Err(Aborted)
    } else {
        Ok(())
    }
}

fn delays(faults: &[Arc<ActiveFault>], to_total: bool) -> impl Iterator<Item = std::time::Duration> + '_ {
    faults.iter().filter_map(move |fault| {
        let delay = fault.http()?.action.delay.as_ref()?;
        (delay.to_total == to_total).then(|| delay.sample(fault.draw_length()))
    })
}

fn delay_sum(faults: &[Arc<ActiveFault>]) -> std::time::Duration {
    delays(faults, false).sum()
}

fn total(faults: &[Arc<ActiveFault>]) -> std::time::Duration {
    delays(faults, true).max().unwrap_or_default()
}

fn made<B>(headers: &mut HeaderMap, bytes: Bytes) -> NewBody<B> {
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_LENGTH, bytes.len().into());
    NewBody::Made(bytes)
}

/// Fails only if the body itself breaks off.
async fn patched<B>(patch: &Patch, headers: &mut HeaderMap, body: NewBody<B>) -> Result<NewBody<B>, Aborted>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let wanted = patch.body.is_some() && !headers.contains_key(CONTENT_ENCODING);
    let bytes = match body {
        NewBody::Made(bytes) if wanted => bytes,
        // Without a known length a body may never end (an event stream): it is not JSON then.
        NewBody::Kept(body) if wanted && is_json(headers) => {
            if body.size_hint().lower() > MOST_TO_PATCH as u64 {
                return Ok(NewBody::Kept(body));
            }
            Limited::new(body, MOST_TO_PATCH)
                .collect()
                .await
                .map_err(|_| Aborted)?
                .to_bytes()
        }
        other => return Ok(other),
    };
    let bytes = patch.merged(&bytes).unwrap_or(bytes);
    Ok(made(headers, bytes))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("json"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::faults::{Delay, Fault, FaultKind, Flow, NetworkEffect, NetworkFault, PodSet};

    fn fault(id: &str) -> Fault {
        let flow = Flow {
            from: PodSet::Any,
            to: PodSet::Any,
        };
        Fault {
            id: id.into(),
            until: None,
            kind: FaultKind::Network(NetworkFault {
                flows: vec![flow],
                effect: NetworkEffect::Delay(Delay::fixed(Duration::from_secs(600))),
            }),
        }
    }

    #[tokio::test]
    async fn what_is_held_goes_on_once_its_last_fault_is_lifted() {
        let board = Arc::new(FaultBoard::new());
        board.post(vec![fault("a"), fault("b")]);
        let (holding, faults) = (board.clone(), board.current());
        let due = Instant::now() + Duration::from_secs(600);
        let mut held = tokio::spawn(async move { hold(&holding, &faults, due).await });
        board.post(vec![fault("b")]);
        assert!(timeout(Duration::from_millis(50), &mut held).await.is_err());
        board.post(Vec::new());
        timeout(Duration::from_secs(30), held).await.unwrap().unwrap();
    }
}
