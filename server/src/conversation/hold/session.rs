//! A client's stream that isn't held, or not yet: the origin's bodies, one after the other, as fast as the client takes them.
//!
//! One request is under way at a time, and none while the client's socket has yet to take what came before. Nothing falls between
//! the last page and the hold: a hold that is tracked begins right behind the item that the page reflects, or the link is asked
//! again.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use fantail_engine::grip::{Ask, Chain, Freshness, Instruction, Mode, Next, Renderer, Reply, SubstitutionError};

use super::super::connection::{Connection, End};
use super::{Begun, Client, Gap, Ids, begin_hold, last_values, terms, while_here, while_open};
use crate::audience::{Held, Hold, Item, Mark, Recalled, Subscription};
use crate::core::Stage;
use crate::core::links::{LinkError, LinkRequest, Linked, Read, random, read_instruction};
use crate::core::partings::Parting;
use crate::limits::UNASKED_BYTES_MAX;
use crate::origin::Response;

/// A response whose instruction was read.
pub(super) struct Asked {
    /// What the client gets of its head.
    pub(super) reply: Reply,
    /// Its content, unless that was the instruction.
    pub(super) response: Response,
    /// The content that stands for it then.
    pub(super) body: Option<Vec<u8>>,
}

/// See the module.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) connection: Connection,
    chain: Chain,
    /// What comes first, of a session that was held before.
    first: Option<Ask>,
    /// What is told when the client has gone.
    gone: Option<Rc<str>>,
    /// The values of `Grip-Last`, once the client has been held.
    pub(super) last: Vec<String>,
    /// Where the client was held before.
    pub(super) from: Option<Mark>,
    /// The hold that couldn't begin just now.
    gap: Option<Gap>,
}

/// What is next.
pub(super) enum Then {
    Ask(Ask),
    Hold(Box<Beginning>),
    Over,
}

/// Where a hold begins. It was found before the client had the last bytes of the page that says so: whoever has seen these doesn't
/// miss what is published next.
pub(super) struct Beginning {
    instruction: Instruction,
    subscription: Rc<Subscription>,
    ids: Ids,
    mark: Mark,
    first: Vec<Arc<Item>>,
}

/// Where a session ends.
enum Outcome {
    /// The audience has the connection.
    Seated,
    /// There is nothing more for the client.
    Over,
}

impl Session {
    /// A session of a client that asked `uri`.
    pub(super) fn new(client: Client, mut connection: Connection, uri: String) -> Session {
        connection.bear_stalls();
        let chain = Chain::new(uri);
        Session { client, connection, chain, first: None, gone: None, last: Vec::new(), from: None, gap: None }
    }

    /// The session of a client that was held.
    ///
    /// # Errors
    /// The socket can't be used.
    pub(super) fn resume(core: &Rc<crate::core::Core>, recalled: Recalled) -> io::Result<Session> {
        let Recalled { socket, hold, mark, last, why } = recalled;
        let Hold { terms, next, gone, .. } = hold;
        tracing::debug!(?why, next = next.as_deref(), "a held connection asks its origin");
        let client = Client { core: Rc::clone(core), route: terms.route, host: terms.host.clone() };
        let connection = Connection::back(socket)?;
        let mut session = Session::new(client, connection, String::new());
        session.last = last_values(&terms.subscription, &last);
        (session.gone, session.from) = (gone, Some(mark));
        if let Some(next) = next {
            let (chain, ask) = Chain::recall(next.as_ref().to_owned());
            (session.chain, session.first) = (chain, Some(ask));
        }
        Ok(session)
    }

    /// Sends the first response, and goes on.
    pub(super) async fn open(mut self, asked: Asked, instruction: Instruction) -> Result<(), End> {
        let Asked { reply, response, body } = asked;
        let core = Rc::clone(&self.client.core);
        core.has_answered(reply.status());
        self.gone = match instruction.gone.as_ref().map(|gone| gone.resolve(self.chain.current())) {
            Some(Ok(gone)) => Some(gone.into()),
            Some(Err(error)) => {
                self.client.complain("a gone link", &error);
                None
            }
            None => None,
        };
        let mut head = Vec::with_capacity(1024);
        reply.write_endless(&mut head, &core.date());
        let parting = self.parting();
        let told = async {
            let then = match body {
                Some(body) => self.whole(head, Some(&instruction), body.into()).await?,
                None if response.is_over() => self.whole(head, Some(&instruction), Bytes::new()).await?,
                None => {
                    self.connection.write(head).await?;
                    self.pieces(Some(instruction), response).await?
                }
            };
            self.walk(then).await
        };
        leave(&core, told.await, parting);
        Ok(())
    }

    /// Goes on with the link that a client was recalled for.
    pub(super) async fn go_on(mut self) {
        let then = self.first.take().map_or(Then::Over, Then::Ask);
        let (core, parting) = (Rc::clone(&self.client.core), self.parting());
        leave(&core, self.walk(then).await, parting);
    }

