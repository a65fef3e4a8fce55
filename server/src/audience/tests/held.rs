//! Seats that an origin holds: what their channels bring, how they end, and how they come back.

use std::rc::Rc;

use fantail_engine::grip::{self, Channel, FilterName, KeepAlive, Label, Meta, Pace, Screen, StreamItem};

use super::*;
use crate::limits::RECALLED_MAX;

/// A home of channels and an audience that follows them.
struct Edge {
    hall: Hall,
    tail: Tail,
    mark: Mark,
    /// Items with bytes, so far.
    events: u64,
    sent: Vec<(String, Vec<u8>, Mark)>,
}

/// A client's end of a held connection.
struct Holder {
    socket: TcpStream,
    got: Vec<u8>,
    ended: bool,
}

impl Holder {
    fn read(&mut self) -> &[u8] {
        let mut buffer = [0; 64 * 1024];
        while !self.ended {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.ended = true,
            }
        }
        &self.got
    }
}

const TRACKED: Tracking = Tracking::Tracked;
const UNTRACKED: Tracking = Tracking::Untracked;
/// Content, which is in the log.
const SEND: StreamItem = StreamItem::Send { content: Vec::new(), filters: None };

fn published(channel: &str, stream: StreamItem) -> grip::Item {
    grip::Item {
        channel: channel.into(),
        id: None,
        prev_id: None,
        no_seq: false,
        size: None,
        meta: Meta::default(),
        stream: Some(stream),
        response: None,
    }
}

fn subscription(channels: &[(&str, Tracking)]) -> Rc<Subscription> {
    let followed = |(name, tracking): &(&str, Tracking)| Followed {
        name: (*name).into(),
        hash: topic::hash(name),
        tracking: *tracking,
    };
    Rc::new(Subscription { channels: channels.iter().map(followed).collect(), screen: Screen::default() })
}

fn meta(values: &[(&str, &str)]) -> Meta {
    let body = format!(
        r#"{{"items":[{{"channel":"c","formats":{{"http-stream":{{"action":"close"}}}},"meta":{{{}}}}}]}}"#,
        values.iter().map(|(name, value)| format!("{name:?}:{value:?}")).collect::<Vec<_>>().join(",")
    );
    let items = grip::publication(body.into_bytes()).expect("a publication");
    items.into_iter().next().expect("an item").meta
}

/// Terms without a keep-alive or a time-out.
fn terms(channels: &[(&str, Tracking)]) -> Terms {
    Terms { subscription: subscription(channels), keep_alive: None, link_seconds: None, route: 0, host: "h".into() }
}

impl Edge {
    fn new(slots: u32) -> Edge {
        let mut hall = Hall::unwatched(slots, tempfile::tempdir().expect("a folder"));
        hall.audience.watch_channels();
        Edge { hall, tail: Tail::new(0), mark: Mark::default(), events: 0, sent: Vec::new() }
    }

    fn item(
        &mut self,
        channel: &str,
        id: &str,
        content: &[u8],
        stream: StreamItem,
        continuity: Continuity,
    ) -> Arc<Item> {
        let hash = topic::hash(channel);
        if !content.is_empty() {
            let extent =
                Extent { start: self.mark.offset, length: content.len() as u32, collection: hash, document: hash };
            self.events += 1;
            let appended = self.tail.append(content, self.events, &[extent]);
            if appended.is_new {
                self.hall.audience.add_block(CHANNELS, appended.block);
            }
        }
        let item = Arc::new(Item {
            channel: channel.into(),
            hash,
            id: Some(id.into()),
            mark: self.mark,
            length: content.len() as u32,
            continuity,
            labels: [Label::default(), Label::default()],
            published: Some(published(channel, stream)),
        });
        self.mark = item.end();
        self.sent.push((channel.to_owned(), content.to_vec(), item.mark));
        item
    }

    fn release(&mut self, item: Arc<Item>) -> Reach {
        self.hall.is_due = true;
        self.hall.audience.release(&[item])
    }

    fn send(&mut self, channel: &str, id: &str, content: &[u8]) -> Reach {
        let item = self.item(channel, id, content, SEND, Continuity::Follows);
        self.release(item)
    }

    fn act(&mut self, channel: &str, stream: StreamItem) -> Reach {
        let item = self.item(channel, "", b"", stream, Continuity::Follows);
        self.release(item)
    }

