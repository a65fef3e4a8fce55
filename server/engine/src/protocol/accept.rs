//! Which form of a resource a client wants, and which form of body it sends (RFC 9110, sections 8.3 and 12.5.1).
//!
//! Elements that aren't media ranges and weights that aren't numbers are passed over, and `*` and `.2` are understood,
//! as Java's own client sends them. Invariant: a stream is never chosen for a client that didn't name it.

use crate::protocol::field::{elements, parameter, says, split};

/// The two forms in which a resource can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `application/json`: the resource as it is now.
    Json,
    /// `text/event-stream`: how it changes from now on.
    Events,
}

/// Chooses the form of an answer, given the values of all `Accept` fields. Events are chosen only if they are named and
/// rank above JSON; wildcards, ties and silence mean JSON. `None` means that neither is acceptable: 406.
pub fn choose<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> Option<Form> {
    let wishes = Wishes::read(accept);
    let names_events = wishes.events.precision == Precision::Exact;
    match (wishes.json.weight, wishes.events.weight) {
        _ if wishes.silent => Some(Form::Json),
        (json, events) if names_events && events > json => Some(Form::Events),
        (0, _) => None,
        (_, _) => Some(Form::Json),
    }
}

/// How the control listener answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// `text/plain`
    Text,
    /// `application/json`
    Json,
}

/// How a publisher is to be answered, given the values of all `Accept` fields, as Pushpin reads them: the last range that is
/// understood counts, whatever it weighs, and wildcards mean text unless they say `application`. Silence means text, `None` that
/// neither is acceptable.
pub fn notice<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> Option<Notice> {
    let mut is_silent = true;
    let mut last = None;
    for element in accept.into_iter().flat_map(elements) {
        is_silent = false;
        let essence = split(element, b';').next().unwrap_or_default();
        let is = |range: &str| essence.eq_ignore_ascii_case(range.as_bytes());
        if is("text/plain") || is("text/*") || is("*/*") || is("*") {
            last = Some(Notice::Text);
        } else if is("application/json") || is("application/*") {
            last = Some(Notice::Json);
        }
    }
    match is_silent {
        true => Some(Notice::Text),
        false => last,
    }
}

/// Whether a client that can only be served events takes them, by name or by wildcard. Silence means yes.
pub fn accepts_events<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let wishes = Wishes::read(accept);
    wishes.silent || wishes.events.weight > 0
}

/// The kinds of bodies that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/json-patch+json` (RFC 6902)
    JsonPatch,
    /// `application/merge-patch+json` (RFC 7396)
    MergePatch,
    /// Anything else, malformed types and charsets other than UTF-8 included: 415.
    Other,
}

/// The kind of body that a `Content-Type` announces. Parameters other than `charset` mean nothing.
#[must_use]
pub fn media(content_type: &[u8]) -> Media {
    let mut parts = split(content_type, b';');
    let essence = parts.next().unwrap_or_default();
    let is_utf8 = parts
        .map(parameter)
        .all(|(name, value)| !name.eq_ignore_ascii_case(b"charset") || says(value, "utf-8") || says(value, "utf8"));
    let is = |name: &[u8]| is_utf8 && essence.eq_ignore_ascii_case(name);
    match () {
        () if is(b"application/json") => Media::Json,
        () if is(b"application/json-patch+json") => Media::JsonPatch,
        () if is(b"application/merge-patch+json") => Media::MergePatch,
        () => Media::Other,
    }
}

/// What the `Accept` fields say about each form.
struct Wishes {
    /// Whether they name nothing at all.
    silent: bool,
    json: Wish,
    events: Wish,
}

/// The weight of the most precise range that matches a form; the highest, if there are several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    precision: Precision,
    /// In thousandths; 0 is a refusal.
    weight: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Unmatched,
    Any,
    Type,
    Exact,
}

