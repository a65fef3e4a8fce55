//! Streams that are held: what their heads say, what is published to them, and how they end.

use serde_json::json;

use super::origin::{Says, scripted};
use super::{Listener, edge, item, publish, publish_item, targets, wait_asked, wait_held};

#[test]
fn a_stream_gets_the_response_and_then_what_is_published() {
    let origin = scripted(|_, _| {
        Says::ok("hello\n").with("Content-Type", "text/plain").with("Grip-Status", "203 Held").stream("a")
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::ask(&server, "/x", &[("Grip-Last", "forged"), ("X", "1")]);
    assert!(listener.head.head.starts_with("HTTP/1.1 203 Held\r\n"), "{}", listener.head.head);
    assert_eq!(listener.head.needs("Connection"), "close");
    assert_eq!(listener.head.needs("Content-Type"), "text/plain");
    for absent in ["Content-Length", "Transfer-Encoding", "Grip-Hold", "Grip-Channel", "Grip-Status"] {
        assert_eq!(listener.head.field(absent), None);
    }
    listener.expect("hello\n");
    wait_held(&server, 1);
    publish(&server, "a", "-", "-", "one\n");
    publish(&server, "b", "-", "-", "for others\n");
    publish(&server, "a", "-", "-", "two\n");
    listener.expect("one\ntwo\n");
    let asked = wait_asked(&origin, "/x");
    assert_eq!((asked.all("Grip-Last"), asked.all("X")), (vec![], vec!["1"]));
    assert!(asked.all("Grip-Feature")[0].contains("link:next"), "{asked:?}");
    publish_item(&server, &item("a", "-", "-", json!({"http-stream": {"action": "close"}})));
    listener.expect_end();
}

#[test]
fn origins_know_the_edge_by_its_signature() {
    let origin = scripted(|_, _| Says::ok("").stream("a").next("/next"));
    let server = edge(&origin, &["--grip-key", "secret", "--grip-iss", "me"]);
    let _listener = Listener::get(&server, "/x");
    let parts = wait_asked(&origin, "/x").all("Grip-Sig")[0].split('.').count();
    assert_eq!(parts, 3);
}

#[test]
fn an_instruction_in_the_body_stands_for_the_response() {
    let origin = scripted(|_, _| {
        let instruction = json!({
            "hold": {"mode": "stream", "channels": [{"name": "a"}]},
            "response": {"code": 202, "headers": {"X": "1"}, "body": "begin\n"},
        });
        Says::ok(instruction.to_string()).with("Content-Type", "application/grip-instruct").with("Y", "2")
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    assert_eq!((listener.head.status, listener.head.field("X"), listener.head.field("Y")), (202, Some("1"), None));
    listener.expect("begin\n");
    wait_held(&server, 1);
    publish(&server, "a", "-", "-", "one\n");
    listener.expect("one\n");
}

#[test]
fn a_head_is_answered_and_held_for_nothing() {
    let origin = scripted(|_, _| Says::ok("body").stream("a").with("X", "1"));
    let server = edge(&origin, &[]);
    let mut client = server.connect();
    let answer = client.ask("HEAD", "/x", &[], "").expect(200);
    assert_eq!(answer.field("X"), Some("1"));
    client.ask("HEAD", "/x", &[], "").expect(200);
}

#[test]
fn filters_look_at_who_publishes() {
    let origin = scripted(|target, _| {
        let user = target.trim_start_matches('/').to_owned();
        Says::ok("").stream("a; filter=skip-self").with("Grip-Set-Meta", format!("user={user}"))
    });
    let server = edge(&origin, &[]);
    let (mut ann, mut bob) = (Listener::get(&server, "/ann"), Listener::get(&server, "/bob"));
    wait_held(&server, 2);
    publish(&server, "a", "-", "-", "all\n");
    let mut own = item("a", "-", "-", json!({"http-stream": {"content": "not for ann\n"}}));
    own["meta"] = json!({"sender": "ann"});
    publish_item(&server, &own);
    publish(&server, "a", "-", "-", "end\n");
    ann.expect("all\nend\n");
    bob.expect("all\nnot for ann\nend\n");
}

#[test]
fn a_gone_link_is_posted_when_the_client_has_left() {
    let origin = scripted(|target, _| match target {
        "/gone?1" => Says::ok(""),
        _ => Says::ok("x").stream("a").with("Grip-Link", "</gone?1>; rel=gone"),
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    listener.expect("x");
    wait_held(&server, 1);
    publish(&server, "a", "-", "-", "y");
    listener.expect("y");
    assert_eq!(targets(&origin), ["/x"]);
    listener.leave();
    let gone = wait_asked(&origin, "/gone?1");
    assert_eq!((gone.line.as_str(), gone.body.as_slice()), ("POST /gone?1 HTTP/1.1", &b""[..]));
}
