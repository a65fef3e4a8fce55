//! Tests of patches: fixtures, limits, and what the reference implementation makes of our updates.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json::tests::{cases, values};
use crate::json::{encoded_len, measure};

const OPERATIONS: &str = include_str!("../../../../fixtures/patches/operations.txt");
const MERGES: &str = include_str!("../../../../fixtures/patches/merges.txt");
const UPDATES: &str = include_str!("../../../../fixtures/patches/updates.txt");

fn value(text: &str) -> Value {
    json::parse(text.as_bytes().to_vec()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn written(value: &Value) -> String {
    let mut out = Vec::new();
    json::encode(value, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn two_lines(text: &str) -> (Value, Value) {
    let (first, second) = text.split_once('\n').expect("two lines");
    (value(first), value(second))
}

/// How an error reads in the fixtures: its kind and the part of the patch at fault.
fn told(error: &PatchError) -> String {
    let kind = match error.fault() {
        PatchFault::NotArray => "not-array".to_owned(),
        PatchFault::Many => "many".to_owned(),
        PatchFault::NotObject => "not-object".to_owned(),
        PatchFault::Missing(name) => format!("missing {name}"),
        PatchFault::NotText => "not-text".to_owned(),
        PatchFault::Unknown => "unknown".to_owned(),
        PatchFault::Pointer => "pointer".to_owned(),
        PatchFault::Target => "target".to_owned(),
        PatchFault::Source => "source".to_owned(),
        PatchFault::Inside => "inside".to_owned(),
        PatchFault::Test => "test".to_owned(),
        PatchFault::Large => "large".to_owned(),
        PatchFault::Deep => "deep".to_owned(),
        PatchFault::Work => "work".to_owned(),
    };
    format!("{kind} {:?}", error.pointer())
}

#[test]
fn operations_do_what_the_fixtures_say() {
    for (text, result) in cases(OPERATIONS) {
        let (before, patch) = two_lines(&text);
        let mut document = before.clone();
        match Patch::read(patch).and_then(|patch| patch.apply(&mut document)) {
            Ok(()) => assert_eq!(written(&document), result, "{text}"),
            Err(error) => {
                assert_eq!(told(&error), result, "{text}");
                assert_eq!(document, before, "{text}");
                assert_eq!(error.is_conflict(), result.starts_with("test "), "{text}");
            }
        }
    }
}

#[test]
fn merges_do_what_the_fixtures_say() {
    for (text, result) in cases(MERGES) {
        let (mut document, patch) = two_lines(&text);
        merge(&mut document, &patch);
        assert_eq!(written(&document), result, "{text}");
    }
}

#[test]
fn updates_are_what_the_fixtures_say() {
    for (text, result) in cases(UPDATES) {
        let (old, second) = two_lines(&text);
        let (new, own) = match second.is_array() {
            true => {
                let (patch, mut new) = (Patch::read(second).expect("a patch"), old.clone());
                patch.apply(&mut new).expect("the patch applies");
                (new, Some(patch))
            }
            false => (second, None),
        };
        let mut data = b"data: ".to_vec();
        update("/notes/a~1b", &old, &new, written(&new).as_bytes(), own.as_ref(), &mut data);
        assert_eq!(String::from_utf8_lossy(&data), format!("data: {result}"), "{text}");
    }
}

#[test]
fn a_patch_has_so_many_operations() {
    let operations = |count| Patch::read(Value::Array(vec![json!({"op":"test","path":"","value":{}}); count]));
    assert_eq!(operations(PATCH_OPERATIONS_MAX).map(|patch| patch.len()), Ok(PATCH_OPERATIONS_MAX));
    assert_eq!(operations(PATCH_OPERATIONS_MAX + 1).map_err(|error| told(&error)), Err("many \"\"".to_owned()));
}

fn fault(document: &Value, patch: Value) -> Option<String> {
    let (mut after, patch) = (document.clone(), Patch::read(patch).expect("a patch"));
    let error = patch.apply(&mut after).err()?;
    assert_eq!(&after, document);
    Some(told(&error))
}

#[test]
fn the_size_is_bounded_after_each_operation() {
    let full = json!({"a": "x".repeat(DOCUMENT_BYTES_MAX - r#"{"a":""}"#.len())});
    assert_eq!(encoded_len(&full), DOCUMENT_BYTES_MAX);
    assert_eq!(fault(&full, json!([{"op":"replace","path":"/a","value":""},{"op":"add","path":"/b","value":1}])), None);
    assert_eq!(fault(&full, json!([{"op":"move","from":"/a","path":"/b"}])), None);
    for (patch, at) in [
        (json!([{"op":"move","from":"/a","path":"/bb"}]), "large \"/0\""),
        (json!([{"op":"move","from":"/a","path":"/\n"},{"op":"remove","path":"/\n"}]), "large \"/0\""),
        (json!([{"op":"test","path":"/b","value":1}]), "target \"/0/path\""),
        (json!([{"op":"copy","from":"/a","path":"/b"},{"op":"remove","path":"/b"}]), "large \"/0\""),
        (json!([{"op":"add","path":"/b","value":1},{"op":"remove","path":"/a"}]), "large \"/0\""),
    ] {
        assert_eq!(fault(&full, patch).as_deref(), Some(at));
    }
}

#[test]
fn the_depth_is_bounded_after_each_operation() {
    let nested = |depth: usize| value(&["[".repeat(depth), "]".repeat(depth)].concat());
    let document = json!({"deep": nested(DEPTH_MAX - 1), "flat": []});
    let deepest = "/0".repeat(DEPTH_MAX - 2);
    assert_eq!(fault(&document, json!([{"op":"add","path":format!("/deep{deepest}/-"),"value":1}])), None);
    assert_eq!(
        fault(&document, json!([{"op":"move","from":"/flat","path":format!("/deep{deepest}/-")}])).as_deref(),
        Some("deep \"/0\"")
    );
    assert_eq!(
        fault(&document, json!([{"op":"move","from":"/deep","path":"/flat/-"}])).as_deref(),
        Some("deep \"/0\"")
    );
    assert_eq!(
        fault(&document, json!([{"op":"copy","from":"/deep","path":"/flat/-"},{"op":"remove","path":"/flat"}]))
            .as_deref(),
        Some("deep \"/0\"")
    );
    // What is shallow may go deeper though something else is as deep as can be.
    assert_eq!(
        fault(&document, json!([{"op":"add","path":"/x","value":[]},{"op":"move","from":"/x","path":"/flat/-"}])),
        None
    );
    // Copying a document into itself doubles its depth each time.
    let doubling = vec![json!({"op":"copy","from":"","path":"/x"}); 200];
    assert!(fault(&json!({}), Value::Array(doubling)).is_some_and(|fault| fault.starts_with("deep")));
}

#[test]
fn the_work_is_bounded() {
    let large = json!({"from": "x".repeat(300_000), "list": vec![0; 100_000]});
    for operation in [
        json!({"op":"copy","from":"/from","path":"/to"}),
        json!({"op":"copy","from":"/list","path":"/list"}),
        json!({"op":"move","from":"/list/0","path":"/list/-"}),
        json!({"op":"add","path":"/list/0","value":0}),
        json!({"op":"remove","path":"/list/0"}),
    ] {
        let fault = fault(&large, Value::Array(vec![operation.clone(); PATCH_OPERATIONS_MAX]));
        assert!(fault.as_ref().is_some_and(|fault| fault.starts_with("work ")), "{operation} {fault:?}");
    }
    let there = json!({"op":"move","from":"/list","path":"/a"});
    let back = json!({"op":"move","from":"/a","path":"/list"});
    let moves = (0..PATCH_OPERATIONS_MAX).map(|count| if count % 2 == 0 { there.clone() } else { back.clone() });
    assert_eq!(fault(&large, moves.collect()), None);
    let appends = vec![json!({"op":"add","path":"/list/-","value":0}); PATCH_OPERATIONS_MAX];
    assert_eq!(fault(&large, Value::Array(appends)), None);
}

#[test]
fn an_update_of_hostile_documents_is_given_up_in_time() {
    // One long name above many changes: their paths would be many times as large as the document.
    let name = "n".repeat(500_000);
    let list = |element: u8| json!({name.as_str(): vec![element; 200_000], "id": "1"});
    assert_eq!(updated(&list(1), &list(2), None), json!([{"op":"replace","path":"/notes/1","value":list(2)}]));
    // Elements that are removed before a long rest, each of which shifts it.
    let (mut many, few) = (vec![json!("x"); 5_000], vec![json!(0); 400_000]);
    many.extend_from_slice(&few);
    let (old, new) = (json!({"id":"1","list":many}), json!({"id":"1","list":few}));
    assert_eq!(updated(&old, &new, None), json!([{"op":"replace","path":"/notes/1","value":new}]));
    // Arrays of different lengths at each level.
    let nest = |extra: usize| {
        (0..120)
            .fold(Value::from(vec![1; 50_000]), |inner, _| Value::from([vec![inner], vec![json!(0); extra]].concat()))
    };
    let (old, new) = (json!({"id":"1","list":nest(1)}), json!({"id":"1","list":nest(2)}));
    assert_eq!(
        reference::apply(&json!({"notes":{"1":old}}), &updated(&old, &new, None)),
        Some(json!({"notes":{"1":new}}))
    );
}

fn updated(old: &Value, new: &Value, own: Option<&Patch>) -> Value {
    let (mut data, bytes) = (Vec::new(), written(new));
    update("/notes/1", old, new, bytes.as_bytes(), own, &mut data);
    let replace = format!(r#"[{{"op":"replace","path":"/notes/1","value":{bytes}}}]"#);
    assert!(data.len() <= replace.len() && !data.contains(&b'\n'));
    json::parse(data).expect("an event's data is JSON")
}

/// Pointers that often lead somewhere in the [`values`].
fn pointers() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-c~/]{0,2}|[0-3]|-|01|__proto__", 0..4).prop_map(|tokens| {
        tokens.iter().fold(String::new(), |mut pointer, token| {
            json::push_token(&mut pointer, token);
            pointer
        })
    })
}

/// Patches of which most can be read and many be applied.
pub(crate) fn patches() -> impl Strategy<Value = Value> {
    let operation = (0usize..6, pointers(), pointers(), values()).prop_map(|(kind, from, path, value)| match kind {
        0 => json!({"op":"add","path":path,"value":value}),
        1 => json!({"op":"remove","path":path}),
        2 => json!({"op":"replace","path":path,"value":value}),
        3 => json!({"op":"move","from":from,"path":path}),
        4 => json!({"op":"copy","from":from,"path":path}),
        _ => json!({"op":"test","path":path,"value":value}),
    });
    prop::collection::vec(operation, 0..5).prop_map(Value::Array)
}

/// The operations of a patch that can be applied one after the other, and what they make of `document`.
pub(crate) fn applied(document: &Value, patch: Value) -> (Patch, Value) {
    let (mut after, mut operations) = (document.clone(), Vec::new());
    for operation in Patch::read(patch).expect("a patch").operations {
        let single = Patch { operations: vec![operation] };
        if single.apply(&mut after).is_ok() {
            operations.extend(single.operations);
        }
    }
    (Patch { operations }, after)
}

fn objects() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c~/]{0,2}|[0-2]|__proto__", values(), 0..6)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// The value with its floats taken out, which the reference compares otherwise than RFC 6902.
fn without_floats(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => Value::Null,
        Value::Array(elements) => elements.into_iter().map(without_floats).collect(),
        Value::Object(members) => members.into_iter().map(|(name, member)| (name, without_floats(member))).collect(),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn patches_do_what_the_reference_does(
        old in objects().prop_map(without_floats),
        patch in patches().prop_map(without_floats),
    ) {
        let mut new = old.clone();
        let done = Patch::read(patch.clone()).and_then(|patch| patch.apply(&mut new));
        match reference::apply(&old, &patch) {
            Some(expected) => prop_assert_eq!(done.map(|()| &new), Ok(&expected)),
            None => prop_assert!(done.is_err() && new == old),
        }
    }

    #[test]
    fn any_value_is_a_patch_or_an_error(value in values(), old in values()) {
        if let Ok(patch) = Patch::read(value) {
            let _ = patch.apply(&mut old.clone());
        }
    }

    #[test]
    fn a_difference_turns_old_into_new(old in objects(), new in objects()) {
        let before = json!({"notes":{"1":old,"2":{}},"x":{}});
        let after = json!({"notes":{"1":new,"2":{}},"x":{}});
        let told = reference::apply(&before, &updated(&old, &new, None));
        prop_assert_eq!(told.as_ref().map(written), Some(written(&after)));
    }

    #[test]
    fn a_small_edit_is_told_as_one(old in objects(), patch in patches()) {
        let (patch, new) = applied(&old, patch);
        let before = json!({"notes":{"1":old}});
        let after = Some(written(&json!({"notes":{"1":new}})));
        prop_assert_eq!(reference::apply(&before, &updated(&old, &new, None)).as_ref().map(written), after.clone());
        prop_assert_eq!(reference::apply(&before, &updated(&old, &new, Some(&patch))).as_ref().map(written), after);
    }

    #[test]
    fn the_encoding_says_what_was_read(patch in patches()) {
        let read = Patch::read(patch).expect("a patch");
        let mut out = b"[".to_vec();
        read.encode("", &mut out);
        out.push(b']');
        let again = Patch::read(json::parse(out).expect("JSON")).expect("a patch");
        let kept = read.operations.into_iter().filter(|operation| !matches!(operation, PatchOperation::Test(_)));
        prop_assert_eq!(again.operations, kept.collect::<Vec<_>>());
    }

    #[test]
    fn a_merge_is_no_deeper_than_its_parts(mut document in values(), patch in values()) {
        let depth = measure(&document).depth.max(measure(&patch).depth);
        merge(&mut document, &patch);
        prop_assert!(measure(&document).depth <= depth);
    }
}
