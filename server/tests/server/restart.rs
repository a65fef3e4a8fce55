//! The same data after a stop, a crash, and with the other kinds of durability.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::kit::{Client, JSON, Random, Server, fold, split};

#[test]
fn documents_and_positions_are_the_same_after_a_stop() {
    let mut server = Server::start();
    let mut client = server.connect();
    let mut positions = Vec::new();
    for n in 0..50 {
        let target = format!("/users/{}", n % 9);
        let answer = client.ask("PUT", &target, &[JSON], &json!({"n": n, "t": "é"}).to_string());
        positions.push(answer.expect_one_of(&[200, 201]).position().to_owned());
    }
    positions.push(client.ask("DELETE", "/users/3", &[], "").expect(204).position().to_owned());
    client.ask("PUT", "/other/1", &[JSON], "{}").expect(201);
    let mut follower = server.follow("/users");
    follower.opening();
    let targets = ["/users", "/users?as=map", "/users/4", "/other", "/users?history=0-0&limit=1000"];
    let before = targets.map(|target| server.get(target).expect(200));
    drop(client);
    for round in 0..2 {
        match round {
            0 => server.stop(),
            _ => server.kill(),
        }
        server.start_again();
        for (target, before) in targets.iter().zip(&before) {
            let after = server.get(target).expect(200);
            assert_eq!(
                (after.text(), after.field("Last-Event-ID"), after.field("ETag")),
                (before.text(), before.field("Last-Event-ID"), before.field("ETag"))
            );
        }
        server.get("/users/3").problem(404);
        // A cursor of the first life is served, whichever it is.
        for (index, cursor) in positions.iter().enumerate() {
            let mut follower = server.resume("/users", cursor);
            assert_eq!(&follower.opening(), cursor);
            for later in &positions[index + 1..] {
                assert_eq!(&follower.patch().0, later);
            }
        }
    }
    let next = server.put("/users/1", r#"{"next":1}"#).expect(200);
    assert_eq!(split(next.position()), (split(&positions[0]).0, split(positions.last().expect("some")).1 + 1));
}

#[test]
fn a_follower_resumes_across_restarts_without_a_gap() {
    let mut server = Server::start();
    let mut value = json!({});
    let mut cursor = "0-0".to_owned();
    let mut sequence = 0;
    for round in 0..6 {
        let mut client = server.connect();
        let mut follower = server.resume("/messages", &cursor);
        follower.opening();
        let mut last = String::new();
        for n in 0..10 {
            let target = format!("/messages/{}", n % 4);
            let body = json!({"n": n, "round": round}).to_string();
            last = client.ask("PUT", &target, &[JSON], &body).expect_one_of(&[200, 201]).position().to_owned();
        }
        // The follower sees half of it before the server goes.
        for _ in 0..5 {
            let (id, operations) = follower.patch();
            assert_eq!(split(&id).1, sequence + 1);
            sequence += 1;
            fold(&mut value, &operations.to_string());
            cursor = id;
        }
        match round % 2 {
            0 => server.kill(),
            _ => server.stop(),
        }
        server.start_again();
        let mut follower = server.resume("/messages", &cursor);
        assert_eq!(follower.opening(), cursor);
        sequence += follower.fold_until(&mut value, &last);
        assert_eq!(split(&last).1, sequence);
        assert_eq!(value, server.json("/messages?as=map"));
        cursor = last;
    }
}

/// What one writer was told, and what it asked for last without an answer.
struct Ledger {
    answered: Option<Value>,
    asked: Option<Value>,
}

/// Kills the server while writers write, some rounds, and looks whether anything that was answered is gone.
///
/// This proves recovery, not the medium's durability: the kernel survives the process, so bytes that were written but not
/// synced are still there after a `kill -9`.
#[test]
fn a_crash_loses_nothing_that_was_answered() {
    const WRITERS: usize = 6;
    let mut random = Random::seeded();
    let mut server = Server::with(&["--segment-bytes", "16384", "--checkpoint-bytes", "8192"]);
    let mut ledgers: Vec<Ledger> = (0..WRITERS).map(|_| Ledger { answered: None, asked: None }).collect();
    let mut count = 0_u64;
    let mut last_known = 0;
    for round in 0..8 {
        let is_over = AtomicBool::new(false);
        let delay = std::time::Duration::from_millis(20 + random.below(150));
        let address = server.address();
        let newest = std::thread::scope(|scope| {
            let threads: Vec<_> = ledgers
                .iter_mut()
                .enumerate()
                .map(|(index, ledger)| {
                    let is_over = &is_over;
                    let start = count + (index as u64) * 100_000;
                    scope.spawn(move || write_until_gone(address, index, start, ledger, is_over))
                })
                .collect();
            // The kill is to come at a random moment of the writing.
            std::thread::sleep(delay);
            server.kill();
            is_over.store(true, Ordering::Release);
            threads.into_iter().map(|thread| thread.join().expect("a writer")).max().expect("writers")
        });
        count += 1_000_000;
        server.start_again();
        let list = server.get("/messages?as=map").expect(200);
        let (map, sequence) = (list.json(), split(list.position()).1);
        assert!(sequence >= newest.max(last_known), "round {round}: {sequence} after {newest} was answered");
        last_known = sequence;
        for (index, ledger) in ledgers.iter_mut().enumerate() {
            let found = map["messages"].get(index.to_string()).map(|document| document["n"].clone());
            let is_fine = found == ledger.answered || ledger.asked.is_some() && found == ledger.asked;
            assert!(
                is_fine,
                "round {round}: {found:?} is there, {:?} was answered, {:?} asked",
                ledger.answered, ledger.asked
            );
            *ledger = Ledger { answered: found, asked: None };
        }
        // The log tells the same as the documents, without a gap.
        let mut follower = server.follow("/messages?from=earliest");
        follower.opening();
        let mut value = json!({});
        if sequence > 0 {
            assert_eq!(follower.fold_until(&mut value, list.position()), sequence);
            assert_eq!(value, map);
        }
        let mut follower = server.follow("/messages?from=snapshot");
        let (mut value, position) = follower.snapshot();
        if position != list.position() {
            follower.fold_until(&mut value, list.position());
        }
        assert_eq!(value, map);
    }
    assert!(last_known > 20, "the writers hardly wrote");
}

/// Writes ever greater numbers into one document; returns the greatest sequence that was answered.
fn write_until_gone(
    address: std::net::SocketAddr,
    index: usize,
    start: u64,
    ledger: &mut Ledger,
    is_over: &AtomicBool,
) -> u64 {
    use std::io::{Read, Write};
    let mut newest = 0;
    let Ok(mut socket) = std::net::TcpStream::connect(address) else { return 0 };
    for n in start.. {
        if is_over.load(Ordering::Acquire) {
            break;
        }
        let body = json!({"n": n, "t": "z".repeat((n % 100) as usize)}).to_string();
        let request = format!(
            "PUT /messages/{index} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        ledger.asked = Some(n.into());
        if socket.write_all(request.as_bytes()).is_err() {
            break;
        }
        let mut input = Vec::new();
        let mut chunk = [0; 4096];
        let answer = loop {
            match socket.read(&mut chunk) {
                Ok(0) | Err(_) => break None,
                Ok(count) => input.extend(&chunk[..count]),
            }
            let text = String::from_utf8_lossy(&input).into_owned();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                if length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| rest.len() >= length) {
                    break Some(head.to_owned());
                }
            }
        };
        let Some(head) = answer else { break };
        assert!(head.starts_with("HTTP/1.1 20"), "{head}");
        let position =
            head.split("Last-Event-ID: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a position");
        newest = newest.max(split(position).1);
        *ledger = Ledger { answered: Some(n.into()), asked: None };
    }
    newest
}

