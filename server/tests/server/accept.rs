//! Which form a client gets: `Accept`, with its ties and wildcards.

use crate::kit::{EVENTS, Follower, Server};

#[test]
fn events_only_if_named_and_ranked_above_json() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    for target in ["/messages", "/messages/1"] {
        for accept in [
            "text/event-stream",
            "TEXT/Event-Stream",
            "text/event-stream, */*;q=0.1",
            "application/json;q=0.5, text/event-stream",
            "application/json;q=0, text/event-stream;q=0.001",
            "text/event-stream;q=0.5, application/json;q=0.4",
            "text/html, text/event-stream",
        ] {
            let mut follower = Follower::by(server.address(), "GET", target, &[("Accept", accept)]);
            follower.opening();
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/*",
            "text/event-stream, application/json",
            "application/json, text/event-stream",
            "text/event-stream, */*",
            "*/*, text/event-stream",
            "text/event-stream;q=0.5, application/json;q=0.5",
            "text/event-stream;q=0.5, application/*;q=0.6",
            "text/*, application/json;q=0.1",
            "text/event-stream;q=0, */*",
            "text/html, application/xhtml+xml, */*;q=0.8",
        ] {
            let answer = server.ask("GET", target, &[("Accept", accept)], "").expect(200);
            assert_eq!(answer.needs("Content-Type"), "application/json", "{accept}");
            assert_eq!(answer.needs("Vary"), "Accept");
        }
        for accept in
            ["text/html", "application/xml", "text/*", "text/event-stream;q=0", "application/json;q=0", "*/*;q=0"]
        {
            server.ask("GET", target, &[("Accept", accept)], "").problem(406);
        }
    }
    // Two fields are one list.
    let answer = server.ask("GET", "/messages", &[("Accept", "text/event-stream"), ("Accept", "application/json")], "");
    assert_eq!(answer.expect(200).needs("Content-Type"), "application/json");
}

#[test]
fn subscribe_needs_no_accept() {
    let server = Server::start();
    for fields in [
        &[][..],
        &[("Accept", "*/*")],
        &[("Accept", "text/*")],
        &[EVENTS],
        &[("Accept", "text/event-stream, application/json")],
    ] {
        Follower::by(server.address(), "SUBSCRIBE", "/messages", fields).opening();
    }
    server.ask("SUBSCRIBE", "/messages", &[("Accept", "application/json")], "").problem(406);
}

#[test]
fn head_of_a_stream_takes_no_seat() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    for target in ["/messages", "/messages/1"] {
        let mut client = server.connect();
        let head = client.ask("HEAD", target, &[EVENTS], "").expect(200);
        assert_eq!(head.needs("Content-Type"), "text/event-stream");
        assert_eq!(head.needs("Connection"), "close");
        assert_eq!(head.field("Content-Length"), None);
        client.expect_closed();
    }
}
