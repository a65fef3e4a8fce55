//! The home of all channels, on core 0: their order, and their log, which is in memory only.
//!
//! A publication is put in order item by item; what leaves is appended, and one letter tells all cores of it. They say whom it
//! reached, and when all have, the publisher is answered. So whoever was told that it is published may count on it that every
//! core knows.
//!
//! Invariant: a core is told of a block before the first item in it, and of items in their order.

use std::sync::Arc;
use std::time::Instant;

use fantail_engine::grip::{self, Begin, Label, Offered, Release, StreamItem};
use fantail_engine::log::block::Extent;
use fantail_engine::log::tail::Tail;
use fantail_engine::topic;
use rustc_hash::FxHashMap;

use super::letter::{Letter, LetterBox};
use super::question::Answer;
use crate::audience::{CHANNELS, Continuity, Item, Items, Mark, Reach};

/// What a conversation wants of the channels.
pub(crate) enum ChannelQuestion {
    /// These items are published.
    Publish(Vec<grip::Item>),
    /// Everything that is held and can ask its origin is to do so.
    Recover,
    /// Where a hold begins: on each channel behind the item of this id, or at the end if there is none.
    Begin(Vec<(Arc<str>, Option<Arc<str>>)>),
}

/// What the home of the channels says.
pub(crate) enum ChannelAnswer {
    Published(Published),
    /// For each channel; and where the log ends.
    Begun(Vec<Begun>, Mark),
}

/// What became of a publication.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Published {
    /// Whom it reached.
    pub(crate) reach: Reach,
    /// Items that wait for the ones before them.
    pub(crate) waiting: usize,
    /// Items that were published before.
    pub(crate) duplicates: usize,
}

/// Where a hold begins on one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begun {
    /// At the end of the log.
    End,
    /// With the item of this sequence.
    With(u64),
    /// Nowhere: something is missing.
    Gap,
}

/// What the channels have seen since the start, and how they are now.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    /// Channels that are known.
    pub(crate) known: usize,
    /// Items that wait for the ones before them.
    pub(crate) waiting: usize,
    /// Items that were released.
    pub(crate) items: u64,
    /// Items that were dropped, as their ids had come before.
    pub(crate) duplicates: u64,
    /// Items that didn't follow what was before them, on channels of which something was known.
    pub(crate) gaps: u64,
}

/// A publication that not all cores have heard of.
struct Delivery {
    from: usize,
    ticket: usize,
    /// Cores that are still to say whom it reached.
    awaited: usize,
    published: Published,
}

/// See the module.
pub(super) struct Channels {
    order: grip::Channels,
    log: Log,
    boxes: Arc<[LetterBox]>,
    deliveries: FxHashMap<u64, Delivery>,
    /// Numbers deliveries.
    count: u64,
    begun: Instant,
}

/// What was released.
struct Log {
    tail: Tail,
    items: Items,
    /// Items with bytes, so far.
    events: u64,
    /// What the cores are to be told.
    news: Vec<Arc<Item>>,
    boxes: Arc<[LetterBox]>,
    name: Arc<str>,
    counts: Counts,
}

impl Channels {
    pub(super) fn new(boxes: Arc<[LetterBox]>) -> Channels {
        let log = Log {
            tail: Tail::new(0),
            items: Items::default(),
            events: 0,
            news: Vec::new(),
            boxes: Arc::clone(&boxes),
            name: CHANNELS.into(),
            counts: Counts::default(),
        };
        Channels {
            order: grip::Channels::new(),
            log,
            boxes,
            deliveries: FxHashMap::default(),
            count: 0,
            begun: Instant::now(),
        }
    }

    /// Answers a conversation on core `from`; none means that the answer comes once all cores have heard.
    pub(super) fn ask(&mut self, from: usize, ticket: usize, question: ChannelQuestion) -> Option<Answer> {
        let answer = match question {
            ChannelQuestion::Publish(items) => ChannelAnswer::Published(self.publish(from, ticket, items)?),
            ChannelQuestion::Recover => {
                let delivery = self.deliver(from, ticket, Published::default());
                self.boxes.iter().for_each(|letters| letters.post(Letter::Recover { delivery }));
                return None;
            }
            ChannelQuestion::Begin(channels) => self.begin(channels),
        };
        Some(Answer::Channels(answer))
    }

    /// Takes what is published; returns what became of it if that is nothing that a core needs to hear.
    fn publish(&mut self, from: usize, ticket: usize, items: Vec<grip::Item>) -> Option<Published> {
        let now_ms = self.now_ms();
        let mut published = Published::default();
        for item in items {
            match self.order.offer(item, now_ms, &mut |release| self.log.release(release)) {
                Offered::Released => {}
                Offered::Waits => published.waiting += 1,
                Offered::Duplicate => published.duplicates += 1,
            }
        }
        self.log.counts.duplicates += published.duplicates as u64;
        if self.log.news.is_empty() {
            return Some(published);
        }
        let delivery = self.deliver(from, ticket, published);
        self.tell(Some(delivery));
        None
    }

