//! URIs that origins name in links: which route's origins serve them, and what they are asked.
//!
//! A link leads to what the client could ask itself, or to an origin that is configured: nowhere else, whatever a response says.

use fantail_engine::protocol::http1::without_own_port;

use super::{Service, Services};
use crate::config::OriginAddress;

/// The parts of an absolute URI that a request has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Named<'u> {
    pub(crate) scheme: &'u str,
    /// Host and, unless it is the scheme's own, port.
    pub(crate) authority: &'u str,
    /// Path and query; it begins with `/`.
    pub(crate) target: &'u str,
}

impl<'u> Named<'u> {
    /// The parts of a URI that was resolved, so that it has a path.
    pub(crate) fn read(uri: &'u str) -> Option<Named<'u>> {
        let (scheme, rest) = uri.split_once("://")?;
        let (authority, target) = rest.split_at(rest.find('/')?);
        Some(Named { scheme, authority, target })
    }

    fn path(&self) -> &'u str {
        self.target.split('?').next().unwrap_or(self.target)
    }

    fn is(&self, address: &OriginAddress) -> bool {
        let (scheme, own) = match address {
            OriginAddress::Http(authority) => ("http", authority),
            OriginAddress::Https(authority) => ("https", authority),
            OriginAddress::Unix(_) => return false,
        };
        let text = own.to_string();
        let bare = without_own_port(scheme, &text);
        self.scheme == scheme && [text.as_str(), bare].iter().any(|own| own.eq_ignore_ascii_case(self.authority))
    }
}

impl Services {
    /// The origins of a route, by its number.
    pub(crate) fn at(&self, route: usize) -> Option<&Service> {
        self.services.get(route)?.as_deref()
    }

    /// The number of the route whose origins these are.
    pub(crate) fn number(&self, service: &Service) -> Option<usize> {
        self.services.iter().position(|other| other.as_deref().is_some_and(|other| std::ptr::eq(other, service)))
    }

    /// The number of the route whose origins serve a URI that an origin of `route` has named, to a client that calls this server
    /// `host`.
    pub(crate) fn locate(&self, named: &Named<'_>, route: usize, host: &str) -> Option<usize> {
        let has = |number: &usize| {
            self.at(*number).is_some_and(|service| service.config.addresses.iter().any(|address| named.is(address)))
        };
        if without_own_port(named.scheme, host).eq_ignore_ascii_case(named.authority) {
            let found = self.routes.find(Some(host), named.path()).filter(|found| self.at(*found).is_some());
            return Some(found.unwrap_or(route));
        }
        Some(route).filter(has).or_else(|| (0..self.services.len()).find(has))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Route, Routes};

    #[test]
    fn links_lead_to_what_a_client_could_ask_and_to_origins() {
        let text = r#"
            [[route]]
            origin = "http://127.0.0.1:3000"
            [[route]]
            path = "/other"
            origin = "http://other"
            [[route]]
            path = "/own"
            embedded = true
        "#;
        #[derive(serde::Deserialize)]
        struct File {
            route: Vec<Route>,
        }
        let file: File = toml::from_str(text).expect("routes");
        let services = Services::new(&Arc::new(Routes::new(file.route).expect("routes")), None);
        let path = |number: usize| services.routes.all()[number].path.as_str();
        let all = services.routes.find(None, "/").expect("a route");
        let located = |uri: &str| {
            let named = Named::read(uri).expect("a URI");
            services.locate(&named, all, "Example.com:80").map(path)
        };
        assert_eq!(located("http://example.com/a?b"), Some("/"));
        assert_eq!(located("http://example.com/other?b/c"), Some("/other"));
        // What the store serves isn't asked of it: whoever named it means its own.
        assert_eq!(located("http://example.com/own"), Some("/"));
        assert_eq!(located("http://127.0.0.1:3000/other"), Some("/"));
        assert_eq!(located("http://other/x"), Some("/other"));
        assert_eq!(located("https://other/x"), None);
        assert_eq!(located("http://elsewhere/x"), None);
    }
}
