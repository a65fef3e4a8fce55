//! Metadata: names and values that an origin gives to a hold, and a publisher to an item. Filters look at both.

use std::collections::BTreeMap;

use super::member::{MemberError, Members};
use crate::limits::META_BYTES_MAX;

/// Names with a value each; the last one given counts.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Meta {
    values: BTreeMap<Box<str>, Box<str>>,
}

impl Meta {
    /// The value of a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(AsRef::as_ref)
    }

    /// All names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The bytes of all names and values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Takes a name and its value.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), MetaError> {
        self.values.insert(name.into(), value.into());
        match self.len() {
            ..=META_BYTES_MAX => Ok(()),
            _ => Err(MetaError::Large),
        }
    }

    /// Takes all members of an object, whose values are strings.
    pub(super) fn set_all(&mut self, members: Members) -> Result<(), MetaError> {
        for text in members.texts() {
            let (name, value) = text?;
            self.set(&name, &value)?;
        }
        Ok(())
    }
}

/// Why metadata are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Not an object of strings.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// More than [`META_BYTES_MAX`].
    #[error("metadata have more than {META_BYTES_MAX} bytes")]
    Large,
}
