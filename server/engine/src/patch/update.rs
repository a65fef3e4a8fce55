//! What followers are sent of a changed document: the smaller of `replace` and the operations that changed it.
//!
//! The operations are the client's own patch or, for a change that came as a whole, the difference between the two
//! documents. It is written as it is found and given up where it grows past `replace`, or where finding or following it
//! costs more than [`PATCH_WORK_BYTES_MAX`]: memory stays within twice the document's, and no event is dearer than a
//! client's patch may be. Refused as well: paths that npm's fast-json-patch throws on (`__proto__`,
//! `constructor/prototype`).

use serde_json::{Map, Value};

use super::draft::{NODE_WORK, SHIFT_WORK};
use super::{Patch, PatchOperation, encode_operation};
use crate::json::{self, push_token};
use crate::limits::PATCH_WORK_BYTES_MAX;

/// Appends the JSON array of operations on the stream's value, whose document at `pointer` (a JSON Pointer, not escaped
/// for JSON) is `old`, that makes it `new`: an event's whole data.
///
/// `new_bytes` is the compact text of `new`; `own` is the patch that a client has applied, if the change came as one.
/// If the two documents are equal to the byte, the array is empty, unless `own` has operations that cancel each other
/// out.
pub fn update(pointer: &str, old: &Value, new: &Value, new_bytes: &[u8], own: Option<&Patch>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b"[{\"op\":\"replace\",\"path\":");
    json::encode_text(pointer, out);
    out.extend_from_slice(b",\"value\":");
    let bytes_max = out.len() - start + new_bytes.len() + b"}]".len();
    let mut changes =
        Changes { data: vec![b'['], bytes_max, path: pointer.to_owned(), prefix_len: pointer.len(), work: 0 };
    let told = match own {
        Some(patch) => changes.replay(patch),
        None => changes.diff(old, new),
    };
    match told {
        Ok(()) => {
            out.truncate(start);
            out.append(&mut changes.data);
            out.push(b']');
        }
        Err(NotSmaller) => {
            out.extend_from_slice(new_bytes);
            out.extend_from_slice(b"}]");
        }
    }
}

/// The operations aren't worth it: they are no smaller than `replace`, too dear to find, or not safe everywhere.
struct NotSmaller;

/// The operations as far as they are written.
struct Changes {
    /// `[` and the operations, separated by commas.
    data: Vec<u8>,
    /// The bytes of `replace`, brackets included, which the operations must stay below.
    bytes_max: usize,
    /// The JSON Pointer of the values that are compared.
    path: String,
    /// The bytes of `path` that lead to the document.
    prefix_len: usize,
    /// Bytes compared by [`Changes::same`] so far, and shifted by whoever follows the operations.
    work: usize,
}

impl Changes {
    /// Writes the operations of a client's patch.
    fn replay(&mut self, patch: &Patch) -> Result<(), NotSmaller> {
        for operation in &patch.operations {
            match operation {
                PatchOperation::Test(_) => continue,
                PatchOperation::Move(moved) if moved.from.is_root() => return Err(NotSmaller),
                PatchOperation::Remove(remove) if remove.path.is_root() => return Err(NotSmaller),
                PatchOperation::Move(moved) => safe(moved.from.as_str())?,
                PatchOperation::Copy(copy) => safe(copy.from.as_str())?,
                PatchOperation::Add(_) | PatchOperation::Remove(_) | PatchOperation::Replace(_) => {}
            }
            safe(operation.path().as_str())?;
            self.separate();
            encode_operation(operation, &self.path, &mut self.data);
            self.judge()?;
        }
        Ok(())
    }

