//! Tests of the order of channels, against a model that keeps everything and looks through all of it.

use proptest::prelude::*;

use super::*;
use crate::grip::meta::Meta;

fn item(channel: &str, prev_id: Option<&str>, id: Option<&str>) -> Item {
    Item {
        channel: channel.into(),
        id: id.map(Box::from),
        prev_id: prev_id.map(Box::from),
        no_seq: false,
        size: None,
        meta: Meta::default(),
        stream: None,
        response: None,
    }
}

fn follow(prev_id: &str, id: &str) -> Item {
    item("a", Some(prev_id), Some(id))
}

/// Channels and what left: each item takes ten bytes of the log.
#[derive(Default)]
struct Home {
    channels: Channels,
    log: Vec<Release>,
}

impl Home {
    fn offer(&mut self, item: Item, now_ms: u64) -> Offered {
        let Home { channels, log } = self;
        channels.offer(item, now_ms, &mut |release| append(log, release))
    }

    fn due(&mut self, now_ms: u64) {
        let Home { channels, log } = self;
        channels.due(now_ms, &mut |release| append(log, release));
    }

    fn begin(&mut self, prev_id: &str) -> Begin {
        self.channels.begin("a", prev_id, self.end(), 0)
    }

    fn end(&self) -> u64 {
        10 * self.log.len() as u64
    }

    /// What left since it was asked last: ids, with an exclamation mark before those that are a gap.
    fn left(&mut self) -> String {
        self.log.drain(..).map(|release| told(&release)).collect::<Vec<_>>().join(" ")
    }
}

fn append(log: &mut Vec<Release>, release: Release) -> u64 {
    log.push(release);
    10 * log.len() as u64
}

fn told(release: &Release) -> String {
    match release {
        Release::Item { item, continuity } => {
            let id = item.id.as_deref().unwrap_or("-");
            match continuity {
                Continuity::Follows => id.to_owned(),
                Continuity::Gap { after } => format!("{}!{id}", after.as_deref().unwrap_or("")),
            }
        }
        Release::Forgotten { channel, after } => format!("{channel}:{}", after.as_deref().unwrap_or("")),
    }
}

#[test]
fn items_leave_in_order() {
    let mut home = Home::default();
    assert_eq!(home.offer(follow("0", "1"), 0), Offered::Released);
    assert_eq!(home.offer(follow("3", "4"), 0), Offered::Waits);
    assert_eq!(home.offer(follow("2", "3"), 10), Offered::Waits);
    assert_eq!(home.channels.next_due(), Some(ITEM_WAIT_MS));
    assert_eq!(home.offer(follow("1", "2"), 20), Offered::Released);
    assert_eq!(home.left(), "!1 2 3 4");
    assert_eq!((home.channels.next_due(), home.channels.waiting()), (None, 0));
}

#[test]
fn an_id_counts_once_for_a_minute() {
    let mut home = Home::default();
    assert_eq!(home.offer(item("a", None, Some("1")), 0), Offered::Released);
    assert_eq!(home.offer(item("b", None, Some("1")), 0), Offered::Released);
    assert_eq!(home.offer(item("a", None, Some("1")), ITEM_SEEN_MS - 1), Offered::Duplicate);
    assert_eq!(home.offer(item("a", None, Some("1")), ITEM_SEEN_MS), Offered::Released);
    assert_eq!(home.offer(item("a", None, None), 0), Offered::Released);
    assert_eq!(home.offer(item("a", None, None), 0), Offered::Released);
    assert_eq!(home.offer(follow("7", "8"), ITEM_SEEN_MS), Offered::Released, "nothing is known of the order");
    assert_eq!(home.offer(follow("9", "10"), ITEM_SEEN_MS), Offered::Waits);
    assert_eq!(home.offer(follow("9", "10"), ITEM_SEEN_MS), Offered::Duplicate, "what waits is known");
}

#[test]
fn a_gap_is_waited_for_and_then_told() {
    let mut home = Home::default();
    home.offer(follow("0", "1"), 0);
    home.offer(follow("3", "4"), 0);
    home.offer(follow("2", "3"), 100);
    home.due(ITEM_WAIT_MS - 1);
    assert_eq!(home.left(), "!1");
    // The one that waits for it is due first; what comes before it goes first nevertheless.
    home.due(ITEM_WAIT_MS);
    assert_eq!(home.left(), "1!3 4");
    // What was missing comes late: it waits too, in vain.
    home.offer(follow("1", "2"), ITEM_WAIT_MS);
    home.offer(follow("4", "5"), ITEM_WAIT_MS);
    home.due(2 * ITEM_WAIT_MS);
    assert_eq!(home.left(), "5 5!2");
}

