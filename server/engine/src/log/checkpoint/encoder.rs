//! Writes checkpoints: one part at a time, so that a stream of any size is written in bounded memory.
//!
//! The bytes are drawn in [the module above](super), version 1. Invariant: what is taken are whole events, each with
//! its `:s` line; concatenated, all that is taken is what [`Checkpoint::read`](super::Checkpoint::read) accepts.

use std::io::Write;

use memchr::memchr2;

use super::{END, EXTENT, HEAD, PRELUDE, SUM, TAIL, VERSION};
use crate::event::push_decimal;
use crate::limits::CHECKPOINT_PART_BYTES;
use crate::log::line;
use crate::position::Position;
use crate::topic::pointer;

/// Writes a checkpoint, part by part, as its documents are handed over.
///
/// Call [`Encoder::collection`] by ascending path, after each of them [`Encoder::document`], take what is ready with
/// [`Encoder::take`] as often as you like, and end with [`Encoder::finish`]. All must be of one position: whoever lets
/// other work run in between takes care that the documents don't change. Memory: what wasn't taken, one part (or one
/// document), and one short line per collection.
pub struct Encoder {
    position: Position,
    /// Whole events, not taken yet.
    out: Vec<u8>,
    /// Bytes taken, and their checksum.
    taken: u64,
    crc: u32,
    /// The event that is being filled, without its end.
    part: Vec<u8>,
    /// Documents in it.
    documents: usize,
    collection: Option<Open>,
    /// The `:x` lines of the collections before.
    extents: Vec<u8>,
}

/// The collection that is being written.
struct Open {
    path: Box<str>,
    changed: u64,
    start: u64,
    /// Whether the part is the first one, which adds the collection as a whole.
    first: bool,
}

impl Encoder {
    /// A checkpoint of the value after the event at `position`. Without a collection it is the empty value.
    #[must_use]
    pub fn new(position: Position) -> Encoder {
        let mut encoder = Encoder {
            position,
            out: Vec::new(),
            taken: 0,
            crc: 0,
            part: Vec::new(),
            documents: 0,
            collection: None,
            extents: Vec::new(),
        };
        encoder.part.extend_from_slice(HEAD);
        encoder.part.extend_from_slice(PRELUDE);
        encoder.end_event();
        encoder
    }

    /// Begins the collection with this decoded path, which the event `changed` was the last one to change.
    ///
    /// # Panics
    /// If the path isn't greater, by its bytes, than that of the collection before.
    pub fn collection(&mut self, path: &str, changed: u64) {
        let before = self.end_collection();
        assert!(before.is_none_or(|before| *before < *path), "collections come by ascending path");
        self.part.extend_from_slice(HEAD);
        self.part.extend_from_slice(br#"[{"op":"add","path":"#);
        push_string(&mut self.part, &pointer(path, None));
        self.part.extend_from_slice(br#","value":{"#);
        self.collection = Some(Open { path: path.into(), changed, start: self.length(), first: true });
    }

    /// Adds a document of the collection that was begun last; `body` is its compact JSON.
    ///
    /// # Panics
    /// If no collection was begun, or `body` holds a line's end.
    pub fn document(&mut self, id: &str, body: &[u8]) {
        assert!(memchr2(b'\n', b'\r', body).is_none(), "a document is one line");
        let open = self.collection.as_ref().expect("a document is in a collection");
        let before = self.part.len();
        push_document(&mut self.part, open, self.documents, id, body);
        let end = part_end(open.first).len() + TAIL.len();
        if self.documents > 0 && self.part.len() + end > CHECKPOINT_PART_BYTES {
            self.part.truncate(before);
            self.end_part();
            self.part.extend_from_slice(HEAD);
            self.part.push(b'[');
            let open = self.collection.as_ref().expect("it is still open");
            push_document(&mut self.part, open, self.documents, id, body);
        }
        self.documents += 1;
    }

    /// Bytes that [`Encoder::take`] would give.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.out.len()
    }

    /// The next bytes of the checkpoint, as far as they are ready: whole events with their `:s` lines.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.taken = self.length();
        self.crc = crc32c::crc32c_append(self.crc, &self.out);
        std::mem::take(&mut self.out)
    }

