//! The query of a URL as pairs of names and values, as forms and `URLSearchParams` encode them: `a=b&c=d+e%21`.
//!
//! Refused are percent signs without two hexadecimal digits and what doesn't decode to UTF-8; nothing is replaced in
//! silence. It is bounded by the target that holds it.

use std::borrow::Cow;

/// A decoded name and value, borrowed where nothing had to be decoded.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of `query` in their order. Empty ones (`&&`) are passed over; a name without `=` has an empty value.
///
/// # Errors
/// Each pair has its own: the one that can't be decoded is an error, those around it are not.
pub fn pairs(query: &str) -> impl Iterator<Item = Result<Pair<'_>, QueryError>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    })
}

fn decode(text: &str) -> Result<Cow<'_, str>, QueryError> {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        match first {
            b'+' => decoded.push(b' '),
            b'%' => {
                let [high, low, others @ ..] = others else { return Err(QueryError::Encoding) };
                decoded.push(digit(*high)? << 4 | digit(*low)?);
                rest = others;
            }
            _ => decoded.push(*first),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| QueryError::Utf8)
}

fn digit(byte: u8) -> Result<u8, QueryError> {
    (byte as char).to_digit(16).map(|digit| digit as u8).ok_or(QueryError::Encoding)
}

/// Why a pair is refused: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A percent sign without two hexadecimal digits.
    #[error("the query has a % without two hexadecimal digits")]
    Encoding,
    /// What is decoded isn't UTF-8.
    #[error("the query isn't UTF-8 when decoded")]
    Utf8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixture;
    use proptest::prelude::*;

    #[test]
    fn queries_are_decoded() {
        fixture::check(include_str!("../../../../fixtures/requests/queries.txt"), |case| {
            let query = str::from_utf8(&case.input).expect("a query is text");
            let lines = pairs(query).map(|pair| match pair {
                Ok((name, value)) => format!("{name:?} = {value:?}"),
                Err(error) => format!("400 {error}"),
            });
            match lines.collect::<Vec<_>>() {
                lines if lines.is_empty() => "no pairs".to_owned(),
                lines => lines.join("\n"),
            }
        });
    }

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(pairs("limit=5").next(), Some(Ok((Cow::Borrowed("limit"), Cow::Borrowed("5"))))));
    }

    proptest! {
        #[test]
        fn no_text_panics(query: String) {
            pairs(&query).for_each(drop);
        }

        #[test]
        fn what_is_encoded_is_read_back(name in "\\PC{1,8}", value: String) {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let query = format!("{}={}", encode(&name), encode(&value));
            prop_assert_eq!(pairs(&query).next(), Some(Ok((name.into(), value.into()))));
        }
    }
}
