//! HTTP/1.1 as bytes (RFC 9112): a request's head, its body, a response's head; and what of them passes from one connection to
//! another.
//!
//! What two readers of the same bytes could understand differently is refused, never repaired: whoever shares a
//! connection through a proxy must not be able to hide a request inside another one.

mod request;

mod framing;
mod target;

mod body;

mod response;

mod answer;
mod passing;

pub use answer::{Answer, AnswerBody, AnswerError, ParsedAnswer, parse_answer};
pub use body::{BodyError, BodyReader, Fed};
pub use framing::{Connection, Framing, Version};
pub use passing::{
    Forwarding, Onward, Rules, Shape, Upgrade, chunk, fields_to_read, is_grip, is_hop_by_hop, target_and_host, upgrade,
    write_answer, write_request,
};
pub use request::{HeadError, Method, Parsed, Request, parse};
pub use response::{CONTINUE, Head, reason};
pub use target::{without_own_port, without_port};
