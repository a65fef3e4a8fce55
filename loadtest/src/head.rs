//! The head of a response to a follower, checked.

/// Bytes of a head that are waited for.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields of a head.
const FIELDS_MAX: usize = 64;

/// The length of the head of a stream at the start of `bytes`, once it is whole.
///
/// # Errors
/// What is wrong with it: not HTTP, another status than 200, no event stream, or a body in chunks.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, String> {
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
    match field("transfer-encoding").is_empty() {
        true => Ok(Some(length)),
        false => Err("a body in chunks, which isn't read here".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_head_ends_where_it_ends() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-TYPE: text/event-stream; charset=utf-8\r\n\r\nid: 1";
        assert_eq!(length(head), Ok(Some(head.len() - 5)));
        (0..head.len() - 5).for_each(|cut| assert_eq!(length(&head[..cut]), Ok(None), "cut at {cut}"));
        assert!(length(&[b"HTTP/1.1 200 OK\r\nx: ", &[b'x'; HEAD_BYTES_MAX][..]].concat()).is_err());
    }

    #[test]
    fn a_wrong_answer_is_an_error() {
        let stream = "Content-Type: text/event-stream\r\n";
        for (head, error) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", "status 404"),
            ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", "content-type \"application/json\""),
            ("SSH-2.0-x\r\n\r\n", "a response head that isn't one: invalid HTTP version"),
            (
                &format!("HTTP/1.1 200 OK\r\n{stream}Transfer-Encoding: chunked\r\n\r\n"),
                "a body in chunks, which isn't read here",
            ),
        ] {
            assert_eq!(length(head.as_bytes()), Err(error.to_owned()));
        }
    }
}
