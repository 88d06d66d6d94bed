//! HTTP/1.1 to another service, on kept connections.
//!
//! Every request inside Chirpy is small, and so is its answer, which is read whole. The caller's own task writes and
//! reads: no task per connection and no channel stand between them, which is most of what a general client costs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// A connection unused for longer is not used again: the other end may be about to close it.
const IDLE: Duration = Duration::from_secs(20);
/// Connections at the same time; a request that finds none waits, as it would in the other's accept queue, and does not
/// make a busy service busier with opening one.
const MOST: usize = 128;
/// Requests that may wait for a connection: more of them would only wait until their callers have gone.
const WAITING: usize = 512;
const CONNECT: Duration = Duration::from_secs(1);
/// Longest head of an answer, bytes.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;
/// Memory taken for a body before any of it has come, bytes at most.
const MAX_ROOM: usize = 1024 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("connecting to {to}: {source}")]
    Connect { to: String, source: std::io::Error },
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the connection was closed before the answer was complete")]
    Closed,
    #[error("not an HTTP/1.1 answer: {0}")]
    Malformed(&'static str),
    #[error("too many requests wait for it")]
    Busy,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    /// RFC 8288.
    pub link: Option<HeaderValue>,
    /// When to come again.
    pub retry_after: Option<HeaderValue>,
    pub body: Bytes,
}

/// One address and the connections to it that are free.
pub struct Wire {
    /// `host:port`.
    address: String,
    idle: Mutex<Vec<Open>>,
    permits: Semaphore,
    waiting: Semaphore,
}

struct Open {
    stream: TcpStream,
    buffer: BytesMut,
    used: Instant,
}

/// What the head of an answer says.
struct Head {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    link: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    length: Length,
    keep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

impl Wire {
    /// `base` is `http://host` or `http://host:port`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let authority = base
            .trim_end_matches('/')
            .strip_prefix("http://")
            .filter(|authority| !authority.is_empty() && !authority.contains('/'));
        let authority = authority.ok_or_else(|| anyhow::anyhow!("{base:?} is not http://HOST[:PORT]"))?;
        let address = if authority.contains(':') {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        Ok(Self {
            address,
            idle: Mutex::default(),
            permits: Semaphore::new(MOST),
            waiting: Semaphore::new(WAITING),
        })
    }

