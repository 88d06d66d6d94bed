//! Answers of the data plane's own.

use http::StatusCode;

use crate::http1::Refused;

/// A whole answer with a line of text.
pub(super) fn answer(status: StatusCode, message: &str, to_head: bool, close: bool) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let closing = if close { "connection: close\r\n" } else { "" };
    let body = if to_head { "" } else { message };
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\n{closing}content-length: {}\r\n\r\n{body}",
        status.as_u16(),
        message.len()
    )
    .into_bytes()
}

/// The answer to what is no proper request.
pub(super) fn refused(refused: Refused) -> Vec<u8> {
    let status = match refused {
        Refused::Malformed(_) => StatusCode::BAD_REQUEST,
        Refused::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    };
    answer(status, &format!("{refused}\n"), false, true)
}

/// The answer to a request whose head did not come in time.
pub(super) fn slow() -> Vec<u8> {
    answer(
        StatusCode::REQUEST_TIMEOUT,
        "the request's head took too long\n",
        false,
        true,
    )
}
