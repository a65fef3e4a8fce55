//! Tables that are full: seats of a tier, connections of the server, conversations of a core.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kit::{Client, Follower, JSON, Server, request, wait_for};

/// How many seats a tier has when the server may have so many descriptors.
const DESCRIPTORS: u32 = 64;

fn follow(server: &Server, count: usize) -> Vec<Follower> {
    let mut followers: Vec<_> = (0..count).map(|_| server.follow("/messages")).collect();
    for follower in &mut followers {
        follower.opening();
    }
    followers
}

/// Writes some events, which each of the followers must get, in order.
#[track_caller]
fn check_served(writer: &mut Client, followers: &mut [Follower]) {
    for n in 0..5 {
        let answer = writer.ask("PUT", "/messages/1", &[JSON], &json!({"n": n}).to_string());
        let position = answer.expect_one_of(&[200, 201]).position().to_owned();
        for follower in &mut *followers {
            assert_eq!(follower.patch().0, position);
        }
        writer.ask("PUT", "/others/1", &[JSON], "{}").expect_one_of(&[200, 201]);
    }
}

#[test]
fn a_full_tier_is_followed_by_the_next_and_seats_are_reused() {
    let server = Server::with_descriptors(DESCRIPTORS, &["--cores", "1"]);
    let mut writer = server.connect();
    let mut followers = follow(&server, 200);
    wait_for("their seats", || (server.tiers() == [64, 64, 64, 8]).then_some(()));
    assert!(server.descriptors().len() < 30, "seats cost no descriptors: {:?}", server.descriptors());
    check_served(&mut writer, &mut followers);
    // Of every four, three leave: there is room in each tier.
    let mut index = 0;
    followers.retain(|_| {
        index += 1;
        index % 4 == 0
    });
    wait_for("free seats", || (server.seats() == 50).then_some(()));
    check_served(&mut writer, &mut followers);
    followers.extend(follow(&server, 150));
    wait_for("their seats", || (server.seats() == 200).then_some(()));
    assert_eq!(server.tiers().len(), 4);
    check_served(&mut writer, &mut followers);
}

/// The next ring can't be created while the server runs.
#[test]
fn a_tier_that_cannot_be_opened_costs_the_newcomer_only() {
    let server = Server::with_descriptors(DESCRIPTORS, &["--cores", "1"]);
    let mut writer = server.connect();
    let mut followers = follow(&server, DESCRIPTORS as usize);
    wait_for("their seats", || (server.tiers() == [64]).then_some(()));
    check_served(&mut writer, &mut followers);
    let descriptors = server.descriptors().len();
    // A table of 64 files is one too many now.
    server.limit_descriptors(DESCRIPTORS - 1);
    for _ in 0..3 {
        let mut newcomer = server.follow("/messages");
        newcomer.expect_gone();
    }
    check_served(&mut writer, &mut followers);
    wait_for("their descriptors", || (server.descriptors().len() <= descriptors).then_some(()));
    server.limit_descriptors(DESCRIPTORS);
    followers.extend(follow(&server, 3));
    wait_for("their seats", || (server.tiers() == [64, 3]).then_some(()));
    check_served(&mut writer, &mut followers);
}

/// A follower that got a seat, or none if it was told to come back.
#[track_caller]
fn try_to_follow(server: &Server) -> Option<Follower> {
    let mut follower = server.follow("/messages");
    match follower.rest_block() {
        Some(block) => {
            assert_eq!(block.event, "position");
            Some(follower)
        }
        None => {
            let rest = follower.rest();
            let ms = rest.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix('\n'));
            let ms: u64 = ms.and_then(|ms| ms.trim_end().parse().ok()).unwrap_or_else(|| panic!("{rest:?}"));
            assert!((1000..60_000).contains(&ms), "{ms}");
            None
        }
    }
}

#[test]
fn a_full_server_tells_newcomers_to_come_back_and_recovers_when_some_leave() {
    let server = Server::with(&["--cores", "1", "--max-connections", "20"]);
    let mut writer = server.connect();
    writer.ask("PUT", "/messages/1", &[JSON], "{}").expect(201);
    let mut followers = follow(&server, 19);
    for _ in 0..5 {
        assert!(try_to_follow(&server).is_none());
        for method in ["GET", "PUT"] {
            let answer = server.ask(method, "/messages/2", &[JSON], "");
            assert!(answer.needs("Retry-After").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{}", answer.head);
            assert_eq!(answer.needs("Connection"), "close");
            answer.problem(503);
        }
    }
    // Who is there is served as ever.
    check_served(&mut writer, &mut followers);
    writer.ask("GET", "/messages/2", &[], "").problem(404);

    followers.truncate(14);
    wait_for("free seats", || (server.seats() == 14).then_some(()));
    wait_for("an answer", || {
        let answer = server.get("/messages/1").expect_one_of(&[200, 503]);
        (answer.status == 200).then_some(())
    });
    while followers.len() < 19 {
        followers.push(wait_for("a seat", || try_to_follow(&server)));
    }
    assert!(try_to_follow(&server).is_none(), "full again");
    check_served(&mut writer, &mut followers);
}

/// A storm: whoever comes beyond the maximum doesn't cost those before it their place.
#[test]
fn as_many_are_let_in_at_once_as_there_is_room() {
    let server = Server::with(&["--cores", "1", "--max-connections", "20"]);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(request("SUBSCRIBE", "/messages", &[], b""));
    }
    let mut followers: Vec<_> = clients.into_iter().map(|client| Follower::on(client.socket)).collect();
    let seated = followers.iter_mut().filter_map(Follower::rest_block).count();
    assert_eq!(seated, 20);
}

/// How many of the connections the server has ended; those are the ones that came first.
#[track_caller]
fn ended(clients: &[Client]) -> usize {
    let is_ended = |client: &Client| match client.socket.peek(&mut [0; 1]) {
        Ok(0) => true,
        Ok(_) => panic!("nothing was asked"),
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    // From the last on: one that is ended meanwhile is no surprise.
    let kept = clients.iter().rev().take_while(|client| !is_ended(client)).count();
    let rest = &clients[..clients.len() - kept];
    assert!(rest.iter().all(is_ended), "who rests longest goes first");
    rest.len()
}

#[test]
fn silent_connections_make_room_when_a_core_has_as_many_as_it_may() {
    let server = Server::with_descriptors(DESCRIPTORS, &["--cores", "1"]);
    let mut followers = follow(&server, 10);
    let mut under_way = server.connect();
    under_way.send(
        "PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Expect: 100-continue\r\n\r\n",
    );
    under_way.answer("PUT").expect(100);
    let silent: Vec<_> = (0..300)
        .map(|_| {
            let client = server.connect();
            client.socket.set_nonblocking(true).expect("a socket");
            client
        })
        .collect();
    // Half of the descriptors are for conversations; the last of them is kept free.
    let kept = DESCRIPTORS as usize / 2;
    wait_for("some to be dismissed", || (ended(&silent) >= silent.len() - kept).then_some(()));
    let (before, began) = (server.cpu_time(), Instant::now());
    for _ in 0..20 {
        server.get("/others").expect(200);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "20 requests took {:?}", began.elapsed());
    assert!(server.cpu_time() - before < Duration::from_secs(1), "it spins");
    // What was begun isn't dismissed.
    under_way.send("{}");
    let position = under_way.answer("PUT").expect(201).position().to_owned();
    for follower in &mut followers {
        assert_eq!(follower.patch().0, position);
    }
    assert!(ended(&silent) >= silent.len() - kept - 1, "they are gone for good");
}
