//! What a held stream gets when nothing else was sent: `Grip-Keep-Alive: data; format=…; timeout=…; mode=…`.

use std::time::Duration;

use super::member::decode_base64;
use super::parameter::{Parameters, trim};
use crate::limits::{GRIP_SECONDS_MAX, KEEP_ALIVE_BYTES_MAX, KEEP_ALIVE_SECONDS_DEFAULT, KEEP_ALIVE_SECONDS_MIN};

/// Bytes that keep a stream alive.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeepAlive {
    /// What is sent: never empty, at most [`KEEP_ALIVE_BYTES_MAX`].
    pub content: Box<[u8]>,
    /// What the time is counted from.
    pub pace: Pace,
    /// After how long it is sent; [`KEEP_ALIVE_SECONDS_MIN`] at least.
    pub timeout: Duration,
}

/// What the time of a keep-alive is counted from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pace {
    /// The last thing that was sent.
    Idle,
    /// The last keep-alive, whatever was sent meanwhile.
    Interval,
}

impl KeepAlive {
    /// Reads the field's value; none if it is empty.
    pub(super) fn read(value: &str) -> Result<Option<KeepAlive>, KeepAliveError> {
        if trim(value).is_empty() {
            return Ok(None);
        }
        let parameters = Parameters::read(value).ok_or(KeepAliveError::Parameters)?;
        if parameters.head.is_empty() {
            return Err(KeepAliveError::Empty);
        }
        let pace = match parameters.value("mode") {
            None | Some("" | "idle") => Pace::Idle,
            Some("interval") => Pace::Interval,
            Some(other) => return Err(KeepAliveError::Mode(other.into())),
        };
        let seconds = match parameters.value("timeout") {
            None => KEEP_ALIVE_SECONDS_DEFAULT,
            Some(text) => match text.parse::<i32>() {
                Err(_) => return Err(KeepAliveError::Timeout),
                Ok(seconds) => u64::try_from(seconds).map_err(|_| KeepAliveError::Negative)?,
            },
        };
        let content = match parameters.value("format") {
            None | Some("" | "raw") => parameters.head.as_bytes().to_vec(),
            Some("cstring") => unescape(parameters.head).ok_or(KeepAliveError::Cstring)?,
            Some("base64") => decode_base64(parameters.head).ok_or(KeepAliveError::Base64)?,
            Some(other) => return Err(KeepAliveError::Format(other.into())),
        };
        KeepAlive::new(content, pace, seconds)
    }

    /// A keep-alive of `content`; none if that is empty.
    pub(super) fn new(content: Vec<u8>, pace: Pace, seconds: u64) -> Result<Option<KeepAlive>, KeepAliveError> {
        if content.len() > KEEP_ALIVE_BYTES_MAX {
            return Err(KeepAliveError::Large);
        }
        let timeout = Duration::from_secs(seconds.clamp(KEEP_ALIVE_SECONDS_MIN, GRIP_SECONDS_MAX));
        Ok((!content.is_empty()).then(|| KeepAlive { content: content.into(), pace, timeout }))
    }
}

/// The bytes that a text with the escapes `\\`, `\r`, `\n` and `\xHH` stands for. Another escaped letter is left out, as
/// Pushpin does.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next()? {
            b'\\' => bytes.push(b'\\'),
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b'x' => bytes.push(16 * hexadecimal(rest.next()?)? + hexadecimal(rest.next()?)?),
            _ => {}
        }
    }
    Some(bytes)
}

fn hexadecimal(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Why a keep-alive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepAliveError {
    /// A quoted string that doesn't end.
    #[error("failed to parse Grip-Keep-Alive")]
    Parameters,
    /// Parameters without data.
    #[error("Grip-Keep-Alive cannot be empty")]
    Empty,
    /// An unknown mode.
    #[error("no such Grip-Keep-Alive mode '{0}'")]
    Mode(Box<str>),
    /// A timeout that isn't a number.
    #[error("failed to parse Grip-Keep-Alive timeout value")]
    Timeout,
    /// A timeout below zero.
    #[error("Grip-Keep-Alive timeout has invalid value")]
    Negative,
    /// An unknown format.
    #[error("no such Grip-Keep-Alive format '{0}'")]
    Format(Box<str>),
    /// An escape that doesn't end.
    #[error("failed to parse Grip-Keep-Alive cstring format")]
    Cstring,
    /// Something else than base64.
    #[error("failed to parse Grip-Keep-Alive base64 format")]
    Base64,
    /// More than [`KEEP_ALIVE_BYTES_MAX`].
    #[error("a keep-alive has more than {KEEP_ALIVE_BYTES_MAX} bytes")]
    Large,
}
