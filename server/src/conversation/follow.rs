//! Requests to follow: the answer's head and first block, and the hand-over to the audience.

use std::io;
use std::rc::Rc;

use fantail_engine::limits::TOPICS_MAX;
use fantail_engine::log::checkpoint;
use fantail_engine::protocol::http1::Method;
use fantail_engine::protocol::problem::Problem;
use fantail_engine::protocol::sse;
use fantail_engine::topic::Place;

use super::answer::Answered;
use super::connection::{Connection, End};
use super::inquiry::Inquiry;
use super::{Next, hang_up, several};
use crate::audience::{Log, Reading, Start};
use crate::core::following::{Following, Shared, Value};
use crate::core::question::{Answer, From, Question, Refused};
use crate::core::{Core, Stage, Welcome, clock};
use crate::limits::UNASKED_BYTES_MAX;

/// Where several topics are followed on one connection.
pub(super) const SEVERAL: &str = "/-/events";

/// Answers a request to follow; the connection is over as a conversation afterwards.
pub(super) async fn follow(
    core: &Rc<Core>,
    connection: Connection,
    inquiry: &Inquiry,
    welcome: Welcome,
) -> Result<(Next, Connection), End> {
    match wanted(inquiry) {
        Ok((places, from)) => begin(core, connection, inquiry.method, places, from, welcome).await,
        Err(problem) => hang_up(core, connection, problem.into(), inquiry.method == Method::Head).await,
    }
}

/// Begins to send what happens at `places`.
pub(super) async fn begin(
    core: &Rc<Core>,
    mut connection: Connection,
    method: Method,
    places: Vec<Place>,
    from: From,
    welcome: Welcome,
) -> Result<(Next, Connection), End> {
    let is_head = method == Method::Head;
    let mut out = Vec::new();
    sse::head(&mut out, &core.date());
    let is_leaving = core.stage.get() != Stage::Open;
    if !is_head && (is_leaving || welcome == Welcome::Full) {
        return turn_away(core, connection, out).await;
    }
    let stream = places[0].stream().to_owned();
    if !is_head && places.iter().any(|place| place.stream() != stream) {
        return several::follow(core, connection, places, from, out).await;
    }
    let places = places.into_iter().filter(|place| place.stream() == stream).collect();
    match core.ask(Question::Follow { places, from }).await {
        Answer::Follow(_) if is_head => {
            core.has_answered(200);
            connection.write(out).await?;
            connection.close().await;
            Ok((Next::Over, connection))
        }
        Answer::Follow(following) => {
            let filter = following.filter.clone();
            let unasked = connection.unread();
            core.look_for(&stream);
            let log = Log { stream: &stream, volume: following.volume };
            let cursor = match core.locate(log, following.cursor).await {
                Ok(cursor) => cursor,
                Err(error) => return unlocated(core, connection, &error, out).await,
            };
            core.has_answered(200);
            let start = open(*following, cursor, unasked, &mut out);
            connection.write(out).await?;
            if core.stage.get() == Stage::Ending || unasked > UNASKED_BYTES_MAX {
                connection.close().await;
                return Ok((Next::Over, connection));
            }
            core.seat(connection.into_socket(), log, filter, start);
            Err(End::Gone)
        }
        Answer::Refused(refused) if is_passing(&refused) && !is_head => turn_away(core, connection, out).await,
        Answer::Refused(refused) => hang_up(core, connection, Answered::from(refused), is_head).await,
        Answer::Written(_)
        | Answer::Document { .. }
        | Answer::Json { .. }
        | Answer::History(_)
        | Answer::Deleted
        | Answer::Survey(_)
        | Answer::Mirror(_)
        | Answer::Channels(_)
        | Answer::Link(_) => {
            unreachable!("a request to follow is answered with where it begins")
        }
    }
}

/// The place in the log where a follower begins can't be found any more, or not read: it comes back, and is told.
pub(super) async fn unlocated(
    core: &Core,
    connection: Connection,
    error: &io::Error,
    out: Vec<u8>,
) -> Result<(Next, Connection), End> {
    match error.kind() {
        // Retention passed it just now, or the stream was deleted.
        io::ErrorKind::NotFound => {}
        _ => tracing::error!(%error, "the log can't be read; its follower is turned away"),
    }
    turn_away(core, connection, out).await
}