    /// A delivery that all cores will say something of.
    fn deliver(&mut self, from: usize, ticket: usize, published: Published) -> u64 {
        self.count += 1;
        let awaited = self.boxes.len();
        self.deliveries.insert(self.count, Delivery { from, ticket, awaited, published });
        self.count
    }

    /// Tells all cores of what was released.
    fn tell(&mut self, delivery: Option<u64>) {
        let start = self.log.tail.blocks().start().unwrap_or(0);
        if let Some(oldest) = self.log.items.first_at(start) {
            self.order.forget_before(oldest);
        }
        let items: Arc<[Arc<Item>]> = std::mem::take(&mut self.log.news).into();
        for letters in self.boxes.iter() {
            letters.post(Letter::Items { items: Arc::clone(&items), delivery });
        }
    }

    /// A core says whom a delivery reached.
    pub(super) fn reached(&mut self, number: u64, reach: Reach) {
        let Some(delivery) = self.deliveries.get_mut(&number) else { return };
        delivery.published.reach.add(reach);
        delivery.awaited -= 1;
        if delivery.awaited > 0 {
            return;
        }
        let Delivery { from, ticket, published, .. } = self.deliveries.remove(&number).expect("found just now");
        let answer = Answer::Channels(ChannelAnswer::Published(published));
        self.boxes[from].post(Letter::Answer { ticket, answer });
    }

    fn begin(&mut self, channels: Vec<(Arc<str>, Option<Arc<str>>)>) -> ChannelAnswer {
        let (now_ms, end) = (self.now_ms(), self.log.items.end());
        let begun = channels.into_iter().map(|(channel, prev_id)| {
            let Some(prev_id) = prev_id else { return Begun::End };
            match self.order.begin(&channel, &prev_id, end.sequence, now_ms) {
                Begin::End => Begun::End,
                Begin::Behind(sequence) => Begun::With(sequence),
                Begin::Gap => Begun::Gap,
            }
        });
        ChannelAnswer::Begun(begun.collect(), end)
    }

