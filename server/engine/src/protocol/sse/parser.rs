//! A client's reader of event streams, as the HTML standard has it (sections 9.2.5 and 9.2.6), for tests and load.
//!
//! It refuses lines and blocks over the caller's bound, since a stream need never send an empty line. Values are bytes:
//! decoding each with `String::from_utf8_lossy` gives what the standard's decoding of the whole stream gives, as no line
//! end, colon or space is part of a longer character.
//!
//! Invariant: the events depend on the bytes alone, not on how they were cut.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// An event, borrowed from the bytes that were fed or from what was kept of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The last id that the stream sent, with this event or before it; `None` if there was none or an empty one.
    pub id: Option<&'a [u8]>,
    /// The event's type, `message` if it names none.
    pub event: &'a [u8],
    /// Its data lines, joined by line feeds.
    pub data: &'a [u8],
}

/// Reads one stream. A new connection needs a new parser.
#[derive(Debug)]
pub struct Parser {
    /// The beginning of a line whose end wasn't fed yet.
    line: Vec<u8>,
    /// What the lines since the last empty one said.
    block: Block<'static>,
    /// The id of the last block that was ended.
    id: Vec<u8>,
    retry_ms: Option<u64>,
    bytes_max: usize,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The first line may begin with a byte order mark.
    FirstLine,
    /// Any later line.
    Lines,
    /// A line ended with a carriage return, so that a line feed that comes next ends none.
    AfterReturn,
    /// A bound was exceeded; nothing more is read.
    Refused,
}

/// The fields of an unfinished block. Borrowed while the bytes that were fed last hold them.
#[derive(Debug, Default)]
struct Block<'a> {
    data: Option<Cow<'a, [u8]>>,
    event: Option<Cow<'a, [u8]>>,
    id: Option<Cow<'a, [u8]>>,
}

/// What a line says.
enum Line<'a> {
    /// It is empty and ends the block.
    End,
    Data(&'a [u8]),
    Event(&'a [u8]),
    Id(&'a [u8]),
    Retry(u64),
    /// A comment, a field that nobody knows, or a value that is refused.
    Nothing,
}

impl Parser {
    /// A parser that keeps at most `bytes_max` bytes of an unfinished line, and as many of an unfinished block.
    #[must_use]
    pub fn new(bytes_max: usize) -> Parser {
        Parser {
            line: Vec::new(),
            block: Block::default(),
            id: Vec::new(),
            retry_ms: None,
            bytes_max,
            progress: Progress::FirstLine,
        }
    }

    /// Reads on and calls `on` for each event that is complete. An event that lies in `bytes` with a single data line is
    /// neither copied nor allocated.
    ///
    /// # Errors
    /// A line or the fields of a block exceed the bound. Events before it were delivered; the same error follows if fed again.
    pub fn feed(&mut self, bytes: &[u8], mut on: impl FnMut(Event<'_>)) -> Result<(), BlockTooLong> {
        let mut rest = bytes;
        let mut block: Block<'_> = std::mem::take(&mut self.block);
        while let Some(end) = self.line_end(&mut rest)? {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            self.check(self.line.len() + line.len())?;
            let is_first = self.progress == Progress::FirstLine;
            self.progress = if rest[end] == b'\r' { Progress::AfterReturn } else { Progress::Lines };
            rest = after;
            if self.line.is_empty() {
                self.take(Line::read(line, is_first), Cow::Borrowed, &mut block, &mut on)?;
            } else {
                let mut kept = std::mem::take(&mut self.line);
                kept.extend_from_slice(line);
                self.take(Line::read(&kept, is_first), |value| Cow::Owned(value.to_vec()), &mut block, &mut on)?;
                kept.clear();
                self.line = kept;
            }
        }
        self.check(self.line.len() + rest.len())?;
        self.line.extend_from_slice(rest);
        self.block = block.into_owned();
        Ok(())
    }

    /// Whether all that was fed ended a block or was a comment: the next byte begins a block.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let Block { data, event, id } = &self.block;
        self.line.is_empty() && data.is_none() && event.is_none() && id.is_none() && self.progress == Progress::Lines
    }

    /// The id to resume with (`Last-Event-ID`): that of the last block that was ended, even if it was no event.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&[u8]> {
        (!self.id.is_empty()).then_some(&self.id)
    }

    /// How long the stream asks to wait before the next connection, if it said so.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Where the line at the start of `rest` ends, after passing over the line feed of a CRLF.
    fn line_end(&mut self, rest: &mut &[u8]) -> Result<Option<usize>, BlockTooLong> {
        match (self.progress, rest.first()) {
            (Progress::Refused, _) => return Err(BlockTooLong),
            (Progress::AfterReturn, Some(first)) => {
                self.progress = Progress::Lines;
                if *first == b'\n' {
                    *rest = &rest[1..];
                }
            }
            (Progress::FirstLine | Progress::Lines | Progress::AfterReturn, _) => {}
        }
        Ok(memchr2(b'\r', b'\n', rest))
    }

    fn take<'a, 'l>(
        &mut self,
        line: Line<'l>,
        keep: impl FnOnce(&'l [u8]) -> Cow<'a, [u8]>,
        block: &mut Block<'a>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), BlockTooLong> {
        match line {
            Line::End => {
                let Block { data, event, id } = std::mem::take(block);
                if let Some(id) = id {
                    self.id.clear();
                    self.id.extend_from_slice(&id);
                }
                if let Some(data) = data {
                    let event = event.as_deref().filter(|event| !event.is_empty()).unwrap_or(b"message");
                    on(Event { id: self.last_event_id(), event, data: &data });
                }
            }
            Line::Data(value) => match &mut block.data {
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => block.data = Some(keep(value)),
            },
            Line::Event(value) => block.event = Some(keep(value)),
            Line::Id(value) => block.id = Some(keep(value)),
            Line::Retry(ms) => self.retry_ms = Some(ms),
            Line::Nothing => {}
        }
        self.check(block.len())
    }

    fn check(&mut self, bytes: usize) -> Result<(), BlockTooLong> {
        if bytes > self.bytes_max {
            let id = std::mem::take(&mut self.id);
            *self = Parser { id, retry_ms: self.retry_ms, progress: Progress::Refused, ..Parser::new(0) };
            return Err(BlockTooLong);
        }
        Ok(())
    }
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8], is_first: bool) -> Line<'a> {
        let line = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(after_mark) if is_first => after_mark,
            _ => line,
        };
        if line.is_empty() {
            return Line::End;
        }
        let colon = memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => Line::Data(value),
            b"event" => Line::Event(value),
            b"id" if memchr(0, value).is_none() => Line::Id(value),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).map_or(Line::Nothing, Line::Retry)
            }
            _ => Line::Nothing,
        }
    }
}

