//! JSON as Fantail takes it and stores it (RFC 8259, narrowed to what I-JSON calls interoperable, RFC 7493).
//!
//! Refused as malformed: text that isn't UTF-8 or begins with a byte order mark, lone surrogates, control characters in
//! strings, duplicate member names, trailing bytes. Refused as unacceptable: nesting beyond [`DEPTH_MAX`] and numbers
//! that would come back as another number.
//!
//! Invariant: what [`parse`] accepts and [`encode`] writes denotes the same value as the text that came in. The raw
//! text is scanned first, without recursion, so nothing after the scan meets a depth that it can't hold.

mod number;
mod scan;

use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number};

pub use serde_json::Value;

use crate::limits::DEPTH_MAX;

/// Reads the JSON text of a request's body. It takes the bytes because strings are unescaped in place.
///
/// An integer within `i64` or `u64` becomes an integer (`-0` becomes `0`), any other number an `f64`.
///
/// # Errors
/// A [`JsonError`]: malformed text wins over an unacceptable number, nesting that is too deep wins over all that
/// follows it.
pub fn parse(text: Vec<u8>) -> Result<Value, JsonError> {
    parse_within(text, DEPTH_MAX)
}

/// As [`parse`] with another bound on the nesting: events wrap documents in some levels of their own.
pub(crate) fn parse_within(mut text: Vec<u8>, depth_max: usize) -> Result<Value, JsonError> {
    let scan = scan::scan(&mut text, depth_max)?;
    let mut reader = Reader { floats: scan.floats.into_iter(), duplicate: None };
    let value = simd_json::Deserializer::from_slice(&mut text)
        .and_then(|mut deserializer| Node(&mut reader).deserialize(&mut deserializer));
    match (value, reader.duplicate, scan.refused) {
        (_, Some(path), _) => Err(JsonError::Duplicate { pointer: path.pointer() }),
        (Err(_), None, _) => Err(JsonError::Syntax),
        (Ok(_), None, Some(number)) => Err(JsonError::Number { pointer: number.pointer }),
        (Ok(value), None, None) => Ok(value),
    }
}

/// Appends `value` as compact JSON, members in the order of their names' bytes.
///
/// # Panics
/// Never: member names are strings and a vector takes every byte.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a value's names are strings and a vector takes every byte");
}

/// Appends `text` as a JSON string, quoted and escaped.
pub fn encode_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a vector takes every byte");
}

/// The bytes that [`encode`] writes for `value`, without writing them.
#[must_use]
pub fn encoded_len(value: &Value) -> usize {
    measure(value).bytes
}

/// What one walk over a value tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Measure {
    /// Bytes that [`encode`] writes.
    pub(crate) bytes: usize,
    /// Values in it, itself and the containers included.
    pub(crate) nodes: usize,
    /// Levels of nesting: 0 for a scalar, 1 for an empty container.
    pub(crate) depth: usize,
}

/// Measures `value`, by recursion over the nesting that [`parse`] bounds.
pub(crate) fn measure(value: &Value) -> Measure {
    let scalar = |bytes| Measure { bytes, nodes: 1, depth: 0 };
    let mut whole = Measure { bytes: 2, nodes: 1, depth: 1 };
    let mut contain = |name_bytes: usize, inner: Measure| {
        let comma = usize::from(whole.bytes > 2);
        whole.bytes += comma + name_bytes + inner.bytes;
        whole.nodes += inner.nodes;
        whole.depth = whole.depth.max(1 + inner.depth);
    };
    match value {
        Value::Null | Value::Bool(true) => return scalar(4),
        Value::Bool(false) => return scalar(5),
        Value::Number(number) => return scalar(number_len(number)),
        Value::String(text) => return scalar(text_len(text)),
        Value::Array(elements) => elements.iter().for_each(|element| contain(0, measure(element))),
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| contain(text_len(name) + 1, measure(member)));
        }
    }
    whole
}

/// The bytes of `text` as a JSON string, quotes included.
pub(crate) fn text_len(text: &str) -> usize {
    let escapes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0x00..=0x1f => 5,
        _ => 0,
    });
    2 + text.len() + escapes.sum::<usize>()
}

