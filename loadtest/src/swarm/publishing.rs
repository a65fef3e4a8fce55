//! What a run writes: the arguments about writes, resolved and checked.

use clap::ValueEnum;
use fantail_engine::topic::Place;
use serde::Deserialize;

use super::arrivals::Arrivals;
use super::plan::{Server, TOPIC};
use super::template::Template;
use crate::Failure;
use crate::arguments::SwarmArguments;
use crate::target::Target;

/// Bytes that a frame is to have when no payload is asked for.
const FRAME_BYTES: usize = 200;

/// Bytes of a frame of Fantail's, its payload and its path apart: `id:`, `event:`, the operation, id, counter and time.
const FRAME_REST_BYTES: usize = 130;

/// Bytes of another server's frame, its payload apart: `id:`, `data:`, counter and time.
const FOREIGN_REST_BYTES: usize = 70;

/// Bytes of an id that the server chooses, which stands in the frame twice.
const CHOSEN_ID_BYTES: usize = 36;

/// Writes of a burst: requests and answers of this many fit into a connection's buffers, so that neither end waits for
/// the other to read.
const BURST_MAX: u64 = 1_000;

/// How to publish.
#[derive(Debug, Clone)]
pub(crate) struct Publishing {
    /// Where to.
    pub(crate) target: Target,
    /// The request's method.
    pub(crate) method: Method,
    /// Paths to write to, in turn: one per topic.
    pub(crate) paths: Vec<String>,
    /// What to write.
    pub(crate) body: Template,
    /// The body's type.
    pub(crate) content_type: String,
    /// Writes per second, all together.
    pub(crate) rate: f64,
    /// How their moments are spread.
    pub(crate) arrivals: Arrivals,
    /// What random moments come from.
    pub(crate) seed: u64,
    /// Writes that are sent at one moment.
    pub(crate) burst: u64,
    /// Connections, each on a thread.
    pub(crate) publishers: usize,
    /// Bytes of filling in a body.
    pub(crate) payload: usize,
}

/// What a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[value(rename_all = "UPPER")]
pub(crate) enum Method {
    /// A new document in a collection, or a message of a foreign server.
    Post,
    /// The same document again.
    Put,
}

impl Method {
    /// As a request has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }
}

impl Publishing {
    /// Resolves what was typed, for a run at `rate` whose followers follow `paths` at `target`.
    pub(crate) fn resolve(
        typed: &SwarmArguments,
        rate: f64,
        seed: u64,
        server: Server,
        target: &Target,
        paths: &[String],
    ) -> Result<Publishing, Failure> {
        let usage = |why: &str| Err(Failure::Usage(why.to_owned()));
        if !(1..=BURST_MAX).contains(&typed.burst) {
            return usage(&format!("--burst must be 1 to {BURST_MAX}"));
        }
        let body = Template::new(typed.body.as_deref().unwrap_or(Template::DOCUMENT));
        let (target, paths) = match &typed.publish_to {
            Some(url) => {
                let target = Target::resolve(url)?.with(&typed.fields)?;
                let path = &target.path;
                if paths.len() > 1 && !path.contains(TOPIC) && !body.names_topic() {
                    return usage("with --topics, the URL of --publish-to or the --body must name the {topic}");
                }
                let paths = (0..paths.len()).map(|n| path.replace(TOPIC, &topic(n))).collect();
                (target, paths)
            }
            None => (target.clone(), paths.iter().map(|path| without_query(path).to_owned()).collect::<Vec<_>>()),
        };
        let place = match server {
            Server::Fantail => place(&paths[0]),
            Server::Foreign => None,
        };
        if place.is_none() && server == Server::Fantail && typed.publish_to.is_none() {
            return usage("only documents and collections can be published to; --publish-to names another URL");
        }
        let is_document = place.as_ref().is_some_and(|place| !place.is_collection());
        let method = typed.publish_method.unwrap_or(if is_document { Method::Put } else { Method::Post });
        let rest = place.map_or(FOREIGN_REST_BYTES, |place| {
            let ids = place.document().map_or(2 * CHOSEN_ID_BYTES, str::len);
            FRAME_REST_BYTES + place.pointer().len() + ids
        });
        Ok(Publishing {
            target,
            method,
            paths,
            body,
            content_type: typed.content_type.clone(),
            rate,
            arrivals: typed.arrivals,
            seed,
            burst: typed.burst,
            publishers: typed.publishers,
            payload: typed.payload.unwrap_or(FRAME_BYTES.saturating_sub(rest).max(1)),
        })
    }

    /// A write's request, head and body.
    pub(crate) fn request(&self, path: &str, body: &str) -> String {
        let Publishing { target, method, content_type, .. } = self;
        format!(
            "{} {path} HTTP/1.1\r\nHost: {}\r\n{}Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            method.name(),
            target.authority,
            target.fields,
            body.len()
        )
    }
}

/// The name of a topic, counted from 0.
pub(crate) fn topic(number: usize) -> String {
    format!("t{number}")
}

/// The collection or document of Fantail's that a path names, if it names one.
pub(crate) fn place(path: &str) -> Option<Place> {
    Place::parse(without_query(path)).ok().filter(|_| !path.starts_with("/-/"))
}

/// A path as a resource is named.
pub(crate) fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}
