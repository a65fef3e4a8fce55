//! Where a follower starts: cursors, their precedence, and the resets of those that can't be served.

use serde_json::json;

use crate::kit::{Follower, JSON, Server, split};

/// Ten documents, and the position of each write.
fn ten(server: &Server) -> Vec<String> {
    let mut client = server.connect();
    let put = |n: usize| client.ask("PUT", &format!("/messages/{n}"), &[JSON], "{}").expect(201).position().to_owned();
    (0..10).map(put).collect()
}

#[test]
fn from_now_earliest_and_snapshot() {
    let server = Server::start();
    let positions = ten(&server);
    let (epoch, _) = split(&positions[0]);
    for target in ["/messages", "/messages?from=now"] {
        assert_eq!(server.follow(target).opening(), positions[9]);
    }
    let mut follower = server.follow("/messages?from=earliest");
    assert_eq!(follower.opening(), format!("{epoch}-0"));
    for position in &positions {
        assert_eq!(&follower.patch().0, position);
    }
    let mut document = server.follow("/messages/4?from=earliest");
    document.opening();
    assert_eq!(document.patch().0, positions[4]);
    for from in ["", "later", "Now"] {
        server.ask("SUBSCRIBE", &format!("/messages?from={from}"), &[], "").problem(400);
    }
}

#[test]
fn every_cursor_resumes_after_itself() {
    let server = Server::start();
    let positions = ten(&server);
    for (index, cursor) in positions.iter().enumerate() {
        let mut follower = server.resume("/messages", cursor);
        assert_eq!(&follower.opening(), cursor);
        for later in &positions[index + 1..] {
            assert_eq!(&follower.patch().0, later);
        }
    }
}

#[test]
fn the_header_beats_every_parameter() {
    let server = Server::start();
    let positions = ten(&server);
    for name in ["last_event_id", "lastEventId", "lastEventID"] {
        let target = format!("/messages?{name}={}", positions[3]);
        assert_eq!(server.follow(&target).opening(), positions[3], "{name}");
        assert_eq!(server.follow(&format!("{target}&from=earliest")).opening(), positions[3], "a cursor beats from");
        let mut both = server.resume(&format!("{target}&from=snapshot"), &positions[6]);
        assert_eq!(both.opening(), positions[6], "the header beats {name}");
        // An empty cursor is none.
        assert_eq!(server.follow(&format!("/messages?{name}=")).opening(), positions[9]);
        assert_eq!(server.resume(&target, "").opening(), positions[3]);
    }
    let mut lower = Follower::start(server.address(), "/messages", &[("last-event-id", &positions[1])]);
    assert_eq!(lower.opening(), positions[1]);
    let encoded = positions[2].replace('-', "%2D");
    assert_eq!(server.follow(&format!("/messages?last_event_id={encoded}")).opening(), positions[2]);
}

