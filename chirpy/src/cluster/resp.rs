//! Replies of Redis (RESP2), parsed without a copy of what they hold.

use bytes::{Bytes, BytesMut};

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Int(i64),
    Simple(Bytes),
    Bulk(Bytes),
    /// Its first word is the code: `MOVED`, `ERR`.
    Error(String),
    Array(Vec<Reply>),
}

/// Bytes that are no reply: the connection is of no more use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reply of Redis")]
pub struct Malformed;

/// Arrays in arrays; none of our commands has more than three.
const DEPTH: u8 = 8;

/// Takes the first whole reply off `buffer`; none when more bytes are needed.
///
/// # Errors
/// [`Malformed`] when these bytes cannot become a reply.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let Some(length) = measure(buffer, 0, DEPTH)? else {
        return Ok(None);
    };
    let whole = buffer.split_to(length).freeze();
    build(&whole, &mut 0).map(Some)
}

/// Packed commands one by one: each is an array, as a reply may be.
pub fn commands(packed: &[u8]) -> Vec<&[u8]> {
    let (mut commands, mut start) = (vec![], 0);
    while let Ok(Some(end)) = measure(packed, start, DEPTH) {
        commands.push(&packed[start..end]);
        start = end;
    }
    commands
}

/// The line that begins at `at`, without its end, and where the next begins.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&rest[..end], at + end + 2))
}

fn number(text: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Malformed)
}

/// Where the reply that begins at `at` ends, once it is all there.
fn measure(bytes: &[u8], at: usize, depth: u8) -> Result<Option<usize>, Malformed> {
    let Some(kind) = bytes.get(at) else {
        return Ok(None);
    };
    if !b"+-:$*".contains(kind) || depth == 0 {
        return Err(Malformed);
    }
    let Some((text, next)) = line(bytes, at + 1) else {
        return Ok(None);
    };
    match kind {
        b'$' => {
            let length = number(text)?;
            if length < 0 {
                return Ok(Some(next));
            }
            let end = usize::try_from(length)
                .ok()
                .and_then(|length| next.checked_add(length)?.checked_add(2))
                .ok_or(Malformed)?;
            Ok((bytes.len() >= end).then_some(end))
        }
        b'*' => {
            let mut end = next;
            for _ in 0..number(text)? {
                match measure(bytes, end, depth - 1)? {
                    Some(after) => end = after,
                    None => return Ok(None),
                }
            }
            Ok(Some(end))
        }
        _ => Ok(Some(next)),
    }
}

/// The reply that begins at `at`, which [`measure`] has found whole.
fn build(bytes: &Bytes, at: &mut usize) -> Result<Reply, Malformed> {
    let kind = bytes.get(*at).copied().ok_or(Malformed)?;
    let (text, next) = line(bytes, *at + 1).ok_or(Malformed)?;
    let start = *at + 1;
    *at = next;
    Ok(match kind {
        b'+' => Reply::Simple(bytes.slice(start..start + text.len())),
        b'-' => Reply::Error(String::from_utf8_lossy(text).into_owned()),
        b':' => Reply::Int(number(text)?),
        b'$' => match usize::try_from(number(text)?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                *at = next + length + 2;
                Reply::Bulk(bytes.slice(next..next + length))
            }
        },
        b'*' => {
            let length = number(text)?;
            if length < 0 {
                return Ok(Reply::Nil);
            }
            Reply::Array((0..length).map(|_| build(bytes, at)).collect::<Result<_, _>>()?)
        }
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn every_kind_of_reply_is_read() {
        let text = "+OK\r\n-MOVED 1 a:1\r\n:-7\r\n$5\r\na\r\nbc\r\n$-1\r\n*2\r\n$1\r\nx\r\n*0\r\n*-1\r\n";
        let mut buffer = BytesMut::from(text);
        let mut got = vec![];
        while let Some(reply) = take(&mut buffer).expect("well formed") {
            got.push(reply);
        }
        let expected = [
            Reply::Simple(Bytes::from_static(b"OK")),
            Reply::Error("MOVED 1 a:1".into()),
            Reply::Int(-7),
            bulk("a\r\nbc"),
            Reply::Nil,
            Reply::Array(vec![bulk("x"), Reply::Array(vec![])]),
            Reply::Nil,
        ];
        assert_eq!(got, expected);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_is_no_reply_is_said_so() {
        for wrong in [
            "HTTP/1.1",
            ":x\r\n",
            "$9999999999999999999\r\n",
            "$x\r\n",
            &"*1\r\n".repeat(20),
        ] {
            assert_eq!(take(&mut BytesMut::from(wrong)), Err(Malformed), "{wrong}");
        }
    }

    fn write(reply: &Reply, out: &mut Vec<u8>) {
        match reply {
            Reply::Nil => out.extend(b"$-1\r\n"),
            Reply::Int(n) => out.extend(format!(":{n}\r\n").bytes()),
            Reply::Simple(text) => out.extend([b"+", &text[..], b"\r\n"].concat()),
            Reply::Bulk(text) => {
                out.extend([format!("${}\r\n", text.len()).as_bytes(), &text[..], b"\r\n"].concat());
            }
            Reply::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
            Reply::Array(all) => {
                out.extend(format!("*{}\r\n", all.len()).bytes());
                all.iter().for_each(|one| write(one, out));
            }
        }
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            Just(Reply::Nil),
            any::<i64>().prop_map(Reply::Int),
            "[A-Z ]{0,9}".prop_map(|text| Reply::Simple(text.into())),
            "[A-Z]{1,9}".prop_map(Reply::Error),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Reply::Bulk(bytes.into())),
        ];
        leaf.prop_recursive(3, 20, 6, |inner| {
            prop::collection::vec(inner, 0..6).prop_map(Reply::Array)
        })
    }

    proptest! {
        #[test]
        fn a_reply_survives_any_division_into_packets(all in prop::collection::vec(replies(), 1..5), cut in 1_usize..9) {
            let mut bytes = vec![];
            all.iter().for_each(|reply| write(reply, &mut bytes));
            let (mut buffer, mut got) = (BytesMut::new(), vec![]);
            for part in bytes.chunks(cut) {
                buffer.extend_from_slice(part);
                while let Some(reply) = take(&mut buffer).expect("well formed") {
                    got.push(reply);
                }
            }
            prop_assert_eq!(got, all);
        }
    }
}