    fn hold_at(&mut self, terms: Terms, next: Option<&str>, mark: Mark, buffer: Option<usize>) -> Holder {
        let (socket, held) = self.hall.connect(buffer);
        let last = terms.subscription.channels.iter().map(|followed| match followed.tracking {
            Tracking::Tracked | Tracking::Adrift => Some("begun".into()),
            Tracking::Untracked => None,
        });
        let last = last.collect();
        let terms = self.hall.audience.share(terms);
        let gone = Some("http://origin/gone".into());
        let hold = Hold { terms, next: next.map(Into::into), gone };
        self.hall.audience.hold(held, Held { hold, last, mark, unasked: 0 }).expect("a seat");
        self.hall.is_due = true;
        Holder { socket, got: Vec::new(), ended: false }
    }

    fn hold(&mut self, channels: &[(&str, Tracking)]) -> Holder {
        self.hold_at(terms(channels), Some("http://origin/next"), self.mark, None)
    }

    fn until(&mut self, what: &str, mut is_met: impl FnMut(&mut Hall) -> bool) {
        self.hall.until(what, |hall| is_met(hall));
    }

    /// Turns until the client has exactly this.
    fn gets(&mut self, holder: &mut Holder, owed: &[u8]) {
        self.until("the client has what it is owed", |_| holder.read() == owed);
        self.hall.rest();
        assert_eq!(holder.read(), owed);
    }

    /// Turns until so many have come back.
    fn recalled(&mut self, count: usize) -> Vec<Recalled> {
        let mut recalled = Vec::new();
        self.until("they come back", |hall| {
            recalled.extend(hall.audience.take_recalled());
            recalled.len() == count
        });
        recalled
    }

    fn seconds(&mut self, count: usize) {
        for _ in 0..count {
            self.hall.audience.tick();
            self.hall.is_due = true;
            self.hall.rest();
        }
    }

    /// Everybody has left, and nothing of them is left.
    fn empty(mut self) {
        self.until("all seats are free", |hall| hall.audience.seated() == 0);
        let audience = &self.hall.audience;
        for tier in &audience.tiers {
            assert!(tier.seats().iter().all(|seat| seat.state == State::Free && seat.armed == 0));
        }
        assert_eq!((audience.followers.len(), audience.subscriptions.len(), audience.counts().held), (0, 0, 0));
        let counts = audience.counts();
        assert_eq!((counts.stalled, counts.seatings), (0, counts.departures + counts.recalls));
        assert_eq!(audience.watched.iter().map(|(_, watched)| watched.seats).sum::<usize>(), 0);
        assert!(audience.watched.iter().all(|(_, watched)| watched.is_empty()));
    }
}

#[test]
fn each_gets_the_items_of_its_channels() {
    let mut chance = Chance::new();
    let mut edge = Edge::new(256);
    let names = ["a", "b", "c", "d"];
    let mut holders: Vec<(Vec<&str>, Mark, Holder)> = Vec::new();
    for round in 0..1_500 {
        match chance.below(8) {
            0 if holders.len() < 120 => {
                let mut channels: Vec<_> =
                    names.iter().filter(|_| chance.below(2) == 0).map(|name| (*name, UNTRACKED)).collect();
                if channels.is_empty() {
                    channels.push(("a", TRACKED));
                }
                let begun = edge.sent.len().saturating_sub(chance.below(4));
                let mark = edge.sent.get(begun).map_or(edge.mark, |(_, _, mark)| *mark);
                let buffer = (chance.below(4) == 0).then_some(4096);
                let holder = edge.hold_at(terms(&channels), None, mark, buffer);
                holders.push((channels.into_iter().map(|(name, _)| name).collect(), mark, holder));
            }
            1 if !holders.is_empty() => drop(holders.swap_remove(chance.below(holders.len()))),
            2..6 => {
                let content = format!("{round}:{}\n", "x".repeat(chance.below(900))).into_bytes();
                edge.send(names[chance.below(4)], &round.to_string(), &content);
            }
            _ => drop(edge.hall.turn()),
        }
    }
    for (channels, mark, mut holder) in holders {
        let is_theirs =
            |(channel, _, at): &&(String, Vec<u8>, Mark)| channels.contains(&channel.as_str()) && at >= &mark;
        let owed: Vec<u8> = edge.sent.iter().filter(is_theirs).flat_map(|(_, content, _)| content.clone()).collect();
        edge.gets(&mut holder, &owed);
    }
    edge.empty();
}

