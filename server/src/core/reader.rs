//! What a home reads for others: documents, lists, maps, history, and where a follower begins.

use std::collections::VecDeque;
use std::sync::Arc;

use fantail_engine::document::{self, Scope};
use fantail_engine::event;
use fantail_engine::limits::MAP_BYTES_MAX;
use fantail_engine::log::checkpoint;
use fantail_engine::log::manifest::Unservable;
use fantail_engine::position::Position;
use fantail_engine::protocol::sse::{self, Reset};
use fantail_engine::topic::{Place, Topic};

use super::clock;
use super::question::{Answer, Following, From, Question, Refused};
use super::resident::Resident;
use crate::audience::{Filter, Found, Reading, Start};

/// Milliseconds after which a client that lost its connection comes back, and by how much that varies.
const RETRY_MS: u32 = 2000;
const RETRY_JITTER_MS: u32 = 1000;
/// Parts of an index that one page of history looks through: what bounds its time on the core.
const HISTORY_SCANS_MAX: usize = 32;

/// What `place` names, as the documents know it.
fn scope(place: &Place) -> Scope<'_> {
    match (place.topic(), place.document()) {
        (Topic::Stream, _) => Scope::Stream,
        (Topic::Path(_), None) => Scope::Collection(place.collection()),
        (Topic::Path(_), Some(id)) => Scope::Document(place.collection(), id),
    }
}

/// `retry:` as every follower gets it.
pub(crate) fn write_retry(out: &mut Vec<u8>) {
    sse::retry(out, RETRY_MS + clock::jitter(RETRY_JITTER_MS));
}

/// Answers a question that changes nothing.
pub(super) fn read(resident: &Resident, question: Question) -> Answer {
    match question {
        Question::Document(place) => document(resident, &place),
        Question::List { place, after, limit } => list(resident, &place, after.as_deref(), limit),
        Question::Map(place) => map(resident, &place),
        Question::History { place, after, limit } => {
            history(resident, &place, &after, limit).unwrap_or_else(|error| Answer::Refused(Refused::Unreadable(error)))
        }
        Question::Write(_) | Question::Follow { .. } => unreachable!("these change the home and are answered there"),
    }
}

fn document(resident: &Resident, place: &Place) -> Answer {
    let id = place.document().expect("asked of a document");
    match resident.stream.documents().get(place.collection(), id) {
        Some(body) => Answer::Document { body: Arc::clone(body), position: resident.position() },
        None => Answer::Refused(Refused::NotFound),
    }
}

fn list(resident: &Resident, place: &Place, after: Option<&str>, limit: usize) -> Answer {
    let mut body = Vec::new();
    let page = resident.stream.documents().encode_list(place.collection(), after, limit, &mut body);
    let is_whole = after.is_none() && !page.more;
    let next = page.last.filter(|_| page.more).map(str::to_owned);
    Answer::Json {
        body,
        tag: Some(resident.stream.collection_tag(place.collection())),
        position: is_whole.then(|| resident.position()),
        next,
    }
}

fn map(resident: &Resident, place: &Place) -> Answer {
    let stream = &resident.stream;
    let scope = scope(place);
    let tag = match scope {
        Scope::Stream => resident.position().to_string(),
        Scope::Collection(path) => stream.collection_tag(path),
        Scope::Document(collection, id) => match stream.documents().get(collection, id) {
            Some(body) => document::tag(body),
            None => return Answer::Refused(Refused::NotFound),
        },
    };
    let mut body = Vec::new();
    match stream.documents().encode_map(scope, MAP_BYTES_MAX, &mut body) {
        Ok(()) => Answer::Json { body, tag: Some(tag), position: Some(resident.position()), next: None },
        Err(_) => Answer::Refused(Refused::MapTooLarge),
    }
}

