//! Conditions of a request: `If-Match` and `If-None-Match` (RFC 9110, section 13).
//!
//! Refused are fields that are neither `*` nor a list of entity tags, and lists of more than [`ENTITY_TAGS_MAX`]. Dates are
//! no conditions here, as nothing has a `Last-Modified`. A [`Guard`] is owned, so that it can be judged on another thread,
//! at the moment of the change that it guards.

use crate::limits::ENTITY_TAGS_MAX;
use crate::protocol::field::trim;

/// The conditions of one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guard {
    /// The request is meant for a representation that matches this.
    pub if_match: Option<Condition>,
    /// The request is meant for a representation that doesn't match this.
    pub if_none_match: Option<Condition>,
}

/// What one of the two fields names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `*`: whatever exists.
    Any,
    /// The representations with these tags.
    Tags(Vec<Tag>),
}

/// An entity tag (RFC 9110, section 8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Whether it is weak, written `W/"…"`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: Box<[u8]>,
}

/// What a [`Guard`] says about the state that a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// `If-Match` isn't met: 412.
    Failed,
    /// `If-None-Match` isn't met: 304 to `GET` and `HEAD`, 412 to other methods.
    NotModified,
}

impl Guard {
    /// Reads the values of all `If-Match` and all `If-None-Match` fields.
    ///
    /// # Errors
    /// A field is malformed or too long.
    pub fn parse<'a>(
        if_match: impl IntoIterator<Item = &'a [u8]>,
        if_none_match: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Guard, ConditionError> {
        Ok(Guard { if_match: Condition::parse(if_match)?, if_none_match: Condition::parse(if_none_match)? })
    }

    /// Judges the current representation, given by its strong entity tag without quotes, or by `None` if there is none.
    /// `If-Match` goes first (section 13.2.2) and compares strongly, `If-None-Match` weakly (section 8.8.3.2).
    #[must_use]
    pub fn judge(&self, current: Option<&str>) -> Verdict {
        let meets = |condition: &Condition, weak_too: bool| {
            current.is_some_and(|current| condition.names(current.as_bytes(), weak_too))
        };
        match (&self.if_match, &self.if_none_match) {
            (Some(condition), _) if !meets(condition, false) => Verdict::Failed,
            (_, Some(condition)) if meets(condition, true) => Verdict::NotModified,
            (_, _) => Verdict::Pass,
        }
    }
}

impl Condition {
    /// Reads the lines of one field; `None` if there is none. An empty list is a condition that names nothing.
    fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Condition>, ConditionError> {
        let mut condition = None;
        for line in lines {
            condition = match (condition, trim(line)) {
                (None, b"*") => Some(Condition::Any),
                (None, list) => Some(Condition::Tags(parse_tags(Vec::new(), list)?)),
                (Some(Condition::Tags(tags)), list) => Some(Condition::Tags(parse_tags(tags, list)?)),
                (Some(Condition::Any), _) => return Err(ConditionError::Malformed),
            };
        }
        Ok(condition)
    }

    fn names(&self, opaque: &[u8], weak_too: bool) -> bool {
        match self {
            Condition::Any => true,
            Condition::Tags(tags) => tags.iter().any(|tag| (weak_too || !tag.weak) && *tag.opaque == *opaque),
        }
    }
}

/// Adds the tags of a comma-separated list. Commas may stand inside tags and backslashes escape nothing there, so this
/// isn't a list of tokens and quoted strings.
fn parse_tags(mut tags: Vec<Tag>, list: &[u8]) -> Result<Vec<Tag>, ConditionError> {
    let mut rest = trim(list);
    while !rest.is_empty() {
        if let Some(after_comma) = rest.strip_prefix(b",") {
            rest = trim(after_comma);
            continue;
        }
        let (weak, quoted) = rest.strip_prefix(b"W/").map_or((false, rest), |quoted| (true, quoted));
        let text = quoted.strip_prefix(b"\"").ok_or(ConditionError::Malformed)?;
        let end = memchr::memchr(b'"', text).ok_or(ConditionError::Malformed)?;
        let (opaque, after_tag) = (&text[..end], trim(&text[end + 1..]));
        let is_tag = opaque.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        if !is_tag || !matches!(after_tag, [] | [b',', ..]) {
            return Err(ConditionError::Malformed);
        }
        if tags.len() == ENTITY_TAGS_MAX {
            return Err(ConditionError::Many);
        }
        tags.push(Tag { weak, opaque: opaque.into() });
        rest = after_tag;
    }
    Ok(tags)
}

/// Why a condition is refused: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Neither `*` nor a list of entity tags.
    #[error("If-Match and If-None-Match are either * or a list of entity tags in double quotes")]
    Malformed,
    /// More than [`ENTITY_TAGS_MAX`] tags.
    #[error("a condition has more than {ENTITY_TAGS_MAX} entity tags")]
    Many,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixture;
    use proptest::prelude::*;

    /// The first line of a case is the current tag, if any; the others are `if-match:` or `if-none-match:` fields.
    #[test]
    fn guards_get_their_verdict() {
        fixture::check(include_str!("../../../../fixtures/requests/conditions.txt"), |case| {
            let (current, fields) = case.lines.split_first().expect("a case says what is current");
            let current = str::from_utf8(current).expect("a tag is text").strip_prefix("current ");
            let named = |name: &'static [u8]| fields.iter().filter_map(move |field| field.strip_prefix(name));
            match Guard::parse(named(b"if-match:"), named(b"if-none-match:")) {
                Ok(guard) => format!("{:?}", guard.judge(current)),
                Err(error) => format!("400 {error}"),
            }
        });
    }

    #[test]
    fn the_number_of_tags_is_bounded() {
        let tags = vec![b"\"a\"".as_slice(); ENTITY_TAGS_MAX + 1];
        assert!(Guard::parse(tags[1..].iter().copied(), []).is_ok());
        assert_eq!(Guard::parse(tags, []), Err(ConditionError::Many));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Guard::parse([&bytes[..]], [&bytes[..]]).map(|guard| guard.judge(Some("a")));
        }

        #[test]
        fn tags_are_read_as_they_are_written(opaques in prop::collection::vec("[!#-~\u{80}-\u{ff}]{0,8}", 1..8)) {
            let list = opaques.iter().map(|opaque| format!("\"{opaque}\"")).collect::<Vec<_>>().join(" ,");
            let guard = Guard::parse([list.as_bytes()], []).expect("a list of tags");
            for opaque in &opaques {
                prop_assert_eq!(guard.judge(Some(opaque)), Verdict::Pass);
            }
        }
    }
}
