//! Responses that an instruction or an item gives as JSON, and how an item changes the body that is held.

use serde_json::Value;

use super::member::{MemberError, Members};
use crate::json::{self, JsonError};
use crate::patch::{Patch, PatchError};
use crate::protocol::field::{is_text, is_token};

/// A field's name and its value.
pub type Header = (Box<str>, Box<str>);

/// A response's status and fields.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    /// The status, 200 to 999, unless it is left as it is.
    pub code: Option<u16>,
    /// The reason, unless it is the status' own.
    pub reason: Option<Box<str>>,
    /// The fields in the order given (by name if given as an object). They can be written as they are, but it is for the
    /// writer to leave out those that frame a message.
    pub headers: Vec<Header>,
}

/// A response that an instruction gives in its body.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status and the fields.
    pub head: ResponseHead,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    pub(super) fn read(mut members: Members) -> Result<Response, MemberError> {
        let head = ResponseHead::read(&mut members)?;
        Ok(Response { head, body: members.bytes("body", "body-bin")?.unwrap_or_default() })
    }
}

impl ResponseHead {
    pub(super) fn read(members: &mut Members) -> Result<ResponseHead, MemberError> {
        let code = match members.integer("code")? {
            None => None,
            Some(code) => Some(status(code).ok_or_else(|| members.wrong_value("code"))?),
        };
        let reason = members.text("reason")?.filter(|reason| !reason.is_empty());
        if reason.as_ref().is_some_and(|reason| !reason.bytes().all(is_text)) {
            return Err(members.wrong_value("reason"));
        }
        Ok(ResponseHead { code, reason: reason.map(String::into_boxed_str), headers: headers(members)? })
    }
}

/// A status that may end a request: an interim one would be followed by another response.
pub(super) fn status(code: i64) -> Option<u16> {
    (200..=999).contains(&code).then_some(code as u16)
}

/// Fields as an object or as a list of pairs.
fn headers(members: &mut Members) -> Result<Vec<Header>, MemberError> {
    let pairs = match members.value("headers") {
        None => return Ok(Vec::new()),
        Some(Value::Array(elements)) => elements.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?,
        Some(Value::Object(map)) => {
            let object = Members::of(Value::Object(map), "headers")?;
            object.texts().collect::<Result<_, _>>()?
        }
        Some(_) => return Err(members.wrong_type("headers")),
    };
    let fits =
        |(name, value): &(String, String)| !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_text);
    match pairs.iter().all(fits) {
        true => Ok(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()),
        false => Err(members.wrong_value("headers")),
    }
}

fn pair(element: Value) -> Result<(String, String), MemberError> {
    let Value::Array(pair) = element else { return Err(MemberError::Element("headers")) };
    match <[Value; 2]>::try_from(pair) {
        Ok([Value::String(name), Value::String(value)]) => Ok((name, value)),
        _ => Err(MemberError::Element("headers")),
    }
}

/// What a JSON Patch makes of a body that is held: compact JSON, with the line end that the body has.
///
/// # Errors
/// The body isn't JSON, isn't an array or an object, or the patch can't be applied to it.
pub fn patched(body: &[u8], patch: &Patch) -> Result<Vec<u8>, HeldBodyError> {
    let mut value = json::parse(body.to_vec())?;
    let is_container = |value: &Value| value.is_array() || value.is_object();
    if !is_container(&value) {
        return Err(HeldBodyError::Scalar);
    }
    patch.apply(&mut value)?;
    if !is_container(&value) {
        return Err(HeldBodyError::Scalar);
    }
    let mut patched = Vec::with_capacity(body.len());
    json::encode(&value, &mut patched);
    let line_end: &[u8] = match body {
        [.., b'\r', b'\n'] => b"\r\n",
        [.., b'\n'] => b"\n",
        _ => b"",
    };
    patched.extend_from_slice(line_end);
    Ok(patched)
}

/// Why an item can't change a body that is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeldBodyError {
    /// The body isn't JSON.
    #[error("the held body: {0}")]
    Json(#[from] JsonError),
    /// The body isn't an array or an object, or wouldn't be one.
    #[error("the held body is neither an array nor an object")]
    Scalar,
    /// The patch can't be applied.
    #[error("the held body can't be patched: {0}")]
    Patch(#[from] PatchError),
}
