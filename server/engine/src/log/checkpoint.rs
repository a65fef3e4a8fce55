//! A checkpoint, `<sequence>.snapshot.sse`: a stream's whole value at a position, as the SSE bytes that newcomers get.
//!
//! ```text
//! event: patch\n                                                              ┐
//! data: [{"op":"replace","path":"","value":{}}]\n                             │ prelude: the root becomes {}
//! \n                                                                          │
//! :s 9f2ac01b\n                                                               ┘ CRC32C of the event before it
//! event: patch\n                                                              ┐ one extent per collection, no gaps,
//! data: [{"op":"add","path":"/messages","value":{"1":{…},"2":{…}}}]\n         │ by ascending path;
//! \n:s 9f2ac01b\n                                                             │ first part: the collection itself
//! event: patch\n                                                              │
//! data: [{"op":"add","path":"/messages/3","value":{…}},…]\n                   │ further parts: documents, one by one
//! \n:s 9f2ac01b\n                                                             ┘
//! id: k3f9q2-1042\nevent: position\ndata: {}\n\n:s 9f2ac01b\n                   closing: here the log goes on
//! :x 72 194 1040 messages\n                                                   start, end, sequence of the last change,
//!                                                                             path (its names percent-encoded)
//! :e 1 k3f9q2-1042 248 9f2ac01b\n                                             version, position, offset of the :x,
//!                                                                             CRC32C of all bytes before it
//! ```
//!
//! Followers are sent all bytes before the first `:x` (of a stream), or prelude, extents, closing (of collections);
//! `:s` lines go along as comments, `:x` and `:e` never leave. Nothing but the closing event has an id. An event is at
//! most [`CHECKPOINT_PART_BYTES`](crate::limits::CHECKPOINT_PART_BYTES) unless one document alone is larger. Written
//! beside, synced, renamed: so it is whole or not there, and what isn't whole to the last byte isn't believed.
//!
//! Here alone the log writes JSON, because the snapshot's form on the wire is JSON; documents come as compact bytes and
//! aren't looked into. Nothing here reads JSON.

mod encoder;

use std::ops::Range;

use memchr::{memchr, memchr2, memrchr};

pub use self::encoder::{Encoder, encode, parts, prelude};

use crate::limits::{NAME_BYTES_MAX, PATH_SEGMENTS_MAX};
use crate::log::line;
use crate::position::Position;
use crate::topic::check_name;

const VERSION: u64 = 1;
const HEAD: &[u8] = b"event: patch\ndata: ";
const TAIL: &[u8] = b"\n\n";
const PRELUDE: &[u8] = br#"[{"op":"replace","path":"","value":{}}]"#;
const SUM: &[u8] = b":s ";
const EXTENT: &[u8] = b":x ";
const END: &[u8] = b":e ";

/// Bytes of a `:s` line.
const SUM_BYTES: usize = SUM.len() + line::CHECKSUM_BYTES;

/// Bytes of an `:x` line at most: its mark, three numbers, the path with every byte escaped.
const EXTENT_BYTES_MAX: usize = EXTENT.len() + 3 * 21 + PATH_SEGMENTS_MAX * (3 * NAME_BYTES_MAX + 1) + 1;

/// Bytes of an `:e` line at most.
const END_BYTES_MAX: usize = END.len() + 21 + 28 + 21 + line::CHECKSUM_BYTES;

/// A checkpoint, read and verified: where its pieces lie in the bytes. Ranges are in bytes from the file's start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The position whose value it is.
    pub position: Position,
    /// The event that makes the root `{}`, with its `:s` line.
    pub prelude: Range<u64>,
    /// The collections by ascending path, from the prelude's end to the closing's start without a gap.
    pub collections: Vec<Extent>,
    /// The event that carries the position, with its `:s` line. Its end is the end of what followers are sent.
    pub closing: Range<u64>,
}

/// Where one collection lies in a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The collection's decoded path.
    pub path: Box<str>,
    /// Sequence of the last event that changed it.
    pub changed: u64,
    /// Its events, with their `:s` lines; at least one.
    pub range: Range<u64>,
}

