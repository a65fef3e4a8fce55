//! No descriptor is left for those who come: `accept` fails with EMFILE.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Client, Ended, JSON, Server, request, wait_for};

/// What the server logs when it pauses.
const PAUSE: &str = "no connection can be accepted";

/// Watches for a second that nothing spins, neither the accepting nor the log.
#[track_caller]
fn check_calm(server: &Server) {
    let before = server.cpu_time();
    // Nothing is awaited: a server that spins would use most of a CPU meanwhile.
    thread::sleep(Duration::from_secs(1));
    let used = server.cpu_time() - before;
    assert!(used < Duration::from_millis(150), "{used:?} of CPU in a second");
    assert_eq!(server.log().matches(PAUSE).count(), 1, "{}", server.log());
}

/// Takes all but `left` of the descriptors that the server could use.
///
/// An accept that is under way may still take one more; that one isn't among those that can be used again.
fn leave_descriptors(server: &Server, left: u32) {
    let used = server.descriptors();
    let mut free = (0..).filter(|number| !used.contains(number));
    server.limit_descriptors(free.nth(left as usize).expect("numbers don't end"));
}

/// Sends a request but for the last byte of its body, and waits until it is under way.
fn begin(client: &mut Client, target: &str) {
    client.send(format!(
        "PUT {target} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Expect: 100-continue\r\n\r\n"
    ));
    client.answer("PUT").expect(100);
    client.send("{");
}

#[test]
fn accepting_pauses_without_descriptors_and_goes_on_with_them() {
    let server = Server::with(&["--cores", "1"]);
    let mut writer = server.connect();
    writer.ask("PUT", "/messages/1", &[JSON], "{}").expect(201);
    let mut seated = server.follow("/messages");
    seated.opening();
    // Followers of several streams keep their descriptors, and never rest.
    let mut holders: Vec<_> = (0..20).map(|_| server.follow("/-/events?topic=/messages&topic=/others")).collect();
    holders.iter_mut().for_each(|holder| drop(holder.opening()));
    begin(&mut writer, "/messages/2");
    leave_descriptors(&server, 0);
    let began = Instant::now();

    let silent = server.connect();
    wait_for("the pause", || server.log().contains(PAUSE).then_some(()));
    let mut waiting: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send(request("GET", "/messages/1", &[], b""));
    }
    check_calm(&server);
    for client in &waiting {
        client.socket.set_nonblocking(true).expect("a socket");
        let answer = client.socket.peek(&mut [0; 1]);
        assert_eq!(answer.expect_err("no answer yet").kind(), ErrorKind::WouldBlock);
        client.socket.set_nonblocking(false).expect("a socket");
    }
    // Who is there is served as ever.
    writer.send("}");
    let position = writer.answer("PUT").expect(201).position().to_owned();
    assert_eq!(seated.patch().0, position);
    holders.iter_mut().for_each(|holder| drop(holder.patch()));

    drop(holders);
    for client in &mut waiting {
        client.answer("GET").expect(200);
    }
    drop((waiting, silent));
    server.follow("/messages").opening();
    // It has tried some twenty times a second, and says how often once that is over.
    let failed: u128 = wait_for("the count", || {
        server.check_alive();
        let log = server.log();
        let count = log.split("failed=").nth(1)?.split([' ', '\n']).next()?;
        Some(count.parse().expect("a number"))
    });
    assert!((5..=began.elapsed().as_millis() / 50 + 1).contains(&failed), "{failed}");
}

/// Half requests have taken all descriptors: they end by their own bound, and then there is room.
#[test]
fn half_requests_hold_descriptors_no_longer_than_their_bound() {
    let server = Server::with(&["--cores", "1"]);
    let began = Instant::now();
    let mut halves: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in &mut halves {
        begin(client, "/messages/1");
    }
    leave_descriptors(&server, 0);
    let silent = server.connect();
    wait_for("the pause", || server.log().contains(PAUSE).then_some(()));
    check_calm(&server);
    server.get("/messages").expect(200);
    assert!((10..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    for client in &mut halves {
        client.answer("PUT").problem(408);
    }
    drop(silent);
    server.check_alive();
}

#[test]
fn silent_connections_make_room_when_no_descriptor_is_left() {
    let server = Server::with(&["--cores", "1"]);
    server.put("/messages/1", "{}").expect(201);
    leave_descriptors(&server, 5);
    let silent: Vec<_> = (0..30).map(|_| server.connect()).collect();
    let began = Instant::now();
    server.get("/messages/1").expect(200);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn a_server_with_too_few_descriptors_does_not_start_and_names_the_limit() {
    let mut server = Server::start();
    server.stop();
    for max in [12, 18, 24] {
        server.set_descriptors_max(Some(max));
        let ended = Ended::of(&mut server.command());
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{}", ended.errors);
        assert!(ended.errors.contains("ulimit"), "{}", ended.errors);
    }
    server.set_descriptors_max(None);
    server.start_again();
}

/// Peers that hold all descriptors cost a stream a write, never its log.
#[test]
fn a_stream_that_got_no_descriptor_for_a_segment_is_written_later() {
    let mut server = Server::with(&["--cores", "1"]);
    server.put("/messages/1", "{}").expect(201);
    let mut writer = server.connect();
    writer.ask("GET", "/messages/1", &[], "").expect(200);
    leave_descriptors(&server, 0);
    let refused = writer.ask("PUT", "/others/1", &[JSON], "{}");
    assert!(refused.needs("Retry-After").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{}", refused.head);
    refused.problem(503);
    writer.ask("GET", "/others/1", &[], "").problem(404);
    writer.ask("PUT", "/messages/1", &[JSON], r#"{"n":1}"#).expect(200);
    server.limit_descriptors(1000);
    let position = writer.ask("PUT", "/others/1", &[JSON], "{}").expect(201).position().to_owned();
    assert!(position.ends_with("-1"), "{position}");
    drop(writer);
    server.kill();
    server.start_again();
    server.get("/others/1").expect(200);
    server.get("/messages/1").expect(200);
}