#[test]
fn flush_and_none_keep_the_epoch_over_a_clean_stop_and_open_a_new_one_after_a_crash() {
    for durability in ["flush", "none"] {
        let mut server = Server::with(&["--durability", durability]);
        let put = |client: &mut Client, n: u64| {
            client
                .ask("PUT", "/messages/1", &[JSON], &json!({"n": n}).to_string())
                .expect_one_of(&[200, 201])
                .position()
                .to_owned()
        };
        let first = put(&mut server.connect(), 1);
        server.stop();
        server.start_again();
        let second = put(&mut server.connect(), 2);
        assert_eq!(split(&second), (split(&first).0, 2), "{durability}: a clean stop keeps the epoch");
        server.kill();
        server.start_again();
        let list = server.get("/messages?as=map").expect(200);
        if durability == "flush" {
            assert_eq!(split(list.position()).1, 2, "the kernel has it");
            assert_eq!(list.json()["messages"]["1"]["n"], 2);
        }
        let last = split(list.position()).1;
        let third = put(&mut server.connect(), 3);
        assert_ne!(split(&third).0, split(&first).0, "{durability}: a crash opens a new epoch");
        assert_eq!(split(&third).1, last + 1);
        // Up to where the new epoch began, the old one's cursors are served.
        let mut follower = server.resume("/messages", &first);
        assert_eq!(split(&follower.opening()).1, 1);
        if last == 2 {
            assert_eq!(follower.patch().0, second);
        }
        assert_eq!(follower.patch().0, third);
        let ahead = format!("{}-{}", split(&first).0, last + 1);
        let block = server.resume("/messages", &ahead).next();
        assert!(block.event == "reset" && block.data.contains("\"epoch\""), "{}", block.raw);
        // Sync from now on: the epoch stays over a crash.
        server.stop();
        server.set_arguments(&[]);
        server.start_again();
        let fourth = put(&mut server.connect(), 4);
        server.kill();
        server.start_again();
        assert_eq!(server.get("/messages").position(), fourth);
        assert_eq!(split(&put(&mut server.connect(), 5)), (split(&fourth).0, last + 3));
    }
}

