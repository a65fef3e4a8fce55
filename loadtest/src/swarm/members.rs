//! The two members that the publisher puts into documents, found in the data of a patch by a scan of its bytes: the hot
//! path of the swarm parses no JSON.

use memchr::memmem::Finder;

/// One of several writes in an event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write {
    /// The topic's counter.
    pub(crate) counter: u64,
    /// When it was meant to happen, in nanoseconds since 1970.
    pub(crate) time: Option<u64>,
    /// Where its members end in the data.
    pub(crate) end: usize,
}

/// When a frame was meant to be written, as far as its data tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Then, in nanoseconds since 1970.
    At(u64),
    /// When the one before it was: a patch of the counter alone, as the writes of a burst make.
    AsBefore,
    /// It doesn't say.
    Unknown,
}

/// Finds the counter and the moment after texts of the user's, or else the members of the publisher's documents in the data
/// of a patch, be it in a whole document (`"n":7`) or in the operation that replaces only the member (`…/n","value":7`).
#[derive(Debug, Clone)]
pub(crate) struct Members {
    counter: Vec<Finder<'static>>,
    time: Vec<Finder<'static>>,
    /// What only an operation on the counter has.
    operation: Option<Finder<'static>>,
}

/// In the operation that replaces the counter.
const OPERATION: &str = "/n\",\"value\":";

impl Members {
    /// Finders of the numbers behind these texts, or of the two members.
    pub(crate) fn new(counter: Option<&str>, time: Option<&str>) -> Members {
        let finders = |text: Option<&str>, member: [&str; 2]| {
            let texts = text.map_or(member.to_vec(), |text| vec![text]);
            texts.into_iter().map(|text| Finder::new(text).into_owned()).collect()
        };
        Members {
            counter: finders(counter, ["\"n\":", OPERATION]),
            time: finders(time, ["\"t\":", "/t\",\"value\":"]),
            operation: counter.is_none().then(|| Finder::new(OPERATION)),
        }
    }

    /// The topic's counter, the member `"n"`.
    pub(crate) fn counter(&self, data: &[u8]) -> Option<u64> {
        self.counter.iter().find_map(|finder| number(finder, data)).map(|(number, _)| number)
    }

    /// When the write was meant to happen, the member `"t"`.
    pub(crate) fn moment(&self, data: &[u8]) -> Moment {
        let named = self.time.iter().find_map(|finder| number(finder, data));
        let is_operation = |finder: &Finder<'_>| number(finder, data).is_some();
        match named {
            Some((time, _)) => Moment::At(time),
            None if self.operation.as_ref().is_some_and(is_operation) => Moment::AsBefore,
            None => Moment::Unknown,
        }
    }

    /// The next of several writes that came in one event's data, each with both members; nothing without a counter.
    pub(crate) fn write(&self, data: &[u8]) -> Option<Write> {
        let (counter, counter_end) = self.counter.iter().find_map(|finder| number(finder, data))?;
        let time = self.time.iter().find_map(|finder| number(finder, data));
        let end = counter_end.max(time.map_or(0, |(_, end)| end));
        Some(Write { counter, time: time.map(|(time, _)| time), end })
    }
}

/// A number behind the finder's text, and where it ends.
fn number(finder: &Finder<'_>, data: &[u8]) -> Option<(u64, usize)> {
    finder.find_iter(data).find_map(|at| {
        let start = at + finder.needle().len();
        let digits = data[start..].iter().take_while(|byte| byte.is_ascii_digit());
        let (number, length) = digits.fold((0_u64, 0), |(number, length), digit| {
            (number.saturating_mul(10).saturating_add(u64::from(digit - b'0')), length + 1)
        });
        (length > 0).then_some((number, start + length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_are_found_in_documents_and_in_operations() {
        let members = Members::new(None, None);
        let document = br#"[{"op":"add","path":"/m/n","value":{"id":"n","n":17,"p":"nt","t":1795218566123000001}}]"#;
        let found = |members: &Members, data: &[u8]| (members.counter(data), members.moment(data));
        assert_eq!(found(&members, document), (Some(17), Moment::At(1_795_218_566_123_000_001)));
        let operations =
            br#"[{"op":"replace","path":"/load/t0/n","value":5},{"op":"replace","path":"/load/t0/t","value":9}]"#;
        assert_eq!(found(&members, operations), (Some(5), Moment::At(9)));
        assert_eq!(found(&members, &operations[..47]), (Some(5), Moment::AsBefore));
        assert_eq!(found(&members, br#"[{"op":"add","path":"/m/7","value":{"n":5}}]"#), (Some(5), Moment::Unknown));
        let neither = br#"[{"op":"replace","path":"/load/n","value":{"n":"x","id":"n"}}]"#;
        assert_eq!(found(&members, neither), (None, Moment::Unknown));
        let several = br#"[{"n":1,"t":5},{"n":2,"t":6}]"#;
        let first = Write { counter: 1, time: Some(5), end: 13 };
        assert_eq!(members.write(several), Some(first));
        assert_eq!(members.write(&several[13..]), Some(Write { counter: 2, time: Some(6), end: 14 }));
        assert_eq!(members.write(&several[27..]), None);
        let others = Members::new(Some("seq="), Some("at="));
        assert_eq!(found(&others, b"seq=4 at=17"), (Some(4), Moment::At(17)));
    }
}
