//! A document while operations are applied to it, one by one, with its exact size and what the work has cost.
//!
//! It applies the operations itself rather than by json-patch: that crate's undo panics if a `move` fails half-way, it
//! loses what a `move` takes, its `test` tells 1 from 1.0, and it can't say how large the values are that it replaces.
//! A draft isn't undone; the caller drops it.
//!
//! Invariant: `bytes` is what [`json::encode`] would write, and `depth` is no less than the nesting.

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use json_patch::jsonptr::index::Index;
use serde_json::{Number, Value};

use super::PatchFault;
use crate::json::{self, Measure, measure, text_len};
use crate::limits::{DEPTH_MAX, DOCUMENT_BYTES_MAX, PATCH_WORK_BYTES_MAX};

/// Bytes of work that a value costs besides its text when it is copied or compared: its place in memory.
pub(super) const NODE_WORK: usize = 16;

/// Bytes of work that an element costs when it is shifted in its array: 32 bytes in memory, moved some eight times as
/// fast as they are copied.
pub(super) const SHIFT_WORK: usize = 4;

/// Bytes of a document up to which debug builds count them again after each operation.
const EXACT_BYTES_MAX: usize = 4 * 1024;

/// A document to which operations are applied.
pub(crate) struct Draft {
    value: Value,
    /// Bytes of the compact text.
    bytes: usize,
    /// The most that `bytes` may come to.
    bytes_max: usize,
    /// An upper bound of the levels of nesting.
    depth: usize,
    /// Bytes copied, compared and shifted so far.
    work: usize,
    /// The most that `work` may come to.
    work_max: usize,
}

impl Draft {
    /// A draft that begins as `value`, for the operations of a client.
    pub(super) fn of(value: Value) -> Draft {
        let Measure { bytes, depth, .. } = measure(&value);
        let (bytes_max, work_max) = (DOCUMENT_BYTES_MAX, PATCH_WORK_BYTES_MAX);
        Draft { value, bytes, bytes_max, depth, work: 0, work_max }
    }

    /// A draft that begins as `value`, for the operations of an event. Between two of them it may hold what is to go
    /// beside what has come, and so twice as much as for a client.
    pub(crate) fn replaying(value: Value) -> Draft {
        Draft { bytes_max: 2 * DOCUMENT_BYTES_MAX, work_max: 2 * PATCH_WORK_BYTES_MAX, ..Draft::of(value) }
    }

    /// The document as the operations made it.
    pub(crate) fn into_value(self) -> Value {
        self.value
    }

    /// Applies one operation (RFC 6902, section 4) and says whether the limits hold. After an error the draft is good
    /// for nothing.
    pub(crate) fn apply(&mut self, operation: &PatchOperation) -> Result<(), PatchFault> {
        self.step(operation)?;
        debug_assert!(self.bytes > EXACT_BYTES_MAX || self.bytes == json::encoded_len(&self.value));
        match self {
            _ if self.bytes > self.bytes_max => Err(PatchFault::Large),
            _ if self.depth > DEPTH_MAX => Err(PatchFault::Deep),
            _ if self.work > self.work_max => Err(PatchFault::Work),
            _ => Ok(()),
        }
    }

    fn step(&mut self, operation: &PatchOperation) -> Result<(), PatchFault> {
        match operation {
            PatchOperation::Add(add) => self.add(&add.path, &add.value),
            PatchOperation::Remove(remove) => {
                let gone = self.detach(&remove.path).ok_or(PatchFault::Target)?;
                self.bytes -= json::encoded_len(&gone);
                Ok(())
            }
            PatchOperation::Replace(replace) => self.replace(&replace.path, &replace.value),
            PatchOperation::Move(moved) => self.relocate(&moved.from, &moved.path),
            PatchOperation::Copy(copy) => {
                let cost = measure(self.value.pointer(copy.from.as_str()).ok_or(PatchFault::Source)?);
                self.charge(cost)?;
                let value = self.value.pointer(copy.from.as_str()).cloned().ok_or(PatchFault::Source)?;
                self.insert(&copy.path, value, cost)
            }
            PatchOperation::Test(test) => {
                self.charge(measure(&test.value))?;
                let target = self.value.pointer(test.path.as_str()).ok_or(PatchFault::Target)?;
                if equal(target, &test.value) { Ok(()) } else { Err(PatchFault::Test) }
            }
        }
    }

    fn add(&mut self, path: &Pointer, value: &Value) -> Result<(), PatchFault> {
        let cost = measure(value);
        self.charge(cost)?;
        self.insert(path, value.clone(), cost)
    }

