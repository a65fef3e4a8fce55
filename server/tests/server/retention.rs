//! Which part of a log is kept, what becomes of those who want more of it, and damage in what nobody read at the start.

use std::fs;

use serde_json::{Value, json};

use crate::kit::{JSON, Server, fold, split, wait_for};

/// Writes so many events to some documents of `/a`; the position of the last one.
fn fill(server: &Server, count: usize) -> String {
    let mut client = server.connect();
    let mut position = String::new();
    for n in 0..count {
        let body = json!({"n": n, "t": "x".repeat(n % 200)}).to_string();
        let answer = client.ask("PUT", &format!("/a/{}", n % 7), &[JSON], &body).expect_one_of(&[200, 201]);
        position = answer.position().to_owned();
    }
    position
}

/// The first sequence in the names of a stream's segments.
fn earliest(server: &Server) -> u64 {
    let first = &server.segments("a")[0];
    let digits = first.file_stem().expect("a name").to_string_lossy().into_owned();
    digits.parse().expect("a sequence")
}

/// A cursor that isn't retained is told so, and gets the value; the newest history is there.
fn check(server: &Server, last: &str, earliest: u64) {
    let (epoch, _) = split(last);
    let mut follower = server.resume("/a", &format!("{epoch}-3"));
    let block = follower.next();
    let told: Value = serde_json::from_str(&block.data).expect("JSON");
    let first = format!("{epoch}-{}", earliest - 1);
    assert_eq!(
        (block.event.as_str(), &block.id, &told),
        ("reset", &None, &json!({"reason": "expired", "earliest": first}))
    );
    let (mut value, at) = follower.snapshot();
    if at != last {
        follower.fold_until(&mut value, last);
    }
    assert_eq!(value, server.json("/a?as=map"));

    let mut follower = server.follow("/a?from=earliest");
    assert_eq!(follower.opening(), first);
    let sequences = earliest..=split(last).1;
    for sequence in sequences.clone() {
        assert_eq!(follower.patch().0, format!("{epoch}-{sequence}"));
    }
    let page = server.json("/a?history=0-0&limit=10");
    assert_eq!(page["reset"]["reason"], "expired");
    let page = server.json(&format!("/a?history={first}&limit=1000"));
    assert_eq!(page["events"].as_array().map(Vec::len), Some(sequences.count()));
}

#[test]
fn the_newest_events_are_kept_in_whole_segments() {
    let arguments = ["--segment-bytes", "4096", "--checkpoint-bytes", "8192", "--retain-events", "60"];
    let mut server = Server::with(&arguments);
    for round in 0..3 {
        let last = fill(&server, 400);
        let count = split(&last).1;
        let kept = wait_for("segments to go", || {
            let first = earliest(&server);
            // Of segments of some 25 events, and no more than two checkpoints hold back.
            (count - first < 250).then_some(first)
        });
        assert!(count + 1 - kept >= 60, "{kept} to {count} in round {round}");
        assert!(server.files("a", ".snapshot.sse").len() <= 2);
        check(
            &server,
            &last,
            wait_for("rest", || {
                let before = earliest(&server);
                server.get("/-/health/ready");
                (before == earliest(&server)).then_some(before)
            }),
        );
        assert_eq!(server.files("a", ".idx").len(), server.segments("a").len());
        if round == 1 {
            server.kill()
        } else {
            server.stop()
        }
        server.start_again();
    }
}

#[test]
fn history_that_is_too_old_goes_though_nobody_writes() {
    let server = Server::with(&["--segment-bytes", "4096", "--retain-age", "2s"]);
    let last = fill(&server, 100);
    let map = server.json("/a?as=map");
    let mut live = server.follow("/a");
    live.opening();
    wait_for("all of it to go", || (server.segments("a").len() == 1 && earliest(&server) == 101).then_some(()));
    assert_eq!(server.json("/a?as=map"), map, "documents stay");
    let mut follower = server.follow("/a?from=earliest");
    assert_eq!(follower.opening(), last);
    let (value, at) = server.follow("/a?from=snapshot").snapshot();
    assert_eq!((value, at), (map, last.clone()));
    let next = server.put("/a/1", "{}").expect(200).position().to_owned();
    assert_eq!((live.patch().0, follower.patch().0), (next.clone(), next), "the live ones are none the wiser");
}