    /// Where requests go, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// One request and its answer. The caller sets a deadline by dropping the future, which closes the connection.
    ///
    /// # Errors
    /// See [`WireError`]; [`WireError::Busy`] at once. A request that no byte of an answer came to on a kept connection is sent once more when that is safe
    /// (GET): the other end had closed the connection meanwhile.
    pub async fn exchange(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Option<&[u8]>,
    ) -> Result<Answer, WireError> {
        let _permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.waiting.try_acquire().map_err(|_| WireError::Busy)?;
                self.permits.acquire().await.map_err(|_| WireError::Closed)?
            }
        };
        let request = self.encode(method, path, headers, body);
        if let Some(open) = self.kept() {
            match self.on(open, &request).await {
                Err((WireError::Closed | WireError::Io(_), true)) if *method == Method::GET => {}
                Err((error, _)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        let open = self.connect().await?;
        self.on(open, &request).await.map_err(|(error, _)| error)
    }

    fn encode(&self, method: &Method, path: &str, headers: &[(&str, &[u8])], body: Option<&[u8]>) -> Vec<u8> {
        let body_length = body.map_or(0, <[u8]>::len);
        let mut request = Vec::with_capacity(256 + path.len() + body_length);
        request.extend_from_slice(method.as_str().as_bytes());
        request.push(b' ');
        request.extend_from_slice(path.as_bytes());
        request.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        request.extend_from_slice(self.address.trim_end_matches(":80").as_bytes());
        for (name, value) in headers {
            request.extend_from_slice(b"\r\n");
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
        }
        if body.is_some() || *method != Method::GET {
            request.extend_from_slice(format!("\r\ncontent-length: {body_length}").as_bytes());
        }
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(body.unwrap_or_default());
        request
    }

    /// A kept connection on which nothing has arrived since: no answer is due there, so anything, the end included,
    /// means that it is over.
    fn kept(&self) -> Option<Open> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(open) = idle.pop() {
            let quiet = matches!(open.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            if quiet && open.used.elapsed() < IDLE {
                return Some(open);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Open, WireError> {
        let failed = |source| WireError::Connect {
            to: self.address.clone(),
            source,
        };
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(&self.address))
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        stream.set_nodelay(true)?;
        Ok(Open {
            stream,
            buffer: BytesMut::new(),
            used: Instant::now(),
        })
    }

    /// The error comes with whether no byte of an answer had arrived.
    async fn on(&self, mut open: Open, request: &[u8]) -> Result<Answer, (WireError, bool)> {
        open.stream
            .write_all(request)
            .await
            .map_err(|error| (error.into(), true))?;
        let head = loop {
            match parse_head(&open.buffer).map_err(|error| (error, false))? {
                // Interim answers (1xx) say nothing yet.
                Some((head, length)) if head.status.is_informational() => {
                    open.buffer.advance(length);
                }
                Some((head, length)) => {
                    open.buffer.advance(length);
                    break head;
                }
                None => {
                    let silent = open.buffer.is_empty();
                    if open.buffer.len() > MAX_HEAD {
                        return Err((WireError::Malformed("its head is too long"), false));
                    }
                    open.more().await.map_err(|error| (error, silent))?;
                }
            }
        };
        let body = open.body(head.length).await.map_err(|error| (error, false))?;
        if head.keep && open.buffer.is_empty() {
            open.used = Instant::now();
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(open);
        }
        Ok(Answer {
            status: head.status,
            content_type: head.content_type,
            link: head.link,
            retry_after: head.retry_after,
            body,
        })
    }
}

impl Open {
    async fn more(&mut self) -> Result<(), WireError> {
        if self.buffer.capacity() - self.buffer.len() < 1024 {
            self.buffer.reserve(8 * 1024);
        }
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(WireError::Closed);
        }
        Ok(())
    }

    async fn body(&mut self, length: Length) -> Result<Bytes, WireError> {
        match length {
            Length::Known(length) => {
                // Room for all of it at once: growing would copy what is there again and again.
                self.buffer
                    .reserve(length.saturating_sub(self.buffer.len()).min(MAX_ROOM));
                while self.buffer.len() < length {
                    self.more().await?;
                }
                Ok(self.buffer.split_to(length).freeze())
            }
            Length::UntilClosed => loop {
                match self.more().await {
                    Ok(()) => {}
                    Err(WireError::Closed) => return Ok(self.buffer.split().freeze()),
                    Err(error) => return Err(error),
                }
            },
            Length::Chunked => {
                let mut body = BytesMut::new();
                loop {
                    let size = self.chunk_size().await?;
                    while self.buffer.len() < size + 2 {
                        self.more().await?;
                    }
                    body.extend_from_slice(&self.buffer[..size]);
                    self.buffer.advance(size + 2);
                    if size == 0 {
                        return Ok(body.freeze());
                    }
                }
            }
        }
    }

    /// The size of the next chunk; trailers are not ours, so the last chunk must be followed by an empty line.
    async fn chunk_size(&mut self) -> Result<usize, WireError> {
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((used, size))) => {
                    self.buffer.advance(used);
                    return usize::try_from(size).map_err(|_| WireError::Malformed("a chunk's size"));
                }
                Ok(httparse::Status::Partial) => self.more().await?,
                Err(_) => return Err(WireError::Malformed("a chunk's size")),
            }
        }
    }
}

