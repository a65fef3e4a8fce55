//! What writers ask for, and what should come of it.

use fantail_engine::patch::Patch;
use fantail_engine::protocol::condition::{Condition, Guard};
use fantail_engine::stream::{Change as Asked, Operation};
use fantail_engine::topic::Place;
use serde_json::{Value, json};

use crate::model::{Change, Key, Model};
use crate::random::Random;

/// The collections that are written, all of one stream.
pub(crate) const COLLECTIONS: [&str; 3] = ["/s", "/s/1/sub", "/s/2/s~b"];
/// The ids of documents.
pub(crate) const IDS: [&str; 5] = ["1", "2", "3", "x/y~", "5"];
const KEYS: [&str; 4] = ["red", "green", "blue", "white"];

/// One write.
pub(crate) struct Wish {
    pub(crate) operation: Operation,
    pub(crate) key: Option<(&'static str, u128)>,
    pub(crate) expected: Expected,
}

/// What should come of it.
pub(crate) enum Expected {
    /// An event, and this status.
    Event(Change, u16),
    /// No event, and this status.
    Same(u16),
    Refused,
    /// The answer that the key's first write got.
    Repeated(u16),
}

/// Any write, and what should come of it in a stream whose newest durable event is `persisted`.
pub(crate) fn wish(random: &mut Random, model: &Model, persisted: u64, now_ms: u64, bytes_max: usize) -> Wish {
    let collection = *random.pick(&COLLECTIONS);
    let collection = Place::parse(collection).expect("a path");
    let id = random.pick(&IDS[..if collection.collection() == "s" { 5 } else { 2 }]).replace('/', "-");
    let place = collection.child(&id).expect("a name");
    let before = model.document(&place).cloned();
    let mut body = json!({"n": random.below(100), "t": "x".repeat(random.below(bytes_max))});
    let (place_asked, change, after, status) = match random.below(12) {
        0 => {
            let after = if before.is_some() { Err(()) } else { Ok(Some(with_id(body.clone(), &id))) };
            (collection, Asked::Create { value: body, id }, after, 201)
        }
        1..5 => {
            let status = if before.is_some() { 200 } else { 201 };
            if random.chance(100) {
                body = before.clone().unwrap_or(body);
            }
            (place.clone(), Asked::Put(body.clone()), Ok(Some(with_id(body, &id))), status)
        }
        5..8 => {
            let patch = patch(random);
            let after = before.clone().ok_or(()).and_then(|mut document| {
                let patch: json_patch::Patch = serde_json::from_value(patch.clone()).expect("a patch");
                json_patch::patch(&mut document, &patch).map_err(|_| ())?;
                if document["id"] == json!(id) { Ok(Some(document)) } else { Err(()) }
            });
            (place.clone(), Asked::Patch(Patch::read(patch).expect("a patch")), after, 200)
        }
        8 | 9 => {
            let merge = if random.chance(100) {
                json!({"id": "other"})
            } else {
                json!({"n": null, "m": {"k": random.below(3)}})
            };
            let after = before.clone().ok_or(()).and_then(|mut document| {
                json_patch::merge(&mut document, &merge);
                if document["id"] == json!(id) { Ok(Some(document)) } else { Err(()) }
            });
            (place.clone(), Asked::Merge(merge), after, 200)
        }
        _ => (place.clone(), Asked::Delete, before.as_ref().map(|_| None).ok_or(()), 204),
    };
    let mut guard = Guard::default();
    let mut after = after;
    if random.chance(60) && matches!(change, Asked::Put(_)) {
        guard.if_none_match = Some(Condition::Any);
        after = if before.is_some() { Err(()) } else { after };
    }
    let key = random.chance(200).then(|| (*random.pick(&KEYS), if random.chance(150) { 2 } else { 1 }));
    let is_doubtful = |(name, _)| model.keyed(name, now_ms).is_some_and(|(_, key)| key.is_doubtful);
    let key = key.filter(|key| !is_doubtful(*key));
    let repeated = key.and_then(|(name, fingerprint)| {
        let (event, first): (_, &Key) = model.keyed(name, now_ms)?;
        let is_answered = first.fingerprint == fingerprint && event.position.sequence <= persisted;
        Some(if is_answered { Expected::Repeated(first.status) } else { Expected::Refused })
    });
    let expected = repeated.unwrap_or_else(|| match after {
        Err(()) => Expected::Refused,
        Ok(after) if after == before && key.is_none() => Expected::Same(status),
        Ok(after) if after == before => Expected::Event(Change::None, status),
        Ok(Some(body)) => Expected::Event(Change::Set(body), status),
        Ok(None) => Expected::Event(Change::Remove, status),
    });
    let operation = Operation { place: place_asked, change, guard, key: None };
    Wish { operation, key, expected }
}

fn with_id(mut body: Value, id: &str) -> Value {
    body["id"] = json!(id);
    body
}

/// A JSON Patch of a document; some can't be applied.
fn patch(random: &mut Random) -> Value {
    let n = random.below(10);
    match random.below(7) {
        0 => json!([{"op": "replace", "path": "/n", "value": n}]),
        1 => json!([{"op": "add", "path": "/list", "value": [1, 2]}, {"op": "add", "path": "/list/0", "value": n}]),
        2 => json!([{"op": "remove", "path": "/list/1"}]),
        3 => json!([{"op": "test", "path": "/n", "value": n}, {"op": "add", "path": "/seen", "value": true}]),
        4 => json!([{"op": "add", "path": "/m", "value": {"a/b": n}}, {"op": "copy", "from": "/m", "path": "/c"}]),
        5 => json!([{"op": "replace", "path": "/id", "value": "stolen"}]),
        _ => json!([{"op": "add", "path": "/n", "value": n}, {"op": "add", "path": "/q", "value": "\"\u{e9}~/"}]),
    }
}
