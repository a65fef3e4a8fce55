//! What an origin's instruction makes of a connection: a response that is rewritten, one that is held, or a stream that goes on
//! with next links until it is held.
//!
//! ```text
//! proxy ── begin ──► response hold ── an item, or its time ──► the next request
//!            └─────► session ── pages of next links ──► a seat of the audience
//!                       ▲                                   │
//!                       └────────────── resume ─────────────┘
//! ```
//!
//! Invariant: a client that leaves takes with it whatever is asked of the origin for it alone.

mod long_poll;
mod own;
mod session;

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use fantail_engine::grip::{self, Hold as Held, Instruction, Meta, Mode, Reply, Screen};
use fantail_engine::protocol::http1::{self, Connection as Persistence, Method};
use fantail_engine::protocol::problem::Problem;
use fantail_engine::topic;

use self::session::{Asked, Session};
use super::Next;
use super::connection::{Connection, End};
use super::proxy::{self, Again, Passing};
use crate::audience::{Asking, Followed, Hold, Item, Mark, Recalled, Subscription, Terms, Tracking};
use crate::core::holding::{Beginning, Returned};
use crate::core::links::{LinkError, LinkRequest, Linked, Read, read_instruction};
use crate::core::partings::Parting;
use crate::core::{Core, Stage};
use crate::limits::WATCH_TIME;
use crate::origin::{Link, Response};
use crate::peer::{self, Said};

/// Who asked, and whom: what stays the same while a client is told more.
#[derive(Clone)]
struct Client {
    core: Rc<Core>,
    /// The number of the route whose origins it asked.
    route: usize,
    /// What it calls this server.
    host: Box<str>,
}

/// Takes over from the proxy, with a response that is an instruction: its head and its body are still unread in the link.
pub(super) async fn begin(
    core: &Rc<Core>,
    mut connection: Connection,
    passing: Passing,
    mut link: Link,
) -> Result<(Next, Connection), End> {
    let (client, uri) = Client::of(core, &passing);
    let mut hold = long_poll::Repetition::default();
    let mut opening = Cow::Borrowed(&passing.head[..]);
    loop {
        let response = Response::take(link, passing.method, passing.service.config.timeouts.idle);
        let read = async {
            let mut response = response?;
            let read = read_instruction(&mut response).await?;
            Ok::<_, LinkError>((response, read))
        };
        let (response, read) = match while_here(&connection, read).await? {
            Ok(read) => read,
            Err(error) => return broken(&client, connection, &passing, &error).await,
        };
        let (instruction, body) = match read {
            Read::Whole(instruction, body) => (instruction, Some(body)),
            Read::Head(Some(instruction)) => (instruction, None),
            Read::Head(None) => unreachable!("the proxy passes on what is no instruction"),
        };
        // What is published goes behind it as it is, so that it may not be compressed.
        let is_compressed = !instruction.is_plain() && response.answer().fields("Content-Encoding").next().is_some();
        let again = match &opening {
            Cow::Borrowed(head) if is_compressed && passing.method == Method::Get => {
                let plain = without_encodings(head);
                opening = Cow::Owned(plain.clone());
                plain
            }
            Cow::Borrowed(_) | Cow::Owned(_) => {
                let answer = response.answer();
                let rules = proxy::rules(&passing.service.config.response_headers);
                let reply = Reply::new(answer.status, answer.reason, answer.all(), &instruction, rules);
                let asked = Asked { reply, response, body };
                let mode = instruction.hold.as_ref().map(|hold| hold.mode);
                match (mode, &instruction.next) {
                    _ if passing.method == Method::Head => return rewritten(core, connection, &passing, asked).await,
                    (None, None) => return rewritten(core, connection, &passing, asked).await,
                    (Some(Mode::Stream), _) | (None, Some(_)) => {
                        Session::new(client, connection, uri).open(asked, instruction).await?;
                        return Err(End::Gone);
                    }
                    (Some(Mode::Response), _) => {}
                }
                match hold.wait(&client, connection, &passing, asked, instruction, &uri).await? {
                    long_poll::Outcome::Answered(next, connection) => return Ok((next, connection)),
                    long_poll::Outcome::Again(same, last) => {
                        connection = same;
                        with_last(&opening, &last)
                    }
                }
            }
        };
        (connection, link) = match proxy::ask_again(core, connection, &passing, again).await? {
            Again::Instruction(connection, link) => (connection, link),
            Again::Over(next, connection) => return Ok((next, connection)),
        };
    }
}