    fn parting(&self) -> Option<Parting> {
        let uri = Rc::clone(self.gone.as_ref()?);
        Some(Parting { uri, route: self.client.route, host: self.client.host.clone() })
    }

    async fn walk(mut self, mut then: Then) -> Result<Outcome, End> {
        loop {
            then = match then {
                Then::Over => {
                    self.connection.close().await;
                    return Ok(Outcome::Over);
                }
                Then::Ask(_) | Then::Hold(_) if self.client.core.stage.get() != Stage::Open => Then::Over,
                Then::Ask(ask) => self.page(&ask).await?,
                Then::Hold(beginning) => {
                    let Beginning { instruction, subscription, mut ids, mark, first } = *beginning;
                    let hold = instruction.hold.as_ref().expect("it is a hold");
                    let is_own = hold.channels.is_empty() || hold.channels.iter().any(|channel| channel.substitutes());
                    match is_own {
                        true => self.attend(&instruction, &subscription, ids, mark, first).await?,
                        false => match self.serve_all(&instruction, &subscription, &mut ids, first).await? {
                            Some(then) => then,
                            None => return self.seat(&instruction, subscription, ids, mark),
                        },
                    }
                }
            };
        }
    }

    /// Asks a next link, and sends what it says.
    async fn page(&mut self, ask: &Ask) -> Result<Then, End> {
        let core = Rc::clone(&self.client.core);
        if ask.after_ms > 0 {
            let pause = monoio::time::sleep(std::time::Duration::from_millis(ask.after_ms));
            if while_open(&core, &self.connection, pause).await?.is_none() {
                return Ok(Then::Over);
            }
        }
        let since = match ask.freshness {
            Freshness::Shared => 0,
            Freshness::News => core.news_us(),
            Freshness::Now => core.now_us(),
        };
        let request = match self.client.link(&ask.uri, self.last.clone()) {
            Ok(request) => request,
            Err(error) => return Ok(self.fail(&ask.uri, &error)),
        };
        match while_here(&self.connection, core.ask_link(request.clone(), since)).await? {
            Linked::Page(page) => {
                self.chain.answered();
                self.whole(Vec::new(), page.instruction.as_ref(), page.body.clone()).await
            }
            Linked::Alone => self.page_alone(&request).await,
            Linked::Failed(error) => Ok(self.fail(&ask.uri, &error)),
        }
    }

    /// The same without sharing the request: a page that is read no faster than the client takes it.
    async fn page_alone(&mut self, request: &LinkRequest) -> Result<Then, End> {
        let core = Rc::clone(&self.client.core);
        let called = async {
            let mut response = core.call_link(request).await?;
            let read = read_instruction(&mut response).await?;
            Ok::<_, LinkError>((response, read))
        };
        match while_here(&self.connection, called).await? {
            Ok((_, Read::Whole(instruction, body))) => {
                self.chain.answered();
                self.whole(Vec::new(), Some(&instruction), body.into()).await
            }
            Ok((response, Read::Head(instruction))) => self.pieces(instruction, response).await,
            Err(error) => Ok(self.fail(&request.uri, &error)),
        }
    }

    /// A link has failed before a byte of it was sent: it is asked again, or the stream ends.
    fn fail(&mut self, uri: &str, error: &LinkError) -> Then {
        self.client.complain(uri, error);
        if !error.is_passing() {
            return Then::Over;
        }
        match self.chain.failed(random()) {
            Ok(ask) => Then::Ask(ask),
            Err(error) => {
                self.client.complain(uri, &error);
                Then::Over
            }
        }
    }

    /// Sends a body that is there whole, with what goes before it, and says what its instruction wants next.
    async fn whole(&mut self, before: Vec<u8>, instruction: Option<&Instruction>, body: Bytes) -> Result<Then, End> {
        let bytes = body.len() as u64;
        let body = match instruction.and_then(renderer) {
            None => body,
            Some(renderer) => {
                let rendered = renderer.and_then(|mut renderer| {
                    let rendered = renderer.update(&body)?;
                    renderer.finish().map(|()| rendered)
                });
                match rendered {
                    Ok(rendered) => rendered.into(),
                    Err(error) => {
                        self.client.complain(self.chain.current(), &error);
                        self.connection.write(before).await?;
                        return Ok(Then::Over);
                    }
                }
            }
        };
        let then = self.then(instruction, bytes).await;
        self.connection.write(before).await?;
        self.connection.write(body).await?;
        Ok(then)
    }

