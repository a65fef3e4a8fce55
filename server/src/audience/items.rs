//! The newest items of the channels, as a core was told of them: what a seat that walks alone, or that begins now, must know of
//! them beside their bytes.
//!
//! Invariant: the items are gapless by sequence, and ordered by offset; they stay as long as the tail has their bytes, and no
//! more than [`ITEMS_MAX`] of them.

use std::collections::VecDeque;
use std::sync::Arc;

use fantail_engine::grip::{self, Label, ResponseItem, StreamItem};

use super::subscriptions::Subscription;
use crate::limits::ITEMS_MAX;

/// A place in the channel log, between two items.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Mark {
    /// The sequence of the item after it: those without bytes have one, too.
    pub sequence: u64,
    /// Offset of the byte after it.
    pub offset: u64,
}

/// Whether an item follows the one before it on its channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Continuity {
    /// Nothing is missing between them, as far as the publisher says.
    Follows,
    /// Something is missing: those that count on it ask their next link.
    Gap,
}

/// One item, as it was released: the same for all cores.
#[derive(Debug)]
pub struct Item {
    /// The channel's name.
    pub channel: Arc<str>,
    /// [`fantail_engine::topic::hash`] of it.
    pub hash: u64,
    /// What its publisher calls it.
    pub id: Option<Arc<str>>,
    /// Where it begins.
    pub mark: Mark,
    /// Bytes of the log that are its content.
    pub length: u32,
    /// How it relates to the item before it.
    pub continuity: Continuity,
    /// What the screens of held streams look at, and those of held responses.
    pub labels: [Label; 2],
    /// What was published, without the content that the log has; none if its home only forgot the channel.
    pub published: Option<grip::Item>,
}

impl Item {
    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> Mark {
        Mark { sequence: self.mark.sequence + 1, offset: self.mark.offset + u64::from(self.length) }
    }

    /// What it does to the streams that are held on its channel.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamItem> {
        self.published.as_ref()?.stream.as_ref()
    }

    /// What it does to the responses that are held on its channel.
    #[must_use]
    pub fn response(&self) -> Option<&ResponseItem> {
        self.published.as_ref()?.response.as_ref()
    }
}

/// See the module.
#[derive(Default, Debug)]
pub struct Items {
    items: VecDeque<Arc<Item>>,
    /// Where the next one begins.
    end: Mark,
}

impl Items {
    /// Where the next item will begin.
    #[must_use]
    pub fn end(&self) -> Mark {
        self.end
    }

    /// Adds the next item. Those go whose bytes the tail, which begins at offset `start`, doesn't have.
    pub fn push(&mut self, item: Arc<Item>, start: u64) {
        debug_assert!(self.items.is_empty() || item.mark == self.end, "items come in order");
        self.end = item.end();
        self.items.push_back(item);
        while self.items.len() > ITEMS_MAX || self.items.front().is_some_and(|oldest| oldest.mark.offset < start) {
            self.items.pop_front();
        }
    }

    /// The items from `mark` on; none if some of them are forgotten.
    pub fn since(&self, mark: Mark) -> Option<impl Iterator<Item = &Arc<Item>>> {
        let first = self.items.front().map_or(self.end.sequence, |oldest| oldest.mark.sequence);
        // A mark that this core wasn't told of yet has nothing behind it.
        let skipped = mark.sequence.checked_sub(first)?;
        Some(self.items.range((skipped as usize).min(self.items.len())..))
    }

    /// Where those who follow all of a subscription's channels go on together, if they begin each of them with the item of the
    /// sequence in `starts`: where the last one begins. And what they are owed of the others before that, whether or not
    /// it is for them. None if some of it is forgotten. Nothing is known behind `end`.
    #[must_use]
    pub fn align(&self, subscription: &Subscription, starts: &[u64], end: Mark) -> Option<(Mark, Vec<Arc<Item>>)> {
        let (first, last) = (*starts.iter().min()?, *starts.iter().max()?);
        let (mut mark, mut owed) = (end, Vec::new());
        for item in self.since(Mark { sequence: first, offset: 0 })? {
            if item.mark.sequence == last {
                mark = item.mark;
                break;
            }
            if let Some((index, _)) = subscription.channel(item.hash)
                && item.mark.sequence >= starts[index]
            {
                owed.push(Arc::clone(item));
            }
        }
        Some((mark, owed))
    }

