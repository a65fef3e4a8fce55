//! The same data after a stop, a crash, and with the other kinds of durability. Crashes under load are in `crash.rs`.

use serde_json::json;

use crate::kit::{Client, JSON, Server, fold, split};

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
        &["--admin", "x"],
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
    let output = command
        .args(["--admin", "off", "--listen", &address, "--data"])
        .arg(folder.path())
        .output()
        .expect("the binary runs");
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
