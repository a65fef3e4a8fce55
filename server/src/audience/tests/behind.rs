//! Seats behind the tail: segments, the index, a checkpoint, and the seam to the live ones.

use fantail_engine::log::checkpoint;

use super::*;

/// A log far longer than the tail, in segments of some hundred kilobytes.
fn history(hall: &mut Hall, chance: &mut Chance) {
    for round in 0..400 {
        if round > 0 && chance.below(16) == 0 {
            hall.rotate();
        }
        let path = ["a/1", "a/2", "b/1", "b/2"][chance.below(4)];
        let rare = if chance.below(40) == 0 { "c/1" } else { path };
        hall.commit(&[(path, chance.below(30_000)), (rare, chance.below(200))]);
        if round % 7 == 0 {
            hall.commit(&[("a/1", 5)]);
        }
    }
}

#[test]
fn segments_then_the_tail_then_live_without_a_seam() {
    let mut chance = Chance::new();
    let mut hall = Hall::new(64);
    history(&mut hall, &mut chance);
    while hall.deliver() {}
    assert!(hall.log.tail.blocks().start() > Some(1_000_000) && hall.log.segments.len() > 8);
    let filters = [Filter::Whole, filter(&["a"]), filter(&["c/1"]), filter(&["b", "b/1", "c"]), filter(&["nothing"])];
    let mut clients = Vec::new();
    for number in 0..40 {
        let from = match chance.below(3) {
            0 => 0,
            _ => hall.log.extents[chance.below(hall.log.extents.len())].start,
        };
        clients.push(hall.seat(filters[number % filters.len()].clone(), from));
    }
    // While they catch up, the log goes on, and the letters about it lag.
    for _ in 0..300 {
        match chance.below(4) {
            0 => hall.commit(&[(["a/1", "b/1", "c/1"][chance.below(3)], chance.below(9_000))]),
            1 => drop(hall.deliver()),
            _ => drop(hall.turn()),
        }
        let reader = chance.below(clients.len());
        clients[reader].is_served(&hall.log);
    }
    while hall.deliver() {}
    hall.serve(&mut clients);
    hall.until("all are live", |hall| {
        hall.audience.followers.iter().map(|(_, some)| some.live.len()).sum::<usize>() == 40
    });
    hall.publish(&[("a/1", 10), ("b/1", 10), ("c/1", 10)]);
    hall.serve(&mut clients);
}

/// After a restart the tail is empty: all there is lies in segments, and the home may be ahead of its first letters.
#[test]
fn a_log_without_a_tail_is_read_from_its_segments() {
    let mut chance = Chance::new();
    let mut hall = Hall::unwatched(64, tempfile::tempdir().expect("a folder"));
    history(&mut hall, &mut chance);
    hall.news.clear();
    hall.log.tail = Tail::new(hall.log.end());
    let view = hall.log.view();
    hall.commit(&[("a/1", 100), ("c/1", 100)]);
    hall.audience.watch(STREAM.into(), view, Arc::clone(&hall.log.volume));
    let mut clients = [hall.seat(Filter::Whole, 0), hall.seat(filter(&["c"]), 0), hall.seat(filter(&["b/2"]), 0)];
    let mut served = 0;
    hall.until("the segments are read", |hall| {
        clients.iter_mut().for_each(Client::read);
        let before = std::mem::replace(&mut served, clients.iter().map(|client| client.got.len()).sum());
        before == served && before > 0 && !hall.is_due
    });
    while hall.deliver() {}
    hall.serve(&mut clients);
}

#[test]
fn live_seats_that_the_tail_left_behind_read_the_segments() {
    let mut chance = Chance::new();
    let mut hall = Hall::new(64);
    let mut clients = [hall.seat(Filter::Whole, 0), hall.seat(filter(&["a/1"]), 0), hall.seat(filter(&["c"]), 0)];
    hall.rest();
    history(&mut hall, &mut chance);
    while hall.deliver() {}
    hall.serve(&mut clients);
}

#[test]
fn a_chain_that_is_full_loses_nothing() {
    let mut hall = Hall::new(64);
    let mut clients = [hall.seat(filter(&["a"]), 0), hall.seat(filter(&["b/1"]), 0)];
    hall.rest();
    for _ in 0..50 {
        let pairs: Vec<_> = (0..200).map(|index| (if index % 2 == 0 { "a/1" } else { "b/1" }, 3)).collect();
        hall.publish(&pairs);
    }
    hall.serve(&mut clients);
    hall.publish(&[("a/1", 3), ("b/1", 3)]);
    hall.serve(&mut clients);
}