    /// The sequence of the first item at or behind `offset`, if there is one.
    #[must_use]
    pub fn first_at(&self, offset: u64) -> Option<u64> {
        let first = self.items.partition_point(|item| item.mark.offset < offset);
        self.items.get(first).map(|item| item.mark.sequence)
    }

    /// The item that holds the byte at `offset`, unless it is forgotten.
    pub(super) fn at(&self, offset: u64) -> Option<&Arc<Item>> {
        let after = self.items.partition_point(|item| item.mark.offset <= offset);
        // Items without bytes begin where the next one does.
        let item = self.items.get(after.checked_sub(1)?)?;
        (offset < item.end().offset).then_some(item)
    }
}

#[cfg(test)]
mod tests {
    use fantail_engine::grip::Screen;

    use super::*;
    use crate::audience::{Followed, Tracking};

    fn item(sequence: u64, offset: u64, length: u32) -> Arc<Item> {
        on(7, sequence, offset, length)
    }

    fn on(hash: u64, sequence: u64, offset: u64, length: u32) -> Arc<Item> {
        Arc::new(Item {
            channel: "c".into(),
            hash,
            id: None,
            mark: Mark { sequence, offset },
            length,
            continuity: Continuity::Follows,
            labels: [Label::default(), Label::default()],
            published: None,
        })
    }

    #[test]
    fn items_are_found_by_offset_and_by_sequence_until_the_tail_forgets_them() {
        let mut items = Items::default();
        for (sequence, offset, length) in [(0, 0, 10), (1, 10, 0), (2, 10, 5), (3, 15, 0)] {
            items.push(item(sequence, offset, length), 0);
        }
        let at = |items: &Items, offset| items.at(offset).map(|item| item.mark.sequence);
        assert_eq!([0, 9, 10, 14, 15].map(|offset| at(&items, offset)), [Some(0), Some(0), Some(2), Some(2), None]);
        let since = |items: &Items, sequence| {
            let since = items.since(Mark { sequence, offset: 0 })?;
            Some(since.map(|item| item.mark.sequence).collect::<Vec<_>>())
        };
        assert_eq!(
            [since(&items, 1), since(&items, 4), since(&items, 9)],
            [Some(vec![1, 2, 3]), Some(vec![]), Some(vec![])]
        );
        items.push(item(4, 15, 1), 10);
        assert_eq!((since(&items, 0), since(&items, 1)), (None, Some(vec![1, 2, 3, 4])));
        assert_eq!((at(&items, 0), items.end()), (None, Mark { sequence: 5, offset: 16 }));
    }

    #[test]
    fn channels_that_begin_at_different_places_go_on_together() {
        let followed = |hash| Followed { name: "c".into(), hash, tracking: Tracking::Tracked };
        let channels = [followed(1), followed(2)].into();
        let subscription = Subscription { channels, screen: Screen::default() };
        let mut items = Items::default();
        for (hash, sequence) in [(1, 0), (2, 1), (1, 2), (3, 3), (2, 4), (1, 5)] {
            items.push(on(hash, sequence, sequence * 10, 10), 0);
        }
        let end = items.end();
        let align = |items: &Items, starts: [u64; 2]| {
            let (mark, owed) = items.align(&subscription, &starts, end)?;
            Some((mark, owed.iter().map(|item| item.mark.sequence).collect::<Vec<_>>()))
        };
        assert_eq!(align(&items, [6, 6]), Some((end, vec![])));
        assert_eq!(align(&items, [2, 6]), Some((end, vec![2, 5])));
        assert_eq!(align(&items, [5, 1]), Some((Mark { sequence: 5, offset: 50 }, vec![1, 4])));
        assert_eq!(align(&items, [0, 0]), Some((Mark::default(), vec![])));
        items.push(on(1, 6, 60, 10), 20);
        assert_eq!(align(&items, [1, 6]), None, "what was owed is forgotten");
    }

    #[test]
    fn items_without_bytes_have_a_bound() {
        let mut items = Items::default();
        (0..ITEMS_MAX as u64 + 2).for_each(|sequence| items.push(item(sequence, 0, 0), 0));
        assert!(items.since(Mark { sequence: 1, offset: 0 }).is_none());
        assert!(items.since(Mark { sequence: 2, offset: 0 }).is_some());
    }
}
