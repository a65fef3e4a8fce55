//! What a follower sees: the head, the first block, events of a stream, a collection, a document.

use serde_json::{Value, json};

use crate::kit::{EVENTS, Follower, JSON, JSON_PATCH, MERGE_PATCH, Server, fold, split};

#[test]
fn the_head_and_the_first_bytes_are_the_contracts() {
    let server = Server::start();
    let position = server.post("/messages", r#"{"id":"122"}"#).expect(201).position().to_owned();
    let mut follower = server.follow("/messages");
    let head: Vec<&str> = follower.head.head.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
    assert_eq!(
        head,
        [
            "HTTP/1.1 200 OK",
            "Content-Type: text/event-stream",
            "Cache-Control: no-store, no-transform",
            "X-Accel-Buffering: no",
            "Vary: Accept",
            "Connection: close",
        ]
    );
    let first = follower.next();
    let retry = first.retry.expect("milliseconds");
    assert_eq!(first.raw, format!("retry: {retry}\nid: {position}\nevent: position\ndata: {{}}\n\n"));
    assert!((1000..10_000).contains(&retry), "{retry}");

    let next = server.post("/messages", r#"{"id":"123","text":"hi"}"#).expect(201).position().to_owned();
    let block = follower.next();
    let data = r#"[{"op":"add","path":"/messages/123","value":{"id":"123","text":"hi"}}]"#;
    assert_eq!(block.raw, format!("id: {next}\nevent: patch\ndata: {data}\n\n"));
    // The line that closes the group comes before whatever is next.
    server.delete("/messages/123").expect(204);
    let block = follower.next();
    assert_eq!(block.data, r#"[{"op":"remove","path":"/messages/123"}]"#);
    let (close, n) = (&block.comments[0], split(&next).1);
    let mut parts = close.split(' ');
    assert_eq!((parts.next(), parts.next()), (Some(":c"), Some(format!("{n}-{n}").as_str())), "{close}");
    assert!(parts.next().is_some_and(|ms| ms.parse::<u64>().is_ok_and(|ms| ms > 1_600_000_000_000)), "{close}");
    assert!(parts.next().is_some_and(|crc| crc.len() == 8), "{close}");
}

#[test]
fn retry_has_jitter() {
    let server = Server::start();
    let retries: std::collections::HashSet<_> = (0..20).map(|_| server.follow("/messages").next().retry).collect();
    assert!(retries.len() > 1, "{retries:?}");
}

#[test]
fn get_and_subscribe_are_the_same_stream() {
    let server = Server::start();
    let mut followers = [
        Follower::by(server.address(), "GET", "/messages", &[EVENTS]),
        Follower::by(server.address(), "SUBSCRIBE", "/messages", &[]),
    ];
    for follower in &mut followers {
        assert_eq!(follower.opening(), "0-0");
    }
    server.put("/messages/1", "{}").expect(201);
    let [one, two] = followers.map(|mut follower| follower.next().raw);
    assert_eq!(one, two);
}

#[test]
fn a_stream_that_nobody_has_written_starts_at_0_0() {
    let server = Server::start();
    let mut follower = server.follow("/messages");
    assert_eq!(follower.opening(), "0-0");
    let mut nested = server.follow("/messages/1/replies");
    assert_eq!(nested.opening(), "0-0");
    let first = server.put("/messages/1", "{}").expect(201).position().to_owned();
    assert_eq!(split(&first).1, 1);
    let (id, operations) = follower.patch();
    assert_eq!(id, first);
    assert_eq!(
        operations,
        json!([{"op": "add", "path": "/messages", "value": {}}, {"op": "add", "path": "/messages/1", "value": {"id": "1"}}])
    );
    let second = server.put("/messages/1/replies/2", "{}").expect(201).position().to_owned();
    assert_eq!(nested.patch().0, second);
    // And 0-0 resumes from the beginning.
    let mut again = server.resume("/messages", "0-0");
    let opening = again.opening();
    assert!(opening == "0-0" || split(&opening).1 == 0, "{opening}");
    assert_eq!(again.patch().0, first);
}

#[test]
fn a_collections_first_document_comes_with_the_collection() {
    let server = Server::start();
    let mut follower = server.follow("/users");
    follower.opening();
    server.put("/users/7/messages/5", "{}").expect(201);
    let (_, operations) = follower.patch();
    assert_eq!(
        operations,
        json!([
            {"op": "add", "path": "/users~17~1messages", "value": {}},
            {"op": "add", "path": "/users~17~1messages/5", "value": {"id": "5"}},
        ])
    );
    server.delete("/users/7/messages/5").expect(204);
    assert_eq!(follower.patch().1, json!([{"op": "remove", "path": "/users~17~1messages/5"}]));
    server.put("/users/7/messages/6", "{}").expect(201);
    let (_, operations) = follower.patch();
    assert_eq!(operations, json!([{"op": "add", "path": "/users~17~1messages/6", "value": {"id": "6"}}]));
    server.put("/users/a~b", "{}").expect(201);
    let (_, operations) = follower.patch();
    assert_eq!(operations[1]["path"], "/users/a~0b");
}

#[test]
fn an_update_is_the_smaller_of_two() {
    let server = Server::start();
    let big = json!({"text": "x".repeat(500), "n": 0, "list": [1, 2, 3]});
    server.put("/messages/1", &big.to_string()).expect(201);
    let mut follower = server.follow("/messages/1");
    follower.opening();
    let mut changed = big.clone();
    changed["n"] = 1.into();
    server.put("/messages/1", &changed.to_string()).expect(200);
    assert_eq!(follower.patch().1, json!([{"op": "replace", "path": "/messages/1/n", "value": 1}]));
    // A client's own patch: under the document's path, without its tests.
    let patch = r#"[{"op":"test","path":"/n","value":1},{"op":"add","path":"/list/-","value":4},{"op":"copy","from":"/n","path":"/m"}]"#;
    server.ask("PATCH", "/messages/1", &[JSON_PATCH], patch).expect(200);
    let (_, operations) = follower.patch();
    let operations = operations.as_array().expect("operations");
    assert!(operations.iter().all(|operation| operation["op"] != "test"), "{operations:?}");
    assert!(operations.iter().all(|operation| operation["path"].as_str().unwrap().starts_with("/messages/1/")));
    server.ask("PATCH", "/messages/1", &[MERGE_PATCH], r#"{"m":null}"#).expect(200);
    assert_eq!(follower.patch().1, json!([{"op": "remove", "path": "/messages/1/m"}]));
    // All of it is other: replaced.
    server.put("/messages/1", r#"{"q":1}"#).expect(200);
    assert_eq!(follower.patch().1, json!([{"op": "replace", "path": "/messages/1", "value": {"id": "1", "q": 1}}]));
}

#[test]
fn followers_of_a_collection_and_of_a_document_see_theirs_only() {
    let server = Server::start();
    server.put("/users/7", "{}").expect(201);
    server.put("/users/7/messages/5", "{}").expect(201);
    let mut stream = server.follow("/users");
    let mut user = server.follow("/users/7");
    let mut messages = server.follow("/users/7/messages");
    let mut message = server.follow("/users/7/messages/5");
    for follower in [&mut stream, &mut user, &mut messages, &mut message] {
        assert_eq!(split(&follower.opening()).1, 2);
    }
    let put = |target: &str, n: u64| server.put(target, &json!({"n": n}).to_string()).position().to_owned();
    let third = put("/users/8", 3);
    let fourth = put("/users/7", 4);
    let fifth = put("/users/7/messages/6", 5);
    let sixth = put("/users/7/messages/5", 6);
    let seventh = put("/users/7/messages/5/x/1", 7);
    let eighth = put("/users/7/messages/5", 8);
    let ninth = put("/users/7", 9);
    let tenth = put("/users/7/messages/6", 10);
    for position in [&third, &fourth, &fifth, &sixth, &seventh, &eighth, &ninth, &tenth] {
        assert_eq!(&stream.patch().0, position);
    }
    for position in [&fourth, &ninth] {
        assert_eq!(&user.patch().0, position);
    }
    for position in [&fifth, &sixth, &eighth, &tenth] {
        assert_eq!(&messages.patch().0, position);
    }
    for position in [&sixth, &eighth] {
        assert_eq!(&message.patch().0, position);
    }
}

#[test]
fn a_document_that_is_deleted_sends_remove_and_its_followers_stay() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let mut follower = server.follow("/messages/1");
    let opening = follower.opening();
    server.delete("/messages/1").expect(204);
    assert_eq!(follower.patch().1, json!([{"op": "remove", "path": "/messages/1"}]));
    server.ask("SUBSCRIBE", "/messages/1", &[], "").problem(404);
    server.ask("GET", "/messages/1", &[EVENTS], "").problem(404);
    let mut other = server.resume("/messages/1", &opening);
    assert_eq!(other.opening(), opening);
    assert_eq!(other.patch().1[0]["op"], "remove");
    server.put("/messages/1", r#"{"again":1}"#).expect(201);
    for follower in [&mut follower, &mut other] {
        let (_, operations) = follower.patch();
        assert_eq!(operations, json!([{"op": "add", "path": "/messages/1", "value": {"id": "1", "again": 1}}]));
    }
}

#[test]
fn a_document_that_is_not_there_is_404_without_a_cursor_and_200_with_one() {
    let server = Server::start();
    server.ask("SUBSCRIBE", "/never/1", &[], "").problem(404);
    let mut never = server.resume("/never/1", "0-0");
    assert_eq!(never.opening(), "0-0");
    let position = server.put("/messages/2", "{}").expect(201).position().to_owned();
    server.ask("SUBSCRIBE", "/messages/1", &[], "").problem(404);
    for from in ["now", "earliest", "snapshot"] {
        server.ask("SUBSCRIBE", &format!("/messages/1?from={from}"), &[], "").problem(404);
    }
    let mut follower = server.resume("/messages/1", &position);
    assert_eq!(follower.opening(), position);
    let created = server.put("/messages/1", "{}").expect(201).position().to_owned();
    assert_eq!(follower.patch().0, created);
    let created = server.put("/never/1", "{}").expect(201).position().to_owned();
    assert_eq!(never.patch().0, created);
}

#[test]
fn folds_equal_the_map() {
    let server = Server::start();
    let mut client = server.connect();
    let mut whole = server.follow("/users");
    let mut part = server.follow("/users/1/notes");
    whole.opening();
    part.opening();
    let mut random = crate::kit::Random::seeded();
    let mut last = String::new();
    let mut last_part = None;
    for n in 0..400 {
        let collection = ["/users", "/users/1/notes", "/users/2/notes"][random.below(3) as usize];
        let target = format!("{collection}/{}", random.below(5));
        let answer = match random.below(5) {
            0 => client.ask("DELETE", &target, &[], ""),
            1 => {
                client.ask("PATCH", &target, &[MERGE_PATCH], &json!({"m": n, "o": {"x": random.below(3)}}).to_string())
            }
            2 => client.ask(
                "PATCH",
                &target,
                &[JSON_PATCH],
                r#"[{"op":"add","path":"/list","value":[]},{"op":"add","path":"/list/0","value":{"a/b":1}}]"#,
            ),
            _ => client.ask(
                "PUT",
                &target,
                &[JSON],
                &json!({"n": n, "t": "é\n".repeat(random.below(9) as usize)}).to_string(),
            ),
        };
        let answer = answer.expect_one_of(&[200, 201, 204, 404]);
        // What changes nothing is no event.
        if answer.status != 404 && answer.position() != last {
            last = answer.position().to_owned();
            if collection == "/users/1/notes" {
                last_part = Some(last.clone());
            }
        }
    }
    let mut value = json!({});
    whole.fold_until(&mut value, &last);
    assert_eq!(value, server.json("/users?as=map"));
    let mut value = json!({"users/1/notes": {}});
    loop {
        let (id, operations) = part.patch();
        fold(&mut value, &operations.to_string());
        if last_part.as_deref().is_none_or(|last| split(last).1 <= split(&id).1) {
            break;
        }
    }
    assert_eq!(value, server.json("/users/1/notes?as=map"));
}

#[test]
fn what_an_answer_reflects_is_where_to_follow_from() {
    let server = Server::start();
    server.put("/messages/1", r#"{"n":0}"#).expect(201);
    let writer = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = server.connect();
            for n in 1..400 {
                client
                    .ask("PUT", &format!("/messages/{}", n % 5), &[JSON], &json!({"n": n}).to_string())
                    .expect_one_of(&[200, 201]);
            }
        });
        for target in ["/messages?as=map", "/messages/1?as=map"].repeat(5) {
            let answer = server.get(target).expect(200);
            let mut value: Value = answer.json();
            let mut follower = server.resume(target.trim_end_matches("?as=map"), answer.position());
            // It may begin later, where nothing of its topic came meanwhile.
            assert!(split(&follower.opening()).1 >= split(answer.position()).1);
            for _ in 0..10 {
                let (id, operations) = follower.patch();
                assert!(split(&id).1 > split(answer.position()).1);
                fold(&mut value, &operations.to_string());
            }
        }
        writer.join()
    });
    writer.expect("the writer is fine");
}

#[test]
fn heartbeats_are_comments_after_silence() {
    let server = Server::start();
    let mut followers: Vec<_> = (0..4).map(|_| server.follow("/messages")).collect();
    for follower in &mut followers {
        follower.opening();
    }
    let began = std::time::Instant::now();
    for follower in &mut followers {
        assert_eq!(follower.bytes(2), ":\n");
    }
    // They are looked at every 20 s, so that silence has lasted 20 to 40 s.
    let waited = began.elapsed().as_secs();
    assert!((15..=42).contains(&waited), "after {waited} s");
    server.put("/messages/1", "{}").expect(201);
    for follower in &mut followers {
        follower.patch();
    }
}

#[test]
fn a_follower_that_leaves_or_talks_is_shown_out() {
    let server = Server::start();
    let mut talker = server.follow("/messages");
    talker.opening();
    talker.send(&[b'x'; 100]);
    server.put("/messages/1", "{}").expect(201);
    talker.patch();
    talker.send(&[b'x'; 2000]);
    talker.expect_gone();
    let mut half = server.follow("/messages");
    half.opening();
    half.shut_write_side();
    assert_eq!(half.rest(), "");
    server.check_alive();
}
