//! `fantail log verify`, `dump` and `rebuild-index` on the logs of real servers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fantail_engine::log::checkpoint;
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::protocol::sse::Parser;
use serde_json::{Value, json};

use crate::kit::{Client, JSON, Random, Server, fold, log, split, wait_for};

/// Small segments and many checkpoints.
const SMALL: [&str; 4] = ["--segment-bytes", "4096", "--checkpoint-bytes", "1"];

/// A stopped server whose streams `messages` and `users` have several segments, checkpoints and keys, and what the first is.
fn filled() -> (Server, Value) {
    let mut server = Server::with(&SMALL);
    let mut client = server.connect();
    for n in 0..60 {
        let key = format!("k{n}");
        let fields = [JSON, ("Idempotency-Key", key.as_str())];
        let body = json!({"n": n, "t": "x".repeat(150 + n)}).to_string();
        client.ask("PUT", &format!("/messages/{}", n % 13), &fields, &body).expect_one_of(&[200, 201]);
        client.ask("POST", "/users/7/notes", &fields, &json!({"n": n}).to_string()).expect(201);
        if n % 9 == 8 {
            client.ask("DELETE", &format!("/messages/{}", n % 13), &[], "").expect(204);
        }
    }
    wait_for("two checkpoints", || (server.files("messages", ".snapshot.sse").len() == 2).then_some(()));
    let map = server.json("/messages?as=map");
    server.stop();
    (server, map)
}

fn data(server: &Server) -> String {
    server.data().to_string_lossy().into_owned()
}

fn sizes(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| fs::metadata(file).expect("a file").len()).sum()
}

