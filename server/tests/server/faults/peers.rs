//! Peers that say too much, or are gone in the middle.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use crate::kit::{Follower, JSON, MERGE_PATCH, Random, Server, connect_narrow, request, reset, split, wait_for};

/// Subscribes with more bytes behind the request, in the same packet.
fn follow_saying(server: &Server, more: &[u8]) -> Follower {
    let mut client = server.connect();
    let mut bytes = request("SUBSCRIBE", "/messages", &[], b"");
    bytes.extend_from_slice(more);
    client.send(bytes);
    let mut follower = Follower::on(client.socket);
    follower.opening();
    follower
}

#[test]
fn a_follower_that_sends_a_kibibyte_gets_every_event() {
    let server = Server::start();
    let mut writer = server.connect();
    let mut follower = follow_saying(&server, &[b'x'; 500]);
    for n in 0..52 {
        follower.send(b"ten bytes\n");
        let answer = writer.ask("PUT", "/messages/1", &[JSON], &json!({"n": n}).to_string());
        assert_eq!(follower.patch().0, answer.expect_one_of(&[200, 201]).position());
    }
}

#[test]
fn requests_behind_a_request_to_follow_are_not_carried_out() {
    let server = Server::start();
    let pipelined = request("PUT", "/messages/pipelined", &[JSON], b"{}");
    let mut follower = follow_saying(&server, &pipelined);
    follower.send(&request("PUT", "/messages/later", &[JSON], b"{}"));
    follower.send(&request("GET", "/messages", &[], b""));
    // No answer comes either: the first that does is the event.
    let position = server.put("/messages/1", "{}").expect(201).position().to_owned();
    let (id, operations) = follower.patch();
    assert_eq!((id, &operations[1]["path"]), (position, &json!("/messages/1")));
    assert_eq!(server.json("/messages"), json!({"messages": [{"id": "1"}]}));
}

#[test]
fn a_flood_behind_a_request_to_follow_closes_it() {
    let server = Server::start();
    let mut quiet = server.follow("/messages");
    quiet.opening();
    let mut client = server.connect();
    client.send(request("SUBSCRIBE", "/messages", &[], b""));
    // It may be closed before all of it is sent.
    client.send_some(vec![b'x'; 1 << 20]);
    Follower::on(client.socket).expect_gone();
    server.put("/messages/1", "{}").expect(201);
    quiet.patch();
}

/// Subscribes with too much, some of it in the packet of the request.
#[track_caller]
fn check_closed(target: &str) {
    let server = Server::start();
    for (with_it, later) in [(1025, 0), (14_000, 0), (600, 600)] {
        let mut client = server.connect();
        let mut bytes = request("SUBSCRIBE", target, &[], b"");
        bytes.resize(bytes.len() + with_it, b'x');
        client.send(bytes);
        let mut follower = Follower::on(client.socket);
        follower.send(&vec![b'x'; later]);
        follower.expect_gone();
    }
}

#[test]
fn more_than_a_kibibyte_in_the_packet_of_a_request_to_follow_closes_it() {
    check_closed("/messages");
}

#[test]
fn more_than_a_kibibyte_in_the_packet_of_a_request_for_several_streams_closes_it() {
    check_closed("/-/events?topic=/messages&topic=/others");
}

