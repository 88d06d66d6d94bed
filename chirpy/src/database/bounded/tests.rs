//! Against servers that speak just enough of PostgreSQL's protocol.

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::pool::{To, pool};
use super::*;
use crate::service::ApiError;

/// AuthenticationOk, ReadyForQuery (idle).
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
/// CommandComplete, ReadyForQuery: the answer to a `SET`.
const DONE: &[u8] = b"C\0\0\0\x08SET\0Z\0\0\0\x05I";

/// ErrorResponse with this SQLSTATE.
fn refusal(code: &str) -> Vec<u8> {
    let fields = format!("SERROR\0VERROR\0C{code}\0Mno\0\0");
    let length = u32::try_from(fields.len() + 4).expect("short");
    [b"E".as_slice(), &length.to_be_bytes(), fields.as_bytes()].concat()
}

/// What a server does with a connection's first statement, after it was set up.
#[derive(Clone)]
enum Then {
    Silence,
    Close,
    Say(Vec<u8>),
}

async fn receive(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0)
}

/// A server; the pool to it.
async fn server(then: Then) -> Pool {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let then = then.clone();
            tokio::spawn(async move {
                // The startup message, and what the pool sets.
                for answer in [WELCOME, DONE] {
                    if !receive(&mut stream).await || stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
                receive(&mut stream).await;
                match then {
                    Then::Close => {}
                    Then::Say(answer) => {
                        let _ = stream.write_all(&answer).await;
                        receive(&mut stream).await;
                    }
                    Then::Silence => while receive(&mut stream).await {},
                }
            });
        }
    });
    let url = format!("postgres://chirpy@127.0.0.1:{port}/chirpy");
    pool("URL", &url, To::Primary, Some(Duration::from_secs(2))).expect("a pool")
}

async fn ask(pool: &Pool, limit: Duration) -> Result<(), ApiError> {
    within(pool, limit, async |client| {
        Ok(client.batch_execute("SELECT 1").await?)
    })
    .await
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_connection_whose_question_was_given_up_is_nobody_elses() {
    let pool = server(Then::Silence).await;
    let error = ask(&pool, Duration::from_millis(20)).await.expect_err("silence");
    assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(pool.status().size, 0, "it was closed");

    // Whoever asked has gone.
    {
        let mut asked = std::pin::pin!(ask(&pool, LONG));
        while pool.status().size == 0 {
            assert!(futures::poll!(&mut asked).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(pool.status().size, 0);
}

#[tokio::test]
async fn a_connection_that_answered_is_kept_whatever_it_said() {
    let ready = b"Z\0\0\0\x05I";
    for answer in [DONE.to_vec(), [&refusal("23505"), ready.as_slice()].concat()] {
        let pool = server(Then::Say(answer)).await;
        let _ = ask(&pool, LONG).await;
        assert_eq!((pool.status().size, pool.status().available), (1, 1));
    }
}

#[tokio::test]
async fn a_database_that_is_away_may_be_asked_again_soon_and_a_mistake_may_not() {
    let refused = |code| Then::Say(refusal(code));
    for (then, status) in [
        (Then::Close, StatusCode::SERVICE_UNAVAILABLE),
        (refused("08006"), StatusCode::SERVICE_UNAVAILABLE),
        (refused("57P01"), StatusCode::SERVICE_UNAVAILABLE),
        (refused("57P05"), StatusCode::SERVICE_UNAVAILABLE),
        (refused("57014"), StatusCode::SERVICE_UNAVAILABLE),
        (refused("42601"), StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let pool = server(then).await;
        let error = ask(&pool, LONG).await.expect_err("no answer");
        assert_eq!(error.status, status, "{error}");
    }
    // Nobody listens there.
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("bound").port()
    };
    let url = format!("postgres://chirpy@127.0.0.1:{port}/chirpy");
    let refused = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
    let error = ApiError::from(refused.err().expect("refused"));
    assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
}
