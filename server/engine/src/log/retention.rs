//! How much of a log is kept: at least the newest events within an age, a length and a count, in whole segments.
//!
//! A segment goes when any rule that is set says that it may. So what is younger than the age may still go, if the log is
//! longer than what is kept; and a log is longer than that by up to a segment, and by what no checkpoint reflects yet.

/// Parts of [`Retention::age_ms`] after which a segment is sealed, however little it holds: an event outlives the age by
/// one of them at most.
const PARTS_OF_AGE: u64 = 8;

/// What is kept of a log; each rule may be missing. Without any, everything is kept.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Retention {
    /// Milliseconds after which an event may go.
    pub age_ms: Option<u64>,
    /// Bytes of the newest events that stay.
    pub bytes: Option<u64>,
    /// Newest events that stay.
    pub events: Option<u64>,
}

impl Retention {
    /// Whether a segment stays, whose newest event is `age_ms` old and that `bytes` and `events` follow.
    #[must_use]
    pub fn keeps(&self, age_ms: u64, bytes: u64, events: u64) -> bool {
        let is_long = self.bytes.is_some_and(|kept| bytes >= kept);
        let is_many = self.events.is_some_and(|kept| events >= kept);
        !(self.is_too_old(age_ms) || is_long || is_many)
    }

    /// Whether a segment whose newest event is `age_ms` old goes for its age.
    #[must_use]
    pub fn is_too_old(&self, age_ms: u64) -> bool {
        self.age_ms.is_some_and(|kept| age_ms > kept)
    }

    /// Whether a segment whose oldest event is `age_ms` old is to be sealed, so that what comes next doesn't keep it.
    #[must_use]
    pub fn seals_after(&self, age_ms: u64) -> bool {
        self.age_ms.is_some_and(|kept| age_ms > kept / PARTS_OF_AGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_rule_lets_a_segment_go_and_none_keeps_everything() {
        assert!(Retention::default().keeps(u64::MAX, u64::MAX, u64::MAX));
        let all = Retention { age_ms: Some(100), bytes: Some(1_000), events: Some(10) };
        assert!(all.keeps(100, 999, 9), "each rule is at its bound");
        assert!(!all.keeps(101, 0, 0) && !all.keeps(0, 1_000, 0) && !all.keeps(0, 0, 10));
        assert!(!all.seals_after(12) && all.seals_after(13) && !Retention::default().seals_after(u64::MAX));
    }
}
