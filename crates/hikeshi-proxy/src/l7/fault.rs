//! HTTP faults on one exchange.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, request, response};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::Instant;

use crate::connect::Edge;
use crate::faults::{Aborted, ActiveFault, FaultBoard, HttpAction, HttpFault, HttpTarget, Patch};
use crate::timer::exact_sleep_until;

/// Bodies longer than this in bytes are not read into memory to be patched; they pass as they are.
const MOST_TO_PATCH: usize = 8 * 1024 * 1024;

/// The faults that hit one exchange, chosen by its request.
pub(super) struct Exchange {
    board: Arc<FaultBoard>,
    place: Place,
    arrival: Instant,
    on_request: Vec<Arc<ActiveFault>>,
    on_response: Vec<Arc<ActiveFault>>,
}

/// Between whom an exchange takes place: their uids, and the server's port.
struct Place {
    client: Arc<str>,
    server: Arc<str>,
    port: u16,
}

/// A fault that has hit, and how long it asks to hold what it hit.
struct Hit {
    fault: Arc<ActiveFault>,
    length: Duration,
    to_total: bool,
}

impl Hit {
    fn by(fault: Arc<ActiveFault>) -> Self {
        let delay = fault.http().and_then(|http| http.action.delay.as_ref());
        let length = delay.map_or(Duration::ZERO, |delay| delay.sample(fault.draw_length()));
        let to_total = delay.is_some_and(|delay| delay.to_total);
        Self {
            fault,
            length,
            to_total,
        }
    }
}

/// What becomes of a body.
pub(super) enum NewBody<B> {
    Kept(B),
    Made(Bytes),
    /// It stays, but so much of its content has been read.
    Begun(Bytes, B),
}

impl Exchange {
    /// Whether any of the faults could be about a request, as far as its first line says.
    pub fn may_hit(faults: &[Arc<ActiveFault>], method: &str, path: &str) -> bool {
        faults
            .iter()
            .any(|fault| fault.http().is_some_and(|http| http.matches.may(method, path)))
    }

    /// Whether any of the faults has to know a request's headers: to find out if it is about it, or to change it.
    pub fn reads_headers(faults: &[Arc<ActiveFault>]) -> bool {
        let reads = |http: &HttpFault| {
            let edits = http.action.replace.is_some() || http.action.patch.is_some();
            http.matches.reads_headers() || (http.target == HttpTarget::Request && edits)
        };
        faults.iter().any(|fault| fault.http().is_some_and(reads))
    }

    /// `faults` are those on this edge. Answers' faults are drawn when the answer is known.
    pub fn of(
        board: Arc<FaultBoard>,
        (edge, port): (&Edge, u16),
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
        let place = Place {
            client: edge.source.uid.clone(),
            server: edge.destination.uid.clone(),
            port,
        };
        Self {
            board,
            place,
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
        let faults = self.on_request.iter().filter_map(|fault| fault.http());
        faults.map(|fault| &fault.action).any(HttpAction::edits)
    }

    pub async fn request<B>(&self, parts: &mut request::Parts, body: B) -> Result<NewBody<B>, Aborted>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        check_abort(&self.on_request)?;
        let hits = self.on_request.iter().cloned().map(Hit::by).collect();
        let hits = self.hold(hits, self.arrival).await;
        let mut body = NewBody::Kept(body);
        for action in actions(&hits) {
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
        mut self,
        method: &Method,
        parts: &mut response::Parts,
        body: B,
    ) -> Result<(NewBody<B>, bool), Aborted>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let came = Instant::now();
        let mut faults = std::mem::take(&mut self.on_response);
        faults.retain(|fault| {
            fault
                .http()
                .is_some_and(|http| http.matches.response(parts.status, &parts.headers))
                && drawn(fault)
        });
        check_abort(&faults)?;
        let hits = self.hold(faults.into_iter().map(Hit::by).collect(), came).await;
        let mut body = NewBody::Kept(body);
        for action in actions(&hits) {
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
        Ok((body, actions(&hits).any(HttpAction::edits)))
    }

    /// Waits as long as those ask that stay in force: what is lifted holds nothing any more and does nothing else
    /// either. Returns who stayed. `came` is when what is held did.
    async fn hold(&self, mut hits: Vec<Hit>, came: Instant) -> Vec<Hit> {
        if self.due(&hits, came) <= Instant::now() {
            return hits;
        }
        let mut timer = exact_sleep_until(self.due(&hits, came));
        loop {
            // Before the look: a change in between is not missed.
            let change = self.board.change();
            let Place { client, server, port } = &self.place;
            let posted = self.board.http(client, server, *port);
            hits.retain(|hit| posted.iter().any(|fault| fault.is(&hit.fault)));
            let due = self.due(&hits, came);
            if due <= Instant::now() {
                return hits;
            }
            if due != timer.due() {
                timer = exact_sleep_until(due);
            }
            tokio::select! {
                biased;
                () = &mut timer => return hits,
                () = change => {}
            }
        }
    }

    fn due(&self, hits: &[Hit], came: Instant) -> Instant {
        let lengths = |to_total| {
            let of_a_kind = hits.iter().filter(move |hit| hit.to_total == to_total);
            of_a_kind.map(|hit| hit.length)
        };
        let total = lengths(true).max().unwrap_or_default();
        (came + lengths(false).sum::<Duration>()).max(self.arrival + total)
    }
}

fn actions(hits: &[Hit]) -> impl Iterator<Item = &HttpAction> {
    let of_http = hits.iter().filter_map(|hit| hit.fault.http());
    of_http.map(|fault| &fault.action)
}

/// One draw per exchange, and only of exchanges that match: the share is exact among those.
fn drawn(fault: &ActiveFault) -> bool {
    fault.http().is_some_and(|http| http.percent.hits(fault.draw()))
}

fn check_abort(faults: &[Arc<ActiveFault>]) -> Result<(), Aborted> {
    let mut faults = faults.iter().filter_map(|fault| fault.http());
    if faults.any(|fault| fault.action.abort) {
        Err(Aborted)
    } else {
        Ok(())
    }
}

fn made<B>(headers: &mut HeaderMap, bytes: Bytes) -> NewBody<B> {
    NewBody::Made(made_of(headers, bytes))
}

/// `bytes` as the whole body; the headers then say so.
pub(super) fn made_of(headers: &mut HeaderMap, bytes: Bytes) -> Bytes {
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_LENGTH, bytes.len().into());
    bytes
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
        NewBody::Kept(body) if wanted && is_json(headers) => match read(body).await? {
            NewBody::Made(bytes) => bytes,
            too_long => return Ok(too_long),
        },
        other => return Ok(other),
    };
    let bytes = patch.merged(&bytes).unwrap_or(bytes);
    Ok(made(headers, bytes))
}