/// The JSON lines of a dump.
fn lines(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn serve_may_be_said_or_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data").to_string_lossy().into_owned();
    for (arguments, code) in [
        (&["serve", "--listen", "nowhere", "--data", &path][..], 2),
        (&["--listen", "127.0.0.1:0", "serve", "--data", &path], 2),
        (&["log"], 2),
        (&["log", "dump"], 2),
        (&["serve", "--help"], 0),
        (&["log", "verify", "--help"], 0),
    ] {
        assert_eq!(log(arguments).code, Some(code), "{arguments:?}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn verify_says_what_there_is() {
    let mut server = Server::start();
    server.put("/messages/1", r#"{"text":"hi"}"#).expect(201);
    server.put("/messages/1", r#"{"text":"hello"}"#).expect(200);
    let last = server.put("/users/7/notes/a", "{}").expect(201).position().to_owned();
    let messages = server.get("/messages").position().to_owned();
    for is_running in [true, false] {
        if !is_running {
            server.stop();
        }
        let (one, other) = (sizes(&server.segments("messages")), sizes(&server.segments("users")));
        let expected = format!(
            "messages: 2 events, {one} bytes, 1 segment, 0 checkpoints, at {messages}\n\
             users: 1 event, {other} bytes, 1 segment, 0 checkpoints, at {last}\n"
        );
        let ended = log(&["log", "verify", "--data", &data(&server)]);
        assert_eq!((ended.code, ended.output, ended.errors), (Some(0), expected.clone(), String::new()));
        let ended = log(&["log", "verify", "--data", &data(&server), "users"]);
        assert_eq!(
            (ended.code, ended.output.as_str()),
            (Some(0), expected.lines().last().map(|line| format!("{line}\n")).as_deref().unwrap_or_default())
        );
    }
    let ended = log(&["log", "verify", "--data", &data(&server), "nobody"]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(5), ""));
    assert!(ended.errors.contains("has no stream nobody"), "{}", ended.errors);
    let ended = log(&["log", "verify", "--data", "nowhere/at/all"]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(5), "fantail: there is no folder nowhere/at/all\n"));
}

#[test]
fn verify_names_the_file_and_the_byte() {
    let mut server = Server::start();
    for n in 0..3 {
        server.put("/messages/1", &json!({"n": n}).to_string()).expect_one_of(&[200, 201]);
    }
    server.stop();
    let segment = server.segments("messages").pop().expect("a segment");
    let index = segment.with_extension("idx");
    let name = |path: &Path| format!("messages/{}", path.file_name().expect("a name").to_string_lossy());
    let bytes = fs::read(&segment).expect("a segment");
    let second = memchr::memmem::find_iter(&bytes, b"id: ").nth(1).expect("a second event");
    let entries = fs::read(&index).expect("an index");

    let flaws = |code| {
        let ended = log(&["log", "verify", "--data", &data(&server)]);
        assert_eq!(ended.code, Some(code), "{}{}", ended.output, ended.errors);
        ended.output.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut damaged = bytes.clone();
    damaged[second + 50] ^= 4;
    fs::write(&segment, &damaged).expect("damage");
    let frame = memchr::memmem::find(&bytes[second..], b":c ").expect("a closing line");
    let what = format!("a group is bad {frame} bytes from its start: the checksum is wrong");
    assert_eq!(flaws(1), [format!("{} byte {second}: {what}", name(&segment))]);

    fs::write(&segment, &bytes[..bytes.len() - 1]).expect("damage");
    let third = memchr::memmem::find_iter(&bytes, b"id: ").nth(2).expect("a third event");
    assert_eq!(flaws(1), [format!("{} byte {third}: a group isn't whole", name(&segment))]);
    fs::write(&segment, &bytes).expect("as it was");

    for (changed, what) in [
        ([&entries[..30], b"?", &entries[31..]].concat(), "byte 30: the entry of event 2 isn't what the segment says"),
        (entries[..50].to_vec(), "byte 50: the entries from event 3 on are missing"),
        ([&entries[..], b"?"].concat(), "byte 72: there are entries of events that the segment doesn't have"),
    ] {
        fs::write(&index, changed).expect("damage");
        assert_eq!(flaws(1), [format!("{} {what}", name(&index))]);
    }
    fs::remove_file(&index).expect("a file");
    assert_eq!(flaws(1), [format!("{}: it isn't there", name(&index))]);
    fs::write(&index, entries).expect("as it was");
    assert!(flaws(0).is_empty());
    fs::rename(server.stream("messages"), server.stream("others")).expect("a folder");
    assert_eq!(flaws(1), ["others/manifest: it says that the stream is messages"]);
}

/// Whatever byte of whatever file is changed, lost or added: the file is named, and the place is at or before it.
#[test]
fn every_change_of_a_file_is_found() {
    let mut random = Random::seeded();
    let (server, _) = filled();
    let data = data(&server);
    assert_eq!(log(&["log", "verify", "--data", &data]).code, Some(0));
    let mut files = server.files("messages", "");
    files.extend(server.files("users", ""));
    files.retain(|file| fs::metadata(file).expect("a file").len() > 0);
    for round in 0..150 {
        let file = &files[random.below(files.len() as u64) as usize];
        let bytes = fs::read(file).expect("a file");
        let at = random.below(bytes.len() as u64) as usize;
        // Nobody knows of whole lines of keys that they were there.
        let is_between_keys =
            file.extension().is_some_and(|kind| kind == "keys") && (at == 0 || bytes[at - 1] == b'\n');
        let at = at + usize::from(is_between_keys);
        let mut changed = bytes.clone();
        let what = match round % 5 {
            0 => {
                changed.truncate(at);
                "cut"
            }
            1 => {
                changed.push(random.next() as u8);
                "added to"
            }
            _ => {
                changed[at] ^= 1 << random.below(8);
                "flipped"
            }
        };
        fs::write(file, &changed).expect("damage");
        let ended = log(&["log", "verify", "--data", &data]);
        fs::write(file, &bytes).expect("as it was");
        let name = file.strip_prefix(server.data()).expect("a file of the data folder").to_string_lossy().into_owned();
        let said = format!("{name} {what} at {at} of {}:\n{}{}", bytes.len(), ended.output, ended.errors);
        assert_eq!(ended.code, Some(1), "{said}");
        // A log that ends with a whole group is whole; the index and the keys beside it know that there was more.
        let last_line = bytes[..at].trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if what == "cut" && name.ends_with(".sse") && bytes[..at].ends_with(b"\n") && last_line.starts_with(b":c ") {
            let segment = name.trim_end_matches("sse");
            assert!(ended.output.lines().any(|line| line.starts_with(segment)), "{said}");
            continue;
        }
        let line = ended.output.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{said}"));
        if let Some(place) = line.strip_prefix(" byte ") {
            let place: usize = place.split(':').next().expect("a place").parse().expect("a number");
            assert!(place <= at || what == "added to" && place <= bytes.len(), "{said}");
        }
    }
    assert_eq!(log(&["log", "verify", "--data", &data]).code, Some(0), "all was put right again");
}

#[test]
fn verify_beside_a_server_that_writes() {
    let server = Server::with(&SMALL);
    server.put("/messages/first", "{}").expect(201);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..3 {
            let (is_over, address) = (&is_over, server.address());
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in (0..).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                    let key = format!("{writer}-{n}");
                    let body = json!({"n": n, "t": "x".repeat(n % 300)}).to_string();
                    let fields = [JSON, ("Idempotency-Key", key.as_str())];
                    client.ask("PUT", &format!("/messages/{}", n % 50), &fields, &body).expect_one_of(&[200, 201]);
                }
            });
        }
        for _ in 0..20 {
            let ended = log(&["log", "verify", "--data", &data(&server)]);
            if ended.code != Some(0) {
                is_over.store(true, Ordering::Relaxed);
            }
            assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let ended = log(&["log", "verify", "--data", &data(&server)]);
    let last = server.get("/messages").position().to_owned();
    assert!(ended.output.ends_with(&format!("at {last}\n")), "{} and not {last}", ended.output);
}

#[test]
fn a_crash_leaves_what_the_next_start_mends() {
    let mut server = Server::start();
    for n in 0..4 {
        server.put("/messages/1", &json!({"n": n}).to_string()).expect_one_of(&[200, 201]);
    }
    server.kill();
    let segment = server.segments("messages").pop().expect("a segment");
    let mut file = fs::File::options().append(true).open(segment).expect("a segment");
    file.write_all(b"id: 000000-5\nevent: pa").expect("a torn group");
    let ended = log(&["log", "verify", "--data", &data(&server)]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.output.contains("a group isn't whole"), "{}", ended.output);
    assert_eq!(lines(&log(&["log", "dump", "messages", "--format", "json", "--data", &data(&server)]).output).len(), 4);
    server.start_again();
    let ended = log(&["log", "verify", "--data", &data(&server)]);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

/// The documents are folded: bytes that are whole but say something else are found too.
#[test]
fn a_checkpoint_of_another_value_is_found() {
    let (server, map) = filled();
    let file = server.files("messages", ".snapshot.sse").pop().expect("a checkpoint");
    let bytes = fs::read(&file).expect("a checkpoint");
    let read = checkpoint::Checkpoint::read(&bytes).expect("it is whole");
    let mut other = map["messages"].clone();
    let ids: Vec<String> = other.as_object().expect("a map").keys().cloned().collect();
    other[&ids[0]]["n"] = json!(-1);
    let mut out = Vec::new();
    let documents: Vec<(String, String)> =
        other.as_object().expect("a map").iter().map(|(id, document)| (id.clone(), document.to_string())).collect();
    let documents = documents.iter().map(|(id, document)| (id.as_str(), document.as_bytes()));
    let collections = std::iter::once(("messages", read.position.sequence, documents));
    checkpoint::encode(read.position, collections, &mut |part: &[u8]| {
        out.extend_from_slice(part);
        Ok::<(), ()>(())
    })
    .expect("memory takes it");
    fs::write(&file, out).expect("another checkpoint");
    let ended = log(&["log", "verify", "--data", &data(&server), "messages"]);
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let flaw = format!("messages/{name}: its value isn't what the log makes of the value before");
    assert_eq!((ended.code, ended.output.lines().nth(1)), (Some(1), Some(flaw.as_str())), "{}", ended.output);
    // Under the name of another position it isn't believed either.
    fs::write(&file, &bytes).expect("as it was");
    fs::rename(&file, file.with_file_name(segment::name(1, Kind::Checkpoint))).expect("another name");
    let ended = log(&["log", "verify", "--data", &data(&server), "messages"]);
    assert!(ended.code == Some(1) && ended.output.contains("which isn't one of this log"), "{}", ended.output);
}

/// As retention leaves it: the oldest segments are gone, a checkpoint has their value.
#[test]
fn a_log_whose_beginning_is_gone() {
    let (server, map) = filled();
    let before = lines(&log(&["log", "dump", "messages", "--format", "json", "--data", &data(&server)]).output);
    let segments = server.segments("messages");
    assert!(segments.len() >= 4, "{segments:?}");
    let remove = |segment: &PathBuf| {
        for extension in ["sse", "idx", "keys"] {
            fs::remove_file(segment.with_extension(extension)).expect("a file");
        }
    };
    remove(&segments[0]);
    let number = |path: &PathBuf| {
        segment::parse_name(&path.file_name().expect("a name").to_string_lossy()).expect("a name of ours").0
    };
    let first = number(&segments[1]);
    let ended = log(&["log", "verify", "--data", &data(&server), "messages"]);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.output.contains(&format!("events from {first} on, ")), "{}", ended.output);
    let dump = log(&["log", "dump", "messages", "--format", "json", "--data", &data(&server)]);
    assert_eq!((dump.code, lines(&dump.output)), (Some(0), before[first as usize - 1..].to_vec()));
    let position = |sequence: u64| before[sequence as usize - 1]["id"].as_str().expect("an id").to_owned();
    for (after, code) in [(first - 2, 5), (first - 1, 0), (first, 0)] {
        let ended = log(&["log", "dump", "messages", "--data", &data(&server), "--after", &position(after)]);
        assert_eq!(ended.code, Some(code), "after {after}: {}", ended.errors);
        let said = format!(
            "fantail: {}: the position isn't retained any more; the first one is {}\n",
            position(after),
            position(first - 1)
        );
        assert!(code == 0 || ended.errors == said && ended.output.is_empty(), "{}", ended.errors);
    }
    // A backup of it is as good as it is.
    let backup = server.data().with_file_name("backup").to_string_lossy().into_owned();
    let restored = server.data().with_file_name("restored").to_string_lossy().into_owned();
    assert_eq!(log(&["log", "backup", &backup, "--data", &data(&server)]).code, Some(0));
    assert_eq!(log(&["log", "restore", &backup, "--data", &restored]).code, Some(0));
    fs::remove_dir_all(server.data()).expect("a folder");
    fs::rename(&restored, server.data()).expect("a folder");
    let mut server = server;
    server.start_again();
    assert_eq!(server.json("/messages?as=map"), map);
    server.stop();
    // In its middle, nothing may be missing.
    remove(&segments[segments.len() - 2]);
    let ended = log(&["log", "verify", "--data", &data(&server), "messages"]);
    let (expected, found) = (number(&segments[segments.len() - 2]), number(&segments[segments.len() - 1]));
    assert!(
        ended.output.contains(&format!("the log goes on with event {found} instead of {expected}")),
        "{}",
        ended.output
    );
    assert_eq!(ended.code, Some(1));
}

#[test]
fn a_keyed_write_that_changes_nothing_is_no_flaw() {
    let mut server = Server::with(&SMALL);
    for n in 0..200 {
        let key = format!("k{n}");
        server.ask("PUT", "/messages/1", &[JSON, ("Idempotency-Key", &key)], r#"{"n":1}"#).expect_one_of(&[200, 201]);
    }
    for is_running in [true, false] {
        if !is_running {
            server.stop();
        }
        let ended = log(&["log", "verify", "--data", &data(&server)]);
        assert_eq!(ended.code, Some(0), "{}", ended.output);
    }
}

#[test]
fn a_dump_is_the_log() {
    let (server, map) = filled();
    let folder = data(&server);
    let whole = log(&["log", "dump", "messages", "--data", &folder]);
    let bytes: Vec<u8> =
        server.segments("messages").iter().flat_map(|file| fs::read(file).expect("a segment")).collect();
    assert_eq!((whole.code, whole.output.as_bytes(), whole.errors.as_str()), (Some(0), &bytes[..], ""));
    let mut value = json!({});
    let mut ids = Vec::new();
    let mut parser = Parser::new(1 << 20);
    parser
        .feed(whole.output.as_bytes(), |event| {
            assert_eq!(event.event, b"patch");
            ids.push(String::from_utf8(event.id.expect("an id").to_vec()).expect("text"));
            fold(&mut value, std::str::from_utf8(event.data).expect("text"));
        })
        .expect("an event stream");
    assert_eq!(value, map);

    let json = lines(&log(&["log", "dump", "messages", "--format", "json", "--data", &folder]).output);
    let mut value = json!({});
    let mut before = String::new();
    for (event, id) in json.iter().zip(&ids) {
        assert_eq!(event["id"], *id);
        fold(&mut value, &event["patch"].to_string());
        let time = event["time"].as_str().expect("a time").to_owned();
        assert!(time.len() == 24 && time.ends_with('Z') && time >= before, "{before} {time}");
        before = time;
    }
    assert_eq!((value, json.len()), (map, ids.len()));

    for (at, id) in ids.iter().enumerate().step_by(7).chain([(ids.len() - 1, &ids[ids.len() - 1])]) {
        let rest = log(&["log", "dump", "messages", "--format", "json", "--data", &folder, "--after", id]);
        assert_eq!((rest.code, lines(&rest.output)), (Some(0), json[at + 1..].to_vec()), "after {id}");
    }
    let topic = |path: &str| {
        lines(&log(&["log", "dump", "messages", "--format", "json", "--data", &folder, "--topic", path]).output)
    };
    let of_three = |event: &&Value| {
        event["patch"].as_array().and_then(|patch| patch.last()).is_some_and(|last| {
            let path = last["path"].as_str().expect("a path");
            path == "/messages/3" || path.starts_with("/messages/3/")
        })
    };
    assert_eq!(topic("/messages/3"), json.iter().filter(of_three).cloned().collect::<Vec<_>>());
    assert_eq!(topic("/messages"), json);
    assert!(topic("/messages/nobody").is_empty());
}

#[test]
fn what_a_dump_refuses() {
    let (server, _) = filled();
    let folder = data(&server);
    let last = lines(&log(&["log", "dump", "messages", "--format", "json", "--data", &folder]).output)
        .pop()
        .expect("an event");
    let last = last["id"].as_str().expect("an id");
    let (epoch, sequence) = split(last);
    for (arguments, code, said) in [
        (
            ["messages", "--after", &format!("{epoch}-{}", sequence + 1)],
            5,
            format!("ahead of the log; the last one is {last}"),
        ),
        (["messages", "--after", "000000-3"], 5, format!("of another epoch; the first one is {epoch}-0")),
        (["messages", "--after", "3"], 2, "not a position".into()),
        (["messages", "--topic", "/users"], 2, "/users isn't of the stream messages".into()),
        (["messages", "--format", "xml"], 2, "invalid value".into()),
        (["nobody", "--format", "sse"], 5, "has no stream nobody".into()),
    ] {
        let ended = log(&[&["log", "dump", "--data", &folder], &arguments[..]].concat());
        assert_eq!((ended.code, ended.output.as_str()), (Some(code), ""), "{arguments:?}: {}", ended.errors);
        assert!(ended.errors.contains(&said), "{arguments:?}: {}", ended.errors);
    }
    // What comes before damage is there, and then the place is named.
    let segment = server.segments("messages").swap_remove(1);
    let mut bytes = fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).expect("damage");
    let ended = log(&["log", "dump", "messages", "--data", &folder]);
    assert!(ended.code == Some(1) && ended.errors.contains(&*segment.to_string_lossy()), "{}", ended.errors);
    assert!(ended.output.starts_with("id: ") && ended.output.ends_with('\n'));
}

#[test]
fn whoever_has_seen_enough_of_a_dump_may_go() {
    let mut server = Server::start();
    let text = "x".repeat(500_000);
    for n in 0..8 {
        server.put(&format!("/messages/{n}"), &json!({"t": text}).to_string()).expect(201);
    }
    server.stop();
    let script = r#""$0" log dump messages --data "$1" | head -n 1; echo "${PIPESTATUS[0]}""#;
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_fantail"), &data(&server)]);
    let ended = crate::kit::Ended::of(&mut shell);
    assert_eq!(ended.errors, "");
    let mut lines = ended.output.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("id: ")), "{}", ended.output);
    assert_eq!(lines.next(), Some("0"));
}

