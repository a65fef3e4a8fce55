//! What the values of fields are made of (RFC 9110, section 5.6): lists, parameters, tokens, quoted strings.
//!
//! It refuses nothing: what isn't well formed comes out as an element that no caller knows. Separators count outside
//! quoted strings only, and an unfinished quoted string reaches to the end of the value.

use std::fmt::{self, Display, Write};

/// The parts of `value` between `separator`s, trimmed, empty ones included. A value always has at least one part.
pub fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let end = separator_at(value, separator);
        rest = value.get(end + 1..);
        Some(trim(&value[..end]))
    })
}

/// The elements of a list (RFC 9110, section 5.6.1): what stands between commas, trimmed, without the empty ones.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(value, b',').filter(|element| !element.is_empty())
}

/// A parameter's name and its value as written (RFC 9110, section 5.6.6); the value of a bare name is empty.
#[must_use]
pub fn parameter(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}

/// Whether a parameter's value, a token or a quoted string, says `text`, without regard to case.
#[must_use]
pub fn says(value: &[u8], text: &str) -> bool {
    let Some(quoted) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return value.eq_ignore_ascii_case(text.as_bytes());
    };
    let mut escaped = false;
    let unescaped = quoted.iter().filter(|byte| {
        escaped = **byte == b'\\' && !escaped;
        !escaped
    });
    unescaped.map(u8::to_ascii_lowercase).eq(text.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// `value` without the spaces and tabs around it.
#[must_use]
pub fn trim(value: &[u8]) -> &[u8] {
    let is_solid = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = value.iter().position(is_solid).unwrap_or(value.len());
    let end = value.iter().rposition(is_solid).map_or(start, |last| last + 1);
    &value[start..end]
}

/// Whether `byte` may stand in a token (RFC 9110, section 5.6.2).
#[must_use]
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Whether `byte` may stand in a field's value (RFC 9110, section 5.5): no control byte but the tab.
#[must_use]
pub const fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// Appends `value`, leaving out the bytes that `allowed` refuses: what is written can't end its line early.
///
/// That a refused byte gets here is our fault, never the peer's: debug builds panic.
pub(super) fn append(out: &mut Vec<u8>, value: impl Display, allowed: fn(u8) -> bool) {
    let mut sieve = Sieve { out, allowed, refused: 0 };
    let written = write!(sieve, "{value}");
    debug_assert!(written.is_ok() && sieve.refused == 0, "a value holds bytes that it can't");
}

struct Sieve<'o> {
    out: &'o mut Vec<u8>,
    allowed: fn(u8) -> bool,
    refused: usize,
}

impl Write for Sieve<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let before = self.out.len();
        self.out.extend(text.bytes().filter(|byte| (self.allowed)(*byte)));
        self.refused += text.len() - (self.out.len() - before);
        Ok(())
    }
}

fn separator_at(value: &[u8], separator: u8) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => return at,
            _ => {}
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn separators_count_outside_quotes() {
        let parts = |value: &'static str| elements(value.as_bytes()).collect::<Vec<_>>();
        assert_eq!(parts(" a ,, b\t,"), [b"a", b"b"]);
        assert_eq!(parts(r#"a;x="1,\",2" , b"#), [br#"a;x="1,\",2""#.as_slice(), b"b"]);
        assert_eq!(parts(r#"a, "open, b"#), [b"a".as_slice(), br#""open, b"#]);
        assert_eq!(split(b"", b',').count(), 1);
    }

    #[test]
    fn quoted_strings_are_compared_unescaped() {
        for value in ["utf-8", "UTF-8", "\"utf-8\"", r#""U\T\F-8""#] {
            assert!(says(value.as_bytes(), "utf-8"), "{value}");
        }
        for value in ["", "\"", "\"\"", "\"utf-8", "utf-8\"", r#""utf\\-8""#, "utf-88"] {
            assert!(!says(value.as_bytes(), "utf-8"), "{value}");
        }
    }

    #[test]
    fn a_sieve_lets_no_line_end_through() {
        let mut out = Vec::new();
        let mut sieve = Sieve { out: &mut out, allowed: is_text, refused: 0 };
        sieve.write_str("a\r\nSet-Cookie: b\0\tc").expect("a sieve takes all");
        assert_eq!(sieve.refused, 3);
        assert_eq!(out, b"aSet-Cookie: b\tc");
    }

    proptest! {
        #[test]
        fn no_value_panics(value: Vec<u8>) {
            for element in elements(&value) {
                let _ = says(parameter(element).1, "x");
            }
        }
    }
}
