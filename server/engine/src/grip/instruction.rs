//! What an origin asks of the edge, in the fields of a response or in a body of type `application/grip-instruct`.
//!
//! It refuses what Pushpin refuses, with the same sentences, and besides that malformed parameters, which Pushpin skips:
//! a channel that is left out silently is a client that waits in vain. Both forms may come together; what the body says
//! is stronger.

mod body;

use std::time::Duration;

use super::hold::{Channel, FilterName, Hold, Mode};
use super::is_grip;
use super::keep_alive::{KeepAlive, KeepAliveError};
use super::link::{Link, LinkError, Links, Next};
use super::member::MemberError;
use super::meta::{Meta, MetaError};
use super::name::{self, NameError};
use super::parameter::{Parameters, elements, parameter, trim};
use super::response::{Response, status};
use crate::json::JsonError;
use crate::limits::{
    FILTERS_MAX, GRIP_SECONDS_MAX, HOLD_CHANNELS_MAX, HOLD_SECONDS_DEFAULT, HOLD_SECONDS_MIN, INSTRUCTION_BYTES_MAX,
};
use crate::protocol::field;

/// What an origin asks of the edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// How the connection is held; without, it isn't.
    pub hold: Option<Hold>,
    /// Where the body goes on: at once without a hold, else after a gap or a time.
    pub next: Option<Next>,
    /// What is asked (by POST) when the client has left.
    pub gone: Option<Link>,
    /// The status instead of the response's.
    pub status: Option<Status>,
    /// The only fields that the client gets; all, if it is empty.
    pub exposed: Vec<Box<str>>,
    /// What filters know of the hold.
    pub meta: Meta,
    /// Whether ids are put into the body: a channel has the filter for it, held or only paged.
    pub builds_ids: bool,
    /// The response instead of the one that the instruction came in, if it came as a body.
    pub response: Option<Response>,
}

/// A response's status, as `Grip-Status` gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// 200 to 999.
    pub code: u16,
    /// The reason, unless it is the status' own.
    pub reason: Option<Box<str>>,
}

/// Whether a response with these fields is an instruction.
pub fn is_instruction<'f>(fields: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> bool {
    fields.into_iter().any(|(name, value)| is_grip(name) || is_content_type(name) && wants_body(value))
}

/// Whether a body of this `Content-Type` is an instruction, so that [`Instruction::read`] needs it whole.
#[must_use]
pub fn wants_body(content_type: &[u8]) -> bool {
    let media = field::split(content_type, b';').next().unwrap_or(b"");
    media.eq_ignore_ascii_case(b"application/grip-instruct")
}

fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case("Content-Type")
}

impl Instruction {
    /// Reads the instruction of a response with this status and these fields; none if no field is GRIP's.
    ///
    /// `body` is needed if the response [`wants_body`], and isn't looked at otherwise. It is at most
    /// [`INSTRUCTION_BYTES_MAX`] long.
    ///
    /// # Errors
    /// The first rule of GRIP that the instruction breaks.
    pub fn read<'f>(
        status: u16,
        fields: impl IntoIterator<Item = (&'f str, &'f [u8])>,
        body: Option<&[u8]>,
    ) -> Result<Option<Instruction>, InstructionError> {
        let mut draft = Draft::default();
        let (mut found, mut has_body) = (false, false);
        for (name, value) in fields {
            if is_grip(name) {
                found = true;
                draft.field(name, value)?;
            } else if is_content_type(name) {
                has_body |= wants_body(value);
            }
        }
        if has_body {
            if status != 200 {
                return Err(InstructionError::BodyStatus);
            }
            draft.body(body.unwrap_or(b""))?;
        }
        match found || has_body {
            true => draft.finish().map(Some),
            false => Ok(None),
        }
    }

    /// Whether the response is answered as it is, but for its status and fields: nothing is held and nothing follows.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.hold.is_none() && self.next.is_none()
    }

    /// Whether the client gets a field of the response that the instruction came in.
    #[must_use]
    pub fn exposes(&self, field: &str) -> bool {
        let named = |name: &str| name.eq_ignore_ascii_case(field);
        !is_grip(field) && (self.exposed.is_empty() || self.exposed.iter().any(|name| named(name)))
    }

    /// The channels whose items may not be missed, with the last one that the response reflects.
    pub fn tracked(&self) -> impl Iterator<Item = (&str, &str)> {
        let channels = self.hold.iter().flat_map(|hold| &hold.channels);
        channels.filter_map(|channel| Some((channel.name.as_ref(), channel.prev_id.as_deref()?)))
    }
}

