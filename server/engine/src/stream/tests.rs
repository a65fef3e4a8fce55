//! Random operations on a stream, with the disk succeeding or failing at any time, against the fold of its own log.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::document::{Documents, Scope};
use crate::limits::KEY_AGE_MS_MAX;
use crate::log::manifest::Unservable;
use crate::log::segment::{self, Verdict};
use crate::log::{group, keys};
use crate::patch::Patch;
use crate::protocol::condition::Guard;
use crate::topic::{Place, Topic};

fn empty(name: &str) -> Stream {
    let mut stream = Stream::new(name, Origin::nothing());
    stream.begin(Epoch::from_bits(7));
    stream
}

fn operation(path: &str, change: Change) -> Operation {
    let place = Place::parse(path).expect("a path");
    Operation { place, change, guard: Guard::default(), key: None }
}

fn map(documents: &Documents) -> serde_json::Value {
    let mut out = Vec::new();
    documents.encode_map(Scope::Stream, usize::MAX, &mut out).expect("no bound");
    serde_json::from_slice(&out).expect("a map is JSON")
}

/// The fold of all sealed bytes up to the event `last`, read as recovery reads them.
fn folded(stream: &Stream, last: u64) -> Documents {
    let mut documents = Documents::default();
    let mut bytes = Vec::new();
    let mut cursor = 0;
    while let Some(run) = stream.blocks().run(cursor, stream.sealed_end()).filter(|run| !run.is_empty()) {
        bytes.extend_from_slice(run);
        cursor += run.len() as u64;
        if cursor == stream.sealed_end() {
            break;
        }
    }
    let mut rest = &bytes[..];
    while let Ok(group) = group::read(rest) {
        for (_, _, frame) in group.frames().filter(|(_, _, frame)| frame.position.sequence <= last) {
            documents.fold(frame.data, frame.position.sequence).expect("an event of ours applies");
        }
        rest = &rest[group.bytes.len()..];
    }
    documents
}

#[derive(Clone, Debug)]
enum Act {
    Put(u8, u8, i64),
    Create(u8),
    Patch(u8, u8),
    Merge(u8, i64),
    Delete(u8),
    Seal,
    Persisted,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0u8..3, 0u8..4, any::<i64>()).prop_map(|(collection, id, value)| Act::Put(collection, id, value)),
        1 => (0u8..6).prop_map(Act::Create),
        2 => (0u8..4, 0u8..4).prop_map(|(id, kind)| Act::Patch(id, kind)),
        2 => (0u8..4, -3i64..3).prop_map(|(id, value)| Act::Merge(id, value)),
        1 => (0u8..4).prop_map(Act::Delete),
        2 => Just(Act::Seal),
        2 => Just(Act::Persisted),
    ];
    prop::collection::vec(act, 0..60)
}

fn commit(stream: &mut Stream, act: &Act) -> Option<Result<Outcome, Refusal>> {
    let collections = ["/a", "/a/1/b", "/a/1/b~%20c"];
    let operation = match act {
        Act::Put(collection, id, value) => {
            let path = format!("{}/{id}", collections[*collection as usize]);
            operation(&path, Change::Put(json!({"n": value, "list": [1, value, "x"]})))
        }
        Act::Create(id) => operation("/a", Change::Create { value: json!({"t": id}), id: id.to_string() }),
        Act::Patch(id, kind) => {
            let operations = match kind {
                0 => json!([{"op":"add","path":"/list/-","value":{"deep":[]}},{"op":"remove","path":"/list/0"}]),
                1 => json!([{"op":"move","from":"/n","path":"/m"},{"op":"copy","from":"/m","path":"/n"}]),
                2 => json!([{"op":"replace","path":"/n","value":1},{"op":"test","path":"/n","value":2}]),
                _ => json!([{"op":"replace","path":"","value":{"id": id.to_string(), "new": true}}]),
            };
            operation(&format!("/a/{id}"), Change::Patch(Patch::read(operations).expect("a patch")))
        }
        Act::Merge(id, value) => operation(&format!("/a/{id}"), Change::Merge(json!({"n": value, "gone": null}))),
        Act::Delete(id) => operation(&format!("/a/{id}"), Change::Delete),
        Act::Seal | Act::Persisted => return None,
    };
    Some(stream.commit(&operation, 1_000, usize::MAX >> 1))
}

