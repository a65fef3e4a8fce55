//! A follower: the connection that a core has of it, and the client behind, who folds what it is sent and holds it against
//! the model.

use std::collections::BTreeMap;

use fantail_engine::document::Scope;
use fantail_engine::log::checkpoint;
use fantail_engine::log::filter::Filter;
use fantail_engine::log::folder::Folder;
use fantail_engine::log::index::{Entry, Index};
use fantail_engine::log::manifest::Unservable;
use fantail_engine::log::segment::{self, Check, Kind};
use fantail_engine::log::view::{Piece, Shelf, Step, Unread, View};
use fantail_engine::position::Position;
use fantail_engine::protocol::sse::{self, Parser, Reset};
use fantail_engine::topic::Place;
use serde_json::{Value, json};

use crate::disk::Disk;
use crate::home::Home;
use crate::model::{Event, Model, restricted};
use crate::random::Random;

/// How a follower begins, as the stream's home says.
pub(crate) struct Beginning {
    /// The question that it answers: the follower may have asked another one since.
    pub(crate) question: u64,
    /// Offset in the log, or the event after which it goes on.
    cursor: Result<u64, u64>,
    /// What it is sent before the log.
    bytes: Vec<u8>,
}

/// Where it is.
pub(crate) enum Seat {
    /// It hasn't asked.
    Away,
    /// It waits for the answer to the question with this number.
    Asked(u64),
    /// It is sent the rest of these bytes, then the log from there.
    Seated { bytes: Vec<u8>, cursor: Result<u64, u64> },
}

/// See the module.
pub(crate) struct Follower {
    pub(crate) number: usize,
    pub(crate) core: usize,
    pub(crate) seat: Seat,
    places: Vec<Place>,
    filter: Filter,
    parser: Parser,
    /// Its last id.
    last: Option<Position>,
    /// What it has folded; none while it began without a value.
    value: Option<Value>,
    in_snapshot: bool,
    questions: u64,
    /// Events that it has had.
    pub(crate) seen: u64,
    /// Resets that it was told.
    pub(crate) resets: u64,
}

/// Files that a core has in memory.
#[derive(Default)]
pub(crate) struct Files {
    pieces: BTreeMap<(u64, bool), Vec<u8>>,
    /// How much of a segment is here in one piece at most.
    piece_bytes: usize,
}

impl Files {
    pub(crate) fn new(piece_bytes: usize) -> Files {
        Files { pieces: BTreeMap::new(), piece_bytes }
    }

    /// Fetches what was missing. False if it isn't there any more.
    fn fetch(&mut self, piece: Piece, disk: &Disk, view: &View) -> Result<bool, Unread> {
        let (first, kind) = match piece {
            Piece::Bytes { segment, .. } => (segment, Kind::Log),
            Piece::Index { segment, .. } => (segment, Kind::Index),
        };
        let Some(mut bytes) = disk.read(&segment::name(first, kind)).expect("a disk that reads") else {
            return Ok(false);
        };
        // A segment that others follow is looked at whole before anything of it is shown.
        let is_sealed = view.segments.back().is_some_and(|newest| newest.first != first);
        if kind == Kind::Log && is_sealed && Check::new(first).end(&bytes).is_err() {
            return Err(Unread::Refuted(first));
        }
        // Behind the entries of a segment that is written there may be anything: what seals it may have failed half-way.
        if let (Piece::Index { entries, .. }, false) = (piece, is_sealed) {
            bytes.truncate(entries as usize * Entry::BYTES);
        }
        self.pieces.insert((first, kind == Kind::Log), bytes);
        Ok(true)
    }
}

impl Shelf for Files {
    fn bytes(&self, segment: u64, at: u64) -> Option<&[u8]> {
        let bytes = self.pieces.get(&(segment, true))?.get(at as usize..)?;
        Some(&bytes[..bytes.len().min(self.piece_bytes)])
    }

    fn index(&self, segment: u64) -> Option<Index<'_>> {
        Index::open(self.pieces.get(&(segment, false))?).ok()
    }
}

impl Follower {
    pub(crate) fn new(number: usize, core: usize, places: Vec<Place>) -> Follower {
        let filter = Filter::of(places.iter().map(Place::topic));
        Follower {
            number,
            core,
            seat: Seat::Away,
            places,
            filter,
            parser: Parser::new(1 << 22),
            last: None,
            value: None,
            in_snapshot: false,
            questions: 0,
            seen: 0,
            resets: 0,
        }
    }

    /// It goes away, whatever it was in.
    pub(crate) fn leave(&mut self) {
        self.seat = Seat::Away;
        self.parser = Parser::new(1 << 22);
        if std::mem::take(&mut self.in_snapshot) {
            // Nothing of a snapshot has an id until its end: it begins anew.
            (self.last, self.value) = (None, None);
        }
    }

