//! The documents of one stream, in memory as the compact bytes that are stored, served and hashed.
//!
//! The maps share their structure between clones: a clone costs nothing but two counts, may be read on another thread, and
//! what is written meanwhile copies the nodes that it touches. So a checkpoint is a clone that somebody else encodes.
//!
//! Refused are values that aren't objects, whose `id` isn't their name, or that are larger than [`DOCUMENT_BYTES_MAX`]. Only what
//! mirrors somebody else's document ([`keep`]) may call itself otherwise.
//!
//! Invariant: [`Documents`] is the fold of the stream's events, each document the canonical text of its value (members
//! in the order of their names' bytes, no white space), and [`Documents::bytes`] always the sum that its docs define.

mod fold;
#[cfg(test)]
mod tests;
mod touched;

use std::hash::Hasher;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use serde_json::Value;
use siphasher::sip128::{Hasher128, SipHasher13};

pub use fold::FoldError;
pub use touched::touched;

use crate::json;
use crate::limits::{DOCUMENT_BYTES_MAX, PAGE_BYTES_MAX};
use crate::topic;

/// The compact JSON of one document, including its `id`.
pub type Body = Arc<[u8]>;

/// Bytes that a document takes besides its text and its id, as measured with ids that ascend, which leave the tree half full:
/// its place in a leaf (80) and above, the counts of both shared texts, and what the allocator adds.
const DOCUMENT_OVERHEAD: usize = 168;

/// Bytes that a collection takes besides its path and its documents, as measured with one document in each: the first leaf,
/// which has room for sixteen, and its place among the others.
const COLLECTION_OVERHEAD: usize = 800;

/// The documents of a stream by the path of their collection (`users/7/messages`) and by their id, ordered by bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    collections: OrdMap<Arc<str>, Collection>,
    /// Documents of all collections.
    count: usize,
    bytes: usize,
}

/// The documents under one path. A collection stays when its last document goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    documents: OrdMap<Arc<str>, Document>,
    changed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Document {
    body: Body,
    /// The sequence of its last change, or a later one of its collection's.
    changed: u64,
}

impl Collection {
    /// The sequence of the last change of one of its documents.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// The number of documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The documents whose ids are greater than `after` by bytes, in that order; all of them without `after`.
    pub fn documents(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Body)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.documents.range::<_, str>((from, Bound::Unbounded)).map(|(id, document)| (&**id, &document.body))
    }
}

/// What a URL names of a stream's value. A document is named by its collection and its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope<'a> {
    /// All of it.
    Stream,
    /// One collection, by its path.
    Collection(&'a str),
    /// One document of a collection.
    Document(&'a str, &'a str),
}

/// What a list holds of its collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page<'a> {
    /// The id of the last document in the list, for the link to the next page.
    pub last: Option<&'a str>,
    /// Whether documents follow it.
    pub more: bool,
}

/// How one [`Documents::set`] is taken back.
#[derive(Debug)]
#[must_use]
pub struct Undo {
    collection: Box<str>,
    id: Arc<str>,
    document: Option<Document>,
    /// The collection's last change before; `None` if there was no collection.
    changed: Option<u64>,
}

impl Documents {
    /// The document `id` of `collection`.
    #[must_use]
    pub fn get(&self, collection: &str, id: &str) -> Option<&Body> {
        self.document(collection, id).map(|document| &document.body)
    }

    fn document(&self, collection: &str, id: &str) -> Option<&Document> {
        self.collections.get(collection)?.documents.get(id)
    }

    /// The sequence after which nothing in the collection at `path` has changed, or of that only the document `id`; 0 for what
    /// was never there. Events after it are of other documents. It may be later than the last change: for a document that is
    /// gone, or wasn't changed since the checkpoint that it was read from, it is its collection's.
    #[must_use]
    pub fn changed(&self, path: &str, id: Option<&str>) -> u64 {
        let document = id.and_then(|id| self.document(path, id));
        document.map_or_else(|| self.collection(path).map_or(0, Collection::changed), |document| document.changed)
    }

    /// The collection at `path`, if one was ever added.
    #[must_use]
    pub fn collection(&self, path: &str) -> Option<&Collection> {
        self.collections.get(path)
    }

    /// The collections in the order of their paths' bytes.
    pub fn collections(&self) -> impl Iterator<Item = (&str, &Collection)> {
        self.collections.iter().map(|(path, collection)| (&**path, collection))
    }

    /// Whether both are the same value, whenever it was that each document changed last.
    #[must_use]
    pub fn is_value_of(&self, other: &Documents) -> bool {
        self.collections().count() == other.collections().count()
            && self.collections().zip(other.collections()).all(|((path, ours), (other_path, theirs))| {
                path == other_path && ours.len() == theirs.len() && ours.documents(None).eq(theirs.documents(None))
            })
    }

