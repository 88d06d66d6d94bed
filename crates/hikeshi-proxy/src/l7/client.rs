//! The client's end of a connection: its stream, what has been read of it, and its deadlines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::buffer::Buffer;
use super::upstream::Kept;
use crate::http1::{Refused, RequestHead, head};
use crate::socket::Direct;

/// What begins an HTTP/2 connection of a client that does not ask first.
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the first byte of a request's head to its last. Answered with 408 then.
    pub head: Duration,
    /// For a connection that carries nothing at all: so long at least, and at most twice as long.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(600),
        }
    }
}

/// After a last answer: how long, and how many bytes, to listen to a client that still speaks. Closing at once would
/// reset the connection, and with it the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

pub(super) struct Client {
    pub stream: TcpStream,
    pub buffer: Buffer,
    /// One timer for both deadlines, set anew only when it fires or must fire earlier: not at every request.
    timer: Pin<Box<Sleep>>,
    /// Whom it wakes already.
    timed: Option<Waker>,
    /// A request has come since the timer was last set.
    heard: bool,
    patience: Patience,
}

/// What a client sent.
pub(super) enum Next {
    Request(RequestHead),
    Http2,
    Closed,
    Refused(Refused),
    /// Its head took too long.
    Slow,
}

impl Client {
    pub fn new(stream: TcpStream, patience: Patience) -> Self {
        Self {
            stream,
            buffer: Buffer::of_requests(),
            timer: Box::pin(sleep_until(Instant::now() + patience.idle)),
            timed: None,
            heard: false,
            patience,
        }
    }

    /// Waits for the next request. Meanwhile `kept` is watched.
    pub async fn next(&mut self, kept: &mut Kept) -> Next {
        let (mut looked, mut deadline) = (0, None);
        loop {
            if looked == 0 {
                self.buffer.consume(head::leading(self.buffer.bytes()));
            }
            let bytes = self.buffer.bytes();
            let news = &bytes[looked..];
            if bytes.starts_with(HTTP2_PREFACE) {
                return Next::Http2;
            }
            // Without a new line feed the head is as incomplete as before.
            let preface = HTTP2_PREFACE.starts_with(bytes);
            if !preface && (news.contains(&b'\n') || bytes.len() >= crate::http1::MAX_HEAD) {
                match RequestHead::parse(bytes) {
                    Ok(Some(head)) => {
                        self.heard = true;
                        return Next::Request(head);
                    }
                    Ok(None) => {}
                    Err(refused) => return Next::Refused(refused),
                }
            }
            looked = bytes.len();
            if looked > 0 && deadline.is_none() {
                deadline = Some(Instant::now() + self.patience.head);
            }
            let read = std::future::poll_fn(|cx| {
                if let Poll::Ready(read) = self.poll_more(cx) {
                    return Poll::Ready(Some(read));
                }
                kept.watch(cx);
                let over = match deadline {
                    Some(deadline) => self.poll_deadline(cx, deadline),
                    None => self.poll_idle(cx),
                };
                over.map(|()| None)
            });
            match read.await {
                Some(Ok(0)) if looked > 0 => return Next::Refused(Refused::Malformed("half a request")),
                Some(Ok(0)) | Some(Err(_)) => return Next::Closed,
                Some(Ok(_)) => {}
                None if looked > 0 => return Next::Slow,
                None => return Next::Closed,
            }
        }
    }

    /// Reads once; an idle connection has no buffer while it waits.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = self.buffer.poll_fill(cx, &mut Direct(&self.stream));
        if read.is_pending() {
            self.buffer.rest();
        }
        read
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if self.timer.deadline() > deadline {
            self.set_timer(deadline);
        }
        loop {
            ready!(self.poll_timer(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.set_timer(deadline);
        }
    }

    /// Ready when nothing has come for so long. Asks no clock: what has come since the timer was set gives another round.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_timer(cx));
            if !std::mem::take(&mut self.heard) {
                return Poll::Ready(());
            }
            self.set_timer(Instant::now() + self.patience.idle);
        }
    }

    fn set_timer(&mut self, deadline: Instant) {
        self.timer.as_mut().reset(deadline);
        self.timed = None;
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let known = self
            .timed
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        if known && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        self.timed = Some(cx.waker().clone());
        self.timer.as_mut().poll(cx)
    }

    /// Says the last words, and closes so that they arrive.
    pub async fn bid_farewell(&mut self, words: &[u8]) {
        let farewell = async {
            self.stream.write_all(words).await?;
            self.stream.shutdown().await?;
            // Not an array: every connection's task would be larger by it.
            let (mut scrap, mut heard) = (vec![0; 4096], 0);
            while heard < LINGER_BYTES {
                match self.stream.read(&mut scrap).await? {
                    0 => break,
                    count => heard += count,
                }
            }
            Ok::<_, io::Error>(())
        };
        // A client that has left needs no farewell.
        let _ = timeout(LINGER, farewell).await;
    }
}

/// Ready when the client has closed its end, which means that it no longer waits. Data instead of an end is the next
/// request: then there is nothing to see until that has been read.
pub(super) fn poll_left(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    let mut byte = [0];
    let mut space = ReadBuf::new(&mut byte);
    match ready!(stream.poll_peek(cx, &mut space)) {
        Ok(0) | Err(_) => Poll::Ready(()),
        Ok(_) => Poll::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, far)
    }

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn a_head_that_drips_is_given_up_and_so_is_a_connection_that_says_nothing() {
        let (near, mut far) = pair().await;
        let (head, idle) = (SHORT, LONG);
        let mut client = Client::new(near, Patience { head, idle });
        far.write_all(b"GET / HT").await.unwrap();
        assert!(matches!(client.next(&mut Kept::default()).await, Next::Slow));

        let (near, _far) = pair().await;
        let (head, idle) = (LONG, SHORT);
        let mut client = Client::new(near, Patience { head, idle });
        assert!(matches!(client.next(&mut Kept::default()).await, Next::Closed));
    }

    #[tokio::test]
    async fn the_heads_deadline_does_not_outlive_the_head() {
        let (near, mut far) = pair().await;
        let (head, idle) = (SHORT, LONG);
        let mut client = Client::new(near, Patience { head, idle });
        far.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        tokio::spawn(async move {
            far.write_all(b"\r\n").await.unwrap();
            tokio::time::sleep(SHORT * 3).await;
            far.write_all(b"GET /2 HTTP/1.1\r\n\r\n").await.unwrap();
            far
        });
        for _ in 0..2 {
            let Next::Request(head) = client.next(&mut Kept::default()).await else {
                panic!("no request")
            };
            client.buffer.consume(head.len);
        }
    }
}