/// A connection is a conversation again, for as long as `returned` lives: its next link is asked.
pub(crate) fn resume(core: &Rc<Core>, recalled: Recalled, returned: Returned) {
    core.conversation_resumed();
    let core = Rc::clone(core);
    monoio::spawn(async move {
        match Session::resume(&core, recalled) {
            Ok(session) => session.go_on().await,
            Err(error) => tracing::debug!(%error, "a held connection can't be had back; it is closed"),
        }
        core.resumed_conversation_ended();
        drop(returned);
    });
}

/// The time-out of a next link is over for these: if its answer says that nothing is new, they stay where they are.
pub(crate) fn ask(core: &Rc<Core>, asking: Asking) {
    let core = Rc::clone(core);
    monoio::spawn(async move {
        let Hold { terms, next: Some(next), .. } = &asking.hold else { return };
        let client = Client { core: Rc::clone(&core), route: terms.route, host: terms.host.clone() };
        let last = last_values(&terms.subscription, &asking.last);
        let linked = match client.link(next, last) {
            Ok(request) => core.ask_link(request, core.now_us()).await,
            Err(error) => Linked::Failed(Arc::new(error)),
        };
        match linked {
            Linked::Page(page)
                if page.body.is_empty() && says_the_same(&client, page.instruction.as_ref(), &asking) => {}
            Linked::Page(_) | Linked::Alone => core.recall_all(&asking),
            // Nothing is missing yet; at the next time-out it is asked again.
            Linked::Failed(error) => client.complain(next, &error),
        }
    });
}

/// A client has gone whose origin wants to know.
pub(crate) fn departed(core: &Rc<Core>, hold: Hold) {
    let Hold { terms, gone: Some(uri), .. } = hold else { return };
    core.part(Parting { uri, route: terms.route, host: terms.host.clone() });
}

impl Client {
    /// The client of a request that passed, and the URI that it asked.
    fn of(core: &Rc<Core>, passing: &Passing) -> (Client, String) {
        let (target, host) = http1::target_and_host(&passing.head);
        let uri = format!("http://{host}{target}");
        let route = core.services.number(&passing.service).expect("a request passes to origins of a route");
        (Client { core: Rc::clone(core), route, host: host.into() }, uri)
    }

    /// The request of a link that an origin has named.
    fn link(&self, uri: &str, last: Vec<String>) -> Result<LinkRequest, LinkError> {
        let route = self.core.route_of(uri, self.route, &self.host)?;
        Ok(LinkRequest { route, uri: uri.to_owned(), last })
    }

    /// Says that a link fails, now and then.
    fn complain(&self, uri: &str, error: &dyn std::fmt::Display) {
        match self.core.may_complain(self.route) {
            true => tracing::warn!(%uri, %error, "a link of an origin leads nowhere"),
            false => tracing::debug!(%uri, %error, "a link of an origin leads nowhere"),
        }
    }
}

/// Waits for what doesn't come from the client, for as long as that stays.
async fn while_here<T>(connection: &Connection, awaited: impl Future<Output = T>) -> Result<T, End> {
    let mut awaited = pin!(awaited);
    loop {
        monoio::select! {
            value = &mut awaited => return Ok(value),
            () = monoio::time::sleep(WATCH_TIME) => {
                if peer::said(connection.descriptor()) == Said::Goodbye {
                    return Err(End::Gone);
                }
            }
        }
    }
}

