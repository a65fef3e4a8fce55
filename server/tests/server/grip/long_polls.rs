//! Responses that are held: items that answer them, patches, time-outs, and requests that are made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::origin::{Says, scripted};
use super::{edge, item, publish_item, targets, wait_held};
use crate::kit::{Client, Server, request};

fn held(body: &str) -> Says {
    Says::ok(body)
        .with("Content-Type", "application/json")
        .with("X", "1")
        .with("Grip-Hold", "response")
        .with("Grip-Channel", "a")
        .with("Grip-Timeout", "55")
}

fn ask(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(request("GET", "/x", &[], b""));
    client
}

#[test]
fn an_item_answers_and_the_connection_goes_on() {
    let origin = scripted(|_, _| held("{}"));
    let server = edge(&origin, &[]);
    let mut client = ask(&server);
    for round in 0..3 {
        let response = json!({"code": 201, "reason": "So", "headers": {"x": "2"}, "body": "answer"});
        wait_held(&server, 1);
        publish_item(&server, &item("a", "-", "-", json!({"http-response": response})));
        let answer = client.answer("GET").expect(201);
        assert!(answer.head.starts_with("HTTP/1.1 201 So\r\n"), "{}", answer.head);
        assert_eq!((answer.field("X"), answer.text().as_str()), (Some("2"), "answer"), "in round {round}");
        assert_eq!(answer.needs("Content-Type"), "application/json");
        client.send(request("GET", "/x", &[], b""));
    }
}

#[test]
fn a_patch_changes_the_held_body() {
    let origin = scripted(|_, _| held("{\"a\":1}\n"));
    let server = edge(&origin, &[]);
    let mut client = ask(&server);
    let patch = json!([{"op": "add", "path": "/b", "value": 2}]);
    wait_held(&server, 1);
    publish_item(&server, &item("a", "-", "-", json!({"http-response": {"body-patch": patch}})));
    assert_eq!(client.answer("GET").expect(200).text(), "{\"a\":1,\"b\":2}\n");
}

#[test]
fn after_its_time_a_response_is_sent_as_it_is() {
    let origin = scripted(|_, _| {
        Says::status("200 OK", "{}").with("Grip-Hold", "response").with("Grip-Channel", "a").with("Grip-Timeout", "5")
    });
    let server = edge(&origin, &[]);
    let mut client = ask(&server);
    let answer = client.answer("GET").expect(200);
    assert_eq!((answer.text().as_str(), answer.field("Grip-Hold")), ("{}", None));
    assert_eq!(targets(&origin), ["/x"]);
}

#[test]
fn a_hint_makes_the_request_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = scripted(move |_, asked| match count.fetch_add(1, Ordering::Relaxed) {
        0 => held("old").with("Grip-Channel", "b; prev-id=7"),
        _ => Says::ok(format!("new {:?}", asked.all("Grip-Last"))),
    });
    let server = edge(&origin, &[]);
    let mut client = ask(&server);
    wait_held(&server, 2);
    publish_item(&server, &item("a", "-", "-", json!({"http-response": {"action": "hint"}})));
    assert_eq!(client.answer("GET").expect(200).text(), "new [\"b; last-id=7\"]");
}

#[test]
fn who_missed_an_item_is_answered_with_it() {
    let origin = scripted(|_, _| held("{}").with("Grip-Channel", "a; prev-id=1"));
    let server = edge(&origin, &[]);
    let mut first = ask(&server);
    wait_held(&server, 1);
    publish_item(&server, &item("a", "2", "1", json!({"http-response": {"body": "2"}})));
    assert_eq!(first.answer("GET").expect(200).text(), "2");
    // The origin says the same as before: the item is still there.
    let mut second = ask(&server);
    assert_eq!(second.answer("GET").expect(200).text(), "2");
}

#[test]
fn a_body_that_is_too_large_to_hold_is_the_origins_fault() {
    let origin = scripted(|_, _| held(&"x".repeat(100_001)));
    let server = edge(&origin, &[]);
    server.get("/x").problem(502);
}
