//! What a home reads for others: documents, lists, maps, where history begins; and how it judges cursors.

use std::sync::Arc;

use fantail_engine::document::{self, Scope};
use fantail_engine::limits::MAP_BYTES_MAX;
use fantail_engine::log::filter::Filter;
use fantail_engine::log::manifest::Unservable;
use fantail_engine::position::Position;
use fantail_engine::protocol::sse::Reset;
use fantail_engine::topic::{Place, Topic};

use super::question::{Answer, Begin, Question, Refused};
use super::resident::Resident;

/// What `place` names, as the documents know it.
pub(super) fn scope(place: &Place) -> Scope<'_> {
    match (place.topic(), place.document()) {
        (Topic::Stream, _) => Scope::Stream,
        (Topic::Path(_), None) => Scope::Collection(place.collection()),
        (Topic::Path(_), Some(id)) => Scope::Document(place.collection(), id),
    }
}

/// The furthest event behind which a reader of `places` may begin that has had everything up to `sequence`: the newest one,
/// if none after `sequence` is of these places. So nobody looks through a log in vain, and a quiet document's cursor doesn't
/// age out.
pub(super) fn furthest(resident: &Resident, places: &[Place], sequence: u64) -> u64 {
    let (documents, last) = (resident.stream().documents(), resident.stream().position().sequence);
    let changed = |place: &Place| match scope(place) {
        Scope::Stream => last,
        Scope::Collection(path) => documents.changed(path, None),
        Scope::Document(path, id) => documents.changed(path, Some(id)),
    };
    match places.iter().all(|place| changed(place) <= sequence) {
        true => last,
        false => sequence,
    }
}

/// Answers a question that changes nothing.
pub(super) fn read(resident: &Resident, question: Question) -> Answer {
    match question {
        Question::Document(place) => document(resident, &place),
        Question::List { place, after, limit } => list(resident, &place, after.as_deref(), limit),
        Question::Map(place) => map(resident, &place),
        Question::History { place, after, limit } => history(resident, place, &after, limit),
        Question::Write(_) | Question::Follow { .. } | Question::Delete(_) | Question::Mirror(..) => {
            unreachable!("these change the home and are answered there")
        }
    }
}

fn document(resident: &Resident, place: &Place) -> Answer {
    let id = place.document().expect("asked of a document");
    match resident.stream().documents().get(place.collection(), id) {
        Some(body) => Answer::Document { body: Arc::clone(body), position: resident.stream().position() },
        None => Answer::Refused(Refused::NotFound),
    }
}

fn list(resident: &Resident, place: &Place, after: Option<&str>, limit: usize) -> Answer {
    let mut body = Vec::new();
    let page = resident.stream().documents().encode_list(place.collection(), after, limit, &mut body);
    let is_whole = after.is_none() && !page.more;
    let next = page.last.filter(|_| page.more).map(str::to_owned);
    Answer::Json {
        body,
        tag: Some(resident.stream().collection_tag(place.collection())),
        position: is_whole.then(|| resident.stream().position()),
        next,
    }
}

fn map(resident: &Resident, place: &Place) -> Answer {
    let stream = resident.stream();
    let scope = scope(place);
    let tag = match scope {
        Scope::Stream => resident.stream().position().to_string(),
        Scope::Collection(path) => stream.collection_tag(path),
        Scope::Document(collection, id) => match stream.documents().get(collection, id) {
            Some(body) => document::tag(body),
            None => return Answer::Refused(Refused::NotFound),
        },
    };
    let mut body = Vec::new();
    match stream.documents().encode_map(scope, MAP_BYTES_MAX, &mut body) {
        Ok(()) => Answer::Json { body, tag: Some(tag), position: Some(resident.stream().position()), next: None },
        Err(_) => Answer::Refused(Refused::MapTooLarge),
    }
}

/// Where a page of events begins. A position that can't be served is told so in the page, as a follower is told in its stream.
fn history(resident: &Resident, place: Place, after: &str, limit: usize) -> Answer {
    match (judge(resident, after), resident.stream().epochs()) {
        (Ok(sequence), Some(epochs)) => {
            let sequence = furthest(resident, std::slice::from_ref(&place), sequence);
            let (filter, epochs) = (Filter::of([place.topic()]), epochs.clone());
            Answer::History(Box::new(Begin {
                stream: place.stream().to_owned(),
                volume: resident.volume.number,
                filter,
                sequence,
                epochs,
                limit,
            }))
        }
        (Ok(_), None) => {
            let body = b"{\"events\":[]}".to_vec();
            Answer::Json { body, tag: None, position: Some(Position::ORIGIN), next: None }
        }
        (Err(reset), _) => {
            let mut body = b"{\"reset\":".to_vec();
            write_reset_data(&mut body, reset, earliest(resident));
            body.extend_from_slice(b",\"events\":[]}");
            Answer::Json { body, tag: None, position: None, next: None }
        }
    }
}

/// Position of the oldest cursor that can be served.
pub(super) fn earliest(resident: &Resident) -> Position {
    resident.stream().position_at(resident.stream().earliest() - 1)
}

fn write_reset_data(out: &mut Vec<u8>, reset: Reset, earliest: Position) {
    out.extend_from_slice(format!("{{\"reason\":\"{}\",\"earliest\":\"{earliest}\"}}", reset.name()).as_bytes());
}

pub(super) fn judge(resident: &Resident, cursor: &str) -> Result<u64, Reset> {
    let position = cursor.parse::<Position>().map_err(|_| Reset::Unknown)?;
    resident.stream().judge(position).map_err(|unservable| match unservable {
        Unservable::Expired => Reset::Expired,
        Unservable::Epoch => Reset::Epoch,
        Unservable::Ahead => Reset::Ahead,
    })
}