#[test]
fn an_item_without_the_one_before_is_a_gap() {
    let mut home = Home::default();
    home.offer(follow("0", "1"), 0);
    home.offer(item("a", None, Some("x")), 0);
    home.offer(follow("x", "2"), 0);
    home.offer(item("a", Some("2"), None), 0);
    home.offer(item("a", None, None), 0);
    home.offer(follow("9", "10"), 0);
    assert_eq!(home.left(), "!1 1!x 2 - !- !10");
}

#[test]
fn items_without_order_pass() {
    let mut home = Home::default();
    let free = |prev_id, id| Item { no_seq: true, ..item("a", prev_id, id) };
    home.offer(follow("0", "1"), 0);
    assert_eq!(home.offer(free(Some("7"), Some("8")), 0), Offered::Released);
    assert_eq!(home.offer(free(None, None), 0), Offered::Released);
    assert_eq!(home.offer(free(Some("7"), Some("8")), 0), Offered::Duplicate);
    // The order is as before.
    assert_eq!(home.offer(follow("1", "2"), 0), Offered::Released);
    assert_eq!(home.offer(free(Some("2"), Some("y")), 0), Offered::Released);
    assert_eq!(home.left(), "!1 1!8 8!- !2 y");
}

#[test]
fn one_more_than_can_wait_and_the_oldest_goes() {
    let mut home = Home::default();
    home.offer(follow("-", "0"), 0);
    for number in 0..CHANNEL_WAITING_MAX {
        assert_eq!(home.offer(follow(&format!("p{number}"), &format!("i{number}")), number as u64), Offered::Waits);
    }
    assert_eq!(home.left(), "!0");
    assert_eq!(home.offer(follow("q", "r"), 0), Offered::Waits);
    assert_eq!((home.left(), home.channels.waiting()), ("0!i0".to_owned(), CHANNEL_WAITING_MAX));
    // What the oldest one made room for may follow at once.
    assert_eq!(home.offer(follow("i1", "s"), 0), Offered::Released);
    assert_eq!(home.left(), "i0!i1 s");
}

#[test]
fn what_waits_has_a_bound_in_bytes() {
    let mut home = Home::default();
    let content = crate::grip::StreamItem::Send { content: vec![0; 1_000_000], filters: None };
    let large = |prev_id: &str, id: &str| Item { stream: Some(content.clone()), ..follow(prev_id, id) };
    home.offer(follow("-", "0"), 0);
    home.offer(item("b", None, Some("0")), 0);
    home.offer(item("b", Some("x"), Some("oldest")), 0);
    let mut count = 0;
    while home.left().is_empty() || count < 3 {
        count += 1;
        home.offer(large(&format!("p{count}"), &format!("i{count}")), 1);
        assert!(home.channels.waiting_bytes <= WAITING_BYTES_MAX);
    }
    assert!(count * 1_000_000 > WAITING_BYTES_MAX && (count - 2) * 1_000_000 < WAITING_BYTES_MAX);
    home.due(u64::MAX);
    assert_eq!((home.channels.waiting(), home.channels.waiting_bytes), (0, 0));
}

#[test]
fn a_circle_leads_nowhere() {
    let mut home = Home::default();
    home.offer(follow("-", "0"), 0);
    home.offer(follow("1", "2"), 0);
    home.offer(follow("2", "1"), 0);
    home.offer(follow("s", "s"), 0);
    home.due(ITEM_WAIT_MS);
    assert_eq!(home.left().split(' ').count(), 4);
    assert_eq!(home.channels.waiting(), 0);
}

#[test]
fn holds_begin_behind_what_their_clients_have() {
    let mut home = Home::default();
    for (prev_id, id) in [("0", "1"), ("1", "2"), ("2", "3")] {
        home.offer(follow(prev_id, id), 0);
    }
    assert_eq!(home.begin("3"), Begin::End);
    assert_eq!(home.begin("2"), Begin::Behind(20));
    assert_eq!(home.begin("1"), Begin::Behind(10));
    assert_eq!(home.begin("0"), Begin::Gap);
    assert_eq!(home.begin("4"), Begin::Gap, "the client knows more than we");
    // What lies before a gap is no place to begin.
    home.offer(item("a", None, Some("x")), 0);
    assert_eq!(home.begin("3"), Begin::Gap);
    assert_eq!(home.begin("x"), Begin::End);
    home.offer(follow("x", "y"), 0);
    assert_eq!(home.begin("x"), Begin::Behind(40));
    home.channels.forget_before(41);
    assert_eq!((home.begin("x"), home.begin("y")), (Begin::Gap, Begin::End));
}