/// A page of events after a position: `{"events":[{"id":…,"patch":[…]}]}`. A position that can't be served is told so in
/// the page, as a follower is told in its stream.
fn history(resident: &Resident, place: &Place, after: &str, limit: usize) -> std::io::Result<Answer> {
    let mut body = Vec::new();
    let sequence = match judge(resident, after) {
        Ok(sequence) => sequence,
        Err(reset) => {
            body.extend_from_slice(b"{\"reset\":");
            write_reset_data(&mut body, reset, earliest(resident));
            body.extend_from_slice(b",\"events\":[]}");
            return Ok(Answer::Json { body, tag: None, position: None, next: None });
        }
    };
    let filter = Filter::of([place.topic()]);
    let view = resident.view();
    let mut cursor = resident.offset_after(sequence)?;
    let (mut count, mut scans, mut last) = (0, 0, after.to_owned());
    body.extend_from_slice(b"{\"events\":[");
    let is_cut = loop {
        let (start, end) = match view.find(&filter, cursor)? {
            Found::Event(start, end) => (start, end),
            Found::Skip(to) if scans < HISTORY_SCANS_MAX => {
                (cursor, scans) = (to, scans + 1);
                continue;
            }
            Found::Skip(_) => break true,
            Found::End => break false,
        };
        if count == limit || body.len() >= MAP_BYTES_MAX {
            break true;
        }
        let mut bytes = Vec::with_capacity((end - start) as usize);
        view.copy(start, end, &mut bytes)?;
        let frame = event::decode(&bytes).ok_or(std::io::ErrorKind::InvalidData)?;
        if count > 0 {
            body.push(b',');
        }
        last = frame.position.to_string();
        body.extend_from_slice(format!("{{\"id\":\"{last}\",\"patch\":").as_bytes());
        body.extend_from_slice(frame.data);
        body.push(b'}');
        (cursor, count) = (end, count + 1);
    };
    body.extend_from_slice(b"]}");
    Ok(Answer::Json { body, tag: None, position: None, next: is_cut.then_some(last) })
}

/// Position of the oldest cursor that can be served.
fn earliest(resident: &Resident) -> Position {
    resident.stream.position_at(resident.stream.earliest() - 1)
}

fn write_reset_data(out: &mut Vec<u8>, reset: Reset, earliest: Position) {
    out.extend_from_slice(format!("{{\"reason\":\"{}\",\"earliest\":\"{earliest}\"}}", reset.name()).as_bytes());
}

fn judge(resident: &Resident, cursor: &str) -> Result<u64, Reset> {
    let position = cursor.parse::<Position>().map_err(|_| Reset::Unknown)?;
    resident.stream.judge(position).map_err(|unservable| match unservable {
        Unservable::Expired => Reset::Expired,
        Unservable::Epoch => Reset::Epoch,
        Unservable::Ahead => Reset::Ahead,
    })
}

/// Where a follower of `places`, all of this stream, begins, and the first block that it is sent.
pub(super) fn follow(resident: &Resident, places: &[Place], from: &From) -> Result<Box<Following>, Refused> {
    let filter = Filter::of(places.iter().map(Place::topic));
    let mut opening = Vec::new();
    write_retry(&mut opening);
    let is_missing = |place: &Place| match scope(place) {
        Scope::Document(collection, id) => resident.stream.documents().get(collection, id).is_none(),
        Scope::Stream | Scope::Collection(_) => false,
    };
    if !matches!(from, From::Cursor(_)) && places.iter().any(is_missing) {
        return Err(Refused::NotFound);
    }
    let after = match from {
        From::Cursor(cursor) => match judge(resident, cursor) {
            Ok(sequence) => sequence,
            Err(reset) => {
                sse::reset(&mut opening, reset, earliest(resident));
                return snapshot(resident, places, filter, opening);
            }
        },
        From::Now => resident.position().sequence,
        From::Earliest => resident.stream.earliest() - 1,
        From::Snapshot => return snapshot(resident, places, filter, opening),
    };
    sse::position(&mut opening, resident.stream.position_at(after));
    let cursor = resident.offset_after(after).map_err(Refused::Unreadable)?;
    Ok(Box::new(Following { filter, start: Start { cursor, snapshot: None }, opening }))
}