/// Appends the first block, and says where the seat begins to read.
fn open(following: Following, cursor: u64, unasked: usize, out: &mut Vec<u8>) -> Start {
    let Following { volume: _, filter: _, cursor: _, position, reset, value } = following;
    sse::retry(out, clock::retry_ms());
    if let Some((reason, earliest)) = reset {
        sse::reset(out, reason, earliest);
    }
    if value.is_some() {
        checkpoint::prelude(out);
    }
    let snapshot = match value {
        Some(Value { made, shared }) => {
            out.extend_from_slice(&made);
            shared.map(|Shared { snapshot, parts }| {
                let closing = snapshot.checkpoint.closing.clone();
                Reading { snapshot, parts: parts.into_iter().chain([closing]).collect() }
            })
        }
        None => None,
    };
    if snapshot.is_none() {
        sse::position(out, position);
    }
    Start { cursor, snapshot, unasked }
}

/// Whether a follower that was refused may come back with the same request: a status other than 200 would stop it.
pub(super) fn is_passing(refused: &Refused) -> bool {
    match refused {
        Refused::Operation(_) | Refused::TooManyStreams | Refused::Unreadable(_) | Refused::Undeletable(_) => true,
        Refused::NotFound | Refused::Missing(_) | Refused::MapTooLarge => false,
    }
}

/// The server is full or leaving: the client is told when to come back, as any status but 200 would stop it for good.
pub(super) async fn turn_away(
    core: &Core,
    mut connection: Connection,
    mut out: Vec<u8>,
) -> Result<(Next, Connection), End> {
    core.has_answered(200);
    sse::retry(&mut out, clock::retry_ms());
    connection.write(out).await?;
    connection.close().await;
    Ok((Next::Over, connection))
}

/// What is to be followed, and from where.
fn wanted(inquiry: &Inquiry) -> Result<(Vec<Place>, From), Problem> {
    let from = beginning(inquiry)?;
    let place = |path: &str| Place::parse(path).map_err(|error| Problem::bad_name(error.to_string()));
    let places = match inquiry.path == SEVERAL {
        false if inquiry.path == "/-" || inquiry.path.starts_with("/-/") => {
            return Err(Problem::not_found(format!("of the server's own, only {SEVERAL} can be followed")));
        }
        false if inquiry.path == "/" => {
            return Err(Problem::not_found("what can be followed is below /, as /messages"));
        }
        false => vec![place(&inquiry.path)?],
        true => {
            let topics = inquiry.query.iter().filter(|(name, _)| name == "topic");
            let places: Vec<Place> = topics.map(|(_, path)| place(path)).collect::<Result<_, _>>()?;
            if places.is_empty() {
                return Err(Problem::malformed("no topic is given"));
            }
            if places.len() > TOPICS_MAX {
                return Err(Problem::malformed(format!("more than {TOPICS_MAX} topics are given")));
            }
            places
        }
    };
    Ok((places, from))
}

/// Parameters of a query that say where to begin.
pub(super) const BEGINNINGS: [&str; 4] = ["last_event_id", "lastEventId", "lastEventID", "from"];

/// From where on.
pub(super) fn beginning(inquiry: &Inquiry) -> Result<From, Problem> {
    if inquiry.method == Method::Subscribe && !inquiry.accepts_events {
        return Err(Problem::not_acceptable("what is followed comes as text/event-stream"));
    }
    let [names @ .., from] = BEGINNINGS;
    let asked = names.iter().find_map(|name| inquiry.parameter(name)).filter(|cursor| !cursor.is_empty());
    let cursor = inquiry.last_event_id.as_deref().or(asked);
    match (cursor, inquiry.parameter(from)) {
        (Some(cursor), _) => Ok(From::Cursor(cursor.to_owned())),
        (None, None | Some("now")) => Ok(From::Now),
        (None, Some("earliest")) => Ok(From::Earliest),
        (None, Some("snapshot")) => Ok(From::Snapshot),
        (None, Some(_)) => Err(Problem::malformed("from is one of now, earliest and snapshot")),
    }
}
