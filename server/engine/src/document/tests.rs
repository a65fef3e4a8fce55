//! Tests of the documents: events folded against the reference implementation, undo, lists and maps.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json::tests::values;
use crate::limits::DEPTH_MAX;
use crate::patch::tests::{applied, patches};
use crate::patch::{reference, update};

fn body(value: Value) -> Body {
    let id = value["id"].as_str().expect("an id").to_owned();
    reseal(&value, &id).expect("a document")
}

fn map(documents: &Documents, scope: Scope<'_>) -> String {
    let mut out = Vec::new();
    documents.encode_map(scope, usize::MAX, &mut out).expect("there is no bound");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn whole(documents: &Documents) -> Value {
    serde_json::from_str(&map(documents, Scope::Stream)).expect("a map is JSON")
}

/// The sum that [`Documents::bytes`] promises; the documents are counted, too.
fn bytes(documents: &Documents) -> usize {
    let count = documents.collections().map(|(_, collection)| collection.len()).sum::<usize>();
    assert_eq!((documents.len(), documents.is_empty()), (count, count == 0));
    let collections = documents.collections().map(|(path, collection)| {
        let documents = collection.documents(None).map(|(id, body)| DOCUMENT_OVERHEAD + id.len() + body.len());
        COLLECTION_OVERHEAD + path.len() + documents.sum::<usize>()
    });
    collections.sum()
}

fn filled(ids: &[&str]) -> Documents {
    let mut documents = Documents::default();
    for id in ids {
        let _ = documents.set("notes", id, Some(body(json!({"id":id}))), 1);
    }
    documents
}

#[test]
fn a_body_gets_its_id_in_its_place() {
    for (value, sealed) in [
        (json!({}), r#"{"id":"7\""}"#),
        (json!({"a":1,"z":2}), r#"{"a":1,"id":"7\"","z":2}"#),
        (json!({"z":2,"ida":3}), r#"{"id":"7\"","ida":3,"z":2}"#),
        (json!({"a":1}), r#"{"a":1,"id":"7\""}"#),
        (json!({"id":"7\"","i":1}), r#"{"i":1,"id":"7\""}"#),
    ] {
        assert_eq!(seal(&value, "7\"").map(|body| body.to_vec()), Ok(sealed.as_bytes().to_vec()));
    }
    for value in [json!({"id":"8"}), json!({"id":7}), json!({"id":null})] {
        assert_eq!((seal(&value, "7"), reseal(&value, "7")), (Err(DocumentError::Id), Err(DocumentError::Id)));
    }
    assert_eq!(reseal(&json!({}), "7").map_err(DocumentError::pointer), Err("/id"));
    for value in [json!([]), json!(null), json!("id")] {
        assert_eq!(seal(&value, "7"), Err(DocumentError::NotObject));
        assert_eq!(named(&value), Err(DocumentError::NotObject));
    }
    assert_eq!(named(&json!({"id":"a b"})), Ok(Some("a b")));
    assert_eq!(named(&json!({})), Ok(None));
    for id in [json!("a/b"), json!(""), json!("__proto__"), json!(7), json!("x".repeat(129))] {
        assert_eq!(named(&json!({"id":id})), Err(DocumentError::Id));
    }
}

#[test]
fn a_document_has_so_many_bytes_with_its_id() {
    let value = |more: usize| json!({"a":"x".repeat(DOCUMENT_BYTES_MAX - r#"{"a":"","id":"7"}"#.len() + more)});
    assert_eq!(seal(&value(0), "7").map(|body| body.len()), Ok(DOCUMENT_BYTES_MAX));
    assert_eq!(seal(&value(1), "7"), Err(DocumentError::Large));
    let mut value = value(1);
    value["id"] = json!("7");
    assert_eq!(reseal(&value, "7"), Err(DocumentError::Large));
}

#[test]
fn a_document_opens_as_it_was_accepted() {
    let text = r#"{"id":"1","n":[7317770170789331.0,-0.0,5e-324,18446744073709551615,1e+23]}"#;
    assert_eq!(reseal(&open(text.as_bytes()), "1").map(|body| body.to_vec()), Ok(text.as_bytes().to_vec()));
    let deep = format!(r#"{{"id":"1","n":{}{}}}"#, "[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
    assert_eq!(reseal(&open(deep.as_bytes()), "1").map(|body| body.len()), Ok(deep.len()));
    assert_eq!(tag(b"{\"id\":\"1\"}"), format!("{:032x}", etag(b"{\"id\":\"1\"}")));
    // Pinned: it must not change from one release to the next.
    assert_eq!(tag(b""), "b91c5ed031fb33032134935d61d9b40d".to_owned());
}

#[test]
fn lists_go_on_after_any_id() {
    let documents = filled(&["10", "9", "é", "a", "A", ""]);
    let list = |after, limit| {
        let mut out = Vec::new();
        let page = documents.encode_list("notes", after, limit, &mut out);
        (String::from_utf8(out).expect("JSON is UTF-8"), page)
    };
    let text = r#"{"notes":[{"id":""},{"id":"10"},{"id":"9"},{"id":"A"},{"id":"a"},{"id":"é"}]}"#;
    assert_eq!(list(None, 6), (text.to_owned(), Page { last: Some("é"), more: false }));
    assert_eq!(list(None, 1), (r#"{"notes":[{"id":""}]}"#.to_owned(), Page { last: Some(""), more: true }));
    assert_eq!(
        list(Some("10"), 2),
        (r#"{"notes":[{"id":"9"},{"id":"A"}]}"#.to_owned(), Page { last: Some("A"), more: true })
    );
    assert_eq!(
        list(Some("AA"), 2),
        (r#"{"notes":[{"id":"a"},{"id":"é"}]}"#.to_owned(), Page { last: Some("é"), more: false })
    );
    assert_eq!(list(Some("é"), 2), (r#"{"notes":[]}"#.to_owned(), Page { last: None, more: false }));
    assert_eq!(list(None, 0), (r#"{"notes":[]}"#.to_owned(), Page { last: None, more: true }));
    let mut out = Vec::new();
    assert_eq!(documents.encode_list("a/1/\"", None, 5, &mut out), Page { last: None, more: false });
    assert_eq!(out, br#"{"a/1/\"":[]}"#);
}

#[test]
fn what_changed_last_is_known_or_bounded() {
    let mut documents = Documents::default();
    let put = |documents: &mut Documents, id: &str, sequence| {
        documents.set("notes", id, Some(body(json!({"id":id,"at":sequence}))), sequence)
    };
    let changed = |documents: &Documents, id| documents.changed("notes", id);
    assert_eq!((changed(&documents, None), changed(&documents, Some("1"))), (0, 0), "nothing was ever there");
    let _ = put(&mut documents, "1", 1);
    let _ = put(&mut documents, "2", 2);
    let _ = put(&mut documents, "1", 3);
    assert_eq!([None, Some("1"), Some("2")].map(|id| changed(&documents, id)), [3, 3, 2]);
    let _ = documents.set("notes", "2", None, 4);
    let _ = put(&mut documents, "1", 5);
    assert_eq!(changed(&documents, Some("2")), 5, "a document that is gone: no later than its collection");
    assert_eq!(changed(&documents, Some("never")), 5);
    let undo = put(&mut documents, "1", 6);
    documents.undo(undo);
    assert_eq!([None, Some("1")].map(|id| changed(&documents, id)), [5, 5]);
    documents.fold(br#"[{"op":"replace","path":"/notes/1/at","value":0}]"#, 7).expect("an event applies");
    documents.fold(br#"[{"op":"add","path":"/notes/3","value":{"id":"3"}}]"#, 8).expect("an event applies");
    assert_eq!([None, Some("1"), Some("3")].map(|id| changed(&documents, id)), [8, 7, 8]);
}

#[test]
fn a_clone_stays_as_it_was() {
    let mut documents = Documents::default();
    for id in 0..1_000 {
        let id = id.to_string();
        let _ = documents.set("notes", &id, Some(body(json!({"id":id}))), 1);
    }
    let clone = documents.clone();
    let before = (map(&clone, Scope::Stream), clone.bytes());
    for id in 0..1_000 {
        let name = id.to_string();
        let text = (id % 3 > 0).then(|| body(json!({"id":name,"n":id})));
        let _ = documents.set("notes", &name, text, 2);
        let _ = documents.set("more", &name, Some(body(json!({"id":name}))), 2);
    }
    assert_eq!((map(&clone, Scope::Stream), clone.bytes()), before);
    assert_eq!((clone.collection("more"), clone.changed("notes", Some("1"))), (None, 1));
    assert_eq!(documents.bytes(), bytes(&documents));
}

#[test]
fn a_page_ends_before_it_is_too_large() {
    let mut documents = Documents::default();
    for id in 'a'..='z' {
        let value = json!({"id":id.to_string(),"text":"x".repeat(DOCUMENT_BYTES_MAX - 100)});
        let _ = documents.set("notes", &id.to_string(), Some(body(value)), 1);
    }
    let (mut after, mut pages) = (None, 0);
    loop {
        let mut out = Vec::new();
        let page = documents.encode_list("notes", after, 1_000, &mut out);
        assert!(out.len() <= PAGE_BYTES_MAX + 2);
        (after, pages) = (page.last, pages + 1);
        if !page.more {
            break;
        }
    }
    assert_eq!((after, pages), (Some("z"), 4));
}

#[test]
fn a_map_is_the_value_restricted_to_its_scope() {
    let mut documents = filled(&["2", "1"]);
    let _ = documents.set("notes/1/\"", "x", Some(body(json!({"id":"x"}))), 2);
    let _ = documents.set("notes/1/\"", "x", None, 3);
    for (scope, text) in [
        (Scope::Stream, r#"{"notes":{"1":{"id":"1"},"2":{"id":"2"}},"notes/1/\"":{}}"#),
        (Scope::Collection("notes"), r#"{"notes":{"1":{"id":"1"},"2":{"id":"2"}}}"#),
        (Scope::Collection("notes/1/\""), r#"{"notes/1/\"":{}}"#),
        (Scope::Collection("none"), r#"{"none":{}}"#),
        (Scope::Document("notes", "2"), r#"{"notes":{"2":{"id":"2"}}}"#),
        (Scope::Document("notes", "3"), r#"{"notes":{}}"#),
        (Scope::Document("none", "3"), r#"{"none":{}}"#),
    ] {
        assert_eq!(map(&documents, scope), text);
        for bytes_max in 0..text.len() {
            let mut out = b"before".to_vec();
            assert_eq!(documents.encode_map(scope, bytes_max, &mut out), Err(TooLarge));
            assert_eq!(out, b"before");
        }
        let mut out = b"before".to_vec();
        assert_eq!(documents.encode_map(scope, text.len(), &mut out), Ok(()));
    }
    assert_eq!(map(&Documents::default(), Scope::Stream), "{}");
}

#[test]
fn events_and_checkpoints_are_folded() {
    let mut documents = Documents::default();
    let events: [&[u8]; 9] = [
        br#"[{"op":"add","path":"/notes","value":{}},{"op":"add","path":"/notes/1","value":{"id":"1","b":1,"a":[1]}}]"#,
        br#"[{"op":"add","path":"/notes~11~1x","value":{"~":{"id":"~"},"2":{"id":"2"}}}]"#,
        br#"[{"op":"add","path":"/notes~11~1x/3","value":{"id":"3"}},{"op":"add","path":"/notes~11~1x/4","value":{"id":"4"}}]"#,
        br#"[{"op":"move","from":"/notes/1/a/0","path":"/notes/1/b"},{"op":"copy","from":"/notes/1/b","path":"/notes/1/a/-"},{"op":"replace","path":"/notes/1/a/0","value":{"x":2}}]"#,
        br#"[]"#,
        br#"[{"op":"remove","path":"/notes~11~1x/2"},{"op":"remove","path":"/notes~11~1x/~0"}]"#,
        br#"[{"op":"replace","path":"/notes/1/a/0/x","value":7},{"op":"copy","from":"/notes/1/a/0","path":"/notes/1"},{"op":"add","path":"/notes/1/id","value":"1"}]"#,
        br#"[{"op":"replace","path":"/notes~11~1x/3","value":{"id":"3","y":1e2}},{"op":"replace","path":"/notes~11~1x/3/y","value":0.10}]"#,
        br#"[{"op":"replace","path":"/notes/1/x","value":8},{"op":"remove","path":"/notes~11~1x/4"},{"op":"add","path":"/notes/1/x","value":9}]"#,
    ];
    let mut expected = json!({});
    for (event, sequence) in events.into_iter().zip(1..) {
        documents.fold(event, sequence).unwrap_or_else(|error| panic!("{sequence}: {error}"));
        expected =
            reference::apply(&expected, &serde_json::from_slice(event).expect("JSON")).expect("an event applies");
        assert_eq!(whole(&documents), expected, "{sequence}");
        assert_eq!(documents.bytes(), bytes(&documents));
    }
    assert_eq!(
        map(&documents, Scope::Stream),
        r#"{"notes":{"1":{"id":"1","x":9}},"notes/1/x":{"3":{"id":"3","y":0.1}}}"#
    );
    assert_eq!(documents.collection("notes").map(Collection::changed), Some(9));
    documents.fold(br#"[{"op":"replace","path":"","value":{}}]"#, 10).expect("an event applies");
    assert_eq!(documents, Documents::default());
    documents
        .fold(br#"[{"op":"replace","path":"","value":{"a":{"1":{"id":"1"}},"b":{}}}]"#, 11)
        .expect("an event applies");
    assert_eq!(whole(&documents), json!({"a":{"1":{"id":"1"}},"b":{}}));
}

#[test]
fn a_checkpoint_holds_more_operations_and_levels_than_a_body() {
    let mut documents = Documents::default();
    let deep = format!(r#"{{"id":"1","n":{}{}}}"#, "[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
    let event = format!(r#"[{{"op":"replace","path":"","value":{{"notes":{{"1":{deep}}}}}}}]"#);
    documents.fold(event.as_bytes(), 1).expect("as deep as a document");
    documents.fold(br#"[{"op":"add","path":"/notes/1/x","value":1}]"#, 1).expect("it opens again");
    let part: Vec<_> =
        (0..2_000).map(|id| format!(r#"{{"op":"add","path":"/notes/{id}","value":{{"id":"{id}"}}}}"#)).collect();
    documents.fold(format!("[{}]", part.join(",")).as_bytes(), 2).expect("a checkpoint's part");
    assert_eq!(documents.collection("notes").map(Collection::len), Some(2_000));
}

#[test]
fn events_that_are_not_ours_are_refused() {
    let (open, close) = ("[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    let deep = format!(r#"[{{"op":"add","path":"/notes/2","value":{{"id":"2","n":{open}{close}}}}}]"#);
    for data in [
        "",
        "{}",
        "[1]",
        r#"[{"op":"add","path":"/none/1","value":{}}]"#,
        r#"[{"op":"replace","path":"/notes/2","value":{}}]"#,
        r#"[{"op":"remove","path":"/notes/2"}]"#,
        r#"[{"op":"replace","path":"/none","value":{}}]"#,
        r#"[{"op":"remove","path":"/notes"}]"#,
        r#"[{"op":"remove","path":""}]"#,
        r#"[{"op":"add","path":"","value":[]}]"#,
        r#"[{"op":"add","path":"","value":{"notes":1}}]"#,
        r#"[{"op":"add","path":"/notes","value":[]}]"#,
        r#"[{"op":"add","path":"/notes/1","value":null}]"#,
        r#"[{"op":"replace","path":"/notes/1","value":"text"}]"#,
        r#"[{"op":"add","path":"/notes/2/x","value":1}]"#,
        r#"[{"op":"remove","path":"/notes/1/x"}]"#,
        r#"[{"op":"copy","from":"/notes/1","path":"/notes/2"}]"#,
        r#"[{"op":"move","from":"/notes/1/id","path":"/notes/2/id"}]"#,
        r#"[{"op":"copy","from":"/notes","path":"/notes/1/x"}]"#,
        r#"[{"op":"move","from":"/notes/1","path":"/notes/1/x"}]"#,
        r#"[{"op":"copy","from":"/notes","path":"/other"}]"#,
        r#"[{"op":"copy","from":"/notes/1/id","path":"/notes/1"}]"#,
        &deep,
    ] {
        let mut documents = filled(&["1"]);
        assert!(documents.fold(data.as_bytes(), 2).is_err(), "{data}");
        assert_eq!(documents.bytes(), bytes(&documents));
    }
}

/// One change of a document, in the forms that a stream has.
#[derive(Clone, Debug)]
enum Edit {
    Put(Value),
    Patch(Value),
    Delete,
}

fn edits() -> impl Strategy<Value = Vec<(&'static str, &'static str, Edit)>> {
    let collection = prop::sample::select(vec!["notes", "notes/1/x", "~\""]);
    let id = prop::sample::select(vec!["1", "a~b", "é\""]);
    let edit = prop_oneof![
        prop::collection::btree_map("[a-c]", values(), 0..4)
            .prop_map(|members| Edit::Put(Value::Object(members.into_iter().collect()))),
        patches().prop_map(Edit::Patch),
        Just(Edit::Delete),
    ];
    prop::collection::vec((collection, id, edit), 0..16)
}

/// What a stream would write as the event of an edit, and the document after it; `None` if it refuses the edit.
fn event(documents: &Documents, collection: &str, id: &str, edit: &Edit) -> Option<(Vec<u8>, Option<Body>)> {
    let pointer = topic::pointer(collection, Some(id));
    match (edit, documents.get(collection, id)) {
        (Edit::Put(value), None) => {
            let body = seal(value, id).ok()?;
            let mut operations = Vec::new();
            if documents.collection(collection).is_none() {
                operations.push(json!({"op":"add","path":topic::pointer(collection, None),"value":{}}));
            }
            operations.push(json!({"op":"add","path":pointer,"value":open(&body)}));
            let mut data = Vec::new();
            json::encode(&Value::Array(operations), &mut data);
            Some((data, Some(body)))
        }
        (Edit::Put(value), Some(before)) => {
            let (body, mut data) = (seal(value, id).ok()?, Vec::new());
            update(&pointer, &open(before), &open(&body), &body, None, &mut data);
            Some((data, Some(body)))
        }
        (Edit::Patch(patch), Some(before)) => {
            let old = open(before);
            let (patch, new) = applied(&old, patch.clone());
            let (body, mut data) = (reseal(&new, id).ok()?, Vec::new());
            update(&pointer, &old, &new, &body, Some(&patch), &mut data);
            Some((data, Some(body)))
        }
        (Edit::Delete, Some(_)) => Some((json!([{"op":"remove","path":pointer}]).to_string().into_bytes(), None)),
        (Edit::Patch(_) | Edit::Delete, None) => None,
    }
}

proptest! {
    #[test]
    fn the_documents_are_the_fold_of_their_events(edits in edits()) {
        let (mut documents, mut folded, mut reference) = (Documents::default(), Documents::default(), json!({}));
        for ((collection, id, edit), sequence) in edits.iter().zip(1..) {
            let Some((data, body)) = event(&documents, collection, id, edit) else { continue };
            let _ = documents.set(collection, id, body, sequence);
            prop_assert_eq!(folded.fold(&data, sequence), Ok(()));
            let data: Value = json::parse(data).expect("JSON");
            reference = reference::apply(&reference, &data).expect("the reference takes every event");
            let mut text = Vec::new();
            json::encode(&reference, &mut text);
            prop_assert_eq!(&text, &map(&documents, Scope::Stream).into_bytes());
            // Data of no operation changes nothing, not even when a collection was last changed.
            if data != json!([]) {
                prop_assert_eq!(&folded, &documents);
            } else {
                folded = documents.clone();
            }
            prop_assert_eq!(documents.bytes(), bytes(&documents));
        }
    }

    #[test]
    fn undo_is_exact(edits in edits()) {
        let (mut documents, mut past) = (Documents::default(), Vec::new());
        for ((collection, id, edit), sequence) in edits.iter().zip(1..) {
            let Some((_, body)) = event(&documents, collection, id, edit) else { continue };
            let before = documents.clone();
            past.push((before, documents.set(collection, id, body, sequence)));
        }
        for (before, undo) in past.into_iter().rev() {
            documents.undo(undo);
            prop_assert_eq!(&documents, &before);
            prop_assert_eq!(documents.bytes(), bytes(&documents));
        }
    }

    #[test]
    fn no_event_panics(data: Vec<u8>, patch in patches()) {
        let mut documents = filled(&["1", "a"]);
        let _ = documents.fold(&data, 1);
        let _ = documents.fold(patch.to_string().as_bytes(), 2);
        let under = |text: String, name: &str| text.replace(&format!("{name}\":\""), &format!("{name}\":\"/notes/1"));
        let under = under(under(patch.to_string(), "path"), "from");
        let _ = documents.fold(under.as_bytes(), 3);
        prop_assert_eq!(documents.bytes(), bytes(&documents));
    }
}