#[test]
fn an_item_says_how_many_it_reaches() {
    let mut edge = Edge::new(64);
    let holders: Vec<_> = (0..5).map(|_| edge.hold(&[("a", UNTRACKED), ("b", UNTRACKED)])).collect();
    let other = edge.hold(&[("b", UNTRACKED)]);
    edge.hall.rest();
    let streams = |reach: Reach| (reach.streams, reach.recalls);
    assert_eq!(streams(edge.send("a", "1", b"x")), (5, 0));
    assert_eq!(streams(edge.send("b", "1", b"x")), (6, 0));
    assert_eq!(streams(edge.send("c", "1", b"x")), (0, 0));
    edge.hall.rest();
    assert_eq!(streams(edge.act("a", StreamItem::Hint)), (0, 5));
    assert_eq!(streams(edge.act("b", StreamItem::Close)), (1, 0), "who is asking its origin isn't there");
    edge.recalled(5);
    drop((holders, other));
    edge.empty();
}

#[test]
fn a_close_comes_after_what_lies_before() {
    let mut edge = Edge::new(64);
    let mut quick: Vec<_> = (0..10).map(|_| edge.hold(&[("a", UNTRACKED)])).collect();
    let mut slow: Vec<_> =
        (0..4).map(|_| edge.hold_at(terms(&[("a", TRACKED)]), None, edge.mark, Some(2048))).collect();
    let mut others = [edge.hold(&[("b", UNTRACKED)]), edge.hold(&[("b", TRACKED)])];
    edge.hall.rest();
    let before = vec![b'x'; 300_000];
    edge.send("a", "1", &before);
    // One that begins where the close is already known of ends there, too.
    let mark = edge.sent[0].2;
    edge.act("a", StreamItem::Close);
    edge.send("a", "2", b"after");
    edge.send("b", "1", b"other");
    let mut late = edge.hold_at(terms(&[("a", UNTRACKED)]), None, mark, None);
    for holder in quick.iter_mut().chain(&mut slow).chain([&mut late]) {
        edge.until("it is closed", |_| {
            holder.read();
            holder.ended
        });
        assert_eq!(holder.got.len(), before.len());
    }
    for holder in &mut others {
        edge.gets(holder, b"other");
        assert!(!holder.ended);
    }
    assert_eq!(edge.hall.audience.take_departed().len(), 15, "whoever has ended them, their origin wants to know");
    drop(others);
    edge.empty();
}

#[test]
fn a_gap_recalls_those_who_count_on_ids_once_they_have_what_lies_before() {
    let mut edge = Edge::new(64);
    let mut tracked = edge.hold(&[("a", TRACKED)]);
    let mut slow =
        edge.hold_at(terms(&[("a", TRACKED), ("b", UNTRACKED)]), Some("http://origin/next"), edge.mark, Some(2048));
    let mut untracked = edge.hold(&[("a", UNTRACKED)]);
    edge.hall.rest();
    let before = vec![b'x'; 200_000];
    edge.send("a", "1", &before);
    let gap = edge.item("a", "3", b"third", SEND, Continuity::Gap);
    let mark = gap.mark;
    let reach = edge.release(gap);
    assert_eq!((reach.streams, reach.recalls), (1, 2));
    edge.send("a", "4", b"fourth");

    let recalled = edge.recalled(1).pop().expect("one");
    assert_eq!((recalled.why, recalled.mark), (Why::Gap, mark));
    assert_eq!(recalled.last[..], [Some("1".into())]);
    assert_eq!(recalled.hold.next.as_deref(), Some("http://origin/next"));
    // Its socket is a socket as any other.
    let mut socket = TcpStream::from(recalled.socket);
    edge.until("it has all before the gap", |_| tracked.read() == before);
    socket.set_nonblocking(false).expect("a socket");
    socket.write_all(b"page").expect("a socket");
    drop(socket);
    edge.until("it ends when the conversation does", |_| {
        tracked.read();
        tracked.ended
    });
    assert!(tracked.got.ends_with(b"xpage"));

    let recalled = {
        let mut recalled = Vec::new();
        edge.until("the slow one comes back when it has read", |hall| {
            slow.read();
            recalled.extend(hall.audience.take_recalled());
            recalled.len() == 1
        });
        recalled.pop().expect("one")
    };
    edge.until("it has all before the gap", |_| slow.read() == before);
    assert_eq!((recalled.mark, &recalled.last[..]), (mark, &[Some("1".into()), None][..]));
    drop(recalled);

    let owed = [&before[..], b"thirdfourth"].concat();
    edge.gets(&mut untracked, &owed);
    drop((slow, untracked));
    edge.empty();
}

