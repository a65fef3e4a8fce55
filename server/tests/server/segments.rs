//! Logs of many segments, and checkpoints.

use serde_json::json;

use crate::kit::{JSON, Random, Server, fold, split, wait_for};

/// Writes to a stream with two collections until it has many segments; the positions by what they concern.
fn fill(server: &Server, count: usize) -> Vec<(String, String)> {
    let mut client = server.connect();
    let mut written = Vec::new();
    for n in 0..count {
        let target = match n % 4 {
            0 => "/users/1/notes/a".to_owned(),
            1 => format!("/users/{}", n % 11),
            _ => format!("/users/2/notes/{}", n % 5),
        };
        let body = json!({"n": n, "t": "x".repeat(n % 300)}).to_string();
        let answer = client.ask("PUT", &target, &[JSON], &body).expect_one_of(&[200, 201]);
        written.push((answer.position().to_owned(), target));
    }
    written
}

#[test]
fn followers_from_earliest_read_over_many_segments() {
    let mut server = Server::with(&["--segment-bytes", "4096"]);
    let written = fill(&server, 600);
    for round in 0..2 {
        let segments = server.segments("users");
        assert!(segments.len() > 10, "{segments:?}");
        for segment in &segments {
            assert!(segment.metadata().expect("a file").len() < 3 * 4096);
            let text = std::fs::read_to_string(segment).expect("a segment is text");
            assert!(text.starts_with("id: ") && text.ends_with('\n'), "a segment is a stream");
        }
        for topic in ["/users", "/users/1", "/users/1/notes", "/users/2/notes", "/users/2/notes/3", "/users/1/notes/a"]
        {
            let mut follower = server.follow(&format!("{topic}?from=earliest"));
            follower.opening();
            let is_collection = topic.split('/').count() % 2 == 0;
            let concerns = |target: &str| {
                topic == "/users" || target == topic || is_collection && target.starts_with(&format!("{topic}/"))
            };
            for (position, _) in written.iter().filter(|(_, target)| concerns(target)) {
                assert_eq!(&follower.patch().0, position, "{topic} in round {round}");
            }
        }
        // From cursors in the middle, and history.
        for index in (0..written.len()).step_by(61) {
            let mut follower = server.resume("/users/1/notes", &written[index].0);
            assert_eq!(follower.opening(), written[index].0);
            let next = written[index + 1..].iter().find(|(_, target)| target.starts_with("/users/1/notes/"));
            if let Some((position, _)) = next {
                assert_eq!(&follower.patch().0, position);
            }
            let page = server.json(&format!("/users?history={}&limit=3", written[index].0));
            let ids: Vec<_> = page["events"]
                .as_array()
                .expect("events")
                .iter()
                .map(|event| event["id"].as_str().expect("an id"))
                .collect();
            let expected: Vec<_> = written[index + 1..].iter().take(3).map(|(position, _)| position.as_str()).collect();
            assert_eq!(ids, expected);
        }
        if round == 0 {
            server.kill();
            server.start_again();
        }
    }
}

#[test]
fn history_joins_live_without_a_seam() {
    let server = Server::with(&["--segment-bytes", "4096"]);
    fill(&server, 200);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| fill(&server, 600));
        let mut followers = Vec::new();
        while !writer.is_finished() && followers.len() < 60 {
            for topic in ["/users", "/users/2/notes"] {
                let mut follower = server.follow(&format!("{topic}?from=earliest"));
                follower.opening();
                followers.push((topic, follower));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        writer.join().expect("the writer is fine");
        let last = server.put("/users/2/notes/end", "{}").expect(201).position().to_owned();
        for (topic, mut follower) in followers {
            let mut value = if topic == "/users" { json!({}) } else { json!({topic[1..].to_owned(): {}}) };
            let count = follower.fold_until(&mut value, &last);
            if topic == "/users" {
                assert_eq!(count, split(&last).1, "exactly once");
            }
            assert_eq!(value, server.json(&format!("{topic}?as=map")));
        }
    });
}

