//! What a home reads for others: documents, lists, maps, history; and how it judges cursors.

use std::sync::Arc;

use fantail_engine::document::{self, Scope};
use fantail_engine::event;
use fantail_engine::limits::MAP_BYTES_MAX;
use fantail_engine::log::manifest::Unservable;
use fantail_engine::position::Position;
use fantail_engine::protocol::sse::Reset;
use fantail_engine::topic::{Place, Topic};

use super::question::{Answer, Question, Refused};
use super::resident::Resident;
use crate::audience::{Filter, Found};
use crate::limits::HISTORY_SCANS_MAX;

/// What `place` names, as the documents know it.
pub(super) fn scope(place: &Place) -> Scope<'_> {
    match (place.topic(), place.document()) {
        (Topic::Stream, _) => Scope::Stream,
        (Topic::Path(_), None) => Scope::Collection(place.collection()),
        (Topic::Path(_), Some(id)) => Scope::Document(place.collection(), id),
    }
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
            Found::Skip(to, sequence) => {
                // What was looked through needn't be again: the next page goes on from here.
                last = resident.stream.position_at(sequence - 1).to_string();
                (cursor, scans) = (to, scans + 1);
                match scans < HISTORY_SCANS_MAX {
                    true => continue,
                    false => break true,
                }
            }
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
    // The last page says from where to ask again, though nothing on it may be of this topic.
    let reached = resident.stream.position_at(resident.stream.persisted_sequence());
    Ok(Answer::Json { body, tag: None, position: (!is_cut).then_some(reached), next: is_cut.then_some(last) })
}

/// Position of the oldest cursor that can be served.
pub(super) fn earliest(resident: &Resident) -> Position {
    resident.stream.position_at(resident.stream.earliest() - 1)
}

fn write_reset_data(out: &mut Vec<u8>, reset: Reset, earliest: Position) {
    out.extend_from_slice(format!("{{\"reason\":\"{}\",\"earliest\":\"{earliest}\"}}", reset.name()).as_bytes());
}

pub(super) fn judge(resident: &Resident, cursor: &str) -> Result<u64, Reset> {
    let position = cursor.parse::<Position>().map_err(|_| Reset::Unknown)?;
    resident.stream.judge(position).map_err(|unservable| match unservable {
        Unservable::Expired => Reset::Expired,
        Unservable::Epoch => Reset::Epoch,
        Unservable::Ahead => Reset::Ahead,
    })
}
