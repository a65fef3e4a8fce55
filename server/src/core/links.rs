//! Next links, asked once for all who ask the same: each has a home, the core that its URI's hash names.
//!
//! ```text
//! conversation ── LinkRequest ──► its home ── a task ──► origin
//!      ▲                             │   joins who asks the same meanwhile
//!      └────── Linked::Page ─────────┘   keeps what may be told later, for a moment
//! ```
//!
//! A page is in memory once, however many clients are sent it. What is too large for that, or too slow, or one too many, isn't
//! shared: who asks for it reads it from the origin as fast as the client takes it. Invariant: the pages of a core, kept or
//! lent, take no more than [`LINK_PAGES_BYTES_MAX`] and one request's more.

use std::rc::Rc;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use fantail_engine::grip::{self, Asked as Joined, Audience, Instruction, Sharing};
use fantail_engine::limits::INSTRUCTION_BYTES_MAX;
use fantail_engine::protocol::field;
use fantail_engine::protocol::http1::Method;
use fantail_engine::topic;
use rustc_hash::FxHashMap;

use super::letter::Letter;
use super::question::Answer;
use super::{Asked, Core, Ticket, clock};
use crate::config::Origins;
use crate::limits::{
    COMPLAINT_TIME, LINK_KEPT_TIME, LINK_PAGE_BYTES_MAX, LINK_PAGE_TIME, LINK_PAGES_BYTES_MAX, LINK_PAGES_KEPT_BYTES,
};
use crate::origin::{CallError, Named, Response, ResponseError, call};

/// What is asked of an origin when a client's stream goes on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct LinkRequest {
    /// The number of the route whose origins are asked.
    pub(crate) route: usize,
    /// The absolute URI.
    pub(crate) uri: String,
    /// The values of `Grip-Last`: what the client has of its channels.
    pub(crate) last: Vec<String>,
}

/// The answer of an origin.
pub(crate) struct Page {
    /// What it asks; none means that the stream ends with this page.
    pub(crate) instruction: Option<Instruction>,
    pub(crate) body: Bytes,
}

/// What a link's home says.
#[derive(Clone)]
pub(crate) enum Linked {
    Page(Arc<Page>),
    /// It isn't shared: who asks is to make the request alone.
    Alone,
    /// There is no answer.
    Failed(Arc<LinkError>),
}

/// Why a link has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Call(#[from] CallError),
    /// A status that isn't 2xx.
    #[error("the origin answered {0}")]
    Status(u16),
    /// The instruction breaks a rule.
    #[error("the origin's instruction is broken: {0}")]
    Broken(#[from] grip::InstructionError),
    /// No route's origin has this authority.
    #[error("no route leads to {0}")]
    Nowhere(String),
}

impl From<ResponseError> for LinkError {
    fn from(error: ResponseError) -> LinkError {
        LinkError::Call(error.into())
    }
}

impl LinkError {
    /// Whether it may help to ask again.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            LinkError::Call(_) | LinkError::Status(_) => true,
            LinkError::Broken(_) | LinkError::Nowhere(_) => false,
        }
    }
}

/// Who has asked: a core, and the ticket there.
type Asker = (usize, usize);

/// The links whose home a core is.
pub(super) struct Links {
    sharing: Sharing<Arc<LinkRequest>, Linked, Asker>,
    /// What was asked by letter and not looked at yet.
    pub(super) arrived: Vec<(Asker, Arc<LinkRequest>, u64)>,
    /// Pages that somebody may still have.
    lent: Vec<Weak<Page>>,
    /// When it was last told that a route's origins fail.
    complaints: FxHashMap<usize, u64>,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            sharing: Sharing::new(LINK_KEPT_TIME.as_micros() as u64, LINK_PAGES_KEPT_BYTES),
            arrived: Vec::new(),
            lent: Vec::new(),
            complaints: FxHashMap::default(),
        }
    }
}

impl Links {
    /// Whether there is room for another page.
    fn has_room(&mut self) -> bool {
        let mut bytes = 0;
        self.lent.retain(|page| match page.upgrade() {
            Some(page) => {
                bytes += page.body.len();
                true
            }
            None => false,
        });
        bytes < LINK_PAGES_BYTES_MAX
    }
}

