//! Requests to follow what an origin has: the origin says whether this client may read it, and the stream what becomes of it.
//!
//! The origin is asked by a GET of the same URL with what the client says of itself. What isn't 200 goes to the client as it is; but an
//! origin that fails is one that the client comes back for. If it answers with an event stream, or with an instruction to hold the
//! connection, it has events of its own, and they pass. Only the first to follow a document or collection has its value
//! taken in: what others see of it later may be less, and what has changed since is known.

use std::rc::Rc;

use fantail_engine::limits::LISTING_BYTES_MAX;
use fantail_engine::protocol::http1::{self, Method, ParsedAnswer};
use fantail_engine::protocol::problem::Problem;
use fantail_engine::protocol::sse;
use fantail_engine::topic::Place;

use super::Part;
use super::reading::{Look, Reading, listing};
use crate::conversation::answer::Answered;
use crate::conversation::connection::{Connection, End};
use crate::conversation::follow::{self, BEGINNINGS, is_passing, turn_away};
use crate::conversation::inquiry::Inquiry;
use crate::conversation::proxy::asking::{self, Heard, Outcome, Reply};
use crate::conversation::proxy::body::Download;
use crate::conversation::proxy::{self, Passing, relay};
use crate::conversation::{Next, hang_up, hold};
use crate::core::question::{From, Purpose, Question, Step};
use crate::core::{Core, Stage, Welcome};
use crate::limits::READ_BYTES;
use crate::origin::Link;

/// What the origin is asked for: what can be followed, or else events of its own.
const ACCEPT: &str = "application/json, text/event-stream;q=0.9";

/// A request to follow.
pub(in crate::conversation) struct Opening {
    place: Place,
    inquiry: Inquiry,
    /// The target without what only says where to begin.
    target: String,
    /// Whether a query is left in it: what the origin shows then may be a part.
    has_query: bool,
    reading: Reading,
}

impl Opening {
    pub(super) fn new(place: Place, inquiry: Inquiry, query: Option<&str>, reading: Reading) -> Opening {
        let is_ours = |pair: &&str| BEGINNINGS.contains(&pair.split('=').next().unwrap_or_default());
        let rest: Vec<&str> =
            query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !is_ours(pair)).collect();
        let target = match rest.is_empty() {
            true => inquiry.path.clone(),
            false => format!("{}?{}", inquiry.path, rest.join("&")),
        };
        Opening { place, has_query: !rest.is_empty(), inquiry, target, reading }
    }
}

/// Answers a request to follow.
pub(in crate::conversation) async fn follow(
    core: &Rc<Core>,
    mut connection: Connection,
    mut passing: Passing,
    welcome: Welcome,
) -> Result<(Next, Connection), End> {
    let Part::Follow(opening) = std::mem::replace(&mut passing.part, Part::None) else {
        unreachable!("it is a request to follow")
    };
    let from = match follow::beginning(&opening.inquiry) {
        Ok(from) => from,
        Err(problem) => return hang_up(core, connection, problem.into(), false).await,
    };
    if core.stage.get() != Stage::Open || welcome == Welcome::Full {
        return come_back(core, connection).await;
    }
    let look = Look::begin(core, &opening.place, Purpose::Follow).await;
    passing.method = Method::Get;
    let mut head = opening.reading.head(&opening.target, ACCEPT);
    match asking::ask(core, &mut connection, &passing, &mut head).await? {
        Outcome::Refused(_) => come_back(core, connection).await,
        Outcome::Heard(link, Heard::Instruction) => {
            passing.head = head;
            hold::begin(core, connection, passing, link).await
        }
        // What passes; an EventSource takes anything but 200 for final.
        Outcome::Heard(_, Heard::Reply(reply)) if reply.status >= 500 || matches!(reply.status, 408 | 425 | 429) => {
            come_back(core, connection).await
        }
        Outcome::Heard(link, Heard::Reply(reply)) if reply.status != 200 || is_event_stream(&reply) => {
            proxy::finish(core, connection, &passing, link, reply).await
        }
        Outcome::Heard(link, Heard::Reply(reply)) => match take_in(core, &opening, look, link, reply).await {
            Ok(()) => open(core, connection, *opening, from, welcome).await,
            Err(None) => come_back(core, connection).await,
            Err(Some(answered)) => hang_up(core, connection, answered, false).await,
        },
    }
}

async fn open(
    core: &Rc<Core>,
    connection: Connection,
    opening: Opening,
    from: From,
    welcome: Welcome,
) -> Result<(Next, Connection), End> {
    follow::begin(core, connection, Method::Subscribe, vec![opening.place], from, welcome).await
}

/// Takes in what the origin shows, if it isn't known yet. Fails with what the client is told, or with nothing if it is to come back.
async fn take_in(
    core: &Rc<Core>,
    opening: &Opening,
    look: Option<Look>,
    mut link: Link,
    reply: Reply,
) -> Result<(), Option<Answered>> {
    let (mut body, mut content) = (Download::plain(reply.body), Vec::new());
    let bytes_max = if look.is_some() { LISTING_BYTES_MAX } else { READ_BYTES };
    let idle = opening.reading.service.config.timeouts.idle;
    let gathered = relay::gather(&mut link.wire().reader, &mut body, &mut content, bytes_max, idle).await;
    let is_whole = gathered.map_err(|_| None)?;
    if is_whole && reply.keeps {
        link.rest();
    }
    let refuse = |detail: String| Some(Answered::from(Problem::not_acceptable(detail)));
    let Some(look) = look else {
        // A page to log in at is 200, too, and admits nobody.
        let is_json = matches!(content.trim_ascii_start().first(), Some(b'{' | b'['));
        return if is_json { Ok(()) } else { Err(refuse("what the origin has here isn't JSON".to_owned())) };
    };
    if !is_whole {
        return Err(refuse(format!("what has more than {LISTING_BYTES_MAX} bytes can't be followed")));
    }
    let mut seen = listing(&opening.place, &reply.head, content)
        .map_err(|error| refuse(format!("what the origin has here can't be followed: {error}")))?;
    seen.is_whole &= !opening.has_query;
    match look.keep(seen).await {
        Ok(_) if opening.place.is_collection() => Ok(()),
        Ok(_) => {
            // It may have changed meanwhile; then there is nothing to begin with before that is known.
            if Look::begin(core, &opening.place, Purpose::Follow).await.is_some() {
                let answer = core.ask(Question::Mirror(opening.place.clone(), Step::Read)).await;
                opening.reading.reflect(core, &opening.place, &opening.target, answer, true).await;
            }
            Ok(())
        }
        Err(refused) if is_passing(&refused) => {
            tracing::warn!(stream = opening.place.stream(), "what is to be followed can't be kept");
            Err(None)
        }
        Err(refused) => Err(Some(refused.into())),
    }
}

/// Tells the client, which would take another status for the last word, to ask again.
async fn come_back(core: &Core, connection: Connection) -> Result<(Next, Connection), End> {
    let mut out = Vec::new();
    sse::head(&mut out, &core.date());
    turn_away(core, connection, out).await
}

fn is_event_stream(reply: &Reply) -> bool {
    match http1::parse_answer(&reply.head, Method::Get) {
        Ok(ParsedAnswer::Complete { answer, .. }) => answer
            .fields("Content-Type")
            .any(|media| media.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))),
        Ok(ParsedAnswer::Partial) | Err(_) => false,
    }
}
