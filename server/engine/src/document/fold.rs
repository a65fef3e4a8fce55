//! How events become documents again: in recovery, and when a checkpoint is read.
//!
//! It takes any operation that an event or a checkpoint of ours can hold: on the whole value, on a collection with the
//! documents in it, on a document, and within one document. Refused are operations that reach from one document into
//! another, and targets that aren't there; an event that is refused was never written by this program.
//!
//! Invariant: the result is what a strict implementation of RFC 6902 makes of the stream's value.

use json_patch::jsonptr::Pointer;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
};
use serde_json::{Map, Value};

use super::{Documents, open};
use crate::json::{self, JsonError, Measure, measure};
use crate::limits::DEPTH_MAX;
use crate::log::checkpoint::Checkpoint;
use crate::patch::{Draft, Patch, PatchError, PatchFault};

/// Levels of nesting that an event puts around a document: the operations, an operation, the stream's value, a
/// collection.
const EVENT_DEPTH: usize = 4;

impl Documents {
    /// The documents of a checkpoint that was read from `bytes`.
    ///
    /// # Errors
    /// A part isn't what this program would have written.
    pub fn read(checkpoint: &Checkpoint, bytes: &[u8]) -> Result<Documents, FoldError> {
        let mut documents = Documents::default();
        for extent in &checkpoint.collections {
            for data in checkpoint.parts(&bytes[extent.range.start as usize..extent.range.end as usize]) {
                documents.fold(data, extent.changed)?;
            }
        }
        Ok(documents)
    }

    /// Applies the data of the event `sequence` (a JSON array of operations on the stream's value) and marks the
    /// collections that it touches as changed by it.
    ///
    /// # Errors
    /// The data isn't such an array, or an operation can't be applied. What was applied before it stays.
    pub fn fold(&mut self, data: &[u8], sequence: u64) -> Result<(), FoldError> {
        let value = json::parse_within(data.to_vec(), DEPTH_MAX + EVENT_DEPTH)?;
        let mut fold = Fold { documents: self, sequence, opened: None };
        for operation in Patch::read_within(value, usize::MAX)?.into_operations() {
            fold.apply(operation)?;
        }
        fold.close()
    }
}

/// One event while it is applied.
struct Fold<'d> {
    documents: &'d mut Documents,
    sequence: u64,
    /// The document that operations are applied within, so that a patch of many reads and writes it once.
    opened: Option<Opened>,
}

struct Opened {
    collection: String,
    id: String,
    draft: Draft,
}

