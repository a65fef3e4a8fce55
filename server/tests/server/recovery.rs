//! Logs that are torn or damaged on disk.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::kit::{Server, fold, split, wait_for};

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&source, &target),
            false => drop(fs::copy(&source, &target).expect("a file")),
        }
    }
}

/// A stopped server with four events, each in a group of its own, and their positions.
fn four(server: &mut Server) -> Vec<String> {
    let put =
        |n: usize| server.put(&format!("/messages/{}", n % 2), &json!({"n": n}).to_string()).position().to_owned();
    let positions = (0..4).map(put).collect();
    server.stop();
    positions
}

/// Every byte of the last group is where a tear may be. All cuts are streams of one data folder, so that one start
/// recovers all of them: stream `c<length>` has a log of so many bytes.
#[test]
fn a_log_torn_at_every_byte_of_its_last_group_recovers() {
    let mut server = Server::start();
    let positions = four(&mut server);
    let folder = server.stream("messages");
    let segment = server.segments("messages").pop().expect("a segment");
    let bytes = fs::read(&segment).expect("a segment");
    let starts: Vec<usize> = memchr::memmem::find_iter(&bytes, b"id: ").collect();
    let last = *starts.last().expect("groups");
    assert_eq!(starts.len(), 4);
    let whole = fs::read(folder.join("manifest")).expect("a manifest");
    drop(whole);
    // A manifest says whose it is, so each cut gets a data folder of its own.
    for length in last..bytes.len() {
        let copied = tempfile::tempdir().expect("a folder");
        copy(&server.data(), &copied.path().join("data"));
        let torn = copied.path().join("data/messages").join(segment.file_name().expect("a name"));
        fs::write(&torn, &bytes[..length]).expect("a cut");
        let torn = Server::on(copied, &["--cores", "1"]);
        let map = torn.get("/messages?as=map").expect(200);
        assert_eq!(
            map.json()["messages"],
            json!({"0": {"id": "0", "n": 2}, "1": {"id": "1", "n": 1}}),
            "cut at {length}"
        );
        assert_eq!(split(map.position()).1, 3, "cut at {length}");
        let mut follower = torn.resume("/messages", &positions[1]);
        assert_eq!(follower.opening(), positions[1], "a cursor before the cut is served");
        assert_eq!(follower.patch().0, positions[2]);
        let is_cut = length > last;
        let next = torn.put("/messages/5", "{}").expect(201);
        assert_eq!(split(next.position()).1, 4);
        assert_eq!(
            split(next.position()).0 != split(&positions[0]).0,
            is_cut,
            "cut at {length}: a new epoch for every loss"
        );
        assert_eq!(follower.patch().0, next.position());
        if is_cut {
            let mut beyond = torn.resume("/messages", &positions[3]);
            let block = beyond.next();
            assert!(block.event == "reset" && block.data.contains("\"epoch\""), "cut at {length}: {}", block.raw);
            let (mut value, position) = beyond.snapshot();
            if position != next.position() {
                beyond.fold_until(&mut value, next.position());
            }
            assert_eq!(value, torn.json("/messages?as=map"));
        }
    }
}

#[test]
fn a_torn_tail_of_garbage_or_zeros_is_cut() {
    let mut server = Server::start();
    let positions = four(&mut server);
    let segment = server.segments("messages").pop().expect("a segment");
    let bytes = fs::read(&segment).expect("a segment");
    for tail in [&b"id: "[..], &[0; 4096], b"\n", b"garbage\n\n", b":c 5-5 1 00000000\n"] {
        let copied = tempfile::tempdir().expect("a folder");
        copy(&server.data(), &copied.path().join("data"));
        let torn = copied.path().join("data/messages").join(segment.file_name().expect("a name"));
        fs::write(&torn, [&bytes[..], tail].concat()).expect("a tail");
        let mut torn = Server::on(copied, &[]);
        let map = torn.get("/messages?as=map").expect(200);
        assert_eq!(split(map.position()).1, 4);
        let next = torn.put("/messages/9", "{}").expect(201).position().to_owned();
        assert_ne!(split(&next).0, split(&positions[0]).0);
        torn.kill();
        torn.start_again();
        assert_eq!(torn.get("/messages").position(), next);
        let text = fs::read(&torn.segments("messages")[0]).expect("a segment");
        assert!(text.starts_with(&bytes) && memchr::memmem::find(&text[bytes.len()..], b"garbage").is_none());
    }
}

#[test]
fn damage_in_the_middle_refuses_writes_and_reads_go_on() {
    let mut server = Server::start();
    let positions = four(&mut server);
    let segment = server.segments("messages").pop().expect("a segment");
    let mut bytes = fs::read(&segment).expect("a segment");
    let starts: Vec<usize> = memchr::memmem::find_iter(&bytes, b"id: ").collect();
    let at = memchr::memmem::find(&bytes[starts[1]..], b"\"n\":1").expect("a value") + starts[1] + 4;
    bytes[at] = b'7';
    fs::write(&segment, &bytes).expect("damage");
    let before = fs::metadata(&segment).expect("a file").len();
    server.start_again();
    for _ in 0..2 {
        let answer = server.put("/messages/0", r#"{"n":9}"#);
        assert!(answer.field("Retry-After").is_some());
        let problem = answer.problem(503);
        let detail = problem["detail"].as_str().expect("a detail");
        let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(detail.contains(&name) || detail.contains("damaged"), "{detail}");
        assert!(detail.contains(&format!("byte {}", starts[1])), "it names the place: {detail}");
        server.post("/messages", "{}").problem(503);
        server.delete("/messages/0").expect_one_of(&[404, 503]);
        // What came before the damage is read and followed.
        assert_eq!(server.json("/messages"), json!({"messages": [{"id": "0", "n": 0}]}));
        let mut follower = server.follow("/messages?from=earliest");
        follower.opening();
        assert_eq!(follower.patch().0, positions[0]);
        // Other streams don't mind.
        server.put("/others/1", "{}").expect_one_of(&[200, 201]);
        server.kill();
        server.start_again();
    }
    assert_eq!(fs::metadata(&segment).expect("a file").len(), before, "nothing was cut");
}

#[test]
fn damage_in_a_sealed_segment() {
    let mut server = Server::with(&["--segment-bytes", "4096"]);
    for n in 0..60 {
        server.put(&format!("/messages/{n}"), &json!({"t": "x".repeat(200)}).to_string()).expect(201);
    }
    server.stop();
    let segments = server.segments("messages");
    assert!(segments.len() >= 3, "{segments:?}");
    let mut bytes = fs::read(&segments[1]).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segments[1], &bytes).expect("damage");
    server.start_again();
    let problem = server.put("/messages/new", "{}").problem(503);
    let name = segments[1].file_name().expect("a name").to_string_lossy().into_owned();
    assert!(problem["detail"].as_str().expect("a detail").contains(&name), "{problem}");
    server.get("/messages/0").expect(200);
    let mut follower = server.follow("/messages?from=earliest");
    follower.opening();
    follower.patch();
}

