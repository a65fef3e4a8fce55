//! GRIP: what an origin asks of the edge in front of it, and what is published to those whom the edge holds.
//!
//! An origin answers with an [`Instruction`]; who publishes sends [`Item`]s; [`Channels`] puts them in order; a [`Screen`]
//! says who gets them, a [`Substitution`] what differs for each. Nothing here knows of connections or of the log.
//!
//! Invariant: whatever text comes out of here can stand in a field of HTTP, since it was read with that in mind.

mod hold;
mod instruction;
mod item;
mod keep_alive;
mod link;
mod meta;
mod response;

mod channel;

mod chain;
mod sharing;

mod reply;

mod screen;
mod substitution;

mod signature;

mod member;
mod name;
mod parameter;

pub use chain::{Ask, Chain, ChainError, Freshness};
pub use channel::{Begin, Channels, Continuity, Offered, Release};
pub use hold::{Channel, FilterName, Hold, Mode};
pub use instruction::{Instruction, InstructionError, Status, is_instruction, wants_body};
pub use item::{Item, PublicationError, ResponseBody, ResponseItem, StreamItem, publication};
pub use keep_alive::{KeepAlive, KeepAliveError, Pace};
pub use link::{Link, LinkError, Next};
pub use member::MemberError;
pub use meta::{Meta, MetaError};
pub use name::NameError;
pub use reply::Reply;
pub use response::{Header, HeldBodyError, Response, ResponseHead, patched};
pub use screen::{Label, Screen};
pub use sharing::{Answered, Asked, Audience, Sharing};
pub use signature::{KeyError, KeyText, Signer, TokenError, Verifier};
pub use substitution::{Renderer, Substitution, SubstitutionError};

/// The value of `Grip-Feature`: what an origin may ask of this edge.
pub const FEATURES: &str = "status, session, link:next, link:gone, filter:skip-self, filter:skip-users, \
                            filter:require-sub, filter:build-id, filter:var-subst";

/// Whether a field belongs to GRIP: stripped from what clients send, and from what they get.
#[must_use]
pub fn is_grip(field: &str) -> bool {
    field.as_bytes().get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"Grip-"))
}

/// The value of a `Grip-Last` field: the last item that a client has of a channel, in a request to the origin.
#[must_use]
pub fn last(channel: &str, id: &str) -> String {
    format!("{channel}; last-id={}", parameter::written(id))
}

#[cfg(test)]
mod tests;