/// The whole of a body, unless that is too much: then what has come of it, and the rest.
async fn read<B>(mut body: B) -> Result<NewBody<B>, Aborted>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > MOST_TO_PATCH as u64 {
        return Ok(NewBody::Kept(body));
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers say nothing about a body that is made anew.
        if let Ok(data) = frame.map_err(|_| Aborted)?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MOST_TO_PATCH {
            return Ok(NewBody::Begun(bytes.freeze(), body));
        }
    }
    Ok(NewBody::Made(bytes.freeze()))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("json"))
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;
    use crate::faults::{Delay, Fault, FaultKind, HttpFault, HttpMatch, Percent, PodSet, Replace};

    const TEN_MINUTES: Duration = Duration::from_secs(600);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Holds what `servers` receive, and adds a header named after it.
    fn fault(id: &str, length: Duration, servers: &[&str]) -> Fault {
        let http = HttpFault {
            pods: PodSet::Pods(servers.iter().map(ToString::to_string).collect()),
            sources: PodSet::Any,
            port: None,
            target: HttpTarget::Request,
            matches: HttpMatch::default(),
            percent: Percent::ALL,
            action: HttpAction {
                delay: Some(Delay::fixed(length)),
                replace: Some(Replace {
                    headers: [(format!("x-{id}"), "1".to_owned())].into(),
                    ..Default::default()
                }),
                ..Default::default()
            },
        };
        Fault {
            id: id.into(),
            until: None,
            kind: FaultKind::Http(Box::new(http)),
        }
    }

    /// A request to `db` that comes now; its headers when it goes on.
    fn ask(board: &Arc<FaultBoard>) -> JoinHandle<Vec<String>> {
        let (mut parts, ()) = http::Request::get("/").body(()).unwrap().into_parts();
        let exchange = Exchange {
            board: board.clone(),
            place: Place {
                client: "app".into(),
                server: "db".into(),
                port: 80,
            },
            arrival: Instant::now(),
            on_request: board.http("app", "db", 80),
            on_response: Vec::new(),
        };
        tokio::spawn(async move {
            let body = Empty::<Bytes>::new();
            assert!(exchange.request(&mut parts, body).await.is_ok(), "aborted");
            parts.headers.keys().map(ToString::to_string).collect()
        })
    }

    #[tokio::test]
    async fn what_is_held_goes_on_once_its_last_fault_is_lifted() {
        let board = Arc::new(FaultBoard::new());
        let held = |id| fault(id, TEN_MINUTES, &["db"]);
        board.post(vec![held("a"), held("b")]);
        let mut request = ask(&board);
        board.post(vec![held("b")]);
        assert!(timeout(Duration::from_millis(50), &mut request).await.is_err());
        board.post(Vec::new());
        let headers = timeout(PATIENCE, request).await.unwrap().unwrap();
        assert!(headers.is_empty(), "what is lifted still edits: {headers:?}");
    }

    #[tokio::test]
    async fn a_delay_does_not_outlive_its_fault_when_another_hit_the_same_request() {
        let board = Arc::new(FaultBoard::new());
        let short = fault("b", Duration::from_millis(1), &["db"]);
        board.post(vec![fault("a", TEN_MINUTES, &["db"]), short.clone()]);
        let request = ask(&board);
        board.post(vec![short]);
        let headers = timeout(PATIENCE, request).await.unwrap().unwrap();
        assert_eq!(headers, ["x-b"]);
    }

    #[tokio::test]
    async fn who_joins_or_leaves_the_selection_is_nothing_to_others() {
        let board = Arc::new(FaultBoard::new());
        board.post(vec![fault("a", TEN_MINUTES, &["db"])]);
        let mut request = ask(&board);
        board.post(vec![fault("a", TEN_MINUTES, &["db", "web"])]);
        let waited = timeout(Duration::from_millis(50), &mut request).await;
        assert!(waited.is_err(), "it went on when another pod joined");
        board.post(vec![fault("a", TEN_MINUTES, &["web"])]);
        timeout(PATIENCE, request).await.unwrap().unwrap();
    }
}
