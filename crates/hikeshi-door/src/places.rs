//! How many connections there are at once.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one client may take from the others.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; the next one waits until one ends.
    pub connections: usize,
    /// From the handshake to the end of the first request's head, over either HTTP.
    pub first: Duration,
    /// Over HTTP/1.1, from an answer to the end of the next request's head.
    pub idle: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 2048,
            first: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            // hyper's own.
            streams: 200,
        }
    }
}

/// A listener with so many places.
pub struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection's place, until dropped.
pub type Place = OwnedSemaphorePermit;

impl Door {
    pub fn new(listener: TcpListener, limits: Limits) -> Door {
        Door {
            listener,
            places: Arc::new(Semaphore::new(limits.connections)),
        }
    }

    /// The next connection, once there is a place for it. A failure to accept ends nothing.
    pub async fn next(&self) -> (TcpStream, SocketAddr, Place) {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            // Nobody closes the semaphore.
            return pending().await;
        };
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, place),
                Err(error) => {
                    // Out of descriptors, most likely: others' closing helps, hurrying does not.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_one_waits_for_a_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let limits = Limits {
            connections: 1,
            ..Limits::default()
        };
        let door = Door::new(listener, limits);
        let _one = TcpStream::connect(addr).await.unwrap();
        let (_, _, place) = door.next().await;
        let _two = TcpStream::connect(addr).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(200), door.next()).await;
        assert!(early.is_err(), "there was no place");
        drop(place);
        let next = tokio::time::timeout(Duration::from_secs(30), door.next()).await;
        assert!(next.is_ok(), "there is a place");
    }
}
