//! What the text lines of the log have in common: canonical numbers, checksums, names.
//!
//! ```text
//! …fields separated by one space… <crc32c>\n           8 hex digits, lower case; the CRC covers the bytes before it
//! ```
//!
//! Every number has one spelling (no sign, no leading zero, hex in lower case), so that a line which is read could only
//! have been written in these bytes.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

/// What stays as it is in an escaped name: RFC 3986's unreserved characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Bytes of a checksum with its line's end.
pub(crate) const CHECKSUM_BYTES: usize = 8 + 1;

/// The number that `text` spells in canonical decimal digits.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => text.iter().try_fold(0u64, |number, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        }),
        _ => None,
    }
}

/// The number that `text` spells in exactly `digits` lower-case hex digits, at most 32.
pub(crate) fn hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.len() != digits || digits > 32 {
        return None;
    }
    text.iter().try_fold(0u128, |number, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// Appends the low `digits` hex digits of `number`.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u128, digits: usize) {
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15]));
}

/// Appends a checksum and the line's end.
pub(crate) fn push_checksum(out: &mut Vec<u8>, crc: u32) {
    push_hex(out, u128::from(crc), 8);
    out.push(b'\n');
}

/// The bytes that the checksum at the end of `bytes` covers, if it is well-formed and right.
pub(crate) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (covered, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    let claimed = hex(checksum.strip_suffix(b"\n")?, 8)?;
    (u128::from(crc32c::crc32c(covered)) == claimed).then_some(covered)
}

/// The name as text that is safe in a line and in a folder's name.
pub(crate) fn escape(name: &str) -> Cow<'_, str> {
    utf8_percent_encode(name, UNRESERVED).into()
}

/// The name that [`escape`] wrote as `text`; none for any other text.
pub(crate) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    let name = percent_decode(text.as_bytes()).decode_utf8().ok()?;
    (escape(&name) == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_names_are_read_back(number: u64, wide: u128, name: String) {
            let mut text = Vec::new();
            crate::event::push_decimal(&mut text, number);
            prop_assert_eq!(&text[..], number.to_string().into_bytes());
            prop_assert_eq!(decimal(&text), Some(number));
            text.clear();
            push_hex(&mut text, wide, 32);
            prop_assert_eq!(&text[..], format!("{wide:032x}").into_bytes());
            prop_assert_eq!(hex(&text, 32), Some(wide));
            let escaped = escape(&name);
            prop_assert_eq!(unescape(&escaped), Some(Cow::from(&name)));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, digits in 0usize..40, text: String) {
            let _ = (decimal(&bytes), hex(&bytes, digits), checked(&bytes), unescape(&text));
        }
    }

    #[test]
    fn numbers_have_one_spelling() {
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "1a", "18446744073709551616", "99999999999999999999"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
        for text in ["", "9F2AC01B", "9f2ac01", "9f2ac01b0", "+f2ac01b"] {
            assert_eq!(hex(text.as_bytes(), 8), None, "{text}");
        }
        for text in ["%6d", "a b", "%2f", "%ff", "a%"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
