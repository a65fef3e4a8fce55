//! Several topics of one stream on one connection.

use serde_json::json;

use crate::kit::{EVENTS, Follower, JSON, Server};

#[test]
fn several_topics_of_one_stream() {
    let server = Server::start();
    let mut client = server.connect();
    for target in ["/users/7", "/users/8", "/users/9", "/users/7/notes/1", "/users/8/notes/1"] {
        client.ask("PUT", target, &[JSON], "{}").expect(201);
    }
    let target = "/-/events?topic=/users/7&topic=/users/7/notes&topic=%2Fusers%2F8%2Fnotes%2F1";
    let mut followers = [
        server.follow(target),
        Follower::by(server.address(), "GET", target, &[EVENTS]),
        server.follow(&format!("{target}&topic=/users/7")),
    ];
    let opening = server.get("/users").position().to_owned();
    for follower in &mut followers {
        assert_eq!(follower.opening(), opening);
    }
    let mut wanted = Vec::new();
    for round in 0..20 {
        for (target, is_wanted) in [
            ("/users/7", true),
            ("/users/8", false),
            ("/users/7/notes/1", true),
            ("/users/7/notes/2", true),
            ("/users/8/notes/1", true),
            ("/users/8/notes/2", false),
            ("/users/9", false),
        ] {
            let position = client.ask("PUT", target, &[JSON], &json!({"n": round}).to_string()).position().to_owned();
            if is_wanted {
                wanted.push(position);
            }
        }
    }
    for follower in &mut followers {
        for position in &wanted {
            assert_eq!(&follower.patch().0, position);
        }
    }
    // A topic may be percent-encoded as a path too, after the query is decoded.
    client.ask("PUT", "/users/a%20b", &[JSON], "{}").expect(201);
    let mut follower = server.follow("/-/events?topic=/users/a%2520b");
    follower.opening();
    let position = client.ask("DELETE", "/users/a%20b", &[], "").expect(204).position().to_owned();
    assert_eq!(follower.patch().0, position);
}

#[test]
fn a_stream_among_the_topics_means_all_of_it() {
    let server = Server::start();
    server.put("/users/7", "{}").expect(201);
    let mut follower = server.follow("/-/events?topic=/users/7&topic=/users");
    follower.opening();
    let other = server.put("/users/8", "{}").expect(201).position().to_owned();
    assert_eq!(follower.patch().0, other);
}

#[test]
fn at_most_32() {
    let server = Server::start();
    let mut client = server.connect();
    for n in 0..33 {
        client.ask("PUT", &format!("/users/{n}"), &[JSON], "{}").expect(201);
    }
    let topics = |count: usize| (0..count).map(|n| format!("topic=/users/{n}")).collect::<Vec<_>>().join("&");
    let mut follower = server.follow(&format!("/-/events?{}", topics(32)));
    follower.opening();
    server.ask("SUBSCRIBE", &format!("/-/events?{}", topics(33)), &[], "").problem(400);
    client.ask("PUT", "/users/32", &[JSON], r#"{"n":1}"#).expect(200);
    let last = client.ask("PUT", "/users/31", &[JSON], r#"{"n":1}"#).expect(200);
    assert_eq!(follower.patch().0, last.position());
}

#[test]
fn a_missing_document_among_them_is_404_without_a_cursor() {
    let server = Server::start();
    let position = server.put("/users/7", "{}").expect(201).position().to_owned();
    let target = "/-/events?topic=/users/7&topic=/users/8";
    server.ask("SUBSCRIBE", target, &[], "").problem(404);
    let mut follower = server.resume(target, &position);
    assert_eq!(follower.opening(), position);
    let created = server.put("/users/8", "{}").expect(201).position().to_owned();
    assert_eq!(follower.patch().0, created);
}

#[test]
fn resets_and_snapshots_hold_all_topics() {
    let server = Server::start();
    let mut client = server.connect();
    for target in ["/users/7", "/users/8", "/users/7/notes/1", "/users/7/notes/2", "/users/8/notes/1"] {
        client.ask("PUT", target, &[JSON], &json!({"at": target}).to_string()).expect(201);
    }
    let topics = "/-/events?topic=/users/7&topic=/users/7/notes&topic=/users/8/notes/9";
    client.ask("PUT", "/users/8/notes/9", &[JSON], r#"{"n":1}"#).expect(201);
    let expected = json!({
        "users": {"7": {"id": "7", "at": "/users/7"}},
        "users/7/notes": {"1": {"id": "1", "at": "/users/7/notes/1"}, "2": {"id": "2", "at": "/users/7/notes/2"}},
        "users/8/notes": {"9": {"id": "9", "n": 1}},
    });
    let mut snapshot = server.follow(&format!("{topics}&from=snapshot"));
    assert_eq!(snapshot.snapshot().0, expected);
    let mut reset = server.resume(topics, "nonsense");
    assert_eq!(reset.next().event, "reset");
    assert_eq!(reset.snapshot().0, expected);
    let last = client.ask("PUT", "/users/8/notes/9", &[JSON], "{}").expect(200);
    for follower in [&mut snapshot, &mut reset] {
        assert_eq!(follower.patch().0, last.position());
    }
    let mut joined = server.resume(topics, &format!("{}.{}", last.position(), last.position()));
    let block = joined.next();
    assert!(block.event == "reset" && block.data.contains("unknown"), "another count of positions: {}", block.raw);
}
