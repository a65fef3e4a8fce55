//! Routes whose resources can be followed (`follow = "auto"`): an origin has the documents, and a stream of ours mirrors them.
//!
//! What passes is seen: a write is let through, and what it has changed is committed before its answer goes on, by what the answer
//! says or by reading the document once more. A request to follow is answered here, once the origin has answered a GET of the
//! same URL by the same client, so that nobody follows what they may not read. All other requests pass as ever. Invariants: the
//! origin's answer to a write reaches the client whatever becomes of the event; and every write that may have been carried out is
//! followed by a commit, a read, or a line in the log.

mod crossing;
mod following;
mod reading;

use std::rc::Rc;

use fantail_engine::mirror::Write;
use fantail_engine::protocol::accept::{self, Form};
use fantail_engine::protocol::http1::{Framing, Method, Request, fields_to_read};

use self::crossing::Crossing;
use self::following::Opening;
pub(super) use self::following::follow;
use self::reading::Reading;
use super::inquiry::Inquiry;
use crate::core::Welcome;
use crate::origin::Service;

/// What a request to an origin has to do with its mirror.
pub(super) enum Part {
    /// Nothing.
    None,
    /// It may change documents.
    Write(Rc<Crossing>),
    /// It is to be answered with how they change.
    Follow(Box<Opening>),
}

impl Part {
    /// That of a request, which goes on with this head.
    pub(super) fn of(service: &Rc<Service>, request: &Request<'_>, head: &[u8]) -> Part {
        let Some(place) = service.mount.as_ref().and_then(|mount| mount.place(request.path).ok()) else {
            return Part::None;
        };
        let reading = || Reading { service: Rc::clone(service), fields: fields_to_read(head) };
        let wants_events = || accept::choose(request.fields("Accept")) == Some(Form::Events);
        match request.method {
            Method::Post | Method::Put | Method::Patch | Method::Delete => {
                let host = request.field("Host").and_then(|host| str::from_utf8(host).ok());
                let write = Write {
                    method: request.method,
                    place,
                    path: request.path.to_owned(),
                    has_query: request.query.is_some(),
                    host: host.unwrap_or_else(|| service.host()).to_owned(),
                    origin: service.host().to_owned(),
                };
                Part::Write(Rc::new(Crossing::new(write, reading())))
            }
            Method::Subscribe | Method::Get
                if request.framing() == Framing::Empty && (request.method == Method::Subscribe || wants_events()) =>
            {
                // What can't be understood of it is the origin's to judge.
                Inquiry::read(request, Welcome::Open).map_or(Part::None, |inquiry| {
                    Part::Follow(Box::new(Opening::new(place, inquiry, request.query, reading())))
                })
            }
            Method::Get | Method::Subscribe | Method::Head | Method::Options | Method::Other => Part::None,
        }
    }
}
