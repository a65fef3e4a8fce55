//! Live seats: each gets its events, once, whatever comes and goes meanwhile.

use super::*;

/// A filter, by chance: the stream, collections, documents, and several that an event matches twice.
fn any_filter(chance: &mut Chance) -> Filter {
    match chance.below(8) {
        0 | 1 => Filter::Whole,
        2 | 3 => filter(&[COLLECTIONS[chance.below(4)]]),
        4 => filter(&[DOCUMENTS[chance.below(8)]]),
        5 => filter(&["a", "a/1"]),
        6 => filter(&["a/1", "b", "b/2", DOCUMENTS[chance.below(8)]]),
        _ => filter(&[COLLECTIONS[chance.below(4)], DOCUMENTS[chance.below(8)], "nothing"]),
    }
}

const COLLECTIONS: [&str; 4] = ["a", "b", "c", "d"];
const DOCUMENTS: [&str; 8] = ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2", "d/1", "d/2"];

/// Letters lag behind what the home has published, seats come and go, and readers read when they like.
#[test]
fn each_gets_exactly_what_the_model_says() {
    let mut chance = Chance::new();
    for _ in 0..4 {
        let mut hall = Hall::new(128);
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..1500 {
            match chance.below(16) {
                0..5 if clients.len() < 300 => {
                    let from = match hall.log.extents.len() {
                        0 => 0,
                        count => hall.log.extents[count.saturating_sub(chance.below(5) + 1)].end(),
                    };
                    let filter = any_filter(&mut chance);
                    clients.push(hall.seat(filter, from));
                }
                5 if !clients.is_empty() => {
                    let gone = chance.below(clients.len());
                    clients.swap_remove(gone);
                }
                6..9 => {
                    let count = 1 + chance.below(4);
                    let mut one = || (DOCUMENTS[chance.below(8)], chance.below(400));
                    let events: Vec<_> = (0..count).map(|_| one()).collect();
                    hall.commit(&events);
                }
                9 if chance.below(4) == 0 && hall.log.files.is_some() => hall.rotate(),
                10 if chance.below(20) == 0 => hall.commit(&[(DOCUMENTS[chance.below(8)], 200_000)]),
                11..14 => drop(hall.deliver()),
                14 if !clients.is_empty() => {
                    let reader = chance.below(clients.len());
                    clients[reader].is_served(&hall.log);
                }
                _ => drop(hall.turn()),
            }
        }
        while hall.deliver() {}
        hall.serve(&mut clients);
        hall.rest();
        for client in &mut clients {
            assert!(client.is_served(&hall.log), "nothing comes after the end");
        }
        drop(clients);
        hall.empty();
    }
}

/// A quantum is smaller than the crowd, so seats join and leave in the middle of a pass.
#[test]
fn a_crowd_gets_all_although_others_come_and_go() {
    let mut chance = Chance::new();
    let mut hall = Hall::new(4096);
    let topic = || filter(&["a"]);
    let mut clients: Vec<Client> = (0..1_500).map(|_| hall.seat(topic(), 0)).collect();
    hall.rest();
    for round in 0..10 {
        hall.publish(&[("b/1", 10), ("a/1", 50 + round)]);
        for _ in 0..3 {
            let newcomer = hall.seat(topic(), hall.log.end());
            clients.push(newcomer);
            clients.swap_remove(chance.below(1_000));
            hall.turn();
        }
        hall.serve(&mut clients);
    }
}

#[test]
fn an_event_of_two_topics_of_one_filter_comes_once() {
    let mut hall = Hall::new(16);
    let mut client = hall.seat(filter(&["a", "a/1"]), 0);
    hall.rest();
    hall.publish(&[("a/1", 10), ("a/2", 10), ("a/1", 10)]);
    hall.serve([&mut client]);
    assert_eq!(client.got, hall.log.bytes);
}

/// A block's marks say more than the letters: events that weren't told of are not passed over.
#[test]
fn what_is_published_before_its_letters_come_is_not_passed_over() {
    let mut hall = Hall::new(16);
    let mut clients = [hall.seat(filter(&["a"]), 0), hall.seat(filter(&["b"]), 0), hall.seat(Filter::Whole, 0)];
    hall.publish(&[("a/1", 10)]);
    hall.serve(&mut clients);
    hall.rest();
    // The first group fills the block, so that the second one lies in another: its letter is still under way.
    hall.commit(&[("a/1", 250_000)]);
    hall.commit(&[("a/1", 20_000), ("b/1", 10)]);
    let News::Published(position, end) = hall.news.pop_front().expect("the first group is published") else {
        panic!("the first group needs no block of its own");
    };
    hall.audience.publish(STREAM, position, end);
    hall.is_due = true;
    let mut late = hall.seat(filter(&["b"]), 0);
    hall.rest();
    while hall.deliver() {}
    hall.serve(clients.iter_mut().chain([&mut late]));
}

#[test]
fn a_full_tier_is_followed_by_the_next() {
    let mut hall = Hall::new(4);
    let mut clients: Vec<Client> = (0..18).map(|_| hall.seat(Filter::Whole, 0)).collect();
    assert_eq!((hall.audience.tiers.len(), hall.audience.seated()), (5, 18));
    hall.publish(&[("a/1", 100)]);
    hall.serve(&mut clients);
    clients.truncate(2);
    hall.until("those who left are gone", |hall| hall.audience.seated() == 2);
    clients.extend((0..18).map(|_| hall.seat(Filter::Whole, 0)));
    assert_eq!(hall.audience.tiers.len(), 5, "free slots are taken before another tier is opened");
    hall.serve(&mut clients);
}
