//! What an origin has at a URL: one document, or a collection of them.
//!
//! A document is a JSON object, whatever is in it. A collection is an array of objects that each say which document they are, or an
//! object with one such array among its members, as many APIs wrap it (`{"count":2,"results":[…]}`). An object says which document
//! it is by an `id` that is a text or an integer, or by a `url`, `href` or `self` whose last segment names it. Refused is
//! everything else: a collection that is half understood would be half a collection.

use std::collections::HashSet;

use crate::json::{self, JsonError, Value};
use crate::limits::LISTING_DOCUMENTS_MAX;
use crate::protocol::field;
use crate::protocol::http1::Answer;
use crate::topic::{self, Place};

/// What is at a URL.
#[derive(Debug, PartialEq)]
pub struct Listing {
    /// Documents and what they are.
    pub documents: Vec<(Place, Value)>,
    /// Whether a collection has no other documents: this isn't one page of several.
    pub is_whole: bool,
}

impl Listing {
    /// Reads what an origin has answered for `place`.
    ///
    /// # Errors
    /// Why it can't be followed.
    pub fn read(place: &Place, content: Vec<u8>) -> Result<Listing, ListingError> {
        let value = json::parse(content)?;
        if !place.is_collection() {
            return match value.is_object() {
                true => Ok(Listing { documents: vec![(place.clone(), value)], is_whole: true }),
                false => Err(ListingError::Document),
            };
        }
        let (elements, is_whole) = match value {
            Value::Array(elements) => (elements, true),
            Value::Object(mut members) => {
                let has_next = members.get("next").is_some_and(|next| !next.is_null());
                let lists = members.iter_mut().filter_map(|(_, member)| match member {
                    Value::Array(elements) if elements.iter().all(|element| name(element).is_some()) => Some(elements),
                    _ => None,
                });
                let mut lists = lists.map(std::mem::take);
                match (lists.next(), lists.next()) {
                    (Some(elements), None) => (elements, !has_next),
                    (None, _) | (Some(_), Some(_)) => return Err(ListingError::Collection),
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(ListingError::Collection);
            }
        };
        if elements.len() > LISTING_DOCUMENTS_MAX {
            return Err(ListingError::Many);
        }
        let (mut documents, mut names) = (Vec::with_capacity(elements.len()), HashSet::with_capacity(elements.len()));
        for element in elements {
            let place = name(&element).and_then(|name| place.child(&name).ok()).ok_or(ListingError::Collection)?;
            if !names.insert(place.clone()) {
                return Err(ListingError::Collection);
            }
            documents.push((place, element));
        }
        Ok(Listing { documents, is_whole })
    }
}

/// Whether an answer says that it is one page, and that another one follows (RFC 8288).
#[must_use]
pub fn has_next(answer: &Answer<'_>) -> bool {
    let is_next = |parameter: &[u8]| {
        let (name, value) = field::parameter(parameter);
        name.eq_ignore_ascii_case(b"rel") && field::says(value, "next")
    };
    answer.fields("Link").flat_map(field::elements).any(|link| field::split(link, b';').skip(1).any(is_next))
}

/// What an object calls itself, if that can be the name of a document.
#[must_use]
pub fn name(value: &Value) -> Option<String> {
    let members = value.as_object()?;
    let name = match members.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) if id.is_i64() || id.is_u64() => id.to_string(),
        Some(_) => return None,
        None => {
            let url = ["url", "href", "self"].iter().find_map(|name| members.get(*name)?.as_str())?;
            let path = url.split(['?', '#']).next().unwrap_or_default();
            let last = path.strip_suffix('/').unwrap_or(path).rsplit('/').next().unwrap_or_default();
            percent_encoding::percent_decode_str(last).decode_utf8().ok()?.into_owned()
        }
    };
    topic::check_name(&name).is_ok().then_some(name)
}

