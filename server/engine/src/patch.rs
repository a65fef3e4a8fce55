//! How a document is changed: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396), and how a change is told.
//!
//! Refused are patches that aren't an array of well-formed operations, and operations whose target isn't there or that
//! would pass a limit: [`DOCUMENT_BYTES_MAX`] and [`DEPTH_MAX`] after each operation, [`PATCH_WORK_BYTES_MAX`] over
//! all.
//!
//! Invariant: a patch is applied whole or not at all, and what [`update`] writes turns the old document into the new
//! one under any strict implementation of RFC 6902.

mod draft;
mod update;

#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
pub(crate) mod tests;

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
};
use serde_json::{Map, Value};

use crate::json;
use crate::limits::{DEPTH_MAX, DOCUMENT_BYTES_MAX, PATCH_OPERATIONS_MAX, PATCH_WORK_BYTES_MAX};

pub(crate) use draft::Draft;
pub use update::update;

/// A JSON Patch whose operations are well formed; whether their targets are there is known when it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    operations: Vec<PatchOperation>,
}

impl Patch {
    /// Reads a patch from the JSON of a body. Members that an operation doesn't define are ignored (RFC 6902, section
    /// 4).
    ///
    /// # Errors
    /// Not an array, more than [`PATCH_OPERATIONS_MAX`] operations, or the first operation that isn't one: not an
    /// object, an unknown `op`, a member that is missing or of the wrong type, a malformed JSON Pointer.
    pub fn read(value: Value) -> Result<Patch, PatchError> {
        Patch::read_within(value, PATCH_OPERATIONS_MAX)
    }

    /// As [`Patch::read`] with another bound on the operations: an event of a checkpoint holds as many as fit its
    /// bytes.
    pub(crate) fn read_within(value: Value, operations_max: usize) -> Result<Patch, PatchError> {
        let at_root = |fault| PatchError { fault, pointer: String::new() };
        let Value::Array(values) = value else { return Err(at_root(PatchFault::NotArray)) };
        if values.len() > operations_max {
            return Err(at_root(PatchFault::Many));
        }
        let operations = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| operation(value).map_err(|(fault, member)| PatchError::at(fault, index, member)));
        Ok(Patch { operations: operations.collect::<Result<_, _>>()? })
    }

    /// Applies the operations in their order. On an error `document` is as before.
    ///
    /// The cost is bounded by the limits, whatever the patch says, besides one copy of the document.
    ///
    /// # Errors
    /// The first operation that can't be done, or after which a limit is passed. A `test` compares numbers by value, as
    /// RFC 6902, section 4.6, has it: 1 equals 1.0.
    pub fn apply(&self, document: &mut Value) -> Result<(), PatchError> {
        let mut draft = Draft::of(document.clone());
        for (index, operation) in self.operations.iter().enumerate() {
            draft.apply(operation).map_err(|fault| PatchError::at(fault, index, fault.member()))?;
        }
        *document = draft.into_value();
        Ok(())
    }

    /// Whether there is no operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The operations in their order.
    pub(crate) fn into_operations(self) -> Vec<PatchOperation> {
        self.operations
    }

    /// Appends the operations as compact JSON, separated by commas and without the brackets, each path put under
    /// `prefix` (a JSON Pointer, not escaped for JSON). `test` is left out: it changes nothing.
    pub fn encode(&self, prefix: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for operation in self.operations.iter().filter(|operation| !matches!(operation, PatchOperation::Test(_))) {
            if out.len() > start {
                out.push(b',');
            }
            encode_operation(operation, prefix, out);
        }
    }
}

/// Appends one operation with its members in the order `op`, `from`, `path`, `value`.
fn encode_operation(operation: &PatchOperation, prefix: &str, out: &mut Vec<u8>) {
    let (name, from, value) = match operation {
        PatchOperation::Add(add) => ("add", None, Some(&add.value)),
        PatchOperation::Remove(_) => ("remove", None, None),
        PatchOperation::Replace(replace) => ("replace", None, Some(&replace.value)),
        PatchOperation::Move(moved) => ("move", Some(&moved.from), None),
        PatchOperation::Copy(copy) => ("copy", Some(&copy.from), None),
        PatchOperation::Test(test) => ("test", None, Some(&test.value)),
    };
    let mut member = |before: &str, pointer: &Pointer| {
        out.extend_from_slice(before.as_bytes());
        json::encode_text(&[prefix, pointer.as_str()].concat(), out);
    };
    let open = ["{\"op\":\"", name, "\""].concat();
    match from {
        Some(from) => {
            member(&[&open, ",\"from\":"].concat(), from);
            member(",\"path\":", operation.path());
        }
        None => member(&[&open, ",\"path\":"].concat(), operation.path()),
    }
    if let Some(value) = value {
        out.extend_from_slice(b",\"value\":");
        json::encode(value, out);
    }
    out.push(b'}');
}

/// Applies a merge patch (RFC 7396). The result is no deeper than the deeper of the two; its size and shape are for
/// [`crate::document::reseal`] to judge.
pub fn merge(document: &mut Value, patch: &Value) {
    json_patch::merge(document, patch);
}