impl Fold<'_> {
    fn apply(&mut self, operation: PatchOperation) -> Result<(), FoldError> {
        let names: Vec<String> = operation.path().tokens().take(2).map(|token| token.decoded().into_owned()).collect();
        let is_whole = operation.path().count() == names.len();
        match (&*names, operation) {
            ([collection, id], PatchOperation::Add(add)) if is_whole => {
                self.close()?;
                self.documents.collection(collection).ok_or(FoldError::Place)?;
                self.put(collection, id, add.value)
            }
            ([collection, id], PatchOperation::Replace(replace)) if is_whole => {
                self.close()?;
                self.documents.get(collection, id).ok_or(FoldError::Place)?;
                self.put(collection, id, replace.value)
            }
            ([collection, id], PatchOperation::Remove(_)) if is_whole => {
                self.close()?;
                self.documents.get(collection, id).ok_or(FoldError::Place)?;
                let _ = self.documents.set(collection, id, None, self.sequence);
                Ok(())
            }
            ([collection, id], operation) => {
                let inner = within(operation)?;
                Ok(self.open(collection, id)?.apply(&inner)?)
            }
            ([collection], PatchOperation::Add(add)) => self.put_collection(collection, add.value),
            ([collection], PatchOperation::Replace(replace)) => {
                self.documents.collection(collection).ok_or(FoldError::Place)?;
                self.put_collection(collection, replace.value)
            }
            ([], PatchOperation::Add(AddOperation { value, .. }))
            | ([], PatchOperation::Replace(ReplaceOperation { value, .. })) => {
                self.opened = None;
                *self.documents = Documents::default();
                members(value)?.into_iter().try_for_each(|(path, documents)| self.put_collection(&path, documents))
            }
            _ => Err(FoldError::Place),
        }
    }

    /// Replaces a collection by an object of documents.
    fn put_collection(&mut self, path: &str, documents: Value) -> Result<(), FoldError> {
        self.close()?;
        self.documents.drop_collection(path);
        self.documents.add_collection(path, self.sequence);
        members(documents)?.into_iter().try_for_each(|(id, document)| self.put(path, &id, document))
    }

    fn put(&mut self, collection: &str, id: &str, document: Value) -> Result<(), FoldError> {
        if !document.is_object() {
            return Err(FoldError::NotObject);
        }
        let Measure { bytes, depth, .. } = measure(&document);
        if depth > DEPTH_MAX {
            return Err(FoldError::Operation(PatchFault::Deep));
        }
        let mut body = Vec::with_capacity(bytes);
        json::encode(&document, &mut body);
        let _ = self.documents.set(collection, id, Some(body.into()), self.sequence);
        Ok(())
    }

    /// The draft of a document, which stays open until another place is changed.
    fn open(&mut self, collection: &str, id: &str) -> Result<&mut Draft, FoldError> {
        let is_open = |opened: &Opened| opened.collection == collection && opened.id == id;
        if !self.opened.as_ref().is_some_and(is_open) {
            self.close()?;
            let body = self.documents.get(collection, id).ok_or(FoldError::Place)?;
            let draft = Draft::replaying(open(body));
            self.opened = Some(Opened { collection: collection.to_owned(), id: id.to_owned(), draft });
        }
        self.opened.as_mut().map(|opened| &mut opened.draft).ok_or(FoldError::Place)
    }

    /// Writes back the document that is open.
    fn close(&mut self) -> Result<(), FoldError> {
        match self.opened.take() {
            Some(Opened { collection, id, draft }) => self.put(&collection, &id, draft.into_value()),
            None => Ok(()),
        }
    }
}

fn members(value: Value) -> Result<Map<String, Value>, FoldError> {
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(FoldError::NotObject)
        }
    }
}

/// The operation as one on the document that its path leads into.
fn within(operation: PatchOperation) -> Result<PatchOperation, FoldError> {
    let (document, path) = split(operation.path())?;
    let (document, path) = (document.to_buf(), path.to_buf());
    let source = |from: &Pointer| match split(from)? {
        (other, from) if *other == *document => Ok(from.to_buf()),
        _ => Err(FoldError::Place),
    };
    Ok(match operation {
        PatchOperation::Add(add) => PatchOperation::Add(AddOperation { path, value: add.value }),
        PatchOperation::Remove(_) => PatchOperation::Remove(RemoveOperation { path }),
        PatchOperation::Replace(replace) => PatchOperation::Replace(ReplaceOperation { path, value: replace.value }),
        PatchOperation::Move(moved) => PatchOperation::Move(MoveOperation { from: source(&moved.from)?, path }),
        PatchOperation::Copy(copy) => PatchOperation::Copy(CopyOperation { from: source(&copy.from)?, path }),
        PatchOperation::Test(test) => PatchOperation::Test(TestOperation { path, value: test.value }),
    })
}

/// Cuts a pointer into the one to its document and the rest within.
fn split(pointer: &Pointer) -> Result<(&Pointer, &Pointer), FoldError> {
    let text = pointer.as_str();
    let end = text.match_indices('/').nth(2).map_or(text.len(), |(at, _)| at);
    if pointer.count() < 2 {
        return Err(FoldError::Place);
    }
    let cut = |text| Pointer::parse(text).map_err(|_| FoldError::Place);
    Ok((cut(&text[..end])?, cut(&text[end..])?))
}

/// Why an event can't be applied to the documents before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Its data isn't JSON that we would have written.
    #[error("the event's data: {0}")]
    Json(#[from] JsonError),
    /// Its data isn't an array of operations.
    #[error("the event's data: {0}")]
    Patch(#[from] PatchError),
    /// An operation within a document can't be applied.
    #[error("an operation of the event: {0}")]
    Operation(#[from] PatchFault),
    /// An operation's path leads to no document that is there, or from one into another.
    #[error("an operation of the event leads nowhere")]
    Place,
    /// A document or a collection is something else than an object.
    #[error("a value in the event isn't an object")]
    NotObject,
}