    /// The rest of the checkpoint, up to its end mark.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        let extents_at = self.length();
        self.out.append(&mut self.extents);
        self.out.extend_from_slice(END);
        push_decimal(&mut self.out, VERSION);
        write!(self.out, " {} {extents_at} ", self.position).expect("memory takes every write");
        let crc = crc32c::crc32c_append(self.crc, &self.out);
        line::push_checksum(&mut self.out, crc);
        self.out
    }

    /// Writes the closing event.
    fn close(&mut self) {
        self.end_collection();
        write!(self.part, "id: {}\nevent: position\ndata: {{}}", self.position).expect("memory takes every write");
        self.end_event();
    }

    /// Ends the collection that is being written, with its `:x` line, and gives its path.
    fn end_collection(&mut self) -> Option<Box<str>> {
        if self.collection.as_ref()?.first || self.documents > 0 {
            self.end_part();
        }
        let Open { path, changed, start, first: _ } = self.collection.take()?;
        let end = self.length();
        self.extents.extend_from_slice(EXTENT);
        write!(self.extents, "{start} {end} {changed} ").expect("memory takes every write");
        push_path(&mut self.extents, &path);
        self.extents.push(b'\n');
        Some(path)
    }

    /// Ends the part that is being filled; one that follows is a further one.
    fn end_part(&mut self) {
        let open = self.collection.as_mut().expect("a part is of a collection");
        self.part.extend_from_slice(part_end(open.first));
        open.first = false;
        self.documents = 0;
        self.end_event();
    }

    fn end_event(&mut self) {
        self.part.extend_from_slice(TAIL);
        self.out.extend_from_slice(&self.part);
        self.out.extend_from_slice(SUM);
        line::push_checksum(&mut self.out, crc32c::crc32c(&self.part));
        self.part.clear();
    }

    /// Bytes of the checkpoint so far.
    fn length(&self) -> u64 {
        self.taken + self.out.len() as u64
    }
}

/// How a part ends, before the event's own end.
fn part_end(first: bool) -> &'static [u8] {
    match first {
        true => b"}}]",
        false => b"]",
    }
}

fn push_document(part: &mut Vec<u8>, open: &Open, before: usize, id: &str, body: &[u8]) {
    if before > 0 {
        part.push(b',');
    }
    if open.first {
        push_string(part, id);
        part.push(b':');
        part.extend_from_slice(body);
    } else {
        part.extend_from_slice(br#"{"op":"add","path":"#);
        push_string(part, &pointer(&open.path, Some(id)));
        part.extend_from_slice(br#","value":"#);
        part.extend_from_slice(body);
        part.push(b'}');
    }
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("memory takes every string");
}

fn push_path(out: &mut Vec<u8>, path: &str) {
    for (at, name) in path.split('/').enumerate() {
        if at > 0 {
            out.push(b'/');
        }
        out.extend_from_slice(line::escape(name).as_bytes());
    }
}

/// Writes a whole checkpoint to `sink`, in pieces of some [`CHECKPOINT_PART_BYTES`] or one document.
///
/// `collections` are (decoded path, sequence of the last change, documents as (id, compact JSON)), by ascending path.
///
/// # Errors
/// What `sink` returns, at once.
///
/// # Panics
/// As [`Encoder::collection`] and [`Encoder::document`].
pub fn encode<'a, I, E>(
    position: Position,
    collections: impl Iterator<Item = (&'a str, u64, I)>,
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E>
where
    I: Iterator<Item = (&'a str, &'a [u8])>,
{
    let mut encoder = Encoder::new(position);
    for (path, changed, documents) in collections {
        encoder.collection(path, changed);
        for (id, body) in documents {
            encoder.document(id, body);
            if encoder.ready() >= CHECKPOINT_PART_BYTES {
                sink(&encoder.take())?;
            }
        }
        if encoder.ready() >= CHECKPOINT_PART_BYTES {
            sink(&encoder.take())?;
        }
    }
    sink(&encoder.finish())
}

/// The events that add `collections` to an empty value, without prelude and closing: what a newcomer is sent of a small
/// value, made for it alone.
///
/// `collections` are as for [`encode`]; what a follower of a document wants is its collection with nothing else in it.
/// Memory: the whole value.
///
/// # Panics
/// As [`Encoder::collection`] and [`Encoder::document`].
#[must_use]
pub fn parts<'a, I>(collections: impl Iterator<Item = (&'a str, I)>) -> Vec<u8>
where
    I: Iterator<Item = (&'a str, &'a [u8])>,
{
    let mut encoder = Encoder::new(Position::ORIGIN);
    encoder.out.clear();
    for (path, documents) in collections {
        encoder.collection(path, 0);
        documents.for_each(|(id, body)| encoder.document(id, body));
    }
    encoder.end_collection();
    encoder.out
}

/// Appends the event that every snapshot begins with: the value becomes `{}`.
pub fn prelude(out: &mut Vec<u8>) {
    for bytes in [HEAD, PRELUDE, TAIL] {
        out.extend_from_slice(bytes);
    }
}
