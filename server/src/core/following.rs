//! Where a follower begins, as its stream's home decides: which cursor is served, and which value comes first.

use std::ops::Range;
use std::sync::Arc;

use fantail_engine::document::{Body, Scope};
use fantail_engine::limits::MAP_BYTES_MAX;
use fantail_engine::log::checkpoint;
use fantail_engine::log::filter::Filter;
use fantail_engine::position::Position;
use fantail_engine::protocol::sse::Reset;
use fantail_engine::stream::Refusal;
use fantail_engine::topic::Place;

use super::question::{From, Refused};
use super::reader::{earliest, furthest, judge, scope};
use super::resident::Resident;
use crate::storage::snapshot::Snapshot;

/// How a follower of one stream begins.
pub(crate) struct Following {
    /// The number of the log's volume.
    pub(crate) volume: u64,
    pub(crate) filter: Filter,
    /// Where in the log it goes on.
    pub(crate) cursor: Cursor,
    /// The position there.
    pub(crate) position: Position,
    /// Why the cursor that it came with isn't served, and the earliest one that is.
    pub(crate) reset: Option<(Reset, Position)>,
    /// The value at `position`, if that comes first.
    pub(crate) value: Option<Value>,
}

/// A place in the log, at a frame's boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cursor {
    /// At this offset.
    At(u64),
    /// After this event, which is behind the tail: the index knows where that is.
    After(u64),
}

/// Events that make an empty value the topic's, without the one that empties it and the position after them.
pub(crate) struct Value {
    /// What was made for this follower.
    pub(crate) made: Vec<u8>,
    /// What comes after it.
    pub(crate) shared: Option<Shared>,
}

/// Parts of the newest checkpoint, the same for everybody who asks.
pub(crate) struct Shared {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) parts: Vec<Range<u64>>,
}

/// Where a follower of `places`, all of this stream, begins.
pub(super) fn begin(resident: &Resident, places: &[Place], from: &From) -> Result<Following, Refused> {
    let is_missing = |place: &Place| match scope(place) {
        Scope::Document(collection, id) => resident.stream().documents().get(collection, id).is_none(),
        Scope::Stream | Scope::Collection(_) => false,
    };
    let missing = places.iter().find(|place| is_missing(place));
    if let Some(place) = missing.filter(|_| !matches!(from, From::Cursor(_))) {
        return Err(Refused::Missing(place.clone()));
    }
    match from {
        From::Cursor(cursor) => match judge(resident, cursor) {
            Ok(sequence) => after(resident, places, sequence),
            Err(reset) => {
                // A follower that knows more than a damaged log keeps what it has, and comes back when that is mended.
                if let (Reset::Ahead, Some(reason)) = (reset, resident.stream().failure()) {
                    return Err(Refused::Operation(Refusal::Failed(reason.to_owned())));
                }
                Ok(Following { reset: Some((reset, earliest(resident))), ..with_value(resident, places)? })
            }
        },
        From::Now => after(resident, places, resident.stream().position().sequence),
        From::Earliest => after(resident, places, resident.stream().earliest() - 1),
        From::Snapshot => with_value(resident, places),
    }
}

fn after(resident: &Resident, places: &[Place], sequence: u64) -> Result<Following, Refused> {
    let sequence = furthest(resident, places, sequence);
    Ok(Following {
        volume: resident.volume.number,
        filter: Filter::of(places.iter().map(Place::topic)),
        cursor: resident.stream().offset_after(sequence).map_or(Cursor::After(sequence), Cursor::At),
        position: resident.stream().position_at(sequence),
        reset: None,
        value: None,
    })
}

/// The value first: the newest checkpoint's bytes for a stream or collections; where single documents are wanted, that are
/// small, what is encoded here.
fn with_value(resident: &Resident, places: &[Place]) -> Result<Following, Refused> {
    let is_whole = Filter::of(places.iter().map(Place::topic)) == Filter::Whole;
    if !is_whole && !places.iter().all(Place::is_collection) {
        let value = Some(Value { made: encode(resident, places)?, shared: None });
        return Ok(Following { value, ..after(resident, places, resident.stream().position().sequence)? });
    }
    let mut paths: Vec<&str> = places.iter().map(Place::collection).filter(|_| !is_whole).collect();
    paths.sort_unstable();
    paths.dedup();
    let empty = |path: &str| checkpoint::parts(std::iter::once((path, std::iter::empty())));
    // Before the first checkpoint the value at the log's beginning is empty, and the log is all that it takes.
    let Some(snapshot) = &resident.snapshot else {
        let value = Some(Value { made: paths.into_iter().flat_map(empty).collect(), shared: None });
        return Ok(Following { value, ..after(resident, places, resident.stream().earliest() - 1)? });
    };
    let checkpoint = &snapshot.checkpoint;
    let (mut made, mut parts) = (Vec::new(), Vec::new());
    for path in paths {
        match checkpoint.collection(path) {
            Some(extent) => parts.push(extent.range.clone()),
            None => made.extend(empty(path)),
        }
    }
    if is_whole {
        parts.push(checkpoint.prelude.end..checkpoint.closing.start);
    }
    let shared = Some(Shared { snapshot: Arc::clone(snapshot), parts });
    let value = Some(Value { made, shared });
    Ok(Following { value, ..after(resident, places, checkpoint.position.sequence)? })
}

/// The value of documents, and of collections beside them, as they are now. The collections must be small; of documents
/// there are few.
fn encode(resident: &Resident, places: &[Place]) -> Result<Vec<u8>, Refused> {
    let documents = resident.stream().documents();
    let mut paths: Vec<&str> = places.iter().map(Place::collection).collect();
    paths.sort_unstable();
    paths.dedup();
    let (mut collections, mut bytes) = (Vec::new(), 0);
    for path in paths {
        let mut ids: Vec<_> = places.iter().filter(|place| place.collection() == path).map(Place::document).collect();
        ids.sort_unstable();
        ids.dedup();
        // A collection that is followed as a whole comes first, as nothing does, and brings its documents.
        let mut chosen: Vec<(&str, &Body)> = Vec::new();
        if ids.first().copied().flatten().is_some() {
            chosen.extend(ids.into_iter().flatten().filter_map(|id| Some((id, documents.get(path, id)?))));
        } else {
            for (id, body) in documents.collection(path).into_iter().flat_map(|all| all.documents(None)) {
                bytes += body.len();
                if bytes > MAP_BYTES_MAX {
                    return Err(Refused::MapTooLarge);
                }
                chosen.push((id, body));
            }
        }
        collections.push((path, chosen));
    }
    let bodies = |chosen: Vec<_>| chosen.into_iter().map(|(id, body): (&'_ str, &'_ Body)| (id, &**body));
    Ok(checkpoint::parts(collections.into_iter().map(|(path, chosen)| (path, bodies(chosen)))))
}