/// A follower that gets the value first: the newest checkpoint's bytes for a stream or a collection; for documents and
/// mixed topics, whose value is small, what is encoded here.
fn snapshot(
    resident: &Resident,
    places: &[Place],
    filter: Filter,
    opening: Vec<u8>,
) -> Result<Box<Following>, Refused> {
    match (scope(&places[0]), places.len()) {
        (Scope::Stream, _) => shared(resident, None, filter, opening),
        (Scope::Collection(path), 1) => shared(resident, Some(path), filter, opening),
        (Scope::Collection(_) | Scope::Document(..), _) => private(resident, places, filter, opening),
    }
}

/// The bytes of the newest checkpoint, or of those parts that are the collection's; then the log.
fn shared(
    resident: &Resident,
    collection: Option<&str>,
    filter: Filter,
    mut opening: Vec<u8>,
) -> Result<Box<Following>, Refused> {
    let Some(snapshot) = &resident.snapshot else {
        // Nothing was written yet: the value at the log's beginning is empty, and the log is all that it takes.
        write_empty(&mut opening, collection);
        let first = resident.stream.earliest() - 1;
        sse::position(&mut opening, resident.stream.position_at(first));
        let cursor = resident.offset_after(first).map_err(Refused::Unreadable)?;
        return Ok(Box::new(Following { filter, start: Start { cursor, snapshot: None }, opening }));
    };
    let checkpoint = &snapshot.checkpoint;
    let cursor = resident.offset_after(checkpoint.position.sequence).map_err(Refused::Unreadable)?;
    let parts: VecDeque<_> = match collection {
        None => VecDeque::from_iter(std::iter::once(0..checkpoint.closing.end)),
        Some(path) => {
            let extent = checkpoint.collection(path);
            write_empty(&mut opening, extent.is_none().then_some(path));
            extent.map(|extent| extent.range.clone()).into_iter().chain([checkpoint.closing.clone()]).collect()
        }
    };
    let reading = Reading { snapshot: Arc::clone(snapshot), parts };
    Ok(Box::new(Following { filter, start: Start { cursor, snapshot: Some(reading) }, opening }))
}

/// The event that empties the root, and adds the collection where nothing that follows does.
fn write_empty(out: &mut Vec<u8>, collection: Option<&str>) {
    out.extend_from_slice(b"event: patch\ndata: [{\"op\":\"replace\",\"path\":\"\",\"value\":{");
    if let Some(path) = collection {
        fantail_engine::json::encode_text(path, out);
        out.extend_from_slice(b":{}");
    }
    out.extend_from_slice(b"}}]\n\n");
}

fn private(
    resident: &Resident,
    places: &[Place],
    filter: Filter,
    mut opening: Vec<u8>,
) -> Result<Box<Following>, Refused> {
    let documents = resident.stream.documents();
    let mut paths: Vec<&str> = places.iter().map(Place::collection).collect();
    paths.sort_unstable();
    paths.dedup();
    let of_path = |path: &str| {
        let is_whole = places.iter().any(|place| place.document().is_none() && place.collection() == path);
        let ids = places.iter().filter(move |place| place.collection() == path).filter_map(Place::document);
        let ids: Vec<&str> = ids.collect();
        let all = documents.collection(path).into_iter().flat_map(|collection| collection.documents(None));
        let wanted = all.filter(|(id, _)| is_whole || ids.contains(id));
        wanted.map(|(id, body)| (id, &**body)).collect::<Vec<_>>()
    };
    let collections: Vec<_> = paths.into_iter().map(|path| (path, of_path(path))).collect();
    let bytes: usize = collections.iter().flat_map(|(_, documents)| documents).map(|(_, body)| body.len()).sum();
    if bytes > MAP_BYTES_MAX {
        return Err(Refused::MapTooLarge);
    }
    let position = resident.position();
    let collections = collections.into_iter().map(|(path, documents)| (path, documents.into_iter()));
    opening.extend_from_slice(&checkpoint::snapshot(position, collections));
    let cursor = resident.offset_after(position.sequence).map_err(Refused::Unreadable)?;
    Ok(Box::new(Following { filter, start: Start { cursor, snapshot: None }, opening }))
}
