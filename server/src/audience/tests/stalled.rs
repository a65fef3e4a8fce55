//! Sockets that take only some of the bytes, or none for a while.

use super::*;

/// What the kernel grants for as little as one can ask.
const SMALL: usize = 4 * 1024;

/// Every byte is accounted for when sends are partial: the law that `MSG_WAITALL` holds up, and this test holds up that.
///
/// Tried by hand: without `MSG_WAITALL` in `Tier::send` a partial send counts as a success, which is silent, the cursor
/// stays where it would be after a whole one, and this test fails at the first wrong byte.
#[test]
fn partial_sends_lose_and_repeat_no_byte() {
    let mut chance = Chance::new();
    let mut hall = Hall::new(64);
    let filters = [Filter::Whole, filter(&["a"]), filter(&["b/1"]), filter(&["a/1", "b"])];
    let mut clients: Vec<Client> = (0..24)
        .map(|number| {
            let start = Start { cursor: 0, snapshot: None, unasked: 0 };
            hall.seat_with(filters[number % filters.len()].clone(), start, Some(SMALL))
        })
        .collect();
    hall.rest();
    for round in 0..120 {
        // Small frames, frames around the buffers' size, and a few far beyond a single send.
        let size = match chance.below(12) {
            0 => 40_000 + chance.below(600_000),
            1..4 => 1_000 + chance.below(16_000),
            _ => chance.below(300),
        };
        let path = ["a/1", "a/2", "b/1", "b/2"][chance.below(4)];
        hall.publish(&[(path, size), ("b/1", 20)]);
        for _ in 0..chance.below(4) {
            hall.turn();
        }
        // Each reader stalls for a while, then takes a little.
        if round % 8 == 0 {
            let some = chance.below(clients.len());
            clients[some].is_served(&hall.log);
        }
    }
    hall.rest();
    let stalled = hall.audience.tiers[0].seats().iter().filter(|seat| seat.state == State::Stalled).count();
    assert_eq!(hall.audience.counts().stalled, stalled);
    assert!(stalled > 6, "only {stalled} seats are stalled: nothing was tested");
    hall.serve(&mut clients);
    drop(clients);
    hall.empty();
}

#[test]
fn seats_that_stall_hold_up_nobody() {
    let mut hall = Hall::new(64);
    let mut slow: Vec<Client> = (0..8)
        .map(|_| hall.seat_with(Filter::Whole, Start { cursor: 0, snapshot: None, unasked: 0 }, Some(SMALL)))
        .collect();
    let mut quick: Vec<Client> = (0..8).map(|_| hall.seat(Filter::Whole, 0)).collect();
    hall.rest();
    for _ in 0..200 {
        hall.publish(&[("a/1", 5_000)]);
        hall.serve(&mut quick);
    }
    let is_stalled =
        |hall: &Hall| hall.audience.tiers[0].seats().iter().filter(|seat| seat.state == State::Stalled).count();
    assert_eq!((is_stalled(&hall), hall.audience.counts().stalled), (slow.len(), slow.len()));
    hall.rest();
    assert!(!hall.turn(), "nothing turns while nothing drains");
    hall.serve(&mut slow);
    hall.publish(&[("a/1", 10)]);
    hall.serve(slow.iter_mut().chain(&mut quick));
}