#[test]
fn indexes_are_rebuilt() {
    let (mut server, map) = filled();
    let folder = data(&server);
    let indexes = server.files("messages", ".idx");
    let right: Vec<Vec<u8>> = indexes.iter().map(|file| fs::read(file).expect("an index")).collect();
    for round in 0..3 {
        for index in &indexes {
            match round {
                0 => fs::remove_file(index).expect("a file"),
                1 => fs::write(index, b"nonsense").expect("a file"),
                _ => fs::write(index, vec![0xff; 5000]).expect("a file"),
            }
        }
        assert_eq!(log(&["log", "verify", "--data", &folder]).code, Some(1));
        let ended = log(&["log", "rebuild-index", "--data", &folder, "messages"]);
        assert_eq!((ended.code, ended.output.lines().count()), (Some(0), indexes.len()), "{}", ended.output);
        for (index, right) in indexes.iter().zip(&right) {
            assert_eq!(fs::read(index).expect("an index"), *right);
        }
        assert_eq!(log(&["log", "verify", "--data", &folder]).code, Some(0));
    }
    let ended = log(&["log", "rebuild-index", "--data", &folder, "messages"]);
    assert_eq!((ended.code, ended.output), (Some(0), format!("{} indexes were right\n", indexes.len())));
    server.start_again();
    assert_eq!(server.json("/messages?as=map"), map);
    let ended = log(&["log", "rebuild-index", "--data", &folder]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(3), ""));
    assert!(ended.errors.contains(&format!("in use by another server, process {}", server.pid())), "{}", ended.errors);
    server.stop();
    // Damage isn't indexed.
    let segment = server.segments("messages").swap_remove(0);
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[100] ^= 1;
    fs::write(&segment, bytes).expect("damage");
    let ended = log(&["log", "rebuild-index", "--data", &folder]);
    assert!(ended.code == Some(1) && ended.output.contains("byte 0: "), "{}", ended.output);
    assert_eq!(fs::read(&indexes[0]).expect("an index"), right[0]);
}
