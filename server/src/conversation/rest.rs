//! Documents and collections over HTTP: what a request asks of a stream, and how its answer reads.
//!
//! A [`Plan`] is made of the head alone, so that a request that can't succeed is refused before its body is read.

use std::hash::Hasher;
use std::rc::Rc;

use fantail_engine::document;
use fantail_engine::json::{self, Value};
use fantail_engine::limits::{PAGE_DEFAULT, PAGE_MAX};
use fantail_engine::patch::Patch;
use fantail_engine::protocol::accept::Media;
use fantail_engine::protocol::condition::{Guard, Verdict};
use fantail_engine::protocol::http1::Method;
use fantail_engine::protocol::problem::Problem;
use fantail_engine::stream::{Change, Operation};
use fantail_engine::topic::Place;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::admin::View;
use super::answer::{self, ACCEPT_PATCH, Answered};
use super::control::Order;
use super::inquiry::Inquiry;
use super::{admin, history, own};
use crate::core::question::{Answer, Question, WriteQuestion};
use crate::core::{Asked, Core};

const ALLOW_COLLECTION: &str = "GET, HEAD, POST, OPTIONS, SUBSCRIBE";
const ALLOW_DOCUMENT: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS, SUBSCRIBE";
const ALLOW_ANY: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, SUBSCRIBE";

/// What stays as it is in a value of a query: unreserved letters (RFC 3986, section 2.3).
const QUERY_VALUE: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a request comes to, once its body is there.
pub(super) enum Plan {
    /// It is answered as it is.
    Answer(Answered),
    /// It reads.
    Read { question: Question, guard: Guard, link: String },
    /// It writes.
    Write(Write),
    /// It wants to know what the server runs with.
    Config,
    /// It wants to know how the server is.
    Survey(View),
    /// It wants a stream to be gone.
    Delete(String),
    /// It publishes, or orders something else of the control listener.
    Control(Order),
}

/// How the body of a write is understood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Intent {
    Create,
    Put,
    Patch,
    Merge,
    Delete,
}

/// A write whose body is to come.
pub(super) struct Write {
    intent: Intent,
    place: Place,
    guard: Guard,
    key: Option<String>,
}

/// Makes a plan of a request's head.
pub(super) fn plan(inquiry: &Inquiry) -> Result<Plan, Answered> {
    if inquiry.path == "*" {
        return Ok(Plan::Answer(Answered::empty(204).field("Allow", ALLOW_ANY)));
    }
    if inquiry.path == "/" {
        let problem = Problem::not_found("collections are below /, as in /messages; a page to look at them is at /-/");
        return Err(Answered::from(problem).field("Link", "</-/>; rel=\"help\""));
    }
    if inquiry.path == "/-" || inquiry.path.starts_with("/-/") {
        return own::answer(inquiry).map(Plan::Answer);
    }
    let place = Place::parse(&inquiry.path).map_err(|error| Problem::bad_name(error.to_string()))?;
    match (inquiry.method, place.is_collection()) {
        (Method::Get | Method::Head, _) => read(inquiry, place),
        (Method::Options, true) => Ok(Plan::Answer(Answered::empty(204).field("Allow", ALLOW_COLLECTION))),
        (Method::Options, false) => {
            let answered = Answered::empty(204).field("Allow", ALLOW_DOCUMENT).field("Accept-Patch", ACCEPT_PATCH);
            Ok(Plan::Answer(answered))
        }
        (Method::Post, true) | (Method::Put | Method::Patch | Method::Delete, false) => write(inquiry, place),
        (Method::Put | Method::Patch | Method::Delete | Method::Other, true) => {
            Err(not_allowed(inquiry, ALLOW_COLLECTION))
        }
        (Method::Post | Method::Other, false) => Err(not_allowed(inquiry, ALLOW_DOCUMENT)),
        (Method::Subscribe, _) => unreachable!("what is followed has no plan"),
    }
}

fn not_allowed(inquiry: &Inquiry, allow: &'static str) -> Answered {
    let detail = format!("{} doesn't apply here", inquiry.method_text);
    Answered::from(Problem::method_not_allowed(detail)).field("Allow", allow)
}

