//! What is published: items for a channel, each in one or several formats (`{"items":[{"channel":…,"formats":{…}}]}`).
//!
//! Refused is what Pushpin refuses, with the same sentences, and text that would break the line that it is written to. A
//! publication is taken whole or not at all. `ws-message` is checked and left out: nobody is held for it.

use super::member::{MemberError, Members};
use super::meta::{Meta, MetaError};
use super::name::{self, NameError};
use super::response::ResponseHead;
use super::screen::Label;
use crate::json::{self, JsonError};
use crate::limits::{PUBLISH_BYTES_MAX, PUBLISH_ITEMS_MAX};
use crate::patch::{Patch, PatchError};

/// What happens on a channel.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// The channel's name.
    pub channel: Box<str>,
    /// What later items and holds refer to.
    pub id: Option<Box<str>>,
    /// The id of the item before.
    pub prev_id: Option<Box<str>>,
    /// Whether it is out of the channel's order: neither does it wait, nor does another wait for it.
    pub no_seq: bool,
    /// What the publisher says of its size; means nothing.
    pub size: Option<u64>,
    /// What filters know of it.
    pub meta: Meta,
    /// For streams that are held.
    pub stream: Option<StreamItem>,
    /// For responses that are held.
    pub response: Option<ResponseItem>,
}

/// What becomes of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamItem {
    /// It gets these bytes.
    Send {
        /// The bytes.
        content: Vec<u8>,
        /// The filters of content that the publisher has in mind: only holds with just these get it.
        filters: Option<Vec<Box<str>>>,
    },
    /// It asks its next link.
    Hint,
    /// It ends.
    Close,
    /// Nothing; WebSockets know it.
    Refresh,
}

/// What becomes of a response.
#[derive(Clone, PartialEq, Debug)]
pub enum ResponseItem {
    /// It is sent.
    Send {
        /// Its status (200 if it isn't given) and its fields, which replace those of the held response by name.
        head: ResponseHead,
        /// Its body.
        body: ResponseBody,
        /// See [`StreamItem::Send`].
        filters: Option<Vec<Box<str>>>,
    },
    /// The origin is asked again.
    Hint,
    /// Nothing: a response can't end without being one.
    Close,
    /// Nothing; WebSockets know it.
    Refresh,
}

/// The body of a response that was held.
#[derive(Clone, PartialEq, Debug)]
pub enum ResponseBody {
    /// These bytes.
    Whole(Vec<u8>),
    /// The held body with a JSON Patch applied, see [`super::patched`].
    Patch(Patch),
}

/// Reads the body of a request to publish.
///
/// # Errors
/// What is wrong with the first item that is.
pub fn publication(body: Vec<u8>) -> Result<Vec<Item>, PublicationError> {
    if body.len() > PUBLISH_BYTES_MAX {
        return Err(PublicationError::Large);
    }
    let mut members = Members::of(json::parse(body)?, "object")?;
    let items = members.list("items")?.ok_or_else(|| members.missing("items"))?;
    if items.len() > PUBLISH_ITEMS_MAX {
        return Err(PublicationError::Many);
    }
    items.into_iter().map(|item| Item::read(Members::of(item, ITEM)?)).collect()
}

/// What an item is called in errors.
const ITEM: &str = "publish item object";

impl Item {
    fn read(mut members: Members) -> Result<Item, PublicationError> {
        let channel = members.text("channel")?.ok_or_else(|| members.missing("channel"))?;
        let id = members.text("id")?;
        let prev_id = members.text("prev-id")?;
        let (stream, response) = formats(&mut members)?;
        let mut meta = Meta::default();
        if let Some(values) = members.object("meta")? {
            meta.set_all(values)?;
        }
        Ok(Item {
            channel: name::channel(&channel)?.into(),
            id: id.as_deref().map(name::id).transpose()?.map(Box::from),
            prev_id: prev_id.as_deref().map(name::id).transpose()?.map(Box::from),
            size: members.unsigned("size")?,
            no_seq: members.flag("no-seq")?.unwrap_or(false),
            meta,
            stream,
            response,
        })
    }

    /// What screens look at when streams get it.
    #[must_use]
    pub fn stream_label(&self) -> Label {
        match &self.stream {
            Some(StreamItem::Send { filters, .. }) => Label::of(&self.meta, filters.as_deref()),
            Some(StreamItem::Hint | StreamItem::Close | StreamItem::Refresh) | None => Label::of(&self.meta, None),
        }
    }

    /// What screens look at when responses get it.
    #[must_use]
    pub fn response_label(&self) -> Label {
        match &self.response {
            Some(ResponseItem::Send { filters, .. }) => Label::of(&self.meta, filters.as_deref()),
            Some(ResponseItem::Hint | ResponseItem::Close | ResponseItem::Refresh) | None => {
                Label::of(&self.meta, None)
            }
        }
    }

    /// Some bytes more than the item has in memory beside those of its own structure.
    #[must_use]
    pub fn weight(&self) -> usize {
        let id = |id: &Option<Box<str>>| id.as_ref().map_or(0, |id| id.len());
        let stream = match &self.stream {
            Some(StreamItem::Send { content, .. }) => content.len(),
            Some(StreamItem::Hint | StreamItem::Close | StreamItem::Refresh) | None => 0,
        };
        let response = match &self.response {
            Some(ResponseItem::Send { head, body, .. }) => {
                let headers = head.headers.iter().map(|(name, value)| name.len() + value.len() + 64);
                headers.sum::<usize>() + body.weight()
            }
            Some(ResponseItem::Hint | ResponseItem::Close | ResponseItem::Refresh) | None => 0,
        };
        size_of::<Item>() + self.channel.len() + id(&self.id) + id(&self.prev_id) + self.meta.len() + stream + response
    }
}

