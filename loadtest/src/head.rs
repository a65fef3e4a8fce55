//! The head of a response to a follower, checked, and how the body behind it is framed.

use fantail_engine::protocol::http1::{BodyReader, Framing};

/// Bytes of a head that are waited for.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields of a head.
const FIELDS_MAX: usize = 64;

/// The head of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes that it takes.
    pub(crate) length: usize,
    /// What comes behind it.
    pub(crate) body: Body,
}

/// How a stream's bytes stand on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// As they are; the stream ends with the connection.
    Plain,
    /// In chunks; the stream ends with the last one.
    Chunked,
}

impl Body {
    /// What takes the stream out of its chunks, if it comes in chunks.
    pub(crate) fn reader(self) -> Option<BodyReader> {
        match self {
            Body::Plain => None,
            Body::Chunked => {
                Some(BodyReader::new(Framing::Chunked, usize::MAX).expect("only a length can be too large"))
            }
        }
    }
}

/// The head of a stream at the start of `bytes`, once it is whole.
///
/// # Errors
/// What is wrong with it: not HTTP, another status than 200, no event stream, or a body that is neither plain nor chunked.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("a response head without an end".to_owned()),
        Err(error) => return Err(format!("a response head that isn't one: {error}")),
    };
    let field = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.map_or("", |field| std::str::from_utf8(field.value).unwrap_or(""))
    };
    if response.code != Some(200) {
        return Err(format!("status {}", response.code.unwrap_or(0)));
    }
    if !field("content-type").starts_with("text/event-stream") {
        return Err(format!("content-type {:?}", field("content-type")));
    }
    let body = match field("transfer-encoding") {
        "" => Body::Plain,
        coding if coding.eq_ignore_ascii_case("chunked") => Body::Chunked,
        coding => return Err(format!("transfer-encoding {coding:?}")),
    };
    match field("content-encoding") {
        "" | "identity" => Ok(Some(Head { length, body })),
        coding => Err(format!("content-encoding {coding:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_head_ends_where_it_ends() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-TYPE: text/event-stream; charset=utf-8\r\n\r\nid: 1";
        assert_eq!(read(head), Ok(Some(Head { length: head.len() - 5, body: Body::Plain })));
        (0..head.len() - 5).for_each(|cut| assert_eq!(read(&head[..cut]), Ok(None), "cut at {cut}"));
        assert!(read(&[b"HTTP/1.1 200 OK\r\nx: ", &[b'x'; HEAD_BYTES_MAX][..]].concat()).is_err());
        let chunked = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(read(chunked), Ok(Some(Head { length: chunked.len(), body: Body::Chunked })));
    }

    #[test]
    fn a_wrong_answer_is_an_error() {
        let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
        for (head, error) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", "status 404"),
            ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", "content-type \"application/json\""),
            ("SSH-2.0-x\r\n\r\n", "a response head that isn't one: invalid HTTP version"),
            (&format!("{stream}Transfer-Encoding: gzip, chunked\r\n\r\n"), "transfer-encoding \"gzip, chunked\""),
            (&format!("{stream}Content-Encoding: br\r\n\r\n"), "content-encoding \"br\""),
        ] {
            assert_eq!(read(head.as_bytes()), Err(error.to_owned()));
        }
    }
}