/// Why what an origin has can't be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// It isn't JSON, or JSON that Fantail refuses.
    #[error("it isn't JSON that can be kept: {0}")]
    Json(#[from] JsonError),
    /// A document's URL has no object.
    #[error("a URL of two, four or more segments below its route is a document's, and a document is a JSON object")]
    Document,
    /// A collection's URL has nothing that is understood as one.
    #[error(
        "a URL of one, three or more segments below its route is a collection's: a JSON array of objects with an id each, or an \
         object with one such array"
    )]
    Collection,
    /// It has more documents than [`LISTING_DOCUMENTS_MAX`].
    #[error("the collection has more than {LISTING_DOCUMENTS_MAX} documents")]
    Many,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::{Method, ParsedAnswer, parse_answer};
    use crate::topic::Mount;

    fn read(path: &str, content: &str) -> Result<(Vec<String>, bool), ListingError> {
        let place = Mount::new(None, "/api").place(path).expect("a path");
        let Listing { documents, is_whole } = Listing::read(&place, content.as_bytes().to_vec())?;
        Ok((documents.iter().map(|(place, _)| place.path().to_owned()).collect(), is_whole))
    }

    #[test]
    fn collections_are_understood_in_their_usual_forms() {
        let both = || Ok((vec!["m/7".to_owned(), "m/a".to_owned()], true));
        assert_eq!(read("/api/m", r#"[{"id":7},{"id":"a","x":[{"id":1}]}]"#), both());
        assert_eq!(read("/api/m/", r#"{"count":2,"next":null,"tags":["x"],"results":[{"id":7},{"id":"a"}]}"#), both());
        assert_eq!(read("/api/m", r#"{"m":[{"url":"http://x/api/m/7/?y"},{"self":"/m/a"}]}"#), both());
        assert_eq!(read("/api/m", r#"{"next":"/api/m?page=2","m":[{"id":7}]}"#), Ok((vec!["m/7".to_owned()], false)));
        assert_eq!(read("/api/m", "[]"), Ok((vec![], true)));
        assert_eq!(read("/api/m", r#"{"m":[]}"#), Ok((vec![], true)));
        assert_eq!(read("/api/m/7", r#"{"any":1}"#), Ok((vec!["m/7".to_owned()], true)));
    }

    #[test]
    fn a_page_with_a_next_one_is_known_as_such() {
        let has_next = |link: &str| {
            let head = format!("HTTP/1.1 200 OK\r\nLink: {link}\r\n\r\n");
            match parse_answer(head.as_bytes(), Method::Get) {
                Ok(ParsedAnswer::Complete { answer, .. }) => has_next(&answer),
                other => panic!("{other:?}"),
            }
        };
        assert!(has_next(r#"</m?page=1>; rel="prev", </m?page=3>; rel="next""#) && has_next("</m?a,b>; rel=next"));
        assert!(!has_next(r#"</m?page=1>; rel="last""#) && !has_next(r#"</m?rel=next>; rel=first"#));
    }

    #[test]
    fn what_is_half_understood_is_refused() {
        for content in [
            "7",
            "{}",
            r#"{"id":7}"#,
            "[1]",
            r#"[{"id":7},{"x":1}]"#,
            r#"[{"id":7},{"id":7}]"#,
            r#"[{"id":1.5}]"#,
            r#"[{"id":"a/b"}]"#,
            r#"{"one":[{"id":1}],"other":[{"id":2}]}"#,
        ] {
            assert_eq!(read("/api/m", content), Err(ListingError::Collection), "{content}");
        }
        assert_eq!(read("/api/m/7", "[]"), Err(ListingError::Document));
        assert!(matches!(read("/api/m/7", "<html>"), Err(ListingError::Json(_))));
        let many = format!(
            "[{}{{\"id\":0}}]",
            (1..=LISTING_DOCUMENTS_MAX).map(|n| format!("{{\"id\":{n}}},")).collect::<String>()
        );
        assert_eq!(read("/api/m", &many), Err(ListingError::Many));
    }
}