#[test]
fn what_was_told_before_the_seat_was_taken_counts() {
    let mut edge = Edge::new(64);
    edge.send("a", "1", b"1");
    let mark = edge.mark;
    edge.send("a", "2", b"2");
    let gap = edge.item("a", "4", b"4", SEND, Continuity::Gap);
    edge.release(gap);
    edge.send("a", "5", b"5");
    let mut holder = edge.hold_at(terms(&[("a", TRACKED)]), Some("n"), mark, None);
    let mut newer = edge.hold(&[("a", TRACKED)]);
    let recalled = edge.recalled(1).pop().expect("one");
    assert_eq!((recalled.last[0].as_deref(), holder.read()), (Some("2"), &b"2"[..]));
    // Of two with the same subscription, each has ids of its own until they are at one.
    edge.act("a", StreamItem::Hint);
    let recalled = edge.recalled(1).pop().expect("one");
    assert_eq!((recalled.why, recalled.last[0].as_deref(), newer.read()), (Why::Hint, Some("5"), &b""[..]));
    drop((holder, newer));
    edge.empty();
}

#[test]
fn only_so_many_are_had_back_at_once() {
    let mut edge = Edge::new(1024);
    let count = RECALLED_MAX * 2 + 10;
    let mut holders: Vec<_> = (0..count).map(|_| edge.hold(&[("a", TRACKED)])).collect();
    edge.hall.rest();
    let gap = edge.item("a", "2", b"second", SEND, Continuity::Gap);
    assert_eq!(edge.release(gap).recalls, count as u64);
    let first = edge.recalled(RECALLED_MAX);
    edge.hall.rest();
    assert!(edge.hall.audience.take_recalled().is_empty());
    // Some of those that wait go meanwhile.
    let gone = 20;
    holders.drain(..).rev().take(gone).for_each(drop);
    let seated = RECALLED_MAX + 10;
    edge.until("those who left are gone", |hall| hall.audience.seated() <= seated - gone);
    assert!(edge.hall.audience.take_departed().len() >= gone);
    drop(first);
    (0..RECALLED_MAX).for_each(|_| edge.hall.audience.recall_ended());
    edge.hall.is_due = true;
    edge.hall.rest();
    edge.empty();
}

#[test]
fn an_operator_recalls_all_that_can_ask() {
    let mut edge = Edge::new(16);
    let holders = [edge.hold(&[("a", UNTRACKED)]), edge.hold(&[("b", TRACKED)])];
    let mut stays = edge.hold_at(terms(&[("a", UNTRACKED)]), None, edge.mark, None);
    edge.hall.rest();
    assert_eq!(edge.hall.audience.recover().recalls, 2);
    edge.hall.is_due = true;
    assert!(edge.recalled(2).iter().all(|recalled| recalled.why == Why::Recover));
    edge.send("a", "1", b"1");
    edge.gets(&mut stays, b"1");
    drop((holders, stays));
    edge.empty();
}

#[test]
fn comings_and_goings_leave_nothing_behind() {
    let mut chance = Chance::new();
    let mut edge = Edge::new(64);
    let mut holders: Vec<Holder> = Vec::new();
    for round in 0..3_000 {
        match chance.below(10) {
            0..5 if edge.hall.audience.seated() < 60 => {
                let tracking = if chance.below(2) == 0 { TRACKED } else { UNTRACKED };
                let name = ["a", "b"][chance.below(2)];
                let buffer = (chance.below(3) == 0).then_some(2048);
                holders.push(edge.hold_at(terms(&[(name, tracking)]), Some("n"), edge.mark, buffer));
            }
            5 if !holders.is_empty() => drop(holders.swap_remove(chance.below(holders.len()))),
            6 => drop(edge.send(["a", "b"][chance.below(2)], "i", &vec![b'x'; chance.below(20_000) + 1])),
            7 => {
                let stream = [StreamItem::Close, StreamItem::Hint, SEND][chance.below(3)].clone();
                let content: &[u8] = if stream == SEND { b"gap" } else { b"" };
                let item = edge.item(["a", "b"][chance.below(2)], "g", content, stream, Continuity::Gap);
                edge.release(item);
            }
            _ => drop(edge.hall.turn()),
        }
        for recalled in edge.hall.audience.take_recalled() {
            drop(recalled);
            edge.hall.audience.recall_ended();
        }
        if round % 16 == 0 {
            for holder in &mut holders {
                holder.read();
            }
            holders.retain(|holder| !holder.ended);
        }
    }
    drop(holders);
    edge.until("all are gone", |hall| {
        (0..hall.audience.take_recalled().len()).for_each(|_| hall.audience.recall_ended());
        hall.audience.seated() == 0
    });
    assert!(edge.hall.audience.counts().recalls > 20 && edge.hall.audience.counts().departures > 20);
    edge.empty();
}

