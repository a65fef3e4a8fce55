//! Origins as one core knows them: whom to ask, connections that rest between requests, who is out.
//!
//! Each core has connections and opinions of its own; cores share only names' addresses, by letter. Invariants: a connection at
//! rest has said nothing that wasn't read, and nothing is under way on it; connections to an origin are bounded, at rest or not.

mod call;
mod dial;
mod health;
mod named;
mod names;
mod response;
mod trust;
mod wire;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantail_engine::topic::Mount;
use rustls::ClientConfig;

pub(crate) use self::call::{CallError, call};
pub(crate) use self::dial::DialError;
pub(crate) use self::health::check;
pub(crate) use self::named::Named;
pub(crate) use self::names::{Resolved, resolve};
pub(crate) use self::response::{Response, ResponseError};
pub(crate) use self::trust::trust;
use self::wire::Wire;
pub(crate) use self::wire::{Reader, Writer};
use crate::config::{Authority, Follow, OriginAddress, Origins, Route, Routes, Target};
use crate::limits::{
    ORIGIN_CONNECTIONS_MAX, ORIGIN_FAILURES_MAX, ORIGIN_OUT_TIME, ORIGIN_REST_TIME, ORIGIN_RESTING_MAX,
    ORIGIN_TRUSTED_REST_TIME, ORIGINS_MAX,
};
use crate::peer::{self, Said};

/// The origins of all routes.
#[derive(Default)]
pub(crate) struct Services {
    routes: Arc<Routes>,
    /// By the number of the route; none for those that the store serves.
    services: Vec<Option<Rc<Service>>>,
}

impl Services {
    pub(crate) fn new(routes: &Arc<Routes>, trust: Option<&Arc<ClientConfig>>) -> Services {
        let service = |route: &Route| match &route.target {
            Target::Embedded => None,
            Target::Origins(origins) => Some(Rc::new(Service::new(route, origins, trust))),
        };
        let services = routes.all().iter().map(service).collect();
        Services { routes: Arc::clone(routes), services }
    }

    /// Who serves this; none if the store does.
    pub(crate) fn find<'h>(&self, host: impl FnOnce() -> Option<&'h str>, path: &str) -> Option<&Rc<Service>> {
        if self.services.is_empty() {
            return None;
        }
        self.services[self.routes.find(host(), path)?].as_ref()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Rc<Service>> {
        self.services.iter().flatten()
    }

    /// How each origin is, once for each route that leads there.
    pub(crate) fn survey(&self) -> Vec<OriginSurvey> {
        self.all().flat_map(|service| &service.origins).map(|origin| origin.survey()).collect()
    }

    /// A name has these addresses from now on.
    pub(crate) fn resolved(&self, resolved: &Resolved) {
        for origin in self.all().flat_map(|service| &service.origins) {
            if origin.name.as_ref() == Some(&resolved.name) {
                origin.addresses.replace(Arc::clone(&resolved.addresses));
            }
        }
    }

    /// Once a second: connections that have rested for too long, or whose origins have gone, are closed.
    pub(crate) fn tick(&self) {
        self.all().flat_map(|service| &service.origins).for_each(|origin| origin.sweep());
    }
}

/// The origins of one route.
pub(crate) struct Service {
    pub(crate) config: Origins,
    /// Where their resources are in what we keep, if they can be followed.
    pub(crate) mount: Option<Mount>,
    origins: Vec<Rc<Origin>>,
    /// Whose turn it is.
    turn: Cell<usize>,
}

/// Which origins of a service a request has been tried with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tried(u64);

const _: () = assert!(ORIGINS_MAX <= u64::BITS as usize);

impl Service {
    fn new(route: &Route, config: &Origins, trust: Option<&Arc<ClientConfig>>) -> Service {
        let origins = config.addresses.iter().map(|address| Rc::new(Origin::new(address, trust))).collect();
        let mount = match config.follow {
            Follow::Off => None,
            Follow::Auto => Some(Mount::new(route.host.as_deref(), &route.path)),
        };
        Service { config: config.clone(), mount, origins, turn: Cell::new(0) }
    }

    /// What `Host` says to its origins when a client says nothing.
    pub(crate) fn host(&self) -> &str {
        &self.origins[0].host
    }

