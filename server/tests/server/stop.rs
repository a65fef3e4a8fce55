//! SIGTERM: what is asked is answered or refused, nothing answered is lost, followers are told when to come back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kit::{Client, JSON, Random, Server, split};

#[test]
fn followers_get_a_last_retry_and_a_clean_end() {
    let mut server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let mut followers: Vec<_> = (0..50).map(|n| server.follow(["/messages", "/messages/1"][n % 2])).collect();
    for follower in &mut followers {
        follower.opening();
    }
    let began = Instant::now();
    server.signal(libc::SIGTERM);
    let mut retries = std::collections::HashSet::new();
    for follower in &mut followers {
        let rest = follower.rest();
        let retry = rest.trim_start_matches('\n').strip_prefix("retry: ");
        let ms = retry.and_then(|rest| rest.strip_suffix('\n')).unwrap_or_else(|| panic!("{rest:?}"));
        retries.insert(ms.parse::<u64>().expect("milliseconds"));
    }
    assert_eq!(server.ended(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    server.start_again();
    server.get("/messages/1").expect(200);
}

#[test]
fn an_idle_server_stops_at_once_even_with_connections() {
    let mut server = Server::start();
    let mut resting = server.connect();
    resting.ask("PUT", "/messages/1", &[JSON], "{}").expect(201);
    let mut silent = server.connect();
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    resting.expect_closed();
    silent.expect_closed();
}

#[test]
fn ctrl_c_stops_too() {
    let mut server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    server.signal(libc::SIGINT);
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn no_write_that_was_answered_is_lost() {
    let mut random = Random::seeded();
    let mut server = Server::start();
    for round in 0..4 {
        let address = server.address();
        let mut follower = server.follow("/messages?from=now");
        let opening = follower.opening();
        let delay = Duration::from_millis(20 + random.below(100));
        let (answered, seen) = std::thread::scope(|scope| {
            // It reads meanwhile: one whose socket is full is seen off with what it has.
            let begun = split(&opening).1;
            let reader = scope.spawn(move || {
                let mut seen = begun;
                while let Some(block) = follower.rest_block() {
                    let sequence = split(block.id.as_deref().expect("an id")).1;
                    assert_eq!(sequence, seen + 1);
                    seen = sequence;
                }
                seen
            });
            let threads: Vec<_> =
                (0..6).map(|writer| scope.spawn(move || write_until_refused(address, round, writer))).collect();
            std::thread::sleep(delay);
            server.signal(libc::SIGTERM);
            let written = threads.into_iter().flat_map(|thread| thread.join().expect("a writer"));
            (written.collect::<Vec<(u64, String)>>(), reader.join().expect("the reader"))
        });
        assert_eq!(server.ended(), Some(0), "{}", server.log());
        let newest = answered.iter().map(|(sequence, _)| *sequence).max().unwrap_or_default();
        assert!(newest > split(&opening).1, "round {round}: nothing was written");
        // The follower saw all of it before it was seen off.
        assert!(seen >= newest, "round {round}: the follower saw {seen} of {newest}");
        server.start_again();
        assert!(split(server.get("/messages?as=map").position()).1 >= newest);
        for (_, target) in answered.iter().rev().take(50) {
            server.get(target).expect(200);
        }
    }
}

/// Creates documents until the server refuses or goes away; returns what was answered.
fn write_until_refused(address: std::net::SocketAddr, round: usize, writer: usize) -> Vec<(u64, String)> {
    let mut answered = Vec::new();
    let Ok(mut socket) = TcpStream::connect(address) else { return answered };
    socket.set_read_timeout(Some(crate::kit::PATIENCE)).expect("a socket");
    for n in 0.. {
        let target = format!("/messages/{round}-{writer}-{n}");
        let request = format!(
            "PUT {target} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        if socket.write_all(request.as_bytes()).is_err() {
            break;
        }
        let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
        let is_over = loop {
            match socket.read(&mut chunk) {
                Ok(0) => break true,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "an answer or an end");
                    break true;
                }
                Ok(count) => input.extend(&chunk[..count]),
            }
            let text = String::from_utf8_lossy(&input).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let value =
                |name: &str| head.split(name).nth(1).and_then(|rest| rest.split("\r\n").next()).map(str::to_owned);
            let length: usize = value("Content-Length: ").and_then(|length| length.parse().ok()).expect("a length");
            if body.len() < length {
                continue;
            }
            match &head[9..12] {
                "201" => answered.push((split(&value("Last-Event-ID: ").expect("a position")).1, target.clone())),
                "503" => assert!(value("Retry-After: ").is_some(), "{head}"),
                other => panic!("{other}"),
            }
            break value("Connection: ").as_deref() == Some("close");
        };
        if is_over {
            break;
        }
    }
    answered
}

#[test]
fn newcomers_while_stopping_are_told_to_come_back_or_not_let_in() {
    let mut server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    // A request that isn't whole keeps the server from ending while others come.
    let mut slow = server.connect();
    let head = "PUT /messages/2 HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 2\r\n";
    slow.send(format!("{head}Expect: 100-continue\r\n\r\n"));
    slow.answer("PUT").expect(100);
    slow.send("{");
    let mut resting = server.connect();
    resting.ask("GET", "/messages/1", &[], "").expect(200);
    let address = server.address();
    server.signal(libc::SIGTERM);
    let began = Instant::now();
    let mut outcomes = Vec::new();
    while began.elapsed() < Duration::from_millis(500) {
        let Ok(mut socket) = TcpStream::connect(address) else {
            outcomes.push("refused");
            break;
        };
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a socket");
        let mut answer = Vec::new();
        let sent = socket.write_all(b"SUBSCRIBE /messages HTTP/1.1\r\nHost: t\r\n\r\n");
        let read = sent.and_then(|()| socket.read_to_end(&mut answer));
        let text = String::from_utf8_lossy(&answer);
        match read {
            Ok(_) if text.is_empty() => outcomes.push("closed"),
            // It came before its core was told of the signal: it has a seat, and keeps it until the end.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(text.contains("event: position"), "{text}");
                outcomes.push("seated");
            }
            Err(_) => outcomes.push("reset"),
            Ok(_) => {
                assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("text/event-stream"), "{text}");
                assert!(text.contains("\nretry: ") && text.ends_with('\n'), "{text}");
                outcomes.push("told");
            }
        }
    }
    assert!(!outcomes.is_empty());
    slow.send("}");
    let answer = slow.answer("PUT").expect_one_of(&[201, 503]);
    assert_eq!(answer.needs("Connection"), "close");
    assert_eq!(server.ended(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    server.start_again();
    server.get("/messages/2").expect(if answer.status == 201 { 200 } else { 404 });
}

#[test]
fn a_follower_that_reads_nothing_does_not_hold_up_the_end() {
    let mut server = Server::start();
    let mut client = Client::connect(server.address());
    client.send("SUBSCRIBE /messages HTTP/1.1\r\nHost: t\r\n\r\n");
    let text = "x".repeat(900_000);
    for n in 0..20 {
        server.put(&format!("/messages/{n}"), &json!({"t": text}).to_string()).expect(201);
    }
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
