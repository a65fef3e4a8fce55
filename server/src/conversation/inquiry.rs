//! A request's head, understood and owned: the bytes that it was read from may go.

use fantail_engine::limits::KEY_BYTES_MAX;
use fantail_engine::protocol::accept::{self, Form, Media};
use fantail_engine::protocol::condition::Guard;
use fantail_engine::protocol::http1::{Connection as Persistence, Framing, Method, Request};
use fantail_engine::protocol::problem::Problem;
use fantail_engine::protocol::query;

use super::control::Caller;
use super::follow::SEVERAL;
use crate::core::Welcome;

/// See the module.
pub(super) struct Inquiry {
    pub(super) method: Method,
    /// As the client calls the method.
    pub(super) method_text: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) persistence: Persistence,
    pub(super) framing: Framing,
    pub(super) expects_continue: bool,
    /// What `Accept` chooses; none if nothing that there is.
    pub(super) form: Option<Form>,
    /// Whether `Accept` lets events through, for SUBSCRIBE.
    pub(super) accepts_events: bool,
    /// What the body is; none without `Content-Type`.
    pub(super) media: Option<Media>,
    pub(super) guard: Guard,
    pub(super) key: Option<String>,
    pub(super) last_event_id: Option<String>,
    /// What it says to the control listener, if it was sent there.
    pub(super) caller: Option<Caller>,
}

impl Inquiry {
    /// Reads what Fantail looks at in a head.
    pub(super) fn read(request: &Request<'_>, welcome: Welcome) -> Result<Inquiry, Problem> {
        let text = |name: &str| -> Result<Option<String>, Problem> {
            let Some(value) = request.field(name).filter(|value| !value.is_empty()) else { return Ok(None) };
            let text = std::str::from_utf8(value).map_err(|_| Problem::malformed(format!("{name} isn't UTF-8")))?;
            Ok(Some(text.to_owned()))
        };
        let key = text("Idempotency-Key")?;
        if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return Err(Problem::malformed(format!("Idempotency-Key is longer than {KEY_BYTES_MAX} bytes")));
        }
        let pairs = query::pairs(request.query.unwrap_or_default());
        let pairs: Result<_, _> =
            pairs.map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned()))).collect();
        Ok(Inquiry {
            method: request.method,
            method_text: request.method_text.to_owned(),
            path: request.path.to_owned(),
            query: pairs?,
            persistence: request.connection(),
            framing: request.framing(),
            expects_continue: request.expects_continue(),
            form: accept::choose(request.fields("Accept")),
            accepts_events: accept::accepts_events(request.fields("Accept")),
            media: request.field("Content-Type").map(accept::media),
            guard: Guard::parse(request.fields("If-Match"), request.fields("If-None-Match"))?,
            key,
            // A cursor that isn't text is a cursor that can't be served, not a malformed request.
            last_event_id: request
                .field("Last-Event-ID")
                .filter(|id| !id.is_empty())
                .map(|id| String::from_utf8_lossy(id).into_owned()),
            caller: (welcome == Welcome::Control).then(|| Caller::read(request)),
        })
    }

    /// The first value that the query gives to `name`.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether the answer is a stream of events.
    pub(super) fn wants_events(&self) -> bool {
        // What has no other form needs only to be let through.
        let is_events = match self.path == SEVERAL {
            true => self.accepts_events,
            false => self.form == Some(Form::Events),
        };
        match self.method {
            Method::Subscribe => true,
            Method::Get | Method::Head => is_events && !self.is_page(),
            Method::Post | Method::Put | Method::Patch | Method::Delete | Method::Options | Method::Other => false,
        }
    }

    /// Whether the server's own page, health and the like are asked for, which aren't followed.
    fn is_page(&self) -> bool {
        self.path.starts_with("/-/") && self.path != SEVERAL
    }
}