/// An instruction of which more may come.
#[derive(Default)]
struct Draft {
    mode: Option<Mode>,
    channels: Vec<Channel>,
    seconds: Option<u64>,
    keep_alive: Option<KeepAlive>,
    links: Links,
    status: Option<Status>,
    exposed: Vec<Box<str>>,
    meta: Meta,
    response: Option<Response>,
}

impl Draft {
    /// Takes a field of GRIP; one that isn't known means nothing.
    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), InstructionError> {
        let value = || std::str::from_utf8(field::trim(value)).map_err(|_| InstructionError::Encoding(name.into()));
        match name.to_ascii_lowercase().as_str() {
            "grip-hold" => self.mode = Some(mode(value()?).ok_or(InstructionError::Hold)?),
            "grip-channel" => elements(value()?).try_for_each(|element| self.channel_element(element))?,
            "grip-timeout" => self.seconds = Some(seconds(value()?)?),
            "grip-keep-alive" if self.keep_alive.is_none() => self.keep_alive = KeepAlive::read(value()?)?,
            "grip-set-meta" => elements(value()?).try_for_each(|element| self.meta_element(element))?,
            "grip-status" => self.status = read_status(value()?)?,
            "grip-expose-headers" => self.exposed.extend(elements(value()?).map(Box::from)),
            "grip-link" => self.links.read(value()?)?,
            _ => {}
        }
        Ok(())
    }

    fn channel_element(&mut self, element: &str) -> Result<(), InstructionError> {
        let parameters = Parameters::read(element).ok_or(InstructionError::Parameters("Grip-Channel"))?;
        self.channel(parameters.head, parameters.value("prev-id"), parameters.values("filter"))
    }

    /// Takes a channel; of two with the same name the last one counts.
    fn channel<'f>(
        &mut self,
        name: &str,
        prev_id: Option<&str>,
        filters: impl Iterator<Item = &'f str>,
    ) -> Result<(), InstructionError> {
        let name: Box<str> = name::channel(name)?.into();
        let names = filters.take(FILTERS_MAX + 1).collect::<Vec<_>>();
        if names.len() > FILTERS_MAX {
            return Err(InstructionError::Filters(name));
        }
        let filters = names.into_iter().filter_map(FilterName::parse).collect();
        let channel = Channel { prev_id: prev_id.map(name::id).transpose()?.map(Box::from), filters, name };
        self.channels.retain(|other| other.name != channel.name);
        if self.channels.len() == HOLD_CHANNELS_MAX {
            return Err(InstructionError::Channels);
        }
        self.channels.push(channel);
        Ok(())
    }

    fn meta_element(&mut self, element: &str) -> Result<(), InstructionError> {
        // What follows the first pair are parameters, of which none is known.
        let mut parts = field::split(element.as_bytes(), b';');
        let first = parts.next().and_then(|part| std::str::from_utf8(part).ok()).unwrap_or("");
        let (name, value) = parameter(first).ok_or(InstructionError::Parameters("Grip-Set-Meta"))?;
        match name.is_empty() {
            true => Err(InstructionError::Meta),
            false => Ok(self.meta.set(name, value.as_deref().unwrap_or(""))?),
        }
    }

    fn finish(self) -> Result<Instruction, InstructionError> {
        let seconds = self.seconds.unwrap_or(HOLD_SECONDS_DEFAULT).clamp(HOLD_SECONDS_MIN, GRIP_SECONDS_MAX);
        let (channels, keep_alive) = (self.channels, self.keep_alive);
        let builds_ids = channels.iter().any(|channel| channel.filters.contains(&FilterName::BuildId));
        let timeout = Duration::from_secs(seconds);
        let hold = self.mode.map(|mode| Hold { mode, channels, timeout, keep_alive });
        if let (Some(Hold { mode: Mode::Stream, channels, .. }), None) = (&hold, &self.links.next)
            && let Some(tracked) = channels.iter().find(|channel| channel.prev_id.is_some())
        {
            return Err(InstructionError::NoNext(tracked.name.clone()));
        }
        Ok(Instruction {
            hold,
            next: self.links.next,
            gone: self.links.gone,
            status: self.status,
            exposed: self.exposed,
            meta: self.meta,
            builds_ids,
            response: self.response,
        })
    }
}

