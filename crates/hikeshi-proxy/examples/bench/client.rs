//! The smallest HTTP client that can be measured with: one connection, one request at a time.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::stats;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream,
            buffer: vec![0; 16 * 1024],
        })
    }

    /// Gives its own buffer's memory back until the next request.
    pub fn shrink(&mut self) {
        self.buffer = Vec::new();
    }

    /// `GET /`; the answer's status. An error when the connection is closed instead.
    pub fn get(&mut self) -> io::Result<u16> {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        self.buffer.resize(16 * 1024, 0);
        let mut have = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[have..])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            have += count;
            if let Some((status, whole)) = parse(&self.buffer[..have])
                && have >= whole
            {
                return Ok(status);
            }
        }
    }

    pub fn timed(&mut self) -> io::Result<(u16, Duration)> {
        let begun = Instant::now();
        let status = self.get()?;
        Ok((status, begun.elapsed()))
    }
}

/// Status, and the whole answer's length.
fn parse(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let status = text.get(9..12)?.parse().ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    Some((status, head + length.unwrap_or(0)))
}

/// Prints the median round trip in microseconds.
pub fn ping(address: &str, seconds: &str) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(address)?;
    let until = Instant::now() + Duration::from_secs_f64(seconds.parse()?);
    let mut took = Vec::new();
    while Instant::now() < until {
        let (status, time) = client.timed()?;
        if status != 200 {
            return Err(format!("{address} answered {status}").into());
        }
        took.push(time);
    }
    took.sort_unstable();
    println!("{:.1}", stats::quantile(&took, 0.5).as_secs_f64() * 1e6);
    Ok(())
}
