//! Operations as writers ask for them, what they do to a document, and why they are refused.

use crate::document::{self, Body, DocumentError};
use crate::json::{self, Value};
use crate::patch::{self, Patch, PatchError};
use crate::position::Position;
use crate::protocol::condition::{Guard, Verdict};
use crate::topic::{NameError, Place, pointer};

/// One write, as it is posted to the stream's home.
pub struct Operation {
    /// The collection, for [`Change::Create`]; else the document.
    pub place: Place,
    /// What to do.
    pub change: Change,
    /// `If-Match` and `If-None-Match`.
    pub guard: Guard,
    /// `Idempotency-Key`.
    pub key: Option<IdempotencyKey>,
}

/// A writer's promise that a repeat is a repeat.
#[derive(Clone, Copy)]
pub struct IdempotencyKey {
    /// The key as [`crate::log::keys::hash`] makes it.
    pub hash: u128,
    /// A hash of the method, the target and the body: what must be the same in a repeat.
    pub fingerprint: u128,
}

/// What a writer wants done.
pub enum Change {
    /// POST: a new document in the collection. `id` is the body's, or a fresh one.
    Create {
        /// The document.
        value: Value,
        /// Its name-to-be.
        id: String,
    },
    /// PUT: create or replace.
    Put(Value),
    /// What somebody else, whose document it is, has at the place: create or replace, and take it as it is.
    Mirror(Value),
    /// PATCH with RFC 6902.
    Patch(Patch),
    /// PATCH with RFC 7396.
    Merge(Value),
    /// DELETE.
    Delete,
}

/// What a change comes to.
pub struct Effect {
    /// The status of the answer: 200, 201 or 204.
    pub status: u16,
    /// The document afterwards.
    pub body: Option<Body>,
    /// The event's data; none if nothing changes.
    pub data: Option<Vec<u8>>,
}

/// What a writer is told once its position is durable.
pub struct Outcome {
    /// 200, 201 or 204.
    pub status: u16,
    /// The document's place.
    pub place: Place,
    /// The document as it is now; none once it is deleted.
    pub document: Option<Body>,
    /// The stream's position that includes the change.
    pub position: Position,
}

impl Operation {
    /// The document that it is about.
    ///
    /// # Errors
    /// If the id of a document to create can't be a name.
    pub fn target(&self) -> Result<Place, Refusal> {
        match &self.change {
            Change::Create { id, .. } => self.place.child(id).map_err(|_| Refusal::Document(DocumentError::Id)),
            _ => Ok(self.place.clone()),
        }
    }

    /// Judges the guard: on a collection's entity tag for POST, else on the document's.
    pub(super) fn guard_against(
        &self,
        before: Option<&Body>,
        collection: impl FnOnce() -> String,
    ) -> Result<(), Refusal> {
        // Most come without conditions, and a tag takes a hash.
        if self.guard == Guard::default() {
            return Ok(());
        }
        let tag = match &self.change {
            Change::Create { .. } => Some(collection()),
            _ => before.map(|body| document::tag(body)),
        };
        match self.guard.judge(tag.as_deref()) {
            Verdict::Pass => Ok(()),
            Verdict::NotModified | Verdict::Failed => Err(Refusal::Precondition),
        }
    }
}

impl Change {
    /// A condition counts only where the answer would be one of success (RFC 9110, section 13.2.1), so this comes before it.
    pub(super) fn check_target(&self, exists: bool) -> Result<(), Refusal> {
        match self {
            Change::Create { .. } | Change::Put(_) | Change::Mirror(_) => Ok(()),
            Change::Patch(_) | Change::Merge(_) | Change::Delete if exists => Ok(()),
            Change::Patch(_) | Change::Merge(_) | Change::Delete => Err(Refusal::NotFound),
        }
    }

