//! Answers as they are written: status, fields and body.

use bytes::Bytes;
use fantail_engine::document::{self, Body, DocumentError};
use fantail_engine::patch::PatchError;
use fantail_engine::position::Position;
use fantail_engine::protocol::http1::{Connection as Persistence, Head};
use fantail_engine::protocol::problem::{self, Problem};
use fantail_engine::stream::Refusal;

use crate::core::question::Refused;
use crate::limits::COPIED_BYTES_MAX;

/// Seconds after which a client that was refused may try again.
const RETRY_AFTER: &str = "2";
/// The patches that documents take.
pub(super) const ACCEPT_PATCH: &str = "application/json-patch+json, application/merge-patch+json";

/// What a client is told.
pub(super) struct Answered {
    status: u16,
    content_type: &'static str,
    body: Content,
    fields: Vec<(&'static str, String)>,
}

/// A body, owned or shared with the stream that it is from.
enum Content {
    None,
    Owned(Vec<u8>),
    Shared(Body),
    Static(&'static [u8]),
}

impl Content {
    fn into_bytes(self) -> Bytes {
        match self {
            Content::None => Bytes::new(),
            Content::Owned(bytes) => bytes.into(),
            Content::Shared(body) => Bytes::from_owner(body),
            Content::Static(bytes) => Bytes::from_static(bytes),
        }
    }
}

impl Answered {
    fn new(status: u16, content_type: &'static str, body: Content) -> Answered {
        Answered { status, content_type, body, fields: Vec::new() }
    }

    /// An answer without a body.
    pub(super) fn empty(status: u16) -> Answered {
        Answered::new(status, "", Content::None)
    }

    pub(super) fn json(status: u16, body: Vec<u8>) -> Answered {
        Answered::new(status, "application/json", Content::Owned(body))
    }

    /// A text of this type.
    pub(super) fn text(content_type: &'static str, body: Vec<u8>) -> Answered {
        Answered::new(200, content_type, Content::Owned(body))
    }

    /// A line of text, with any status.
    pub(super) fn plain(status: u16, text: impl Into<String>) -> Answered {
        Answered::new(status, "text/plain", Content::Owned(text.into().into_bytes()))
    }

    pub(super) fn fixed(content_type: &'static str, body: &'static [u8]) -> Answered {
        Answered::new(200, content_type, Content::Static(body))
    }

    /// A document, with its entity tag and the position that it reflects.
    pub(super) fn document(status: u16, body: Body, position: Position) -> Answered {
        let tag = document::tag(&body);
        Answered::new(status, "application/json", Content::Shared(body)).tag(&tag).reflects(position)
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn field(mut self, name: &'static str, value: impl Into<String>) -> Answered {
        self.fields.push((name, value.into()));
        self
    }

    pub(super) fn tag(self, tag: &str) -> Answered {
        self.field("ETag", format!("\"{tag}\""))
    }

    pub(super) fn reflects(self, position: Position) -> Answered {
        self.field("Last-Event-ID", position.to_string())
    }

    /// The same without its body and what describes it: nothing has changed since the client looked (RFC 9110, 15.4.5).
    pub(super) fn unmodified(mut self) -> Answered {
        self.status = 304;
        self.content_type = "";
        self.body = Content::None;
        self
    }

    /// The head and, but for HEAD, the body; a small one follows the head in the same bytes.
    pub(super) fn into_parts(self, date: &[u8], persistence: Persistence, is_head: bool) -> (Vec<u8>, Bytes) {
        let body = self.body.into_bytes();
        let mut out = Vec::with_capacity(512 + body.len().min(COPIED_BYTES_MAX));
        let mut head = Head::new(&mut out, self.status, date);
        if !self.content_type.is_empty() {
            head = head.field("Content-Type", self.content_type);
        }
        for (name, value) in &self.fields {
            head = head.field(name, value);
        }
        let has_body = !matches!(self.status, 204 | 304);
        if has_body {
            head = head.content_length(body.len());
        }
        head.connection(persistence).end();
        match body.len() {
            _ if !has_body || is_head => (out, Bytes::new()),
            ..=COPIED_BYTES_MAX => {
                out.extend_from_slice(&body);
                (out, Bytes::new())
            }
            _ => (out, body),
        }
    }
}

impl From<Problem> for Answered {
    fn from(problem: Problem) -> Answered {
        tracing::debug!(status = problem.status, kind = problem.kind, detail = %problem.detail, "refused");
        let answered = Answered::new(problem.status, problem::CONTENT_TYPE, Content::Owned(problem.encode()));
        match problem.status {
            503 | 429 => answered.field("Retry-After", RETRY_AFTER),
            _ => answered,
        }
    }
}

impl From<Refused> for Answered {
    fn from(refused: Refused) -> Answered {
        let problem = match refused {
            Refused::Operation(refusal) => refusal_problem(refusal),
            Refused::NotFound => Problem::not_found("there is no document here"),
            Refused::Missing(place) => Problem::not_found(format!(
                "there is no document {}; without a cursor, only what exists can be followed, or its collection",
                place.url()
            )),
            Refused::MapTooLarge => Problem::map_too_large("follow it with from=snapshot, which sends it in parts"),
            Refused::TooManyStreams => Problem::full("there are as many streams as there may be"),
            Refused::Unreadable(error) => {
                tracing::error!(%error, "a segment can't be read");
                Problem::unavailable("the log can't be read")
            }
            Refused::Undeletable(error) => {
                Problem::unavailable(format!("the stream's folder can't be taken away: {error}"))
            }
        };
        problem.into()
    }
}

fn refusal_problem(refusal: Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Name(_) => Problem::bad_name(detail),
        Refusal::NotFound => Problem::not_found(detail),
        Refusal::Taken => Problem::taken(detail),
        Refusal::Precondition => Problem::precondition_failed(detail),
        Refusal::Patch(error) => patch_problem(&error),
        Refusal::Document(error) => document_problem(&error),
        Refusal::KeyReused => Problem::key_reused(detail),
        Refusal::KeyInFlight => Problem::in_flight(detail),
        Refusal::Full => Problem::full(detail),
        Refusal::Busy | Refusal::Failed(_) => Problem::unavailable(detail),
    }
}

pub(super) fn patch_problem(error: &PatchError) -> Problem {
    let problem = match error.is_conflict() {
        true => Problem::test_failed(error.to_string()),
        false => Problem::unacceptable(error.to_string()),
    };
    problem.at(error.pointer())
}

pub(super) fn document_problem(error: &DocumentError) -> Problem {
    Problem::unacceptable(error.to_string()).at(error.pointer())
}