    /// Sends a body as it comes, and says what its instruction wants next.
    async fn pieces(&mut self, instruction: Option<Instruction>, mut response: Response) -> Result<Then, End> {
        let mut renderer = match instruction.as_ref().and_then(renderer).transpose() {
            Ok(renderer) => renderer,
            Err(error) => {
                self.client.complain(self.chain.current(), &error);
                return Ok(Then::Over);
            }
        };
        let (mut bytes, mut then) = (0, None);
        loop {
            let piece = match while_here(&self.connection, response.piece()).await? {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) if bytes == 0 => {
                    let uri = self.chain.current().to_owned();
                    return Ok(self.fail(&uri, &error.into()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a body breaks off");
                    return Ok(Then::Over);
                }
            };
            bytes += piece.len() as u64;
            let piece = match renderer.as_mut().map(|renderer| renderer.update(&piece)).transpose() {
                Ok(rendered) => rendered.map_or(piece, Bytes::from),
                Err(error) => {
                    self.client.complain(self.chain.current(), &error);
                    return Ok(Then::Over);
                }
            };
            if response.is_over() {
                self.chain.answered();
                then = Some(self.then(instruction.as_ref(), bytes).await);
            }
            self.connection.write(piece).await?;
        }
        response.finish();
        match then {
            Some(then) => Ok(then),
            None => {
                self.chain.answered();
                Ok(self.then(instruction.as_ref(), bytes).await)
            }
        }
    }

    /// What an instruction wants next, whose body has so many bytes and is as good as sent.
    async fn then(&mut self, instruction: Option<&Instruction>, bytes: u64) -> Then {
        match instruction {
            Some(instruction @ Instruction { hold: Some(hold), .. }) => match hold.mode {
                Mode::Stream => self.settle(instruction, bytes).await,
                Mode::Response => {
                    tracing::debug!(uri = self.chain.current(), "a next link holds a response; the stream ends");
                    Then::Over
                }
            },
            Some(Instruction { next: Some(next), .. }) => self.follow(next, bytes, Freshness::Shared),
            Some(_) | None => Then::Over,
        }
    }

    fn follow(&mut self, next: &Next, bytes: u64, freshness: Freshness) -> Then {
        match self.chain.follow(&next.link, bytes, freshness) {
            Ok(ask) => Then::Ask(ask),
            Err(error) => {
                let uri = self.chain.current().to_owned();
                self.client.complain(&uri, &error);
                Then::Over
            }
        }
    }

    /// The place where a hold begins, or what is to be asked before.
    async fn settle(&mut self, instruction: &Instruction, bytes: u64) -> Then {
        let hold = instruction.hold.as_ref().expect("it is a hold");
        let core = Rc::clone(&self.client.core);
        let Begun { subscription, ids, place } =
            begin_hold(&core, hold, &instruction.meta, &mut self.gap, self.from).await;
        match (place, &instruction.next) {
            (Some((mark, first)), _) => {
                let instruction = instruction.clone();
                Then::Hold(Box::new(Beginning { instruction, subscription, ids, mark, first }))
            }
            (None, Some(next)) => {
                self.last = last_values(&subscription, &ids);
                self.follow(next, bytes, Freshness::News)
            }
            (None, None) => Then::Over,
        }
    }

    /// Something is missing, or new: the next link is asked by a client that has these ids, up to `mark`.
    pub(super) fn recall(
        &mut self,
        instruction: &Instruction,
        subscription: &Subscription,
        ids: &[Option<Arc<str>>],
        mark: Mark,
    ) -> Then {
        let Some(next) = &instruction.next else { return Then::Over };
        (self.last, self.from) = (last_values(subscription, ids), Some(mark));
        // What was published counts as a word between.
        self.follow(next, 1, Freshness::News)
    }

    /// Hands the connection to the audience.
    fn seat(
        self,
        instruction: &Instruction,
        subscription: Rc<Subscription>,
        ids: Ids,
        mark: Mark,
    ) -> Result<Outcome, End> {
        let core = Rc::clone(&self.client.core);
        let unasked = self.connection.unread();
        if unasked > UNASKED_BYTES_MAX {
            return Ok(Outcome::Over);
        }
        let next = instruction.next.as_ref().and_then(|next| next.link.resolve(self.chain.current()).ok());
        let terms = core.share_terms(terms(&self.client, subscription, instruction));
        let hold = Hold { terms, next: next.map(Rc::from), gone: self.gone };
        core.hold(self.connection.into_socket(), Held { hold, last: ids.into(), mark, unasked });
        Ok(Outcome::Seated)
    }
}

/// Tells the origin of a client that has left, if it wants to know.
fn leave(core: &Rc<crate::core::Core>, ended: Result<Outcome, End>, parting: Option<Parting>) {
    match ended {
        Ok(Outcome::Seated) => {}
        Ok(Outcome::Over) | Err(End::Gone) => {
            if let Some(parting) = parting {
                core.part(parting);
            }
        }
    }
}

/// What puts ids into a body, if the instruction that it comes with wants that.
fn renderer(instruction: &Instruction) -> Option<Result<Renderer, SubstitutionError>> {
    instruction.builds_ids.then(|| Renderer::new(&instruction.meta, &[]))
}