#[test]
fn an_index_holds_no_truth() {
    let mut server = Server::with(&["--segment-bytes", "4096"]);
    let mut wanted = Vec::new();
    for n in 0..80 {
        let target = format!("/messages/{}", n % 5);
        let position = server.put(&target, &json!({"n": n, "t": "x".repeat(100)}).to_string()).position().to_owned();
        if n % 5 == 2 {
            wanted.push(position);
        }
    }
    for damage in 0..3 {
        server.stop();
        for index in server.files("messages", ".idx") {
            match damage {
                0 => fs::remove_file(&index).expect("a file"),
                1 => fs::write(&index, b"nonsense").expect("a file"),
                _ => {
                    let bytes = fs::read(&index).expect("a file");
                    fs::write(&index, vec![0xff; bytes.len()]).expect("a file");
                }
            }
        }
        server.start_again();
        let mut follower = server.follow("/messages/2?from=earliest");
        follower.opening();
        for position in &wanted {
            assert_eq!(&follower.patch().0, position, "damage {damage}");
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let mut server = Server::with(&["--checkpoint-bytes", "1"]);
    for n in 0..30 {
        server.put(&format!("/messages/{}", n % 7), &json!({"n": n}).to_string()).expect_one_of(&[200, 201]);
    }
    wait_for("a checkpoint", || (!server.files("messages", ".snapshot.sse").is_empty()).then_some(()));
    let map = server.json("/messages?as=map");
    server.stop();
    for checkpoint in server.files("messages", ".snapshot.sse") {
        let mut bytes = fs::read(&checkpoint).expect("a checkpoint");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&checkpoint, &bytes).expect("damage");
    }
    server.start_again();
    let list = server.get("/messages?as=map").expect(200);
    assert_eq!(list.json(), map);
    let mut follower = server.follow("/messages?from=snapshot");
    let (mut value, position) = follower.snapshot();
    if position != list.position() {
        follower.fold_until(&mut value, list.position());
    }
    assert_eq!(value, map);
    server.put("/messages/new", "{}").expect(201);
}

#[test]
fn leftovers_are_passed_over() {
    let mut server = Server::start();
    let positions = four(&mut server);
    fs::write(server.stream("messages").join("9.snapshot.sse.unfinished"), b"half").expect("a file");
    fs::create_dir(server.data().join("empty")).expect("a folder");
    // What retention and a deletion leave when they are cut short.
    let index = server.stream("messages").join("00000000000000000900.idx");
    fs::write(&index, b"of a segment that is gone").expect("a file");
    let keys = server.stream("messages").join("00000000000000000900.keys");
    fs::write(&keys, b"").expect("a file");
    for folder in ["@deleted-1", "@other"] {
        fs::create_dir(server.data().join(folder)).expect("a folder");
        fs::write(server.data().join(folder).join("manifest"), b"none").expect("a file");
    }
    fs::write(server.data().join("README"), b"a note").expect("a file");
    server.start_again();
    assert_eq!(server.get("/messages").position(), positions[3]);
    assert!(!index.exists() && !keys.exists());
    assert!(!server.data().join("@deleted-1").exists() && server.data().join("@other/manifest").exists());
    assert_eq!(server.json("/empty"), json!({"empty": []}));
    server.put("/empty/1", "{}").expect(201);
    server.kill();
    server.start_again();
    assert_eq!(server.json("/empty/1"), json!({"id": "1"}));
}

#[test]
fn followers_get_what_a_new_epoch_adds() {
    let mut server = Server::start();
    let positions = four(&mut server);
    let segment = server.segments("messages").pop().expect("a segment");
    let bytes = fs::read(&segment).expect("a segment");
    fs::write(&segment, &bytes[..bytes.len() - 1]).expect("a cut");
    server.start_again();
    let added = server.put("/messages/5", "{}").expect(201).position().to_owned();
    let mut value = json!({});
    let mut follower = server.follow("/messages?from=earliest");
    follower.opening();
    for position in positions[..3].iter().chain([&added]) {
        let (id, operations) = follower.patch();
        assert_eq!(&id, position);
        fold(&mut value, &operations.to_string());
    }
    assert_eq!(value, server.json("/messages?as=map"));
    // And once more over a restart, by the new epoch's cursor.
    server.kill();
    server.start_again();
    let mut follower = server.resume("/messages", &added);
    assert_eq!(follower.opening(), added);
    let mut follower = server.resume("/messages", &positions[2]);
    follower.opening();
    assert_eq!(follower.patch().0, added);
}