impl Wishes {
    fn read<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> Wishes {
        let none = Wish { precision: Precision::Unmatched, weight: 0 };
        let mut wishes = Wishes { silent: true, json: none, events: none };
        for element in accept.into_iter().flat_map(elements) {
            wishes.silent = false;
            let mut parts = split(element, b';');
            let range = parts.next().unwrap_or_default();
            let weight = match parts.map(parameter).find(|(name, _)| name.eq_ignore_ascii_case(b"q")) {
                Some((_, text)) => weight(text),
                None => Some(1000),
            };
            if let Some(weight) = weight {
                wishes.json = wishes.json.max(Wish { precision: precision(range, "application", "json"), weight });
                wishes.events = wishes.events.max(Wish { precision: precision(range, "text", "event-stream"), weight });
            }
        }
        wishes.json = wishes.json.or_none();
        wishes.events = wishes.events.or_none();
        wishes
    }
}

impl Wish {
    /// A range that doesn't match wishes nothing, whatever its weight.
    fn or_none(self) -> Wish {
        match self.precision {
            Precision::Unmatched => Wish { weight: 0, ..self },
            Precision::Any | Precision::Type | Precision::Exact => self,
        }
    }
}

fn precision(range: &[u8], kind: &str, subkind: &str) -> Precision {
    let slash = memchr::memchr(b'/', range).unwrap_or(range.len());
    let (range_kind, range_subkind) = (&range[..slash], range.get(slash + 1..).unwrap_or(b"*"));
    let is_kind = range_kind.eq_ignore_ascii_case(kind.as_bytes());
    match (range_kind, range_subkind) {
        (b"*", b"*") => Precision::Any,
        (_, b"*") if is_kind && slash < range.len() => Precision::Type,
        (_, _) if is_kind && range_subkind.eq_ignore_ascii_case(subkind.as_bytes()) => Precision::Exact,
        (_, _) => Precision::Unmatched,
    }
}

/// A weight (RFC 9110, section 12.4.2) in thousandths: 0 to 1, of which the fraction's first three digits count.
fn weight(text: &[u8]) -> Option<u16> {
    let dot = memchr::memchr(b'.', text).unwrap_or(text.len());
    let (whole, fraction) = (&text[..dot], text.get(dot + 1..).unwrap_or_default());
    let whole = match whole {
        b"0" => 0,
        b"1" => 1000,
        b"" if !fraction.is_empty() => 0,
        _ => return None,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Some(1000.min(whole + thousandths))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixture;
    use proptest::prelude::*;

    fn lines(case: &fixture::Case) -> impl Iterator<Item = &[u8]> {
        case.lines.iter().map(Vec::as_slice)
    }

    #[test]
    fn publishers_are_answered_as_pushpin_answers_them() {
        for (accept, expected) in [
            (None, Some(Notice::Text)),
            (Some(""), Some(Notice::Text)),
            (Some("*/*"), Some(Notice::Text)),
            (Some("application/json"), Some(Notice::Json)),
            (Some("application/JSON; charset=utf-8"), Some(Notice::Json)),
            (Some("application/json, text/plain, */*"), Some(Notice::Text)),
            (Some("text/plain, application/*;q=0.1"), Some(Notice::Json)),
            (Some("text/html"), None),
        ] {
            assert_eq!(notice(accept.map(str::as_bytes)), expected, "{accept:?}");
        }
    }

    #[test]
    fn each_accept_gets_its_form() {
        fixture::check(include_str!("../../../../fixtures/requests/accept.txt"), |case| {
            let get = choose(lines(case)).map_or("406".to_owned(), |form| format!("{form:?}"));
            let subscribe = if accepts_events(lines(case)) { "Events" } else { "406" };
            format!("GET {get}, SUBSCRIBE {subscribe}")
        });
    }

    #[test]
    fn each_content_type_gets_its_media() {
        fixture::check(include_str!("../../../../fixtures/requests/content-types.txt"), |case| {
            format!("{:?}", media(&case.input))
        });
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = media(&bytes);
            let _ = accepts_events([&bytes[..]]);
        }

        #[test]
        fn events_are_chosen_only_by_name(accept in "([a-z*/;=q0-9., \"]|text/|event-stream|application/json){0,12}") {
            if choose([accept.as_bytes()]) == Some(Form::Events) {
                prop_assert!(accept.contains("text/event-stream"));
                prop_assert!(accepts_events([accept.as_bytes()]));
            }
        }
    }
}