fn parse_head(buffer: &[u8]) -> Result<Option<(Head, usize)>, WireError> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(buffer) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(WireError::Malformed("its head")),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(WireError::Malformed("its status"))?;
    let mut head = Head {
        status,
        content_type: None,
        link: None,
        retry_after: None,
        length: Length::UntilClosed,
        keep: response.version == Some(1),
    };
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.parse().ok());
            head.length = Length::Known(length.ok_or(WireError::Malformed("its content-length"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.length = Length::Chunked;
        } else if header.name.eq_ignore_ascii_case("content-type") {
            head.content_type = HeaderValue::from_bytes(header.value).ok();
        } else if header.name.eq_ignore_ascii_case("link") {
            head.link = HeaderValue::from_bytes(header.value).ok();
        } else if header.name.eq_ignore_ascii_case("retry-after") {
            head.retry_after = HeaderValue::from_bytes(header.value).ok();
        } else if header.name.eq_ignore_ascii_case("connection")
            && header.value.eq_ignore_ascii_case(b"close")
        {
            head.keep = false;
        }
    }
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED || status.is_informational() {
        head.length = Length::Known(0);
    }
    head.keep &= head.length != Length::UntilClosed;
    Ok(Some((head, used)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Answers each connection's requests (separated by blank lines, without bodies) with these bytes in turn, then closes.
    async fn server(connections: Vec<Vec<&'static str>>) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let wire = Wire::new(&format!("http://{}", listener.local_addr().expect("bound"))).expect("a URL");
        tokio::spawn(async move {
            for answers in connections {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                for answer in answers {
                    let mut request = vec![];
                    while !request.ends_with(b"\r\n\r\n") {
                        if stream.read_buf(&mut request).await.expect("readable") == 0 {
                            break;
                        }
                    }
                    stream.write_all(answer.as_bytes()).await.expect("writable");
                }
            }
        });
        wire
    }

    #[tokio::test]
    async fn connections_are_kept_and_every_framing_is_read() {
        let wire = server(vec![
            vec![
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\ngone",
            ],
            // A connection that was closed while it was kept: the GET goes out again on another.
            vec!["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
            vec!["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nz"],
        ])
        .await;
        let mut got = vec![];
        for _ in 0..6 {
            let answer = wire
                .exchange(&Method::GET, "/", &[], None)
                .await
                .expect("an answer");
            got.push((
                answer.status.as_u16(),
                String::from_utf8_lossy(&answer.body).into_owned(),
            ));
        }
        let expected = [
            (200, "hi"),
            (200, "abcde"),
            (204, ""),
            (404, "gone"),
            (200, ""),
            (200, "z"),
        ];
        assert_eq!(got, expected.map(|(status, body)| (status, body.to_owned())));
    }

    #[tokio::test]
    async fn half_an_answer_is_an_error() {
        let wire = server(vec![vec!["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"]]).await;
        let outcome = wire.exchange(&Method::GET, "/", &[], None).await;
        assert!(matches!(outcome, Err(WireError::Closed)), "{outcome:?}");
    }

    #[tokio::test]
    async fn only_so_many_wait_for_a_connection() {
        // Takes connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let wire = Wire::new(&format!("http://{}", silent.local_addr().expect("bound"))).expect("a URL");
        let mut requests = vec![];
        for _ in 0..MOST + WAITING {
            let mut request = Box::pin(wire.exchange(&Method::GET, "/", &[], None));
            assert!(futures::poll!(&mut request).is_pending());
            requests.push(request);
        }
        let refused = wire.exchange(&Method::GET, "/", &[], None).await;
        assert!(matches!(refused, Err(WireError::Busy)), "{refused:?}");
        requests.pop();
        let mut request = Box::pin(wire.exchange(&Method::GET, "/", &[], None));
        assert!(
            futures::poll!(&mut request).is_pending(),
            "one who waited has gone"
        );
    }

    #[test]
    fn only_plain_origins_are_taken() {
        for wrong in ["https://a", "a:80", "http://", "http://a/b"] {
            assert!(Wire::new(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Wire::new("http://a/").expect("good").address(), "a:80");
    }
}
