//! Generated HTTP/1.1 messages, with what they mean.

use proptest::prelude::*;

/// A message as bytes, and its content.
#[derive(Debug, Clone)]
pub struct Message {
    pub bytes: Vec<u8>,
    pub content: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked {
        chunks: Vec<(Vec<u8>, String)>,
        trailers: Vec<(String, String)>,
    },
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = "[!-~]{0,12}( [!-~]{1,8})?";
    prop::collection::vec(("X-[A-Za-z0-9_.~-]{1,12}", value.prop_map(|text| text)), 0..5)
}

fn body() -> impl Strategy<Value = Body> {
    let content = || prop::collection::vec(any::<u8>(), 0..40);
    let chunk = (
        prop::collection::vec(any::<u8>(), 1..20),
        "(;[a-z]{1,4}(=[a-z]{1,4}|=\"[a-z ]{0,4}\")?)?",
    );
    prop_oneof![
        Just(Body::None),
        content().prop_map(Body::Length),
        (
            prop::collection::vec(chunk, 0..4),
            prop::collection::vec(("X-T[a-z]{1,6}", "[!-~]{0,8}"), 0..3)
        )
            .prop_map(|(chunks, trailers)| Body::Chunked { chunks, trailers }),
    ]
}

fn write(first: String, headers: Vec<(String, String)>, body: Body, bodiless: bool) -> Message {
    let mut bytes = format!("{first}\r\n").into_bytes();
    let mut content = Vec::new();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    match body {
        Body::None => bytes.extend_from_slice(b"\r\n"),
        Body::Length(data) => {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", data.len()).as_bytes());
            if !bodiless {
                bytes.extend_from_slice(&data);
                content = data;
            }
        }
        Body::Chunked { chunks, trailers } => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            if !bodiless {
                for (data, extension) in chunks {
                    bytes.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                    bytes.extend_from_slice(&data);
                    bytes.extend_from_slice(b"\r\n");
                    content.extend_from_slice(&data);
                }
                bytes.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                bytes.extend_from_slice(b"\r\n");
            }
        }
    }
    Message { bytes, content }
}

/// Any request with a proper form.
pub fn request() -> impl Strategy<Value = Message> {
    let method = prop_oneof![
        Just("GET"),
        Just("POST"),
        Just("PUT"),
        Just("DELETE"),
        Just("PATCH")
    ];
    (
        method,
        "/[a-z0-9/._~-]{0,16}(\\?[a-z0-9=&%]{0,10})?",
        headers(),
        body(),
    )
        .prop_map(|(method, target, mut headers, body)| {
            headers.push(("Host".into(), "db".into()));
            write(format!("{method} {target} HTTP/1.1"), headers, body, false)
        })
}

/// Any answer whose end can be told without its connection's; interim ones may come first. For HEAD it has no body.
pub fn response(to_head: bool) -> impl Strategy<Value = Message> {
    let status = prop_oneof![
        Just("200 OK"),
        Just("201 Created"),
        Just("204 No Content"),
        Just("304 Not Modified"),
        Just("404 "),
        Just("503 Service Unavailable"),
    ];
    let interim = prop_oneof![
        3 => Just(""),
        1 => Just("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        1 => Just("HTTP/1.1 102 Processing\r\n\r\n"),
    ];
    (interim, status, headers(), body()).prop_map(move |(interim, status, headers, body)| {
        let bodiless = to_head || status.starts_with("204") || status.starts_with("304");
        let body = match body {
            Body::None if !bodiless => Body::Length(Vec::new()),
            // Neither may stand in an answer with this status.
            Body::Length(_) | Body::Chunked { .. } if status.starts_with("204") => Body::None,
            body => body,
        };
        let mut message = write(format!("HTTP/1.1 {status}"), headers, body, bodiless);
        message.bytes.splice(..0, interim.bytes());
        message
    })
}
