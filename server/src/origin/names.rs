//! The addresses behind origins' names, looked up by a thread of its own: the system's resolver waits.
//!
//! All names are known from the configuration, so that no request waits for one: they are looked up before the server serves,
//! and again from time to time; cores are told by letter.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::{io, thread};

use crate::config::{Authority, OriginAddress, Routes, Target};
use crate::limits::RESOLVE_TIME;

/// A name and its addresses, at least one.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) name: Authority,
    pub(crate) addresses: Arc<[SocketAddr]>,
}

/// Looks all names up once, and goes on with that if there are any. The thread isn't waited for at the end: it may be in the
/// midst of a look-up, which can't be broken off.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn resolve(routes: &Routes, tell: impl Fn(Resolved) + Send + 'static) -> io::Result<()> {
    let names = names(routes);
    if names.is_empty() {
        return Ok(());
    }
    names.iter().for_each(|name| look_up(name, &tell));
    let look_again = move || loop {
        thread::sleep(RESOLVE_TIME);
        names.iter().for_each(|name| look_up(name, &tell));
    };
    thread::Builder::new().name("names".to_owned()).spawn(look_again)?;
    Ok(())
}

/// The names of origins that aren't addresses.
fn names(routes: &Routes) -> Vec<Authority> {
    let origins = routes.all().iter().filter_map(|route| match &route.target {
        Target::Embedded => None,
        Target::Origins(origins) => Some(&origins.addresses),
    });
    let names = origins.flatten().filter_map(|address| match address {
        OriginAddress::Http(authority) | OriginAddress::Https(authority) => Some(authority),
        OriginAddress::Unix(_) => None,
    });
    let names = names.filter(|name| name.host.parse::<std::net::IpAddr>().is_err());
    names.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// What can't be looked up stays as it was.
fn look_up(name: &Authority, tell: &impl Fn(Resolved)) {
    match (name.host.as_str(), name.port).to_socket_addrs() {
        Ok(found) => {
            let addresses: Arc<[SocketAddr]> = found.collect();
            if !addresses.is_empty() {
                tell(Resolved { name: name.clone(), addresses });
            }
        }
        Err(error) => tracing::warn!(%name, %error, "an origin's name can't be looked up"),
    }
}