#[test]
fn with_nothing_after_its_cursor_a_follower_begins_at_the_end() {
    let server = Server::start();
    let positions = ten(&server);
    for (n, changed) in positions.iter().enumerate() {
        let target = format!("/messages/{n}");
        let mut quiet = server.resume(&target, changed);
        assert_eq!(quiet.opening(), positions[9]);
        if let Some(before) = n.checked_sub(1).map(|before| &positions[before]) {
            let mut behind = server.resume(&target, before);
            assert_eq!((&behind.opening(), &behind.patch().0), (before, changed));
        }
        let page = server.get(&format!("{target}?history={changed}")).expect(200);
        assert_eq!((page.position(), page.json()), (positions[9].as_str(), json!({"events": []})));
    }
    let both = "/-/events?topic=/messages/1&topic=/messages/2";
    let mut behind = server.resume(both, &positions[1]);
    assert_eq!((&behind.opening(), &behind.patch().0), (&positions[1], &positions[2]));
    let mut followers = [server.resume(both, &positions[2]), server.resume("/messages/1/replies", &positions[0])];
    for follower in &mut followers {
        assert_eq!(follower.opening(), positions[9]);
    }
    let [both, replies] = &mut followers;
    let live = server.put("/messages/1", r#"{"live":true}"#).expect(200).position().to_owned();
    assert_eq!(both.patch().0, live);
    let live = server.put("/messages/1/replies/1", "{}").expect(201).position().to_owned();
    assert_eq!(replies.patch().0, live);

    let gone = server.ask("DELETE", "/messages/4", &[], "").expect(204).position().to_owned();
    let mut behind = server.resume("/messages/4", &positions[9]);
    assert_eq!((&behind.opening(), &behind.patch().0), (&positions[9], &gone));
    let last = server.put("/messages/5", r#"{"last":true}"#).expect(200).position().to_owned();
    let mut gone = server.resume("/messages/4", &gone);
    gone.opening();
    assert_eq!(server.resume("/messages/4", &last).opening(), last);
    let again = server.put("/messages/4", "{}").expect(201).position().to_owned();
    assert_eq!(gone.patch().0, again);
}

/// That the follower is reset for `reason`, then gets a snapshot that leads to the map, and goes on live.
fn check_reset(server: &Server, target: &str, cursor: &str, reason: &str) {
    let mut follower = server.resume(target, cursor);
    let block = follower.next();
    assert_eq!((block.event.as_str(), &block.id), ("reset", &None), "{target} from {cursor:?}: {}", block.raw);
    assert!(block.retry.is_some());
    let data: serde_json::Value = serde_json::from_str(&block.data).expect("data is JSON");
    assert_eq!(data["reason"], reason, "{target} from {cursor:?}");
    let (epoch, sequence) = split(data["earliest"].as_str().expect("a position"));
    assert_eq!((epoch == "0" || epoch.len() == 6, sequence), (true, 0), "{data}");
    let (mut value, position) = follower.snapshot();
    let map = server.get(&format!("{target}?as=map")).expect(200);
    if split(&position).1 < split(map.position()).1 {
        follower.fold_until(&mut value, map.position());
    }
    assert_eq!(value, map.json(), "{target} from {cursor:?}");
    let live = server.put("/messages/0", &json!({"now": map.position()}).to_string()).expect(200);
    assert_eq!(follower.patch().0, live.position(), "it goes on live");
}

#[test]
fn cursors_that_cannot_be_served_are_reset_in_the_stream() {
    let server = Server::start();
    let positions = ten(&server);
    let (epoch, _) = split(&positions[0]);
    let other = if epoch == "k3f9q2" { "k3f9q3" } else { "k3f9q2" };
    for target in ["/messages", "/messages/0"] {
        check_reset(&server, target, &format!("{epoch}-1000000"), "ahead");
        check_reset(&server, target, &format!("{epoch}-18446744073709551615"), "ahead");
        check_reset(&server, target, &format!("{other}-5"), "epoch");
        check_reset(&server, target, &format!("{other}-0"), "epoch");
        for cursor in [
            "x".to_owned(),
            "42".to_owned(),
            "-".to_owned(),
            "0-1".to_owned(),
            format!("{epoch}-"),
            format!("{epoch}-01"),
            format!("{epoch}-+1"),
            format!("{epoch}-18446744073709551616"),
            format!("{epoch}-1.{epoch}-1"),
            format!("{epoch}-1 x"),
            epoch.to_uppercase() + "-1x",
            "{}".to_owned(),
            "é".to_owned(),
            "a".repeat(4000),
        ] {
            check_reset(&server, target, &cursor, "unknown");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_an_unknown_cursor() {
    let server = Server::start();
    ten(&server);
    let mut client = server.connect();
    client.send(b"SUBSCRIBE /messages HTTP/1.1\r\nHost: t\r\nLast-Event-ID: \xff\xfe-1\r\n\r\n");
    let block = Follower::on(client.socket).next();
    assert_eq!(block.event, "reset");
    assert!(block.data.contains("unknown"), "{}", block.raw);
}

#[test]
fn a_cursor_ahead_of_a_stream_that_is_not_there() {
    let server = Server::start();
    let mut follower = server.resume("/messages", "k3f9q2-7");
    assert_eq!(follower.next().event, "reset");
    let (value, position) = follower.snapshot();
    assert_eq!(position, "0-0");
    assert!(value == json!({}) || value == json!({"messages": {}}), "{value}");
    let first = server.put("/messages/1", "{}").expect(201);
    assert_eq!(follower.patch().0, first.position());
}

#[test]
fn a_reset_of_a_missing_document_and_of_a_collection_without_documents() {
    let server = Server::start();
    let positions = ten(&server);
    let mut follower = server.resume("/messages/none", "x");
    assert_eq!(follower.next().event, "reset");
    assert_eq!(follower.snapshot(), (json!({"messages": {}}), positions[9].clone()));
    let mut follower = server.resume("/messages/1/replies", "x");
    assert_eq!(follower.next().event, "reset");
    let (value, position) = follower.snapshot();
    assert_eq!(value, json!({"messages/1/replies": {}}));
    split(&position);
    let created = server.put("/messages/1/replies/1", "{}").expect(201);
    let mut value = value;
    follower.fold_until(&mut value, created.position());
    assert_eq!(value, json!({"messages/1/replies": {"1": {"id": "1"}}}));
}

#[test]
fn history_tells_of_a_reset_too() {
    let server = Server::start();
    let positions = ten(&server);
    let (epoch, _) = split(&positions[0]);
    for (cursor, reason) in [("x", "unknown"), (&format!("{epoch}-99"), "ahead"), ("k3f9q2-1", "epoch")] {
        let page = server.json(&format!("/messages?history={cursor}"));
        assert_eq!(page["reset"]["reason"], reason, "{page}");
        assert_eq!(page["events"], json!([]));
    }
}

#[test]
fn a_cursor_from_an_answer_is_never_ahead() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for n in 0..50 {
                    // A new connection each time: SO_REUSEPORT spreads them over the cores.
                    let target = format!("/stream{}/{thread}-{n}", n % 4);
                    let answer = server.put(&target, &json!({"n": n}).to_string()).expect(201);
                    let read = server.get(&target).expect(200);
                    assert_eq!(read.body, answer.body);
                    assert!(split(read.position()).1 >= split(answer.position()).1);
                    let mut follower = server.resume(&format!("/stream{}", n % 4), answer.position());
                    assert_eq!(follower.opening(), answer.position());
                    let map = server.get(&format!("/stream{}?as=map", n % 4)).expect(200).json();
                    assert_eq!(map[format!("stream{}", n % 4)][format!("{thread}-{n}")]["n"], n);
                }
            });
        }
    });
}