    /// Items that have waited for long enough go.
    pub(super) fn tick(&mut self) {
        let now_ms = self.now_ms();
        self.order.due(now_ms, &mut |release| self.log.release(release));
        if !self.log.news.is_empty() {
            self.tell(None);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { known: self.order.len(), waiting: self.order.waiting(), ..self.log.counts }
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

impl Log {
    /// Appends what leaves, and returns the sequence of what comes next.
    fn release(&mut self, release: Release) -> u64 {
        let item = match release {
            Release::Item { item, continuity } => {
                self.counts.items += 1;
                let continuity = match continuity {
                    grip::Continuity::Follows => Continuity::Follows,
                    grip::Continuity::Gap { after } => {
                        self.counts.gaps += u64::from(after.is_some());
                        Continuity::Gap
                    }
                };
                self.append(item, continuity)
            }
            Release::Forgotten { channel, after: _ } => Item {
                hash: topic::hash(&channel),
                channel,
                id: None,
                mark: self.items.end(),
                length: 0,
                continuity: Continuity::Gap,
                labels: [Label::default(), Label::default()],
                published: None,
            },
        };
        let item = Arc::new(item);
        self.items.push(Arc::clone(&item), self.tail.blocks().start().unwrap_or(0));
        let next = item.end().sequence;
        self.news.push(item);
        next
    }

    /// Appends the content of an item, if it has any; the rest of it travels beside.
    fn append(&mut self, mut item: grip::Item, continuity: Continuity) -> Item {
        let (hash, mark) = (topic::hash(&item.channel), self.items.end());
        let labels = [item.stream_label(), item.response_label()];
        let content = match &mut item.stream {
            Some(StreamItem::Send { content, .. }) => std::mem::take(content),
            Some(StreamItem::Hint | StreamItem::Close | StreamItem::Refresh) | None => Vec::new(),
        };
        if !content.is_empty() {
            self.events += 1;
            let length = content.len() as u32;
            let extent = Extent { start: mark.offset, length, collection: hash, document: hash };
            let appended = self.tail.append(&content, self.events, &[extent]);
            if appended.is_new {
                for letters in self.boxes.iter() {
                    let (stream, block) = (Arc::clone(&self.name), Arc::clone(&appended.block));
                    letters.post(Letter::Block { stream, block });
                }
            }
        }
        Item {
            channel: item.channel.as_ref().into(),
            hash,
            id: item.id.as_deref().map(Arc::from),
            mark,
            length: content.len() as u32,
            continuity,
            labels,
            published: Some(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn home() -> Channels {
        Channels::new([(); 2].map(|()| LetterBox::new().expect("an eventfd")).into())
    }

    fn publication(items: &[(&str, Option<&str>, Option<&str>, &str)]) -> Vec<grip::Item> {
        let item = |(channel, id, prev_id, content): &(&str, Option<&str>, Option<&str>, &str)| {
            let mut item = json!({"channel": channel, "formats": {"http-stream": {"content": content}}});
            for (name, id) in [("id", id), ("prev-id", prev_id)] {
                if let Some(id) = id {
                    item[name] = json!(id);
                }
            }
            item
        };
        let body = json!({"items": items.iter().map(item).collect::<Vec<_>>()});
        grip::publication(body.to_string().into_bytes()).expect("a publication")
    }

    /// The letters to a core, each in a few words.
    fn letters(home: &Channels, core: usize) -> Vec<String> {
        let told = |letter| match letter {
            Letter::Block { stream, block } => format!("{stream} block {}", block.start()),
            Letter::Items { items, delivery } => {
                let items = items.iter().map(|item| {
                    let id = item.id.as_deref().unwrap_or("-");
                    format!("{}:{id} {:?} {}+{}", item.channel, item.continuity, item.mark.offset, item.length)
                });
                format!("{delivery:?} {}", items.collect::<Vec<_>>().join(", "))
            }
            Letter::Recover { delivery } => format!("recover {delivery}"),
            Letter::Answer { ticket, answer: Answer::Channels(ChannelAnswer::Published(published)) } => {
                format!("answer {ticket}: {} listeners", published.reach.streams)
            }
            _ => panic!("no other letter is posted here"),
        };
        std::iter::from_fn(|| home.boxes[core].take()).map(told).collect()
    }

    #[test]
    fn a_block_comes_before_its_items_and_the_answer_when_all_have_heard() {
        let mut home = home();
        let items = publication(&[("a", Some("1"), None, "one"), ("b", None, None, "")]);
        assert!(home.ask(1, 7, ChannelQuestion::Publish(items)).is_none());
        for core in 0..2 {
            assert_eq!(letters(&home, core), ["/channels block 0", "Some(1) a:1 Gap 0+3, b:- Gap 3+0"]);
        }
        let reach = |streams| Reach { streams, ..Reach::default() };
        home.reached(1, reach(2));
        assert!(letters(&home, 1).is_empty());
        home.reached(1, reach(3));
        assert_eq!(letters(&home, 1), ["answer 7: 5 listeners"]);
        // Nothing that a core has to hear of is answered at once.
        let items = publication(&[("a", Some("1"), None, "one"), ("a", Some("3"), Some("2"), "three")]);
        let Some(Answer::Channels(ChannelAnswer::Published(published))) =
            home.ask(0, 8, ChannelQuestion::Publish(items))
        else {
            panic!("it is answered")
        };
        assert_eq!((published.waiting, published.duplicates), (1, 1));
        // What one releases goes in one letter.
        let items = publication(&[("a", Some("2"), Some("1"), "two")]);
        assert!(home.ask(0, 9, ChannelQuestion::Publish(items)).is_none());
        assert_eq!(letters(&home, 1), ["Some(2) a:2 Follows 3+3, a:3 Follows 6+5"]);
        assert!(home.ask(0, 10, ChannelQuestion::Recover).is_none());
        assert_eq!(letters(&home, 1), ["recover 3"]);
        assert_eq!((home.counts().items, home.counts().duplicates, home.counts().gaps), (4, 1, 0));
    }

    #[test]
    fn a_hold_begins_behind_what_its_client_has() {
        let mut home = home();
        let begin = |home: &mut Channels, channel: &str, prev_id: Option<&str>| {
            let question = ChannelQuestion::Begin(vec![(channel.into(), prev_id.map(Into::into))]);
            match home.ask(0, 1, question) {
                Some(Answer::Channels(ChannelAnswer::Begun(begun, end))) => (begun[0], end.sequence),
                _ => panic!("it is answered at once"),
            }
        };
        assert_eq!(begin(&mut home, "new", Some("7")), (Begun::End, 0));
        let items = publication(&[
            ("a", Some("1"), None, "1"),
            ("a", Some("2"), Some("1"), "2"),
            ("a", Some("3"), Some("2"), ""),
            ("new", Some("8"), Some("7"), "8"),
        ]);
        home.ask(0, 1, ChannelQuestion::Publish(items));
        assert_eq!(begin(&mut home, "a", Some("3")), (Begun::End, 4));
        // An item without bytes has its place, too.
        assert_eq!(begin(&mut home, "a", Some("2")), (Begun::With(2), 4));
        assert_eq!(begin(&mut home, "a", Some("1")), (Begun::With(1), 4));
        assert_eq!(begin(&mut home, "a", Some("0")), (Begun::Gap, 4));
        assert_eq!(begin(&mut home, "new", Some("7")), (Begun::With(0), 4));
        assert_eq!(begin(&mut home, "a", None), (Begun::End, 4));
    }
}