/// The same for as long as the core serves; none once it closes.
async fn while_open<T>(
    core: &Core,
    connection: &Connection,
    awaited: impl Future<Output = T>,
) -> Result<Option<T>, End> {
    let mut awaited = pin!(awaited);
    loop {
        monoio::select! {
            value = &mut awaited => return Ok(Some(value)),
            () = monoio::time::sleep(WATCH_TIME) => {
                if core.stage.get() != Stage::Open {
                    return Ok(None);
                }
                if peer::said(connection.descriptor()) == Said::Goodbye {
                    return Err(End::Gone);
                }
            }
        }
    }
}

/// Answers with the response that the instruction makes, which ends by itself.
async fn rewritten(
    core: &Rc<Core>,
    mut connection: Connection,
    passing: &Passing,
    asked: Asked,
) -> Result<(Next, Connection), End> {
    let Asked { reply, mut response, body } = asked;
    core.has_answered(reply.status());
    let length = match &body {
        Some(body) => Some(body.len()),
        None => response.length().and_then(|length| usize::try_from(length).ok()),
    };
    let then = match core.stage.get() {
        Stage::Open if length.is_some() => passing.persistence,
        Stage::Open | Stage::Closing | Stage::Ending => Persistence::Close,
    };
    let mut head = Vec::with_capacity(1024);
    match length {
        Some(length) => reply.write_whole(&mut head, &core.date(), length, then),
        None => reply.write_endless(&mut head, &core.date()),
    }
    connection.write(head).await?;
    if let Some(body) = body.filter(|_| passing.method != Method::Head && reply.has_body()) {
        connection.write(body).await?;
    }
    loop {
        match while_here(&connection, response.piece()).await? {
            Ok(Some(piece)) if reply.has_body() => connection.write(piece).await?,
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "a response breaks off");
                connection.reset();
                return Err(End::Gone);
            }
        }
    }
    response.finish();
    match then {
        Persistence::Keep | Persistence::KeepTold => Ok((Next::Request, connection)),
        Persistence::Close => {
            connection.close().await;
            Ok((Next::Over, connection))
        }
    }
}

/// The origin's instruction can't be carried out.
async fn broken(
    client: &Client,
    connection: Connection,
    passing: &Passing,
    error: &LinkError,
) -> Result<(Next, Connection), End> {
    client.complain("its response", error);
    proxy::refuse(&client.core, connection, passing, Problem::bad_gateway(error.to_string())).await
}