#[test]
fn the_first_hold_is_believed() {
    let mut home = Home::default();
    assert_eq!(home.begin("5"), Begin::End);
    assert_eq!(home.begin("5"), Begin::End);
    assert_eq!(home.begin("6"), Begin::Gap);
    home.offer(follow("5", "6"), 0);
    assert_eq!((home.begin("6"), home.begin("5")), (Begin::End, Begin::Behind(0)));
    assert_eq!(home.left(), "6");
    // A hold on a channel whose last item has no id is believed, too; what comes next doesn't follow what others have.
    home.offer(item("a", None, None), 0);
    assert_eq!(home.begin("9"), Begin::End);
    home.offer(follow("8", "10"), 0);
    assert_eq!(home.left(), "6!- 9!10");
}

#[test]
fn idle_channels_are_forgotten() {
    let mut home = Home::default();
    home.offer(item("quiet", None, Some("1")), 0);
    assert_eq!(home.begin("5"), Begin::End);
    home.due(CHANNEL_IDLE_MS - 1);
    assert_eq!(home.channels.len(), 2);
    home.due(CHANNEL_IDLE_MS);
    assert_eq!((home.channels.len(), home.begin("5"), home.begin("4")), (1, Begin::End, Begin::Gap));
    home.due(10 * CHANNEL_IDLE_MS);
    assert_eq!(home.channels.len(), 1);
}

#[test]
fn so_many_channels_are_known() {
    let mut home = Home::default();
    assert_eq!(home.begin("5"), Begin::End);
    for number in 0..CHANNELS_MAX {
        home.offer(item(&format!("c{number}"), None, None), 0);
    }
    assert_eq!((home.channels.len(), home.channels.next_due()), (CHANNELS_MAX, Some(0)));
    home.log.clear();
    home.due(0);
    assert_eq!((home.left().as_str(), home.channels.next_due()), ("a:5", None));
    assert_eq!(home.begin("7"), Begin::End);
    assert_eq!(home.channels.used.len(), CHANNELS_MAX);
}

/// Everything that was offered and what became of it, by looking through all of it each time.
#[derive(Default)]
struct Model {
    offered: Vec<(u64, Item)>,
    /// In the order in which they came.
    waiting: Vec<(u64, Item)>,
    left: Vec<(Item, bool)>,
}

impl Model {
    fn offer(&mut self, item: Item, now_ms: u64) -> Offered {
        let is_same = |at: u64, other: &Item| {
            at + ITEM_SEEN_MS > now_ms && other.channel == item.channel && item.id.is_some() && other.id == item.id
        };
        if self.offered.iter().any(|(at, other)| is_same(*at, other)) {
            return Offered::Duplicate;
        }
        self.offered.push((now_ms, item.clone()));
        if self.may_leave(&item) {
            self.leave(item);
            return Offered::Released;
        }
        self.waiting.push((now_ms, item));
        Offered::Waits
    }

    fn may_leave(&self, item: &Item) -> bool {
        let before = self.left.iter().rev().find(|(left, _)| left.channel == item.channel && !left.no_seq);
        let last = before.and_then(|(left, _)| left.id.as_ref());
        item.no_seq || last.is_none() || item.prev_id.is_none() || last == item.prev_id.as_ref()
    }

    fn leave(&mut self, item: Item) {
        let (channel, in_order) = (item.channel.clone(), !item.no_seq);
        let before = self.left.iter().rev().find(|(left, _)| left.channel == channel);
        let tail = before.and_then(|(left, _)| left.id.as_ref());
        let follows = tail.is_some() && tail == item.prev_id.as_ref();
        let id = item.id.clone();
        self.left.push((item, follows));
        let next = self.waiting.iter().position(|(_, one)| one.channel == channel && one.prev_id == id);
        if let (true, true, Some(next)) = (in_order, id.is_some(), next) {
            let (_, item) = self.waiting.remove(next);
            self.leave(item);
        }
    }

