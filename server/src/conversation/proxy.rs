//! Requests that a route gives to an origin: they pass through, and so do their responses.
//!
//! Bytes go on as they come, in both directions, and no faster than the other side takes them: what waits in memory of one exchange
//! is a head and one read. A request is tried again only if nobody has been connected to yet, or if its method is safe and no byte of
//! its response was passed on. Invariant: a client that left takes its connection to the origin with it; and a response that breaks
//! off is never made to look whole.

pub(super) mod asking;
pub(super) mod body;
pub(super) mod relay;
mod streaming;
mod tunnel;

use std::net::IpAddr;
use std::rc::Rc;

use fantail_engine::protocol::http1::{
    self, Connection as Persistence, Framing, Method, Onward, Rules, Upgrade, Version,
};
use fantail_engine::protocol::problem::Problem;

use self::asking::{Heard, Outcome, Reply, Trouble};
use self::body::Upload;
use super::answer::Answered;
use super::connection::{Connection, End};
use super::mirror::{self, Part};
use super::{Next, hang_up, hold};
use crate::config::FieldRules;
use crate::core::{Core, Welcome};
use crate::origin::{Link, Service};

/// A request on its way.
pub(super) struct Passing {
    pub(super) service: Rc<Service>,
    pub(super) method: Method,
    /// As it is sent to the origin.
    pub(super) head: Vec<u8>,
    version: Version,
    pub(super) persistence: Persistence,
    framing: Framing,
    expects_continue: bool,
    upgrade: Upgrade,
    pub(super) part: Part,
}

/// The origins that a request is for, if a route gives it to any.
pub(super) fn service(core: &Core, request: &http1::Request<'_>) -> Option<Rc<Service>> {
    let host = || request.field("Host").and_then(|host| str::from_utf8(host).ok());
    core.services.find(host, request.path).cloned()
}

impl Passing {
    /// Writes the request as it goes on.
    pub(super) fn read(
        core: &Core,
        service: Rc<Service>,
        request: &http1::Request<'_>,
        peer: IpAddr,
    ) -> Result<Passing, Problem> {
        match request.method_text {
            "TRACE" => {
                let detail = "TRACE isn't passed on: it would show what only origins are told";
                return Err(Problem::not_implemented(detail));
            }
            // Its response would be no message, but a tunnel.
            "CONNECT" => {
                return Err(Problem::not_implemented("CONNECT isn't passed on: this is no proxy of its clients"));
            }
            _ => {}
        }
        let peer = peer.to_canonical().to_string();
        let onward = Onward {
            peer: &peer,
            forwarding: core.settings().forwarding,
            host: service.host(),
            rules: rules(&service.config.request_headers),
        };
        let mut head = Vec::with_capacity(1024);
        http1::write_request(&mut head, request, &onward);
        core.write_signature(&mut head);
        head.extend_from_slice(b"\r\n");
        Ok(Passing {
            part: Part::of(&service, request, &head),
            method: request.method,
            head,
            version: request.version,
            persistence: request.connection(),
            framing: request.framing(),
            expects_continue: request.expects_continue(),
            upgrade: http1::upgrade(request),
            service,
        })
    }

    /// A request of the server's own, with this head, which reads.
    pub(super) fn to_read(service: &Rc<Service>, head: Vec<u8>) -> Passing {
        Passing {
            service: Rc::clone(service),
            method: Method::Get,
            head,
            version: Version::Http11,
            persistence: Persistence::Keep,
            framing: Framing::Empty,
            expects_continue: false,
            upgrade: Upgrade::None,
            part: Part::None,
        }
    }

    /// Whether it changes nothing, however often it is carried out (RFC 9110, section 9.2.1).
    fn is_safe(&self) -> bool {
        match self.method {
            Method::Get | Method::Head | Method::Options | Method::Subscribe => true,
            Method::Put | Method::Delete | Method::Post | Method::Patch | Method::Other => false,
        }
    }

    /// Whether it may be carried out twice (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        match self.method {
            Method::Get | Method::Head | Method::Options | Method::Put | Method::Delete | Method::Subscribe => true,
            Method::Post | Method::Patch | Method::Other => false,
        }
    }
}

pub(super) fn rules(rules: &FieldRules) -> Rules<'_> {
    Rules { add: &rules.add, remove: &rules.remove }
}

