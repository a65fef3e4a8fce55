//! What goes to one seat alone: heartbeats and positions, at a frame's boundary only.

use fantail_engine::protocol::sse;

use super::*;

fn seconds(hall: &mut Hall, count: usize) {
    for _ in 0..count {
        hall.audience.tick();
        hall.is_due = true;
        hall.rest();
    }
}

#[test]
fn silence_is_broken_once_in_twenty_seconds_and_never_by_all_at_once() {
    let mut hall = Hall::new(16);
    let mut clients: Vec<Client> = (0..40).map(|_| hall.seat(Filter::Whole, 0)).collect();
    hall.rest();
    seconds(&mut hall, 19);
    for client in &mut clients {
        assert!(client.says(b""), "nobody was silent for long enough");
    }
    let mut before = 0;
    for _ in 0..20 {
        seconds(&mut hall, 1);
        clients.iter_mut().for_each(Client::read);
        let now = clients.iter().map(|client| client.got.len() / sse::HEARTBEAT.len()).sum();
        assert!(now - before <= 10, "{} seats in one second are a burst", now - before);
        before = now;
    }
    for client in &mut clients {
        assert!(client.says(sse::HEARTBEAT));
    }
    // A frame is a sign of life, too.
    hall.publish(&[("a/1", 10)]);
    hall.rest();
    seconds(&mut hall, 19);
    let mut owed = sse::HEARTBEAT.to_vec();
    owed.extend_from_slice(&hall.log.bytes);
    for client in &mut clients {
        assert!(client.says(&owed));
    }
}

#[test]
fn a_filtered_seat_learns_its_position_after_fifteen_quiet_heartbeats() {
    let mut hall = Hall::new(8);
    let mut clients = [hall.seat(filter(&["a"]), 0), hall.seat(Filter::Whole, 0)];
    hall.rest();
    hall.publish(&[("b/1", 10), ("b/1", 10)]);
    hall.rest();
    let whole = hall.log.bytes.clone();
    seconds(&mut hall, 15 * 20 + 19);
    let mut owed = sse::HEARTBEAT.repeat(14);
    sse::position(&mut owed, at(2));
    assert!(clients[0].says(&owed), "{}", String::from_utf8_lossy(&clients[0].got));
    assert!(clients[1].says(&[&whole[..], &sse::HEARTBEAT.repeat(15)].concat()));
    seconds(&mut hall, 15 * 20);
    owed.extend(sse::HEARTBEAT.repeat(14));
    sse::position(&mut owed, at(2));
    assert!(clients[0].says(&owed));
}

#[test]
fn nothing_comes_between_the_bytes_of_a_frame() {
    let mut hall = Hall::new(8);
    let roomy = Start { cursor: 0, snapshot: None, unasked: 0 };
    let mut clients = [
        hall.seat_with(Filter::Whole, roomy, Some(4 * 1024 * 1024)),
        hall.seat_with(filter(&["a"]), Start { cursor: 0, snapshot: None, unasked: 0 }, Some(4096)),
    ];
    hall.rest();
    hall.publish(&[("a/1", 3_000_000)]);
    // Between the sends of one frame, and while the socket is full, the seat hears nothing else.
    for _ in 0..12 {
        for _ in 0..45 {
            hall.audience.tick();
        }
        hall.is_due = true;
        hall.turn();
    }
    hall.serve(&mut clients);
    hall.rest();
}