impl ResponseBody {
    fn weight(&self) -> usize {
        match self {
            ResponseBody::Whole(body) => body.len(),
            ResponseBody::Patch(patch) => {
                let mut encoded = Vec::new();
                patch.encode("", &mut encoded);
                encoded.len()
            }
        }
    }
}

/// The formats that are known.
const FORMATS: [&str; 3] = ["http-response", "http-stream", "ws-message"];

/// Reads the formats, which stand in a member of their own or beside the item's other members.
fn formats(item: &mut Members) -> Result<(Option<StreamItem>, Option<ResponseItem>), PublicationError> {
    let mut own = item.object("formats")?;
    let none = match &own {
        Some(own) => own.is_empty(),
        None => !FORMATS.iter().any(|name| item.contains(name)),
    };
    if none {
        return Err(PublicationError::Formats);
    }
    let formats = own.as_mut().unwrap_or(item);
    let mut format = |name, called| formats.value(name).map(|value| Members::of(value, called)).transpose();
    let response = format("http-response", "'http-response'")?.map(ResponseItem::read).transpose()?;
    let stream = format("http-stream", "'http-stream'")?.map(StreamItem::read).transpose()?;
    format("ws-message", "'ws-message'")?.map(check_message).transpose()?;
    Ok((stream, response))
}

impl StreamItem {
    fn read(mut members: Members) -> Result<StreamItem, PublicationError> {
        match Action::read(&mut members)? {
            Action::Hint => return Ok(StreamItem::Hint),
            Action::Close => return Ok(StreamItem::Close),
            Action::Refresh => return Ok(StreamItem::Refresh),
            Action::Send => {}
        }
        let filters = members.text_list("content-filters")?;
        let content = members.bytes("content", "content-bin")?.ok_or(PublicationError::Content("'http-stream'"))?;
        Ok(StreamItem::Send { content, filters })
    }
}

impl ResponseItem {
    fn read(mut members: Members) -> Result<ResponseItem, PublicationError> {
        match Action::read(&mut members)? {
            Action::Hint => return Ok(ResponseItem::Hint),
            Action::Close => return Ok(ResponseItem::Close),
            Action::Refresh => return Ok(ResponseItem::Refresh),
            Action::Send => {}
        }
        let head = ResponseHead::read(&mut members)?;
        let filters = members.text_list("content-filters")?;
        let body = match members.bytes("body", "body-bin")? {
            Some(body) => ResponseBody::Whole(body),
            None => match members.list("body-patch")? {
                Some(operations) => ResponseBody::Patch(Patch::read(operations.into())?),
                None => return Err(PublicationError::Body),
            },
        };
        Ok(ResponseItem::Send { head, body, filters })
    }
}

/// Reads a message for a WebSocket, of which nothing is kept.
fn check_message(mut members: Members) -> Result<(), PublicationError> {
    match Action::read(&mut members)? {
        Action::Hint | Action::Refresh => return Ok(()),
        Action::Close => {
            members.unsigned("code")?;
            members.text("reason")?;
            return Ok(());
        }
        Action::Send => {}
    }
    let needs_content = match members.text("type")?.as_deref() {
        None | Some("text" | "binary") => true,
        Some("ping" | "pong") => false,
        Some(_) => return Err(PublicationError::MessageType),
    };
    members.text_list("content-filters")?;
    match members.bytes("content", "content-bin")? {
        None if needs_content => Err(PublicationError::Content("'ws-message'")),
        _ => Ok(()),
    }
}

/// What a format asks for.
enum Action {
    Send,
    Hint,
    Close,
    Refresh,
}

impl Action {
    fn read(members: &mut Members) -> Result<Action, PublicationError> {
        match members.text("action")?.as_deref() {
            None | Some("send") => Ok(Action::Send),
            Some("hint") => Ok(Action::Hint),
            Some("close") => Ok(Action::Close),
            Some("refresh") => Ok(Action::Refresh),
            Some(_) => Err(members.wrong_value("action").into()),
        }
    }
}

/// Why a publication is refused: the publisher's fault, 400 with `Invalid format: ` and the sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicationError {
    /// More than [`PUBLISH_BYTES_MAX`].
    #[error("the body has more than {PUBLISH_BYTES_MAX} bytes")]
    Large,
    /// Not JSON.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// More than [`PUBLISH_ITEMS_MAX`] items.
    #[error("more than {PUBLISH_ITEMS_MAX} items")]
    Many,
    /// A member that is wrong.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// A name or an id that can't be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Metadata that can't be taken.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// An item in no format.
    #[error("no formats specified")]
    Formats,
    /// A format without content.
    #[error("{0} does not contain 'content' or 'content-bin'")]
    Content(&'static str),
    /// A response without a body.
    #[error("'http-response' does not contain 'body', 'body-bin', or 'body-patch'")]
    Body,
    /// A patch that isn't one.
    #[error("'http-response' contains 'body-patch' with invalid value: {0}")]
    Patch(#[from] PatchError),
    /// A message of a type that isn't known.
    #[error("'ws-message' contains 'type' with unknown value")]
    MessageType,
}
