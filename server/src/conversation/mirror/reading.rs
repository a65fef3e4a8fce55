//! Documents and collections are read from their origin, as the client would read them on whose behalf it is done.

use std::collections::HashSet;
use std::rc::Rc;

use fantail_engine::limits::{DOCUMENT_BYTES_MAX, LISTING_BYTES_MAX};
use fantail_engine::mirror::{self, Listing, ListingError, Moment, State};
use fantail_engine::position::Position;
use fantail_engine::protocol::http1::{self, Method, ParsedAnswer};
use fantail_engine::protocol::problem::Problem;
use fantail_engine::topic::Place;

use crate::conversation::answer::Answered;
use crate::conversation::proxy::Passing;
use crate::conversation::proxy::asking::{self, Failure, Heard, Outcome};
use crate::conversation::proxy::body::Download;
use crate::conversation::proxy::relay::{self, Oneself};
use crate::core::Core;
use crate::core::question::{Answer, Mirrored, Purpose, Question, Refused, Step};
use crate::limits::SEEN_DOCUMENTS_MAX;
use crate::origin::Service;

/// By whom it is read, and from where.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) service: Rc<Service>,
    /// The fields that say who asks.
    pub(super) fields: Vec<u8>,
}

/// What an origin has at a URL.
enum Content {
    /// The head of an answer, and its body.
    Is(Vec<u8>, Vec<u8>),
    Gone,
}

/// Why it isn't known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("{}", .0.detail)]
    Unanswered(Problem),
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("the origin answers {0}")]
    Status(u16),
    #[error("the origin doesn't show it, and may only hide it")]
    Hidden,
    #[error("it has more than {0} bytes")]
    Large(usize),
    #[error(transparent)]
    Listing(#[from] ListingError),
    #[error("the stream refuses it with {0}")]
    Refused(u16),
}

impl Unread {
    fn refused(refused: Refused) -> Unread {
        Unread::Refused(Answered::from(refused).status())
    }
}

impl Reading {
    /// The head of a GET of `target` that accepts these types.
    pub(super) fn head(&self, target: &str, accept: &str) -> Vec<u8> {
        let mut head = format!("GET {target} HTTP/1.1\r\n").into_bytes();
        head.extend_from_slice(&self.fields);
        head.extend_from_slice(format!("Accept: {accept}\r\n\r\n").as_bytes());
        head
    }

    async fn content(&self, core: &Rc<Core>, path: &str, bytes_max: usize) -> Result<Content, Unread> {
        let mut passing = Passing::to_read(&self.service, self.head(path, "application/json"));
        let mut opening = std::mem::take(&mut passing.head);
        let asked = asking::ask(core, &mut Oneself, &passing, &mut opening).await;
        let (mut link, reply) = match asked {
            Ok(Outcome::Heard(link, Heard::Reply(reply))) => (link, reply),
            Ok(Outcome::Heard(_, Heard::Instruction)) => return Err(Unread::Status(200)),
            Ok(Outcome::Refused(problem)) => return Err(Unread::Unanswered(problem)),
            Err(_) => unreachable!("the server doesn't leave itself"),
        };
        let (mut body, mut content) = (Download::plain(reply.body), Vec::new());
        let idle = self.service.config.timeouts.idle;
        let is_whole = relay::gather(&mut link.wire().reader, &mut body, &mut content, bytes_max, idle).await?;
        if is_whole && reply.keeps {
            link.rest();
        }
        match reply.status {
            404 | 410 => Ok(Content::Gone),
            200 if is_whole => Ok(Content::Is(reply.head, content)),
            200 => Err(Unread::Large(bytes_max)),
            status => Err(Unread::Status(status)),
        }
    }

    /// What the document `place` is; see [`Reading::reflect`].
    async fn document(&self, core: &Rc<Core>, place: &Place, path: &str, believes: bool) -> Result<State, Unread> {
        match self.content(core, path, 2 * DOCUMENT_BYTES_MAX).await? {
            Content::Gone if believes => Ok(State::Gone),
            Content::Gone => Err(Unread::Hidden),
            Content::Is(_, content) => {
                let (_, value) = Listing::read(place, content)?.documents.pop().ok_or(ListingError::Document)?;
                Ok(State::Is(value))
            }
        }
    }

