//! `If-Match` and `If-None-Match`: 412 and 304.

use crate::kit::{JSON, JSON_PATCH, MERGE_PATCH, Server};

#[test]
fn writes_are_guarded() {
    let server = Server::start();
    let put = |fields: &[(&str, &str)], body: &str| {
        let mut all = vec![JSON];
        all.extend(fields);
        server.ask("PUT", "/messages/1", &all, body)
    };
    put(&[("If-Match", "*")], "{}").problem(412);
    put(&[("If-Match", "\"x\"")], "{}").problem(412);
    server.get("/messages/1").problem(404);
    let tag = put(&[("If-None-Match", "*")], r#"{"n":1}"#).expect(201).needs("ETag").to_owned();
    let problem = put(&[("If-None-Match", "*")], r#"{"n":2}"#).problem(412);
    assert!(problem["type"].as_str().unwrap().ends_with("precondition-failed"));
    put(&[("If-Match", "\"00000000000000000000000000000000\"")], r#"{"n":2}"#).problem(412);
    put(&[("If-None-Match", &tag)], r#"{"n":2}"#).problem(412);
    put(&[("If-Match", &format!("W/{tag}"))], r#"{"n":2}"#).problem(412);
    assert_eq!(server.get("/messages/1").needs("ETag"), tag);
    let tag = put(&[("If-Match", &format!("\"x\", {tag}"))], r#"{"n":2}"#).expect(200).needs("ETag").to_owned();
    put(&[("If-Match", "*")], r#"{"n":2}"#).expect(200);
    let stale = ("If-Match", "\"stale\"");
    server.ask("PATCH", "/messages/1", &[MERGE_PATCH, stale], r#"{"n":3}"#).problem(412);
    server.ask("PATCH", "/messages/1", &[JSON_PATCH, stale], "[]").problem(412);
    server.ask("DELETE", "/messages/1", &[stale], "").problem(412);
    put(&[("If-Match", "no quotes")], "{}").problem(400);
    server.ask("PATCH", "/messages/1", &[MERGE_PATCH, ("If-Match", &tag)], r#"{"n":3}"#).expect(200);
    let tag = server.get("/messages/1").needs("ETag").to_owned();
    server.ask("DELETE", "/messages/1", &[("If-Match", &tag)], "").expect(204);
}

#[test]
fn of_two_writers_with_one_tag_one_wins() {
    let server = Server::start();
    let tag = server.put("/messages/1", r#"{"n":0}"#).expect(201).needs("ETag").to_owned();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let (server, tag) = (&server, tag.as_str());
        let write = |n: usize| {
            move || server.ask("PUT", "/messages/1", &[JSON, ("If-Match", tag)], &format!(r#"{{"n":{n}}}"#)).status
        };
        let threads: Vec<_> = (1..=8).map(|n| scope.spawn(write(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
}

#[test]
fn reads_are_304_when_nothing_changed() {
    let server = Server::start();
    server.put("/messages/1", r#"{"n":1}"#).expect(201);
    for target in ["/messages/1", "/messages", "/messages?as=map", "/messages/1?as=map", "/messages?limit=10"] {
        let first = server.get(target).expect(200);
        let tag = first.needs("ETag").to_owned();
        let same = server.ask("GET", target, &[("If-None-Match", &tag)], "").expect(304);
        assert!(same.body.is_empty());
        assert_eq!((same.needs("ETag"), same.position()), (tag.as_str(), first.position()), "{target}");
        assert_eq!((same.field("Content-Length"), same.field("Content-Type")), (None, None));
        assert_eq!(same.field("Vary"), first.field("Vary"));
        for value in [format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            server.ask("GET", target, &[("If-None-Match", &value)], "").expect(304);
        }
        server.ask("HEAD", target, &[("If-None-Match", &tag)], "").expect(304);
        server.ask("GET", target, &[("If-None-Match", "\"x\"")], "").expect(200);
        server.ask("GET", target, &[("If-Match", &tag)], "").expect(200);
        server.ask("GET", target, &[("If-Match", "\"x\"")], "").problem(412);
    }
    server.ask("GET", "/messages/2", &[("If-None-Match", "*")], "").problem(404);
    // Preconditions don't count where the answer without them is another one (RFC 9110, section 13.2.1).
    server.ask("GET", "/messages/2", &[("If-Match", "*")], "").problem(404);
}

#[test]
fn a_304_carries_the_position_of_now() {
    let server = Server::start();
    let tag = server.put("/messages/1", "{}").expect(201).needs("ETag").to_owned();
    let later = server.put("/messages/2", "{}").expect(201).position().to_owned();
    let same = server.ask("GET", "/messages/1", &[("If-None-Match", &tag)], "").expect(304);
    assert_eq!(same.position(), later);
}

#[test]
fn entity_tags_of_collections() {
    let server = Server::start();
    let never = server.get("/messages").needs("ETag").to_owned();
    let position = server.put("/messages/1", "{}").expect(201).position().to_owned();
    assert_ne!(server.get("/messages").needs("ETag"), never);
    assert_eq!(server.get("/messages").needs("ETag"), format!("\"{position}\""));
    // A change in another collection of the stream is none of this one.
    server.put("/messages/1/replies/1", "{}").expect(201);
    let list = server.get("/messages");
    assert_eq!(list.needs("ETag"), format!("\"{position}\""));
    assert_ne!(list.position(), position);
    let position = server.delete("/messages/1").expect(204).position().to_owned();
    assert_eq!(server.get("/messages").needs("ETag"), format!("\"{position}\""));
}

#[test]
fn tags_are_the_same_after_a_restart() {
    let mut server = Server::start();
    server.put("/messages/1", r#"{"n":1.5,"b":[]}"#).expect(201);
    let tags = |server: &Server| {
        ["/messages/1", "/messages", "/messages?as=map"].map(|target| server.get(target).needs("ETag").to_owned())
    };
    let before = tags(&server);
    server.stop();
    server.start_again();
    assert_eq!(tags(&server), before);
}

#[test]
fn equal_bodies_have_equal_tags_whatever_their_form() {
    let server = Server::start();
    let one = server.put("/messages/1", r#"{"b":1,"a":"\u0041"}"#).expect(201).needs("ETag").to_owned();
    let two = server.put("/messages/1", "{ \"a\" : \"A\",\n\"b\":1, \"id\":\"1\" }").expect(200);
    assert_eq!(two.needs("ETag"), one);
}