    /// The number of documents in all collections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of memory accounted for: texts, ids and paths, 168 more for each document and 800 more for each collection.
    /// What a clone keeps of earlier documents isn't among them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts the document `id` in place of what was there, or removes it, and marks it and the collection as changed by the
    /// event `sequence`. A collection that isn't there is added.
    pub fn set(&mut self, collection: &str, id: &str, body: Option<Body>, sequence: u64) -> Undo {
        let changed = self.add_collection(collection, sequence);
        let id = Arc::from(id);
        let document = self.swap(collection, &id, body.map(|body| Document { body, changed: sequence }));
        Undo { collection: collection.into(), id, document, changed }
    }

    /// Takes back one [`Documents::set`]. Several are taken back in the reverse of their order.
    pub fn undo(&mut self, undo: Undo) {
        let _ = self.swap(&undo.collection, &undo.id, undo.document);
        match undo.changed {
            None => self.drop_collection(&undo.collection),
            Some(changed) => {
                if let Some(collection) = self.collections.get_mut(&*undo.collection) {
                    collection.changed = changed;
                }
            }
        }
    }

    /// Marks a collection as changed, adding it if it is missing, and returns its last change before.
    fn add_collection(&mut self, path: &str, sequence: u64) -> Option<u64> {
        if let Some(collection) = self.collections.get_mut(path) {
            return Some(std::mem::replace(&mut collection.changed, sequence));
        }
        self.bytes += COLLECTION_OVERHEAD + path.len();
        self.collections.insert(path.into(), Collection { documents: OrdMap::new(), changed: sequence });
        None
    }

    fn drop_collection(&mut self, path: &str) {
        if let Some(collection) = self.collections.remove(path) {
            let documents = collection.documents(None).map(|(id, body)| document_bytes(id, body));
            self.bytes -= COLLECTION_OVERHEAD + path.len() + documents.sum::<usize>();
            self.count -= collection.len();
        }
    }

    /// Puts `document` in the place of what was there and returns that; the collection must be.
    fn swap(&mut self, collection: &str, id: &Arc<str>, document: Option<Document>) -> Option<Document> {
        let documents = &mut self.collections.get_mut(collection)?.documents;
        let before = match document {
            Some(document) => {
                self.bytes += document_bytes(id, &document.body);
                self.count += 1;
                documents.insert(Arc::clone(id), document)
            }
            None => documents.remove(&**id),
        };
        self.bytes -= before.as_ref().map_or(0, |before| document_bytes(id, &before.body));
        self.count -= usize::from(before.is_some());
        before
    }

    /// Appends `{"<path>":[…]}` with the documents of a collection whose ids are greater than `after` by bytes, `limit`
    /// at most. The page ends early once it has [`PAGE_BYTES_MAX`] bytes.
    pub fn encode_list(&self, collection: &str, after: Option<&str>, limit: usize, out: &mut Vec<u8>) -> Page<'_> {
        let start = out.len();
        out.push(b'{');
        json::encode_text(collection, out);
        out.extend_from_slice(b":[");
        let mut page = Page { last: None, more: false };
        let documents = self.collection(collection).into_iter().flat_map(|collection| collection.documents(after));
        for (count, (id, body)) in documents.enumerate() {
            if count >= limit || (count > 0 && out.len() - start + body.len() > PAGE_BYTES_MAX) {
                page.more = true;
                break;
            }
            if count > 0 {
                out.push(b',');
            }
            out.extend_from_slice(body);
            page.last = Some(id);
        }
        out.extend_from_slice(b"]}");
        page
    }

    /// Appends the map form of `scope`: the stream's value, restricted to what the scope names. That of a collection or
    /// a document always has its collection.
    ///
    /// # Errors
    /// If it would pass `bytes_max` bytes; `out` is then as it was, and no more than that was written meanwhile.
    pub fn encode_map(&self, scope: Scope<'_>, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let start = out.len();
        let mut map = Map { out, end: start.saturating_add(bytes_max) };
        let told = match scope {
            Scope::Stream => map.members(self.collections(), |map, (path, collection)| {
                map.name(path)?;
                map.documents(collection.documents(None))
            }),
            Scope::Collection(path) => map.members([path], |map, path| {
                map.name(path)?;
                map.documents(self.collection(path).into_iter().flat_map(|collection| collection.documents(None)))
            }),
            Scope::Document(path, id) => map.members([path], |map, path| {
                map.name(path)?;
                map.documents(self.get(path, id).map(|body| (id, body)))
            }),
        };
        told.inspect_err(|TooLarge| out.truncate(start))
    }
}

fn document_bytes(id: &str, body: &Body) -> usize {
    DOCUMENT_OVERHEAD + id.len() + body.len()
}

/// A map form while it is written, no further than `end`.
struct Map<'o> {
    out: &'o mut Vec<u8>,
    end: usize,
}