impl Core {
    /// Asks a next link, or has the answer that others get, if their request was begun after `since`, by [`Core::now_us`].
    pub(crate) async fn ask_link(self: &Rc<Core>, request: LinkRequest, since: u64) -> Linked {
        let home = (topic::hash(&request.uri) % self.cores.count() as u64) as usize;
        let ticket = self.tickets.borrow_mut().insert(Ticket::Open(None));
        let asked = Asked { core: Rc::clone(self), ticket: Some(ticket) };
        let request = Arc::new(request);
        if home == self.number {
            self.link_asked((self.number, ticket), &request, since);
        } else {
            self.cores.boxes[home].post(Letter::Link { from: self.number, ticket, request, since });
        }
        let Answer::Link(linked) = asked.await else { unreachable!("a link is answered with its page") };
        linked
    }

    /// Microseconds since the server began, on all cores alike.
    pub(crate) fn now_us(&self) -> u64 {
        self.cores.begun.elapsed().as_micros() as u64
    }

    /// When this core last heard of something of any channel, or that everybody is to ask anew, by [`Core::now_us`].
    pub(crate) fn news_us(&self) -> u64 {
        self.news_us.get()
    }

    /// Something was heard that those who ask now mustn't miss.
    pub(super) fn has_news(&self) {
        self.news_us.set(self.now_us());
    }

    /// Looks at what was asked by letter.
    pub(super) fn take_links(self: &Rc<Core>) {
        let arrived = std::mem::take(&mut self.links.borrow_mut().arrived);
        for (asker, request, since) in arrived {
            self.link_asked(asker, &request, since);
        }
    }

    fn link_asked(self: &Rc<Core>, asker: Asker, request: &Arc<LinkRequest>, since: u64) {
        let now = self.now_us();
        let joined = self.links.borrow_mut().sharing.ask(request, since, asker, now);
        match joined {
            Joined::Kept(linked, asker) => self.tell_linked(asker, linked),
            Joined::Waits => {}
            Joined::First => drop(monoio::spawn(request_link(Rc::clone(self), Arc::clone(request)))),
        }
    }

    fn tell_linked(&self, (from, ticket): Asker, linked: Linked) {
        let answer = Answer::Link(linked);
        match from == self.number {
            true => self.answered(ticket, answer),
            false => self.cores.boxes[from].post(Letter::Answer { ticket, answer }),
        }
    }

    /// Makes the request of a link for one client alone.
    ///
    /// # Errors
    /// Why there is no response to go on with.
    pub(crate) async fn call_link(&self, request: &LinkRequest) -> Result<Response, LinkError> {
        let service = self.services.at(request.route).ok_or_else(|| LinkError::Nowhere(request.uri.clone()))?;
        let head = self.own_head("GET", &service.config, &request.uri, &request.last);
        let response = call(service, Method::Get, &head).await?;
        match response.answer().status {
            200..300 => Ok(response),
            status => Err(LinkError::Status(status)),
        }
    }

    /// The number of the route whose origins serve a URI that an origin of `route` has named, to a client that calls this server
    /// `host`.
    ///
    /// # Errors
    /// None does.
    pub(crate) fn route_of(&self, uri: &str, route: usize, host: &str) -> Result<usize, LinkError> {
        let located = Named::read(uri).and_then(|named| self.services.locate(&named, route, host));
        located.ok_or_else(|| LinkError::Nowhere(uri.to_owned()))
    }