fn number_len(number: &Number) -> usize {
    struct Count(usize);
    impl fmt::Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    write!(count, "{number}").expect("counting doesn't fail");
    count.0
}

/// Appends one reference token to a JSON Pointer, escaped (RFC 6901, section 3).
pub(crate) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for letter in token.chars() {
        match letter {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// What the parts of one text share while it is read.
struct Reader {
    /// The numbers that aren't 64-bit integers, exactly rounded, in the order of the text.
    floats: std::vec::IntoIter<f64>,
    /// Where the first duplicate name stands, once there is one.
    duplicate: Option<Path>,
}

impl Reader {
    fn within(&mut self, token: impl FnOnce() -> String) {
        if let Some(path) = &mut self.duplicate {
            path.0.push(token());
        }
    }
}

/// The tokens of a place in the text, innermost first, as they gather on the way out.
struct Path(Vec<String>);

impl Path {
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.0.iter().rev().for_each(|token| push_token(&mut pointer, token));
        pointer
    }
}

/// Builds one value of the text, and those in it.
struct Node<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, _stand_in: f64) -> Result<Value, E> {
        let number = self.0.floats.next().and_then(Number::from_f64);
        number.map(Value::Number).ok_or_else(|| E::custom("a number that the scan didn't see"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut elements = Vec::with_capacity(access.size_hint().unwrap_or(0));
        loop {
            match access.next_element_seed(Node(&mut *self.0)) {
                Ok(Some(element)) => elements.push(element),
                Ok(None) => return Ok(Value::Array(elements)),
                Err(error) => {
                    self.0.within(|| elements.len().to_string());
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                self.0.duplicate = Some(Path(vec![name]));
                return Err(A::Error::custom("a duplicate name"));
            }
            match access.next_value_seed(Node(&mut *self.0)) {
                Ok(member) => members.insert(name, member),
                Err(error) => {
                    self.0.within(|| name);
                    return Err(error);
                }
            };
        }
        Ok(Value::Object(members))
    }
}

/// Why a text isn't taken. Pointers (RFC 6901) lead to the value at fault; offsets count bytes of the text from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8, or with a byte order mark before it.
    #[error("the JSON isn't UTF-8 without a byte order mark (byte {at})")]
    Encoding {
        /// Where the first byte stands that isn't.
        at: usize,
    },
    /// Not one JSON value: a syntax error, nothing at all, or bytes after the value.
    #[error("the JSON is malformed")]
    Syntax,
    /// A control character in a string that isn't escaped.
    #[error("a string holds a bare control character (byte {at})")]
    Control {
        /// Where it stands.
        at: usize,
    },
    /// An escape that names half of a surrogate pair.
    #[error("a string holds a lone surrogate (byte {at})")]
    Surrogate {
        /// Where the escape begins.
        at: usize,
    },
    /// Two members of one object have the same name, once unescaped.
    #[error("a member's name occurs twice")]
    Duplicate {
        /// To the member.
        pointer: String,
    },
    /// Nested deeper than the bound, which is [`DEPTH_MAX`] for a body.
    #[error("the JSON is nested deeper than {DEPTH_MAX} levels")]
    Depth {
        /// To the container that goes too deep, unless the names before it are malformed.
        pointer: Option<String>,
    },
    /// A number that is neither a 64-bit integer nor what its double-precision value is written as.
    #[error("a number can't be kept without changing it")]
    Number {
        /// To the number.
        pointer: Option<String>,
    },
}

impl JsonError {
    /// Whether the text isn't JSON as RFC 8259 and RFC 7493 have it (400), rather than JSON that isn't kept (422).
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self {
            JsonError::Encoding { .. }
            | JsonError::Syntax
            | JsonError::Control { .. }
            | JsonError::Surrogate { .. }
            | JsonError::Duplicate { .. } => true,
            JsonError::Depth { .. } | JsonError::Number { .. } => false,
        }
    }

    /// The JSON Pointer to the part of the text at fault, where it is known.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        match self {
            JsonError::Encoding { .. }
            | JsonError::Syntax
            | JsonError::Control { .. }
            | JsonError::Surrogate { .. } => None,
            JsonError::Duplicate { pointer } => Some(pointer),
            JsonError::Depth { pointer } | JsonError::Number { pointer } => pointer.as_deref(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