    /// The next origin that wasn't tried: in turn, those that are out only when nobody else is left.
    pub(crate) fn choose(&self, tried: &mut Tried) -> Option<Rc<Origin>> {
        let count = self.origins.len();
        let turn = self.turn.get();
        self.turn.set((turn + 1) % count);
        let now = Instant::now();
        let mut last = None;
        for at in (turn..turn + count).map(|at| at % count).filter(|at| tried.0 & 1 << at == 0) {
            match self.origins[at].out_until.get().filter(|until| *until > now) {
                None => {
                    tried.0 |= 1 << at;
                    return Some(Rc::clone(&self.origins[at]));
                }
                Some(until) => last = last.filter(|(other, _)| *other <= until).or(Some((until, at))),
            }
        }
        let (_, at) = last?;
        tried.0 |= 1 << at;
        Some(Rc::clone(&self.origins[at]))
    }
}

/// One origin.
pub(crate) struct Origin {
    address: OriginAddress,
    /// What `Host` says to it, when a client says nothing.
    host: String,
    /// What its addresses are looked up by, unless it is one.
    name: Option<Authority>,
    addresses: RefCell<Arc<[SocketAddr]>>,
    /// The one that a connection was had at last.
    reached: Cell<Option<SocketAddr>>,
    trust: Option<Arc<ClientConfig>>,
    /// Connections at rest, and since when; the one that was used last at the end.
    resting: RefCell<Vec<(Wire, Instant)>>,
    /// Connections, at rest or not.
    open: Cell<usize>,
    /// Failures since it last answered.
    failures: Cell<u32>,
    /// Until when it is asked only if nobody else can be.
    out_until: Cell<Option<Instant>>,
    /// Whether it said so itself when it was asked how it is: it is out then, whatever it answers.
    is_unwell: Cell<bool>,
    counted: Cell<Counted>,
}

/// What a core has counted of an origin since its start.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counted {
    /// Requests that it was sent, but for those about its health.
    pub(crate) requests: u64,
    /// Connections that couldn't be had for one.
    pub(crate) unreached: u64,
    /// Those that it didn't answer as it should.
    pub(crate) failed: u64,
    /// Times that it was unwell when it was asked.
    pub(crate) unwell: u64,
}

/// How an origin is for a core.
#[derive(Clone, Debug)]
pub(crate) struct OriginSurvey {
    /// As it was configured.
    pub(crate) address: OriginAddress,
    pub(crate) counted: Counted,
    /// Connections, at rest or not.
    pub(crate) open: usize,
    /// Those at rest.
    pub(crate) resting: usize,
    pub(crate) is_out: bool,
}

impl Origin {
    fn new(address: &OriginAddress, trust: Option<&Arc<ClientConfig>>) -> Origin {
        let (authority, trust) = match address {
            OriginAddress::Http(authority) => (Some(authority), None),
            OriginAddress::Https(authority) => (Some(authority), trust.map(Arc::clone)),
            OriginAddress::Unix(_) => (None, None),
        };
        let fixed = authority.and_then(|authority| {
            let address: IpAddr = authority.host.parse().ok()?;
            Some(SocketAddr::new(address, authority.port))
        });
        Origin {
            address: address.clone(),
            host: authority.map_or("localhost".to_owned(), Authority::to_string),
            name: authority.filter(|_| fixed.is_none()).cloned(),
            addresses: RefCell::new(fixed.into_iter().collect()),
            reached: Cell::new(None),
            trust,
            resting: RefCell::default(),
            open: Cell::new(0),
            failures: Cell::new(0),
            out_until: Cell::new(None),
            is_unwell: Cell::new(false),
            counted: Cell::default(),
        }
    }

    /// Where it is, as it was configured.
    pub(crate) fn address(&self) -> &OriginAddress {
        &self.address
    }

    /// A connection that rested; none if there is none that can be trusted.
    pub(crate) fn rested(self: &Rc<Origin>) -> Option<Link> {
        loop {
            let (wire, since) = self.resting.borrow_mut().pop()?;
            let rest = since.elapsed();
            let is_trusted = rest < ORIGIN_TRUSTED_REST_TIME && wire.reader.has_seen_the_end();
            if rest < ORIGIN_REST_TIME && (is_trusted || peer::said(wire.fd) == Said::Nothing) {
                return Some(Link { wire: Some(wire), origin: Rc::clone(self), has_rested: true, counts: true });
            }
            self.open.set(self.open.get() - 1);
        }
    }