fn read(inquiry: &Inquiry, place: Place) -> Result<Plan, Answered> {
    if inquiry.form.is_none() {
        let problem = Problem::not_acceptable("there is application/json, and text/event-stream to follow it");
        return Err(Answered::from(problem).field("Vary", "Accept"));
    }
    let limit = match inquiry.parameter("limit") {
        None => PAGE_DEFAULT,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=PAGE_MAX) => limit,
            _ => return Err(Problem::malformed(format!("limit is a number from 1 to {PAGE_MAX}")).into()),
        },
    };
    let link = format!("{}?limit={limit}", place.url());
    let question = match (inquiry.parameter("as"), inquiry.parameter("history")) {
        (_, Some(after)) => Question::History { place, after: after.to_owned(), limit },
        (Some("map"), None) => Question::Map(place),
        (Some(_), None) => return Err(Problem::malformed("the only form to ask for is as=map").into()),
        (None, None) if place.is_collection() => {
            Question::List { place, after: inquiry.parameter("after").map(str::to_owned), limit }
        }
        (None, None) => Question::Document(place),
    };
    Ok(Plan::Read { question, guard: inquiry.guard.clone(), link })
}

fn write(inquiry: &Inquiry, place: Place) -> Result<Plan, Answered> {
    let intent = match (inquiry.method, inquiry.media) {
        (Method::Delete, _) => Intent::Delete,
        (Method::Post, None | Some(Media::Json)) => Intent::Create,
        (Method::Put, None | Some(Media::Json)) => Intent::Put,
        (Method::Patch, Some(Media::JsonPatch)) => Intent::Patch,
        (Method::Patch, Some(Media::MergePatch)) => Intent::Merge,
        (Method::Patch, _) => {
            let problem = Problem::unsupported_media(format!("a patch is one of {ACCEPT_PATCH}"));
            return Err(Answered::from(problem).field("Accept-Patch", ACCEPT_PATCH));
        }
        _ => {
            let problem = Problem::unsupported_media("a document is application/json, in UTF-8");
            let answered = Answered::from(problem);
            return Err(match inquiry.method {
                Method::Post => answered.field("Accept-Post", "application/json"),
                _ => answered,
            });
        }
    };
    Ok(Plan::Write(Write { intent, place, guard: inquiry.guard.clone(), key: inquiry.key.clone() }))
}

impl Plan {
    /// The stream that it writes to, if it needn't wait for the answers to the writes before it: see [`super::pipeline`].
    pub(super) fn pipelined_stream(&self) -> Option<&str> {
        match self {
            Plan::Write(Write { key: Some(_), .. } | Write { intent: Intent::Patch | Intent::Merge, .. }) => None,
            Plan::Write(write) => Some(write.place.stream()),
            Plan::Answer(_)
            | Plan::Read { .. }
            | Plan::Config
            | Plan::Survey(_)
            | Plan::Delete(_)
            | Plan::Control(_) => None,
        }
    }

    /// Asks for what it wants; the answer is awaited later.
    pub(super) fn begin(self, core: &Rc<Core>, body: Vec<u8>) -> Reply {
        match self {
            Plan::Answer(answered) => Reply::Ready(answered),
            Plan::Read { question, guard, link } => Reply::Read { asked: core.ask(question), guard, link },
            Plan::Write(write) => match write.question(body) {
                Ok(question) => Reply::Written(core.ask(question)),
                Err(problem) => Reply::Ready(problem.into()),
            },
            Plan::Config => Reply::Ready(admin::config(core)),
            Plan::Survey(view) => Reply::Survey { asked: core.survey_all(view.scrutiny()), view },
            Plan::Delete(stream) => Reply::Deleted(core.ask(Question::Delete(stream))),
            Plan::Control(order) => Reply::Control(order, body),
        }
    }
}

/// An answer that is under way.
pub(super) enum Reply {
    /// It needs nobody.
    Ready(Answered),
    /// What is read.
    Read { asked: Asked, guard: Guard, link: String },
    /// What came of a write.
    Written(Asked),
    /// How all cores are.
    Survey { asked: Vec<Asked>, view: View },
    /// Whether a stream is gone.
    Deleted(Asked),
    /// What comes of an order, with its body.
    Control(Order, Vec<u8>),
}

impl Reply {
    /// What the client is told.
    pub(super) async fn answered(self, core: &Rc<Core>) -> Answered {
        match self {
            Reply::Ready(answered) => answered,
            Reply::Read { asked, guard, link } => {
                let answer = match asked.await {
                    Answer::History(begin) => history::page(core, *begin).await,
                    answer => answer,
                };
                read_answer(answer, &guard, &link).field("Vary", "Accept")
            }
            Reply::Written(asked) => written(asked.await),
            Reply::Survey { asked, view } => {
                let mut surveys = Vec::with_capacity(asked.len());
                for asked in asked {
                    surveys.push(asked.await);
                }
                admin::show(core, &view, surveys)
            }
            Reply::Deleted(asked) => admin::deleted(asked.await),
            Reply::Control(order, body) => order.carried_out(core, body).await,
        }
    }
}

