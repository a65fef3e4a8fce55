//! `fantail log backup` and `restore`: copies while servers write, and what becomes of cursors.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{Client, JSON, Server, fold, log, split, wait_for};

/// Folders for backups and what is made of them.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::Builder::new().prefix("fantail-").tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
}

fn data(server: &Server) -> String {
    server.data().to_string_lossy().into_owned()
}

#[track_caller]
fn done(arguments: &[&str]) -> String {
    let ended = log(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}:\n{}{}", ended.output, ended.errors);
    ended.output
}

#[track_caller]
fn refused(arguments: &[&str], code: i32, said: &str) {
    let ended = log(arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}:\n{}{}", ended.output, ended.errors);
    assert!(ended.errors.contains(said), "{arguments:?}: {}", ended.errors);
}

/// The bytes of a stream's log.
fn dump(stream: &str, data: &str) -> String {
    done(&["log", "dump", stream, "--data", data])
}

/// A server on a backup that was restored.
fn restored(backup: &str, arguments: &[&str]) -> Server {
    let folder = tempfile::Builder::new().prefix("fantail-").tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    done(&["log", "restore", backup, "--data", &data]);
    Server::on(folder, arguments)
}

const STREAMS: [&str; 3] = ["a", "b", "c"];

/// What a backup has is a beginning of the log, it has all that was answered before, and it is served as it was.
#[test]
fn backups_while_a_server_writes() {
    let arguments = ["--segment-bytes", "8192", "--checkpoint-bytes", "1"];
    let mut server = Server::with(&arguments);
    let place = Place::new();
    let is_over = AtomicBool::new(false);
    let answered: [AtomicU64; 3] = Default::default();
    let backups: Vec<(String, Vec<u64>)> = thread::scope(|scope| {
        for (stream, answered) in STREAMS.iter().zip(&answered) {
            let (is_over, address) = (&is_over, server.address());
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in (0..).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                    let key = format!("k{n}");
                    let body = json!({"n": n, "t": "x".repeat(n % 200)}).to_string();
                    let fields = [JSON, ("Idempotency-Key", key.as_str())];
                    let answer = client.ask("PUT", &format!("/{stream}/{}", n % 20), &fields, &body);
                    answered.store(split(answer.expect_one_of(&[200, 201]).position()).1, Ordering::Release);
                }
            });
        }
        wait_for("each stream", || answered.iter().all(|last| last.load(Ordering::Acquire) > 20).then_some(()));
        let taken = (0..6).map(|number| {
            let backup = place.text(&format!("backup{number}"));
            let before = answered.iter().map(|last| last.load(Ordering::Acquire)).collect();
            let ended = log(&["log", "backup", &backup, "--data", &data(&server)]);
            (backup, before, ended)
        });
        let taken: Vec<_> = taken.collect();
        is_over.store(true, Ordering::Relaxed);
        let check = |(backup, before, ended): (String, Vec<u64>, crate::kit::Ended)| {
            assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
            assert_eq!(ended.output, done(&["log", "verify", "--data", &backup]), "it says what there is");
            (backup, before)
        };
        taken.into_iter().map(check).collect()
    });
    let whole = STREAMS.map(|stream| dump(stream, &data(&server)));
    server.stop();
    for (backup, before) in &backups {
        let copy = restored(backup, &arguments);
        for ((stream, whole), before) in STREAMS.iter().zip(&whole).zip(before) {
            let copied = dump(stream, backup);
            assert!(whole.starts_with(&copied), "{backup}: {stream}");
            let map = copy.get(&format!("/{stream}?as=map")).expect(200);
            let mut value = json!({});
            let mut follower = copy.follow(&format!("/{stream}?from=earliest"));
            follower.opening();
            let mut last = 0;
            for line in copied.lines().filter_map(|line| line.strip_prefix("data: ")) {
                let (id, operations) = follower.patch();
                last += 1;
                assert_eq!((split(&id).1, operations.to_string()), (last, parsed(line).to_string()));
                fold(&mut value, line);
            }
            assert_eq!((map.json(), split(map.position()).1), (value, last), "{backup}: {stream}");
            assert!(last >= *before, "{backup}: {stream} has {last} of {before} that were answered");
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn cursors_know_what_a_restore_took_back() {
    let server = Server::start();
    let place = Place::new();
    let put =
        |n: usize| server.put(&format!("/messages/{}", n % 3), &json!({"n": n}).to_string()).position().to_owned();
    let keyed = [JSON, ("Idempotency-Key", "a key")];
    let kept: Vec<String> = (0..5).map(put).collect();
    let first = server.ask("POST", "/messages", &keyed, r#"{"n":5}"#).expect(201);
    done(&["log", "backup", &place.text("backup"), "--data", &data(&server)]);
    let lost: Vec<String> = (6..9).map(put).collect();

    let mut copy = restored(&place.text("backup"), &[]);
    let last = copy.get("/messages").expect(200).position().to_owned();
    assert_eq!(split(&last).1, 6);
    let old = split(&kept[0]).0;
    for (at, cursor) in kept.iter().enumerate() {
        let mut follower = copy.resume("/messages", cursor);
        assert_eq!(follower.opening(), *cursor);
        for next in kept[at + 1..].iter().map(String::as_str).chain([first.position()]) {
            assert_eq!(follower.patch().0, next);
        }
    }
    for cursor in &lost {
        let block = copy.resume("/messages", cursor).next();
        assert!(block.event == "reset" && block.data.contains(r#""reason":"epoch""#), "{}", block.raw);
    }
    // A repeat of what the backup has is one.
    let again = copy.ask("POST", "/messages", &keyed, r#"{"n":5}"#).expect(201);
    assert_eq!(again.needs("Location"), first.needs("Location"));
    assert_eq!(split(again.position()).1, 6);
    let next = copy.put("/messages/0", r#"{"n":-1}"#).expect(200).position().to_owned();
    assert!(split(&next).1 == 7 && split(&next).0 != old, "{next}");
    let mut follower = copy.resume("/messages", first.position());
    follower.opening();
    assert_eq!(follower.patch().0, next);
    for cursor in &lost {
        assert_eq!(copy.resume("/messages", cursor).next().event, "reset");
    }
    // It stays so.
    copy.kill();
    copy.start_again();
    assert_eq!(copy.get("/messages").position(), next);
    done(&["log", "verify", "--data", &data(&copy)]);
}

/// A backup has the form of a data folder; who serves it as it is gets new epochs too.
#[test]
fn a_backup_that_is_served_as_it_is() {
    let server = Server::start();
    let place = Place::new();
    let kept = server.put("/messages/1", "{}").expect(201).position().to_owned();
    done(&["log", "backup", &place.text("data"), "--data", &data(&server)]);
    let lost = server.put("/messages/2", "{}").expect(201).position().to_owned();
    let copy = Server::on(place.folder, &[]);
    assert_eq!(split(copy.get("/messages").position()).1, 1);
    assert_eq!(copy.resume("/messages", &kept).opening(), kept);
    let next = copy.put("/messages/2", "{}").expect(201).position().to_owned();
    assert!(split(&next).1 == split(&lost).1 && next != lost);
    assert_eq!(copy.resume("/messages", &lost).next().event, "reset");
}

#[test]
fn named_streams_alone() {
    let server = Server::start();
    let place = Place::new();
    for target in ["/a/1", "/b%20c/1", "/d/1"] {
        server.put(target, "{}").expect(201);
    }
    let said = done(&["log", "backup", &place.text("backup"), "b c", "d", "--data", &data(&server)]);
    let names: Vec<&str> = said.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
    assert_eq!(names, ["b c", "d"]);
    let copy = restored(&place.text("backup"), &[]);
    assert_eq!(copy.json("/a"), json!({"a": []}));
    assert_eq!(copy.json("/b%20c/1"), json!({"id": "1"}));
    refused(&["log", "backup", &place.text("other"), "nobody", "--data", &data(&server)], 5, "has no stream nobody");
    assert!(!place.path("other").exists());
}

#[test]
fn what_is_refused() {
    let mut server = Server::start();
    let place = Place::new();
    server.put("/messages/1", "{}").expect(201);
    let (data, backup) = (data(&server), place.text("backup"));
    refused(&["log", "backup", &format!("{data}/backup"), "--data", &data], 1, "lies in the data folder");
    refused(&["log", "backup", &format!("{data}/a/b"), "--data", &data], 1, "lies in the data folder");
    refused(&["log", "backup", &data, "--data", &data], 1, "lies in the data folder");
    assert_eq!(server.files("", "").len(), 2, "nothing was made");
    fs::create_dir(place.path("full")).expect("a folder");
    fs::write(place.path("full/file"), "x").expect("a file");
    refused(&["log", "backup", &place.text("full"), "--data", &data], 1, "isn't empty");
    done(&["log", "backup", &backup, "--data", &data]);
    refused(&["log", "backup", &backup, "--data", &data], 1, "isn't empty");

    refused(&["log", "restore", &backup, "--data", &data], 3, "in use by another server");
    refused(&["log", "restore", &place.text("none"), "--data", &place.text("new")], 5, "there is no folder");
    server.stop();
    refused(&["log", "restore", &backup, "--data", &data], 1, "isn't empty");
    refused(&["log", "restore", &backup, "--data", &place.text("full")], 1, "isn't empty");
    assert_eq!(fs::read_dir(place.path("full")).expect("a folder").count(), 1, "not even a lock was made");

    // Damage in the backup: nothing is restored.
    let segment = place.path("backup/messages/00000000000000000001.sse");
    let bytes = fs::read(&segment).expect("a segment");
    let mut damaged = bytes.clone();
    damaged[40] ^= 1;
    fs::write(&segment, damaged).expect("damage");
    refused(&["log", "restore", &backup, "--data", &place.text("new")], 1, "nothing was restored");
    assert!(!place.path("new").exists());
    fs::write(&segment, bytes).expect("as it was");

    // A backup that was broken off is none, and a restore that was broken off is no data folder.
    fs::write(place.path("backup/@partial"), "").expect("a mark");
    refused(&["log", "restore", &backup, "--data", &place.text("new")], 1, "isn't a whole backup");
    fs::remove_file(place.path("backup/@partial")).expect("a mark");
    done(&["log", "restore", &backup, "--data", &place.text("new")]);
    fs::write(place.path("new/@partial"), "").expect("a mark");
    refused(&["log", "verify", "--data", &place.text("new")], 1, "1 flaw in ");
    refused(&["serve", "--listen", "127.0.0.1:0", "--data", &place.text("new")], 1, "didn't end");
    fs::remove_file(place.path("new/@partial")).expect("a mark");
    done(&["log", "verify", "--data", &place.text("new")]);
}

#[test]
fn damage_is_not_backed_up() {
    let mut server = Server::with(&["--segment-bytes", "4096"]);
    let place = Place::new();
    for n in 0..60 {
        server.put(&format!("/messages/{n}"), &json!({"t": "x".repeat(200)}).to_string()).expect(201);
    }
    server.put("/users/1", "{}").expect(201);
    server.stop();
    let segment = server.segments("messages").swap_remove(1);
    let mut bytes = fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).expect("damage");
    let name = segment.to_string_lossy().into_owned();
    refused(&["log", "backup", &place.text("all"), "--data", &data(&server)], 1, &format!("{name} byte "));
    refused(&["log", "restore", &place.text("all"), "--data", &place.text("new")], 1, "isn't a whole backup");
    done(&["log", "backup", &place.text("users"), "users", "--data", &data(&server)]);
    done(&["log", "restore", &place.text("users"), "--data", &place.text("new")]);
    let keys = server.files("users", ".keys").pop().expect("keys");
    fs::write(keys, "nonsense\n").expect("damage");
    refused(&["log", "backup", &place.text("keys"), "users", "--data", &data(&server)], 1, ".keys byte 0: ");
}

/// A group that a crash tore was never answered.
#[test]
fn a_torn_tail_is_left_out() {
    let mut server = Server::start();
    let place = Place::new();
    for n in 0..3 {
        server.put(&format!("/messages/{n}"), "{}").expect(201);
    }
    server.kill();
    let segment = server.segments("messages").pop().expect("a segment");
    let bytes = fs::read(&segment).expect("a segment");
    fs::write(&segment, &bytes[..bytes.len() - 1]).expect("a tear");
    let said = done(&["log", "backup", &place.text("torn"), "--data", &data(&server)]);
    assert!(said.contains("of a group that isn't whole left out; 2 events, "), "{said}");
    done(&["log", "verify", "--data", &place.text("torn")]);
    // A bit that flipped is no tear: what was answered would be missing.
    let mut flipped = bytes.clone();
    flipped[bytes.len() - 20] ^= 1;
    fs::write(&segment, flipped).expect("damage");
    refused(&["log", "backup", &place.text("flipped"), "--data", &data(&server)], 1, " byte ");
}

/// As retention does it, while it is copied: the oldest segment goes, its index after it. Whatever is missed, what is in the
/// backup is whole.
#[test]
fn segments_that_go_while_they_are_copied() {
    let mut server = Server::with(&["--segment-bytes", "4096", "--checkpoint-bytes", "1"]);
    let place = Place::new();
    let put = |n: usize| {
        let body = json!({"n": n, "t": "x".repeat(500 + n % 9)}).to_string();
        server.put(&format!("/messages/{}", n % 7), &body).expect_one_of(&[200, 201]);
    };
    (0..300).for_each(put);
    let number =
        |file: &PathBuf| file.file_name().expect("a name").to_string_lossy()[..20].parse::<u64>().expect("a number");
    let mut n = 300;
    wait_for("a checkpoint that reaches the newest segment", || {
        put(n);
        n += 1;
        let newest = server.segments("messages").pop().expect("a segment");
        let checkpoints = server.files("messages", ".snapshot.sse");
        checkpoints.iter().any(|file| number(file) + 1 >= number(&newest)).then_some(())
    });
    let map = server.json("/messages?as=map");
    server.stop();
    let mut segments = server.segments("messages");
    segments.pop();
    assert!(segments.len() > 20, "{}", segments.len());
    let copied = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for (gone, segment) in segments.iter().enumerate() {
                // Two go per backup, so that some go under it.
                wait_for("a backup", || (gone as u64 <= 2 * copied.load(Ordering::Acquire)).then_some(()));
                for extension in ["sse", "idx", "keys"] {
                    fs::remove_file(segment.with_extension(extension)).expect("a file");
                }
            }
        });
        for round in 0..segments.len() / 2 + 1 {
            let backup = place.text(&format!("{round}"));
            done(&["log", "backup", &backup, "--data", &data(&server)]);
            copied.fetch_add(1, Ordering::Release);
            done(&["log", "verify", "--data", &backup]);
        }
    });
    let backup = place.text("last");
    let said = done(&["log", "backup", &backup, "--data", &data(&server)]);
    assert!(said.contains("1 segment, "), "{said}");
    assert_eq!(restored(&backup, &[]).json("/messages?as=map"), map);
    // A stream that is deleted isn't there any more.
    fs::remove_dir_all(server.stream("messages")).expect("a folder");
    assert_eq!(done(&["log", "backup", &place.text("empty"), "--data", &data(&server)]), "");
    refused(&["log", "backup", &place.text("none"), "messages", "--data", &data(&server)], 5, "has no stream messages");
}
