//! Names of channels and ids of items: text of a bounded length that can stand in a field.

use crate::limits::{CHANNEL_NAME_BYTES_MAX, ITEM_ID_BYTES_MAX};

/// A channel's name.
pub(super) fn channel(name: &str) -> Result<&str, NameError> {
    match name {
        "" => Err(NameError::Empty),
        _ if name.len() > CHANNEL_NAME_BYTES_MAX => Err(NameError::LongName),
        _ if name.chars().any(char::is_control) => Err(NameError::ControlInName),
        _ => Ok(name),
    }
}

/// An item's id, which may be empty.
pub(super) fn id(id: &str) -> Result<&str, NameError> {
    match id {
        _ if id.len() > ITEM_ID_BYTES_MAX => Err(NameError::LongId),
        _ if id.chars().any(char::is_control) => Err(NameError::ControlInId),
        _ => Ok(id),
    }
}

/// Why a name or an id is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A channel has no name.
    #[error("a channel's name is empty")]
    Empty,
    /// A name is longer than [`CHANNEL_NAME_BYTES_MAX`].
    #[error("a channel's name is longer than {CHANNEL_NAME_BYTES_MAX} bytes")]
    LongName,
    /// A name couldn't stand in a field.
    #[error("a channel's name holds a control character")]
    ControlInName,
    /// An id is longer than [`ITEM_ID_BYTES_MAX`].
    #[error("an id is longer than {ITEM_ID_BYTES_MAX} bytes")]
    LongId,
    /// An id couldn't stand in a field.
    #[error("an id holds a control character")]
    ControlInId,
}
