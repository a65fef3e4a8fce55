//! Several streams on one connection.

use serde_json::{Value, json};

use crate::kit::{JSON, Server, fold, split};

/// The positions that an id joins.
fn parts(id: &str) -> Vec<(String, u64)> {
    let split = |position| {
        let (epoch, sequence) = split(position);
        (epoch.to_owned(), sequence)
    };
    id.split('.').map(split).collect()
}

/// Names in pairs, so that each of two cores is home to some.
const TARGET: &str = "/-/events?topic=/a&topic=/b/1&topic=/c/1/notes&topic=/d";

#[test]
fn ids_join_a_position_per_stream() {
    let server = Server::start();
    let mut client = server.connect();
    for target in ["/a/1", "/b/1", "/b/2", "/c/1/notes/1"] {
        client.ask("PUT", target, &[JSON], "{}").expect(201);
    }
    let mut follower = server.follow(TARGET);
    let opening = follower.opening();
    let mut last = parts(&opening);
    assert_eq!(last.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>(), [1, 2, 1, 0], "{opening}");
    assert!(opening.ends_with(".0-0"), "{opening}");
    let mut ids = vec![opening];
    let mut seen: Vec<Vec<Value>> = vec![Vec::new(); 4];
    for n in 0..40 {
        for (index, target) in ["/a/1", "/b/1", "/c/1/notes/1", "/d/1"].into_iter().enumerate() {
            let body = json!({"n": n}).to_string();
            let answer = client.ask("PUT", target, &[JSON], &body).expect_one_of(&[200, 201]);
            client.ask("PUT", "/b/2", &[JSON], &json!({"n": [n, index]}).to_string()).expect(200);
            let (id, operations) = follower.patch();
            let now = parts(&id);
            assert_eq!((now.len(), now[index].1), (4, split(answer.position()).1), "{id}");
            for (other, (before, after)) in last.iter().zip(&now).enumerate() {
                assert!(after.1 >= before.1, "{id}");
                assert!(other == index || other == 1 || after == before, "{id} after a change of {target}");
            }
            seen[index].push(operations);
            last = now;
            ids.push(id);
        }
    }
    // Any of them resumes each stream where it was; between streams there is no order.
    for (index, id) in ids.iter().enumerate().step_by(17) {
        let mut resumed = server.resume(TARGET, id);
        let opening = resumed.opening();
        assert_eq!(
            parts(&opening).iter().map(|part| part.1).collect::<Vec<_>>(),
            parts(id).iter().map(|part| part.1).collect::<Vec<_>>()
        );
        let mut again: Vec<Vec<Value>> = vec![Vec::new(); 4];
        for _ in index..160 {
            let (_, operations) = resumed.patch();
            let path = operations.as_array().and_then(|all| all.last()).expect("operations")["path"]
                .as_str()
                .expect("a path")
                .to_owned();
            let stream =
                ["/a/", "/b/", "/c~1", "/d/"].iter().position(|prefix| path.starts_with(prefix)).expect("a stream");
            again[stream].push(operations);
        }
        for (stream, events) in again.iter().enumerate() {
            assert_eq!(events, &seen[stream][seen[stream].len() - events.len()..], "{id}");
        }
        assert_eq!(again.iter().map(Vec::len).sum::<usize>(), 160 - index);
    }
}

#[test]
fn one_reset_or_snapshot_holds_all() {
    let server = Server::start();
    let mut client = server.connect();
    for n in 0..20 {
        for target in ["/a/1", "/a/2", "/a/1/x/1", "/b/1", "/b/2", "/c/1/notes/1", "/c/1/notes/2"] {
            client.ask("PUT", target, &[JSON], &json!({"n": n}).to_string()).expect_one_of(&[200, 201]);
        }
    }
    let expected = || {
        let mut all = serde_json::Map::new();
        for target in ["/a", "/b/1", "/c/1/notes", "/d"] {
            all.extend(server.json(&format!("{target}?as=map")).as_object().expect("a map").clone());
        }
        all.retain(|path, collection| path != "d" || collection != &json!({}));
        Value::Object(all)
    };
    let whole = server.follow(TARGET).opening();
    let other_epoch = format!("k3f9q2-1{}", &whole[whole.find('.').expect("several")..]);
    let fewer = whole.rsplit_once('.').expect("several").0.to_owned();
    let ahead = whole.replacen("-60", "-6000", 1);
    assert_ne!(ahead, whole);
    let mut followers = vec![server.follow(&format!("{TARGET}&from=snapshot"))];
    for (cursor, reason) in [
        ("x", "unknown"),
        (&fewer, "unknown"),
        (&format!("{whole}.{whole}"), "unknown"),
        (&other_epoch, "epoch"),
        (&ahead, "ahead"),
    ] {
        let mut follower = server.resume(TARGET, cursor);
        let block = follower.next();
        assert!(block.event == "reset" && block.data.contains(reason) && block.id.is_none(), "{cursor}: {}", block.raw);
        followers.push(follower);
    }
    for mut follower in followers {
        let (mut value, position) = follower.snapshot();
        assert_eq!(parts(&position).len(), 4);
        // Something new at the end of each stream says when the follower is there.
        client.ask("DELETE", "/d/1", &[], "").expect_one_of(&[204, 404]);
        for target in ["/a/1", "/b/1", "/c/1/notes/1", "/d/1"] {
            client.ask("PUT", target, &[JSON], &json!({"at": position}).to_string()).expect_one_of(&[200, 201]);
            client.ask("PUT", target, &[JSON], &json!({"now": position}).to_string()).expect(200);
        }
        let mut expected = expected();
        while value != expected {
            let (_, operations) = follower.patch();
            fold(&mut value, &operations.to_string());
            if value.get("d") == Some(&json!({})) && expected.get("d").is_none() {
                expected["d"] = json!({});
            }
        }
    }
}

#[test]
fn many_followers_of_many_streams() {
    let server = Server::start();
    let topics: Vec<String> = (0..8).map(|n| format!("topic=/stream{n}")).collect();
    let target = format!("/-/events?{}", topics.join("&"));
    let mut followers: Vec<_> = (0..40).map(|_| server.follow(&target)).collect();
    for follower in &mut followers {
        assert_eq!(follower.opening(), ["0-0"; 8].join("."));
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                for n in 0..100 {
                    let body = json!({"n": n}).to_string();
                    client.ask("PUT", &format!("/stream{}/{thread}-{n}", (n + thread) % 8), &[JSON], &body).expect(201);
                }
            });
        }
    });
    for follower in &mut followers {
        let mut last = vec![0; 8];
        let mut value = json!({});
        for _ in 0..400 {
            let (id, operations) = follower.patch();
            let now: Vec<u64> = parts(&id).iter().map(|part| part.1).collect();
            let grown: Vec<usize> = (0..8).filter(|index| now[*index] != last[*index]).collect();
            assert!(grown.len() == 1 && now[grown[0]] == last[grown[0]] + 1, "{id} after {last:?}");
            fold(&mut value, &operations.to_string());
            last = now;
        }
        assert_eq!(last.iter().sum::<u64>(), 400);
        assert_eq!(value.as_object().map(|map| map.len()), Some(8));
    }
}
