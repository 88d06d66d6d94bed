//! A head as `http` has it, for the faults that look at one or change it, and back.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request, response,
};

use crate::http1::head::lines;

/// `None` when the target is no URI. Without a head there are no headers: they cost the most.
pub(super) fn request_parts(head: &[u8], method: &[u8], target: &[u8]) -> Option<request::Parts> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method).ok()?;
    parts.uri = Uri::try_from(target).ok()?;
    parts.headers = headers(head)?;
    Some(parts)
}

pub(super) fn response_parts(head: &[u8], status: u16) -> Option<response::Parts> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(status).ok()?;
    parts.headers = headers(head)?;
    Some(parts)
}

fn headers(head: &[u8]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in lines(head) {
        map.append(
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        );
    }
    Some(map)
}

/// The request's head as bytes, followed by `body`. Names are written as in `head`, where they are in it.
pub(super) fn request_bytes(parts: &request::Parts, head: &[u8], body: &[u8]) -> Bytes {
    let line = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri);
    message(line, &parts.headers, head, body)
}

/// The answer's head as bytes, followed by `body`.
pub(super) fn response_bytes(parts: &response::Parts, head: &[u8], body: &[u8]) -> Bytes {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let line = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16());
    message(line, &parts.headers, head, body)
}

fn message(line: String, headers: &HeaderMap, head: &[u8], body: &[u8]) -> Bytes {
    let mut bytes = line.into_bytes();
    for (name, value) in headers {
        let mut written = lines(head).map(|(name, _)| name);
        let as_written = written.find(|written| written.eq_ignore_ascii_case(name.as_str().as_bytes()));
        bytes.extend_from_slice(as_written.unwrap_or(name.as_str().as_bytes()));
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes.into()
}
