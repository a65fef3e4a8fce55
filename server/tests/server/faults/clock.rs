//! Clocks that jump, as when a host without a battery is told the time: order comes from sequences only.
//!
//! libfaketime shows the server a clock of the test's own. Timers run on the monotonic clock, which is left alone.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use crate::kit::{Answer, Follower, JSON, Server, fold, split};

/// Far to either side of the last one, in no order.
const OFFSETS: [&str; 6] = ["+0", "-2h", "+30h", "-300d", "+10d", "-10d"];

/// What the server takes for the time.
struct Clock {
    folder: TempDir,
}

impl Clock {
    /// A server that looks at this clock; it isn't started yet.
    fn with_server(arguments: &[&str]) -> (Clock, Server) {
        let clock = Clock { folder: tempfile::tempdir().expect("a folder") };
        clock.set("+0");
        // A jump forward makes all history older than is kept: that is another matter.
        let arguments: Vec<_> = arguments.iter().copied().chain(["--retain-age", "off"]).collect();
        let mut server = Server::to_be_started(&arguments);
        for (name, value) in [
            ("LD_PRELOAD", &*library().to_string_lossy()),
            ("FAKETIME_TIMESTAMP_FILE", &*clock.file().to_string_lossy()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ] {
            server.set_variable(name, value);
        }
        (clock, server)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// From now on the time is so far from the host's. It is never seen half-written.
    fn set(&self, offset: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, offset).and_then(|()| fs::rename(&next, self.file())).expect("a file");
    }
}

/// Where Debian's package has it, whatever the architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a folder");
    let mut paths = folders.map(|entry| entry.expect("an entry").path().join("faketime/libfaketimeMT.so.1"));
    paths.find(|path| path.exists()).expect("libfaketime is there: scripts/test installs it (Debian: faketime)")
}

/// The times of all groups, in the order of the log.
fn times(server: &Server) -> Vec<u64> {
    let mut times = Vec::new();
    for segment in server.segments("messages") {
        let text = fs::read_to_string(segment).expect("a segment is text");
        let closings = text.lines().filter_map(|line| line.strip_prefix(":c "));
        times.extend(closings.map(|line| line.split(' ').nth(1).expect("a time").parse::<u64>().expect("a number")));
    }
    times
}

#[test]
fn order_comes_from_sequences_when_the_clock_jumps() {
    let (clock, mut server) = Clock::with_server(&["--segment-bytes", "4096", "--checkpoint-bytes", "4096"]);
    server.start_again();
    let (mut positions, mut value) = (vec!["0-0".to_owned()], json!({}));
    for round in 0..2 {
        let mut follower = server.resume("/messages", &positions[positions.len() - 1]);
        follower.opening();
        let mut client = server.connect();
        for offset in OFFSETS {
            clock.set(offset);
            for n in 0..5 {
                let body = json!({"offset": offset, "round": round, "t": "x".repeat(200)});
                let answer = client.ask("PUT", &format!("/messages/{n}"), &[JSON], &body.to_string());
                let position = answer.expect_one_of(&[200, 201]).position().to_owned();
                assert_eq!(split(&position).1, positions.len() as u64);
                let (id, operations) = follower.patch();
                assert_eq!(id, position);
                fold(&mut value, &operations.to_string());
                positions.push(position);
            }
        }
        drop(client);
        server.kill();
        server.start_again();
        let map = server.get("/messages?as=map").expect(200);
        assert_eq!((map.json(), map.position()), (value.clone(), positions[positions.len() - 1].as_str()));
        for (index, cursor) in positions.iter().enumerate() {
            let mut follower: Follower = server.resume("/messages", cursor);
            assert_eq!(split(&follower.opening()).1, index as u64);
            for later in &positions[index + 1..] {
                assert_eq!(&follower.patch().0, later);
            }
        }
    }
    let times = times(&server);
    let jumps = times.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(times.len() == positions.len() - 1 && jumps >= 2 * 3, "the server saw the clock jump back: {times:?}");
}

#[test]
fn keys_are_remembered_when_the_clock_jumps_back() {
    let (clock, mut server) = Clock::with_server(&[]);
    server.start_again();
    let create = |server: &Server, key: &str| -> Answer {
        server.ask("POST", "/messages", &[JSON, ("Idempotency-Key", key)], &json!({"key": key}).to_string()).expect(201)
    };
    let mut created = Vec::new();
    for offset in ["+0", "-2h", "+20h", "-300d", "-1h"] {
        clock.set(offset);
        // What is 24 hours old is forgotten; what was written in what is the future now is young.
        if offset == "-1h" {
            created.retain(|(key, _)| *key != "-300d");
        }
        created.push((offset, create(&server, offset).needs("Location").to_owned()));
        for _ in 0..2 {
            for (key, location) in &created {
                assert_eq!(create(&server, key).needs("Location"), location, "{key} at {offset}");
            }
            server.kill();
            server.start_again();
        }
    }
    clock.set("+30h");
    let (key, location) = &created[0];
    assert_ne!(create(&server, key).needs("Location"), location, "a key is kept for 24 hours");
}