#[test]
fn keys_outlive_their_segments() {
    let arguments = ["--segment-bytes", "4096", "--checkpoint-bytes", "4096", "--retain-events", "1"];
    let mut server = Server::with(&arguments);
    let key = [JSON, ("Idempotency-Key", "once")];
    let first = server.ask("POST", "/a", &key, r#"{"n":1}"#).expect(201);
    let location = first.needs("Location").to_owned();
    fill(&server, 300);
    wait_for("its segment to go", || (earliest(&server) > 1).then_some(()));
    server.kill();
    server.start_again();
    let again = server.ask("POST", "/a", &key, r#"{"n":1}"#).expect(201);
    assert_eq!(again.needs("Location"), location, "it is done once");
}

/// A sealed segment that a checkpoint covers isn't read at the start; it is verified before anybody is sent any of it.
#[test]
fn a_damaged_segment_is_never_sent() {
    let mut server = Server::with(&["--segment-bytes", "4096", "--checkpoint-bytes", "8192"]);
    let last = fill(&server, 600);
    server.kill();
    let segments = server.segments("a");
    let (damaged, next) = (&segments[2], &segments[3]);
    let mut bytes = fs::read(damaged).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(damaged, bytes).expect("a file");
    server.start_again();

    // Who comes to it is shown out with what is whole, and is told when it comes back.
    let mut follower = server.follow("/a?from=earliest");
    follower.opening();
    let mut seen = 0;
    while let Some(block) = follower.rest_block() {
        seen = split(block.id.as_deref().expect("an id")).1;
    }
    let digits =
        |path: &std::path::Path| path.file_stem().expect("a name").to_string_lossy().parse::<u64>().expect("digits");
    assert_eq!(seen + 1, digits(damaged), "up to where the damaged segment begins");
    let name = damaged.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(server.log().contains(&name) && server.log().contains("damaged at byte"), "{}", server.log());
    wait_for("the stream to know", || {
        let block = server.resume("/a", &format!("{}-{seen}", split(&last).0)).next();
        (block.event == "reset").then_some(())
    });
    check(&server, &last, digits(next));
    assert!(damaged.exists(), "the file stays as it is");
    server.check_alive();
}

/// An index holds no truth: one that isn't right is made anew when somebody needs it.
#[test]
fn a_damaged_index_is_made_anew() {
    let mut server = Server::with(&["--segment-bytes", "4096", "--checkpoint-bytes", "8192"]);
    fill(&server, 600);
    server.kill();
    let indexes = server.files("a", ".idx");
    let whole: Vec<_> = indexes.iter().map(|index| fs::read(index).expect("a file")).collect();
    for (at, index) in indexes[..indexes.len() - 6].iter().enumerate() {
        let mut bytes = whole[at].clone();
        let middle = bytes.len() / 2;
        match at % 3 {
            0 => bytes[middle] ^= 16,
            1 => bytes.truncate(middle),
            _ => bytes.clear(),
        }
        fs::write(index, bytes).expect("a file");
    }
    server.start_again();
    let mut follower = server.follow("/a/3?from=earliest");
    follower.opening();
    let mut events = Vec::new();
    while events.len() < 600usize.div_ceil(7) - usize::from(600 % 7 < 4) {
        events.push(follower.patch());
    }
    let value = events.iter().fold(json!({"a": {}}), |mut value, (_, operations)| {
        fold(&mut value, &operations.to_string());
        value
    });
    assert_eq!(value, server.json("/a/3?as=map"));
    assert!(indexes.iter().zip(&whole).all(|(index, whole)| fs::read(index).expect("a file") == *whole));
}

/// While retention runs and the server dies at any moment, followers see each event once, or are told.
#[test]
fn retention_and_kills_leave_no_gap() {
    let mut server = Server::with(&["--segment-bytes", "4096", "--checkpoint-bytes", "4096", "--retain-events", "30"]);
    let (mut cursor, mut value) = (String::new(), json!({}));
    for _ in 0..6 {
        let last = fill(&server, 150);
        let mut follower = match cursor.as_str() {
            "" => server.follow("/a?from=snapshot"),
            cursor => server.resume("/a", cursor),
        };
        let mut sequence = split(&last).1 - 150;
        while cursor != last {
            let block = follower.next();
            match block.event.as_str() {
                "position" | "reset" => {}
                "patch" => {
                    fold(&mut value, &block.data);
                    if let Some(id) = &block.id {
                        let (_, now) = split(id);
                        assert!(sequence < now);
                        sequence = now;
                    }
                }
                other => panic!("{other}"),
            }
            if let Some(id) = block.id {
                cursor = id;
            }
        }
        assert_eq!(value, server.json("/a?as=map"));
        server.kill();
        server.start_again();
    }
}