impl Checkpoint {
    /// Reads a checkpoint whole and verifies all of it in linear time. Memory: one extent per collection.
    ///
    /// # Errors
    /// It is of a newer version, or not to the last byte what [`Encoder`] writes.
    pub fn read(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let (position, extents_at) = end_mark(bytes)?;
        let (events, rest) = bytes.split_at_checked(extents_at).ok_or(CheckpointError::End)?;
        let place = |at: usize| CheckpointError::Event { offset: at as u64 };

        let prelude = match patch(events) {
            Some((PRELUDE, length)) => summed(events, 0, length).ok_or(place(0))?,
            Some(_) | None => return Err(place(0)),
        };
        let mut at = prelude;
        let mut collections: Vec<Extent> = Vec::new();
        let mut lines = rest;
        while lines.starts_with(EXTENT) {
            let (extent, length) =
                extent_line(lines).ok_or(CheckpointError::Extent { offset: offset(bytes, lines) })?;
            let ascends = collections.last().is_none_or(|before| before.path < extent.path);
            let fits = extent.range.start == at as u64 && extent.range.start < extent.range.end;
            if !ascends || !fits || extent.changed > position.sequence || extent.range.end > extents_at as u64 {
                return Err(CheckpointError::Extent { offset: offset(bytes, lines) });
            }
            let end = extent.range.end as usize;
            while at < end {
                let (_, length) = patch(&events[at..end]).ok_or(place(at))?;
                at = summed(&events[..end], at, length).ok_or(place(at))?;
            }
            collections.push(extent);
            lines = &lines[length..];
        }
        if !lines.starts_with(END) || memchr(b'\n', lines) != Some(lines.len() - 1) {
            return Err(CheckpointError::Extent { offset: offset(bytes, lines) });
        }
        let closing = format!("id: {position}\nevent: position\ndata: {{}}\n\n");
        let whole =
            events[at..].starts_with(closing.as_bytes()) && summed(events, at, closing.len()) == Some(extents_at);
        if !whole {
            return Err(place(at));
        }
        Ok(Checkpoint { position, prelude: 0..prelude as u64, collections, closing: at as u64..extents_at as u64 })
    }

    /// The extent of the collection with this decoded path.
    #[must_use]
    pub fn collection(&self, path: &str) -> Option<&Extent> {
        let at = self.collections.binary_search_by(|extent| (*extent.path).cmp(path)).ok()?;
        self.collections.get(at)
    }

    /// The data of each `patch` event in order (the prelude's first): a fold of them is the value. `bytes` are those
    /// that were read.
    pub fn parts<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (data, length) = patch(rest)?;
            rest = rest.get(length + SUM_BYTES..)?;
            Some(data)
        })
    }
}

/// How far into `bytes` their suffix `rest` begins.
fn offset(bytes: &[u8], rest: &[u8]) -> u64 {
    (bytes.len() - rest.len()) as u64
}

/// The position and the offset of the `:x` lines, if an end mark ends `bytes` and its checksum is right.
fn end_mark(bytes: &[u8]) -> Result<(Position, usize), CheckpointError> {
    let text = bytes.strip_suffix(b"\n").ok_or(CheckpointError::End)?;
    let from = text.len().saturating_sub(END_BYTES_MAX);
    let last = memrchr(b'\n', &text[from..]).map(|at| &text[from + at + 1..]).ok_or(CheckpointError::End)?;
    let mut fields = last.strip_prefix(END).ok_or(CheckpointError::End)?.split(|&byte| byte == b' ');
    match fields.next().and_then(line::decimal) {
        Some(VERSION) => {}
        Some(version) if version > VERSION => return Err(CheckpointError::Newer(version)),
        Some(_) | None => return Err(CheckpointError::End),
    }
    line::checked(bytes).ok_or(CheckpointError::Checksum)?;
    let position = fields.next().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let extents_at = fields.next().and_then(line::decimal).and_then(|at| usize::try_from(at).ok());
    match (position, extents_at, fields.next(), fields.next()) {
        (Some(position), Some(extents_at), Some(_checksum), None) => Ok((position, extents_at)),
        _ => Err(CheckpointError::End),
    }
}

/// The data and the length of the `patch` event without an id at the start of `bytes`.
fn patch(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let rest = bytes.strip_prefix(HEAD)?;
    let data = &rest[..memchr2(b'\n', b'\r', rest)?];
    rest[data.len()..].starts_with(TAIL).then_some((data, HEAD.len() + data.len() + TAIL.len()))
}

/// The end of the `:s` line after the event at `at`, if it is there and its checksum is right.
fn summed(events: &[u8], at: usize, length: usize) -> Option<usize> {
    let (event, rest) = events.get(at..)?.split_at_checked(length)?;
    let sum = rest.get(..SUM_BYTES)?.strip_prefix(SUM)?.strip_suffix(b"\n")?;
    (line::hex(sum, 8)? == u128::from(crc32c::crc32c(event))).then_some(at + length + SUM_BYTES)
}