fn read_answer(answer: Answer, guard: &Guard, link: &str) -> Answered {
    let (answered, tag) = match answer {
        Answer::Document { body, position } => {
            let tag = document::tag(&body);
            (Answered::document(200, body, position), Some(tag))
        }
        Answer::Json { body, tag, position, next } => {
            let is_history = tag.is_none();
            let mut answered = Answered::json(200, body);
            if let Some(tag) = &tag {
                answered = answered.tag(tag);
            }
            if let Some(position) = position {
                answered = answered.reflects(position);
            }
            if let Some(next) = next {
                let name = if is_history { "history" } else { "after" };
                let next = percent_encoding::utf8_percent_encode(&next, QUERY_VALUE);
                answered = answered.field("Link", format!("<{link}&{name}={next}>; rel=\"next\""));
            }
            (answered, tag)
        }
        // Conditions count only where the answer would be one of success (RFC 9110, section 13.2.1).
        Answer::Refused(refused) => return refused.into(),
        Answer::Written(_)
        | Answer::Follow(_)
        | Answer::History(_)
        | Answer::Deleted
        | Answer::Survey(_)
        | Answer::Mirror(_)
        | Answer::Channels(_)
        | Answer::Link(_) => {
            unreachable!("a read is answered with what was read")
        }
    };
    match guard.judge(tag.as_deref()) {
        _ if tag.is_none() => answered,
        Verdict::Pass => answered,
        Verdict::NotModified => answered.unmodified(),
        Verdict::Failed => Problem::precondition_failed("the entity tag is another one").into(),
    }
}

fn written(answer: Answer) -> Answered {
    match answer {
        Answer::Written(outcome) => {
            let answered = match outcome.document {
                Some(body) => Answered::document(outcome.status, body, outcome.position),
                None => Answered::empty(outcome.status).reflects(outcome.position),
            };
            match outcome.status {
                201 => answered.field("Location", outcome.place.url()),
                _ => answered,
            }
        }
        Answer::Refused(refused) => refused.into(),
        Answer::Document { .. }
        | Answer::Json { .. }
        | Answer::Follow(_)
        | Answer::History(_)
        | Answer::Deleted
        | Answer::Survey(_)
        | Answer::Mirror(_)
        | Answer::Channels(_)
        | Answer::Link(_) => {
            unreachable!("a write is answered with its outcome")
        }
    }
}

impl Write {
    fn question(mut self, body: Vec<u8>) -> Result<Question, Problem> {
        let key = self.key.take().map(|key| (key, self.fingerprint(&body)));
        let change = match self.intent {
            Intent::Create => {
                let value = parse(body)?;
                let id = match document::named(&value).map_err(|error| answer::document_problem(&error))? {
                    Some(id) => id.to_owned(),
                    None => uuid::Uuid::now_v7().to_string(),
                };
                Change::Create { value, id }
            }
            Intent::Put => Change::Put(parse(body)?),
            Intent::Patch => Change::Patch(Patch::read(parse(body)?).map_err(|error| answer::patch_problem(&error))?),
            Intent::Merge => Change::Merge(parse(body)?),
            Intent::Delete => Change::Delete,
        };
        let operation = Operation { place: self.place, change, guard: self.guard, key: None };
        Ok(Question::Write(WriteQuestion { operation, key }))
    }

    /// What must be the same in a repeat of the request.
    fn fingerprint(&self, body: &[u8]) -> u128 {
        let mut hasher = SipHasher13::new();
        hasher.write_u8(self.intent as u8);
        hasher.write(self.place.path().as_bytes());
        hasher.write_u8(b'\n');
        hasher.write(body);
        hasher.finish128().as_u128()
    }
}

fn parse(body: Vec<u8>) -> Result<Value, Problem> {
    json::parse(body).map_err(|error| {
        let problem = match error.is_malformed() {
            true => Problem::malformed(error.to_string()),
            false => Problem::unacceptable(error.to_string()),
        };
        match error.pointer() {
            Some(pointer) => problem.at(pointer),
            None => problem,
        }
    })
}