    /// The head of a request of the server's own: nothing of any client is in it.
    pub(super) fn own_head(&self, method: &str, origins: &Origins, uri: &str, last: &[String]) -> Vec<u8> {
        let Named { authority, target, .. } = Named::read(uri).expect("a URI that was located has its parts");
        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(format!("{method} {target} HTTP/1.1\r\n").as_bytes());
        let rules = &origins.request_headers;
        if !rules.add.iter().any(|(name, _)| name == "host") {
            head.extend_from_slice(format!("Host: {authority}\r\n").as_bytes());
        }
        self.write_signature(&mut head);
        for value in last {
            head.extend_from_slice(format!("Grip-Last: {value}\r\n").as_bytes());
        }
        for (name, value) in &rules.add {
            head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if method != "GET" {
            head.extend_from_slice(b"Content-Length: 0\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Whether it may be said that the origins of a route fail: once in a while is enough.
    pub(crate) fn may_complain(&self, route: usize) -> bool {
        let now = self.now_us();
        let mut links = self.links.borrow_mut();
        let is_due = |at: &u64| now.saturating_sub(*at) >= COMPLAINT_TIME.as_micros() as u64;
        let may = links.complaints.get(&route).is_none_or(is_due);
        if may {
            links.complaints.insert(route, now);
        }
        may
    }
}

/// Makes the request, and tells all who wait; again if others need a newer answer.
async fn request_link(core: Rc<Core>, request: Arc<LinkRequest>) {
    loop {
        let has_room = core.links.borrow_mut().has_room();
        let (linked, audience) = match has_room {
            false => (Linked::Alone, Audience::Waiting),
            true => fetch(&core, &request).await,
        };
        let now = core.now_us();
        let answered = {
            let mut links = core.links.borrow_mut();
            if let Linked::Page(page) = &linked {
                links.lent.push(Arc::downgrade(page));
            }
            links.sharing.answered(&request, linked.clone(), audience, now)
        };
        for asker in answered.waiters {
            core.tell_linked(asker, linked.clone());
        }
        if !answered.again {
            return;
        }
    }
}

/// The whole answer of a link's origin, and who may have it.
async fn fetch(core: &Rc<Core>, request: &Arc<LinkRequest>) -> (Linked, Audience) {
    let mut response = match core.call_link(request).await {
        Ok(response) => response,
        Err(error) => return (Linked::Failed(Arc::new(error)), Audience::Waiting),
    };
    let read = async {
        let instruction = read_instruction(&mut response).await?;
        let (instruction, body) = match instruction {
            Read::Whole(instruction, body) => (Some(instruction), Some(body)),
            Read::Head(instruction) => (instruction, response.whole(LINK_PAGE_BYTES_MAX).await?),
        };
        response.finish();
        Ok::<_, LinkError>(body.map(|body| Page { instruction, body: body.into() }))
    };
    match monoio::time::timeout(LINK_PAGE_TIME, read).await {
        Ok(Ok(Some(page))) => {
            let audience = match may_be_kept(page.instruction.as_ref()) {
                true => Audience::Later(page.body.len() + request.uri.len() + PAGE_WEIGHT),
                false => Audience::Waiting,
            };
            (Linked::Page(Arc::new(page)), audience)
        }
        // Whoever asks next needn't try, either.
        Ok(Ok(None)) | Err(_) => (Linked::Alone, Audience::Later(request.uri.len() + PAGE_WEIGHT)),
        Ok(Err(error)) => (Linked::Failed(Arc::new(error)), Audience::Waiting),
    }
}

/// Some bytes that a page takes besides its body.
const PAGE_WEIGHT: usize = 1024;

/// Whether a page may be given to who asks after it came: if something was published meanwhile, its last link or its ids say so.
fn may_be_kept(instruction: Option<&Instruction>) -> bool {
    let Some(Instruction { hold, next, .. }) = instruction else { return false };
    match hold {
        None => next.is_some(),
        Some(hold) => !hold.channels.is_empty() && hold.channels.iter().all(|channel| channel.prev_id.is_some()),
    }
}

/// What a response asks.
pub(crate) enum Read {
    /// This, in its head; the content is still to be read.
    Head(Option<Instruction>),
    /// This, in its content; and the content that stands for it.
    Whole(Instruction, Vec<u8>),
}

/// Reads the instruction of a response, if it is one.
///
/// # Errors
/// It is broken, or the response breaks off.
pub(crate) async fn read_instruction(response: &mut Response) -> Result<Read, LinkError> {
    let wants_body = response.answer().fields("Content-Type").any(grip::wants_body);
    let body = match wants_body {
        true => Some(response.whole(INSTRUCTION_BYTES_MAX).await?.ok_or(grip::InstructionError::LargeBody)?),
        false => None,
    };
    let answer = response.answer();
    let fields = answer.all().filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, field::trim(value))));
    let instruction = Instruction::read(answer.status, fields, body.as_deref())?;
    Ok(match (body, instruction) {
        (Some(_), Some(mut instruction)) => {
            let body = instruction.response.as_mut().map(|response| std::mem::take(&mut response.body));
            Read::Whole(instruction, body.unwrap_or_default())
        }
        (_, instruction) => Read::Head(instruction),
    })
}

/// A number at random, for those who would do the same at the same time.
pub(crate) fn random() -> u32 {
    clock::jitter(u32::MAX)
}