    /// Reads the document `place` if the answer to a step says that it is this one's turn. Returns the position that reflects it.
    ///
    /// `believes` says whether it is gone if the origin doesn't show it: it may only be hidden from who asks.
    pub(super) async fn reflect(
        &self,
        core: &Rc<Core>,
        place: &Place,
        path: &str,
        answer: Answer,
        believes: bool,
    ) -> Option<Position> {
        let answer = match answer {
            Answer::Mirror(Mirrored::Turn) => {
                let read = self.document(core, place, path, believes).await;
                let state = read.map_err(|error| complain(place, path, &error)).ok();
                core.ask(Question::Mirror(place.clone(), Step::HasRead(state))).await
            }
            answer => answer,
        };
        match reflected(answer) {
            Ok(position) => position,
            Err(refused) => {
                complain(place, path, &Unread::refused(refused));
                core.ask(Question::Mirror(place.clone(), Step::Doubt)).await;
                None
            }
        }
    }

    /// Looks at a collection that has changed somehow. `believes` says whether what it doesn't list is gone.
    pub(super) async fn refresh(&self, core: &Rc<Core>, place: &Place, path: &str, believes: bool) -> Option<Position> {
        let look = Look::begin(core, place, Purpose::Refresh).await?;
        let seen = match self.content(core, path, LISTING_BYTES_MAX).await {
            Ok(Content::Is(head, content)) => {
                let seen = listing(place, &head, content).map_err(Unread::from);
                seen.map(|seen| Listing { is_whole: seen.is_whole && believes, ..seen })
            }
            // It may be one that can be written to only.
            Ok(Content::Gone) => Err(Unread::Hidden),
            Err(error) => Err(error),
        };
        let kept = match seen {
            Ok(listing) => look.keep(listing).await.map_err(Unread::refused),
            Err(error) => Err(error),
        };
        kept.map_err(|error| complain(place, path, &error)).ok().flatten()
    }
}

/// What an answer with this head shows of `place`.
pub(super) fn listing(place: &Place, head: &[u8], content: Vec<u8>) -> Result<Listing, ListingError> {
    let mut listing = Listing::read(place, content)?;
    if let Ok(ParsedAnswer::Complete { answer, .. }) = http1::parse_answer(head, Method::Get) {
        listing.is_whole &= !mirror::has_next(&answer);
    }
    Ok(listing)
}

fn complain(place: &Place, path: &str, error: &Unread) {
    tracing::warn!(stream = place.stream(), path, %error, "what has changed there couldn't be kept; who follows it next has it read");
}

fn reflected(answer: Answer) -> Result<Option<Position>, Refused> {
    match answer {
        Answer::Mirror(Mirrored::Reflected(position)) => Ok(position),
        Answer::Mirror(Mirrored::Needless) => Ok(None),
        Answer::Refused(refused) => Err(refused),
        Answer::Mirror(Mirrored::Began(_) | Mirrored::Turn)
        | Answer::Written(_)
        | Answer::Document { .. }
        | Answer::Json { .. }
        | Answer::Follow(_)
        | Answer::History(_)
        | Answer::Deleted
        | Answer::Survey(_)
        | Answer::Channels(_)
        | Answer::Link(_) => unreachable!("a step that is the last one is answered with what is reflected"),
    }
}

/// A look at what an origin has at a place, which begins before the origin is asked, so that what changes meanwhile is known to have.
pub(super) struct Look {
    core: Rc<Core>,
    place: Place,
    began: Option<Moment>,
}

impl Look {
    /// None if there is no need of one.
    pub(super) async fn begin(core: &Rc<Core>, place: &Place, purpose: Purpose) -> Option<Look> {
        match core.ask(Question::Mirror(place.clone(), Step::Look(purpose))).await {
            Answer::Mirror(Mirrored::Began(began)) => {
                Some(Look { core: Rc::clone(core), place: place.clone(), began: Some(began) })
            }
            _ => None,
        }
    }

    /// Brings what was seen to the stream.
    ///
    /// # Errors
    /// Why the stream refuses it; what was brought before stays.
    pub(super) async fn keep(mut self, listing: Listing) -> Result<Option<Position>, Refused> {
        let Some(began) = self.began else { return Ok(None) };
        let Listing { documents, is_whole } = listing;
        let all = (is_whole && self.place.is_collection())
            .then(|| documents.iter().map(|(place, _)| place.clone()).collect::<HashSet<Place>>());
        let mut documents = documents.into_iter().peekable();
        while documents.peek().is_some() {
            let some = documents.by_ref().take(SEEN_DOCUMENTS_MAX).collect();
            self.step(Step::Seen(began, some)).await?;
        }
        self.began = None;
        self.step(Step::Looked(began, all)).await
    }

    async fn step(&self, step: Step) -> Result<Option<Position>, Refused> {
        reflected(self.core.ask(Question::Mirror(self.place.clone(), step)).await)
    }
}

impl Drop for Look {
    /// It has seen nothing.
    fn drop(&mut self) {
        if let Some(began) = self.began {
            drop(self.core.ask(Question::Mirror(self.place.clone(), Step::Looked(began, None))));
        }
    }
}