    /// Asks the home where to begin. None: it is refused, and may come back.
    pub(crate) fn ask(&mut self, home: &Home, model: &Model, random: &mut Random) -> Option<Beginning> {
        let stream = home.journal.stream();
        self.questions += 1;
        self.seat = Seat::Asked(self.questions);
        if let Some(last) = self.last {
            let judged = stream.judge(last);
            let is_lost = model.event(last.sequence).is_none_or(|event| event.position != last);
            let is_expired = last.sequence + 1 < stream.earliest();
            assert!(
                last.sequence == 0 || judged.is_ok() != (is_lost || is_expired),
                "follower {}: {last} is judged {judged:?}; it is lost: {is_lost}, expired: {is_expired}",
                self.number
            );
            if judged == Err(Unservable::Ahead) && stream.failure().is_some() {
                self.seat = Seat::Away;
                return None;
            }
            return Some(match judged {
                Ok(sequence) => {
                    let mut bytes = Vec::new();
                    sse::position(&mut bytes, last);
                    Beginning { question: self.questions, cursor: cursor(home, sequence), bytes }
                }
                Err(_) => {
                    let mut bytes = Vec::new();
                    sse::reset(&mut bytes, Reset::Epoch, stream.position_at(stream.earliest() - 1));
                    self.with_value(home, bytes)
                }
            });
        }
        match random.below(4) {
            0 => {
                self.value = None;
                Some(self.after(home, stream.position().sequence, Vec::new()))
            }
            1 => {
                // What was retained can be folded only if nothing was dropped.
                self.value = (stream.earliest() == 1).then(|| restricted(&json!({}), &self.places));
                Some(self.after(home, stream.earliest() - 1, Vec::new()))
            }
            _ => Some(self.with_value(home, Vec::new())),
        }
    }

    /// The value first, as a snapshot.
    fn with_value(&mut self, home: &Home, mut bytes: Vec<u8>) -> Beginning {
        self.in_snapshot = true;
        let stream = home.journal.stream();
        checkpoint::prelude(&mut bytes);
        let is_whole = self.filter == Filter::Whole;
        let mut paths: Vec<&str> = self.places.iter().map(Place::collection).filter(|_| !is_whole).collect();
        paths.sort_unstable();
        paths.dedup();
        if !is_whole && self.places.iter().any(|place| place.document().is_some()) {
            let mut value = Vec::new();
            stream.documents().encode_map(Scope::Stream, usize::MAX, &mut value).expect("no bound");
            let value = restricted(&serde_json::from_slice(&value).expect("a map is JSON"), &self.places);
            let patch = json!([{"op": "replace", "path": "", "value": value}]);
            bytes.extend_from_slice(format!("event: patch\ndata: {patch}\n\n").as_bytes());
            return self.after(home, stream.position().sequence, bytes);
        }
        let empty = |path: &str| checkpoint::parts(std::iter::once((path, std::iter::empty())));
        let Some((file, checkpoint)) = &home.checkpoint else {
            paths.into_iter().for_each(|path| bytes.extend(empty(path)));
            return self.after(home, stream.earliest() - 1, bytes);
        };
        let mut send = |range: &std::ops::Range<u64>| {
            bytes.extend_from_slice(&file[range.start as usize..range.end as usize]);
        };
        let mut missing = Vec::new();
        for path in paths {
            match checkpoint.collection(path) {
                Some(extent) => send(&extent.range),
                None => missing.push(path),
            }
        }
        if is_whole {
            send(&(checkpoint.prelude.end..checkpoint.closing.start));
        }
        missing.into_iter().for_each(|path| bytes.extend(empty(path)));
        self.after(home, checkpoint.position.sequence, bytes)
    }

    fn after(&self, home: &Home, sequence: u64, mut bytes: Vec<u8>) -> Beginning {
        sse::position(&mut bytes, home.journal.stream().position_at(sequence));
        Beginning { question: self.questions, cursor: cursor(home, sequence), bytes }
    }

    /// It is answered.
    pub(crate) fn begin(&mut self, beginning: Beginning) {
        if matches!(self.seat, Seat::Asked(question) if question == beginning.question) {
            self.seat = Seat::Seated { bytes: beginning.bytes, cursor: beginning.cursor };
        }
    }

    /// It is refused.
    pub(crate) fn refuse(&mut self, question: u64) {
        if matches!(self.seat, Seat::Asked(asked) if asked == question) {
            self.leave();
        }
    }