#[test]
fn a_checkpoint_is_read_before_the_log() {
    let mut hall = Hall::new(64);
    hall.publish(&[("a/1", 10), ("b/1", 10)]);
    let big = format!("\"{}\"", "x".repeat(700_000));
    let path = hall.log.volume.folder.join("2.snapshot.sse");
    let written = File::create(&path).expect("a file");
    let two = [("a", 2, vec![("1", big.as_bytes())]), ("b", 2, vec![("1", &b"{}"[..])])];
    let two = two.into_iter().map(|(path, changed, documents)| (path, changed, documents.into_iter()));
    checkpoint::encode(at(2), two, &mut |some: &[u8]| (&written).write_all(some)).expect("a checkpoint");
    let file = std::fs::read(&path).expect("a file");
    let snapshot = Arc::new(Snapshot::open(&path).expect("a checkpoint"));
    let whole = 0..snapshot.checkpoint.closing.end;
    let extent = snapshot.checkpoint.collection("b").expect("it has two").range.clone();
    let closing = snapshot.checkpoint.closing.clone();
    let parts = [vec![whole.clone()], vec![extent.clone(), closing.clone()], vec![]];
    let cursor = hall.log.end();
    let mut clients: Vec<Client> = Vec::new();
    for parts in &parts {
        let reading = Reading { snapshot: Arc::clone(&snapshot), parts: parts.clone().into() };
        clients.push(hall.seat_with(Filter::Whole, Start { cursor, snapshot: Some(reading), unasked: 0 }, Some(4096)));
    }
    hall.turn();
    hall.publish(&[("a/1", 10)]);
    for (mut client, parts) in clients.into_iter().zip(parts) {
        let mut owed: Vec<u8> =
            parts.into_iter().flat_map(|part| &file[part.start as usize..part.end as usize]).copied().collect();
        hall.log.owed(&Filter::Whole, cursor, 0, &mut owed);
        hall.until("the value, then the log", |_| client.says(&owed));
    }
    hall.empty();
}

#[test]
fn whom_retention_passes_is_shown_out_and_nobody_else() {
    let mut chance = Chance::new();
    let mut hall = Hall::new(64);
    history(&mut hall, &mut chance);
    while hall.deliver() {}
    let half = hall.log.segments.len() / 2;
    let kept = hall.log.segments[half].base;
    let small = Some(4096);
    let start = |cursor| Start { cursor, snapshot: None, unasked: 0 };
    // These can't take much: they stall at once, before what is dropped and behind it.
    let mut old = [hall.seat_with(Filter::Whole, start(0), small), hall.seat_with(filter(&["a"]), start(0), small)];
    let mut new = hall.seat_with(Filter::Whole, start(kept), small);
    let mut live = hall.seat(filter(&["never"]), 0);
    hall.until("all but one stall", |hall| hall.audience.counts().stalled == 3);
    hall.until("the other one has nothing to read", |hall| {
        hall.audience.followers.iter().map(|(_, some)| some.live.len()).sum::<usize>() == 1
    });
    hall.retain(half);
    while hall.deliver() {}
    for _ in 0..5 {
        hall.audience.tick();
        hall.is_due = true;
        hall.rest();
    }
    assert_eq!(hall.audience.counts().expired, 2, "the heartbeat sees the stalled ones off");
    for client in &mut old {
        hall.until("they are told", |hall| {
            client.is_served(&hall.log);
            client.ended.is_some()
        });
    }
    hall.until("the others stay", |hall| hall.audience.seated() == 2);
    hall.publish(&[("never/1", 10)]);
    hall.serve([&mut new, &mut live]);

    // Who is behind what is retained when it has its turn goes, too.
    let mut late = hall.seat(Filter::Whole, 10);
    hall.until("it is told", |_| {
        late.read();
        late.ended.is_some()
    });
    assert_eq!(hall.audience.counts().expired, 3);
}

#[test]
fn a_stream_that_is_deleted_shows_everybody_out_at_any_moment() {
    for turns in 0..6 {
        let mut hall = Hall::new(64);
        let mut chance = Chance::new();
        history(&mut hall, &mut chance);
        while hall.deliver() {}
        let mut clients = [
            hall.seat(Filter::Whole, 0),
            hall.seat(filter(&["a/1"]), 0),
            hall.seat(filter(&["a", "b"]), hall.log.end()),
            hall.seat_with(Filter::Whole, Start { cursor: 0, snapshot: None, unasked: 0 }, Some(4096)),
        ];
        for _ in 0..turns {
            hall.turn();
        }
        hall.publish(&[("a/1", 10)]);
        hall.audience.unwatch(STREAM);
        hall.is_due = true;
        for client in &mut clients {
            hall.until("it is told", |_| {
                client.read();
                client.ended.is_some()
            });
        }
        hall.until("all seats are free", |hall| hall.audience.seated() == 0);
        assert!(hall.audience.hot.is_empty() && hall.audience.followers.is_empty() && hall.audience.watched.is_empty());
    }
}

/// Followers of two topics that were to be sent something, and have left before their turn came.
#[test]
fn a_stream_is_deleted_whose_followers_have_left_while_they_were_hot() {
    let mut hall = Hall::new(64);
    let client = hall.seat(filter(&["a/1", "a/2"]), 0);
    hall.rest();
    hall.publish(&[("a/1", 10)]);
    let id = SeatId::new(0, 0);
    hall.audience.leave(id);
    assert_eq!((hall.audience.hot.len(), hall.audience.followers.len()), (1, 1), "they are forgotten at their turn");
    hall.audience.unwatch(STREAM);
    assert!(hall.audience.hot.is_empty() && hall.audience.followers.is_empty() && hall.audience.watched.is_empty());
    drop(client);
    hall.is_due = true;
    hall.until("its seat is free", |hall| hall.audience.seated() == 0);
}