fn mode(text: &str) -> Option<Mode> {
    match text {
        "response" => Some(Mode::Response),
        "stream" => Some(Mode::Stream),
        _ => None,
    }
}

fn seconds(text: &str) -> Result<u64, InstructionError> {
    let seconds = text.parse::<i32>().map_err(|_| InstructionError::Timeout)?;
    u64::try_from(seconds).map_err(|_| InstructionError::NegativeTimeout)
}

/// Reads `code reason`; an empty value means nothing.
fn read_status(text: &str) -> Result<Option<Status>, InstructionError> {
    let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
    if code.is_empty() {
        return Ok(None);
    }
    let code = code.parse().ok().and_then(status).ok_or(InstructionError::Status)?;
    let reason = trim(reason);
    if !reason.bytes().all(field::is_text) {
        return Err(InstructionError::Status);
    }
    Ok(Some(Status { code, reason: (!reason.is_empty()).then(|| reason.into()) }))
}

/// Why an instruction is refused: the origin's fault, 502 for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    /// A field that isn't UTF-8.
    #[error("{0} isn't UTF-8")]
    Encoding(Box<str>),
    /// An unknown way to hold.
    #[error("Grip-Hold must be set to either 'response' or 'stream'")]
    Hold,
    /// Parameters with a quoted string that doesn't end.
    #[error("failed to parse {0}")]
    Parameters(&'static str),
    /// A name or an id that can't be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// More than [`FILTERS_MAX`] filters.
    #[error("too many filters for channel '{0}'")]
    Filters(Box<str>),
    /// More than [`HOLD_CHANNELS_MAX`] channels.
    #[error("a hold has at most {HOLD_CHANNELS_MAX} channels")]
    Channels,
    /// A timeout that isn't a number.
    #[error("failed to parse Grip-Timeout")]
    Timeout,
    /// A timeout below zero.
    #[error("Grip-Timeout has invalid value")]
    NegativeTimeout,
    /// A keep-alive that can't be one.
    #[error(transparent)]
    KeepAlive(#[from] KeepAliveError),
    /// Metadata without a name.
    #[error("Grip-Set-Meta cannot be empty")]
    Meta,
    /// Metadata that can't be taken.
    #[error(transparent)]
    Metadata(#[from] MetaError),
    /// A status that isn't one, or that couldn't end a request.
    #[error("Grip-Status contains invalid status code")]
    Status,
    /// A link that can't be one.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// An instruction as a body of a response that isn't 200.
    #[error("response code for application/grip-instruct content must be 200")]
    BodyStatus,
    /// A body longer than [`INSTRUCTION_BYTES_MAX`].
    #[error("application/grip-instruct content has more than {INSTRUCTION_BYTES_MAX} bytes")]
    LargeBody,
    /// A body that isn't JSON.
    #[error("failed to parse application/grip-instruct content as JSON: {0}")]
    Json(#[from] JsonError),
    /// A body whose members are wrong.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// An unknown way to hold, in a body.
    #[error("hold 'mode' must be set to either 'response' or 'stream'")]
    BodyHold,
    /// A stream that is tracked and has no link to go on from a gap.
    #[error("channel '{0}' specifies prev-id, but no next link found")]
    NoNext(Box<str>),
}
