//! Bodies that pass: taken off one connection's framing and put into another's.

use fantail_engine::protocol::http1::{self, AnswerBody, BodyError, BodyReader, Framing, Shape};

use crate::conversation::connection::{Connection, Inlet};
use crate::origin::Reader;

/// A request's body on its way to the origin.
pub(super) struct Upload {
    reader: BodyReader,
    framing: Framing,
    content: Vec<u8>,
}

impl Upload {
    pub(super) fn new(framing: Framing) -> Upload {
        let Ok(reader) = BodyReader::new(framing, usize::MAX) else { unreachable!("no body is larger than that") };
        Upload { reader, framing, content: Vec::new() }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.reader.is_done()
    }

    /// Appends what came with the head.
    pub(super) fn begin(&mut self, connection: &mut Connection, out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.pass(out, |reader, content| connection.feed(reader, content))
    }

    /// Appends what came since.
    pub(super) fn go_on(&mut self, inlet: &mut Inlet, out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.pass(out, |reader, content| inlet.feed(reader, content))
    }

    fn pass(
        &mut self,
        out: &mut Vec<u8>,
        feed: impl FnOnce(&mut BodyReader, &mut Vec<u8>) -> Result<(), BodyError>,
    ) -> Result<(), BodyError> {
        match self.framing {
            Framing::Empty => Ok(()),
            Framing::Length(_) => feed(&mut self.reader, out),
            Framing::Chunked => {
                self.content.clear();
                feed(&mut self.reader, &mut self.content)?;
                http1::chunk(out, &self.content);
                if self.reader.is_done() {
                    out.extend_from_slice(LAST_CHUNK);
                }
                Ok(())
            }
        }
    }
}

/// The chunk that ends a body, without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A response's body on its way to the client.
pub(in crate::conversation) struct Download {
    state: State,
    shape: Shape,
    content: Vec<u8>,
}

enum State {
    /// So many bytes are to come.
    Length(u64),
    Chunked(BodyReader),
    UntilClose,
}

impl Download {
    pub(in crate::conversation) fn new(body: AnswerBody, shape: Shape) -> Download {
        let state = match body {
            AnswerBody::Framed(Framing::Empty) => State::Length(0),
            AnswerBody::Framed(Framing::Length(bytes)) => State::Length(bytes),
            AnswerBody::Framed(framing @ Framing::Chunked) => match BodyReader::new(framing, usize::MAX) {
                Ok(reader) => State::Chunked(reader),
                Err(_) => unreachable!("no body is larger than that"),
            },
            AnswerBody::UntilClose => State::UntilClose,
        };
        Download { state, shape, content: Vec::new() }
    }

    /// A body that is read for its content alone, until [`Download::reshape`].
    pub(in crate::conversation) fn plain(body: AnswerBody) -> Download {
        Download::new(body, Shape::UntilClose)
    }

    /// Appends the content that was read so far as the client gets it, and goes on so.
    pub(in crate::conversation) fn reshape(&mut self, shape: Shape, content: &[u8], out: &mut Vec<u8>) {
        self.shape = shape;
        put(shape, content, out);
    }

    /// The same, of a body that is whole.
    pub(in crate::conversation) fn reshape_whole(&mut self, shape: Shape, content: &[u8], out: &mut Vec<u8>) {
        self.reshape(shape, content, out);
        self.end(out);
    }

    /// Whether it is whole.
    pub(super) fn is_whole(&self) -> bool {
        match &self.state {
            State::Length(left) => *left == 0,
            State::Chunked(reader) => reader.is_done(),
            State::UntilClose => false,
        }
    }

    /// All that was read, if it goes on as it is: there is no need to copy it.
    pub(super) fn take(&mut self, reader: &mut Reader) -> Option<Vec<u8>> {
        let there = reader.unread().len() as u64;
        match (&mut self.state, self.shape) {
            (State::Length(left), _) if 0 < there && there <= *left => {
                let taken = reader.take()?;
                *left -= there;
                Some(taken)
            }
            (State::UntilClose, Shape::UntilClose) if there > 0 => reader.take(),
            _ => None,
        }
    }

    /// Appends what was read, as the client gets it.
    pub(super) fn pass(&mut self, reader: &mut Reader, out: &mut Vec<u8>) -> Result<(), BodyError> {
        match &mut self.state {
            State::Length(left) => {
                let there = reader.unread();
                let count = there.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&there[..count]);
                *left -= count as u64;
                reader.use_up(count);
            }
            State::UntilClose => {
                put(self.shape, reader.unread(), out);
                reader.use_up(reader.unread().len());
            }
            State::Chunked(body) => {
                self.content.clear();
                let fed = body.feed(reader.unread(), &mut self.content)?;
                reader.use_up(fed.consumed);
                put(self.shape, &self.content, out);
                if fed.done {
                    self.end(out);
                }
            }
        }
        Ok(())
    }

    /// The connection has ended; whether the body has, too. Appends what the client is told of it.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) -> bool {
        match &self.state {
            State::Length(_) | State::Chunked(_) => false,
            State::UntilClose => {
                self.end(out);
                true
            }
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.shape == Shape::Chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
    }
}

fn put(shape: Shape, content: &[u8], out: &mut Vec<u8>) {
    match shape {
        Shape::Chunked => http1::chunk(out, content),
        Shape::UntilClose | Shape::Length(_) | Shape::Bare | Shape::Interim | Shape::Switched => {
            out.extend_from_slice(content);
        }
    }
}