    fn due(&mut self, now_ms: u64) {
        while let Some(mut at) = self.waiting.iter().position(|(came, _)| came + ITEM_WAIT_MS <= now_ms) {
            let channel = self.waiting[at].1.channel.clone();
            for _ in self.waiting.iter().filter(|(_, one)| one.channel == channel) {
                let prev_id = &self.waiting[at].1.prev_id;
                let is_before = |one: &Item| one.channel == channel && one.id.is_some() && one.id == *prev_id;
                at = self.waiting.iter().position(|(_, one)| is_before(one)).unwrap_or(at);
            }
            let (_, item) = self.waiting.remove(at);
            self.leave(item);
        }
    }
}

/// A step of a publisher or of time.
#[derive(Clone, Debug)]
enum Step {
    Offer(Box<Item>),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = || prop::option::weighted(0.9, "[0-9]");
    let offer = ("[ab]", id(), id(), prop::bool::weighted(0.1)).prop_map(|(channel, prev_id, id, no_seq)| {
        Step::Offer(Box::new(Item { no_seq, ..item(&channel, prev_id.as_deref(), id.as_deref()) }))
    });
    let wait = prop::sample::select(vec![1, 100, ITEM_WAIT_MS - 1, ITEM_WAIT_MS, ITEM_SEEN_MS]).prop_map(Step::Wait);
    prop::collection::vec(prop_oneof![5 => offer, 1 => wait], 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is offered in whatever order: what leaves, in which order and with which gaps, is what the model says.
    #[test]
    fn any_order_is_the_models(steps in steps()) {
        let (mut home, mut model, mut now_ms) = (Home::default(), Model::default(), 0);
        for step in steps {
            match step {
                Step::Offer(item) => prop_assert_eq!(home.offer(*item.clone(), now_ms), model.offer(*item, now_ms)),
                Step::Wait(more) => {
                    now_ms += more;
                    home.due(now_ms);
                    model.due(now_ms);
                }
            }
            prop_assert_eq!(home.channels.waiting(), model.waiting.len());
            let first = model.waiting.iter().map(|(came, _)| came + ITEM_WAIT_MS).min();
            prop_assert_eq!(home.channels.next_due(), first);
        }
        let left = home.log.iter().map(|release| match release {
            Release::Item { item, continuity } => (item.clone(), *continuity == Continuity::Follows),
            Release::Forgotten { .. } => panic!("two channels aren't too many"),
        });
        prop_assert_eq!(left.collect::<Vec<_>>(), model.left);
    }

    /// A chain offered in any order within the time leaves whole and in order, each item once.
    #[test]
    fn a_chain_is_put_in_order(
        mut numbers in Just((1u32..40).collect::<Vec<_>>()).prop_shuffle(),
        twice in prop::collection::vec(0usize..39, 0..10),
    ) {
        let again = twice.into_iter().map(|at| numbers[at]).collect::<Vec<_>>();
        numbers.extend(again);
        let mut home = Home::default();
        home.offer(follow("-", "0"), 0);
        for (at, number) in numbers.iter().enumerate() {
            home.offer(follow(&(number - 1).to_string(), &number.to_string()), at as u64);
        }
        let expected = (1..40).map(|number: u32| number.to_string()).collect::<Vec<_>>();
        prop_assert_eq!(home.left(), format!("!0 {}", expected.join(" ")));
    }

    /// Whoever begins where a hold may begin sees exactly what follows what it has, up to the next gap.
    #[test]
    fn who_begins_behind_an_item_misses_nothing(steps in steps(), prev_id in "[0-9]") {
        let (mut home, mut now_ms) = (Home::default(), 0);
        for step in steps {
            match step {
                Step::Offer(item) => {
                    home.offer(*item, now_ms);
                }
                Step::Wait(more) => {
                    now_ms += more;
                    home.due(now_ms);
                }
            }
        }
        let Begin::Behind(offset) = home.begin(&prev_id) else { return Ok(()) };
        let (before, after) = home.log.split_at(offset as usize / 10);
        let id = |release: &Release| match release {
            Release::Item { item, .. } => item.id.clone(),
            Release::Forgotten { .. } => None,
        };
        let last = before.last().and_then(id);
        prop_assert_eq!(last.as_deref(), Some(prev_id.as_str()));
        let on_channel = |release: &&Release| matches!(release, Release::Item { item, .. } if *item.channel == *"a");
        let follows = |release: &Release| {
            matches!(release, Release::Item { continuity: Continuity::Follows, .. })
        };
        prop_assert!(after.iter().filter(on_channel).all(follows));
    }
}
