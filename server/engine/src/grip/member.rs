//! Members of the JSON objects of instructions and publications. Its errors are the sentences that Pushpin's clients know.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// Base64 as clients write it, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that `text` encodes; white space in it means nothing.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text: Cow<'_, str> = match text.contains(|letter: char| letter.is_ascii_whitespace()) {
        true => text.split_ascii_whitespace().collect::<String>().into(),
        false => text.into(),
    };
    BASE64.decode(text.as_bytes()).ok()
}

/// An object whose members are taken one after the other. Those that nobody takes are ignored.
pub(super) struct Members {
    /// What the object is, in errors.
    of: &'static str,
    map: Map<String, Value>,
}

impl Members {
    /// The members of `value`, which is called `of` in errors.
    pub(super) fn of(value: Value, of: &'static str) -> Result<Members, MemberError> {
        match value {
            Value::Object(map) => Ok(Members { of, map }),
            _ => Err(MemberError::NotObject(of)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Whatever the member is.
    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    /// A string.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, MemberError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_type(name)),
        }
    }

    /// A list.
    pub(super) fn list(&mut self, name: &'static str) -> Result<Option<Vec<Value>>, MemberError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(elements)) => Ok(Some(elements)),
            Some(_) => Err(self.wrong_type(name)),
        }
    }

    /// A list of strings.
    pub(super) fn text_list(&mut self, name: &'static str) -> Result<Option<Vec<Box<str>>>, MemberError> {
        let Some(elements) = self.list(name)? else { return Ok(None) };
        let texts = elements.into_iter().map(|element| match element {
            Value::String(text) => Ok(text.into_boxed_str()),
            _ => Err(MemberError::Element(name)),
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// An object, which is called by the member's name.
    pub(super) fn object(&mut self, name: &'static str) -> Result<Option<Members>, MemberError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Members { of: name, map })),
            Some(_) => Err(self.wrong_type(name)),
        }
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, MemberError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong_type(name)),
        }
    }

    /// An integer, as a number or as a string of one.
    pub(super) fn integer(&mut self, name: &'static str) -> Result<Option<i64>, MemberError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let whole = |float: &f64| float.fract() == 0.0 && float.abs() < 1e15;
        let integer = match &value {
            Value::Number(number) => number.as_i64().or(number.as_f64().filter(whole).map(|float| float as i64)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        integer.map(Some).ok_or_else(|| self.wrong_type(name))
    }

    /// An integer that isn't negative.
    pub(super) fn unsigned(&mut self, name: &'static str) -> Result<Option<u64>, MemberError> {
        match self.integer(name)? {
            None => Ok(None),
            Some(integer) => u64::try_from(integer).map(Some).map_err(|_| self.wrong_value(name)),
        }
    }

    /// Bytes: in base64 as `binary`, which is stronger, or as text.
    pub(super) fn bytes(&mut self, text: &'static str, binary: &'static str) -> Result<Option<Vec<u8>>, MemberError> {
        match self.text(binary)? {
            Some(encoded) => decode_base64(&encoded).map(Some).ok_or_else(|| self.wrong_value(binary)),
            None => Ok(self.text(text)?.map(String::into_bytes)),
        }
    }

    /// All members, which are strings.
    pub(super) fn texts(self) -> impl Iterator<Item = Result<(String, String), MemberError>> {
        let of = self.of;
        self.map.into_iter().map(move |(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            _ => Err(MemberError::Named { of, name: name.into() }),
        })
    }

    pub(super) fn missing(&self, name: &'static str) -> MemberError {
        MemberError::Missing { of: self.of, name }
    }

    pub(super) fn wrong_type(&self, name: &'static str) -> MemberError {
        MemberError::Type { of: self.of, name }
    }

    pub(super) fn wrong_value(&self, name: &'static str) -> MemberError {
        MemberError::Value { of: self.of, name }
    }
}

/// What is wrong with an object or one of its members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Something else where an object is needed.
    #[error("{0} is not an object")]
    NotObject(&'static str),
    /// A member that is needed isn't there.
    #[error("{of} does not contain '{name}'")]
    Missing {
        /// The object.
        of: &'static str,
        /// What it lacks.
        name: &'static str,
    },
    /// A member is of another type.
    #[error("{of} contains '{name}' with wrong type")]
    Type {
        /// The object.
        of: &'static str,
        /// The member at fault.
        name: &'static str,
    },
    /// A member's value is out of range, or can't stand where it will be written.
    #[error("{of} contains '{name}' with invalid value")]
    Value {
        /// The object.
        of: &'static str,
        /// The member at fault.
        name: &'static str,
    },
    /// An element of a list is of another type.
    #[error("{0} contains an element with wrong type")]
    Element(&'static str),
    /// A member of an object of strings isn't one, or can't stand where it will be written.
    #[error("{of} contains '{name}' with wrong type")]
    Named {
        /// The object.
        of: &'static str,
        /// The member at fault.
        name: Box<str>,
    },
}
