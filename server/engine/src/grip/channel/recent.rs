//! What was noted last: a bounded map that forgets its oldest entries.

use std::collections::{HashMap, VecDeque};

/// Values by key, at most so many, in the order in which they were noted.
pub(super) struct Recent<V> {
    max: usize,
    /// The value, and which note of its key it is.
    values: HashMap<u128, (u64, V)>,
    /// Keys in order. One that was noted again stands here twice, and its first place means nothing.
    order: VecDeque<(u128, u64)>,
    count: u64,
}

impl<V: Copy> Recent<V> {
    pub(super) fn new(max: usize) -> Recent<V> {
        Recent { max, values: HashMap::new(), order: VecDeque::new(), count: 0 }
    }

    pub(super) fn value(&self, key: u128) -> Option<V> {
        self.values.get(&key).map(|(_, value)| *value)
    }

    pub(super) fn insert(&mut self, key: u128, value: V) {
        if self.order.len() == self.max {
            self.forget_oldest();
        }
        self.count += 1;
        self.values.insert(key, (self.count, value));
        self.order.push_back((key, self.count));
    }

    /// Notes a key that isn't there; says whether it wasn't.
    pub(super) fn insert_new(&mut self, key: u128, value: V) -> bool {
        let is_new = !self.values.contains_key(&key);
        if is_new {
            self.insert(key, value);
        }
        is_new
    }

    /// Forgets the oldest ones as long as they are old.
    pub(super) fn forget_while(&mut self, is_old: impl Fn(V) -> bool) {
        while let Some((key, count)) = self.order.front()
            && self.values.get(key).is_none_or(|(current, value)| current != count || is_old(*value))
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((key, count)) = self.order.pop_front()
            && self.values.get(&key).is_some_and(|(current, _)| *current == count)
        {
            self.values.remove(&key);
        }
    }
}
