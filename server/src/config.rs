//! Configuration: what a server is to run with, resolved once, before anything starts.
//!
//! A file, the environment and the command line say the same things by the same names (`config/sources.rs`); what comes out are
//! [`Options`], typed and checked, so that nothing behind them reads text again. It refuses keys that nobody knows. Invariant:
//! a [`Secret`] is never shown.

pub(crate) mod arguments;
mod origin;
pub(crate) mod route;
mod rules;
mod secret;
pub(crate) mod sources;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use fantail_engine::protocol::http1::Forwarding;
use fantail_engine::stream::journal::Policy;

pub use self::origin::{Authority, Follow, Health, OriginAddress, Origins, Timeouts};
pub use self::route::{Route, Routes, Target};
pub use self::rules::FieldRules;
pub use self::secret::Secret;
use crate::audience::Disconnect;

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the admin listener is.
    pub admin: Admin,
    /// The data folder.
    pub data: PathBuf,
    /// Threads; none means one per CPU that the process may use.
    pub cores: Option<usize>,
    /// How streams are kept, and when changes are answered and shown.
    pub policy: Policy,
    /// Bytes that all documents may take.
    pub documents_bytes: usize,
    /// When it is noticed that a follower has gone.
    pub disconnect: Disconnect,
    /// Connections, those that only listen included.
    pub connections_max: usize,
    /// What goes to which origin; what no route matches is served from the store.
    pub routes: Arc<Routes>,
    /// Certificates in PEM that origins' are trusted by, besides those of the system.
    pub origin_ca: Option<PathBuf>,
    /// What becomes of what a client says of those before it.
    pub forwarding: Forwarding,
    /// Where and from whom publishes are taken; none if they aren't.
    pub control: Option<Control>,
    /// How the server signs what it asks of origins.
    pub grip: Grip,
}

/// Where a server tells how it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admin {
    /// Nowhere.
    Off,
    /// At this address; if that can't be had, the server doesn't start.
    At(SocketAddr),
    /// At this address, or nowhere if that can't be had.
    IfFree(SocketAddr),
}

/// The control listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// Address and port; if they can't be had, the server doesn't start.
    pub listen: SocketAddr,
    /// Who may use it.
    pub credentials: Credentials,
}

/// What proves that somebody may publish: any one of these. If there are none, whoever reaches the listener may.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Credentials {
    /// `user:password` of Basic authentication.
    pub basic: Option<Secret>,
    /// The token of Bearer authentication.
    pub bearer: Option<Secret>,
    /// What signs a JWT that is sent as a Bearer token.
    pub token: Option<TokenKey>,
}

impl Credentials {
    /// Whether nobody is asked for any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.basic.is_none() && self.bearer.is_none() && self.token.is_none()
    }
}

/// What signs or verifies a JWT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenKey {
    /// `iss`; none if any will do.
    pub issuer: Option<String>,
    /// The key: the bytes of a shared one, or PEM.
    pub key: Secret,
}

/// How origins know that a request comes through this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grip {
    /// `iss` of `Grip-Sig`.
    pub issuer: String,
    /// What signs `Grip-Sig`; without it, there is none.
    pub key: Option<Secret>,
}