#[test]
fn a_data_folder_serves_one_server() {
    let server = Server::start();
    let output = server.command().output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&server.pid().to_string()), "{error}");
    assert!(output.stdout.is_empty());
    server.check_alive();
}

#[test]
fn arguments_that_are_wrong() {
    let server = Server::start();
    for arguments in [
        &["--cores", "0"][..],
        &["--durability", "maybe"],
        &["--segment-bytes", "1"],
        &["--nonsense"],
        &["--listen", "x"],
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_fantail"))
            .args(arguments)
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    // An address that is taken by somebody else.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fantail"));
    let output = command.args(["--listen", &address, "--data"]).arg(folder.path()).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
    server.check_alive();
}

#[test]
fn the_number_of_cores_may_change() {
    let mut server = Server::with(&["--cores", "1"]);
    for n in 0..8 {
        server.put(&format!("/stream{n}/1"), &json!({"n": n}).to_string()).expect(201);
    }
    for cores in ["3", "2"] {
        server.stop();
        server.set_arguments(&["--cores", cores]);
        server.start_again();
        for n in 0..8 {
            assert_eq!(server.json(&format!("/stream{n}/1"))["n"], n);
        }
    }
}

/// Clients that repeat what wasn't answered under the same key write once, whatever the moment of the crash.
#[test]
fn a_repeat_after_a_crash_writes_once() {
    const WRITERS: usize = 4;
    let mut random = Random::seeded();
    let mut server = Server::with(&["--segment-bytes", "8192"]);
    // Per writer: how many keys were answered; the next one may have been sent already.
    let mut answered = [0_usize; WRITERS];
    for round in 0..6 {
        let address = server.address();
        let delay = std::time::Duration::from_millis(20 + random.below(80));
        std::thread::scope(|scope| {
            for (writer, count) in answered.iter_mut().enumerate() {
                scope.spawn(move || {
                    use std::io::{Read, Write};
                    let Ok(mut socket) = std::net::TcpStream::connect(address) else { return };
                    loop {
                        let key = format!("{writer}-{count}");
                        let body = json!({"key": key}).to_string();
                        let fields = [JSON, ("Idempotency-Key", key.as_str()), ("Connection", "keep-alive")];
                        if socket
                            .write_all(&crate::kit::request("POST", "/messages", &fields, body.as_bytes()))
                            .is_err()
                        {
                            return;
                        }
                        let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
                        while !input.ends_with(b"}") {
                            match socket.read(&mut chunk) {
                                Ok(0) | Err(_) => return,
                                Ok(bytes) => input.extend(&chunk[..bytes]),
                            }
                        }
                        assert!(input.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&input));
                        *count += 1;
                    }
                });
            }
            // The kill is to come at a random moment of the writing.
            std::thread::sleep(delay);
            server.kill();
        });
        server.start_again();
        // Everybody repeats the last ones, answered and not.
        for (writer, count) in answered.iter_mut().enumerate() {
            for n in count.saturating_sub(2)..=*count {
                let key = format!("{writer}-{n}");
                let body = json!({"key": key}).to_string();
                server.ask("POST", "/messages", &[JSON, ("Idempotency-Key", &key)], &body).expect(201);
            }
            *count += 1;
        }
        let map = server.get("/messages?as=map").expect(200);
        let documents = map.json()["messages"].as_object().expect("documents").len();
        assert_eq!(documents, answered.iter().sum::<usize>(), "round {round}");
        assert_eq!(split(map.position()).1, documents as u64);
    }
}