/// The extent that the `:x` line at the start of `bytes` names, and the line's length.
fn extent_line(bytes: &[u8]) -> Option<(Extent, usize)> {
    let end = memchr(b'\n', &bytes[..bytes.len().min(EXTENT_BYTES_MAX)])?;
    let mut fields = bytes[..end].strip_prefix(EXTENT)?.split(|&byte| byte == b' ');
    let start = line::decimal(fields.next()?)?;
    let range = start..line::decimal(fields.next()?)?;
    let changed = line::decimal(fields.next()?)?;
    let mut path = String::new();
    for (at, name) in std::str::from_utf8(fields.next()?).ok()?.split('/').enumerate() {
        let name = line::unescape(name)?;
        check_name(&name).ok()?;
        if at > 0 {
            path.push('/');
        }
        path.push_str(&name);
    }
    let extent = Extent { path: path.into(), changed, range };
    fields.next().is_none().then_some((extent, end + 1))
}

/// Why a checkpoint isn't believed; an older one, or the log from its beginning, has the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Written by a newer server.
    #[error("the checkpoint has version {0}; this server reads up to version {VERSION}")]
    Newer(u64),
    /// There is no end mark, or a malformed one.
    #[error("the checkpoint has no end mark")]
    End,
    /// The checksum in the end mark is wrong.
    #[error("the checksum of the checkpoint is wrong")]
    Checksum,
    /// What is there isn't the event that should be, or its `:s` line is wrong.
    #[error("the checkpoint has a bad event at byte {offset}")]
    Event {
        /// Bytes from the start.
        offset: u64,
    },
    /// An `:x` line is malformed, or doesn't say where its collection lies.
    #[error("the checkpoint has a bad extent at byte {offset}")]
    Extent {
        /// Bytes from the start.
        offset: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CHECKPOINT_PART_BYTES;
    use crate::position::Epoch;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    type Item<'a> = (&'a str, u64, &'a [(&'a str, &'a str)]);
    type Collections = BTreeMap<String, (u64, BTreeMap<String, String>)>;

    fn position(text: &str) -> Position {
        text.parse().expect("a position")
    }

    fn borrowed(bodies: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &[u8])> {
        bodies.iter().map(|(id, body)| (id.as_str(), body.as_bytes()))
    }

    fn encoded(position: Position, collections: &Collections) -> (Vec<u8>, usize) {
        let (mut bytes, mut largest) = (Vec::new(), 0);
        let collections =
            collections.iter().map(|(path, (changed, bodies))| (path.as_str(), *changed, borrowed(bodies)));
        let Ok(()) = encode(position, collections, &mut |piece| {
            largest = largest.max(piece.len());
            bytes.extend_from_slice(piece);
            Ok::<(), Infallible>(())
        });
        (bytes, largest)
    }

    fn collections(items: &[Item<'_>]) -> Collections {
        let owned = |(id, body): &(&str, &str)| (id.to_string(), body.to_string());
        items
            .iter()
            .map(|(path, changed, bodies)| (path.to_string(), (*changed, bodies.iter().map(owned).collect())))
            .collect()
    }

    /// A small value with names that need every kind of escaping.
    fn sample() -> Collections {
        collections(&[
            ("a \"b\"~c", 1042, &[("1", r#"{"id":"1"}"#), ("ü/\\", r#"{"id":"x","n":[1,2]}"#)]),
            ("a \"b\"~c/1/gone", 7, &[]),
            ("messages", 1040, &[("123", r#"{"id":"123","text":"hi"}"#)]),
        ])
    }

    /// The value that the data of all events fold to.
    fn folded<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Value {
        let mut value = json!({"to be": "replaced"});
        for data in parts {
            let patch: json_patch::Patch = serde_json::from_slice(data).expect("a JSON Patch");
            json_patch::patch(&mut value, &patch).expect("a patch that applies");
        }
        value
    }

    fn value(collections: &Collections) -> Value {
        let parsed = |body: &String| serde_json::from_str::<Value>(body).expect("JSON");
        let members = collections.iter().map(|(path, (_, documents))| {
            (path.clone(), documents.iter().map(|(id, body)| (id.clone(), parsed(body))).collect::<Value>())
        });
        members.collect()
    }

    #[test]
    fn the_text_is_the_one_in_the_fixture() {
        let fixture = include_str!("../../../../fixtures/logs/checkpoint.txt");
        let (bytes, _) = encoded(position("k3f9q2-1042"), &sample());
        assert_eq!(String::from_utf8(bytes).expect("text"), fixture);
    }

    #[test]
    fn the_empty_value_is_a_checkpoint_too() {
        for origin in [Position::ORIGIN, position("k3f9q2-0")] {
            let (bytes, _) = encoded(origin, &Collections::new());
            let checkpoint = Checkpoint::read(&bytes).expect("a checkpoint");
            assert_eq!((checkpoint.position, checkpoint.collections.len()), (origin, 0));
            assert_eq!(checkpoint.prelude.end, checkpoint.closing.start);
            assert_eq!(folded(checkpoint.parts(&bytes)), json!({}));
        }
    }

    #[test]
    fn each_piece_is_where_it_is_said_to_be() {
        let (bytes, _) = encoded(position("k3f9q2-1042"), &sample());
        let checkpoint = Checkpoint::read(&bytes).expect("a checkpoint");
        let piece = |range: &Range<u64>| &bytes[range.start as usize..range.end as usize];
        assert_eq!(folded(checkpoint.parts(&bytes)), value(&sample()));
        for (path, (changed, documents)) in sample() {
            let extent = checkpoint.collection(&path).expect("the collection");
            assert_eq!(extent.changed, changed);
            let sent = [piece(&checkpoint.prelude), piece(&extent.range), piece(&checkpoint.closing)].concat();
            let alone = Collections::from([(path, (changed, documents))]);
            assert_eq!(folded(checkpoint.parts(&sent)), value(&alone));
        }
        assert_eq!(checkpoint.collection("users"), None);
        let closing = std::str::from_utf8(piece(&checkpoint.closing)).expect("text");
        assert!(closing.starts_with("id: k3f9q2-1042\nevent: position\ndata: {}\n\n:s "));
        assert!(bytes[checkpoint.closing.end as usize..].starts_with(b":x "));
    }

    #[test]
    fn cut_anywhere_or_flipped_anywhere_it_is_refused() {
        let (bytes, _) = encoded(position("k3f9q2-1042"), &sample());
        for at in 0..bytes.len() {
            assert!(Checkpoint::read(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Checkpoint::read(&flipped).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    /// The checkpoint in the fixture, changed, under a right end mark.
    fn changed(old: &str, new: &str) -> Result<Checkpoint, CheckpointError> {
        let (bytes, _) = encoded(position("k3f9q2-1042"), &sample());
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.contains(old), "{old}");
        let text = text.replacen(old, new, 1);
        let covered = text.trim_end().rfind(' ').expect("a checksum") + 1;
        let mut bytes = text.as_bytes()[..covered].to_vec();
        let crc = crc32c::crc32c(&bytes);
        line::push_checksum(&mut bytes, crc);
        Checkpoint::read(&bytes)
    }

    #[test]
    fn under_a_right_end_mark_the_rest_is_checked_too() {
        assert!(changed("hi", "hi").is_ok());
        assert_eq!(changed(":e 1 ", ":e 2 "), Err(CheckpointError::Newer(2)));
        assert_eq!(changed(":e 1 ", ":e 0 "), Err(CheckpointError::End));
        assert_eq!(changed(":e 1 k3f9q2", ":e 1 k3f9q"), Err(CheckpointError::End));
        for (old, new) in [
            ("\"text\":\"hi\"", "\"text\":\"ho\""),
            ("\"replace\"", "\"removes\""),
            (":s ", ":t "),
            ("event: position", "event: Position"),
            (":e 1 k3f9q2-1042", ":e 1 k3f9q2-1043"),
        ] {
            assert!(matches!(changed(old, new), Err(CheckpointError::Event { .. })), "{old} -> {new}");
        }
        for (old, new) in [
            (" messages\n", " message%73\n"),
            (" messages\n", " a\n"),
            (" messages\n", " messages/\n"),
            (" messages\n", " messages more\n"),
            (" 1042 a", " 1043 a"),
            (":x ", ":y "),
            (":x ", ":x 0"),
        ] {
            assert!(matches!(changed(old, new), Err(CheckpointError::Extent { .. })), "{old} -> {new}");
        }
    }

    #[test]
    fn parts_are_bounded_unless_a_document_is_larger() {
        let sizes = [10, CHECKPOINT_PART_BYTES, 100, 100_000, 100_000, 50_000, 20_000, 3 * CHECKPOINT_PART_BYTES];
        for rotation in 0..sizes.len() {
            let mut documents = BTreeMap::new();
            for (at, size) in sizes.iter().cycle().skip(rotation).take(sizes.len()).enumerate() {
                documents.insert(format!("{at}"), format!("{{\"text\":\"{}\"}}", "x".repeat(*size)));
            }
            let small = (0..20_000).map(|at| (format!("{at:05}"), "{}".to_string())).collect();
            let all = Collections::from([("large".into(), (9, documents)), ("small".into(), (9, small))]);
            let (bytes, largest) = encoded(position("k3f9q2-9"), &all);
            assert!(largest < 4 * CHECKPOINT_PART_BYTES + 1000, "{largest}");
            let checkpoint = Checkpoint::read(&bytes).expect("a checkpoint");
            assert_eq!(folded(checkpoint.parts(&bytes)), value(&all));
            for data in checkpoint.parts(&bytes) {
                let patch: Vec<Value> = serde_json::from_slice(data).expect("a JSON Patch");
                let documents = match patch[0]["path"].as_str().expect("a path").matches('/').count() {
                    1 => patch[0]["value"].as_object().expect("a map").len(),
                    _ => patch.len(),
                };
                let bytes = HEAD.len() + data.len() + TAIL.len();
                assert!(bytes <= CHECKPOINT_PART_BYTES || documents == 1, "{bytes} bytes, {documents} documents");
            }
        }
    }

    #[test]
    fn parts_are_a_checkpoint_without_its_ends() {
        for value in [Collections::new(), collections(&[("messages", 7, &[])]), sample()] {
            let (bytes, _) = encoded(position("k3f9q2-1042"), &value);
            let Checkpoint { prelude: first, closing, .. } = Checkpoint::read(&bytes).expect("a checkpoint");
            let sent = value.iter().map(|(path, (_, bodies))| (path.as_str(), borrowed(bodies)));
            assert_eq!(parts(sent), &bytes[first.end as usize..closing.start as usize]);
            let mut emptied = Vec::new();
            prelude(&mut emptied);
            assert_eq!(emptied, &bytes[..emptied.len()]);
        }
    }

    #[test]
    #[should_panic = "ascending"]
    fn collections_out_of_order_are_our_fault() {
        let mut encoder = Encoder::new(Position::ORIGIN);
        encoder.collection("b", 0);
        encoder.collection("a", 0);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_and_folds_to_the_value(
            bits: u32,
            sequence: u64,
            items in prop::collection::btree_map(
                prop::collection::vec("[^/\\pC]{1,6}", 1..4).prop_map(|names| names.join("/")),
                prop::collection::btree_map("[^/\\pC]{1,6}", prop::collection::vec(0i32.., 0..4), 0..5),
                0..5,
            ),
        ) {
            let usable = |path: &String| path.split('/').all(|name| check_name(name).is_ok());
            let collections: Collections = items.into_iter().filter(|(path, _)| usable(path)).map(|(path, documents)| {
                let text = |body| serde_json::to_string(&body).expect("JSON");
                let documents = documents.into_iter().map(|(id, body)| (id, text(body)));
                (path, (sequence / 2, documents.collect()))
            }).collect();
            let position = Position { epoch: Epoch::from_bits(bits), sequence };
            let (bytes, _) = encoded(position, &collections);
            let checkpoint = Checkpoint::read(&bytes).expect("a checkpoint");
            prop_assert_eq!(checkpoint.position, position);
            let paths: Vec<&str> = checkpoint.collections.iter().map(|extent| &*extent.path).collect();
            prop_assert_eq!(paths, collections.keys().collect::<Vec<_>>());
            prop_assert_eq!(folded(checkpoint.parts(&bytes)), value(&collections));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, pieces in prop::collection::vec(0usize..7, 0..12), at in 0u64..200) {
            prop_assert!(Checkpoint::read(&bytes).is_err());
            let pieces: Vec<&[u8]> = pieces.iter().map(|&piece| [
                HEAD, PRELUDE, TAIL, b":s 00000000\n", b":x 0 58 1 a\n", b"\n", &bytes,
            ][piece]).collect();
            let mut bytes = pieces.concat();
            bytes.extend(format!("\n:e 1 k3f9q2-9 {at} ").bytes());
            let crc = crc32c::crc32c(&bytes);
            line::push_checksum(&mut bytes, crc);
            prop_assert!(Checkpoint::read(&bytes).is_err());
        }
    }
}