    /// Closes the connections at rest: one of them turned out to be closed at the other end, and the others may be.
    pub(crate) fn forget_resting(&self) {
        let resting = self.resting.take();
        self.open.set(self.open.get() - resting.len());
    }

    /// A new connection.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn dial(self: &Rc<Origin>, patience: Duration) -> Result<Link, DialError> {
        if self.open.get() >= ORIGIN_CONNECTIONS_MAX {
            return Err(DialError::Many);
        }
        self.open.set(self.open.get() + 1);
        // It counts from here on, and no longer when it is dropped.
        let mut link = Link { wire: None, origin: Rc::clone(self), has_rested: false, counts: true };
        let dialed = monoio::time::timeout(patience, dial::dial(self, patience)).await;
        link.wire = Some(dialed.unwrap_or(Err(DialError::Late))?);
        Ok(link)
    }

    /// How it is now.
    fn survey(&self) -> OriginSurvey {
        OriginSurvey {
            address: self.address.clone(),
            counted: self.counted.get(),
            open: self.open.get(),
            resting: self.resting.borrow().len(),
            is_out: self.out_until.get().is_some_and(|until| until > Instant::now()),
        }
    }

    fn count(&self, of: impl FnOnce(&mut Counted) -> &mut u64) {
        let mut counted = self.counted.get();
        *of(&mut counted) += 1;
        self.counted.set(counted);
    }

    /// It is sent a request.
    pub(crate) fn is_asked(&self) {
        self.count(|counted| &mut counted.requests);
    }

    /// It has answered a request.
    pub(crate) fn has_answered(&self) {
        self.failures.set(0);
        if !self.is_unwell.get() {
            self.out_until.set(None);
        }
    }

    /// It couldn't be reached: it is out at once.
    pub(crate) fn is_unreachable(&self) {
        self.count(|counted| &mut counted.unreached);
        self.failures.set(ORIGIN_FAILURES_MAX);
        self.is_out(ORIGIN_OUT_TIME);
    }

    /// It didn't answer a request as it should: a few times in a row, and it is out.
    pub(crate) fn has_failed(&self) {
        self.count(|counted| &mut counted.failed);
        self.failures.set(self.failures.get().saturating_add(1));
        if self.failures.get() >= ORIGIN_FAILURES_MAX {
            self.is_out(ORIGIN_OUT_TIME);
        }
    }

    fn is_out(&self, time: Duration) {
        let until = self.out_until.get().max(Some(Instant::now() + time));
        if self.out_until.replace(until).is_none() {
            tracing::warn!(origin = %self.address, "it is out");
        }
    }

    /// Takes a connection over that is to rest, and that still counts; whether there was room.
    fn rest(&self, wire: Wire) -> bool {
        let mut resting = self.resting.borrow_mut();
        let has_room = resting.len() < ORIGIN_RESTING_MAX;
        if has_room {
            resting.push((wire, Instant::now()));
        }
        has_room
    }

    fn sweep(&self) {
        let mut resting = self.resting.borrow_mut();
        let before = resting.len();
        resting.retain(|(wire, since)| since.elapsed() < ORIGIN_REST_TIME && peer::said(wire.fd) == Said::Nothing);
        self.open.set(self.open.get() - (before - resting.len()));
    }
}

/// A connection to an origin, for one request. Dropped, it is closed.
pub(crate) struct Link {
    /// None only while it is dialed, and once it rests.
    wire: Option<Wire>,
    pub(crate) origin: Rc<Origin>,
    /// Whether it was used before, so that the origin may have closed it in the same moment.
    pub(crate) has_rested: bool,
    /// Whether it is this link that counts as a connection, and not one at rest that was its own.
    counts: bool,
}

impl Link {
    pub(crate) fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().expect("a link that was dialed and isn't at rest has a wire")
    }

    /// The request was answered, and nothing is left of it: the connection may serve another one.
    pub(crate) fn rest(mut self) {
        let Some(wire) = self.wire.take() else { return };
        // What nobody asked for makes it unusable.
        if wire.reader.is_used_up() {
            self.counts = !self.origin.rest(wire);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.wire.take());
        if self.counts {
            self.origin.open.set(self.origin.open.get() - 1);
        }
    }
}
