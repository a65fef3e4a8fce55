//! HTTP/1.1 as bytes (RFC 9112): a request's head, its body, a response's head.
//!
//! What two readers of the same bytes could understand differently is refused, never repaired: whoever shares a
//! connection through a proxy must not be able to hide a request inside another one.

mod request;

mod framing;
mod target;

mod body;

mod response;

pub use body::{BodyError, BodyReader, Fed};
pub use framing::{Connection, Framing, Version};
pub use request::{HeadError, Method, Parsed, Request, parse};
pub use response::{CONTINUE, Head, reason};