    /// Writes the operations that turn the value at `path` from `old` into `new`.
    fn diff(&mut self, old: &Value, new: &Value) -> Result<(), NotSmaller> {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => self.diff_members(old, new),
            (Value::Array(old), Value::Array(new)) if old.len() == new.len() => self.diff_elements(0, old, new),
            (Value::Array(old), Value::Array(new)) => self.diff_arrays(old, new),
            _ if same_scalar(old, new) => Ok(()),
            _ => self.write("replace", Some(new)),
        }
    }

    fn diff_members(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) -> Result<(), NotSmaller> {
        for (name, value) in new {
            self.at(name, |changes| match old.get(name) {
                Some(before) => changes.diff(before, value),
                None => changes.write("add", Some(value)),
            })?;
        }
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        gone.into_iter().try_for_each(|name| self.at(name, |changes| changes.write("remove", None)))
    }

    /// Arrays of different lengths: what they share at both ends stays, what is between is compared in pairs.
    fn diff_arrays(&mut self, old: &[Value], new: &[Value]) -> Result<(), NotSmaller> {
        let shorter = old.len().min(new.len());
        let mut head = 0;
        while head < shorter && self.same(&old[head], &new[head])? {
            head += 1;
        }
        let mut tail = 0;
        while tail < shorter - head && self.same(&old[old.len() - 1 - tail], &new[new.len() - 1 - tail])? {
            tail += 1;
        }
        let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
        let pairs = old.len().min(new.len());
        self.diff_elements(head, &old[..pairs], &new[..pairs])?;
        for index in (pairs..old.len()).rev() {
            self.charge(tail * SHIFT_WORK)?;
            self.at(&(head + index).to_string(), |changes| changes.write("remove", None))?;
        }
        for (index, value) in new.iter().enumerate().skip(pairs) {
            self.charge(tail * SHIFT_WORK)?;
            self.at(&(head + index).to_string(), |changes| changes.write("add", Some(value)))?;
        }
        Ok(())
    }

    fn diff_elements(&mut self, first: usize, old: &[Value], new: &[Value]) -> Result<(), NotSmaller> {
        old.iter()
            .zip(new)
            .enumerate()
            .try_for_each(|(index, (old, new))| self.at(&(first + index).to_string(), |changes| changes.diff(old, new)))
    }

    /// Does `step` with the path one token longer.
    fn at(&mut self, token: &str, step: impl FnOnce(&mut Changes) -> Result<(), NotSmaller>) -> Result<(), NotSmaller> {
        let len = self.path.len();
        push_token(&mut self.path, token);
        step(self)?;
        self.path.truncate(len);
        Ok(())
    }

    fn write(&mut self, name: &str, value: Option<&Value>) -> Result<(), NotSmaller> {
        safe(&self.path[self.prefix_len..])?;
        self.separate();
        self.data.extend_from_slice(b"{\"op\":\"");
        self.data.extend_from_slice(name.as_bytes());
        self.data.extend_from_slice(b"\",\"path\":");
        json::encode_text(&self.path, &mut self.data);
        if let Some(value) = value {
            self.data.extend_from_slice(b",\"value\":");
            json::encode(value, &mut self.data);
        }
        self.data.push(b'}');
        self.judge()
    }

    fn separate(&mut self) {
        if self.data.len() > 1 {
            self.data.push(b',');
        }
    }

    fn judge(&self) -> Result<(), NotSmaller> {
        if self.data.len() + 1 < self.bytes_max { Ok(()) } else { Err(NotSmaller) }
    }

    fn charge(&mut self, cost: usize) -> Result<(), NotSmaller> {
        self.work += cost;
        if self.work > PATCH_WORK_BYTES_MAX { Err(NotSmaller) } else { Ok(()) }
    }

    /// Whether two values have the same text.
    fn same(&mut self, old: &Value, new: &Value) -> Result<bool, NotSmaller> {
        self.charge(NODE_WORK + old.as_str().map_or(0, str::len))?;
        match (old, new) {
            (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
                for (old, new) in old.iter().zip(new) {
                    if !self.same(old, new)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Object(old), Value::Object(new)) if old.len() == new.len() => {
                for (old, new) in old.iter().zip(new) {
                    if old.0 != new.0 || !self.same(old.1, new.1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Array(_) | Value::Object(_), _) => Ok(false),
            _ => Ok(same_scalar(old, new)),
        }
    }
}

/// Whether two values that aren't both arrays or both objects have the same text; `-0.0` and `0.0` haven't.
fn same_scalar(old: &Value, new: &Value) -> bool {
    let negative = |value: &Value| value.as_f64().is_some_and(f64::is_sign_negative);
    old == new && negative(old) == negative(new)
}

/// Says whether a path within the document can be sent to any client.
fn safe(path: &str) -> Result<(), NotSmaller> {
    let mut before = "";
    for token in path.split('/') {
        if token == "__proto__" || (token == "prototype" && before == "constructor") {
            return Err(NotSmaller);
        }
        before = token;
    }
    Ok(())
}