#[test]
fn the_end_of_the_server_waits_for_none_of_them() {
    let mut edge = Edge::new(1024);
    let mut holders: Vec<_> = (0..RECALLED_MAX + 20).map(|_| edge.hold(&[("a", TRACKED)])).collect();
    let mut other = edge.hold(&[("b", UNTRACKED)]);
    edge.hall.rest();
    edge.act("a", StreamItem::Hint);
    drop(edge.recalled(RECALLED_MAX));
    edge.hall.audience.farewell(b"retry: 5\n");
    edge.hall.is_due = true;
    edge.until("all seats are free", |hall| hall.audience.seated() == 0);
    for holder in holders.iter_mut().chain([&mut other]) {
        edge.until("it is closed", |_| {
            holder.read();
            holder.ended
        });
        assert_eq!(holder.got, b"", "its stream isn't ours to write words into");
    }
    edge.empty();
}

#[test]
fn keep_alives_come_when_their_hold_says() {
    let keep_alive = |seconds, pace| {
        let content = format!("{seconds}\n").into_bytes().into();
        Some(Rc::new(KeepAlive { content, timeout: Duration::from_secs(seconds), pace }))
    };
    let mut edge = Edge::new(64);
    let mut hold = |keep_alive| {
        let terms = Terms { keep_alive, ..terms(&[("a", UNTRACKED)]) };
        let mark = edge.mark;
        edge.hold_at(terms, None, mark, None)
    };
    let mut holders = [
        hold(keep_alive(1, Pace::Idle)),
        hold(keep_alive(4, Pace::Idle)),
        hold(keep_alive(4, Pace::Interval)),
        hold(None),
    ];
    edge.hall.rest();
    edge.seconds(3);
    let said = |edge: &mut Edge, holders: &mut [Holder; 4], owed: [&str; 4]| {
        edge.hall.rest();
        for (holder, owed) in holders.iter_mut().zip(owed) {
            assert_eq!(String::from_utf8_lossy(holder.read()), owed);
            holder.got.clear();
        }
    };
    said(&mut edge, &mut holders, ["1\n1\n1\n", "", "", ""]);
    edge.send("a", "1", b"item\n");
    said(&mut edge, &mut holders, ["item\n"; 4]);
    edge.seconds(1);
    said(&mut edge, &mut holders, ["1\n", "", "4\n", ""]);
    edge.seconds(3);
    said(&mut edge, &mut holders, ["1\n1\n1\n", "4\n", "", ""]);
    edge.seconds(60);
    said(&mut edge, &mut holders, [&"1\n".repeat(60), &"4\n".repeat(15), &"4\n".repeat(15), ""]);
    drop(holders);
    edge.empty();
}

#[test]
fn keep_alives_are_never_sent_to_all_at_once() {
    let mut edge = Edge::new(256);
    let keep_alive =
        Rc::new(KeepAlive { content: (*b":\n").into(), timeout: Duration::from_secs(55), pace: Pace::Idle });
    let mut holders: Vec<_> = (0..200)
        .map(|_| {
            let terms = Terms { keep_alive: Some(Rc::clone(&keep_alive)), ..terms(&[("a", UNTRACKED)]) };
            edge.hold_at(terms, None, edge.mark, None)
        })
        .collect();
    edge.hall.rest();
    let mut before = 0;
    for second in 1..=55 {
        edge.seconds(1);
        let now: usize = holders.iter_mut().map(|holder| holder.read().len() / 2).sum();
        assert!(now - before <= 20, "{} in second {second} are a burst", now - before);
        before = now;
    }
    assert_eq!(before, 200, "each has had one within its 55 s");
    drop(holders);
    edge.empty();
}