/// Followers and readers reset their connections while megabytes are being sent to them.
#[test]
fn resets_in_the_middle_of_sends_cost_nobody_else_a_byte() {
    const STAYING: usize = 10;
    const GOING: usize = 300;
    const EVENTS: u64 = 120;
    let server = Server::start();
    let mut random = Random::seeded();
    let mut writer = server.connect();
    let text = "x".repeat(60_000);
    let mut write = |n: u64| {
        let body = json!({"n": n, "t": text}).to_string();
        let answer = writer.ask("PUT", &format!("/messages/{}", n % 20), &[JSON], &body);
        split(answer.expect_one_of(&[200, 201]).position()).1
    };
    for n in 0..40 {
        write(n);
    }
    let mut staying: Vec<_> = (0..STAYING).map(|_| server.follow("/messages")).collect();
    let first = split(&staying.iter_mut().map(Follower::opening).max().expect("some")).1 + 1;
    wait_for("their seats", || (server.seats() == STAYING).then_some(()));
    let descriptors = server.descriptors().len();

    let mut going: Vec<_> = (0..GOING)
        .map(|n| {
            let mut socket = connect_narrow(server.address());
            let request = match n % 8 {
                0 => request("GET", "/messages?as=map", &[], b""),
                1 => request("SUBSCRIBE", "/messages?from=snapshot", &[], b""),
                2 => request("SUBSCRIBE", "/messages?from=earliest", &[], b""),
                3 => request("SUBSCRIBE", "/-/events?topic=/messages&topic=/others&from=earliest", &[], b""),
                4 => request("SUBSCRIBE", "/messages/7", &[], b""),
                _ => request("SUBSCRIBE", "/messages", &[], b""),
            };
            socket.write_all(&request).expect("the server reads");
            socket
        })
        .collect();
    // Whoever got the first bytes is being sent the others: they are more than the sockets hold.
    for socket in &going {
        assert!(socket.peek(&mut [0; 1]).expect("an answer") > 0);
    }
    let last = first + EVENTS - 1;
    thread::scope(|scope| {
        for follower in &mut staying {
            scope.spawn(move || {
                for sequence in first..=last {
                    let (id, operations) = follower.patch();
                    assert_eq!(split(&id).1, sequence, "each once, in order");
                    assert!(operations.is_array());
                }
            });
        }
        for n in 0..EVENTS {
            assert_eq!(write(40 + n), first + n);
            // All are gone some events before the last.
            let leaving = GOING as u64 / (EVENTS - 20) + random.below(2);
            for _ in 0..leaving.min(going.len() as u64) {
                reset(going.swap_remove(random.below(going.len() as u64) as usize));
            }
        }
        going.drain(..).for_each(reset);
    });
    wait_for("the seats of those who went", || (server.seats() == STAYING).then_some(()));
    wait_for("their descriptors", || (server.descriptors().len() <= descriptors).then_some(()));
    let next = write(0);
    staying.iter_mut().for_each(|follower| assert_eq!(split(&follower.patch().0).1, next));
}

#[test]
fn resets_before_an_answer_leave_nothing_behind() {
    let server = Server::start();
    let mut random = Random::seeded();
    let mut writer = server.connect();
    writer.ask("PUT", "/messages/1", &[JSON], "{}").expect(201);
    let mut follower = server.follow("/messages");
    let opening = follower.opening();
    wait_for("its seat", || (server.seats() == 1).then_some(()));
    let descriptors = server.descriptors().len();
    let is_over = AtomicBool::new(false);
    let whole = [
        request("PUT", "/others/1", &[JSON], &[b' '; 3000]),
        request("GET", "/messages?as=map", &[], b""),
        request("SUBSCRIBE", "/messages", &[], b""),
        request("SUBSCRIBE", "/messages?from=snapshot", &[], b""),
        request("SUBSCRIBE", "/-/events?topic=/messages&topic=/others", &[], b""),
    ];
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                let answer = writer.ask("PATCH", "/messages/1", &[MERGE_PATCH], r#"{"n":[1]}"#);
                answer.expect(200);
                writer.ask("PUT", "/messages/1", &[JSON], "{}").expect(200);
            }
        });
        for n in 0..600 {
            let mut socket: TcpStream = server.connect().socket;
            let request = &whole[n % whole.len()];
            let cut = random.below(2 * request.len() as u64) as usize;
            socket.write_all(&request[..cut.min(request.len())]).expect("the server reads");
            reset(socket);
        }
        is_over.store(true, Ordering::Release);
    });
    wait_for("their seats", || (server.seats() == 1).then_some(()));
    wait_for("their descriptors", || (server.descriptors().len() <= descriptors).then_some(()));
    // The one who stayed has had everything.
    let last = server.put("/messages/1", r#"{"last":true}"#).expect(200).position().to_owned();
    let mut value = json!({"messages": {"1": {"id": "1"}}});
    let count = follower.fold_until(&mut value, &last);
    assert_eq!(count, split(&last).1 - split(&opening).1, "each once");
    assert_eq!(value, server.json("/messages?as=map"));
}