    /// What the change does to the document `target`, that is `before` now.
    ///
    /// # Errors
    /// Why it can't be done.
    pub(super) fn effect(&self, target: &Place, before: Option<&Body>, is_first: bool) -> Result<Effect, Refusal> {
        let id = target.document().expect("a target is a document");
        match (self, before) {
            (Change::Create { .. }, Some(_)) => Err(Refusal::Taken),
            (Change::Create { value, .. } | Change::Put(value), None) => {
                let body = document::seal(value, id)?;
                Ok(Effect { status: 201, data: Some(creation(target, &body, is_first)), body: Some(body) })
            }
            (Change::Put(value), Some(before)) => {
                let body = document::seal(value, id)?;
                Ok(update(target, before, body, None))
            }
            (Change::Mirror(value), None) => {
                let body = document::keep(value)?;
                Ok(Effect { status: 201, data: Some(creation(target, &body, is_first)), body: Some(body) })
            }
            (Change::Mirror(value), Some(before)) => Ok(update(target, before, document::keep(value)?, None)),
            (Change::Patch(patch), Some(before)) => {
                let mut value = document::open(before);
                patch.apply(&mut value)?;
                let body = document::reseal(&value, id)?;
                Ok(update(target, before, body, Some(patch)))
            }
            (Change::Merge(merge), Some(before)) => {
                let mut value = document::open(before);
                patch::merge(&mut value, merge);
                let body = document::reseal(&value, id)?;
                Ok(update(target, before, body, None))
            }
            (Change::Delete, Some(_)) => {
                let mut data = b"[{\"op\":\"remove\",\"path\":".to_vec();
                json::encode_text(&target.pointer(), &mut data);
                data.extend_from_slice(b"}]");
                Ok(Effect { status: 204, body: None, data: Some(data) })
            }
            (Change::Patch(_) | Change::Merge(_) | Change::Delete, None) => Err(Refusal::NotFound),
        }
    }
}

/// The data of a document's first event; before it, its collection is added if it is the first there ever.
fn creation(target: &Place, body: &Body, is_first: bool) -> Vec<u8> {
    let mut data = Vec::with_capacity(body.len() + 128);
    data.push(b'[');
    if is_first {
        data.extend_from_slice(b"{\"op\":\"add\",\"path\":");
        json::encode_text(&pointer(target.collection(), None), &mut data);
        data.extend_from_slice(b",\"value\":{}},");
    }
    data.extend_from_slice(b"{\"op\":\"add\",\"path\":");
    json::encode_text(&target.pointer(), &mut data);
    data.extend_from_slice(b",\"value\":");
    data.extend_from_slice(body);
    data.extend_from_slice(b"}]");
    data
}

fn update(target: &Place, before: &Body, body: Body, own: Option<&Patch>) -> Effect {
    if *before == body {
        return Effect { status: 200, body: Some(body), data: None };
    }
    let mut data = Vec::new();
    patch::update(&target.pointer(), &document::open(before), &document::open(&body), &body, own, &mut data);
    Effect { status: 200, body: Some(body), data: Some(data) }
}

/// Why an operation is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A name can't be one.
    #[error(transparent)]
    Name(NameError),
    /// The document doesn't exist.
    #[error("there is no document here")]
    NotFound,
    /// The id of a new document is taken.
    #[error("a document with this id exists")]
    Taken,
    /// `If-Match` or `If-None-Match` doesn't hold.
    #[error("the precondition doesn't hold for the document as it is")]
    Precondition,
    /// The patch fails, or its result is too large.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The result isn't an acceptable document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The idempotency key came before, with another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// The first request with the idempotency key isn't answered yet.
    #[error("the first request with this idempotency key is in flight")]
    KeyInFlight,
    /// The documents would need more memory than is configured.
    #[error("the memory for documents is full")]
    Full,
    /// Too much waits for the disk.
    #[error("too many writes wait for the disk")]
    Busy,
    /// The stream refuses writes, and says why.
    #[error("the stream refuses writes: {0}")]
    Failed(String),
}
