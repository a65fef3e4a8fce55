//! What is full, and a disk that fails.

use serde_json::json;

use crate::kit::{Follower, JSON, Server, fold, split};

#[test]
fn the_1025th_stream_is_507() {
    let mut server = Server::with(&["--durability", "none"]);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                for n in (thread..1024).step_by(16) {
                    client.ask("PUT", &format!("/stream{n}/1"), &[JSON], "{}").expect(201);
                }
            });
        }
    });
    let check = |server: &Server| {
        let problem = server.put("/more/1", "{}").problem(507);
        assert!(problem["type"].as_str().unwrap().ends_with("full"), "{problem}");
        server.post("/more", "{}").problem(507);
        assert_eq!(server.json("/more"), json!({"more": []}));
        server.put("/stream1023/2", "{}").expect_one_of(&[200, 201]);
    };
    check(&server);
    server.stop();
    server.start_again();
    check(&server);
}

/// Followers of streams that nobody writes take places, too; there are 2,048 of them on a core. One more takes the place of
/// another, whose follower is let go and may come back; writers don't meet this bound.
#[test]
fn unwritten_streams_that_are_followed_make_room_for_each_other() {
    let server = Server::with(&["--cores", "1"]);
    let mut followers: Vec<Follower> = Vec::new();
    for n in 0..2048 {
        let mut follower = Follower::start(server.address(), &format!("/unwritten{n}"), &[]);
        follower.opening();
        followers.push(follower);
    }
    let mut newest = Follower::start(server.address(), "/newest", &[]);
    newest.opening();
    server.put("/newest/1", "{}").expect(201);
    assert_eq!(newest.patch().1[1]["path"], "/newest/1");
    // One of the others was let go; all the rest still follow.
    let mut gone = 0;
    for (n, follower) in followers.iter_mut().enumerate().take(900) {
        server.put(&format!("/unwritten{n}/1"), "{}").expect(201);
        match follower.rest_block() {
            Some(block) => assert_eq!(block.event, "patch"),
            None => gone += 1,
        }
    }
    assert!(gone <= 1, "{gone} were let go");
    let mut again = Follower::start(server.address(), "/unwritten2000", &[]);
    again.opening();
}

#[test]
fn documents_have_a_bound_in_memory() {
    let mut server = Server::with(&["--memory", "1", "--cores", "1"]);
    let mut client = server.connect();
    let body = json!({"t": "x".repeat(100_000)}).to_string();
    let mut written = 0;
    let problem = loop {
        let answer = client.ask("PUT", &format!("/messages/{written}"), &[JSON], &body);
        match answer.status {
            201 => written += 1,
            _ => break answer.problem(507),
        }
        assert!(written < 20);
    };
    assert!(problem["type"].as_str().unwrap().ends_with("full"), "{problem}");
    assert!(written >= 8);
    let last = server.get("/messages?as=map").expect(200).position().to_owned();
    assert_eq!(split(&last).1, written);
    server.get(&format!("/messages/{written}")).problem(404);
    // What doesn't grow is fine, and what was freed can be taken.
    client.ask("PUT", "/messages/0", &[JSON], "{}").expect(200);
    client.ask("DELETE", "/messages/1", &[], "").expect(204);
    client.ask("PUT", "/messages/new", &[JSON], &body).expect(201);
    client.ask("PUT", "/messages/more", &[JSON], &body).expect_one_of(&[201, 507]);
    drop(client);
    server.stop();
    server.start_again();
    server.get("/messages/new").expect(200);
}

/// A disk whose files can't grow beyond 64 KiB: the write that fails is answered 503 and leaves nothing behind; readers
/// and followers go on; after a restart with room all that was answered is there.
#[test]
fn a_failed_write_is_taken_back_and_the_stream_refuses_writes() {
    let mut server = Server::start();
    server.stop();
    server.set_file_kib_max(Some(64));
    server.start_again();
    let mut client = server.connect();
    let mut follower = server.follow("/messages");
    follower.opening();
    let mut value = json!({});
    let mut answered = Vec::new();
    let problem = loop {
        let n = answered.len();
        let body = json!({"n": n, "t": format!("{n:04}").repeat(250)}).to_string();
        let answer = client.ask("PUT", &format!("/messages/{}", n % 7), &[JSON], &body);
        match answer.status {
            200 | 201 => {
                let (id, operations) = follower.patch();
                assert_eq!(id, answer.position());
                fold(&mut value, &operations.to_string());
                answered.push(id);
            }
            _ => {
                assert!(answer.field("Retry-After").is_some());
                break answer.problem(503);
            }
        }
        assert!(answered.len() < 100, "files can't grow so far");
    };
    assert!(!problem["detail"].as_str().expect("a detail").is_empty());
    assert!(answered.len() > 10, "{} were answered: {problem}", answered.len());
    let last = answered.last().expect("some");
    // The small write that would fit is refused too, and nothing of the failed one is seen.
    client.ask("PUT", "/messages/small", &[JSON], "{}").problem(503);
    let map = server.get("/messages?as=map").expect(200);
    assert_eq!((map.position(), map.json()), (last.as_str(), value.clone()));
    let mut other = server.follow("/messages?from=earliest");
    other.opening();
    for position in &answered {
        assert_eq!(&other.patch().0, position);
    }
    // Another stream's file has room.
    client.ask("PUT", "/others/1", &[JSON], "{}").expect(201);
    drop(client);
    server.kill();
    server.set_file_kib_max(None);
    server.start_again();
    let map = server.get("/messages?as=map").expect(200);
    assert_eq!((split(map.position()).1, map.json()), (split(last).1, value));
    server.put("/messages/small", "{}").expect(201);
    let mut resumed = server.resume("/messages", &answered[3]);
    assert_eq!(resumed.opening(), answered[3]);
    assert_eq!(resumed.patch().0, answered[4]);
}