    /// Reads some of what there is for it. The segment that turned out to be damaged is the error.
    pub(crate) fn read(
        &mut self,
        view: &View,
        files: &mut Files,
        disk: &Disk,
        model: &Model,
        random: &mut Random,
    ) -> Result<bool, u64> {
        let Seat::Seated { bytes, cursor } = &mut self.seat else { return Ok(false) };
        if !bytes.is_empty() {
            let length = 1 + random.below(bytes.len());
            let sent: Vec<u8> = bytes.drain(..length).collect();
            self.take(&sent, model);
            return Ok(true);
        }
        // Twice: what was missing is there then.
        for _ in 0..4 {
            let at = match *cursor {
                Ok(at) => Ok(at),
                Err(sequence) => view.offset_after(sequence, files),
            };
            let step = at.and_then(|at| {
                *cursor = Ok(at);
                let max = 1 + random.below(*random.clone().pick(&[60, 3_000, 300_000])) as u64;
                view.step(&self.filter, at, max, files)
            });
            match step {
                Ok(Step::Run(at, run)) => {
                    let sent = if random.chance(300) { &run[..1 + random.below(run.len())] } else { run }.to_vec();
                    *cursor = Ok(at + sent.len() as u64);
                    self.take(&sent, model);
                    return Ok(true);
                }
                Ok(Step::Skip(to)) => {
                    let moved = *cursor != Ok(to);
                    *cursor = Ok(to);
                    return Ok(moved);
                }
                Ok(Step::Done) => return Ok(false),
                Err(Unread::Missing(piece)) => match files.fetch(piece, disk, view) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.leave();
                        return Ok(true);
                    }
                    Err(_) => {
                        let (Piece::Bytes { segment, .. } | Piece::Index { segment, .. }) = piece;
                        self.leave();
                        return Err(segment);
                    }
                },
                Err(Unread::Gone) => {
                    self.leave();
                    return Ok(true);
                }
                Err(Unread::Refuted(segment)) => {
                    panic!("follower {}: the index of segment {segment} isn't what its bytes say", self.number)
                }
            }
        }
        panic!("follower {}: a piece that was fetched is still missing", self.number);
    }

    /// The client takes bytes.
    fn take(&mut self, bytes: &[u8], model: &Model) {
        let mut events = Vec::new();
        let fed = self.parser.feed(bytes, |event| {
            events.push((event.id.map(<[u8]>::to_vec), event.event.to_vec(), event.data.to_vec()));
        });
        fed.expect("no block is too long");
        for (id, event, data) in events {
            let id = id.map(|id| String::from_utf8(id).expect("an id is text"));
            let id = id.map(|id| id.parse::<Position>().expect("an id is a position"));
            match &event[..] {
                b"position" => self.stand(id.expect("a position has an id"), model),
                b"reset" => {
                    self.resets += 1;
                    self.in_snapshot = true;
                }
                b"patch" if self.in_snapshot => self.fold(&data, true),
                b"patch" => self.event(id.expect("an event has an id"), &data, model),
                other => panic!("an event of type {}", String::from_utf8_lossy(other)),
            }
        }
    }

    fn stand(&mut self, position: Position, model: &Model) {
        self.last = Some(position);
        if std::mem::take(&mut self.in_snapshot) {
            let expected = restricted(model.value_at(position.sequence), &self.places);
            assert_eq!(self.value.as_ref(), Some(&expected), "follower {}: the snapshot at {position}", self.number);
        }
    }

    /// The one property of following: every event of the topic after the cursor, once, in order.
    fn event(&mut self, position: Position, data: &[u8], model: &Model) {
        let number = self.number;
        let before = self.last.map_or(0, |last| last.sequence);
        let later = model.events().iter().skip(before as usize);
        let next = later.into_iter().find(|event| self.wants(event));
        let next = next.unwrap_or_else(|| panic!("follower {number}: {position} after {before}, and there is none"));
        let places = &self.places;
        assert_eq!(position, next.position, "follower {number} of {places:?}: the next event after {before}");
        assert_eq!(
            String::from_utf8_lossy(data),
            String::from_utf8_lossy(&next.data),
            "follower {number}: the data of {position}"
        );
        assert!(position.sequence <= model.told, "follower {number}: {position} is shown, but wasn't published");
        self.last = Some(position);
        self.seen += 1;
        self.fold(data, false);
        if let Some(value) = &self.value {
            let expected = restricted(&next.value, &self.places);
            assert_eq!(*value, expected, "follower {number}: the value at {position}");
        }
    }

    /// Whether it is to get an event. One that changes nothing is only for those who follow all.
    fn wants(&self, event: &Event) -> bool {
        let is_change = event.data != b"[]";
        self.places.iter().any(|wanted| match wanted.document() {
            None if wanted.collection() == wanted.stream() => true,
            None => is_change && wanted.collection() == event.place.collection(),
            Some(_) => is_change && *wanted == event.place,
        })
    }

    fn fold(&mut self, data: &[u8], is_snapshot: bool) {
        if is_snapshot && self.value.is_none() {
            self.value = Some(json!({}));
        }
        let Some(value) = &mut self.value else { return };
        let patch: json_patch::Patch = serde_json::from_slice(data).expect("an event is a JSON Patch");
        json_patch::patch(value, &patch).expect("an event applies");
    }

    /// Whether it has had everything that there is for it.
    pub(crate) fn is_current(&self, model: &Model) -> bool {
        let last = self.last.map_or(0, |last| last.sequence);
        !model.events().iter().skip(last as usize).any(|event| self.wants(event))
    }

    pub(crate) fn is_away(&self) -> bool {
        matches!(self.seat, Seat::Away)
    }
}

/// Where the log goes on after an event: in memory, or as the index knows.
fn cursor(home: &Home, sequence: u64) -> Result<u64, u64> {
    home.journal.stream().offset_after(sequence).ok_or(sequence)
}
