//! Those that give a document its life: create, put, patch in both ways, delete. Each user writes documents of its own, so that
//! every answer is known before it comes.

use std::sync::Arc;

use goose::goose::{GooseUser, Transaction, TransactionResult};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder};

use super::ask::ask;
use super::context::{Context, Pace};
use super::step;

/// What a writer remembers.
#[derive(Clone)]
struct Session {
    pace: Pace,
    number: usize,
    /// Documents that it has finished.
    round: u64,
    /// The step that is next: steps whose time hasn't come are tried again in the next turn.
    next: usize,
}

/// A step: its name, method, type, body and the status that it must have.
type Step = (&'static str, Method, Option<&'static str>, &'static str, &'static [u16]);

const STEPS: [Step; 5] = [
    ("writers: create", Method::PUT, Some("application/json"), r#"{"text":"hi","likes":0}"#, &[201]),
    ("writers: PUT", Method::PUT, Some("application/json"), r#"{"text":"hello","likes":0}"#, &[200]),
    ("writers: JSON Patch", Method::PATCH, Some("application/json-patch+json"), PATCH, &[200]),
    ("writers: merge patch", Method::PATCH, Some("application/merge-patch+json"), r#"{"likes":2}"#, &[200]),
    ("writers: DELETE", Method::DELETE, None, "", &[200, 204]),
];

const PATCH: &str = r#"[{"op":"test","path":"/likes","value":0},{"op":"replace","path":"/likes","value":1}]"#;

/// What a writer does, in turn.
pub(crate) fn steps(context: &Arc<Context>) -> Vec<Transaction> {
    vec![step!(context, write)]
}

async fn write(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    let mut session = match user.get_session_data::<Session>() {
        Some(session) => session.clone(),
        None => Session { pace: Pace::new(context.workload.writers.rate), number: context.number(), round: 0, next: 0 },
    };
    if session.pace.turn(&context).await {
        // The start of the run makes names that no earlier run has left behind.
        let name = format!("w{}-{}-{}", context.since_ns, session.number, session.round);
        if let Some(url) = context.urls.document(&name) {
            let (step, method, kind, body, wanted) = &STEPS[session.next];
            let request: RequestBuilder = context.client.request(method.clone(), url);
            let request = match kind {
                Some(kind) => request.header(CONTENT_TYPE, *kind).body(*body),
                None => request,
            };
            let is_well = ask(user, &context, step, request, wanted).await.is_some();
            session.next = if is_well { (session.next + 1) % STEPS.len() } else { 0 };
            session.round += u64::from(session.next == 0);
        }
    }
    user.set_session_data(session);
    Ok(())
}
