//! One kept-alive connection, never blocking.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::request::Request;
use crate::http1::{Answer, Reader};

/// What a connection is doing.
#[derive(Debug)]
pub enum State {
    /// Being made, for this request.
    Connecting(Request),
    Idle,
    /// Waiting for the answer.
    Busy(Request),
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    pub state: State,
    out: Vec<u8>,
    written: usize,
    /// What came of an answer that is not whole; most are whole at once and never stand here.
    buffer: Vec<u8>,
    reader: Reader,
    /// Answers so far.
    pub served: u64,
    /// Whether any byte of the answer under way came.
    pub began: bool,
}

/// What reading gave.
pub enum Got {
    /// Nothing whole yet.
    More,
    /// A whole answer; `in_scratch` says where its body stands.
    Answer {
        status: u16,
        body: Range<usize>,
        in_scratch: bool,
        keep: bool,
    },
    /// The connection is of no more use.
    Lost(&'static str),
}

impl Connection {
    /// Begins to connect.
    pub fn open(to: SocketAddr, request: Request) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(to),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            stream: socket.into(),
            state: State::Connecting(request),
            out: vec![],
            written: 0,
            buffer: vec![],
            reader: Reader::default(),
            served: 0,
            began: false,
        })
    }

    /// Why the connection could not be made, if it could not.
    pub fn refused(&self) -> io::Result<()> {
        match self.stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Begins to send: `fill` writes the request.
    pub fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.out.clear();
        self.written = 0;
        self.began = false;
        fill(&mut self.out);
        self.write()
    }

    /// Writes what is left to write, as far as it goes.
    pub fn write(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => self.written += some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has come. `ending`: the other side has closed, so read up to the end. The caller has registered for
    /// edges: a read that does not fill `scratch` has emptied the socket.
    pub fn read(&mut self, scratch: &mut [u8], ending: bool) -> Got {
        loop {
            let count = match self.stream.read(scratch) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Got::More,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Got::Lost("connection lost"),
            };
            let ended = count == 0;
            if !matches!(self.state, State::Busy(_)) {
                // Closed between requests, or bytes nobody asked for.
                return Got::Lost("connection lost");
            }
            self.began |= !ended;
            let in_scratch = self.buffer.is_empty();
            let bytes = if in_scratch {
                &mut scratch[..count]
            } else {
                self.buffer.extend_from_slice(&scratch[..count]);
                self.buffer.as_mut_slice()
            };
            match self.reader.read(bytes, ended) {
                Answer::Whole {
                    status,
                    body,
                    taken,
                    keep,
                } => {
                    let keep = keep && taken == bytes.len() && !ending && self.written == self.out.len();
                    self.served += 1;
                    return Got::Answer {
                        status,
                        body,
                        in_scratch,
                        keep,
                    };
                }
                Answer::Malformed => return Got::Lost("not HTTP"),
                Answer::Partial if ended => return Got::Lost("connection lost"),
                Answer::Partial => {
                    if in_scratch {
                        self.buffer.extend_from_slice(&scratch[..count]);
                    }
                    if count < scratch.len() && !ending {
                        return Got::More;
                    }
                }
            }
        }
    }

    /// The body that [`Connection::read`] left in the buffer.
    pub fn buffered(&self, body: Range<usize>) -> &[u8] {
        &self.buffer[body]
    }

    /// The answer has been looked at.
    pub fn forget_answer(&mut self) {
        self.buffer.clear();
        // One long answer must not be paid for for ever, on each connection.
        self.buffer.shrink_to(64 * 1024);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
