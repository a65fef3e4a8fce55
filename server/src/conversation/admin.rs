//! The admin listener's URLs: how the server is, for whoever runs it.
//!
//! It is for the host that the server runs on, and nobody else: there is no authentication. The same conversations answer here
//! as on the server's own listener, so requests and answers are bounded alike; documents and streams of events aren't to be had.

mod metrics;
mod report;

use fantail_engine::protocol::exposition;
use fantail_engine::protocol::http1::Method;
use fantail_engine::protocol::problem::Problem;
use fantail_engine::topic;

use super::answer::Answered;
use super::inquiry::Inquiry;
use super::rest::Plan;
use crate::audience::Scrutiny;
use crate::core::Core;
use crate::core::question::Answer;
use crate::core::survey::Survey;

const INDEX: &[u8] = b"Fantail's admin listener\n\n\
    /metrics         for Prometheus\n\
    /streams         positions, retention, documents, listeners, lag; DELETE /streams/NAME deletes one and its log\n\
    /config          what is in force\n\
    /health/live     200 while the server answers\n\
    /health/ready    200 once it serves\n";

const ALLOW: &str = "GET, HEAD, OPTIONS";
const ALLOW_STREAM: &str = "GET, HEAD, DELETE, OPTIONS";

/// What is shown of all cores together.
pub(super) enum View {
    Metrics,
    Streams,
    /// The stream of this name.
    Stream(String),
}

impl View {
    /// How closely it needs the seats looked at.
    pub(super) fn scrutiny(&self) -> Scrutiny {
        match self {
            View::Metrics => Scrutiny::Counts,
            View::Streams | View::Stream(_) => Scrutiny::Seats,
        }
    }
}

/// Makes a plan of a request's head.
pub(super) fn plan(inquiry: &Inquiry) -> Result<Plan, Answered> {
    let (found, allow) = match inquiry.path.as_str() {
        "/" => (Plan::Answer(Answered::fixed("text/plain", INDEX)), ALLOW),
        "/metrics" => (Plan::Survey(View::Metrics), ALLOW),
        "/config" => (Plan::Config, ALLOW),
        "/streams" => (Plan::Survey(View::Streams), ALLOW),
        "/health/live" => (Plan::Answer(Answered::fixed("text/plain", b"live\n")), ALLOW),
        // It listens only once all streams are recovered.
        "/health/ready" => (Plan::Answer(Answered::fixed("text/plain", b"ready\n")), ALLOW),
        "*" => (Plan::Answer(Answered::empty(204)), ALLOW_STREAM),
        path => (Plan::Survey(View::Stream(stream(path)?)), ALLOW_STREAM),
    };
    match (inquiry.method, found) {
        (Method::Get | Method::Head, Plan::Answer(answered)) => {
            Ok(Plan::Answer(answered.field("Cache-Control", "no-store")))
        }
        (Method::Get | Method::Head, found) => Ok(found),
        (Method::Options, _) => Ok(Plan::Answer(Answered::empty(204).field("Allow", allow))),
        (Method::Delete, Plan::Survey(View::Stream(name))) => Ok(Plan::Delete(name)),
        (Method::Delete | Method::Post | Method::Put | Method::Patch | Method::Subscribe | Method::Other, _) => {
            let problem = Problem::method_not_allowed(format!("{} doesn't apply here", inquiry.method_text));
            Err(Answered::from(problem).field("Allow", allow))
        }
    }
}

/// The name of the stream that `/streams/…` is about.
fn stream(path: &str) -> Result<String, Problem> {
    let nothing = || Problem::not_found("what there is here is named at /");
    let name = path.strip_prefix("/streams/").ok_or_else(nothing)?;
    if name.contains('/') {
        return Err(nothing());
    }
    topic::stream(name).map_err(|error| Problem::bad_name(error.to_string()))
}

/// What the client is shown of the cores' answers.
pub(super) fn show(core: &Core, view: &View, answers: Vec<Answer>) -> Answered {
    let surveys: Vec<Survey> = answers.into_iter().map(survey).collect();
    let answered = match view {
        View::Metrics => Answered::text(exposition::CONTENT_TYPE, metrics::expose(core, &surveys)),
        View::Streams => Answered::json(200, report::streams(&surveys)),
        View::Stream(name) => match report::stream(&surveys, name) {
            Some(body) => Answered::json(200, body),
            None => return Problem::not_found("nobody has written this stream").into(),
        },
    };
    answered.field("Cache-Control", "no-store")
}

/// What the server runs with.
pub(super) fn config(core: &Core) -> Answered {
    Answered::json(200, report::config(core)).field("Cache-Control", "no-store")
}

fn survey(answer: Answer) -> Survey {
    match answer {
        Answer::Survey(survey) => *survey,
        Answer::Written(_)
        | Answer::Document { .. }
        | Answer::Json { .. }
        | Answer::History(_)
        | Answer::Follow(_)
        | Answer::Deleted
        | Answer::Mirror(_)
        | Answer::Channels(_)
        | Answer::Link(_)
        | Answer::Refused(_) => unreachable!("a core that is asked how it is says that"),
    }
}

/// What the client is told of a stream that it wants to be gone.
pub(super) fn deleted(answer: Answer) -> Answered {
    match answer {
        Answer::Deleted => Answered::empty(204),
        Answer::Refused(refused) => refused.into(),
        Answer::Written(_)
        | Answer::Document { .. }
        | Answer::Json { .. }
        | Answer::History(_)
        | Answer::Follow(_)
        | Answer::Survey(_)
        | Answer::Mirror(_)
        | Answer::Channels(_)
        | Answer::Link(_) => unreachable!("a stream is deleted or not"),
    }
}