#[test]
fn a_link_that_is_due_is_asked_once_for_all_who_have_it() {
    let mut edge = Edge::new(64);
    let with_link = |channels: &[(&str, Tracking)]| Terms { link_seconds: Some(30), ..terms(channels) };
    let mut holders = Vec::new();
    for _ in 0..20 {
        holders.push(edge.hold_at(with_link(&[("a", TRACKED)]), Some("one"), edge.mark, None));
        holders.push(edge.hold_at(with_link(&[("a", TRACKED)]), Some("other"), edge.mark, None));
        edge.seconds(1);
    }
    edge.send("a", "7", b"7");
    edge.hall.rest();
    drop(edge.hall.audience.take_asking());
    let mut asked = Vec::new();
    for _ in 0..30 {
        edge.seconds(1);
        asked.extend(edge.hall.audience.take_asking());
    }
    let seats = |next: &str| -> usize {
        asked.iter().filter(|asking| asking.hold.next.as_deref() == Some(next)).map(|asking| asking.seats.len()).sum()
    };
    assert_eq!((asked.len(), seats("one"), seats("other")), (2, 20, 20));
    assert!(asked.iter().all(|asking| asking.last[..] == [Some("7".into())]));
    let asking = asked.iter().find(|asking| asking.hold.next.as_deref() == Some("one")).expect("asked");
    drop(holders.swap_remove(0));
    edge.until("the one that left is gone", |hall| hall.audience.seated() == 39);
    edge.hall.audience.recall_all(asking);
    edge.hall.is_due = true;
    assert!(edge.recalled(19).iter().all(|recalled| recalled.why == Why::Link));
    drop(holders);
    edge.empty();
}

#[test]
fn a_screen_lets_through_what_it_admits_live_and_behind() {
    let mut edge = Edge::new(64);
    let channel = Channel { name: "a".into(), prev_id: None, filters: vec![FilterName::SkipSelf] };
    let screened = |user: &str| {
        let meta = meta(&[("user", user)]);
        let plain = terms(&[("a", UNTRACKED)]);
        let screen = Screen::new(std::slice::from_ref(&channel), &meta);
        Terms { subscription: Rc::new(Subscription { screen, ..(*plain.subscription).clone() }), ..plain }
    };
    let begun = edge.mark;
    let mut live = ["ann", "bob", "ann"].map(|user| edge.hold_at(screened(user), None, begun, None));
    edge.hall.rest();
    let mut owed = [Vec::new(), Vec::new()];
    for round in 0..200 {
        let sender = ["ann", "bob", "eve"][round % 3];
        let content = format!("{round} {}\n", "x".repeat(3_000)).into_bytes();
        let item = edge.item("a", "i", &content, SEND, Continuity::Follows);
        let mut item = Arc::into_inner(item).expect("nobody else has it");
        item.labels[0] = Label::of(&meta(&[("sender", sender)]), None);
        let reach = edge.release(Arc::new(item));
        assert_eq!(reach.streams, [1, 2, 3][round % 3]);
        for (user, owed) in ["ann", "bob"].iter().zip(&mut owed) {
            if *user != sender {
                owed.extend_from_slice(&content);
            }
        }
        edge.hall.turn();
    }
    let late = ["ann", "bob"].map(|user| edge.hold_at(screened(user), None, begun, Some(4096)));
    for (index, holder) in live.iter_mut().enumerate() {
        edge.gets(holder, &owed[index % 2]);
    }
    for (mut holder, owed) in late.into_iter().zip(&owed) {
        edge.gets(&mut holder, owed);
    }
    drop(live);
    edge.empty();
}

#[test]
fn for_one_that_is_adrift_every_item_is_a_gap() {
    let mut edge = Edge::new(16);
    let holder = edge.hold(&[("a", Tracking::Adrift), ("b", UNTRACKED)]);
    edge.send("b", "1", b"b");
    assert_eq!(edge.send("a", "2", b"a").recalls, 1);
    let recalled = edge.recalled(1).pop().expect("one");
    assert_eq!((recalled.why, recalled.last[0].as_deref()), (Why::Gap, Some("begun")));
    drop(holder);
    edge.empty();
}

/// What a hold costs beside its seat, without what it shares.
#[test]
fn a_hold_is_small() {
    let row = Holds::ROW_BYTES;
    // Each wheel knows a seat by eight bytes, of which a list that grew may have as many again.
    let wheels = 2 * 2 * size_of::<(SeatId, u16)>();
    // A link of its own, with the counts before it.
    let link = 2 * size_of::<usize>() + "http://127.0.0.1:3000/events/?link=next&last=00000000".len();
    println!("row {row}, wheels {wheels}, link {link}");
    assert!(row + wheels + link <= 200, "{} bytes", row + wheels + link);
    assert!(size_of::<seat::Seat>() <= 32);
}