/// A request that takes no encodings.
fn without_encodings(head: &[u8]) -> Vec<u8> {
    let lines = head.split_inclusive(|byte| *byte == b'\n');
    let name = b"Accept-Encoding:";
    let is_one = |line: &&[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    lines.filter(|line| !is_one(line)).flatten().copied().collect()
}

/// A request with what its client has of some channels.
fn with_last(head: &[u8], last: &[String]) -> Vec<u8> {
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").expect("the head of a request has an end") + 2;
    let mut with = Vec::with_capacity(head.len() + 64 * last.len());
    with.extend_from_slice(&head[..end]);
    for value in last {
        with.extend_from_slice(format!("Grip-Last: {value}\r\n").as_bytes());
    }
    with.extend_from_slice(&head[end..]);
    with
}

/// What a hold follows; the channels in `adrift`, by index, are tracked from an id that nobody knows.
fn subscription(hold: &Held, meta: &Meta, adrift: &[usize]) -> Rc<Subscription> {
    let channels = hold.channels.iter().enumerate().map(|(index, channel)| Followed {
        name: channel.name.as_ref().into(),
        hash: topic::hash(&channel.name),
        tracking: match &channel.prev_id {
            _ if adrift.contains(&index) => Tracking::Adrift,
            Some(_) => Tracking::Tracked,
            None => Tracking::Untracked,
        },
    });
    Rc::new(Subscription { channels: channels.collect(), screen: Screen::new(&hold.channels, meta) })
}

/// Ids, in the order of a hold's channels; none of those that aren't tracked.
type Ids = Vec<Option<Arc<str>>>;

/// The ids that the origin begins from.
fn ids(hold: &Held) -> Ids {
    hold.channels.iter().map(|channel| channel.prev_id.as_deref().map(Arc::from)).collect()
}

/// A hold that couldn't begin, with these ids, as of these channels, by index, nobody knows what comes next.
struct Gap {
    ids: Ids,
    channels: Vec<usize>,
}

/// A hold that is about to begin.
struct Begun {
    subscription: Rc<Subscription>,
    ids: Ids,
    /// Where, once the client has what these items bring; none if there is a gap.
    place: Option<(Mark, Vec<Arc<Item>>)>,
}

/// Finds where a hold begins. If it can't, the origin is to be asked once more; if that says the same again, the hold begins with
/// what comes, and at its next item the origin is asked again. `from` is how far the client was served before.
async fn begin_hold(core: &Rc<Core>, hold: &Held, meta: &Meta, gap: &mut Option<Gap>, from: Option<Mark>) -> Begun {
    let ids = ids(hold);
    let adrift = gap.take().filter(|gap| gap.ids == ids).map(|gap| gap.channels).unwrap_or_default();
    let subscription = subscription(hold, meta, &adrift);
    if hold.channels.is_empty() {
        return Begun { subscription, ids, place: Some((Mark::default(), Vec::new())) };
    }
    let mut known = ids.clone();
    adrift.iter().for_each(|index| known[*index] = None);
    // What is adrift begins at the end: whatever was missed before would be missed again.
    let from = from.filter(|_| adrift.is_empty());
    let place = match core.begin_hold(&subscription, &known, from).await {
        Beginning::At { mark, first } => Some((mark, first)),
        Beginning::Gap(mut channels) => {
            channels.extend(adrift);
            *gap = Some(Gap { ids: ids.clone(), channels });
            None
        }
    };
    Begun { subscription, ids, place }
}

/// The values of `Grip-Last` that say how much of its channels a client has.
fn last_values(subscription: &Subscription, last: &[Option<Arc<str>>]) -> Vec<String> {
    let tracked = subscription.channels.iter().zip(last);
    tracked.filter_map(|(followed, id)| Some(grip::last(&followed.name, id.as_deref()?))).collect()
}

/// What is the same for many who are held like this.
fn terms(client: &Client, subscription: Rc<Subscription>, instruction: &Instruction) -> Terms {
    let hold = instruction.hold.as_ref().expect("only holds have terms");
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Terms {
        subscription,
        keep_alive: hold.keep_alive.clone().map(Rc::new),
        link_seconds: instruction.next.as_ref().map(|next| seconds(next.timeout)),
        route: client.route,
        host: client.host.clone(),
    }
}

/// Whether a next link's answer holds those who asked just as they are held.
fn says_the_same(client: &Client, instruction: Option<&Instruction>, asking: &Asking) -> bool {
    let Some(instruction @ Instruction { hold: Some(hold), next: Some(next), meta, .. }) = instruction else {
        return false;
    };
    let held = &asking.hold.terms.subscription.channels;
    let adrift = held.iter().enumerate().filter(|(_, followed)| followed.tracking == Tracking::Adrift);
    let adrift: Vec<usize> = adrift.map(|(index, _)| index).collect();
    let is_next = |uri: &str| next.link.resolve(uri).is_ok_and(|resolved| resolved == uri);
    hold.mode == Mode::Stream
        && ids(hold) == *asking.last
        && asking.hold.next.as_deref().is_some_and(is_next)
        && terms(client, subscription(hold, meta, &adrift), instruction) == *asking.hold.terms
}