/// Reads one operation; an error comes with the member at fault, which is empty if that is the operation itself.
fn operation(value: Value) -> Result<PatchOperation, (PatchFault, &'static str)> {
    let Value::Object(mut members) = value else { return Err((PatchFault::NotObject, "")) };
    let name = match members.get("op") {
        Some(Value::String(name)) => name.clone(),
        Some(_) => return Err((PatchFault::NotText, "op")),
        None => return Err((PatchFault::Missing("op"), "")),
    };
    let take = |members: &mut Map<String, Value>| members.remove("value").ok_or((PatchFault::Missing("value"), ""));
    Ok(match name.as_str() {
        "add" => PatchOperation::Add(AddOperation { path: target(&members, "path")?, value: take(&mut members)? }),
        "remove" => PatchOperation::Remove(RemoveOperation { path: target(&members, "path")? }),
        "replace" => {
            PatchOperation::Replace(ReplaceOperation { path: target(&members, "path")?, value: take(&mut members)? })
        }
        "move" => {
            PatchOperation::Move(MoveOperation { from: target(&members, "from")?, path: target(&members, "path")? })
        }
        "copy" => {
            PatchOperation::Copy(CopyOperation { from: target(&members, "from")?, path: target(&members, "path")? })
        }
        "test" => PatchOperation::Test(TestOperation { path: target(&members, "path")?, value: take(&mut members)? }),
        _ => return Err((PatchFault::Unknown, "op")),
    })
}

/// Reads the pointer in one member of an operation (RFC 6901, section 3).
fn target(members: &Map<String, Value>, name: &'static str) -> Result<PointerBuf, (PatchFault, &'static str)> {
    match members.get(name) {
        Some(Value::String(text)) => PointerBuf::parse(text.as_str()).map_err(|_| (PatchFault::Pointer, name)),
        Some(_) => Err((PatchFault::NotText, name)),
        None => Err((PatchFault::Missing(name), "")),
    }
}

/// Why a patch is refused, and which part of its body is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct PatchError {
    fault: PatchFault,
    pointer: String,
}

impl PatchError {
    fn at(fault: PatchFault, index: usize, member: &str) -> PatchError {
        let separator = if member.is_empty() { "" } else { "/" };
        PatchError { fault, pointer: format!("/{index}{separator}{member}") }
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> PatchFault {
        self.fault
    }

    /// The JSON Pointer to the part of the patch at fault, as `/3/path`.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Whether the document isn't as a `test` expects it (409), rather than the patch one that can't be applied (422).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.fault == PatchFault::Test
    }
}

/// What is wrong with a patch or with one of its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatchFault {
    /// The patch isn't an array.
    #[error("a JSON Patch is an array of operations")]
    NotArray,
    /// More operations than [`PATCH_OPERATIONS_MAX`].
    #[error("a patch has at most {PATCH_OPERATIONS_MAX} operations")]
    Many,
    /// An operation isn't an object.
    #[error("an operation is an object")]
    NotObject,
    /// An operation lacks a member that it needs.
    #[error("the operation has no member '{0}'")]
    Missing(&'static str),
    /// A member that must be a string is something else.
    #[error("the member is a string")]
    NotText,
    /// An `op` that RFC 6902 doesn't define.
    #[error("the operation is none of add, remove, replace, move, copy and test")]
    Unknown,
    /// A `path` or `from` that isn't a JSON Pointer.
    #[error("the member isn't a JSON Pointer")]
    Pointer,
    /// `path` leads to nothing that the operation could apply to.
    #[error("the path leads to no place in the document")]
    Target,
    /// `from` leads to nothing.
    #[error("nothing in the document is at 'from'")]
    Source,
    /// A value can't be moved into itself.
    #[error("a value can't be moved into itself")]
    Inside,
    /// The value isn't the one that `test` expects.
    #[error("the value isn't the one expected")]
    Test,
    /// The document would be larger than [`DOCUMENT_BYTES_MAX`].
    #[error("the document would be larger than {DOCUMENT_BYTES_MAX} bytes")]
    Large,
    /// The document would be nested deeper than [`DEPTH_MAX`].
    #[error("the document would be nested deeper than {DEPTH_MAX} levels")]
    Deep,
    /// The patch copies, compares and shifts more than [`PATCH_WORK_BYTES_MAX`].
    #[error("the patch copies or shifts more than {PATCH_WORK_BYTES_MAX} bytes")]
    Work,
}

impl PatchFault {
    /// The member of an operation that an error while it is applied points to.
    fn member(self) -> &'static str {
        match self {
            PatchFault::Target | PatchFault::Inside => "path",
            PatchFault::Source => "from",
            PatchFault::NotArray
            | PatchFault::Many
            | PatchFault::NotObject
            | PatchFault::Missing(_)
            | PatchFault::NotText
            | PatchFault::Unknown
            | PatchFault::Pointer
            | PatchFault::Test
            | PatchFault::Large
            | PatchFault::Deep
            | PatchFault::Work => "",
        }
    }
}