    fn insert(&mut self, path: &Pointer, value: Value, cost: Measure) -> Result<(), PatchFault> {
        self.bytes += cost.bytes;
        self.depth = self.depth.max(path.count() + cost.depth);
        self.attach(path, value).ok_or(PatchFault::Target)
    }

    fn replace(&mut self, path: &Pointer, value: &Value) -> Result<(), PatchFault> {
        let cost = measure(value);
        self.charge(cost)?;
        let target = self.value.pointer_mut(path.as_str()).ok_or(PatchFault::Target)?;
        let old = std::mem::replace(target, value.clone());
        self.bytes = self.bytes + cost.bytes - json::encoded_len(&old);
        self.depth = self.depth.max(path.count() + cost.depth);
        Ok(())
    }

    fn relocate(&mut self, from: &Pointer, path: &Pointer) -> Result<(), PatchFault> {
        if from == path {
            return self.value.pointer(from.as_str()).map(|_| ()).ok_or(PatchFault::Source);
        }
        if path.starts_with(from) {
            return Err(self.value.pointer(from.as_str()).map_or(PatchFault::Source, |_| PatchFault::Inside));
        }
        let value = self.detach(from).ok_or(PatchFault::Source)?;
        let deeper = path.count().saturating_sub(from.count());
        if self.depth + deeper > DEPTH_MAX {
            let cost = measure(&value);
            self.charge(cost)?;
            self.depth = self.depth.max(path.count() + cost.depth);
        } else {
            self.depth += deeper;
        }
        self.attach(path, value).ok_or(PatchFault::Target)
    }

    /// Takes the value at `path` out of its container. Its own bytes stay in the count: it may come back elsewhere.
    fn detach(&mut self, path: &Pointer) -> Option<Value> {
        let (parent, last) = path.split_back()?;
        match self.value.pointer_mut(parent.as_str())? {
            Value::Object(members) => {
                let value = members.remove(last.decoded().as_ref())?;
                self.bytes -= text_len(&last.decoded()) + 1 + usize::from(!members.is_empty());
                Some(value)
            }
            Value::Array(elements) => {
                let index = last.to_index().ok()?.for_len(elements.len()).ok()?;
                let value = elements.remove(index);
                self.work += (elements.len() - index) * SHIFT_WORK;
                self.bytes -= usize::from(!elements.is_empty());
                Some(value)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    /// Puts `value`, whose own bytes are in the count, at `path`, in the place of what an object has there.
    fn attach(&mut self, path: &Pointer, value: Value) -> Option<()> {
        let Some((parent, last)) = path.split_back() else {
            let old = std::mem::replace(&mut self.value, value);
            self.bytes -= json::encoded_len(&old);
            return Some(());
        };
        match self.value.pointer_mut(parent.as_str())? {
            Value::Object(members) => {
                let name = last.decoded().into_owned();
                let grown = text_len(&name) + 1 + usize::from(!members.is_empty());
                match members.insert(name, value) {
                    Some(old) => self.bytes -= json::encoded_len(&old),
                    None => self.bytes += grown,
                }
            }
            Value::Array(elements) => {
                let index = match last.to_index().ok()? {
                    Index::Next => elements.len(),
                    Index::Num(index) if index <= elements.len() => index,
                    Index::Num(_) => return None,
                };
                self.bytes += usize::from(!elements.is_empty());
                self.work += (elements.len() - index) * SHIFT_WORK;
                elements.insert(index, value);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
        }
        Some(())
    }

    /// Counts the work of copying or comparing a value before it is done.
    fn charge(&mut self, cost: Measure) -> Result<(), PatchFault> {
        self.work += cost.bytes + cost.nodes * NODE_WORK;
        if self.work > self.work_max { Err(PatchFault::Work) } else { Ok(()) }
    }
}

/// Whether two values are equal as RFC 6902, section 4.6, has it: numbers by their value, members in any order.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => equal_numbers(left, right),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && equal(left.1, right.1))
        }
        _ => left == right,
    }
}

fn equal_numbers(left: &Number, right: &Number) -> bool {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => left == right,
        (None, None) => left.as_f64() == right.as_f64(),
        (Some(integer), None) => equals_float(integer, right),
        (None, Some(integer)) => equals_float(integer, left),
    }
}

/// Exact: every float without a fraction that a 64-bit integer could equal is an `i128` without rounding.
fn equals_float(integer: i128, float: &Number) -> bool {
    float.as_f64().is_some_and(|float| float.fract() == 0.0 && float as i128 == integer)
}
