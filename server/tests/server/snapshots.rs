//! `from=snapshot`: the value first, then the log, without a gap.

use serde_json::json;

use crate::kit::{JSON, Server, split};

#[test]
fn of_a_stream_a_collection_and_a_document() {
    let server = Server::start();
    let mut client = server.connect();
    for n in 0..20 {
        client.ask("PUT", &format!("/users/{n}"), &[JSON], &json!({"n": n}).to_string()).expect(201);
        client.ask("PUT", &format!("/users/{}/notes/{n}", n % 2), &[JSON], &json!({"n": n}).to_string()).expect(201);
    }
    for target in ["/users", "/users/3", "/users/1/notes", "/users/1/notes/7"] {
        let map = server.get(&format!("{target}?as=map")).expect(200);
        let mut follower = server.follow(&format!("{target}?from=snapshot"));
        let (mut value, position) = follower.snapshot();
        let change = client.ask("PUT", "/users/3", &[JSON], &json!({"now": target}).to_string()).expect(200);
        client.ask("PUT", "/users/1/notes/7", &[JSON], &json!({"now": target}).to_string()).expect(200);
        let last = client.ask("DELETE", "/users/1/notes/7", &[], "").expect(204);
        client.ask("PUT", "/users/1/notes/7", &[JSON], "{}").expect(201);
        let until = if target == "/users/3" { change.position() } else { last.position() };
        let events = follower.fold_until(&mut value, until);
        assert!(events >= 1 && split(&position).1 <= split(map.position()).1);
        follower.fold_rest(&mut value, target, &server);
        assert_eq!(value, server.json(&format!("{target}?as=map")), "{target}");
    }
}

#[test]
fn nothing_in_a_snapshot_has_an_id_so_a_cut_starts_it_again() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let mut follower = server.follow("/messages?from=snapshot");
    let block = follower.next();
    assert_eq!((block.event.as_str(), &block.id), ("patch", &None), "{}", block.raw);
    assert!(block.retry.is_some());
    assert!(block.data.starts_with(r#"[{"op":"replace","path":"","value":{"#), "{}", block.data);
}

#[test]
fn of_nothing() {
    let server = Server::start();
    let mut follower = server.follow("/messages?from=snapshot");
    let (value, position) = follower.snapshot();
    assert!(value == json!({}) || value == json!({"messages": {}}), "{value}");
    assert_eq!(position, "0-0");
    let mut follower = server.follow("/messages/1/notes?from=snapshot");
    assert_eq!(follower.snapshot(), (json!({"messages/1/notes": {}}), "0-0".to_owned()));
}

#[test]
fn a_large_value_comes_in_parts() {
    let server = Server::with(&["--checkpoint-bytes", "1"]);
    let mut client = server.connect();
    let text = "x".repeat(60_000);
    for n in 0..30 {
        let body = json!({"n": n, "text": text}).to_string();
        client.ask("PUT", &format!("/messages/{n}"), &[JSON], &body).expect(201);
    }
    crate::kit::wait_for("a checkpoint", || (!server.files("messages", ".snapshot.sse").is_empty()).then_some(()));
    let last = server.get("/messages").position().to_owned();
    let mut follower = server.follow("/messages?from=snapshot");
    let mut value = serde_json::Value::Null;
    let mut parts = 0;
    let position = loop {
        let block = follower.next();
        if block.event == "position" {
            break block.id.expect("an id");
        }
        assert!(block.data.len() <= 256 * 1024 + 1024, "a part of {} bytes", block.data.len());
        crate::kit::fold(&mut value, &block.data);
        parts += 1;
    };
    if position != last {
        follower.fold_until(&mut value, &last);
    }
    assert!(parts > 1);
    assert_eq!(value, server.json("/messages?as=map"));
}

#[test]
fn while_others_write() {
    let server = Server::with(&["--checkpoint-bytes", "1", "--segment-bytes", "4096"]);
    server.put("/messages/3", "{}").expect(201);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = server.connect();
            for n in 0..600 {
                let body = json!({"n": n, "text": "y".repeat(n % 50)}).to_string();
                let target = format!("/messages/{}", n % 11);
                match n % 13 {
                    5 if n % 11 != 3 => client.ask("DELETE", &target, &[], "").expect_one_of(&[204, 404]),
                    _ => client.ask("PUT", &target, &[JSON], &body).expect_one_of(&[200, 201]),
                };
            }
            client.ask("PUT", "/messages/end", &[JSON], "{}").expect(201).position().to_owned()
        });
        let mut followers = Vec::new();
        while !writer.is_finished() {
            for target in ["/messages", "/messages/3"] {
                let mut follower = server.follow(&format!("{target}?from=snapshot"));
                let (value, _) = follower.snapshot();
                followers.push((target, follower, value));
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let last = writer.join().expect("the writer is fine");
        for (target, mut follower, mut value) in followers {
            match target {
                "/messages" => drop(follower.fold_until(&mut value, &last)),
                _ => follower.fold_rest(&mut value, target, &server),
            }
            assert_eq!(value, server.json(&format!("{target}?as=map")), "{target}");
        }
    });
}