/// Passes a request on, and its response back.
pub(super) async fn pass(
    core: &Rc<Core>,
    connection: Connection,
    passing: Passing,
    welcome: Welcome,
) -> Result<(Next, Connection), End> {
    match &passing.part {
        Part::None => carry(core, connection, passing, welcome).await,
        Part::Write(crossing) => {
            let crossing = Rc::clone(crossing);
            crossing.begin(core).await;
            let carried = carry(core, connection, passing, welcome).await;
            crossing.close(core);
            carried
        }
        Part::Follow(_) => mirror::follow(core, connection, passing, welcome).await,
    }
}

async fn carry(
    core: &Rc<Core>,
    mut connection: Connection,
    mut passing: Passing,
    welcome: Welcome,
) -> Result<(Next, Connection), End> {
    if welcome == Welcome::Full {
        let problem = Problem::unavailable("the server has as many connections as it may");
        return hang_up(core, connection, problem.into(), passing.method == Method::Head).await;
    }
    let head_bytes = passing.head.len();
    let mut opening = std::mem::take(&mut passing.head);
    let mut upload = Upload::new(passing.framing);
    if let Err(error) = upload.begin(&mut connection, &mut opening) {
        return hang_up(core, connection, Problem::from(error).into(), false).await;
    }
    if !upload.is_whole() {
        return streaming::pass(core, connection, passing, (opening, head_bytes), upload).await;
    }
    match asking::ask(core, &mut connection, &passing, &mut opening).await? {
        Outcome::Heard(link, Heard::Reply(reply)) => finish(core, connection, &passing, link, reply).await,
        Outcome::Heard(link, Heard::Instruction) => {
            opening.truncate(head_bytes);
            passing.head = opening;
            hold::begin(core, connection, passing, link).await
        }
        Outcome::Refused(problem) => refuse(core, connection, &passing, problem).await,
    }
}

/// What came of a request that was made again.
pub(super) enum Again {
    /// Another instruction.
    Instruction(Connection, Link),
    /// The client has its answer.
    Over(Next, Connection),
}

/// Makes a request again that was read whole; `opening` is all of it.
pub(super) async fn ask_again(
    core: &Rc<Core>,
    mut connection: Connection,
    passing: &Passing,
    mut opening: Vec<u8>,
) -> Result<Again, End> {
    let (next, connection) = match asking::ask(core, &mut connection, passing, &mut opening).await? {
        Outcome::Heard(link, Heard::Instruction) => return Ok(Again::Instruction(connection, link)),
        Outcome::Heard(link, Heard::Reply(reply)) => finish(core, connection, passing, link, reply).await?,
        Outcome::Refused(problem) => refuse(core, connection, passing, problem).await?,
    };
    Ok(Again::Over(next, connection))
}

/// Passes the response back, to a client that has said all that it has to say.
pub(super) async fn finish(
    core: &Rc<Core>,
    mut connection: Connection,
    passing: &Passing,
    mut link: Link,
    reply: Reply,
) -> Result<(Next, Connection), End> {
    core.has_answered(reply.status);
    let Reply { then, is_switched, keeps, .. } = reply;
    let idle = passing.service.config.timeouts.idle;
    if is_switched {
        return tunnel::pass(core, connection, link, reply.head, idle).await;
    }
    let framed = reply.shape;
    let passed = match &passing.part {
        Part::Write(crossing) => crossing.pass(core, &mut connection, &mut link.wire().reader, reply, idle).await,
        Part::None | Part::Follow(_) => relay::pass(core, &mut connection, &mut link.wire().reader, reply, idle).await,
    };
    match passed {
        Ok(()) => {}
        Err(Trouble::Client) => return Err(End::Gone),
        Err(Trouble::Body(_) | Trouble::Origin(_)) => {
            if framed == http1::Shape::UntilClose {
                connection.reset();
            }
            return Err(End::Gone);
        }
    }
    if keeps {
        link.rest();
    }
    match then {
        Persistence::Keep | Persistence::KeepTold => Ok((Next::Request, connection)),
        Persistence::Close => {
            connection.close().await;
            Ok((Next::Over, connection))
        }
    }
}

/// Tells a client whose request was read whole that there is no response; another request may follow.
pub(super) async fn refuse(
    core: &Rc<Core>,
    mut connection: Connection,
    passing: &Passing,
    problem: Problem,
) -> Result<(Next, Connection), End> {
    let is_head = passing.method == Method::Head;
    if passing.persistence == Persistence::Close {
        return hang_up(core, connection, problem.into(), is_head).await;
    }
    let answered = Answered::from(problem);
    core.has_answered(answered.status());
    let (head, body) = answered.into_parts(&core.date(), passing.persistence, is_head);
    connection.write(head).await?;
    connection.write(body).await?;
    Ok((Next::Request, connection))
}
