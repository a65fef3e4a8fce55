//! Disks that are full, fail, or can't be written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::kit::{Ended, Follower, JSON, Medium, Server, fold, split};

/// Threads that write at the same time.
const WRITERS: usize = 4;

/// What a writer was answered before it was refused.
struct Written {
    /// The document of each target.
    documents: BTreeMap<String, Value>,
    /// The position of its newest answer.
    position: String,
}

/// Writes until it is refused, and checks the refusal.
fn write_until_refused(server: &Server, writer: usize) -> Written {
    let mut client = server.connect();
    let mut written = Written { documents: BTreeMap::new(), position: "0-0".into() };
    for n in 0.. {
        let target = format!("/messages/{writer}-{}", n % 5);
        let body = json!({"n": n, "t": format!("{n:04}").repeat(200)});
        let answer = client.ask("PUT", &target, &[JSON], &body.to_string());
        if answer.status == 503 {
            assert!(answer.needs("Retry-After").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{}", answer.head);
            let problem = answer.problem(503);
            assert!(
                problem["detail"].as_str().is_some_and(|detail| detail.to_lowercase().contains("no space left")),
                "{problem}"
            );
            break;
        }
        let answer = answer.expect_one_of(&[200, 201]);
        written.documents.insert(target, answer.json());
        written.position = answer.position().to_owned();
    }
    written
}

/// That the server shows what was answered and nothing else, by documents, by maps and to followers; returns the position.
#[track_caller]
fn check_shown(server: &Server, written: &[Written]) -> String {
    let expected: BTreeMap<_, _> = written.iter().flat_map(|written| &written.documents).collect();
    let map = server.get("/messages?as=map").expect(200);
    assert_eq!(map.json()["messages"].as_object().expect("documents").len(), expected.len());
    for (target, document) in expected {
        assert_eq!(server.json(target), *document);
    }
    let newest = written.iter().map(|written| split(&written.position).1).max();
    assert_eq!(Some(split(map.position()).1), newest, "nothing is shown that wasn't answered");
    let mut follower = server.follow("/messages?from=earliest");
    follower.opening();
    let mut value = json!({});
    assert_eq!(Some(follower.fold_until(&mut value, map.position())), newest);
    assert_eq!(value, map.json());
    map.position().to_owned()
}

/// The disk is full, and then it isn't: small segments and checkpoints let it happen at other places, too.
#[test]
fn a_full_disk_refuses_writes_until_there_is_room_and_a_restart() {
    let small = ["--segment-bytes", "16384", "--checkpoint-bytes", "65536"];
    for arguments in [&[][..], &small[..2], &small] {
        let mut server = Server::to_be_started(arguments);
        server.set_medium(Some(Medium::small(&server.data(), 1024)));
        server.start_again();
        let mut live = server.follow("/messages");
        live.opening();
        let written: Vec<_> = thread::scope(|scope| {
            let server = &server;
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| scope.spawn(move || write_until_refused(server, writer))).collect();
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        assert!(written.iter().all(|written| !written.documents.is_empty()));
        let position = check_shown(&server, &written);
        let mut value = json!({});
        live.fold_until(&mut value, &position);
        assert_eq!(value, server.json("/messages?as=map"));
        // It stays so, whether there is room or not, until somebody looks at the log.
        server.medium().resize(8192);
        for body in ["{}", r#"{"t":"small"}"#] {
            server.put("/messages/small", body).problem(503);
        }
        server.delete("/messages/0-0").problem(503);
        assert_eq!(check_shown(&server, &written), position);
        assert!(server.log().contains("refuses writes until restart"), "{}", server.log());

        server.kill();
        server.start_again();
        check_shown(&server, &written);
        let mut resumed = server.resume("/messages", &position);
        assert_eq!(resumed.opening(), position, "a position that was shown is served");
        let next = server.put("/messages/small", "{}").expect(201).position().to_owned();
        assert_eq!(resumed.patch().0, next);
        assert_eq!(split(&next).1, split(&position).1 + 1);
    }
}

/// A start may need room itself, to cut a torn tail: without, it ends and says what it lacks. Nothing is lost by it.
#[test]
fn a_start_on_a_full_disk_serves_or_says_what_it_lacks() {
    let mut server = Server::to_be_started(&["--segment-bytes", "16384"]);
    server.set_medium(Some(Medium::small(&server.data(), 512)));
    server.start_again();
    let written = [write_until_refused(&server, 0)];
    server.kill();
    // What is left, to the last byte.
    let fill = "head -c 1m /dev/zero >\"$0/ballast\"";
    server
        .medium()
        .command("sh")
        .args(["-c", fill])
        .arg(server.data())
        .stderr(Stdio::null())
        .status()
        .expect("a shell");
    for _ in 0..3 {
        match server.try_to_start() {
            Ok(()) => {
                check_shown(&server, &written);
                server.kill();
            }
            Err(code) => {
                assert_eq!(code, Some(1));
                assert!(server.log().contains("No space left on device"), "{}", server.log());
            }
        }
    }
    server.medium().resize(8192);
    server.start_again();
    check_shown(&server, &written);
    server.put("/messages/small", "{}").expect(201);
}

/// A device that refuses a synced write in the middle of a log: what never became durable isn't answered, shown or kept. (That
/// what a failed sync has left in memory isn't believed later, the simulator shows.)
#[test]
fn a_device_that_fails_is_a_failed_write() {
    let mut server = Server::with(&["--segment-bytes", "4096", "--cores", "1"]);
    let mut client = server.connect();
    let mut follower = server.follow("/messages");
    follower.opening();
    client.ask("PUT", "/messages/0", &[JSON], "{}").expect(201);
    // Whichever event begins the next segment, that is /dev/full: it opens, and every write is ENOSPC.
    let traps: Vec<_> = (2..100).map(|first| server.stream("messages").join(format!("{first:020}.sse"))).collect();
    traps.iter().for_each(|trap| symlink("/dev/full", trap).expect("a link"));
    let mut last = String::new();
    let problem = loop {
        let answer =
            client.ask("PUT", "/messages/0", &[JSON], &json!({"after": last, "t": "x".repeat(500)}).to_string());
        match answer.status {
            200 => last = answer.position().to_owned(),
            _ => break answer.problem(503),
        }
    };
    assert!(split(&last).1 > 3, "{last}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("No space left")), "{problem}");
    let map = server.get("/messages?as=map").expect(200);
    assert_eq!(map.position(), last);
    let mut value = json!({});
    follower.fold_until(&mut value, &last);
    assert_eq!(value, map.json());
    client.ask("PUT", "/messages/1", &[JSON], "{}").problem(503);
    client.ask("PUT", "/others/1", &[JSON], "{}").expect(201);
    let manifest = server.stream("messages").join("manifest");
    crate::kit::wait_for("the note that it failed", || {
        fs::read_to_string(&manifest).expect("a manifest").contains("state failed").then_some(())
    });
    drop(client);
    server.kill();
    traps.iter().for_each(|trap| fs::remove_file(trap).expect("a link"));
    server.start_again();
    let after = server.get("/messages?as=map").expect(200);
    assert_eq!((after.json(), split(after.position())), (map.json(), split(&last)));
    let next = server.put("/messages/1", "{}").expect(201).position().to_owned();
    assert_eq!(split(&next).1, split(&last).1 + 1);
    assert_ne!(split(&next).0, split(&last).0, "a failed write opens an epoch");
    let mut resumed = server.resume("/messages", &last);
    assert_eq!(resumed.opening(), last);
    assert_eq!(resumed.patch().0, next);
}

/// That the server doesn't start, and says which folder is at fault and why.
#[track_caller]
fn check_refused(command: &mut Command, server: &Server, why: &str) {
    let ended = Ended::of(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{}", ended.errors);
    let line =
        ended.errors.lines().find(|line| line.starts_with("fantail: ")).unwrap_or_else(|| panic!("{}", ended.errors));
    assert!(line.contains(why) && line.contains(&*server.data().to_string_lossy()), "{line}");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_refused() {
    let mut server = Server::start();
    let position = server.put("/messages/1", r#"{"n":1}"#).expect(201).position().to_owned();
    server.stop();
    server.set_medium(Some(Medium::read_only(&server.data())));
    check_refused(&mut server.command(), &server, "Read-only file system");
    // A folder that would have to be made there.
    let mut command = server.medium().command(env!("CARGO_BIN_EXE_fantail"));
    command.args(["--admin", "off", "--listen", "127.0.0.1:0", "--data"]).arg(server.data().join("new"));
    check_refused(&mut command, &server, "Read-only file system");
    server.set_medium(None);
    server.start_again();
    assert_eq!(server.get("/messages/1").position(), position);
    let mut follower: Follower = server.resume("/messages", &position);
    assert_eq!(follower.opening(), position);
    let next = server.put("/messages/1", r#"{"n":2}"#).expect(200);
    let (id, operations) = follower.patch();
    assert_eq!(id, next.position());
    let mut value = json!({"messages": {"1": {"id": "1", "n": 1}}});
    fold(&mut value, &operations.to_string());
    assert_eq!(value, server.json("/messages?as=map"));
}

/// Root may do everything, unless it has given that up.
#[test]
fn a_data_folder_without_permission_is_refused() {
    let mut server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    server.stop();
    for folder in [server.data(), server.stream("messages")] {
        let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("it is ours");
        set(0o000);
        let start = server.command();
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-dac_override,-dac_read_search").arg(start.get_program()).args(start.get_args());
        check_refused(&mut command, &server, "Permission denied");
        set(0o700);
    }
    server.start_again();
    server.get("/messages/1").expect(200);
}