impl Block<'_> {
    fn len(&self) -> usize {
        [&self.data, &self.event, &self.id].into_iter().flatten().map(|value| value.len()).sum()
    }

    fn into_owned(self) -> Block<'static> {
        let own = |value: Cow<'_, [u8]>| Cow::Owned(value.into_owned());
        Block { data: self.data.map(own), event: self.event.map(own), id: self.id.map(own) }
    }
}

/// A line or a block is longer than the parser's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line or a block of the event stream is too long")]
pub struct BlockTooLong;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixture::{self, escape};
    use proptest::prelude::*;

    const FIXTURES: &str = include_str!("../../../../../fixtures/streams/parser.txt");
    const BYTES_MAX: usize = 64;

    fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
        let mut parser = Parser::new(BYTES_MAX);
        let mut lines = Vec::new();
        for piece in pieces {
            let fed = parser.feed(piece, |event| {
                let id = event.id.map_or("none".to_owned(), escape);
                lines.push(format!("{} id={id} data={}", escape(event.event), escape(event.data)));
            });
            if let Err(error) = fed {
                assert_eq!(parser.feed(b"data\n\n", |_| panic!("a refusal is final")), Err(error));
                lines.push(error.to_string());
                break;
            }
        }
        let resume = parser.last_event_id().map_or("none".to_owned(), escape);
        let retry = parser.retry_ms().map_or("none".to_owned(), |ms| ms.to_string());
        lines.push(format!("resume={resume} retry={retry}"));
        lines.join("\n")
    }

    #[test]
    fn streams_are_read_like_the_standard() {
        fixture::check(FIXTURES, |case| read([&case.input[..]]));
    }

    #[test]
    fn cuts_change_nothing() {
        for case in fixture::cases(FIXTURES) {
            let whole = read([&case.input[..]]);
            for cut in 0..=case.input.len() {
                let (one, two) = case.input.split_at(cut);
                assert_eq!(read([one, two]), whole, "{case} cut at {cut}");
            }
            assert_eq!(read(case.input.chunks(1)), whole, "{case} byte by byte");
        }
    }

    #[test]
    fn an_event_within_one_piece_is_borrowed_from_it() {
        let bytes = b"id: 1\nevent: patch\ndata: []\n\n";
        Parser::new(BYTES_MAX)
            .feed(bytes, |event| {
                assert!(bytes.as_ptr_range().contains(&event.data.as_ptr()));
                assert!(bytes.as_ptr_range().contains(&event.event.as_ptr()));
            })
            .expect("a short event");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = read([&bytes[..]]);
        }

        #[test]
        fn no_cut_matters(
            pieces in prop::collection::vec("data|event|id|retry|:|: |\r|\n|\r\n|\n\n|\0|\u{feff}|[0-9a-z]{0,9}", 0..32),
        ) {
            let whole = pieces.concat();
            prop_assert_eq!(read(pieces.iter().map(|piece| piece.as_bytes())), read([whole.as_bytes()]));
            prop_assert_eq!(read(whole.as_bytes().chunks(1)), read([whole.as_bytes()]));
        }
    }
}
