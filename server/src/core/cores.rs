//! What the cores of one server share: how it was started, their letter boxes, and two sums.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fantail_engine::grip::Signer;
use fantail_engine::stream::journal::Policy;
use fantail_engine::topic;
use rustls::ClientConfig;

use super::letter::{Letter, LetterBox};
use crate::audience::Disconnect;
use crate::config::{Control, Forwarding, Grip, Routes};
use crate::conversation::control::credentials::Gate;
use crate::origin::Resolved;
use crate::storage::clerk::Done;
use crate::storage::pages::Paged;

/// What all cores are started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Where its admin listener is, if it has one.
    pub admin: Option<SocketAddr>,
    /// The data folder.
    pub data: PathBuf,
    /// What goes to which origin.
    pub routes: Arc<Routes>,
    /// Certificates that origins' are trusted by, besides those of the system.
    pub origin_ca: Option<PathBuf>,
    /// How TLS is spoken to origins, if to any.
    pub trust: Option<Arc<ClientConfig>>,
    /// What becomes of what a client says of those before it.
    pub forwarding: Forwarding,
    /// Where and from whom publishes are taken, if they are.
    pub control: Option<Control>,
    /// Who may publish; none if anybody who reaches the control listener may.
    pub(crate) gate: Option<Gate>,
    /// How the server signs what it asks of origins.
    pub grip: Grip,
    /// What signs it, if anything does.
    pub signer: Option<Signer>,
    /// How streams are kept.
    pub policy: Policy,
    /// Bytes that all documents may take.
    pub documents_bytes: usize,
    /// When it is noticed that a follower has gone.
    pub disconnect: Disconnect,
    /// Places in a tier of the audience.
    pub tier_slots: u32,
    /// Conversations per core.
    pub conversations_max: usize,
    /// Conversations per core beyond them, that are only told that the server is full.
    pub turned_away_max: usize,
    /// Connections per core, seats included.
    pub connections_max: usize,
}

/// What the cores of one server share.
pub struct Cores {
    pub(super) settings: Settings,
    pub(super) boxes: Arc<[LetterBox]>,
    pub(super) totals: Arc<Totals>,
    /// When they were made.
    pub(crate) begun: Instant,
}

impl Cores {
    /// The shared part of `count` cores that are yet to be started.
    ///
    /// # Errors
    /// If the system refuses an eventfd.
    pub fn new(settings: Settings, count: usize) -> io::Result<Cores> {
        let boxes: Vec<_> = (0..count).map(|_| LetterBox::new()).collect::<io::Result<_>>()?;
        Ok(Cores { settings, boxes: boxes.into(), totals: Arc::default(), begun: Instant::now() })
    }

    /// How many cores there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.boxes.len()
    }

    /// The core whose streams include `stream`: nothing on disk depends on it.
    #[must_use]
    pub fn home(&self, stream: &str) -> usize {
        (topic::hash(stream) % self.boxes.len() as u64) as usize
    }

    /// What the clerk calls when an errand is done.
    pub fn report(&self) -> impl Fn(usize, Done) + Send + 'static {
        let boxes = Arc::clone(&self.boxes);
        move |core, done| boxes[core].post(Letter::Errand(done))
    }

    /// What the pager calls when a page is there.
    pub fn deliver(&self) -> impl Fn(usize, Paged) + Send + 'static {
        let boxes = Arc::clone(&self.boxes);
        move |core, paged| boxes[core].post(Letter::Page(paged))
    }

    /// What is called when a name of origins has other addresses.
    pub(crate) fn tell_addresses(&self) -> impl Fn(Resolved) + Send + 'static {
        let boxes = Arc::clone(&self.boxes);
        move |resolved| boxes.iter().for_each(|letters| letters.post(Letter::Resolved(resolved.clone())))
    }

    /// Asks all cores to accept nothing more and to end their conversations.
    pub fn close(&self) {
        self.boxes.iter().for_each(|letters| letters.post(Letter::Close));
    }

    /// Asks all cores, when none has a conversation any more, to see their listeners off and end.
    pub fn end(&self) {
        self.boxes.iter().for_each(|letters| letters.post(Letter::End));
    }
}

/// What the streams of all cores add up to.
#[derive(Default)]
pub(super) struct Totals {
    /// Streams that were written.
    pub(super) streams: AtomicUsize,
    /// Bytes of documents in memory.
    pub(super) documents_bytes: AtomicUsize,
}

impl Totals {
    /// Documents that took `before` bytes take `after`.
    pub(super) fn add(&self, after: usize, before: usize) {
        match after.checked_sub(before) {
            Some(more) => self.documents_bytes.fetch_add(more, Ordering::Relaxed),
            None => self.documents_bytes.fetch_sub(before - after, Ordering::Relaxed),
        };
    }
}
