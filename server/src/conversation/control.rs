//! The control listener: where publishers are, as Pushpin's clients speak to it.
//!
//! ```text
//! POST /publish    {"items":[…]}    200 Published, once every core has them, and how many listeners that reached
//! POST /recover                     200 Updated: whatever is held asks its next link
//! GET  /                            200 and a name
//! ```
//!
//! Its answers are text, or JSON for those who ask for it, with Pushpin's sentences: clients show them. What HTTP itself refuses is
//! a problem document, as everywhere.

pub(crate) mod credentials;

use std::rc::Rc;

use fantail_engine::grip;
use fantail_engine::protocol::accept::{self, Notice};
use fantail_engine::protocol::http1::{Method, Request};
use serde::Serialize;

use self::credentials::Denied;
use super::answer::Answered;
use super::inquiry::Inquiry;
use super::rest::Plan;
use crate::core::channels::Published;
use crate::core::{Core, clock};

/// The field that says how many listeners an item reached, for those who take the answer as text.
const LISTENERS: &str = "Fantail-Listeners";

/// What a request to this listener says of itself beside what all requests do.
pub(super) struct Caller {
    authorization: Option<Box<[u8]>>,
    /// How the answer is to read; none if neither way is acceptable.
    notice: Option<Notice>,
}

impl Caller {
    pub(super) fn read(request: &Request<'_>) -> Caller {
        Caller {
            authorization: request.field("Authorization").map(Box::from),
            notice: accept::notice(request.fields("Accept")),
        }
    }
}

/// What is done once the body is there.
pub(super) enum Order {
    Publish(Notice),
    Recover(Notice),
}

/// Makes a plan of a request's head.
pub(super) fn plan(core: &Core, inquiry: &Inquiry) -> Result<Plan, Answered> {
    let caller = inquiry.caller.as_ref().expect("it was read from this listener");
    let Some(notice) = caller.notice else {
        let detail = "Not Acceptable. Supported formats are text/plain and application/json.\n";
        return Err(Answered::plain(406, detail));
    };
    let order = match inquiry.path.as_str() {
        "/" => return named(inquiry),
        "/publish" | "/publish/" => Order::Publish(notice),
        "/recover" | "/recover/" => Order::Recover(notice),
        _ => return Err(Answered::plain(404, "Not Found\n")),
    };
    // Before anything else is said to somebody whom nobody knows.
    if let Some(gate) = &core.settings().gate {
        gate.admit(caller.authorization.as_deref(), clock::unix_ms() / 1000).map_err(|denied| unauthorized(&denied))?;
    }
    match inquiry.method {
        Method::Post => Ok(Plan::Control(order)),
        Method::Get
        | Method::Head
        | Method::Put
        | Method::Patch
        | Method::Delete
        | Method::Options
        | Method::Subscribe
        | Method::Other => Err(not_allowed(inquiry, "POST")),
    }
}

fn named(inquiry: &Inquiry) -> Result<Plan, Answered> {
    match inquiry.method {
        Method::Get | Method::Head => Ok(Plan::Answer(Answered::plain(200, "Fantail API\n"))),
        Method::Post
        | Method::Put
        | Method::Patch
        | Method::Delete
        | Method::Options
        | Method::Subscribe
        | Method::Other => Err(not_allowed(inquiry, "GET, HEAD")),
    }
}

fn not_allowed(inquiry: &Inquiry, allow: &'static str) -> Answered {
    Answered::plain(405, format!("Method not allowed: {}.\n", inquiry.method_text)).field("Allow", allow)
}

fn unauthorized(denied: &Denied) -> Answered {
    let answered = Answered::plain(401, "Unauthorized\n");
    denied.challenges().fold(answered, |answered, challenge| answered.field("WWW-Authenticate", challenge))
}

impl Order {
    /// Does it, and says what came of it.
    pub(super) async fn carried_out(self, core: &Rc<Core>, body: Vec<u8>) -> Answered {
        match self {
            Order::Recover(notice) => {
                core.recover_held().await;
                tell(notice, &Told { message: "Updated", listeners: None, waiting: None, duplicates: None })
            }
            Order::Publish(notice) => match grip::publication(body) {
                Ok(items) => publish(notice, core.publish(items).await),
                Err(error) => Answered::plain(400, refusal(&error)),
            },
        }
    }
}

/// What the client is told of a publication that isn't one.
fn refusal(error: &grip::PublicationError) -> String {
    match error {
        grip::PublicationError::Json(_) => "Body is not valid JSON.\n".to_owned(),
        error => format!("Invalid format: {error}\n"),
    }
}

/// Published, and whom it reached.
fn publish(notice: Notice, published: Published) -> Answered {
    let listeners = published.reach.streams + published.reach.responses;
    let some = |count: usize| Some(count).filter(|count| *count > 0);
    let told = Told {
        message: "Published",
        listeners: Some(listeners),
        waiting: some(published.waiting),
        duplicates: some(published.duplicates),
    };
    tell(notice, &told).field(LISTENERS, listeners.to_string())
}

#[derive(Serialize)]
struct Told {
    message: &'static str,
    /// Connections that the items reached, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    listeners: Option<u64>,
    /// Items that wait for the ones before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<usize>,
    /// Items whose ids came before.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicates: Option<usize>,
}

fn tell(notice: Notice, told: &Told) -> Answered {
    match notice {
        Notice::Text => Answered::plain(200, format!("{}\n", told.message)),
        Notice::Json => {
            let mut body = serde_json::to_vec(told).expect("numbers and strings are JSON");
            body.push(b'\n');
            Answered::json(200, body)
        }
    }
}