proptest! {
    #[test]
    fn a_folded_stream_equals_the_documents(acts in acts(), fails: bool) {
        let mut stream = empty("a");
        let mut in_flight = false;
        for act in &acts {
            let before = (stream.position(), map(stream.documents()));
            match (act, commit(&mut stream, act)) {
                (Act::Seal, _) => in_flight |= stream.seal(1_000).is_some(),
                (Act::Persisted, _) if in_flight => {
                    in_flight = false;
                    stream.persisted();
                }
                (_, Some(Ok(outcome))) => {
                    prop_assert_eq!(outcome.position, stream.position());
                    let stored = stream.documents().get(outcome.place.collection(), outcome.place.document().expect("a document"));
                    prop_assert_eq!(stored, outcome.document.as_ref());
                    let changed = map(stream.documents()) != before.1;
                    prop_assert_eq!(changed, stream.position() != before.0, "an event if and only if something changed");
                }
                (_, Some(Err(_))) => prop_assert_eq!((stream.position(), map(stream.documents())), before, "a refusal changes nothing"),
                (_, None) => {}
            }
            prop_assert!(stream.persisted_sequence() <= stream.position().sequence);
        }
        if fails {
            stream.discard();
            stream.fail("the disk is gone".into());
            prop_assert_eq!(stream.position().sequence, stream.persisted_sequence());
            let refused = commit(&mut stream, &Act::Put(0, 0, 1)).expect("an operation");
            prop_assert!(matches!(refused, Err(Refusal::Failed(_))));
        } else {
            for _ in 0..2 {
                if in_flight {
                    stream.persisted();
                }
                in_flight = stream.seal(1_000).is_some();
            }
            prop_assert!(!in_flight && !stream.has_open_group());
        }
        let folded = folded(&stream, stream.persisted_sequence());
        prop_assert_eq!(map(&folded), map(stream.documents()));
        for (path, collection) in stream.documents().collections() {
            prop_assert_eq!(folded.collection(path).expect("it is there").changed(), collection.changed());
        }
    }

    #[test]
    fn offsets_follow_events_whatever_is_sealed(acts in acts()) {
        let mut stream = empty("a");
        let mut in_flight = false;
        for act in &acts {
            match (act, commit(&mut stream, act)) {
                (Act::Seal, _) => in_flight |= stream.seal(1_000).is_some(),
                (Act::Persisted, _) if in_flight => {
                    in_flight = false;
                    stream.persisted();
                }
                _ => {}
            }
            let last = stream.position().sequence;
            let mut before = stream.offset_after(0);
            for sequence in 1..=last {
                let after = stream.offset_after(sequence);
                prop_assert!(after.is_some() && after > before.max(Some(0)).filter(|_| sequence > 1), "{sequence} of {last}");
                before = after;
            }
        }
    }
}

#[test]
fn an_idempotency_key_answers_a_repeat_and_refuses_another_request() {
    let mut stream = empty("a");
    let key = |fingerprint| Some(IdempotencyKey { hash: 1, fingerprint });
    let put = |fingerprint, value: i64| Operation {
        key: key(fingerprint),
        ..operation("/a/1", Change::Put(json!({"n": value})))
    };
    let first = stream.commit(&put(10, 1), 1_000, 1 << 20).expect("a write");
    assert!(matches!(stream.commit(&put(10, 1), 1_000, 1 << 20), Err(Refusal::KeyInFlight)));
    stream.seal(1_000).expect("a group");
    stream.persisted();
    let repeat = stream.commit(&put(10, 1), 2_000, 1 << 20).expect("a repeat");
    assert_eq!((repeat.status, repeat.place.path(), stream.position()), (201, "a/1", first.position));
    assert!(matches!(stream.commit(&put(11, 2), 2_000, 1 << 20), Err(Refusal::KeyReused)));
    let unkeyed = operation("/a/1", Change::Put(json!({"n": 1})));
    assert_eq!(stream.commit(&unkeyed, 2_000, 1 << 20).expect("nothing to do").position, first.position);
    let keyed = Operation { key: Some(IdempotencyKey { hash: 2, fingerprint: 3 }), ..unkeyed };
    let kept = stream.commit(&keyed, 2_000, 1 << 20).expect("nothing to do, but remembered");
    assert_eq!((kept.status, kept.position.sequence), (200, first.position.sequence + 1));
    stream.discard();
    stream.fail("the disk is gone".into());
    assert!(stream.keys.find(2).is_none() && stream.keys.find(1).is_some());
}

