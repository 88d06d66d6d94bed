//! The same answers without a server's work: what was asked once is answered from memory, in the clear. What kubectl takes
//! here no server can better.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use kube::Client;

/// Answers by path with query, and by the form asked for.
type Answers = Mutex<HashMap<(String, String), Answer>>;

#[derive(Clone)]
struct Answer {
    code: StatusCode,
    /// Of which kind its body is, where there is one.
    form: Option<HeaderValue>,
    body: Bytes,
}

struct Memory {
    client: Client,
    answers: Answers,
}

/// Listens on a port of the loopback that is free; its URL.
pub async fn serve(client: Client) -> Result<String, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let memory = Arc::new(Memory {
        client,
        answers: Mutex::default(),
    });
    let routes = Router::new().fallback(answer).with_state(memory);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

async fn answer(State(memory): State<Arc<Memory>>, request: Request) -> Response {
    let accept = request.headers().get(header::ACCEPT).cloned();
    let form = accept
        .and_then(|form| form.to_str().map(str::to_owned).ok())
        .unwrap_or_default();
    let asked = (request.uri().to_string(), form);
    let known = || memory.answers.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&asked).cloned();
    let answer = match found {
        Some(answer) => answer,
        None => match ask(&memory.client, &asked.0, &asked.1).await {
            Ok(answer) => known().entry(asked).or_insert(answer).clone(),
            Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        },
    };
    let mut response = (answer.code, answer.body).into_response();
    if let Some(form) = answer.form {
        response.headers_mut().insert(header::CONTENT_TYPE, form);
    }
    response
}

async fn ask(client: &Client, path: &str, form: &str) -> Result<Answer, Box<dyn Error + Send + Sync>> {
    let request = axum::http::Request::get(path).header(header::ACCEPT, form);
    let answer = client.send(request.body(Vec::new())?.map(Into::into)).await?;
    Ok(Answer {
        code: answer.status(),
        form: answer.headers().get(header::CONTENT_TYPE).cloned(),
        body: to_bytes(Body::new(answer.into_body()), usize::MAX).await?,
    })
}
