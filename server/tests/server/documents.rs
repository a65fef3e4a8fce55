//! One document: created, replaced, patched, deleted; names; idempotency keys.

use serde_json::{Value, json};

use crate::kit::{Answer, JSON, JSON_PATCH, MERGE_PATCH, Server, split};

/// That the answer is the document `value`, with its entity tag and its position.
#[track_caller]
fn check_document(answer: &Answer, value: &Value) {
    assert_eq!(answer.needs("Content-Type"), "application/json");
    assert_eq!(&answer.json(), value);
    let tag = answer.needs("ETag");
    assert!(tag.len() == 34 && tag[1..33].bytes().all(|byte| byte.is_ascii_hexdigit()), "{tag}");
    split(answer.position());
}

#[test]
fn post_chooses_a_uuid_v7() {
    let server = Server::start();
    let answer = server.post("/messages", r#"{"text":"hi"}"#).expect(201);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    check_document(&answer, &json!({"id": id, "text": "hi"}));
    assert_eq!(answer.needs("Location"), format!("/messages/{id}"));
    let shape: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(shape, [8, 4, 4, 4, 12], "{id}");
    assert_eq!(&id[14..15], "7", "{id}");
    let read = server.get(&format!("/messages/{id}")).expect(200);
    assert_eq!((&read.body, read.field("ETag")), (&answer.body, answer.field("ETag")));
    let later = server.post("/messages", "{}").expect(201);
    assert!(later.json()["id"].as_str() > Some(&id), "ids grow");
}

#[test]
fn post_takes_the_id_that_the_body_brings() {
    let server = Server::start();
    let answer = server.post("/messages", r#"{"id":"a b/","x":1}"#);
    assert_eq!(answer.problem(422)["pointer"], "/id");
    let answer = server.post("/messages", r#"{"id":"a b","x":1}"#).expect(201);
    assert_eq!(answer.needs("Location"), "/messages/a%20b");
    check_document(&answer, &json!({"id": "a b", "x": 1}));
    let before = server.get("/messages/a%20b");
    assert!(
        server.post("/messages", r#"{"id":"a b","x":2}"#).problem(409)["type"].as_str().unwrap().ends_with("taken")
    );
    assert_eq!(server.get("/messages/a%20b").body, before.body);
    assert_eq!(server.get("/messages").position(), before.position());
}

#[test]
fn put_creates_then_replaces() {
    let server = Server::start();
    let created = server.put("/messages/1", r#"{"a":1}"#).expect(201);
    check_document(&created, &json!({"id": "1", "a": 1}));
    assert_eq!(created.needs("Location"), "/messages/1");
    let replaced = server.put("/messages/1", r#"{"id":"1","b":2}"#).expect(200);
    check_document(&replaced, &json!({"id": "1", "b": 2}));
    assert_eq!(replaced.field("Location"), None);
    assert_ne!(created.field("ETag"), replaced.field("ETag"));
    assert_eq!(split(replaced.position()).1, split(created.position()).1 + 1);
    assert_eq!(server.put("/messages/1", r#"{"id":"2"}"#).problem(422)["pointer"], "/id");
    assert_eq!(server.put("/messages/1", r#"{"id":1}"#).problem(422)["pointer"], "/id");
    assert_eq!(server.json("/messages/1"), json!({"id": "1", "b": 2}));
}

#[test]
fn both_kinds_of_patch() {
    let server = Server::start();
    server.put("/messages/1", r#"{"a":1,"list":[1,2]}"#).expect(201);
    let operations = r#"[{"op":"test","path":"/a","value":1},{"op":"add","path":"/list/1","value":9},{"op":"move","from":"/a","path":"/b"}]"#;
    let answer = server.ask("PATCH", "/messages/1", &[JSON_PATCH], operations).expect(200);
    check_document(&answer, &json!({"id": "1", "b": 1, "list": [1, 9, 2]}));
    let answer = server.ask("PATCH", "/messages/1", &[MERGE_PATCH], r#"{"b":null,"c":{"d":[3]}}"#).expect(200);
    check_document(&answer, &json!({"id": "1", "c": {"d": [3]}, "list": [1, 9, 2]}));
    server.ask("PATCH", "/messages/none", &[MERGE_PATCH], "{}").problem(404);
    server.ask("PATCH", "/nothing/none", &[JSON_PATCH], "[]").problem(404);
    for (media, body) in [
        (MERGE_PATCH, r#"{"id":"2"}"#),
        (MERGE_PATCH, r#"{"id":null}"#),
        (JSON_PATCH, r#"[{"op":"remove","path":"/id"}]"#),
        (JSON_PATCH, r#"[{"op":"replace","path":"/id","value":7}]"#),
        (JSON_PATCH, r#"[{"op":"replace","path":"","value":{}}]"#),
    ] {
        assert_eq!(server.ask("PATCH", "/messages/1", &[media], body).problem(422)["pointer"], "/id", "{body}");
    }
    server.ask("PATCH", "/messages/1", &[JSON_PATCH], r#"[{"op":"replace","path":"","value":[]}]"#).problem(422);
    server.ask("PATCH", "/messages/1", &[MERGE_PATCH], "[]").problem(422);
    check_document(&server.get("/messages/1").expect(200), &json!({"id": "1", "c": {"d": [3]}, "list": [1, 9, 2]}));
    assert_eq!(split(server.get("/messages").position()).1, 3);
}

#[test]
fn a_patch_is_atomic() {
    let server = Server::start();
    let before = server.put("/messages/1", r#"{"a":1}"#).expect(201);
    let half = r#"[{"op":"add","path":"/b","value":2},{"op":"test","path":"/a","value":2}]"#;
    let problem = server.ask("PATCH", "/messages/1", &[JSON_PATCH], half).problem(409);
    assert!(problem["type"].as_str().unwrap().ends_with("test-failed"), "{problem}");
    assert!(problem["pointer"].as_str().is_some_and(|pointer| pointer.starts_with("/1")), "{problem}");
    for body in [
        r#"[{"op":"add","path":"/b","value":2},{"op":"remove","path":"/nope"}]"#,
        r#"[{"op":"add","path":"/b","value":2},{"op":"add","path":"/c/d","value":2}]"#,
        r#"[{"op":"add","path":"/b","value":[]},{"op":"add","path":"/b/1","value":2}]"#,
        r#"[{"op":"add","path":"/b","value":[]},{"op":"add","path":"/b/00","value":2}]"#,
        r#"[{"op":"add","path":"/b","value":{}},{"op":"move","from":"/b","path":"/b/c"}]"#,
        r#"[{"op":"add","path":"/b","value":2},{"op":"jump","path":"/b"}]"#,
        r#"[{"op":"add","path":"b","value":2}]"#,
        r#"[{"op":"add","path":"/b"}]"#,
        r#"{"op":"add","path":"/b","value":2}"#,
    ] {
        server.ask("PATCH", "/messages/1", &[JSON_PATCH], body).problem(422);
    }
    let after = server.get("/messages/1").expect(200);
    assert_eq!((after.body.as_slice(), after.position()), (before.body.as_slice(), before.position()));
}

#[test]
fn delete_is_204_then_404() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let answer = server.delete("/messages/1").expect(204);
    assert_eq!(split(answer.position()).1, 2);
    assert_eq!((answer.field("Content-Length"), answer.field("Content-Type")), (None, None));
    server.delete("/messages/1").problem(404);
    server.get("/messages/1").problem(404);
    server.delete("/never/1").problem(404);
    assert_eq!(server.json("/messages"), json!({"messages": []}));
    assert_eq!(server.json("/messages?as=map"), json!({"messages": {}}));
    server.put("/messages/1", "{}").expect(201);
}

#[test]
fn parents_need_not_exist_and_deleting_does_not_cascade() {
    let server = Server::start();
    server.put("/users/7/messages/5", "{}").expect(201);
    server.get("/users/7").problem(404);
    server.put("/users/7", r#"{"name":"a"}"#).expect(201);
    server.delete("/users/7").expect(204);
    assert_eq!(server.json("/users/7/messages/5"), json!({"id": "5"}));
    assert_eq!(server.json("/users?as=map"), json!({"users": {}, "users/7/messages": {"5": {"id": "5"}}}));
    assert_eq!(server.json("/users/7/messages?as=map"), json!({"users/7/messages": {"5": {"id": "5"}}}));
    assert_eq!(server.json("/users/7/messages/5?as=map"), json!({"users/7/messages": {"5": {"id": "5"}}}));
    assert_eq!(server.json("/users/7/messages"), json!({"users/7/messages": [{"id": "5"}]}));
    server.get("/users/8/messages/5?as=map").problem(404);
    assert_eq!(server.json("/users/8/messages?as=map"), json!({"users/8/messages": {}}));
}

#[test]
fn what_nobody_has_written_is_empty() {
    let server = Server::start();
    for (target, value) in [
        ("/never", json!({"never": []})),
        ("/never/1/again", json!({"never/1/again": []})),
        ("/never/1/again?as=map", json!({"never/1/again": {}})),
        ("/never?history=0-0", json!({"events": []})),
    ] {
        assert_eq!(server.json(target), value, "{target}");
    }
    // The map form of a stream without a collection is its value: the stream's, so empty or with its collection.
    let map = server.json("/never?as=map");
    assert!(map == json!({}) || map == json!({"never": {}}), "{map}");
    assert_eq!(server.get("/never").position(), "0-0");
    server.get("/never/1").problem(404);
    assert!(!server.stream("never").exists(), "nobody wrote it");
}

#[test]
fn an_update_that_changes_nothing_is_no_event() {
    let server = Server::start();
    let position = server.put("/messages/1", r#"{"a":1}"#).expect(201).position().to_owned();
    let mut follower = server.follow("/messages");
    assert_eq!(follower.opening(), position);
    for answer in [
        server.put("/messages/1", r#"{ "id": "1", "a": 1 }"#),
        server.put("/messages/1", r#"{"a":1}"#),
        server.ask("PATCH", "/messages/1", &[MERGE_PATCH], r#"{"a":1,"b":null}"#),
        server.ask("PATCH", "/messages/1", &[JSON_PATCH], r#"[{"op":"test","path":"/a","value":1}]"#),
        server.ask("PATCH", "/messages/1", &[JSON_PATCH], "[]"),
        server.ask(
            "PATCH",
            "/messages/1",
            &[JSON_PATCH],
            r#"[{"op":"add","path":"/x","value":1},{"op":"remove","path":"/x"}]"#,
        ),
    ] {
        assert_eq!(answer.expect(200).position(), position);
    }
    let last = server.put("/messages/1", r#"{"a":2}"#).expect(200).position().to_owned();
    assert_eq!(follower.patch().0, last, "the first event since");
    assert_eq!(split(&last).1, 2);
}

#[test]
fn a_keyed_write_that_changes_nothing_is_an_empty_event() {
    let server = Server::start();
    server.put("/messages/1", r#"{"a":1}"#).expect(201);
    let (mut follower, mut document) = (server.follow("/messages"), server.follow("/messages/1"));
    follower.opening();
    let opening = document.opening();
    let answer = server.ask("PUT", "/messages/1", &[JSON, ("Idempotency-Key", "k")], r#"{"a":1}"#).expect(200);
    assert_eq!(follower.patch(), (answer.position().to_owned(), json!([])));
    assert_eq!(split(answer.position()).1, 2);
    // It is no event of the document's: neither for who is there, nor for who comes back.
    let last = server.put("/messages/1", r#"{"a":2}"#).expect(200).position().to_owned();
    assert_eq!(document.patch().0, last);
    let mut document = server.resume("/messages/1", &opening);
    document.opening();
    assert_eq!(document.patch().0, last);
}

#[test]
fn a_repeat_with_the_same_key_gets_the_first_answer() {
    let mut server = Server::start();
    let key = ("Idempotency-Key", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"");
    let first = server.ask("POST", "/messages", &[JSON, key], r#"{"text":"hi"}"#).expect(201);
    let location = first.needs("Location").to_owned();
    let repeat = server.ask("POST", "/messages", &[JSON, key], r#"{"text":"hi"}"#).expect(201);
    assert_eq!((repeat.needs("Location"), repeat.json()), (location.as_str(), first.json()));
    assert_eq!(repeat.position(), first.position(), "no event");
    server.put(&location, r#"{"text":"changed"}"#).expect(200);
    let now = server.get(&location).json();
    let check = |server: &Server| {
        let repeat = server.ask("POST", "/messages", &[JSON, key], r#"{"text":"hi"}"#).expect(201);
        assert_eq!((repeat.needs("Location"), repeat.json()), (location.as_str(), now.clone()), "as it is now");
        let other = server.ask("POST", "/messages", &[JSON, key], r#"{"text":"other"}"#).problem(422);
        assert!(other["type"].as_str().unwrap().ends_with("key-reused"), "{other}");
        assert_eq!(server.json("/messages")["messages"].as_array().map(Vec::len), Some(1));
    };
    check(&server);
    server.stop();
    server.start_again();
    check(&server);
    server.kill();
    server.start_again();
    check(&server);
    // Another stream knows nothing of the key.
    server.ask("POST", "/others", &[JSON, key], r#"{"text":"other"}"#).expect(201);
}

#[test]
fn keys_on_every_kind_of_write() {
    let server = Server::start();
    let put = ("Idempotency-Key", "put");
    let one = server.ask("PUT", "/messages/1", &[JSON, put], r#"{"n":1}"#).expect(201);
    let two = server.ask("PUT", "/messages/1", &[JSON, put], r#"{"n":1}"#).expect(201);
    assert_eq!((one.position(), one.field("Location")), (two.position(), two.field("Location")));
    let patch = ("Idempotency-Key", "patch");
    let body = r#"[{"op":"add","path":"/list","value":[]},{"op":"add","path":"/list/-","value":1}]"#;
    server.ask("PATCH", "/messages/1", &[JSON_PATCH, patch], body).expect(200);
    let again = server.ask("PATCH", "/messages/1", &[JSON_PATCH, patch], body).expect(200);
    assert_eq!((again.json()["list"].clone(), split(again.position()).1), (json!([1]), 2));
    let delete = ("Idempotency-Key", "delete");
    server.ask("DELETE", "/messages/1", &[delete], "").expect(204);
    server.ask("DELETE", "/messages/1", &[delete], "").expect(204);
    // A key that was refused counts for nothing.
    let late = ("Idempotency-Key", "late");
    server.ask("PATCH", "/messages/2", &[MERGE_PATCH, late], "{}").problem(404);
    server.put("/messages/2", "{}").expect(201);
    server.ask("PATCH", "/messages/2", &[MERGE_PATCH, late], "{}").expect(200);
    let long = "k".repeat(256);
    server.ask("DELETE", "/messages/2", &[("Idempotency-Key", &long)], "").problem(400);
}

#[test]
fn a_key_in_many_requests_at_once_writes_once() {
    let server = Server::start();
    server.put("/messages/0", "{}").expect(201);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || server.ask("POST", "/messages", &[JSON, ("Idempotency-Key", "x")], r#"{"a":1}"#).status;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409)) && statuses.contains(&201), "{statuses:?}");
    assert_eq!(split(server.get("/messages").position()).1, 2);
}

#[test]
fn names_that_are_refused() {
    let server = Server::start();
    let long = format!("/messages/{}", "a".repeat(129));
    let deep = "/a/b".repeat(9);
    for target in [
        "/messages/.",
        "/messages/..",
        "/messages/%2e%2e",
        "/messages/__proto__",
        "/__proto__/1",
        "/messages/a%2Fb",
        "/messages/a%2fb",
        "/messages/a%00",
        "/messages/a%0A",
        "/messages/a%7F",
        "/messages/%C2%85",
        "/messages/%FF",
        "/messages/%4",
        "/messages/%zz",
        "/messages/",
        "//1",
        "/messages//1/x",
        &long,
        &deep,
    ] {
        server.get(target).problem(400);
        server.put(target, "{}").problem(400);
        server.ask("SUBSCRIBE", target, &[], "").problem(400);
    }
    for id in ["", ".", "..", "__proto__", "a/b", "a\\u0000", "\\u0085", &"a".repeat(129)] {
        let problem = server.post("/messages", &format!(r#"{{"id":"{id}"}}"#)).problem(422);
        assert_eq!(problem["pointer"], "/id", "{id}");
    }
    assert_eq!(server.json("/messages"), json!({"messages": []}));
}

#[test]
fn names_are_decoded_once() {
    let server = Server::start();
    let longest = "a".repeat(128);
    for (target, id) in [
        ("/messages/%C3%A9t%C3%A9", "été"),
        ("/messages/a%252Fb", "a%2Fb"),
        ("/messages/a%20b", "a b"),
        ("/messages/a+b", "a+b"),
        ("/messages/%7Ea~1", "~a~1"),
        ("/messages/...", "..."),
        ("/messages/constructor", "constructor"),
        ("/messages/a:@!$&'()*+,;=", "a:@!$&'()*+,;="),
        ("/messages/%22%5C", "\"\\"),
        (&format!("/messages/{longest}"), &longest),
    ] {
        let answer = server.put(target, "{}").expect(201);
        assert_eq!(answer.json()["id"], id);
        assert_eq!(server.json(answer.needs("Location")), json!({"id": id}), "{target}");
        assert_eq!(server.json(target), json!({"id": id}), "{target}");
    }
    assert_eq!(server.json("/mess%61ges/a%20b"), json!({"id": "a b"}));
    // Streams with the same kinds of names have folders, and come back.
    let mut server = server;
    for stream in ["%C3%A9", "a%20b", "a%252Fb", "%2Ehidden", "lock", "x~y", "manifest"] {
        server.put(&format!("/{stream}/1"), "{}").expect(201);
    }
    server.kill();
    server.start_again();
    for stream in ["%C3%A9", "a%20b", "a%252Fb", "%2Ehidden", "lock", "x~y", "manifest", "messages"] {
        assert_eq!(server.json(&format!("/{stream}?limit=1")).as_object().map(|map| map.len()), Some(1));
        assert_ne!(server.get(&format!("/{stream}")).position(), "0-0", "{stream}");
    }
}

#[test]
fn the_root_and_the_servers_own_take_no_documents() {
    let server = Server::start();
    server.get("/").problem(404);
    for target in ["/-/1", "/-/messages", "/-/x/y"] {
        server.get(target).problem(404);
        server.put(target, "{}").expect_one_of(&[404, 405]);
        server.post(target, "{}").expect_one_of(&[404, 405]);
        server.ask("SUBSCRIBE", target, &[], "").problem(404);
    }
    // However it is written, but only as a first segment.
    server.put("/%2D/1", "{}").problem(400);
    server.put("/messages/-", "{}").expect(201);
}