impl Map<'_> {
    fn members<T>(
        &mut self,
        members: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        self.put(b"{")?;
        for (count, member) in members.into_iter().enumerate() {
            if count > 0 {
                self.put(b",")?;
            }
            write(self, member)?;
        }
        self.put(b"}")
    }

    fn documents<'d>(&mut self, documents: impl IntoIterator<Item = (&'d str, &'d Body)>) -> Result<(), TooLarge> {
        self.members(documents, |map, (id, body)| {
            map.name(id)?;
            map.put(body)
        })
    }

    fn name(&mut self, name: &str) -> Result<(), TooLarge> {
        if json::text_len(name) > self.end - self.out.len() {
            return Err(TooLarge);
        }
        json::encode_text(name, self.out);
        self.put(b":")
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if bytes.len() > self.end - self.out.len() {
            return Err(TooLarge);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// The map form has more bytes than were allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the map form is too large")]
pub struct TooLarge;

/// A document's 128-bit hash: SipHash-1-3 of its stored bytes with a zero key, the same on every host and after every
/// restart.
#[must_use]
pub fn etag(body: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(body);
    hasher.finish128().as_u128()
}

/// The [`etag`] as it stands between the quotes of an `ETag` field: 32 hexadecimal digits.
#[must_use]
pub fn tag(body: &[u8]) -> String {
    format!("{:032x}", etag(body))
}

/// The id that a body brings, if it does.
///
/// # Errors
/// The value isn't an object, or its `id` isn't a string that can be a name.
pub fn named(value: &Value) -> Result<Option<&str>, DocumentError> {
    match value.as_object().ok_or(DocumentError::NotObject)?.get("id") {
        None => Ok(None),
        Some(Value::String(id)) if topic::check_name(id).is_ok() => Ok(Some(id)),
        Some(_) => Err(DocumentError::Id),
    }
}

/// Makes the document `id` of a body that creates or replaces it, where the body may leave out `id`.
///
/// # Errors
/// As [`reseal`], but that `id` is missing.
pub fn seal(value: &Value, id: &str) -> Result<Body, DocumentError> {
    let members = value.as_object().ok_or(DocumentError::NotObject)?;
    if members.contains_key("id") {
        return reseal(value, id);
    }
    let (name, id) = ("id".to_owned(), Value::from(id));
    let bytes = json::encoded_len(value) + json::encoded_len(&id) + r#""id":"#.len() + usize::from(!members.is_empty());
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::Large);
    }
    let before = members.iter().filter(|(other, _)| **other < name);
    let after = members.iter().filter(|(other, _)| **other > name);
    let mut body = Vec::with_capacity(bytes);
    for (name, member) in before.chain([(&name, &id)]).chain(after) {
        body.push(if body.is_empty() { b'{' } else { b',' });
        json::encode_text(name, &mut body);
        body.push(b':');
        json::encode(member, &mut body);
    }
    body.push(b'}');
    Ok(body.into())
}

/// Makes a document of what somebody else has: its `id`, if it has one, is theirs, a number as well as a text.
///
/// # Errors
/// The value isn't an object, or its compact text has more than [`DOCUMENT_BYTES_MAX`] bytes.
pub fn keep(value: &Value) -> Result<Body, DocumentError> {
    if !value.is_object() {
        return Err(DocumentError::NotObject);
    }
    let bytes = json::encoded_len(value);
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::Large);
    }
    let mut body = Vec::with_capacity(bytes);
    json::encode(value, &mut body);
    Ok(body.into())
}

/// Makes the document `id` of a value that must have kept its `id`: what a patch has made of the document.
///
/// # Errors
/// The value isn't an object, its `id` is missing or different or not a string, or its compact text has more than
/// [`DOCUMENT_BYTES_MAX`] bytes.
pub fn reseal(value: &Value, id: &str) -> Result<Body, DocumentError> {
    let members = value.as_object().ok_or(DocumentError::NotObject)?;
    match members.get("id").and_then(Value::as_str) == Some(id) {
        true => keep(value),
        false => Err(DocumentError::Id),
    }
}

/// The value of a document, number for number as it was accepted.
///
/// # Panics
/// If `body` isn't what [`seal`], [`reseal`] or [`keep`] made.
#[must_use]
pub fn open(body: &[u8]) -> Value {
    json::parse(body.to_vec()).expect("a stored document is JSON that was accepted")
}

/// Why a value can't be a document (422).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It isn't an object.
    #[error("a document is a JSON object")]
    NotObject,
    /// Its `id` is missing where it must not be, isn't the last segment of its URL, or can't be a name.
    #[error("the 'id' of a document is a string and the last segment of its URL")]
    Id,
    /// Its compact text has more than [`DOCUMENT_BYTES_MAX`] bytes.
    #[error("a document has at most {DOCUMENT_BYTES_MAX} bytes")]
    Large,
}

impl DocumentError {
    /// The JSON Pointer to the part of the document at fault.
    #[must_use]
    pub fn pointer(self) -> &'static str {
        match self {
            DocumentError::NotObject | DocumentError::Large => "",
            DocumentError::Id => "/id",
        }
    }
}