/// Clocks jump; sequences don't.
#[test]
fn times_that_go_back_change_no_order_and_forget_no_key() {
    let times = [50_000_000, 1_000, KEY_AGE_MS_MAX, 0, 70_000_000];
    let mut stream = empty("a");
    let (mut log, mut lines) = (Vec::new(), Vec::new());
    let keyed = |number: u64| Operation {
        key: Some(IdempotencyKey { hash: number.into(), fingerprint: 1 }),
        ..operation(&format!("/a/{number}"), Change::Put(json!({"n": number})))
    };
    for (number, now_ms) in (1..).zip(times) {
        assert_eq!(stream.commit(&keyed(number), now_ms, 1 << 20).expect("a write").position.sequence, number);
        let sealed = stream.seal(now_ms).expect("a group");
        log.extend_from_slice(sealed.appended.bytes());
        lines.extend_from_slice(&sealed.keys);
        stream.persisted();
    }
    let epochs = stream.epochs().expect("it exists").clone();
    let mut documents = Documents::default();
    let recovered = segment::recover(&log, 1, &epochs, |frame| {
        documents.fold(frame.data, frame.position.sequence).ok()?;
        Some((0, 0))
    });
    assert_eq!((recovered.verdict, recovered.entries.len(), recovered.last_unix_ms), (Verdict::Whole, 5, 70_000_000));
    assert_eq!(map(&documents), map(stream.documents()));
    let remembered: Vec<_> = keys::read(&lines, 5).map(|record| (record.sequence, record.unix_ms)).collect();
    assert_eq!(remembered, (1..).zip(times).collect::<Vec<_>>());
    // What was written in what is the future now counts as young.
    for (number, now_ms) in [(1, 0), (2, KEY_AGE_MS_MAX), (3, 0), (3, 2 * KEY_AGE_MS_MAX), (4, 0), (5, 1_000)] {
        let repeat = stream.commit(&keyed(number), now_ms, 1 << 20).expect("a repeat");
        assert_eq!((repeat.status, repeat.position.sequence), (201, 5), "{number} at {now_ms}");
    }
}

#[test]
fn documents_that_outgrow_their_room_are_refused() {
    let mut stream = empty("a");
    let put = |text: &str| operation("/a/1", Change::Put(json!({"t": text})));
    assert!(matches!(stream.commit(&put("0123456789"), 0, 10), Err(Refusal::Full)));
    stream.commit(&put("0123456789"), 0, 100).expect("there is room");
    stream.commit(&put("012345678"), 0, 0).expect("a smaller one needs none");
    assert!(matches!(stream.commit(&put("0123456789"), 0, 0), Err(Refusal::Full)));
}

#[test]
fn a_stream_that_nobody_wrote_has_no_position() {
    let mut stream = empty("a");
    stream.retract();
    assert_eq!((stream.position(), stream.judge(Position::ORIGIN)), (Position::ORIGIN, Ok(0)));
    let cursor = "k3f9q2-1".parse().expect("a position");
    assert_eq!(stream.judge(cursor), Err(Unservable::Epoch));
    assert_eq!(stream.offset_after(0), Some(0));
    assert!(stream.blocks().extents(0, 1).is_none());
    assert_eq!(Place::parse("/a").expect("a path").topic(), Topic::Stream);
}