#[test]
fn checkpoints_are_written_and_restarts_use_them() {
    let mut server = Server::with(&["--checkpoint-bytes", "1", "--segment-bytes", "4096"]);
    let mut random = Random::seeded();
    let mut first_checkpoint = None;
    for round in 0..4 {
        let mut client = server.connect();
        for n in 0..150 {
            let target =
                ["/users/", "/users/1/notes/"][random.below(2) as usize].to_owned() + &random.below(40).to_string();
            match random.below(4) {
                0 => client.ask("DELETE", &target, &[], "").expect_one_of(&[204, 404]),
                _ => client
                    .ask("PUT", &target, &[JSON], &json!({"n": n, "round": round}).to_string())
                    .expect_one_of(&[200, 201]),
            };
        }
        let files =
            wait_for("a checkpoint", || Some(server.files("users", ".snapshot.sse")).filter(|files| !files.is_empty()));
        if let Some(first) = &first_checkpoint {
            wait_for("another checkpoint", || {
                server.files("users", ".snapshot.sse").iter().any(|file| file != first).then_some(())
            });
        }
        first_checkpoint.get_or_insert(files[0].clone());
        for target in ["/users", "/users/1/notes", "/users/nobody/notes"] {
            let map = server.get(&format!("{target}?as=map")).expect(200);
            let mut follower = server.follow(&format!("{target}?from=snapshot"));
            let (mut value, position) = follower.snapshot();
            if value != map.json() {
                assert_ne!(position, map.position());
                follower.fold_rest(&mut value, target, &server);
            }
            assert_eq!(value, map.json(), "{target} in round {round}");
        }
        let before = server.get("/users?as=map").expect(200);
        let documents = server.get("/users/1/notes?limit=1000").expect(200);
        match round % 2 {
            0 => server.stop(),
            _ => server.kill(),
        }
        server.start_again();
        let after = server.get("/users?as=map").expect(200);
        assert_eq!((after.json(), after.position()), (before.json(), before.position()));
        assert_eq!(server.get("/users/1/notes?limit=1000").needs("ETag"), documents.needs("ETag"));
        // A reset leads to the same.
        let mut follower = server.resume("/users", "x");
        assert_eq!(follower.next().event, "reset");
        let (mut value, position) = follower.snapshot();
        if position != after.position() {
            follower.fold_until(&mut value, after.position());
        }
        assert_eq!(value, after.json());
    }
}

#[test]
fn a_checkpoint_is_a_stream_too() {
    let server = Server::with(&["--checkpoint-bytes", "1"]);
    for n in 0..40 {
        server.put(&format!("/messages/{n}"), "{}").expect(201);
    }
    let file = wait_for("a checkpoint", || server.files("messages", ".snapshot.sse").pop());
    let text = std::fs::read_to_string(&file).expect("text");
    let mut value = serde_json::Value::Null;
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if line != "{}" {
            fold(&mut value, line);
        }
    }
    let count = value["messages"].as_object().map_or(0, |map| map.len());
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let sequence: usize = name.split('.').next().and_then(|digits| digits.parse().ok()).expect("a sequence");
    assert_eq!(count, sequence, "its value is that of its position");
}

#[test]
fn a_large_document_fills_a_segment_of_its_own() {
    let mut server = Server::with(&["--segment-bytes", "4096"]);
    let text = "x".repeat(900_000);
    for n in 0..3 {
        server.put(&format!("/messages/{n}"), &json!({"t": text}).to_string()).expect(201);
        server.put(&format!("/messages/s{n}"), "{}").expect(201);
    }
    for _ in 0..2 {
        let last = server.get("/messages").position().to_owned();
        let mut follower = server.follow("/messages?from=earliest");
        follower.opening();
        let mut value = json!({});
        assert_eq!(follower.fold_until(&mut value, &last), 6);
        assert_eq!(value, server.json("/messages?as=map"));
        server.kill();
        server.start_again();
    }
}
