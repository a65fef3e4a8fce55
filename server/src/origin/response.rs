//! Responses that the server reads itself: a head, and content that comes piece by piece, off its framing.
//!
//! Nothing is read before it is asked for, so an origin goes on no faster than whoever reads. Invariant: a connection serves
//! another request only if the content was read to its end.

use std::time::Duration;

use bytes::Bytes;
use fantail_engine::protocol::http1::{
    Answer, AnswerBody, AnswerError, BodyError, BodyReader, Framing, Method, ParsedAnswer, parse_answer,
};

use super::{Link, Reader};
use crate::limits::{INTERIMS_MAX, PASSED_BYTES, READ_BYTES};

/// See the module.
pub(crate) struct Response {
    link: Link,
    /// As it was sent.
    head: Vec<u8>,
    method: Method,
    content: Content,
    keeps: bool,
    /// How long its content may pause.
    idle: Duration,
}

/// Where the content ends.
enum Content {
    /// After so many bytes.
    Length(u64),
    Chunked(Box<BodyReader>),
    UntilClose,
}

/// How an origin fails its own response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseError {
    /// Nothing came for too long.
    #[error("the origin didn't go on in time")]
    Late,
    /// The connection ended before the response did.
    #[error("the origin has closed the connection")]
    Gone,
    /// What the system or TLS says.
    #[error("the connection to the origin has broken: {0}")]
    Broken(#[from] std::io::Error),
    /// The head isn't one.
    #[error(transparent)]
    Head(#[from] AnswerError),
    /// The content's framing isn't one.
    #[error("the body of the origin's response can't be read: {0}")]
    Body(#[from] BodyError),
    /// Another protocol, or interim responses without end.
    #[error("the origin's response is one to another request")]
    Unasked,
}

impl Response {
    /// Reads the head of the final response to a request by `method`, which was sent, within `patience`.
    ///
    /// # Errors
    /// There is none. The link is closed.
    pub(crate) async fn read(
        mut link: Link,
        method: Method,
        patience: Duration,
        idle: Duration,
    ) -> Result<Response, ResponseError> {
        let whole = skip_interims(&mut link.wire().reader, method);
        let whole = monoio::time::timeout(patience, whole).await;
        whole.unwrap_or(Err(ResponseError::Late))?;
        Response::take(link, method, idle)
    }

    /// Takes over a link in which the whole head of a final response is, unread.
    ///
    /// # Errors
    /// The head isn't one, or isn't whole.
    pub(crate) fn take(mut link: Link, method: Method, idle: Duration) -> Result<Response, ResponseError> {
        let reader = &mut link.wire().reader;
        let ParsedAnswer::Complete { answer, length } = parse_answer(reader.unread(), method)? else {
            return Err(ResponseError::Gone);
        };
        let content = match answer.body {
            AnswerBody::Framed(Framing::Empty) => Content::Length(0),
            AnswerBody::Framed(Framing::Length(bytes)) => Content::Length(bytes),
            AnswerBody::Framed(framing @ Framing::Chunked) => {
                Content::Chunked(Box::new(BodyReader::new(framing, usize::MAX)?))
            }
            AnswerBody::UntilClose => Content::UntilClose,
        };
        let (keeps, body, head) = (answer.keep_alive(), answer.body, reader.unread()[..length].to_vec());
        reader.use_up_head(length, body);
        Ok(Response { link, head, method, content, keeps, idle })
    }

    /// The head.
    pub(crate) fn answer(&self) -> Answer<'_> {
        let Ok(ParsedAnswer::Complete { answer, .. }) = parse_answer(&self.head, self.method) else {
            unreachable!("it was parsed when it came")
        };
        answer
    }

    /// The bytes of content that are left, if the head told.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.content {
            Content::Length(left) => Some(*left),
            Content::Chunked(_) | Content::UntilClose => None,
        }
    }

    /// Whether all of the content was read, as far as its framing tells.
    pub(crate) fn is_over(&self) -> bool {
        match &self.content {
            Content::Length(left) => *left == 0,
            Content::Chunked(reader) => reader.is_done(),
            Content::UntilClose => false,
        }
    }

    /// The next piece of the content, of at most [`PASSED_BYTES`] and never empty; none at the end.
    ///
    /// # Errors
    /// The content breaks off.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, ResponseError> {
        let reader = &mut self.link.wire().reader;
        loop {
            let mut piece = Vec::new();
            if self.content.read(reader, &mut piece)? {
                return Ok((!piece.is_empty()).then(|| piece.into()));
            }
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
            let filled = monoio::time::timeout(self.idle, reader.fill(PASSED_BYTES)).await;
            if filled.unwrap_or(Err(std::io::ErrorKind::TimedOut.into())).map_err(late)? == 0 {
                return match self.content {
                    Content::UntilClose => {
                        self.content = Content::Length(0);
                        self.keeps = false;
                        Ok(None)
                    }
                    Content::Length(_) | Content::Chunked(_) => Err(ResponseError::Gone),
                };
            }
        }
    }

    /// All of the content; none if there is more than `max`.
    ///
    /// # Errors
    /// As [`Response::piece`].
    pub(crate) async fn whole(&mut self, max: usize) -> Result<Option<Vec<u8>>, ResponseError> {
        if self.length().is_some_and(|length| length > max as u64) {
            return Ok(None);
        }
        let mut whole = Vec::with_capacity(self.length().unwrap_or(0) as usize);
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > max {
                return Ok(None);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Some(whole))
    }

    /// Nobody reads on: the connection may serve another request, if this one's content has ended.
    pub(crate) fn finish(self) {
        if self.is_over() && self.keeps {
            self.link.rest();
        }
    }
}

fn late(error: std::io::Error) -> ResponseError {
    match error.kind() {
        std::io::ErrorKind::TimedOut => ResponseError::Late,
        _ => ResponseError::Broken(error),
    }
}

/// Reads until the head of a final response is there.
async fn skip_interims(reader: &mut Reader, method: Method) -> Result<(), ResponseError> {
    let mut interims = 0;
    loop {
        match parse_answer(reader.unread(), method)? {
            ParsedAnswer::Complete { answer, .. } if answer.status == 101 => return Err(ResponseError::Unasked),
            ParsedAnswer::Complete { answer, length } if answer.status < 200 => {
                reader.use_up(length);
                interims += 1;
                if interims > INTERIMS_MAX {
                    return Err(ResponseError::Unasked);
                }
            }
            ParsedAnswer::Complete { .. } => return Ok(()),
            ParsedAnswer::Partial => {
                if reader.fill(READ_BYTES).await? == 0 {
                    return Err(ResponseError::Gone);
                }
            }
        }
    }
}

impl Content {
    /// Appends what was read of the content; whether that is its end.
    fn read(&mut self, reader: &mut Reader, out: &mut Vec<u8>) -> Result<bool, BodyError> {
        match self {
            Content::Length(left) => {
                let there = reader.unread();
                let count = there.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&there[..count]);
                *left -= count as u64;
                reader.use_up(count);
                Ok(*left == 0)
            }
            Content::Chunked(body) if body.is_done() => Ok(true),
            Content::Chunked(body) => {
                let fed = body.feed(reader.unread(), out)?;
                reader.use_up(fed.consumed);
                Ok(fed.done)
            }
            Content::UntilClose => {
                out.extend_from_slice(reader.unread());
                reader.use_up(reader.unread().len());
                Ok(false)
            }
        }
    }
}
